"""Decoding of BILUO tags: the best sequence that is well-formed, and how probable each of its
entities is.

Tags are numbered O, then B, I, L, U of the first label, of the second, and so on. No entity may be
left open or closed by another label's tag. Documents run together, longest first, one NumPy step a
token position."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .crf import Floats, Lattice, batches, pad


class Entity(NamedTuple):
    """Tokens `start:end`, the label's number, and the probability, among all well-formed sequences,
    of just this entity.
    """

    start: int
    end: int
    label: int
    score: float


class Decoded(NamedTuple):
    """A document's entities in order, and all spans that may be one, in order too; these may
    overlap.
    """

    entities: list[Entity]
    candidates: list[Entity]


def tag_names(labels: Sequence[str]) -> list[str]:
    """The names of all tags in order."""
    return ["O"] + [f"{prefix}-{label}" for label in labels for prefix in "BILU"]


def entity_tags(length: int, label: int) -> list[int]:
    """The numbers of the tags of an entity.

    length (int): In tokens.
    label (int): The label's number.
    RETURNS (list[int]): U, or B, I ..., L.
    """
    B, I, L, U = range(1 + 4 * label, 5 + 4 * label)
    return [U] if length == 1 else [B, *[I] * (length - 2), L]


def decode(
    scores: Sequence[NDArray],
    transitions: NDArray | None = None,
    *,
    temperature: float = 1.0,
    threshold: float | None = None,
) -> list[Decoded]:
    """Find the best entities of each document by Viterbi, and score them by forward-backward.

    scores: For each document, a logit for each tag of each token. *Shape:* `(n_tokens, 1 + 4 *
        n_labels)`.
    transitions (NDArray | None): What it adds that one label, or O, follows another. *Shape:* `(1 +
        n_labels, 1 + n_labels)`.
    temperature (float): Divides all scores where they become probabilities; what is best doesn't
        depend on it.
    threshold (float | None): The probability from which a span is a candidate; None for no
        candidates.
    RETURNS (list[Decoded]): For each document.
    """
    found = [Decoded([], [])] * len(scores)
    for batch, moves in _padded(scores):
        came_inside, came_from = _viterbi(moves, transitions)
        lattice = Lattice(moves, transitions, temperature)
        likely = [[]] * len(batch) if threshold is None else lattice.likely(threshold)
        for i, number in enumerate(batch):
            best = _backtrace(came_inside[:, :, i], came_from[:, i], len(scores[number]))
            found[number] = Decoded(
                [
                    Entity(start, end, label, lattice.probability(i, start, end, label))
                    for start, end, label in best
                ],
                [Entity(*span) for span in likely[i]],
            )
    return found


def span_probabilities(
    scores: Sequence[NDArray],
    spans: Sequence[Sequence[tuple[int, int, int]]],
    transitions: NDArray | None = None,
    *,
    temperature: float = 1.0,
) -> Floats:
    """How probable given entities are: what `decode` gives for those that it finds.

    spans: For each document start, end and label.
    scores, transitions, temperature: See `decode`.
    RETURNS (Floats): One probability a span, in order. *Shape:* `(n_spans,)`.
    """
    found: list[list[float]] = [[] for _ in scores]
    for batch, moves in _padded(scores):
        lattice = Lattice(moves, transitions, temperature)
        for i, number in enumerate(batch):
            found[number] = [lattice.probability(i, *span) for span in spans[number]]
    return np.array([probability for doc in found for probability in doc])


def _padded(scores: Sequence[NDArray]) -> Iterator[tuple[list[int], Floats]]:
    if scores:
        width = 1 + (scores[0].shape[1] - 1) // 4
        for batch in batches([len(doc) for doc in scores], width):
            yield batch, pad([scores[i] for i in batch])


def _viterbi(moves: Floats, transitions: NDArray | None) -> tuple[NDArray, NDArray]:
    """Fill the tables of choices.

    moves (Floats): From `pad`.
    transitions (NDArray | None): See `decode`.
    RETURNS: Whether the best way to each state after token t was inside an entity before t; what
        the best way to begin something at t had ended before, in one column for all where there are
        no transitions. *Shapes:* `(longest, 2, n_docs, width)`, `(longest, n_docs, width or 1)`.
    """
    length, _, _, n_docs, width = moves.shape
    if transitions is None:
        transitions = np.zeros((width, 1))
    spread = np.ptp(transitions)
    came_inside = np.empty((length, 2, n_docs, width), dtype=bool)
    came_from = np.empty((length, n_docs, transitions.shape[1]), dtype=np.int32)
    closed, inside = np.full((2, n_docs, width), -np.inf)
    closed[:, 0] = 0.0
    for t in range(length):
        # What is worse than the best by more than transitions differ can't be the best way: of
        # hundreds of labels, few are left.
        (likely,) = (closed >= closed.max(axis=1, keepdims=True) - spread).any(axis=0).nonzero()
        ways = closed[:, likely, None] + transitions[likely]
        came_from[t] = likely[ways.argmax(axis=1)]
        begin, stay = moves[t, 0] + ways.max(axis=1), moves[t, 1] + inside
        came_inside[t] = stay > begin
        closed, inside = np.maximum(begin, stay)
    return came_inside, came_from


def _backtrace(came_inside: NDArray, came_from: NDArray, length: int) -> list[tuple[int, int, int]]:
    one_for_all = came_from.shape[1] == 1
    spans, label, t = [], int(came_from[length, 0]), length - 1
    while t >= 0:
        end = t + 1
        if came_inside[t, 0, label]:
            t -= 1
            while came_inside[t, 1, label]:
                t -= 1
        if label:
            spans.append((t, end, label - 1))
        label = int(came_from[t, 0 if one_for_all else label])
        t -= 1
    return spans[::-1]
