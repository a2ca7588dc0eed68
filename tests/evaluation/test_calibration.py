"""Temperatures, thresholds, and the callback that fits them when training saves."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import spacy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.training import Example

from spacy_jbert.callbacks import chain_callbacks
from spacy_jbert.evaluation.calibration import (
    best_threshold,
    calibrate,
    cross_entropy,
    fit_temperature,
)

from ..conftest import SENTENCES, listener

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_was_lost_is_found(exclusive: bool, temperature: float) -> None:
    honest = RANDOM.normal(0.0, 2.0, (20_000, 4))
    if exclusive:
        gumbel = RANDOM.gumbel(
            size=honest.shape
        )  # the largest of logits with this noise is a sample of their softmax
        truth = np.eye(4)[(honest + gumbel).argmax(axis=1)]
    else:
        truth = (RANDOM.random(honest.shape) < 1 / (1 + np.exp(-honest))).astype(float)
        truth[RANDOM.random(honest.shape) < 0.2] = np.nan
    found = fit_temperature(
        lambda t: cross_entropy(honest * temperature / t, truth, exclusive=exclusive)
    )
    assert found == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("exclusive", [True, False])
def test_few_documents_that_are_all_right_dont_make_certainty(exclusive: bool) -> None:
    truth = np.eye(3)[[0, 1, 2]]
    logits = 4 * truth - 2
    found = fit_temperature(lambda t: cross_entropy(logits / t, truth, exclusive=exclusive))
    assert 0.5 < found < 5


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.floats(0.01, 0.99), st.sampled_from([0.0, 1.0, math.nan])),
        min_size=1,
        max_size=12,
    )
)
def test_no_threshold_has_a_better_f(pairs: list[tuple[float, float]]) -> None:
    scores, truth = (np.array(column) for column in zip(*pairs, strict=True))

    def f(threshold: float) -> float:
        tp = np.sum((scores >= threshold) & (truth == 1))
        return (
            2 * tp / max(1, np.sum((scores >= threshold) & ~np.isnan(truth)) + np.sum(truth == 1))
        )

    found = best_threshold(scores, truth)
    assert 0 <= found <= 1
    if not np.any(truth == 1):
        assert found == 0.5
    assert f(found) >= max(f(threshold) for threshold in [0.5, *scores]) - 1e-12


def sharpen(nlp: Language, name: str) -> None:
    """Give the head weights that it could have learned from few documents: far too sure."""
    layer = nlp.get_pipe(name).model.get_ref("output_layer")
    layer.set_param(
        "W", np.random.default_rng(1).normal(0.0, 0.4, layer.get_param("W").shape).astype("f")
    )


def categories(nlp: Language) -> list[Example]:
    examples = []
    for i, sentence in enumerate(SENTENCES):
        doc = nlp.make_doc(sentence)
        doc.cats = {"A": float(i % 3 == 0), "B": float(i % 3 == 1), "C": float(i % 3 == 2)}
        examples.append(Example(nlp.make_doc(sentence), doc))
    return examples


def textcat(factory: str) -> tuple[str, str, dict]:
    exclusive = factory == "textcat"
    model = {
        "@architectures": "spacy-jbert.PooledTextCat.v1",
        "exclusive_classes": exclusive,
        "tok2vec": listener(),
    }
    return (
        "textcat",
        factory,
        {
            "model": model,
            "scorer": {"@scorers": "spacy-jbert.textcat_scorer.v1", "exclusive_classes": exclusive},
        },
    )


@pytest.mark.parametrize("factory", ["textcat", "textcat_multilabel"])
def test_probabilities_become_honest_and_stay_so_on_disk(
    factory: str, make_nlp: Callable, tmp_path: Path
) -> None:
    nlp = make_nlp([textcat(factory)], categories)
    sharpen(nlp, "textcat")
    before = nlp.evaluate(categories(nlp))
    order = [sorted(doc.cats, key=doc.cats.get) for doc in nlp.pipe(SENTENCES)]
    assert calibrate(corpus=categories)(nlp) is nlp
    after = nlp.evaluate(categories(nlp))
    # 20 or 60 probabilities in ten groups: a good part of what is left is chance.
    assert after["cats_ece"] < before["cats_ece"] * 2 / 3
    assert after["cats_micro_f"] == before["cats_micro_f"]
    assert [sorted(doc.cats, key=doc.cats.get) for doc in nlp.pipe(SENTENCES)] == order
    nlp.to_disk(tmp_path)
    for doc, again in zip(nlp.pipe(SENTENCES), spacy.load(tmp_path).pipe(SENTENCES), strict=True):
        assert doc.cats == pytest.approx(again.cats, abs=1e-6)
    # Other weights need another temperature.
    nlp.update(categories(nlp), sgd=nlp.create_optimizer())
    assert nlp.get_pipe("textcat").model.get_ref("probabilities").attrs["temperature"] == 1.0


def test_each_label_gets_its_threshold(make_nlp: Callable, tmp_path: Path) -> None:
    nlp = make_nlp([textcat("textcat_multilabel")], categories)
    sharpen(nlp, "textcat")
    calibrate(corpus=categories)(nlp)
    plain = nlp.evaluate(categories(nlp))
    calibrate(corpus=categories, thresholds=True)(nlp)
    tuned = nlp.evaluate(categories(nlp))
    assert tuned["cats_macro_f"] > plain["cats_macro_f"]
    assert tuned["cats_macro_auc"] == pytest.approx(plain["cats_macro_auc"])
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert sorted(again.get_pipe("textcat").cfg["threshold"]) == ["A", "B", "C"]
    assert again.evaluate(categories(again))["cats_macro_f"] == tuned["cats_macro_f"]
    again.get_pipe("textcat").add_label("D")
    assert again.evaluate(categories(again))["cats_f_per_type"]["D"]["f"] == 0.0


def test_a_scorer_that_knows_one_threshold_is_refused(make_nlp: Callable) -> None:
    name, factory, config = textcat("textcat_multilabel")
    nlp = make_nlp([(name, factory, {"model": config["model"]})], categories)
    with pytest.raises(ValueError, match="J070"):
        calibrate(corpus=categories, thresholds=True)(nlp)
    calibrate(corpus=categories)(nlp)


def test_a_component_may_calibrate_itself(make_nlp: Callable) -> None:
    """It is handed documents that went through the pipeline."""

    class Own(Pipe):
        given: list[list[str]]

        def __call__(self, doc: spacy.tokens.Doc) -> spacy.tokens.Doc:
            return doc

        def calibration_data(self, examples: list[Example]) -> list[str]:
            assert all(len(eg.predicted._.trf_data.wordpieces.strings[0]) > 2 for eg in examples)
            return [eg.text for eg in examples]

        def calibrate(self, data: list[list[str]]) -> None:
            self.given = data

    Language.factory("calibrates_itself", func=lambda nlp, name: Own())
    nlp = make_nlp([("own", "calibrates_itself", {})])
    nlp.batch_size = 3
    calls: list[str] = []
    chain_callbacks(calibrate(corpus=categories), lambda nlp: calls.append("second") or nlp)(nlp)
    given = nlp.get_pipe("own").given
    assert [text for batch in given for text in batch] == SENTENCES
    assert len(given) == 7
    assert calls == ["second"]


def test_nothing_to_learn_from_changes_nothing(make_nlp: Callable) -> None:
    nlp = make_nlp([textcat("textcat")], categories)
    sharpen(nlp, "textcat")
    calibrate(
        corpus=lambda nlp: [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in SENTENCES]
    )(nlp)
    assert nlp.get_pipe("textcat").model.get_ref("probabilities").attrs["temperature"] == 1.0


def training(nlp: Language, **weights: float) -> Callable[[dict[str, float]], None]:
    """What `spacy train` does with the scores of an evaluation."""
    nlp.config["training"]["score_weights"] = weights

    def found(scores: dict[str, float]) -> None:
        nlp.meta["performance"] = dict(scores)

    return found


def test_figures_are_those_of_what_is_saved(make_nlp: Callable, tmp_path: Path) -> None:
    nlp = make_nlp([textcat("textcat")], categories)
    sharpen(nlp, "textcat")
    found = training(nlp, cats_score=1.0, cats_ece=0.0)
    before = nlp.evaluate(categories(nlp))
    found({name: before[name] for name in ("cats_score", "cats_ece", "cats_f_per_type")})
    calibrate(corpus=categories)(nlp)
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    after = again.evaluate(categories(again))
    assert again.meta["performance"]["cats_ece"] == pytest.approx(after["cats_ece"], abs=1e-6)
    assert again.meta["performance"]["cats_ece"] < before["cats_ece"] * 2 / 3
    assert again.meta["performance"]["cats_score"] == pytest.approx(before["cats_score"])


def test_figures_with_thresholds(make_nlp: Callable) -> None:
    nlp = make_nlp([textcat("textcat_multilabel")], categories)
    sharpen(nlp, "textcat")
    found = training(nlp, cats_macro_f=1.0)
    found({"cats_macro_f": nlp.evaluate(categories(nlp))["cats_macro_f"]})
    calibrate(corpus=categories, thresholds=True)(nlp)
    after = nlp.evaluate(categories(nlp))["cats_macro_f"]
    assert nlp.meta["performance"]["cats_macro_f"] == pytest.approx(after)


def test_only_the_best_and_the_last_are_calibrated(make_nlp: Callable) -> None:
    nlp = make_nlp([textcat("textcat")], categories)
    passes: list[int] = []

    def corpus(nlp: Language) -> list[Example]:
        passes.append(step)
        return categories(nlp)

    found = training(nlp, cats_score=1.0)
    save = calibrate(corpus=corpus)
    for step, score in enumerate([0.5, 0.4, 0.6, 0.6, 0.3]):
        nlp.update(categories(nlp), sgd=nlp.create_optimizer())
        found({"cats_score": score, "textcat_loss": float(step)})
        save(nlp)
    assert passes == [0, 2, 3]
    assert nlp.get_pipe("textcat").model.get_ref("probabilities").attrs["temperature"] == 1.0


def test_the_last_save_is_calibrated(make_nlp: Callable) -> None:
    """It comes after the last evaluation's, with the same figures in meta."""
    nlp = make_nlp([textcat("textcat")], categories)
    sharpen(nlp, "textcat")
    found = training(nlp, cats_score=1.0)
    save = calibrate(corpus=categories)
    temperatures = []
    for score in (0.5, 0.4):
        nlp.get_pipe("textcat").model.get_ref("probabilities").attrs["temperature"] = 1.0
        found({"cats_score": score})
        save(nlp)
        temperatures.append(
            nlp.get_pipe("textcat").model.get_ref("probabilities").attrs["temperature"]
        )
    save(nlp)
    temperatures.append(nlp.get_pipe("textcat").model.get_ref("probabilities").attrs["temperature"])
    assert temperatures[0] == temperatures[2] != 1.0
    assert temperatures[1] == 1.0


def test_vectors_are_not_kept(make_nlp: Callable) -> None:
    nlp = make_nlp([textcat("textcat")], categories)
    examples = categories(nlp)
    calibrate(corpus=lambda nlp: examples)(nlp)
    assert all(eg.predicted._.trf_data is None for eg in examples)
    assert all(eg.predicted.cats for eg in examples)
