"""A help desk: intent or none, slots, FAQ entries, of one pass through the pipeline."""

from collections.abc import Callable
from pathlib import Path

import pytest
from spacy.language import Language
from spacy.training import Example

from spacy_jbert.search.identity import identity
from spacy_jbert.search.index import Entry, Index
from spacy_jbert.search.support import Candidate, Desk, Slot

from ..conftest import listener
from .test_index import make

QUERIES = {
    "田中の注文はいつ届きますか": "配送",
    "鈴木の荷物がまだ来ません": "配送",
    "会員をやめたいです": "退会",
    "退会の手続きを教えて": "退会",
}
FAQ = [
    Entry("f1", "いつ届きますか", {"answer": "2日です。"}),
    Entry("f2", "荷物が来ません", {"answer": "2日です。"}),
    Entry("f3", "退会したい", {"answer": "会員ページへ。"}),
]


def trained(folder: Path) -> Language:
    """With intents and slots on the encoder that gives the vectors."""
    nlp = make(folder)
    pooled = {"@architectures": "spacy-jbert.PooledTextCat.v1", "exclusive_classes": True}
    tagger = {"@architectures": "spacy-jbert.TokenClassifier.v1", "tok2vec": listener()}
    nlp.add_pipe("textcat", config={"model": {**pooled, "tok2vec": listener()}})
    nlp.add_pipe("jbert_ner", name="ner", config={"model": tagger})
    examples = []
    for text, intent in QUERIES.items():
        names = [(0, 2, "人名")] if text[:2] in ("田中", "鈴木") else []
        cats = {label: float(label == intent) for label in ("配送", "退会")}
        examples.append(Example.from_dict(nlp.make_doc(text), {"cats": cats, "entities": names}))
    nlp.get_pipe("textcat").initialize(lambda: examples, nlp=nlp)
    nlp.get_pipe("ner").initialize(lambda: examples, nlp=nlp)
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 0.01
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    return nlp


@pytest.fixture(scope="module")
def nlp(checkpoint: Callable[[str], Path]) -> Language:
    return trained(checkpoint("bert-fast"))


def test_an_index_of_another_pipeline(nlp: Language, checkpoint: Callable[[str], Path]) -> None:
    other = make(checkpoint("bert-fast"), pooling="cls")
    with pytest.raises(ValueError, match=r"\[J512\]"):
        Desk(nlp, Index.build(other, FAQ))
    # The same pipeline, loaded twice.
    same = make(checkpoint("bert-fast"))
    assert Desk(nlp, Index.build(nlp, FAQ)).index is not None
    assert identity(same) != identity(other)


def test_one_pass_gives_all(nlp: Language) -> None:
    desk = Desk(nlp, Index.build(nlp, FAQ), n=2)
    first, _, third, _ = desk.replies(QUERIES)
    assert (first.intent, third.intent) == ("配送", "退会")
    assert 0.5 < first.confidence <= 1.0
    (slot,) = first.slots
    assert slot == Slot("田中", "人名", 0, 2, slot.confidence)
    assert third.slots == []
    # Two phrasings of one answer are one candidate.
    assert sorted(candidate.answer for candidate in first.faq) == ["2日です。", "会員ページへ。"]
    assert first.faq[0].id == "f1"
    assert isinstance(first.faq[0], Candidate)
    assert first.faq[0].question == "いつ届きますか"


@pytest.mark.parametrize("by", ["vectors", "words", "hybrid"])
def test_the_same_is_found_as_by_search(nlp: Language, by: str) -> None:
    index = Index.build(nlp, FAQ)
    (reply,) = Desk(nlp, index, by=by).replies(["退会したい"])  # type: ignore[arg-type]
    assert reply.faq[0].id == index.search("退会したい", 3, by=by)[0].id == "f3"  # type: ignore[arg-type]


def test_what_is_not_sure_has_no_intent(nlp: Language) -> None:
    nlp.add_pipe("jbert_threshold").set({}, {"配送": None, "退会": 0.9})
    try:
        first, _, third, _ = Desk(nlp).replies(QUERIES)
    finally:
        nlp.remove_pipe("jbert_threshold")
    assert first.intent is None
    assert first.confidence > 0.5
    assert third.intent == "退会"
    assert first.faq == []


def test_thresholds_of_slots_alone_reject_no_intent(nlp: Language) -> None:
    nlp.add_pipe("jbert_threshold").set({"人名": None}, {})
    try:
        first, *_ = Desk(nlp).replies(QUERIES)
    finally:
        nlp.remove_pipe("jbert_threshold")
    assert first.intent == "配送"
    assert first.slots == []


def test_white_space_finds_nothing(nlp: Language) -> None:
    (reply,) = Desk(nlp, Index.build(nlp, FAQ)).replies(["　"])
    assert reply.faq == []


def test_a_pipeline_without_intents(checkpoint: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match="J585"):
        Desk(make(checkpoint("bert-fast")))


def test_an_entry_without_an_answer(nlp: Language) -> None:
    desk = Desk(nlp, Index.build(nlp, [Entry("f1", "いつ届きますか")]))
    with pytest.raises(ValueError, match=r"J586.*f1"):
        list(desk.replies(["いつ届きますか"]))
