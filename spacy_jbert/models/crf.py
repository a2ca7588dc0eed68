"""Sums over all well-formed sequences of BILUO tags: a linear-chain conditional random field
(Lafferty, McCallum & Pereira 2001).

A position knows whether it is inside an entity, and the label of the entity that is open or was the
last to end (0 for O). From B or I of a label only I and L of it may follow, so the learned
transitions that remain are those between entities: from what a token ended (O or a label) to what
the next one begins (O or a label). What is before and after a text counts as O. Transitions inside
an entity would add next to nothing: B, I, L and U of each label have scores of their own already.

With transitions of zero this is a softmax over well-formed sequences, in which a step costs
O(labels)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Where B, I, L and U of a label come from and lead to: whether one is inside an entity before and
# after.
_MOVES = ((0, 1), (1, 1), (1, 0), (0, 0))
# Lower than any score, and yet a number: -inf - LOWEST is -inf, not nan.
_LOWEST = -1e300


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
    """

    def __init__(
        self, moves: Floats, transitions: NDArray | None = None, temperature: float = 1.0
    ) -> None:
        length, _, _, n_docs, width = moves.shape
        self.moves = moves = moves / temperature
        self.transitions = (
            np.zeros((width, width))
            if transitions is None
            else transitions.astype(np.float64) / temperature
        )
        factors = np.exp(self.transitions)
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
        with np.errstate(divide="ignore"):
            for t in range(length):
                before = self._before[t]
                self._ended[t] = state[0]
                before[0] = _through(state[0], factors)
                before[1] = state[1]
                state = np.logaddexp(moves[t, 0] + before[0], moves[t, 1] + before[1])
            # Sum over all sequences, in logarithms. *Shape:* `(n_docs,)`.
            self.log_total: Floats = state[0, :, 0]
            state = np.full((2, n_docs, width), -np.inf)
            state[0, :, 0] = 0.0
            for t in range(length - 1, -1, -1):
                self._after[t] = state
                state = np.logaddexp(moves[t, :, 0] + state[0], moves[t, :, 1] + state[1])
                self._begins[t] = state[0]
                state[0] = _through(state[0], factors.T)

    def tags(self) -> Floats:
        """RETURNS (Floats): The probability of each tag at each token, arranged as `moves`."""
        before, after = self._before[:, :, None], self._after[:, None]
        return np.exp(before + self.moves + after - self.log_total[:, None])

    def pairs(self) -> Floats:
        """RETURNS (Floats):

        How often each transition is expected in each document. *Shape:* `(n_docs, 1 + n_labels, 1 +
        n_labels)`.
        """
        from_ = np.maximum(self._ended.max(axis=2, keepdims=True), _LOWEST)
        to = np.maximum(self._begins.max(axis=2, keepdims=True), _LOWEST)
        # No transition is so unlikely that the best end and the best beginning could be far more
        # likely than both together.
        ended = np.exp(self._ended - from_)
        begins = np.exp(self._begins - to + (from_ + to - self.log_total[:, None]))
        return np.einsum("tda,tdb->dab", ended, begins, optimize=True) * np.exp(self.transitions)

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
        return float(np.exp(min(0.0, log_share)))

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


def _through(log_weights: Floats, factors: Floats) -> Floats:
    """The logarithm of `exp(log_weights) @ factors`. *Shape:* `(n_docs, 1 + n_labels)`."""
    highest = np.maximum(log_weights.max(axis=1, keepdims=True), _LOWEST)
    return np.log(np.exp(log_weights - highest) @ factors) + highest


def log_shares(
    scores: Sequence[NDArray], transitions: NDArray | None, subsets: Sequence[tuple[int, NDArray]]
) -> tuple[Floats, "Gradient"]:
    """How much of the weight of all well-formed sequences of a document falls to those in a subset.

    scores: *Shape:* `(n_tokens, n_tags)` for each document.
    transitions (NDArray | None): *Shape:* `(1 + n_labels, 1 + n_labels)`.
    subsets: A document's number, and which tags its tokens may have. At least one well-formed
        sequence must remain. *Shape:* `(n_tokens, n_tags)`.
    RETURNS: The logarithm of each subset's share, *shape* `(len(subsets),)`, and what turns a
        gradient by these into one by `scores` and `transitions`.
    """
    rows = [*scores, *(np.where(allowed, scores[doc], -np.inf) for doc, allowed in subsets)]
    lattice = Lattice(pad(rows), transitions)
    docs = np.array([doc for doc, _ in subsets], dtype=np.int64)
    shares = np.minimum(0.0, lattice.log_total[len(scores) :] - lattice.log_total[docs])
    return shares, Gradient(lattice, [len(doc) for doc in scores], docs)


class Gradient:
    """Turns a gradient by `log_shares` into one by scores and transitions:

    expected counts in the subset minus those in all sequences.
    """

    def __init__(self, lattice: Lattice, lengths: list[int], docs: NDArray) -> None:
        self._lattice, self._lengths, self._docs = lattice, lengths, docs

    def __call__(self, d_shares: Floats) -> tuple[list[Floats], Floats]:
        n_docs = len(self._lengths)
        # What each row counts: minus the sum of its subsets for a document, then the subsets
        # themselves.
        weights: Floats = np.concatenate(
            (-np.bincount(self._docs, d_shares, minlength=n_docs), d_shares)
        )
        d_pairs: Floats = np.einsum("d,dab->ab", weights, self._lattice.pairs())
        tags = self._lattice.tags() * weights[:, None]
        d_moves: Floats = tags[:, :, :, :n_docs].copy()
        np.add.at(
            d_moves.transpose(3, 0, 1, 2, 4),
            self._docs,
            tags[:, :, :, n_docs:].transpose(3, 0, 1, 2, 4),
        )
        return [
            unpad(d_moves[:, :, :, i], length) for i, length in enumerate(self._lengths)
        ], d_pairs


def unpad(moves: Floats, length: int) -> Floats:
    """A document's part of what `pad` arranged, `[t, inside before, inside after, label]`, as
    `(length, 1 + 4 * n_labels)`.
    """
    tags = np.empty((length, 1 + 4 * (moves.shape[-1] - 1)))
    tags[:, 0] = moves[:length, 0, 0, 0]
    for tag, (before, after) in enumerate(_MOVES, start=1):
        tags[:, tag::4] = moves[:length, before, after, 1:]
    return tags
