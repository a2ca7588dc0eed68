"""NaN and infinity: a coded error in training, saving, loading and prediction, and no certainty."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.training import Example
from thinc.api import Adam

from spacy_jbert.evaluation.calibration import fit_temperature
from spacy_jbert.evaluation.scorers import expected_calibration_error
from spacy_jbert.models.scale import scale

from ..conftest import SENTENCES

BAD = [np.nan, np.inf, -np.inf]
CNN = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "width": 16,
    "depth": 1,
    "embed_size": 100,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": False,
    "pretrained_vectors": None,
}


def pipeline(factory: str, examples: Callable[[Language], list[Example]]) -> Language:
    architecture: dict[str, Any] = (
        {"@architectures": "spacy-jbert.TokenClassifier.v1", "tok2vec": CNN}
        if factory == "jbert_ner"
        else {
            "@architectures": "spacy-jbert.PooledTextCat.v1",
            "exclusive_classes": factory == "textcat",
            "tok2vec": CNN,
        }
    )
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    nlp.add_pipe(factory, name="head", config={"model": architecture})
    nlp.initialize(lambda: examples(nlp))
    return nlp


@pytest.fixture
def both(ner_examples: Callable) -> Callable[[Language], list[Example]]:
    """Entities, and categories too."""

    def make(nlp: Language) -> list[Example]:
        examples = ner_examples(nlp)
        for i, eg in enumerate(examples):
            eg.reference.cats = {"A": float(i % 2), "B": 1.0 - i % 2}
        return examples

    return make


def damage(nlp: Language, value: float, param: str = "W") -> None:
    layer = nlp.get_pipe("head").model.get_ref("output_layer")
    layer.get_param(param).flat[0] = value


FACTORIES = {"jbert_ner": "J054", "textcat": "J057", "textcat_multilabel": "J057"}


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("factory", FACTORIES)
def test_weights(factory: str, value: float, both: Callable) -> None:
    nlp = pipeline(factory, both)
    damage(nlp, value, "b")
    with pytest.raises(ValueError, match=FACTORIES[factory]):
        nlp(SENTENCES[0])
    before = nlp.get_pipe("head").model.get_ref("output_layer").get_param("W").copy()
    with pytest.raises(ValueError, match=FACTORIES[factory]):
        nlp.update(both(nlp), sgd=Adam(0.01))
    after = nlp.get_pipe("head").model.get_ref("output_layer").get_param("W")
    assert np.array_equal(before, after)


def test_transitions(both: Callable) -> None:
    nlp = pipeline("jbert_ner", both)
    nlp.get_pipe("head").model.get_ref("transitions").get_param("T")[0, 0] = np.nan
    with pytest.raises(ValueError, match="J054"):
        nlp(SENTENCES[0])


def test_a_learning_rate_that_is_too_high(both: Callable) -> None:
    nlp = pipeline("jbert_ner", both)
    optimizer = Adam(1e38, grad_clip=0.0)
    with np.errstate(all="ignore"):
        nlp.update(both(nlp), sgd=optimizer)
        with pytest.raises(ValueError, match="J054"):
            nlp.update(both(nlp), sgd=optimizer)


def test_saving_keeps_the_last_good_model(both: Callable, tmp_path: Path) -> None:
    nlp = pipeline("jbert_ner", both)
    nlp.to_disk(tmp_path)
    damage(nlp, np.nan)
    with pytest.raises(ValueError, match="J054"):
        nlp.to_disk(tmp_path)
    with pytest.raises(ValueError, match="J054"):
        nlp.to_bytes()
    spacy.load(tmp_path)(SENTENCES[0])


@pytest.mark.parametrize("temperature", [np.nan, np.inf, 0.0, -1.0])
def test_temperatures(temperature: float, both: Callable, tmp_path: Path) -> None:
    nlp = pipeline("jbert_ner", both)
    nlp.to_disk(tmp_path)
    nlp.get_pipe("head").cfg["temperature"] = temperature
    with pytest.raises(ValueError, match="J056"):
        nlp(SENTENCES[0])
    with pytest.raises(ValueError, match="J056"):
        nlp.to_disk(tmp_path)
    if np.isfinite(temperature):  # spaCy's own reader of JSON refuses the others
        config = tmp_path / "head" / "cfg"
        settings = json.loads(config.read_text(encoding="utf-8"))
        config.write_text(json.dumps({**settings, "temperature": temperature}), encoding="utf-8")
        with pytest.raises(ValueError, match="J056"):
            spacy.load(tmp_path)
    for factory in ("textcat", "textcat_multilabel"):
        nlp = pipeline(factory, both)
        nlp.get_pipe("head").model.get_ref("probabilities").attrs["temperature"] = temperature
        with pytest.raises(ValueError, match="J056"):
            nlp(SENTENCES[0])


def test_loading_damaged_weights(both: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = pipeline("jbert_ner", both)
    damage(nlp, np.inf)
    pipe = nlp.get_pipe("head")
    with monkeypatch.context() as patch:
        patch.setattr(type(pipe), "_require_sound", lambda self: None)
        data = nlp.to_bytes()
    with pytest.raises(ValueError, match="J054"):
        spacy.blank("ja").from_config(nlp.config).from_bytes(data)


@pytest.mark.parametrize("factor", [*BAD, 0.0, -10.0])
def test_learn_rate_factors(factor: float) -> None:
    with pytest.raises(ValueError, match="J058"):
        scale(factor)


@pytest.mark.parametrize("value", BAD)
def test_fitting_and_evaluation(value: float) -> None:
    with pytest.raises(ValueError, match="J071"):
        fit_temperature(lambda temperature: value)
    with pytest.raises(ValueError, match="J072"):
        expected_calibration_error([0.5, value], [True, True])


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("factory", ["textcat", "textcat_multilabel"])
def test_annotation(factory: str, value: float, both: Callable) -> None:
    nlp = pipeline(factory, both)
    examples = both(nlp)
    examples[0].reference.cats = {"A": value, "B": 0.0}
    before = nlp.get_pipe("head").model.get_ref("output_layer").get_param("W").copy()
    with pytest.raises(ValueError, match=r"E851|J057"):
        nlp.update(examples, sgd=Adam(0.01))
    after = nlp.get_pipe("head").model.get_ref("output_layer").get_param("W")
    assert np.array_equal(before, after)


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_stream_goes_on(factory: str, both: Callable) -> None:
    """With an error handler set, the texts that can't be predicted are reported, not raised."""
    nlp = pipeline(factory, both)
    damage(nlp, np.nan, "b")
    reported: list[str] = []
    nlp.set_error_handler(lambda name, pipe, docs, error: reported.append(str(error)))
    assert list(nlp.pipe(SENTENCES[:2])) == []
    assert FACTORIES[factory] in reported[0]
