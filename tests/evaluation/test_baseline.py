"""The linear baseline of text classification."""

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_jbert.evaluation import baseline
from spacy_jbert.evaluation.baseline import linear_baseline
from spacy_jbert.evaluation.outcome import measure
from spacy_jbert.evaluation.page import page
from spacy_jbert.evaluation.wording import WORDS


def docs(nlp: Language, texts: dict[str, set[str]], labels: str = "AB") -> list[Doc]:
    found = []
    for text, true in texts.items():
        doc = nlp.make_doc(text)
        doc.cats = {label: float(label in true) for label in labels}
        found.append(doc)
    return found


TRAIN = {f"猫が{i}匹": {"A"} for i in range(8)} | {f"犬は{i}頭": {"B"} for i in range(8)}
TEST: dict[str, set[str]] = {"猫が九十匹": {"A"}, "犬は九十頭": {"B"}, "犬は百頭": {"A"}}


def test_one_label_a_document(japanese: Language) -> None:
    train = docs(japanese, TRAIN)
    without = japanese.make_doc("猫が犬と")  # without categories
    found = linear_baseline(
        [*train, without], [*docs(japanese, TEST), without], exclusive_classes=True
    )
    assert found.n_train == 16
    assert found.seconds > 0
    assert found.scores["cats_micro_f"] == pytest.approx(2 / 3)
    assert found.scores["cats_f_per_type"]["B"]["r"] == 1.0
    assert "cats_ece" not in found.scores
    assert not without.cats


def test_any_number_of_labels(japanese: Language) -> None:
    both = {f"猫が{i}匹、犬は{i}頭": {"A", "B"} for i in range(8)}
    none: dict[str, set[str]] = {f"空{i}海": set() for i in range(8)}
    train = docs(japanese, TRAIN | both | none)
    test = docs(japanese, {"猫が九匹、犬は九頭": {"A", "B"}, "空九海": set(), "猫が九匹": {"A"}})
    found = linear_baseline(train, test, exclusive_classes=False)
    assert found.scores["cats_micro_f"] == 1.0


def test_labels_of_the_pipeline_that_it_never_saw(japanese: Language) -> None:
    found = linear_baseline(
        docs(japanese, TRAIN),
        docs(japanese, {"鳥が飛ぶ": {"C"}}, "ABC"),
        exclusive_classes=True,
        labels=("A", "B", "C"),
    )
    assert found.scores["cats_micro_f"] == 0.0
    assert set(found.scores["cats_f_per_type"]) == {"A", "B", "C"}


def test_no_test_documents(japanese: Language) -> None:
    found = linear_baseline(docs(japanese, TRAIN), [], exclusive_classes=True)
    assert found.scores["cats_score"] is not None


@pytest.mark.parametrize(
    "texts", [{}, {"猫": {"A"}, "犬": {"A"}}, {"猫": set(), "犬": {"A"}, "鳥": {"A"}}]
)
def test_nothing_to_tell_apart(japanese: Language, texts: dict[str, set[str]]) -> None:
    with pytest.raises(ValueError, match="J488"):
        linear_baseline(docs(japanese, texts), docs(japanese, TEST), exclusive_classes=True)


def test_without_scikit_learn(japanese: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "can_train", lambda: False)
    with pytest.raises(ImportError, match=r"J469.*spacy-jbert\[report\]"):
        linear_baseline(docs(japanese, TRAIN), docs(japanese, TEST), exclusive_classes=True)


def test_a_report_shows_it_beside_the_pipeline(japanese: Language) -> None:
    train, test = docs(japanese, TRAIN), docs(japanese, TEST)
    nlp = spacy.blank("ja")
    textcat = nlp.add_pipe("textcat")
    nlp.initialize(lambda: [Example(nlp.make_doc(doc.text), doc) for doc in train])
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in test]
    outcome = measure(nlp, examples, title="topics", parts={"train": train})
    expected = linear_baseline(train, test, exclusive_classes=True, labels=textcat.labels).scores
    (task,) = outcome.tasks
    assert task.baseline == {
        "accuracy": expected["cats_micro_f"],
        "macro_f": expected["cats_macro_f"],
    }
    shown = page([outcome])
    assert WORDS["baseline"][1] in shown
    assert f"{100 * expected['cats_macro_f']:.1f}" in shown
    # Nothing to learn from, nothing to show.
    for parts in ({}, {"train": train[:1]}):
        (task,) = measure(nlp, examples, title="topics", parts=parts).tasks
        assert task.baseline == {}
