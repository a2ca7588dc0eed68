"""What is in a corpus that could explain a score: how much of each label, how long texts are, what
tokens can't express, what is in two parts, which annotation looks wrong."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np
from spacy.tokens import Doc
from spacy.training import Example

from ..corpora.docs import labels_of
from ..corpora.doctor import by_text, recorded
from ..corpora.splits import contradictions
from .answers import Answers
from .mistakes import Mistake
from .noise import usual_confidence

SHOWN = 20
"""So many examples of a finding are named."""


def parts_statistics(parts: Mapping[str, Sequence[Doc]]) -> dict[str, dict[str, Any]]:
    """Counts of each part: documents, characters, labels; the lengths of its texts.

    parts (Mapping[str, Sequence[Doc]]): Annotated documents by the name of their part.
    """
    found = {}
    for name, docs in parts.items():
        lengths = np.array([len(doc.text) for doc in docs] or [0])
        middle, long = np.quantile(lengths, [0.5, 0.95])
        found[name] = {
            "documents": len(docs),
            "characters": int(lengths.sum()),
            "median": int(middle),
            "long": int(long),
            "longest": int(lengths.max()),
            "labels": dict(Counter(label for doc in docs for label in labels_of(doc))),
            "lengths": histogram(lengths),
        }
    return found


def histogram(lengths: Any, bins: int = 20) -> list[tuple[int, int, int]]:
    """RETURNS (list): From, to (characters), how many texts. What is longer than 99 of 100 is in
    the last bin.
    """
    top = max(1, int(np.quantile(lengths, 0.99)))
    edges = np.unique(np.linspace(0, top, bins + 1).astype(int))
    counts, _ = np.histogram(np.minimum(lengths, top), bins=edges)
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True))


def duplicates(parts: Mapping[str, Sequence[Doc]]) -> Iterator[tuple[str, str, int, list[str]]]:
    """Texts that are in two parts, or twice in one, but for width, case and white space.

    YIELDS: Both parts, how many texts, some of them.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for same in by_text(recorded(parts)).values():
        counts = Counter(record.part for record in same)
        twice = [(name, name) for name, count in counts.items() if count > 1]
        for pair in [*twice, *combinations(counts, 2)]:
            found.setdefault(pair, []).append(same[0].doc.text)
    for pair in combinations_with_replacement(parts, 2):
        if texts := found.get(pair):
            yield *pair, len(texts), texts[:SHOWN]


def contradictory(docs: Sequence[Doc]) -> list[tuple[str, list[str]]]:
    """RETURNS (list): Texts that come several times with different annotation, and with which."""
    return [(one.text, sorted(one.annotations)) for one in contradictions(docs)[:SHOWN]]


def misaligned(examples: Sequence[Example]) -> list[str]:
    """RETURNS (list[str]): The entities that begin or end inside a token of the pipeline."""
    return [
        ent.text
        for eg in examples
        for ent in eg.reference.ents
        if eg.predicted.char_span(ent.start_char, ent.end_char) is None
    ]


def suspects(mistakes: Sequence[Mistake], answers: Sequence[Answers]) -> list[int]:
    """Mistakes in which the annotation may be what is wrong: the pipeline is at least as sure of
    them as it is on average of what it gets right with that label (the threshold of confident
    learning, Northcutt et al. 2021, arXiv:1911.00068).

    RETURNS (list[int]): Their indices, in the order of the mistakes.
    """
    right = (answer for of in answers for answer in of.claims if answer.right)
    usual = usual_confidence((answer.label, answer.confidence) for answer in right)
    return [
        i
        for i, mistake in enumerate(mistakes)
        if mistake.answered
        and mistake.confidence is not None
        and mistake.confidence >= usual.get(mistake.answered.label, 2.0)
    ]
