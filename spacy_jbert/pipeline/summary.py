"""`doc._.summary(n)`: the sentences that say what the others say, without saying it twice."""

from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span

from ..corpora.values import is_whole
from ..errors import Errors
from ..models.diversity import choose_diverse

EXTENSION = "summary"
# After one of these, and closing brackets behind it, a sentence ends where the Doc has none of its
# own.
_ENDS = frozenset("。．！？!?\n")
_CLOSING = frozenset("」』）)】〉》”\"'")
# What makes a part of a longer sentence of one in brackets: 「…。」と言った。
_GOES_ON = ("と", "って", "という", "との", "など", "が", "を", "に", "も", "の")


def summary(
    doc: Doc, n: int = 3, *, redundancy: float = 0.5, min_characters: int = 10
) -> list[Span]:
    """Choose sentences for a summary.

    The vectors of sentences are those of their tokens, read in the document. A sentence is central
    as far as its vector is near to those of all others (degree centrality: Erkan & Radev 2004,
    "LexRank"). One after the other is chosen that is most central and least like one that is
    chosen already (maximal marginal relevance: Carbonell & Goldstein 1998). Nothing is random; of
    equal ones the first is chosen.

    n (int): How many sentences.
    redundancy (float): What likeness to a chosen sentence costs, from 0 (nothing) to 1 (nothing
        else counts).
    min_characters (int): Shorter sentences, such as headings, are left out where there are others.
    RETURNS (list[Span]): In the order of the text.
    RAISES: ValueError J517 for settings out of range, J518 if tokens have no vectors.
    """
    if not is_whole(n) or n < 1 or not 0.0 <= redundancy <= 1.0:
        raise ValueError(Errors.J517.format(n=n, redundancy=redundancy))
    spans = [span for span in sentences(doc) if not span.text.isspace()]
    spans = [span for span in spans if len(span.text.strip()) >= min_characters] or spans
    if not spans:
        return []
    if not len(doc.tensor):
        raise ValueError(Errors.J518)
    vectors = np.stack([span.vector for span in spans])
    chosen = choose(vectors, n, redundancy)
    return [spans[i] for i in sorted(chosen)]


def choose(vectors: NDArray[np.float32], n: int, redundancy: float) -> list[int]:
    """Choose the most central of some vectors.

    vectors (NDArray): *Shape:* `(n_sentences, width)`.
    RETURNS (list[int]): Their numbers, the first choice first.
    """
    # Those that are equal but for rounding are equal on every machine.
    likeness = np.round(_likeness(vectors), 6)
    # Whether a sentence is like others, and whether it is like the chosen ones, are measured alike.
    centrality = np.round(_scaled(likeness.mean(axis=1)), 6)
    return choose_diverse(centrality, likeness.__getitem__, n, redundancy)


def _likeness(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosines, from 0 for the least alike of all pairs to 1. Encoders differ in where theirs lie:
    those of E5 are above 0.7.
    """
    unit = vectors.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, 1.0)
    return _scaled(cosines)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    least, most = values.min(), values.max()
    return cast(NDArray[np.float64], (values - least) / max(most - least, 1e-12))


def sentences(doc: Doc) -> list[Span]:
    """RETURNS (list[Span]): The Doc's own sentences; else what ends with 。, ！, ？ or a line."""
    if doc.has_annotation("SENT_START"):
        return list(doc.sents)
    begins, ended, closed = [0], False, False
    for token in doc:
        if ended and set(token.text) <= _CLOSING:
            closed = True
        elif ended:
            if not (closed and token.text in _GOES_ON):
                begins.append(token.i)
            ended = closed = False
        ended = ended or token.text[-1] in _ENDS
    return [doc[a:b] for a, b in pairwise([*begins, len(doc)]) if a < b]
