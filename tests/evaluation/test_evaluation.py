"""What a pipeline gets wrong, and what is shown of it."""

import io
import json
import math
import re

import numpy as np
import pytest
import spacy
from rich.cells import cell_len
from rich.console import Console
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

from spacy_jbert.evaluation.answers import entity_answers
from spacy_jbert.evaluation.listing import as_dict, confusions, print_mistakes
from spacy_jbert.evaluation.mistakes import (
    UNCERTAIN,
    Label,
    Mistake,
    about,
    category_mistakes,
    entity_mistakes,
    evaluate,
)
from spacy_jbert.evaluation.outcome import task
from spacy_jbert.evaluation.scorers import expected_calibration_error, textcat_scorer

WORDS = ["田中", "さん", "は", "東京", "都", "の", "日本", "放送", "で", "働く"]


def annotated(*entities: tuple[int, int, str]) -> Doc:
    doc = Doc(spacy.blank("ja").vocab, words=WORDS, spaces=[False] * len(WORDS))
    doc.ents = [Span(doc, start, end, label) for start, end, label in entities]
    return doc


def summary(mistakes: list[Mistake]) -> list[tuple[str, str, str]]:
    return [
        (
            mistake.kind,
            *(
                "" if side is None else mistake.text[side.start : side.end] + side.label
                for side in (mistake.gold, mistake.predicted)
            ),
        )
        for mistake in mistakes
    ]


def test_each_kind_of_mistake_once() -> None:
    gold = annotated((0, 1, "人名"), (3, 5, "地名"), (6, 8, "組織名"))
    predicted = annotated((0, 1, "組織名"), (3, 4, "地名"), (9, 10, "人名"))
    assert summary(entity_mistakes(gold, predicted)) == [
        ("wrong type", "田中人名", "田中組織名"),
        ("wrong border", "東京都地名", "東京地名"),
        ("missed", "日本放送組織名", ""),
        ("invented", "", "働く人名"),
    ]
    assert entity_mistakes(gold, gold) == []


def test_what_is_under_its_threshold_is_no_miss() -> None:
    gold = annotated((0, 1, "人名"), (3, 5, "地名"), (6, 8, "組織名"))
    predicted = annotated((9, 10, "人名"))
    spans = [predicted[0:1], predicted[3:4], predicted[3:5]]
    withheld = [
        Span(predicted, span.start, span.end, label)
        for span, label in zip(spans, ["人名", "地名", "地名"], strict=True)
    ]
    scores = {"scores": np.array([0.25, 0.5, 0.125])}
    predicted.spans[UNCERTAIN] = SpanGroup(predicted, attrs=scores, spans=withheld)
    mistakes = entity_mistakes(gold, predicted)
    assert summary(mistakes) == [
        ("uncertain", "田中人名", "田中人名"),
        # Of several the one that would have been right.
        ("uncertain", "東京都地名", "東京都地名"),
        ("missed", "日本放送組織名", ""),
        ("invented", "", "働く人名"),
    ]
    assert [mistake.confidence for mistake in mistakes] == [0.25, 0.125, None, None]
    # It is not taken for anything.
    assert confusions(mistakes) == []
    assert mistakes[0].answered is None
    (answers,) = [entity_answers([Example(predicted, gold)])]
    assert answers.confusion == {
        ("人名", ""): 1,
        ("地名", ""): 1,
        ("組織名", ""): 1,
        ("", "人名"): 1,
    }
    found = task(answers, None, [Example(predicted, gold)])
    assert found.kept is not None
    assert found.withheld is not None
    assert (found.kept.answers, found.kept.coverage) == (1, 0.25)
    assert (found.withheld.answers, found.withheld.accuracy) == (3, pytest.approx(2 / 3))


def test_borders_are_compared_by_character() -> None:
    gold = annotated((3, 5, "地名"))
    other = Doc(gold.vocab, words=["田中さんは", "東京都", "の日本放送で働く"], spaces=[False] * 3)
    other.ents = [Span(other, 1, 2, "地名")]
    assert entity_mistakes(gold, other) == []


def test_what_the_annotation_leaves_open_is_no_mistake() -> None:
    gold, predicted = annotated(), annotated((0, 1, "人名"), (3, 5, "地名"))
    gold.set_ents([], missing=[gold[3:5]])
    assert summary(entity_mistakes(gold, predicted)) == [("invented", "", "田中人名")]


def test_categories_exclusive_and_not() -> None:
    gold, predicted = annotated(), annotated()
    everything = (0, len(gold.text))
    gold.cats, predicted.cats = {"a": 1.0, "b": 0.0}, {"a": 0.3, "b": 0.7}
    wrong = Mistake("wrong class", gold.text, Label("a", *everything), Label("b", *everything), 0.7)
    assert category_mistakes(gold, predicted, ["a", "b"], exclusive_classes=True) == [wrong]
    missed, invented = category_mistakes(gold, predicted, ["a", "b"], exclusive_classes=False)
    assert (missed.kind, missed.gold.label, missed.predicted, missed.confidence) == (
        "missed class",
        "a",
        None,
        0.7,
    )
    assert (invented.kind, invented.gold, invented.predicted.label, invented.confidence) == (
        "invented class",
        None,
        "b",
        0.7,
    )
    # Each label has its threshold, one that came later 0.5.
    assert (
        category_mistakes(
            gold, predicted, ["a", "b"], exclusive_classes=False, threshold={"a": 0.2, "b": 0.8}
        )
        == []
    )
    assert (
        len(
            category_mistakes(
                gold, predicted, ["a", "b"], exclusive_classes=False, threshold={"a": 0.2}
            )
        )
        == 1
    )
    for nothing in ({}, {"a": 0.0}, {"other": 1.0}):
        gold.cats = nothing
        assert category_mistakes(gold, predicted, ["a", "b"], exclusive_classes=False) == []
        found = category_mistakes(gold, predicted, ["a", "b"], exclusive_classes=True)
        # One class is always said: where the annotation has none of them, that is wrong.
        assert summary(found) == (
            [("invented class", "", gold.text + "b")] if "a" in nothing else []
        )


def test_calibration_error() -> None:
    assert expected_calibration_error([0.75] * 4, [True, True, True, False]) == 0.0
    assert expected_calibration_error([1.0] * 4, [True, False, False, False]) == pytest.approx(0.75)
    # Too sure in one group doesn't make up for too doubtful in another.
    assert expected_calibration_error([0.9, 0.1], [False, True]) == pytest.approx(0.9)
    assert math.isnan(expected_calibration_error([], []))
    # Nor where all of them are close to 1: half are right, all said with 0.98 on average.
    sure, right = [0.97] * 50 + [0.99] * 50, [True] * 50 + [False] * 50
    assert expected_calibration_error(sure, right) == pytest.approx((0.03 + 0.99) / 2)


def test_calibration_error_of_skewed_confidences() -> None:
    """Right as often as they say, in any order: an error of chance alone."""
    rng = np.random.default_rng(0)
    sure = rng.beta(8, 0.5, 4000)
    right = rng.random(4000) < sure
    error = expected_calibration_error(sure, right)
    assert 0.0 < error < 0.02
    order = rng.permutation(4000)
    assert expected_calibration_error(sure[order], right[order]) == pytest.approx(error)
    # What is said with p is right with p to the power of 3/2, and the groups are narrow enough to
    # tell.
    power = rng.random(4000) < sure**1.5
    assert expected_calibration_error(sure, power) == pytest.approx(
        np.mean(sure - sure**1.5), abs=0.015
    )


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_textcat_scorer(exclusive: bool) -> None:
    """As spaCy's, but for documents without categories and for thresholds."""
    examples = []
    for a, b in ((0.9, 0.1), (0.4, 0.6), (0.2, 0.3)):
        examples.append(Example(annotated(), annotated()))
        examples[-1].predicted.cats = {"a": a, "b": b}
        examples[-1].reference.cats = {"a": 1.0, "b": 0.0}
    examples[-1].reference.cats = {}
    score = textcat_scorer(exclusive)
    stock = spacy.registry.scorers.get(
        f"spacy.textcat{'' if exclusive else '_multilabel'}_scorer.v2"
    )()
    ours = score(examples, labels=["a", "b"], threshold=0.5)
    assert ours.pop("cats_ece") == pytest.approx((0.1 + 0.6) / 2)
    assert ours == stock(examples[:2], labels=["a", "b"], threshold=0.5)
    tuned = score(examples, labels=["a", "b"], threshold={"a": 0.4, "b": 0.7})
    assert tuned["cats_f_per_type"]["a"]["r"] == (0.5 if exclusive else 1.0)
    for threshold in (0.0, 0.3, 1.0):
        ours = score(examples, labels=["a", "b"], threshold=threshold)
        assert (
            ours["cats_micro_f"]
            == stock(examples[:2], labels=["a", "b"], threshold=threshold)["cats_micro_f"]
        )
    assert score(examples[2:], labels=["a", "b"])["cats_ece"] is None


@pytest.fixture
def found() -> tuple[dict, list[Mistake]]:
    nlp = spacy.blank("ja")
    nlp.add_pipe("entity_ruler").add_patterns(
        [{"label": "人名", "pattern": "田中"}, {"label": "地名", "pattern": "東京"}]
    )
    gold = annotated((0, 1, "組織名"), (3, 5, "<地名>"))
    return evaluate(
        nlp,
        [
            Example(nlp.make_doc(gold.text), gold),
            Example(nlp.make_doc(gold.text), nlp.make_doc(gold.text)),
        ],
    )


def test_a_pipeline_is_run(found: tuple[dict, list[Mistake]]) -> None:
    scores, mistakes = found
    assert scores["ents_r"] == 0.0
    assert summary(mistakes) == [
        ("wrong type", "田中組織名", "田中人名"),
        ("wrong border", "東京都<地名>", "東京地名"),
    ]
    assert summary(about(mistakes, ["人名"])) == summary(mistakes)[:1]
    assert confusions(mistakes) == [("組織名", "人名", 1), ("<地名>", "地名", 1)]
    assert json.loads(json.dumps(as_dict(mistakes[0])))["gold"] == {
        "label": "組織名",
        "start": 0,
        "end": 2,
    }


def test_the_tables_are_straight(found: tuple[dict, list[Mistake]]) -> None:
    """Full-width characters take two columns."""
    out = io.StringIO()
    console = Console(file=out, width=100)
    print_mistakes(console, found[1], limit=1)
    text = out.getvalue()
    assert "田中さんは東京都の日本放送で働く" in text
    assert "1 more" in text
    for table in re.findall(r"┏.*?┘", text, flags=re.DOTALL):
        assert len({cell_len(line) for line in table.splitlines()}) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_categories_that_are_no_probabilities(value: float) -> None:
    """Of whatever component: NaN is neither reached by a threshold nor sorted."""
    nlp = spacy.blank("ja")
    nlp.add_pipe("textcat").add_label("a")
    nlp.get_pipe("textcat").add_label("b")
    nlp.initialize()
    nlp.get_pipe("textcat").predict = lambda docs: np.array([[value, 0.5]] * len(docs))
    gold = annotated()
    gold.cats = {"a": 1.0, "b": 0.0}
    with pytest.raises(ValueError, match="J072"):
        evaluate(nlp, [Example(nlp.make_doc(gold.text), gold)])
    predicted = annotated()
    predicted.cats = {"a": value, "b": 0.5}
    with pytest.raises(ValueError, match="J072"):
        textcat_scorer(False)([Example(predicted, gold)], labels=["a", "b"])


def test_of_several_categories_the_surest_is_meant() -> None:
    nlp = spacy.blank("ja")
    gold, predicted = nlp.make_doc("東京へ行く。"), nlp.make_doc("東京へ行く。")
    gold.cats = {"x": 0.4, "y": 0.6}
    predicted.cats = {"x": 0.9, "y": 0.1}
    (mistake,) = category_mistakes(gold, predicted, ["x", "y"], exclusive_classes=True)
    assert mistake.kind == "wrong class"
