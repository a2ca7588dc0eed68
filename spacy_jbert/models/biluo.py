"""Decoding of BILUO tags: the best sequence that is well-formed, and how probable each of its entities is.

Tags are numbered O, then B, I, L, U of the first label, of the second, and so on. As no entity may be left open or closed by
another label's tag, a position knows only "between entities" and "inside one of label l", so that each step of the recursions costs
O(labels), not O(tags²). Documents run together, longest first, one NumPy step a token position.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..windows import batch_windows

Floats = NDArray[np.float64]

# Token positions, padding included, whose tables are in memory at once.
_MOST_POSITIONS = 2**16


class Entity(NamedTuple):
    """Tokens `start:end`, the label's number, and the probability, among all well-formed sequences, of just this entity."""

    start: int
    end: int
    label: int
    score: float


def tag_names(labels: Sequence[str]) -> list[str]:
    """The names of all tags in order."""
    return ["O"] + [f"{prefix}-{label}" for label in labels for prefix in "BILU"]


def decode(scores: Sequence[NDArray]) -> list[list[Entity]]:
    """Find the best entities of each document by Viterbi, and score them by forward-backward.

    scores: For each document, a logit for each tag of each token. *Shape:* `(n_tokens, 1 + 4 * n_labels)`.
    RETURNS (list[list[Entity]]): For each document its entities in order.
    """
    found: list[list[Entity]] = [[] for _ in scores]
    for batch in batch_windows([len(doc) for doc in scores], _MOST_POSITIONS, fill=0.0):
        docs = [scores[i] for i in batch]
        lengths = np.array([len(doc) for doc in docs])
        O, BILU = _padded(docs, lengths)
        began, ended = _viterbi(O, BILU)
        probability = _SpanProbabilities(O, BILU)
        for i, number in enumerate(batch):
            spans = _backtrace(began[i], ended[i], int(lengths[i]))
            found[number] = [Entity(start, end, label, probability(i, start, end, label)) for start, end, label in spans]
    return found


def _padded(scores: Sequence[NDArray], lengths: NDArray) -> tuple[Floats, Floats]:
    """Scores of O, *shape* `(n_docs, longest)`, and of B, I, L, U, *shape* `(4, n_docs, longest, n_labels)`. Padding is O for certain."""
    n_labels = (scores[0].shape[1] - 1) // 4
    O = np.zeros((len(scores), lengths.max()))
    BILU = np.full((4, len(scores), lengths.max(), n_labels), -np.inf)
    for i, doc in enumerate(scores):
        O[i, : len(doc)] = doc[:, 0]
        BILU[:, i, : len(doc)] = doc[:, 1:].reshape(len(doc), n_labels, 4).transpose(2, 0, 1)
    return O, BILU


def _viterbi(O: Floats, BILU: Floats) -> tuple[NDArray, NDArray]:
    """Fill the table of choices.

    RETURNS: Whether being inside label l after token t began at t (B) rather than before (I); what the best way to be between entities
        after token t ends with: 0 for O, 1 + l for U, 1 + n_labels + l for L. *Shapes:* `(n_docs, longest, n_labels)`, `(n_docs, longest)`.
    """
    B, I, L, U = BILU
    n_docs, longest, n_labels = B.shape
    began = np.empty((n_docs, longest, n_labels), dtype=bool)
    ended = np.empty((n_docs, longest), dtype=np.int64)
    closed = np.zeros(n_docs)
    inside = np.full((n_docs, n_labels), -np.inf)
    for t in range(longest):
        ways = np.concatenate(((closed + O[:, t])[:, None], closed[:, None] + U[:, t], inside + L[:, t]), axis=1)
        begin, stay = closed[:, None] + B[:, t], inside + I[:, t]
        began[:, t] = begin >= stay
        ended[:, t] = ways.argmax(axis=1)
        inside = np.maximum(begin, stay)
        closed = ways.max(axis=1)
    return began, ended


def _backtrace(began: NDArray, ended: NDArray, length: int) -> list[tuple[int, int, int]]:
    n_labels, spans, t = began.shape[1], [], length - 1
    while t >= 0:
        way = int(ended[t])
        if way:
            label, end = (way - 1) % n_labels, t + 1
            if way > n_labels:
                t -= 1
                while not began[t, label]:
                    t -= 1
            spans.append((t, end, label))
        t -= 1
    return spans[::-1]


class _SpanProbabilities:
    """The posterior probability of an entity: its own path times all well-formed ways before and after it, over all ways there are.

    Constrained marginals of a linear chain (Culotta & McCallum 2004, "Confidence Estimation for Information Extraction").
    """

    def __init__(self, O: Floats, BILU: Floats) -> None:
        B, I, L, U = self.BILU = BILU
        n_docs, longest, n_labels = B.shape
        # before[:, t]: all ways to be between entities before token t; after[:, t]: the same from token t to the end.
        self.before = np.zeros((n_docs, longest + 1))
        self.after = np.zeros((n_docs, longest + 1))
        inside = np.full((n_docs, n_labels), -np.inf)
        for t in range(longest):
            closed = self.before[:, t, None]
            self.before[:, t + 1] = _logsumexp(np.concatenate((closed + O[:, t, None], closed + U[:, t], inside + L[:, t]), axis=1))
            inside = np.logaddexp(closed + B[:, t], inside + I[:, t])
        inside = np.full((n_docs, n_labels), -np.inf)
        for t in range(longest - 1, -1, -1):
            closed = self.after[:, t + 1, None]
            ways = np.concatenate((closed + O[:, t, None], closed + U[:, t], inside + B[:, t]), axis=1)
            inside = np.logaddexp(closed + L[:, t], inside + I[:, t])
            self.after[:, t] = _logsumexp(ways)

    def __call__(self, doc: int, start: int, end: int, label: int) -> float:
        B, I, L, U = self.BILU[:, doc, :, label]
        path = U[start] if end == start + 1 else B[start] + I[start + 1 : end - 1].sum() + L[end - 1]
        return float(np.exp(min(0.0, self.before[doc, start] + path + self.after[doc, end] - self.before[doc, -1])))


def _logsumexp(values: Floats) -> Floats:
    highest = values.max(axis=1)
    return highest + np.log(np.exp(values - highest[:, None]).sum(axis=1))
