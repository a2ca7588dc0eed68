"""Sums over all well-formed sequences of BILUO tags: a linear-chain conditional random field
(Lafferty, McCallum & Pereira 2001).

A position knows whether it is inside an entity, and the label of the entity that is open or was the
last to end (0 for O). From B or I of a label only I and L of it may follow, so the learned
transitions that remain are those between entities: from what a token ended (O or a label) to what
the next one begins (O or a label). What is before and after a text counts as O. Transitions inside
an entity would add next to nothing: B, I, L and U of each label have scores of their own already.

With transitions of zero this is a softmax over well-formed sequences, in which a step costs
O(labels). Learned transitions add one matrix product a step."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import Errors
from ..wordpieces.windows import batch_windows

Floats = NDArray[np.float64]

# Where B, I, L and U of a label come from and lead to: whether one is inside an entity before and
# after.
_MOVES = ((0, 1), (1, 1), (1, 0), (0, 0))
# Lower than any score, and yet a number: -inf - LOWEST is -inf, not nan.
_LOWEST = -1e300
# Transitions that differ by more are summed in logarithms, as their factors could leave the range
# of a float.
_WIDEST = 600.0
# Token positions, padding included, whose tables are in memory at once: at most so many, and fewer
# where there are many labels.
_MOST_POSITIONS = 2**15
_MOST_CELLS = 2**19


def batches(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Share out documents to batches whose tables are small enough.

    lengths (Sequence[int]): In tokens.
    width (int): 1 + n_labels.
    RETURNS (list[list[int]]): Numbers of documents, longest first.
    """
    most = max(1, min(_MOST_POSITIONS, _MOST_CELLS // width))
    return batch_windows(lengths, most, overhead=most)


def pad(scores: Sequence[NDArray]) -> Floats:
    """Arrange scores by what a tag does: `[t, inside before, inside after, doc, label]`.

    O and U go from 0 to 0, B from 0 to 1, I from 1 to 1, L from 1 to 0. Label 0 belongs to O. Every
    document ends with at least one more token, which is O for certain.

    scores: *Shape:* `(n_tokens, 1 + 4 * n_labels)` for each document.
    RETURNS (Floats): *Shape:* `(longest + 1, 2, 2, n_docs, 1 + n_labels)`.
    """
    n_labels = (scores[0].shape[1] - 1) // 4
    moves = np.full((max(map(len, scores)) + 1, 2, 2, len(scores), 1 + n_labels), -np.inf)
    for i, doc in enumerate(scores):
        n = len(doc)
        moves[:n, 0, 0, i, 0] = doc[:, 0]
        moves[n:, 0, 0, i, 0] = 0.0
        for tag, (before, after) in enumerate(_MOVES, start=1):
            moves[:n, before, after, i, 1:] = doc[:, tag::4]
    return moves


class Lattice:
    """The sums over all ways to and from each position of some documents, by forward-backward in
    logarithms.

    moves (Floats): From `pad`.
    transitions (NDArray | None): None for zeros. *Shape:* `(1 + n_labels, 1 + n_labels)`.
    temperature (float): Divides all scores.
    RAISES: ValueError J055 if a sum is not a number, J056.
    """

    def __init__(
        self, moves: Floats, transitions: NDArray | None = None, temperature: float = 1.0
    ) -> None:
        require_temperature(temperature)
        length, _, _, n_docs, width = moves.shape
        self.moves = moves = moves / temperature
        self.transitions = (
            np.zeros((width, width))
            if transitions is None
            else transitions.astype(np.float64) / temperature
        )
        through = _Transitions(self.transitions)
        # All ways to token t, before transitions and after: `before[t, inside, doc, label]` and
        # `ended[t, doc, label]`.
        self._before = np.empty((length, 2, n_docs, width))
        self._ended = np.empty((length, n_docs, width))
        # All ways from behind token t, and from t itself where it begins something: the same
        # indices.
        self._after = np.empty((length, 2, n_docs, width))
        self._begins = np.empty((length, n_docs, width))
        state = np.full((2, n_docs, width), -np.inf)
        state[0, :, 0] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            for t in range(length):
                before = self._before[t]
                self._ended[t] = state[0]
                before[0] = through.forward(state[0])
                before[1] = state[1]
                state = np.logaddexp(moves[t, 0] + before[0], moves[t, 1] + before[1])
            # Sum over all sequences, in logarithms. *Shape:* `(n_docs,)`.
            self.log_total: Floats = state[0, :, 0]
            if not np.isfinite(self.log_total).all():
                raise ValueError(Errors.J055)
            state = np.full((2, n_docs, width), -np.inf)
            state[0, :, 0] = 0.0
            for t in range(length - 1, -1, -1):
                self._after[t] = state
                state = np.logaddexp(moves[t, :, 0] + state[0], moves[t, :, 1] + state[1])
                self._begins[t] = state[0]
                state[0] = through.backward(state[0])

    def tags(self) -> Floats:
        """RETURNS (Floats): The probability of each tag at each token, arranged as `moves`."""
        before, after = self._before[:, :, None], self._after[:, None]
        return np.exp(before + self.moves + after - self.log_total[:, None])

    def pairs(self, weights: NDArray) -> Floats:
        """How often each transition is expected in all documents together.

        weights (NDArray): How much each document counts. *Shape:* `(n_docs,)`.
        RETURNS (Floats): *Shape:* `(1 + n_labels, 1 + n_labels)`.
        """
        width = len(self.transitions)
        if np.ptp(self.transitions) > _WIDEST:
            found = np.zeros((width, width))
            for ended, begins in zip(self._ended, self._begins, strict=True):
                log_pairs = ended[:, :, None] + begins[:, None] - self.log_total[:, None, None]
                found += np.einsum("d,dab->ab", weights, np.exp(log_pairs + self.transitions))
            return found
        from_ = np.maximum(self._ended.max(axis=2, keepdims=True), _LOWEST)
        to = np.maximum(self._begins.max(axis=2, keepdims=True), _LOWEST)
        # No transition is so unlikely that the best end and the best beginning could be far more
        # likely than both together.
        ended = np.exp(self._ended - from_) * weights[:, None]
        highest = self.transitions.max()
        begins = np.exp(self._begins - to + (from_ + to - self.log_total[:, None] + highest))
        counts: Floats = ended.reshape(-1, width).T @ begins.reshape(-1, width)
        return counts * np.exp(self.transitions - highest)

    def probability(self, doc: int, start: int, end: int, label: int) -> float:
        """The probability that tokens `start:end` are an entity of this label, just so: constrained
        marginals of a linear chain (Culotta & McCallum 2004, "Confidence Estimation for Information
        Extraction").

        label (int): Counted from 0, without O.
        RETURNS (float): Its share among all well-formed sequences.
        """
        last, label = end - 1, label + 1
        if start == last:
            path = self.moves[start, 0, 0, doc, label]
        else:
            inside = self.moves[start + 1 : last, 1, 1, doc, label].sum()
            path = self.moves[start, 0, 1, doc, label] + inside + self.moves[last, 1, 0, doc, label]
        log_share = (
            self._before[start, 0, doc, label]
            + path
            + self._after[last, 0, doc, label]
            - self.log_total[doc]
        )
        return float(np.exp(np.minimum(0.0, log_share)))

    def likely(self, threshold: float) -> list[list[tuple[int, int, int, float]]]:
        """Every span whose probability reaches a threshold above 0. They may overlap.

        RETURNS: For each document start, end, label (counted from 0) and probability, in the order
            of the text.
        """
        log_total = self.log_total[:, None]
        alone = np.exp(self._before[:, 0] + self.moves[:, 0, 0] + self._after[:, 0] - log_total)
        begun = np.exp(self._before[:, 0] + self.moves[:, 0, 1] + self._after[:, 1] - log_total)
        alone[..., 0] = 0.0
        found: list[list[tuple[int, int, int, float]]] = [[] for _ in self.log_total]
        for t, doc, label in np.argwhere(alone >= threshold).tolist():
            found[doc].append((t, t + 1, label - 1, min(1.0, float(alone[t, doc, label]))))
        for start, doc, label in np.argwhere(begun >= threshold).tolist():
            path = (
                self._before[start, 0, doc, label]
                + self.moves[start, 0, 1, doc, label]
                - self.log_total[doc]
            )
            t = start
            # The probability to be inside still can only fall.
            while np.exp(path + self._after[t, 1, doc, label]) >= threshold:
                t += 1
                ending = np.exp(
                    path + self.moves[t, 1, 0, doc, label] + self._after[t, 0, doc, label]
                )
                if ending >= threshold:
                    found[doc].append((start, t + 1, label - 1, min(1.0, float(ending))))
                path += self.moves[t, 1, 1, doc, label]
        return [sorted(spans) for spans in found]


class _Transitions:
    """Sums over what ended before, or over what begins next. *Shapes:* `(n_docs, 1 + n_labels)`.

    transitions (Floats): *Shape:* `(1 + n_labels, 1 + n_labels)`.
    """

    def __init__(self, transitions: Floats) -> None:
        self._transitions = transitions
        self._highest = transitions.max()
        with np.errstate(invalid="ignore"):
            self._factors = np.exp(transitions - self._highest)
            self._wide = np.ptp(transitions) > _WIDEST

    def forward(self, log_weights: Floats) -> Floats:
        """RETURNS (Floats): The logarithm of `exp(log_weights) @ exp(transitions)`."""
        return self._sum(log_weights, self._transitions, self._factors)

    def backward(self, log_weights: Floats) -> Floats:
        """RETURNS (Floats): The logarithm of `exp(log_weights) @ exp(transitions).T`."""
        return self._sum(log_weights, self._transitions.T, self._factors.T)

    def _sum(self, log_weights: Floats, transitions: Floats, factors: Floats) -> Floats:
        if self._wide:
            summed: Floats = np.logaddexp.reduce(log_weights[:, :, None] + transitions, axis=1)
            return summed
        highest = np.maximum(log_weights.max(axis=1, keepdims=True), _LOWEST)
        return np.log(np.exp(log_weights - highest) @ factors) + (highest + self._highest)


def require_temperature(temperature: float) -> None:
    """RAISES: ValueError J056 if scores can't be divided by it."""
    if not 0.0 < temperature < np.inf:
        raise ValueError(Errors.J056.format(temperature=temperature))


class _Chunk(NamedTuple):
    """Documents whose lattice was computed together, and the subsets of their sequences.

    A subset that is a single sequence is a path, the others have rows of the lattice behind those
    of the documents.
    """

    docs: list[int]
    lattice: Lattice
    paths: list["_Path"]
    partial: list["_Partial"]


class _Path(NamedTuple):
    subset: int
    row: int
    tags: NDArray
    pairs: tuple[NDArray, NDArray]


class _Partial(NamedTuple):
    subset: int
    row: int
    allowed: NDArray


def log_shares(
    scores: Sequence[NDArray], transitions: NDArray | None, subsets: Sequence[tuple[int, NDArray]]
) -> tuple[Floats, "Gradient"]:
    """How much of the weight of all well-formed sequences of a document falls to those in a subset.

    scores: *Shape:* `(n_tokens, n_tags)` for each document.
    transitions (NDArray | None): *Shape:* `(1 + n_labels, 1 + n_labels)`. subsets: A document's
        number, and which tags its tokens may have. At least one well-formed sequence must remain.
        *Shape:* `(n_tokens, n_tags)`.
    RETURNS: The logarithm of each subset's share, *shape* `(len(subsets),)`, and what turns a
        gradient by these into one by `scores` and `transitions`.
    RAISES: ValueError J055 if a sum is not a number.
    """
    width = 1 + (scores[0].shape[1] - 1) // 4
    if transitions is None:
        transitions = np.zeros((width, width))
    of_doc: dict[int, list[int]] = {}
    for number, (doc, _) in enumerate(subsets):
        of_doc.setdefault(doc, []).append(number)
    asked = list(of_doc)
    shares = np.empty(len(subsets))
    chunks = []
    for batch in batches([len(scores[doc]) for doc in asked], width):
        docs = [asked[i] for i in batch]
        length = max(len(scores[doc]) for doc in docs) + 1
        paths, partial = [], []
        for row, doc in enumerate(docs):
            for number in of_doc[doc]:
                allowed = subsets[number][1]
                if (allowed.sum(axis=1) == 1).all():
                    tags = allowed.argmax(axis=1)
                    paths.append(_Path(number, row, tags, _pairs_of(tags, length)))
                else:
                    partial.append(_Partial(number, row, allowed))
        rows = [scores[doc] for doc in docs]
        rows += [np.where(part.allowed, rows[part.row], -np.inf) for part in partial]
        lattice = Lattice(pad(rows), transitions)
        for path in paths:
            doc_scores = rows[path.row][np.arange(len(path.tags)), path.tags]
            total = doc_scores.sum(dtype=np.float64) + lattice.transitions[path.pairs].sum()
            shares[path.subset] = total - lattice.log_total[path.row]
        for at, part in enumerate(partial, start=len(docs)):
            shares[part.subset] = lattice.log_total[at] - lattice.log_total[part.row]
        chunks.append(_Chunk(docs, lattice, paths, partial))
    return np.minimum(0.0, shares), Gradient(chunks, [len(doc) for doc in scores], width)


def _pairs_of(tags: NDArray, length: int) -> tuple[NDArray, NDArray]:
    """What ended before each beginning in a sequence of tags, padded with O, and what begins."""
    begins = np.zeros(length, dtype=np.int64)
    begins[: len(tags)] = (tags + 3) // 4
    # B and U begin something, as O does; I and L don't.
    kind = np.zeros(length, dtype=np.int64)
    kind[: len(tags)] = np.where(tags == 0, 0, (tags - 1) % 4)
    begins = begins[(kind == 0) | (kind == 3)]
    return np.concatenate(([0], begins[:-1])), begins


class Gradient:
    """Turns a gradient by `log_shares` into one by scores and transitions: expected counts in the
    subset minus those in all sequences.
    """

    def __init__(self, chunks: list[_Chunk], lengths: list[int], width: int) -> None:
        self._chunks, self._lengths, self._width = chunks, lengths, width

    def __call__(self, d_shares: Floats) -> tuple[list[Floats], Floats]:
        d_scores = [np.zeros((length, 4 * self._width - 3)) for length in self._lengths]
        d_transitions = np.zeros((self._width, self._width))
        for docs, lattice, paths, partial in self._chunks:
            # What each row counts: minus the sum of its subsets for a document, then the subsets
            # themselves.
            weights = np.zeros(len(lattice.log_total))
            for at, part in enumerate(partial, start=len(docs)):
                weights[at] = d_shares[part.subset]
            for subset, row, *_ in [*paths, *partial]:
                weights[row] -= d_shares[subset]
            d_transitions += lattice.pairs(weights)
            d_moves = lattice.tags() * weights[:, None]
            for at, part in enumerate(partial, start=len(docs)):
                d_moves[:, :, :, part.row] += d_moves[:, :, :, at]
            for row, doc in enumerate(docs):
                d_scores[doc] += unpad(d_moves[:, :, :, row], self._lengths[doc])
            for subset, row, tags, pairs in paths:
                d_scores[docs[row]][np.arange(len(tags)), tags] += d_shares[subset]
                np.add.at(d_transitions, pairs, d_shares[subset])
        return d_scores, d_transitions


def unpad(moves: Floats, length: int) -> Floats:
    """A document's part of what `pad` arranged, `[t, inside before, inside after, label]`, as
    `(length, 1 + 4 * n_labels)`.
    """
    tags = np.empty((length, 1 + 4 * (moves.shape[-1] - 1)))
    tags[:, 0] = moves[:length, 0, 0, 0]
    for tag, (before, after) in enumerate(_MOVES, start=1):
        tags[:, tag::4] = moves[:length, before, after, 1:]
    return tags
