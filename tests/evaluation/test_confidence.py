"""The confidence of entities beside an extension of somebody else's with the same name."""

import logging
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.tokens.underscore import Underscore
from spacy.training import Example

from spacy_jbert.evaluation.confidence import get_confidence, register, set_confidence
from spacy_jbert.evaluation.mistakes import entity_mistakes
from spacy_jbert.evaluation.scorers import score_ner

WORDS = ["田中", "さん", "は", "東京", "都", "へ"]

OTHERS: dict[str, dict[str, Any]] = {
    "default": {"default": 7.0},
    "getter": {"getter": lambda span: 7.0},
    "method": {"method": lambda span: 7.0},
    "setter": {"getter": lambda span: 7.0, "setter": lambda span, value: None},
}


@pytest.fixture(autouse=True)
def names() -> Iterator[None]:
    """The extensions as they were before."""
    before = dict(Underscore.span_extensions)
    yield
    Underscore.span_extensions.clear()
    Underscore.span_extensions.update(before)


def clear() -> None:
    for name in ("score", "jbert_score"):
        if Span.has_extension(name):
            Span.remove_extension(name)


def found() -> Doc:
    doc = Doc(spacy.blank("ja").vocab, words=WORDS, spaces=[False] * len(WORDS))
    doc.ents = [Span(doc, 0, 1, "PERSON"), Span(doc, 3, 5, "GPE")]
    for ent in doc.ents:
        set_confidence(ent, 0.9)
    return doc


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("first", [True, False])
def test_both_keep_theirs(kind: str, first: bool, caplog: pytest.LogCaptureFixture) -> None:
    clear()
    with caplog.at_level(logging.WARNING, logger="spacy_jbert"):
        if first:
            Span.set_extension("score", **OTHERS[kind])
            register()
            assert "JW053" in caplog.text
        else:
            register()
            assert not caplog.text
            Span.set_extension("score", force=True, **OTHERS[kind])
    doc = found()
    theirs = doc.ents[0]._.score
    assert (theirs() if kind == "method" else theirs) == 7.0
    if kind == "default":
        doc.ents[0]._.score = 0.1
        assert doc.ents[0]._.score == 0.1
    assert doc.ents[0]._.jbert_score == 0.9
    gold = found()
    gold.ents = gold.ents[:1]
    assert score_ner([Example(doc, gold)])["ents_ece"] == pytest.approx(0.4)
    assert [mistake.confidence for mistake in entity_mistakes(gold, doc)] == [0.9]


def test_another_with_our_own_name_is_refused() -> None:
    clear()
    Span.set_extension("jbert_score", default=None)
    with pytest.raises(ValueError, match="J059"):
        register()


def test_it_goes_with_the_document() -> None:
    doc = found()
    (from_bin,) = (
        DocBin().from_bytes(DocBin(docs=[doc], store_user_data=True).to_bytes()).get_docs(doc.vocab)
    )
    for again in (
        Doc(doc.vocab).from_bytes(doc.to_bytes()),
        pickle.loads(pickle.dumps(doc)),
        from_bin,
        doc.copy(),
        Doc.from_docs([doc]),
        doc[0:6].as_doc(copy_user_data=True),
    ):
        assert [get_confidence(ent) for ent in again.ents] == [0.9, 0.9]


def test_documents_of_before_are_read() -> None:
    doc = found()
    doc.user_data = {("._.", "score", 0, 2): ["PERSON", 0.8], ("._.", "score", 5, 8): 3.0}
    assert [get_confidence(ent) for ent in doc.ents] == [0.8, None]


def test_another_list_of_that_name_is_no_confidence() -> None:
    clear()
    Span.set_extension("score", default=None)
    register()
    doc = Doc(spacy.blank("ja").vocab, words=WORDS, spaces=[False] * len(WORDS))
    doc.ents = [Span(doc, 0, 1, "PERSON")]
    doc.ents[0]._.score = ["PERSON", 0.5]
    assert doc.ents[0]._.jbert_score is None
    # In a process that doesn't know the other's name, beside what is ours.
    clear()
    register()
    assert found().ents[0]._.jbert_score == 0.9
    doc.user_data["._.", "jbert_score", 5, 6] = ["GPE", 0.5]
    assert doc.ents[0]._.jbert_score is None


@pytest.mark.parametrize("value", [["PERSON"], ["PERSON", "0.5"], ["PERSON", None], 0.5, "PE"])
def test_what_is_no_confidence_is_none(value: Any) -> None:
    doc = found()
    doc.user_data["._.", "jbert_score", 0, 2] = value
    assert get_confidence(doc.ents[0]) is None


@pytest.mark.parametrize(
    "ents",
    [
        [],
        [(0, 1, "GPE")],
        [(0, 2, "PERSON")],
        [(1, 2, "PERSON")],
    ],
)
def test_no_confidence_outlives_its_entity(ents: list[tuple[int, int, str]]) -> None:
    doc = found()
    old = doc.ents[0]
    doc.ents = [Span(doc, *ent) for ent in ents]
    assert get_confidence(old) is None
    assert [get_confidence(ent) for ent in doc.ents] == [None] * len(ents)


def test_the_same_span_by_a_rule_has_none() -> None:
    doc = found()
    nlp = spacy.blank("ja")
    ruler = nlp.add_pipe("entity_ruler", config={"overwrite_ents": True})
    ruler.add_patterns([{"label": "PERSON", "pattern": "田中", "id": "tanaka"}])
    ruler(doc)
    assert [(ent.text, ent.label_, get_confidence(ent)) for ent in doc.ents] == [
        ("田中", "PERSON", None),
        ("東京都", "GPE", 0.9),
    ]


def test_in_other_processes(make_nlp: Callable, ner_examples: Callable[[Language], Any]) -> None:
    clear()
    Span.set_extension("score", default=None)
    nlp = make_nlp([("ner", "jbert_ner", {})], ner_examples)
    nlp.get_pipe("ner").model.get_ref("output_layer").get_param("b")[4] = 1.0
    texts = ["東京へ。", "猫。"]
    here = [[ent._.jbert_score for ent in doc.ents] for doc in nlp.pipe(texts)]
    assert any(here)
    there = [[ent._.jbert_score for ent in doc.ents] for doc in nlp.pipe(texts, n_process=2)]
    assert there == [pytest.approx(scores) for scores in here]
