"""Decoding of BILUO tags: the best sequence that is well-formed, and how probable each of its
entities is.

Tags are numbered O, then B, I, L, U of the first label, of the second, and so on. No entity may be
left open or closed by another label's tag. Documents run together, one NumPy step a token
position."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .crf import Expected, Floats, Lattice, Moves, batches, require_temperature

# With so few labels all transitions are looked at.
_FEW = 32


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
    RAISES: ValueError J055 if a sum is not a number, J056.
    """
    require_temperature(temperature)
    found = [Decoded([], [])] * len(scores)
    for batch, moves in _batches(scores):
        spans = _best_spans(moves, transitions)
        if not len(spans) and threshold is None:
            continue
        lattice = Lattice(moves, transitions, temperature)
        sure = lattice.probabilities(spans).tolist()
        best: list[list[Entity]] = [[] for _ in batch]
        for (doc, start, end, label), score in zip(spans.tolist(), sure, strict=True):
            best[doc].append(Entity(start, end, label, score))
        likely = [[]] * len(batch) if threshold is None else lattice.likely(threshold)
        for number, entities, candidates in zip(batch, best, likely, strict=True):
            found[number] = Decoded(entities, [Entity(*span) for span in candidates])
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
    require_temperature(temperature)
    found = [np.zeros(0)] * len(scores)
    for batch, moves in _batches(scores):
        if asked := [(i, *span) for i, number in enumerate(batch) for span in spans[number]]:
            lattice = Lattice(moves, transitions, temperature)
            borders = np.cumsum([len(spans[number]) for number in batch])[:-1]
            parts = np.split(lattice.probabilities(np.array(asked)), borders)
            for number, part in zip(batch, parts, strict=True):
                found[number] = part
    return np.concatenate(found) if found else np.zeros(0)


def tag_probabilities(
    scores: Sequence[NDArray], transitions: NDArray | None = None, *, temperature: float = 1.0
) -> list[Floats]:
    """How probable each tag of each token is, over all sequences.

    scores, transitions, temperature: See `decode`.
    RETURNS (list[Floats]): For each document. *Shape:* `(n_tokens, 1 + 4 * n_labels)`.
    """
    require_temperature(temperature)
    found = [np.zeros(0)] * len(scores)
    for batch, moves in _batches(scores):
        tags = moves.of_tags(Lattice(moves, transitions, temperature).tags())
        for number, of_doc in zip(batch, tags, strict=True):
            found[number] = of_doc
    return found


def expectations(
    scores: Sequence[NDArray], transitions: NDArray | None = None, *, temperature: float = 1.0
) -> list[Expected]:
    """What a document's sequences expect, for another model to learn from.

    scores, transitions, temperature: See `decode`.
    RETURNS (list[Expected]): For each document.
    """
    return [Lattice(Moves([doc]), transitions, temperature).expected() for doc in scores]


def _batches(scores: Sequence[NDArray]) -> Iterator[tuple[list[int], Moves]]:
    if scores:
        width = 1 + (scores[0].shape[1] - 1) // 4
        for batch in batches([len(doc) for doc in scores], width):
            yield batch, Moves([scores[i] for i in batch])


def _best_spans(moves: Moves, transitions: NDArray | None) -> NDArray:
    """The entities of each document's best sequence of tags, by Viterbi.

    RETURNS: Document, start, end and label, counted from 0 without O, in the order of the text.
        *Shape:* `(n_spans, 4)`.
    """
    table = np.zeros((moves.width, 1)) if transitions is None else transitions.astype(np.float64)
    ended, inside_won = _viterbi(moves, table)
    # From here on a row is a token, document after document.
    ended, inside_won = ended[:, moves.by_doc], inside_won[..., moves.by_doc]
    row = np.arange(moves.n_rows)
    starts = np.cumsum(moves.lengths) - moves.lengths
    # Where what is open behind a token began, and what a token ends.
    open_since = np.maximum.accumulate(np.where(inside_won[1], -1, row), axis=1)
    since = np.where(inside_won[0, :, 1:], open_since[:, :-1], row[1:])
    ends_since = np.concatenate((np.zeros((moves.width, 1), dtype=np.int64), since), axis=1)
    ends_since[:, starts] = starts
    # The last token up to each before whose O something else than O ended, if it is O itself.
    before_o = (ended + table[:, :1]).argmax(axis=0)
    stop = before_o != 0
    stop[starts] = True
    entity_before = np.maximum.accumulate(np.where(stop, row, 0))
    # From the end of each document, an entity at a time.
    spans = []
    docs, at = np.arange(moves.n_docs), entity_before[starts + moves.lengths - 1]
    label = before_o[at]
    while True:
        more = label > 0
        docs, at, label = docs[more], at[more], label[more]
        if not len(docs):
            break
        first = ends_since[label, at - 1]
        spans.append(np.stack((docs, first - starts[docs], at - starts[docs], label - 1)))
        column = np.minimum(label, table.shape[1] - 1)
        label = (ended[:, first] + table[:, column]).argmax(axis=0)
        at = np.where(label == 0, entity_before[np.maximum(first - 1, starts[docs])], first)
        label = np.where(label == 0, before_o[at], label)
    if not spans:
        return np.zeros((0, 4), dtype=np.int64)
    found = np.concatenate(spans, axis=1).T
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def _viterbi(moves: Moves, table: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Fill the tables of choices.

    table (Floats): Transitions; one column where nothing depends on what begins.
    RETURNS: The weight of the best way that ended something before a token, `[label, row]`;
        whether the best way to each state behind a token was inside an entity before it, `[inside,
        label, row]`.
    """
    best_before = _BestBefore(table)
    # Before each token, `[inside, label, row]`, without and with transitions.
    states = np.full((2, moves.width, moves.n_rows), -np.inf)
    states[0, 0, : moves.n_docs] = 0.0
    ways = np.empty((2, moves.width, moves.n_rows))
    offsets = moves.offsets.tolist()
    for a, b, c in zip(offsets[:-1], offsets[1:], [*offsets[2:], moves.n_rows], strict=True):
        before = ways[..., a:b]
        before[0] = best_before(states[0, :, a:b])
        before[1] = states[1, :, a:b]
        moved = moves.scores[..., a:b] + before[:, None]
        going = c - b
        np.maximum(moved[0, ..., :going], moved[1, ..., :going], out=states[..., b:c])
    moved = moves.scores + ways[:, None]
    return states[0], moved[1] > moved[0]


class _BestBefore:
    """The weight of the best way to begin each label: the greatest, over what ended before, of
    weight and transition. Exact, though of many labels few pairs are looked at.

    table (Floats): *Shape:* `(1 + n_labels, 1 + n_labels)`, or one column for all.
    """

    def __init__(self, table: Floats) -> None:
        # With the same for all pairs, as before training, only the best end counts.
        self.table = table if np.ptp(table) else table[:, :1]
        self.many = self.table.shape[1] > _FEW
        if self.many:
            self.order = np.argsort(-self.table, axis=0)
            self.sorted = np.take_along_axis(self.table, self.order, axis=0)

    def __call__(self, ended: Floats) -> Floats:
        """ended (Floats): The weights. *Shape:* `(1 + n_labels, n_docs)`.

        RETURNS (Floats): *Shape:* `(1 + n_labels or 1, n_docs)`.
        """
        if not self.many:
            best: Floats = (ended[:, None] + self.table[..., None]).max(axis=0)
            return best
        # The threshold algorithm (Fagin, Lotem & Naor 2003): what has been looked at neither among
        # the best ends nor among the best transitions to a label is no better than the next of both
        # together.
        order = np.argsort(-ended, axis=0)
        best = np.full(ended.shape, -np.inf)
        label, doc = (index.reshape(-1) for index in np.indices(ended.shape))
        for seen, block in _growing(len(ended)):
            ways = self._ways(ended, order, label, doc, seen, block)
            found = np.maximum(best[label, doc], ways)
            best[label, doc] = found
            following = seen + block
            if following >= len(ended):
                break
            bound = ended[order[following, doc], doc] + self.sorted[following, label]
            open_ = bound > found
            label, doc = label[open_], doc[open_]
            if not len(label):
                break
        return best

    def _ways(
        self, ended: Floats, order: NDArray, label: NDArray, doc: NDArray, seen: int, block: int
    ) -> Floats:
        found = np.full(len(label), -np.inf)
        for rank in range(seen, seen + block):
            end = order[rank, doc]
            np.maximum(found, ended[end, doc] + self.table[end, label], out=found)
            end = self.order[rank, label]
            np.maximum(found, ended[end, doc] + self.sorted[rank, label], out=found)
        return found


def _growing(total: int) -> Iterator[tuple[int, int]]:
    """YIELDS (tuple[int, int]): Where blocks of ranks begin, and how long they are."""
    seen, block = 0, 1
    while seen < total:
        yield seen, min(block, total - seen)
        seen += block
        block = max(1, seen // 2)
