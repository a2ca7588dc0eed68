"""What the service says of a text: its shape, and how it is read off a Doc."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, Field
from spacy.language import Language
from spacy.pipeline import Sentencizer, TextCategorizer
from spacy.tokens import Doc

from ..evaluation.scorers import threshold_of
from ..models.vectors import DocVectors
from .annotations import answers, categories, entities, sentences

_sentencizer = Sentencizer()


class Entity(BaseModel):
    """A named entity. Offsets count characters (code points); `end` is behind the last."""

    start: int
    end: int
    text: str
    label: str
    confidence: float | None = Field(description="0 to 1; null if the component gives none")


class Category(BaseModel):
    """A category of the whole text. `chosen`: the best of those that exclude each other, or at
    least at the label's threshold.
    """

    label: str
    score: float
    chosen: bool


class Stretch(BaseModel):
    """Characters of the text, `end` behind the last."""

    start: int
    end: int


class Token(Stretch):
    """A token with what the tokenizer says of it."""

    text: str
    lemma: str
    pos: str
    tag: str


class Piece(Stretch):
    """A wordpiece that the encoder saw, and the characters it stands for."""

    piece: str
    id: int


class Found(Stretch):
    """A part of the text that answers a question. `score`: the probability of exactly this part."""

    text: str
    score: float


class Answers(BaseModel):
    """What the text says to a question."""

    question: str
    answers: list[Found] = Field(description="The best first; none if the text doesn't answer")
    no_answer: float = Field(description="The probability that it doesn't")


class Analysis(BaseModel):
    """What a pipeline says of a text."""

    characters: int
    entities: list[Entity]
    categories: list[Category] = Field(description="The surest first")
    sentences: list[Stretch]
    answers: list[Answers] | None = Field(None, description="For each question, if any was asked")
    tokens: list[Token] | None = Field(None, description="If asked for")
    pieces: list[Piece] | None = Field(
        None, description="If asked for, and the pipeline has an encoder of spacy-jbert"
    )


class Job(NamedTuple):
    """A text, and what is wanted of it beside entities, categories and sentences."""

    text: str
    tokens: bool = False
    pieces: bool = False
    questions: tuple[str, ...] = ()


def analysis(nlp: Language, doc: Doc, job: Job) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): An `Analysis`. Nothing in it belongs to the Doc any more."""
    found: dict[str, Any] = {
        "characters": len(job.text),
        "entities": entities(doc),
        "categories": _categories(nlp, doc),
        "sentences": _sentences(doc),
    }
    if job.questions:
        found["answers"] = answers(doc)
    if job.tokens:
        found["tokens"] = [
            {
                "start": token.idx,
                "end": token.idx + len(token),
                "text": token.text,
                "lemma": token.lemma_,
                "pos": token.pos_,
                "tag": token.tag_,
            }
            for token in doc
        ]
    if job.pieces:
        found["pieces"] = _pieces(doc)
    return found


def _categories(nlp: Language, doc: Doc) -> list[dict[str, Any]]:
    """RETURNS (list[dict[str, Any]]): Each a `Category`, the surest first."""
    chosen = _chosen([pipe for _, pipe in nlp.pipeline if isinstance(pipe, TextCategorizer)], doc)
    return [found | {"chosen": found["label"] in chosen} for found in categories(doc)]


def _chosen(classifiers: Sequence[TextCategorizer], doc: Doc) -> set[str]:
    chosen: set[str] = set()
    for pipe in classifiers:
        labels = [label for label in pipe.labels if label in doc.cats]
        if pipe.model.attrs.get("multi_label"):
            threshold = pipe.cfg["threshold"]
            chosen.update(
                label for label in labels if doc.cats[label] >= threshold_of(threshold, label)
            )
        # An empty text has zeros for all.
        elif any(doc.cats[label] for label in labels):
            chosen.add(max(labels, key=lambda label: doc.cats[label]))
    return chosen


def _sentences(doc: Doc) -> list[dict[str, int]]:
    # Where no component of the pipeline finds any, punctuation does.
    return sentences(doc if doc.has_annotation("SENT_START") else _sentencizer(doc))


def _pieces(doc: Doc) -> list[dict[str, Any]] | None:
    vectors = doc._.trf_data if Doc.has_extension("trf_data") else None
    if not isinstance(vectors, DocVectors):
        return None
    return [
        {"piece": vectors.vocabulary[id_], "id": id_, "start": start, "end": end}
        for id_, start, end, _ in vectors.table.tolist()
        # Special pieces stand for no characters.
        if start >= 0
    ]
