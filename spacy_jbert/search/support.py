"""A query to what a help desk needs to answer it: what is wanted (or that it isn't clear), the
slots, and the FAQ entries that fit best. One encoder reads the query once for all three.

    desk = Desk(nlp, Index.load("faq.index", nlp))
    for reply in desk.replies(["注文A-1234がまだ届きません"]):
        print(reply.intent, reply.confidence, reply.slots, reply.faq)
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from spacy.language import Language
from spacy.tokens import Doc

from ..corpora.readers import Row
from ..errors import Errors
from ..evaluation.confidence import get_confidence
from ..evaluation.temperature import threshold_pipes
from .identity import identity, name_of
from .index import By, Hit, Index

# Entries that have the same answer are one candidate: so many times more are looked at.
_PHRASINGS = 10


class Slot(NamedTuple):
    """A detail that a query gives. start, end (int): In characters."""

    text: str
    label: str
    start: int
    end: int
    confidence: float | None


class Candidate(NamedTuple):
    """An FAQ entry. score (float): Comparable within one query."""

    id: str
    question: str
    answer: str
    score: float


class Reply(NamedTuple):
    """What is known of a query.

    intent (str | None): None where the pipeline isn't sure enough.
    confidence (float): Of the intent; where there is none, of the surest one.
    faq (list[Candidate]): The best first, each answer once.
    """

    text: str
    intent: str | None
    confidence: float
    slots: list[Slot]
    faq: list[Candidate]


class Desk:
    """Reads queries.

    nlp (Language): With a text classifier whose labels are the intents; with `jbert_ner` for slots,
        `jbert_threshold` for what isn't sure enough.
    index (Index | None): Of FAQ entries' questions, made by the same pipeline; `answer` stands in
        each one's meta.
    n (int): How many FAQ entries.
    by (str | None), weight (float): As in `Index.search`.
    RAISES: ValueError J585 without a text classifier, J512 for the index of another pipeline.
    """

    def __init__(
        self,
        nlp: Language,
        index: Index | None = None,
        *,
        n: int = 5,
        by: By | None = None,
        weight: float = 0.5,
    ) -> None:
        labels: dict[str, Any] = nlp.pipe_labels
        classifiers = [
            name for name in nlp.pipe_names if "textcat" in nlp.get_pipe_meta(name).factory
        ]
        if not any(labels.get(name) for name in classifiers):
            raise ValueError(Errors.J585.format(names=", ".join(nlp.pipe_names) or "none"))
        if index is not None and nlp is not index.nlp and identity(nlp) != identity(index.nlp):
            raise ValueError(Errors.J512.format(name=name_of(index.nlp)))
        self.nlp, self.index = nlp, index
        self.n, self.by, self.weight = n, by, weight
        self.rejects = any(nlp.get_pipe(name).categories for name in threshold_pipes(nlp))

    def replies(self, texts: Iterable[str]) -> Iterator[Reply]:
        """YIELDS (Reply): Of each text, in order."""
        for doc in self.nlp.pipe(texts):
            yield self.reply(doc)

    def reply(self, doc: Doc) -> Reply:
        """RETURNS (Reply): Of a query that the pipeline has annotated."""
        surest = max(doc.cats, key=doc.cats.__getitem__)
        slots = [
            Slot(ent.text, ent.label_, ent.start_char, ent.end_char, get_confidence(ent))
            for ent in doc.ents
        ]
        intent = doc._.category if self.rejects else surest
        confidence = doc.cats[surest if intent is None else intent]
        return Reply(doc.text, intent, confidence, slots, self.candidates(doc))

    def candidates(self, doc: Doc) -> list[Candidate]:
        """RETURNS (list[Candidate]): The FAQ entries that fit best, each answer once."""
        if self.index is None or not doc.text.strip():
            return []
        depth = self.n * _PHRASINGS
        (hits,) = self.index.search_docs([doc], depth, by=self.by, weight=self.weight)
        return [_candidate(hit) for hit in one_an_answer(hits)[: self.n]]


def read_query(row: Row, longest: int) -> str:
    """RETURNS (str): The `text` of a record. longest (int): The pipeline's `max_length`.
    RAISES: DataError J587 if there is none, J591 if it is longer.
    """
    asked = row.text("text")
    if not asked.strip():
        raise row.error(Errors.J587)
    if len(asked) > longest:
        raise row.error(Errors.J591.format(length=len(asked), longest=longest))
    return asked


def one_an_answer(hits: Iterable[Hit]) -> list[Hit]:
    """RETURNS (list[Hit]): The first hit of each answer, in order. RAISES: ValueError J586."""
    best: dict[str, Hit] = {}
    for hit in hits:
        if not isinstance(hit.meta.get("answer"), str):
            raise ValueError(Errors.J586.format(id=hit.id))
        best.setdefault(hit.meta["answer"], hit)
    return list(best.values())


def _candidate(hit: Hit) -> Candidate:
    return Candidate(hit.id, hit.text, hit.meta["answer"], hit.score)
