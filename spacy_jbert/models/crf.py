"""Sums over all well-formed sequences of BILUO tags: a linear-chain conditional random field
(Lafferty, McCallum & Pereira 2001).

A position knows whether it is inside an entity, and the label of the entity that is open or was the
last to end (0 for O). From B or I of a label only I and L of it may follow, so the learned
transitions that remain are those between entities: from what a token ended (O or a label) to what
the next one begins (O or a label). What is before and after a text counts as O. Transitions inside
an entity would add next to nothing: B, I, L and U of each label have scores of their own already.

With transitions of zero this is a softmax over well-formed sequences, in which a step costs
O(labels). Learned transitions add one matrix product a step.

Documents run together, a token position after the other, without padding: `Moves`."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import Errors
from ..wordpieces.alignment import ragged_ranges

Floats = NDArray[np.float64]

# Where B, I, L and U of a label come from and lead to: whether one is inside an entity before and
# after.
_MOVES = ((0, 1), (1, 1), (1, 0), (0, 0))
# Lower than any score, and yet a number: -inf - LOWEST is -inf, not nan.
_LOWEST = -1e300
# exp(-708) is the smallest float of full precision: what differs by more is summed in logarithms.
_WIDEST = 600.0
# After so many steps sums are brought back to 1.
_RESCALE = 4
# Tokens whose tables are in memory at once: as many as a processor's cache holds, but with hundreds
# of labels enough to read the table of transitions seldom, as far as memory allows.
_MOST_CELLS = 2**18
_ENOUGH_POSITIONS = 2**10
_MOST_CELLS_OF_MANY = 2**19


class Moves:
    """Scores of some documents by what a tag does: `scores[inside before, inside after, label,
    row]`. O and U go from 0 to 0, B from 0 to 1, I from 1 to 1, L from 1 to 0; label 0 belongs to
    O. Every document ends with one more token, which is O for certain.

    Rows are in the order of recursions: first the first token of each document, then the second of
    each that has one, and so on. As documents are sorted, longest first, those that go on are
    always the first ones.

    scores: *Shape:* `(n_tokens, 1 + 4 * n_labels)` for each document, none longer than the one
        before.
    """

    def __init__(self, scores: Sequence[NDArray]) -> None:
        self.n_docs = len(scores)
        # With the closing O.
        self.lengths = np.array([len(doc) + 1 for doc in scores])
        # Of each token position, how many documents have one, and its first row.
        n_going = np.searchsorted(-self.lengths, -np.arange(self.lengths[0]), side="left")
        self.offsets = np.concatenate(([0], np.cumsum(n_going)))
        self.n_rows = int(self.offsets[-1])
        self.width = 1 + (scores[0].shape[1] - 1) // 4
        tags = np.concatenate(scores).T
        self.scores = np.full((2, 2, self.width, self.n_rows), -np.inf)
        self.scores[0, 0, 0, self.closing] = 0.0
        self.scores[0, 0, 0, self.tokens] = tags[0]
        for tag, (before, after) in enumerate(_MOVES, start=1):
            self.scores[before, after, 1:, self.tokens] = tags[tag::4].T

    @cached_property
    def by_doc(self) -> NDArray:
        """RETURNS: The rows of all tokens, document after document."""
        first = np.cumsum(self.lengths) - self.lengths
        position = np.arange(self.n_rows) - np.repeat(first, self.lengths)
        return self.offsets[position] + np.repeat(np.arange(self.n_docs), self.lengths)

    @cached_property
    def closing(self) -> NDArray:
        """RETURNS: The rows of the last tokens, which are O for certain. *Shape:* `(n_docs,)`."""
        return self.by_doc[np.cumsum(self.lengths) - 1]

    @cached_property
    def tokens(self) -> NDArray:
        """RETURNS: `by_doc` without the closing tokens."""
        return np.delete(self.by_doc, np.cumsum(self.lengths) - 1)

    @cached_property
    def mirrored(self) -> NDArray:
        """RETURNS: For each row that of the token as far from the end as its own is from the
        beginning.
        """
        last = np.repeat(np.cumsum(self.lengths) - 1, self.lengths)
        first = np.repeat(np.cumsum(self.lengths) - self.lengths, self.lengths)
        rows = np.empty(self.n_rows, dtype=np.int64)
        rows[self.by_doc] = self.by_doc[first + last - np.arange(self.n_rows)]
        return rows

    @cached_property
    def doc_of_row(self) -> NDArray:
        """RETURNS: Each row's document. *Shape:* `(n_rows,)`."""
        return np.arange(self.n_rows) - np.repeat(self.offsets[:-1], np.diff(self.offsets))

    def of_tags(self, moves: Floats) -> list[Floats]:
        """What is arranged as `scores`, for each document as `(n_tokens, 1 + 4 * n_labels)`."""
        tags = np.empty((len(self.tokens), 4 * self.width - 3))
        tags[:, 0] = moves[0, 0, 0, self.tokens]
        for tag, (before, after) in enumerate(_MOVES, start=1):
            tags[:, tag::4] = moves[before, after, 1:, self.tokens]
        return np.split(tags, np.cumsum(self.lengths - 1)[:-1])


def batches(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Share out documents to batches whose tables are small enough.

    lengths (Sequence[int]): In tokens.
    width (int): 1 + n_labels.
    RETURNS (list[list[int]]): Numbers of documents, longest first.
    """
    most = max(_MOST_CELLS // width, min(_ENOUGH_POSITIONS, _MOST_CELLS_OF_MANY // width))
    found: list[list[int]] = []
    room = 0
    for i in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        if not found or lengths[i] + 1 > room:
            found.append([])
            room = most
        found[-1].append(i)
        room -= lengths[i] + 1
    return found


class Lattice:
    """The sums over all ways to and from each token of some documents, by forward-backward.

    moves (Moves): Their scores.
    transitions (NDArray | None): None for zeros. *Shape:* `(1 + n_labels, 1 + n_labels)`.
    temperature (float): Divides all scores.
    RAISES: ValueError J055 if a sum is not a number, J056.
    """

    def __init__(
        self, moves: Moves, transitions: NDArray | None = None, temperature: float = 1.0
    ) -> None:
        require_temperature(temperature)
        self.moves = moves
        self.scores = moves.scores if temperature == 1.0 else moves.scores / temperature
        self.transitions = (
            np.zeros((moves.width, moves.width))
            if transitions is None
            else transitions.astype(np.float64) / temperature
        )
        # All in logarithms. All ways to a token, before transitions and after: `ended[label, row]`
        # and `before[inside, label, row]`. All ways from behind it, `after[inside, label, row]`,
        # and from itself where it begins something, `begins[label, row]`. `log_total`: over all
        # sequences of a document.
        with np.errstate(divide="ignore", invalid="ignore"):
            run = _logarithmic if _is_wide(moves, self.scores, self.transitions) else _scaled
            self._before, self._ended, self._after, self._begins, self.log_total = run(
                moves, self.scores, self.transitions
            )
        if not np.isfinite(self.log_total).all():
            raise ValueError(Errors.J055)
        self._of_row = self.log_total[moves.doc_of_row]

    def tags(self) -> Floats:
        """RETURNS (Floats): The probability of each tag at each token, as `Moves.scores`."""
        log_tags = self._before[:, None] + self.scores
        log_tags += self._after
        log_tags -= self._of_row
        return np.exp(log_tags, out=log_tags)

    def pairs(self, weights: NDArray) -> Floats:
        """How often each transition is expected in all documents together.

        weights (NDArray): How much each document counts. *Shape:* `(n_docs,)`.
        RETURNS (Floats): *Shape:* `(1 + n_labels, 1 + n_labels)`.
        """
        weights = weights[self.moves.doc_of_row]
        if np.ptp(self.transitions) > _WIDEST:
            found = np.zeros(self.transitions.shape)
            for i, ended in enumerate(self._ended):
                log_pairs = ended + self._begins - self._of_row + self.transitions[i][:, None]
                found[i] = np.exp(log_pairs) @ weights
            return found
        from_ = np.maximum(self._ended.max(axis=0), _LOWEST)
        to = np.maximum(self._begins.max(axis=0), _LOWEST)
        # No transition is so unlikely that the best end and the best beginning could be far more
        # likely than both together.
        highest = self.transitions.max()
        ended = np.exp(self._ended - from_) * weights
        begins = np.exp(self._begins - to + (from_ + to - self._of_row + highest))
        counts: Floats = ended @ begins.T
        return counts * np.exp(self.transitions - highest)

    def expected(self) -> "Expected":
        """RETURNS (Expected): What all sequences of a single document expect."""
        (tags,) = self.moves.of_tags(self.tags())
        return Expected(tags, self.pairs(np.ones(1)))

    def probabilities(self, spans: NDArray) -> Floats:
        """The probability of each span to be an entity of its label, just so: constrained marginals
        of a linear chain (Culotta & McCallum 2004, "Confidence Estimation for Information
        Extraction").

        spans: Document, start, end and label, counted from 0 without O. *Shape:* `(n_spans, 4)`.
        RETURNS (Floats): Their shares among all well-formed sequences. *Shape:* `(n_spans,)`.
        """
        doc, start, end, label = np.asarray(spans, dtype=np.int64).reshape(-1, 4).T
        label = label + 1
        first, last = self.moves.offsets[start] + doc, self.moves.offsets[end - 1] + doc
        single = first == last
        path = np.where(
            single,
            self.scores[0, 0, label, first],
            self.scores[0, 1, label, first] + self.scores[1, 0, label, last],
        )
        n_inside = np.maximum(end - start - 2, 0)
        span = np.repeat(np.arange(len(doc)), n_inside)
        inside = ragged_ranges(start + 1, n_inside)
        np.add.at(
            path, span, self.scores[1, 1, label[span], self.moves.offsets[inside] + doc[span]]
        )
        log_share = (
            self._before[0, label, first] + path + self._after[0, label, last] - self.log_total[doc]
        )
        return np.exp(np.minimum(0.0, log_share))

    def likely(self, threshold: float) -> list[list[tuple[int, int, int, float]]]:
        """Every span whose probability reaches a threshold above 0. They may overlap.

        RETURNS: For each document start, end, label (counted from 0) and probability, in the order
            of the text.
        """
        offsets, doc_of_row = self.moves.offsets, self.moves.doc_of_row
        position = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        alone, begun = np.exp(self._before[0] + self.scores[0] + self._after - self._of_row)
        alone[0] = 0.0
        found: list[list[tuple[int, int, int, float]]] = [[] for _ in self.log_total]
        for label, row in np.argwhere(alone >= threshold).tolist():
            t = int(position[row])
            share = min(1.0, float(alone[label, row]))
            found[doc_of_row[row]].append((t, t + 1, label - 1, share))
        for label, row in np.argwhere(begun >= threshold).tolist():
            doc, start = int(doc_of_row[row]), int(position[row])
            path = self._before[0, label, row] + self.scores[0, 1, label, row] - self.log_total[doc]
            t = start
            # The probability to be inside still can only fall.
            while np.exp(path + self._after[1, label, row]) >= threshold:
                t += 1
                row = offsets[t] + doc
                ending = np.exp(path + self.scores[1, 0, label, row] + self._after[0, label, row])
                if ending >= threshold:
                    found[doc].append((start, t + 1, label - 1, min(1.0, float(ending))))
                path += self.scores[1, 1, label, row]
        return [sorted(spans) for spans in found]


_Sums = tuple[Floats, Floats, Floats, Floats, Floats]


def _is_wide(moves: Moves, scores: Floats, transitions: Floats) -> bool:
    """Whether sums could leave the range of a float, so that logarithms are needed.

    Within two tokens every state is reached from every other, so that none is less likely than the
    best by more than two tokens' scores and transitions differ, unless tags are impossible (-inf)
    in a row of tokens: then by those of so many more.

    RAISES: ValueError J055 if a score is not a number, or too large for one.
    """
    numbers = np.isfinite(scores)
    highest = scores.max(axis=(0, 1, 2))
    lowest = np.where(numbers, scores, np.inf).min(axis=(0, 1, 2))
    step = (highest - lowest).max() + 2 * abs(transitions).max() + np.log(1 + moves.width)
    if not np.isfinite(step):
        raise ValueError(Errors.J055)
    complete = numbers[0, 0].all(axis=0) & numbers[0, 1, 1:].all(axis=0)
    complete &= numbers[1, :, 1:].all(axis=(0, 1))
    complete[moves.closing] = True
    longest = _longest_run(~complete[moves.by_doc])
    return bool((longest + 2 + _RESCALE) * step > _WIDEST)


def _longest_run(values: NDArray) -> int:
    """RETURNS (int): How many values in a row are true at most."""
    borders = np.flatnonzero(np.concatenate(([True], ~values, [True])))
    return int(np.diff(borders).max()) - 1


def _scaled(moves: Moves, scores: Floats, transitions: Floats) -> _Sums:
    """Forward-backward in numbers that are brought back to 1 every few tokens. The backward
    direction runs beside the forward one, from the end of each document.
    """
    n_docs, n_rows, width, mirrored = moves.n_docs, moves.n_rows, moves.width, moves.mirrored
    factors = np.exp(transitions)
    # Of both directions what is multiplied: `[direction, from, to, label, row]`.
    row_max = scores.max(axis=(0, 1, 2))
    both = np.empty((2, 2, 2, width, n_rows))
    np.exp(scores - row_max, out=both[0])
    np.take(both[0].swapaxes(0, 1), mirrored, axis=-1, out=both[1])
    through = np.stack((factors.T, factors))
    # Before each token and, in parts, behind it: `[direction, inside, label, row]`.
    states, results = np.zeros((2, 2, 2, width, n_rows))
    states[0, 0, :, :n_docs], states[1, 0, 0, :n_docs] = factors[0][:, None], 1.0
    # What has been divided by, in logarithms.
    divided = np.stack((row_max, row_max[mirrored]))
    offsets = moves.offsets.tolist()
    for t, (a, b, c) in enumerate(
        zip(offsets[:-1], offsets[1:], [*offsets[2:], n_rows], strict=True)
    ):
        moved = both[..., a:b] * states[:, :, None, :, a:b]
        result = np.add(moved[:, 0], moved[:, 1], out=results[..., a:b])
        if t % _RESCALE == _RESCALE - 1:
            largest = result.max(axis=(1, 2))
            result /= largest[:, None, None]
            divided[:, a:b] += np.log(largest)
        going = c - b
        np.matmul(through, result[:, 0, :, :going], out=states[:, 0, :, b:c])
        states[:, 1, :, b:c] = result[:, 1, :, :going]
    # Behind a token, all that has been divided by up to it.
    by_doc = np.cumsum(divided[:, moves.by_doc], axis=1)
    first = np.cumsum(moves.lengths) - moves.lengths
    by_doc -= np.repeat((by_doc - divided[:, moves.by_doc])[:, first], moves.lengths, axis=1)
    behind = np.empty((2, n_rows))
    behind[:, moves.by_doc] = by_doc
    np.log(states, out=states)
    states += (behind - divided)[:, None, None]
    ways = np.log(results[:, 0])
    ways += behind[:, None]
    log_total = ways[0, 0, moves.closing]
    ended = np.full((width, n_rows), -np.inf)
    ended[0, :n_docs] = 0.0
    ended[:, n_docs:] = ways[0][:, _row_before(moves)]
    return states[0], ended, states[1][..., mirrored], ways[1][:, mirrored], log_total


def _row_before(moves: Moves) -> NDArray:
    """RETURNS: For each row but those of first tokens that of the token before it."""
    n_going = np.diff(moves.offsets)
    return np.arange(moves.n_docs, moves.n_rows) - np.repeat(n_going[:-1], n_going[1:])


def _logarithmic(moves: Moves, scores: Floats, transitions: Floats) -> _Sums:
    """Forward-backward in logarithms: for scores of any size, and half as fast."""
    through = _Transitions(transitions)
    steps = list(zip(moves.offsets[:-1].tolist(), moves.offsets[1:].tolist(), strict=True))
    before, after = np.empty((2, 2, moves.width, moves.n_rows))
    ended, closed, begins = np.empty((3, moves.width, moves.n_rows))
    border = np.full((2, moves.width, moves.n_docs), -np.inf)
    border[0, 0] = 0.0
    state = border
    for a, b in steps:
        ended[:, a:b] = state[0, :, : b - a]
        before[0, :, a:b] = through.forward(ended[:, a:b])
        before[1, :, a:b] = state[1, :, : b - a]
        moved = scores[..., a:b] + before[:, None, :, a:b]
        state = np.logaddexp(moved[0], moved[1])
        closed[:, a:b] = state[0]
    state = border[..., :0]
    for a, b in reversed(steps):
        after[..., a:b] = np.concatenate((state, border[..., state.shape[-1] : b - a]), axis=-1)
        moved = scores[..., a:b] + after[..., a:b]
        state = np.logaddexp(moved[:, 0], moved[:, 1])
        begins[:, a:b] = state[0]
        state[0] = through.backward(state[0])
    return before, ended, after, begins, closed[0, moves.closing]


class _Transitions:
    """Sums over what ended before, or over what begins next. *Shapes:* `(1 + n_labels, n_docs)`.

    transitions (Floats): *Shape:* `(1 + n_labels, 1 + n_labels)`.
    """

    def __init__(self, transitions: Floats) -> None:
        self._transitions = transitions
        self._highest = transitions.max()
        self._factors = np.exp(transitions - self._highest)
        self._wide = np.ptp(transitions) > _WIDEST

    def forward(self, log_weights: Floats) -> Floats:
        """RETURNS (Floats): The logarithm of `exp(transitions).T @ exp(log_weights)`."""
        return self._sum(log_weights, self._transitions.T, self._factors.T)

    def backward(self, log_weights: Floats) -> Floats:
        """RETURNS (Floats): The logarithm of `exp(transitions) @ exp(log_weights)`."""
        return self._sum(log_weights, self._transitions, self._factors)

    def _sum(self, log_weights: Floats, transitions: Floats, factors: Floats) -> Floats:
        if self._wide:
            summed: Floats = np.logaddexp.reduce(transitions[:, :, None] + log_weights, axis=1)
            return summed
        highest = np.maximum(log_weights.max(axis=0), _LOWEST)
        return np.log(factors @ np.exp(log_weights - highest)) + (highest + self._highest)


def require_temperature(temperature: float) -> None:
    """RAISES: ValueError J056 if scores can't be divided by it."""
    if not 0.0 < temperature < np.inf:
        raise ValueError(Errors.J056.format(temperature=temperature))


class Expected(NamedTuple):
    """What a distribution over a document's sequences expects of each: all that its mean score
    depends on, whatever the scores are.

    tags: The probability of each tag at each token. *Shape:* `(n_tokens, 1 + 4 * n_labels)`.
    pairs: How often each transition is expected. *Shape:* `(1 + n_labels, 1 + n_labels)`.
    """

    tags: NDArray
    pairs: NDArray


def log_shares(
    scores: Sequence[NDArray],
    transitions: NDArray | None,
    subsets: Sequence[tuple[int, NDArray | Expected]],
) -> tuple[Floats, "Gradient"]:
    """How much of the weight of all well-formed sequences of a document falls to those in a subset.

    scores: *Shape:* `(n_tokens, n_tags)` for each document.
    transitions (NDArray | None): *Shape:* `(1 + n_labels, 1 + n_labels)`.
    subsets: A document's number, and which tags its tokens may have, *shape* `(n_tokens, n_tags)`;
        at least one well-formed sequence must remain. Of a single sequence its tags will do,
        *shape* `(n_tokens,)`. Instead of a subset, what a distribution expects: its share is the
        mean of those of all sequences, in logarithms (minus the cross-entropy of both
        distributions; Wang et al. 2021, "Structural Knowledge Distillation").
    RETURNS: The logarithm of each subset's share, *shape* `(len(subsets),)`, and what turns a
        gradient by these into one by `scores` and `transitions`.
    RAISES: ValueError J055 if a sum is not a number.
    """
    width = 1 + (scores[0].shape[1] - 1) // 4
    table = np.zeros((width, width)) if transitions is None else transitions.astype(np.float64)
    shares = np.zeros(len(subsets))
    paths: list[_Path] = []
    # What needs a lattice: each document that is asked for, and what is no single sequence.
    sums = [_Sum(doc, None, scores[doc]) for doc in dict.fromkeys(doc for doc, _ in subsets)]
    expected: list[tuple[int, int, Expected]] = []
    for number, (doc, allowed) in enumerate(subsets):
        if isinstance(allowed, Expected):
            shares[number] = (allowed.tags * scores[doc]).sum() + (allowed.pairs * table).sum()
            expected.append((number, doc, allowed))
            continue
        if allowed.ndim == 2 and not (allowed.sum(axis=1) == 1).all():
            sums.append(_Sum(doc, number, np.where(allowed, scores[doc], -np.inf)))
            continue
        tags = allowed if allowed.ndim == 1 else allowed.argmax(axis=1)
        pairs = _pairs_of(tags)
        path = scores[doc][np.arange(len(tags)), tags].astype(np.float64)
        shares[number] = path.sum() + table[pairs].sum()
        paths.append(_Path(number, doc, tags, pairs))
    chunks, log_total = [], np.empty(len(scores))
    for batch in batches([len(part.scores) for part in sums], width):
        lattice = Lattice(Moves([sums[i].scores for i in batch]), table)
        chunks.append((batch, lattice))
        for i, total in zip(batch, lattice.log_total.tolist(), strict=True):
            if sums[i].subset is None:
                log_total[sums[i].doc] = total
            else:
                shares[sums[i].subset] = total
    shares -= log_total[[doc for doc, _ in subsets]]
    gradient = Gradient(scores, [part[:2] for part in sums], chunks, paths, expected)
    return np.minimum(0.0, shares), gradient


class _Sum(NamedTuple):
    """What a lattice sums up: all sequences of a document, or those of a subset."""

    doc: int
    subset: int | None
    scores: NDArray


class _Path(NamedTuple):
    """A subset that is a single sequence, and what ends and begins in it."""

    subset: int
    doc: int
    tags: NDArray
    pairs: tuple[NDArray, NDArray]


def _pairs_of(tags: NDArray) -> tuple[NDArray, NDArray]:
    """What ended before each beginning in a sequence of tags and at its end, and what begins."""
    # B and U begin something, as O does; I and L don't.
    begins = (tags[tags % 4 <= 1] + 3) // 4
    return np.concatenate(([0], begins)), np.concatenate((begins, [0]))


class Gradient:
    """Turns a gradient by `log_shares` into one by scores and transitions: expected counts in the
    subset minus those in all sequences.

    scores: Of each document.
    sums: Of each row of a lattice the document, and the subset if it isn't all sequences.
    chunks: Numbers of sums, and their lattice.
    paths: Subsets that are single sequences.
    expected: Subsets that are distributions: subset, document, and what is expected.
    """

    def __init__(
        self,
        scores: Sequence[NDArray],
        sums: list[tuple[int, int | None]],
        chunks: list[tuple[list[int], Lattice]],
        paths: list[_Path],
        expected: list[tuple[int, int, Expected]],
    ) -> None:
        self._shapes = [doc.shape for doc in scores]
        self._sums, self._chunks, self._paths = sums, chunks, paths
        self._expected = expected

    def __call__(self, d_shares: Floats) -> tuple[list[Floats], Floats]:
        d_scores = [np.zeros(shape) for shape in self._shapes]
        width = 1 + (self._shapes[0][1] - 1) // 4
        d_transitions = np.zeros((width, width))
        # What all sequences of a document count: minus the sum of its subsets.
        all_of_doc = np.zeros(len(d_scores))
        for doc, subset in self._sums:
            if subset is not None:
                all_of_doc[doc] -= d_shares[subset]
        for path in self._paths:
            all_of_doc[path.doc] -= d_shares[path.subset]
            d_scores[path.doc][np.arange(len(path.tags)), path.tags] += d_shares[path.subset]
        for subset, doc, of_doc in self._expected:
            all_of_doc[doc] -= d_shares[subset]
            d_scores[doc] += d_shares[subset] * of_doc.tags
            d_transitions += d_shares[subset] * of_doc.pairs
        for batch, lattice in self._chunks:
            sums = [self._sums[i] for i in batch]
            weights = np.array(
                [all_of_doc[doc] if subset is None else d_shares[subset] for doc, subset in sums]
            )
            d_transitions += lattice.pairs(weights)
            d_tags = lattice.tags()
            d_tags *= weights[lattice.moves.doc_of_row]
            for (doc, _), tags in zip(sums, lattice.moves.of_tags(d_tags), strict=True):
                d_scores[doc] += tags
        if self._paths:
            ended, begins = (
                np.concatenate([path.pairs[i] for path in self._paths]) for i in range(2)
            )
            counts = np.repeat(
                d_shares[[path.subset for path in self._paths]],
                [len(path.pairs[0]) for path in self._paths],
            )
            np.add.at(d_transitions, (ended, begins), counts)
        return d_scores, d_transitions
