"""What a pipeline has found in a Doc, as values for JSON and Parquet."""

from collections.abc import Callable, Iterable
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, Span

from ..evaluation.confidence import get_confidence
from ..evaluation.questions import answered_of

# More digits say nothing.
_DIGITS = 6


def _span(span: Span) -> dict[str, Any]:
    return {
        "start": span.start_char,
        "end": span.end_char,
        "text": span.text,
        "label": span.label_,
    }


def entities(doc: Doc) -> list[dict[str, Any]]:
    """RETURNS (list[dict]): start, end, text, label, confidence (None: not known) of each."""
    return [_span(ent) | {"confidence": _rounded(get_confidence(ent))} for ent in doc.ents]


def categories(doc: Doc) -> list[dict[str, Any]]:
    """RETURNS (list[dict]): label and score of each, the surest first."""
    surest = sorted(doc.cats.items(), key=lambda item: -item[1])
    return [{"label": label, "score": _rounded(score)} for label, score in surest]


def sentences(doc: Doc) -> list[dict[str, int]]:
    """RETURNS (list[dict]): start and end of each; none where nothing has found any."""
    found = doc.sents if doc.has_annotation("SENT_START") else ()
    return [{"start": sentence.start_char, "end": sentence.end_char} for sentence in found]


def spans(doc: Doc) -> list[dict[str, Any]]:
    """RETURNS (list[dict]): As of entities, with the key of their group."""
    found = []
    for key in sorted(doc.spans):
        group = doc.spans[key]
        scores = group.attrs.get("scores", [None] * len(group))
        found += [
            {"key": key, **_span(span), "confidence": _rounded(score)}
            for span, score in zip(group, scores, strict=True)
        ]
    return found


def answers(doc: Doc) -> list[dict[str, Any]]:
    """RETURNS (list[dict]): Of each question that was asked: question, answers (start, end, text,
    score; the best first), no_answer.
    """
    found = []
    for of in answered_of(doc):
        best = [answer._asdict() | {"score": _rounded(answer.score)} for answer in of.answers]
        no_answer = _rounded(of.no_answer)
        found.append({"question": of.question, "answers": best, "no_answer": no_answer})
    return found


def _rounded(score: Any) -> float | None:
    return None if score is None else round(float(score), _DIGITS)


READERS: dict[str, tuple[set[str], Callable[[Doc], list[dict[str, Any]]]]] = {
    "entities": ({"doc.ents"}, entities),
    "categories": ({"doc.cats"}, categories),
    "sentences": ({"doc.sents", "token.is_sent_start"}, sentences),
    "spans": ({"doc.spans"}, spans),
    "answers": ({"doc._.jbert_answers"}, answers),
}
"""Of each kind of annotation what a component that makes it says that it assigns, and how it is
read off a Doc."""


def kinds_of(nlp: Language) -> list[str]:
    """RETURNS (list[str]): What a pipeline annotates, by what its components say."""
    assigned = {name for pipe in nlp.pipe_names for name in nlp.get_pipe_meta(pipe).assigns}
    if any(getattr(pipe, "candidates_key", None) for _, pipe in nlp.pipeline):
        assigned.add("doc.spans")
    return [name for name, (attributes, _) in READERS.items() if attributes & assigned]


def answers_questions(nlp: Language) -> bool:
    """RETURNS (bool): Whether a pipeline has a component for questions."""
    return "answers" in kinds_of(nlp)


def annotation(doc: Doc, kinds: Iterable[str], prefix: str = "") -> dict[str, Any]:
    """RETURNS (dict[str, Any]): The annotation of a Doc by kind. Offsets count characters, `end` is
    behind the last.
    """
    return {f"{prefix}{name}": READERS[name][1](doc) for name in kinds}
