"""Two pipelines that don't know the same labels, and what is annotated with none."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.training import Example

from spacy_jbert.corpora.docs import read_docbin
from spacy_jbert.corpora.records import convert_records
from spacy_jbert.evaluation.card import performance, with_card
from spacy_jbert.evaluation.comparison import compared
from spacy_jbert.evaluation.mistakes import Mistake
from spacy_jbert.evaluation.outcome import Outcome, measure, record
from spacy_jbert.evaluation.page import data, matrix, page

TEXTS = [f"{number}番目の文です。" for number in range(40)]


def classifier(nlp: Language, labels: Sequence[str], *, name: str = "textcat", seed: int) -> None:
    """A text classifier that says at random how much each label fits a text."""
    exclusive = name == "textcat" or name.startswith("one")
    pipe = nlp.add_pipe("textcat" if exclusive else "textcat_multilabel", name=name)
    for label in labels:
        pipe.add_label(label)

    def predict(docs: Sequence[Any]) -> np.ndarray:
        rows = [
            np.random.default_rng([seed, TEXTS.index(doc.text)]).dirichlet(np.ones(len(labels)))
            for doc in docs
        ]
        return np.stack(rows)

    pipe.predict = predict


def build(labels: Sequence[str], *, name: str = "textcat", seed: int) -> Language:
    nlp = spacy.blank("ja")
    classifier(nlp, labels, name=name, seed=seed)
    nlp.initialize()
    return nlp


def examples(nlp: Language, labels: str = "xyz", *, none: int = 0) -> list[Example]:
    """Texts with one label each; the last ones with none of them."""
    found = []
    for number, text in enumerate(TEXTS):
        gold = nlp.make_doc(text)
        wanted = "" if number >= len(TEXTS) - none else labels[number % len(labels)]
        gold.cats = {label: float(label == wanted) for label in labels}
        found.append(Example(nlp.make_doc(text), gold))
    return found


def outcome(nlp: Language, given: Sequence[Example]) -> Outcome:
    return measure(nlp, given, title="")


def headline(of: Outcome) -> dict[str, float]:
    return {name: one.value for name, one in of.tasks[0].headline.items()}


def right(given: Sequence[Example]) -> float:
    """The share of the texts whose surest category is the annotated one."""
    said = [max(eg.predicted.cats, key=eg.predicted.cats.__getitem__) for eg in given]
    return sum(
        eg.reference.cats.get(best, 0.0) > 0 for best, eg in zip(said, given, strict=True)
    ) / len(given)


@pytest.mark.parametrize("none", [0, 7])
@pytest.mark.parametrize("name", ["textcat", "tags"])
@pytest.mark.parametrize(
    ("first", "second"), [("xy", "xyz"), ("xyz", "xy"), ("xy", "yz"), ("xyz", "xyzw")]
)
def test_a_difference_is_that_of_the_headlines(
    first: str, second: str, name: str, none: int
) -> None:
    sides = []
    for seed, labels in enumerate((first, second)):
        nlp = build(labels, name=name, seed=seed)
        given = examples(nlp, none=none)
        sides.append(outcome(nlp, given))
        if name == "textcat":
            assert headline(sides[-1])["accuracy"] == pytest.approx(right(given))
    found = compared(*sides)
    for score, value in found.differences[name].items():
        assert value.value == pytest.approx(headline(sides[1])[score] - headline(sides[0])[score])
    assert found.differences[name].keys() == headline(sides[0]).keys()
    rows = {label: row for label, *row in found.labels[name]}
    assert rows.keys() == {*"xyz", *first, *second}
    for side, of in enumerate(sides):
        known = {row["label"]: row for row in of.tasks[0].labels}
        for label, (support, *f) in rows.items():
            assert f[side] == (known[label]["f"] if label in known else 0.0)
            assert support == sum(eg.reference.cats.get(label, 0) > 0 for eg in given)
    page(sides, comparison=found)


@pytest.mark.parametrize("name", ["textcat", "tags"])
def test_one_pipeline_scores_as_in_spacy(name: str) -> None:
    nlp = build("xyz", name=name, seed=3)
    given = examples(nlp)
    of = outcome(nlp, given)
    wanted = Scorer(nlp).score(given)
    found = headline(of)
    assert found["macro_f"] == pytest.approx(wanted["cats_macro_f"])
    assert found.get("accuracy", found.get("f")) == pytest.approx(wanted["cats_micro_f"])


def test_exclusive_or_not_the_common_scores_are_compared() -> None:
    one, many = build("xyz", seed=1), build("xyz", name="tags", seed=2)
    many.rename_pipe("tags", "textcat")
    sides = [outcome(nlp, examples(nlp)) for nlp in (one, many)]
    for pair in (sides, sides[::-1]):
        found = compared(*pair)
        assert list(found.differences["textcat"]) == ["macro_f"]
        difference = headline(pair[1])["macro_f"] - headline(pair[0])["macro_f"]
        assert found.differences["textcat"]["macro_f"].value == pytest.approx(difference)
        page(pair, comparison=found)


@pytest.mark.parametrize("labels", ["xyz", "xy"])
def test_the_list_holds_what_counts_as_wrong(labels: str) -> None:
    """Texts without any category and such with an unknown one are in it too."""
    nlp = build(labels, seed=4)
    given = examples(nlp, none=9)
    of = outcome(nlp, given)
    wrong = {mistake.record for mistake in of.mistakes}
    assert headline(of)["accuracy"] == pytest.approx(1 - len(wrong) / len(given))
    assert wrong == of.records.keys()
    nothing = [mistake for mistake in of.mistakes if mistake.gold is None]
    assert len(nothing) == 9
    assert {mistake.kind for mistake in nothing} == {"invented class"}
    unknown = [mistake for mistake in of.mistakes if mistake.gold and mistake.gold.label == "z"]
    kind = "wrong class" if "z" in labels else "missed class"
    assert {mistake.kind for mistake in unknown} == {kind}
    of_matrix(of, of.mistakes)


def of_matrix(of: Outcome, mistakes: Sequence[Mistake]) -> None:
    """Each number of each matrix is that of the mistakes with these labels, of that component."""
    for task in of.tasks:
        _, cells, _ = matrix(task)
        for (gold, found), count in cells.items():
            if gold != found:
                listed = [
                    mistake
                    for mistake in mistakes
                    if mistake.task == task.name
                    and (mistake.gold.label if mistake.gold else "") == gold
                    and (mistake.answered.label if mistake.answered else "") == found
                ]
                assert len(listed) == count


def two_classifiers(*, seed: int = 5) -> tuple[Language, list[Example]]:
    """Two with some labels in common, and tags that come first in the annotation."""
    nlp = spacy.blank("ja")
    classifier(nlp, "xyz", name="one", seed=seed)
    classifier(nlp, "xpq", name="one more", seed=seed + 1)
    classifier(nlp, "tu", name="tags", seed=seed + 2)
    nlp.initialize()
    given = examples(nlp)
    for number, eg in enumerate(given):
        tags = {"t": 1.0, "u": float(number % 2), "p": 0.0, "q": 0.0}
        eg.reference.cats = {**tags, **eg.reference.cats}
    return nlp, given


def test_several_classifiers_are_each_judged_by_their_labels() -> None:
    nlp, given = two_classifiers()
    # This says nothing of the labels of the others.
    given[0].reference.cats = {"t": 1.0, "u": 0.0}
    of = outcome(nlp, given)
    of_matrix(of, of.mistakes)
    for task in of.tasks[:2]:
        assert sum(count for _, _, count in task.confusion) == len(given) - 1
        assert {gold for gold, _, _ in task.confusion} <= {"", "x", "y", "z"}
    rows = data([of], None)["mistakes"]
    assert {row[5] for row in rows} == {"one", "one more", "tags"}
    assert len(rows) == len(of.mistakes)


def test_several_classifiers_in_the_card() -> None:
    nlp, given = two_classifiers()
    of = outcome(nlp, given)
    found = performance(of)
    assert not any(name in found for name in ("cats_micro_f", "cats_macro_f", "cats_f_per_type"))
    for task in of.tasks:
        macro = task.headline["macro_f"]
        assert found[f"cats_{task.name}_macro_f"] == macro.value
        assert found[f"cats_{task.name}_macro_f_interval"] == [macro.low, macro.high]
        per_type = found[f"cats_{task.name}_f_per_type"]
        assert per_type.keys() == {row["label"] for row in task.labels}
    assert found["cats_one_micro_f"] == of.tasks[0].headline["accuracy"].value
    json.dumps(with_card(of, {}))
    one = build("xyz", seed=1)
    alone = performance(outcome(one, examples(one)))
    assert {"cats_micro_f", "cats_macro_f", "cats_macro_f_interval", "cats_f_per_type"} <= set(
        alone
    )


def test_the_card_says_what_a_pipeline_knows() -> None:
    nlp = build("xy", seed=1)
    written = with_card(outcome(nlp, examples(nlp)), {"notes": None})["notes"]
    assert written.startswith("## Model card")
    assert "into one of these categories: x, y." in written


@pytest.mark.parametrize("label", ["a,b", "a, b", '["a"]', "{a}", "普通", "a b"])
@pytest.mark.parametrize("task", ["textcat", "textcat_multilabel"])
@pytest.mark.parametrize("several", [False, True])
def test_records_are_read_back_with_their_labels(
    label: str, task: Any, several: bool, tmp_path: Path
) -> None:
    nlp = spacy.blank("ja")
    lines = []
    for number, text in enumerate(TEXTS):
        gold = nlp.make_doc(text)
        gold.cats = {label: float(number % 2), "c": float(not number % 2)}
        found = record(Example(nlp.make_doc(text), gold), number, several=several)
        lines.append(json.dumps(found, ensure_ascii=False))
    file = tmp_path / "mistakes.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    convert_records(file, out=tmp_path / "again", task=task, split="100/0/0")
    for doc in read_docbin(tmp_path / "again/train.spacy", nlp.vocab):
        number = TEXTS.index(doc.text)
        wanted = label if number % 2 else "c"
        assert doc.cats == {name: float(name == wanted) for name in (label, "c")}


def test_several_labels_with_any_separator() -> None:
    """`jbert convert --separator` may be anything."""
    nlp = build(["x/y", "z"], name="tags", seed=1)
    given = examples(nlp)
    for eg in given:
        eg.reference.cats = {"x/y": 1.0, "z": 0.0}
    of = outcome(nlp, given)
    assert of.records
    assert all(one["label"] == ["x/y"] for one in of.records.values())
