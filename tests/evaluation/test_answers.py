"""What a pipeline answers, counted as spaCy counts it."""

from collections.abc import Callable

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.scorer import Scorer, get_ner_prf
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_jbert.evaluation.answers import (
    answers_of,
    category_answers,
    entity_answers,
    uncalibrated,
)
from spacy_jbert.evaluation.confidence import register
from spacy_jbert.evaluation.intervals import score
from spacy_jbert.evaluation.mistakes import annotate

from ..conftest import SENTENCES
from .test_calibration import categories, sharpen, textcat

RNG = np.random.default_rng(5)


def random_entities(doc: Doc) -> None:
    i, found = 0, []
    while i < len(doc):
        length = int(RNG.integers(1, 3))
        if RNG.random() < 0.4 and i + length <= len(doc):
            found.append(Span(doc, i, i + length, label=str(RNG.choice(["A", "B", "<C>"]))))
        i += length
    doc.set_ents(found)


def test_entities_count_as_in_spacys_scores(japanese: Language) -> None:
    register()
    examples = []
    for sentence in SENTENCES:
        gold, said = japanese.make_doc(sentence), japanese.make_doc(sentence)
        random_entities(gold)
        random_entities(said)
        for ent in said.ents:
            ent._.jbert_score = float(RNG.random())
        examples.append(Example(said, gold))
    # One without annotation, and one of which half isn't annotated.
    examples.append(Example(japanese.make_doc("猫。"), japanese.make_doc("猫。")))
    half = japanese.make_doc(SENTENCES[0])
    half.set_ents([], missing=[half[:3]])
    examples.append(Example(examples[0].predicted, half))
    found, wanted = entity_answers(examples), get_ner_prf(examples)
    totals = score(found.counts.sum(axis=0))
    for name in "prf":
        assert totals[name] == pytest.approx(wanted[f"ents_{name}"])
    per_type = score(found.counts.sum(axis=0)[:, None])
    for i, label in enumerate(found.labels):
        for name in "prf":
            assert per_type[name][i] == pytest.approx(wanted["ents_per_type"][label][name])
    # Every entity with a confidence is an answer; what is right is on the diagonal.
    assert len(found.said) == found.counts[:, :, :2].sum()
    strict = found.semeval["strict"]
    assert strict["correct"] == found.counts[:, :, 0].sum()
    assert sum(found.confusion[label, label] for label in found.labels) >= strict["correct"]


@pytest.mark.parametrize("exclusive", [True, False])
def test_categories_count_as_in_spacys_scores(exclusive: bool, japanese: Language) -> None:
    labels = ["A", "B", "C"]
    examples = []
    for sentence in SENTENCES:
        gold, said = japanese.make_doc(sentence), japanese.make_doc(sentence)
        one = RNG.integers(3)
        gold.cats = {
            label: float(i == one if exclusive else RNG.random() < 0.4)
            for i, label in enumerate(labels)
        }
        said.cats = dict(zip(labels, RNG.dirichlet(np.ones(3)).tolist(), strict=True))
        examples.append(Example(said, gold))
    found = category_answers(examples, labels, name="textcat", exclusive=exclusive, threshold=0.4)
    threshold = 0.0 if exclusive else 0.4
    wanted = Scorer.score_cats(
        examples, "cats", labels=labels, multi_label=not exclusive, threshold=threshold
    )
    totals = score(found.counts.sum(axis=0))
    assert totals["f"] == pytest.approx(wanted["cats_micro_f"])
    assert totals["macro_f"] == pytest.approx(wanted["cats_macro_f"])
    assert len(found.claims) == len(SENTENCES) if exclusive else len(found.said)
    assert bool(found.confusion) == exclusive


def test_what_is_said_before_calibration(make_nlp: Callable[..., Language]) -> None:
    nlp = make_nlp([textcat("textcat")], categories)
    sharpen(nlp, "textcat")
    examples = categories(nlp)
    layer = nlp.get_pipe("textcat").model.get_ref("probabilities")
    annotate(nlp, examples)
    (plain,) = answers_of(nlp, examples, entities=False)
    assert uncalibrated(nlp, examples) == {}
    layer.attrs["temperature"] = 3.0
    annotate(nlp, examples)
    (calibrated,) = answers_of(nlp, examples, entities=False)
    before = uncalibrated(nlp, examples)["textcat"]
    assert layer.attrs["temperature"] == 3.0
    assert [one.confidence for one in before] == pytest.approx(
        [one.confidence for one in plain.said], abs=1e-5
    )
    assert [one.label for one in before] == [one.label for one in calibrated.said]
    assert max(one.confidence for one in calibrated.said) < max(one.confidence for one in before)


def test_nothing_annotated_is_no_answer() -> None:
    nlp = spacy.blank("ja")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "A", "pattern": "猫"}])
    examples = [Example(nlp("猫。"), nlp.make_doc("猫。"))]
    assert answers_of(nlp, examples, entities=True) == []
