"""From scores of where an answer begins and ends to the answers of a whole text, and how probable
each is; and what is learned from the right ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..types import PairWindow

Floats = NDArray[np.float64]
# So many spans of a question are looked at one by one; of the others, which are thousands, scores
# that are alike are put together.
BEST = 32
_ALIKE = 512


class Spans(NamedTuple):
    """The best spans of a text for one question, best first.

    starts, ends: First piece, and the one behind the last. *Shape:* `(n,)`.
    scores: Logarithm of how much more probable than no answer each is. *Shape:* `(n,)`.
    others: The same of all others, those that are alike put together. *Shape:* `(m,)`.
    counts: How many spans each of these stands for. *Shape:* `(m,)`.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    scores: Floats
    others: Floats
    counts: NDArray[np.int64]

    def probabilities(self, temperature: float) -> tuple[Floats, float]:
        """RETURNS (tuple): The probability of each, and of no answer; with the others' they are
        1.
        """
        scaled = np.concatenate((self.scores, self.others, [0.0])) / temperature
        probable = np.exp(scaled - scaled.max())
        n = len(self.scores)
        probable[n:-1] *= self.counts
        probable /= probable.sum()
        return probable[:n], float(probable[-1])


def best_spans(
    windows: Sequence[PairWindow], logits: Sequence[Floats], longest: int, keep: int = BEST
) -> Spans:
    """The best spans of a text over all of its windows.

    Each window by itself says how probable a span is, p(span), and that no span of it is the
    answer, p(none): the product of a softmax of beginnings and one of ends, where the window's
    first piece stands for none (Devlin et al. 2019, arXiv:1810.04805, section 4.3). Of windows that
    know nothing of each other, the span has p(span) / p(none) of its own window times the product
    of p(none) of all; so these ratios can be compared over windows, and no answer has 1.

    windows: Of the text. logits: Of each the beginnings and ends. *Shape:* `(n, 2)` each.
    longest (int): Pieces of an answer.
    keep (int): How many spans to give one by one.
    """
    starts, ends, scores = [], [], []
    for window, of_window in zip(windows, logits, strict=True):
        begins, stops = of_window[window.at].T
        first, last = window.own_start - window.start, window.own_end - window.start
        padded = np.append(stops, np.full(longest - 1, -np.inf))
        # (n_own, longest): ends of spans that begin with each.
        ahead = np.lib.stride_tricks.sliding_window_view(padded, longest)[first:last]
        table = begins[first:last, None] + ahead - of_window[0].sum()
        row, length = np.nonzero(np.isfinite(table))
        starts.append(window.own_start + row)
        ends.append(window.own_start + row + length + 1)
        scores.append(table[row, length])
    if not scores:
        nothing, no_scores = np.empty(0, dtype=np.int64), np.empty(0)
        return Spans(nothing, nothing, no_scores, no_scores, nothing)
    start, end, score = (np.concatenate(of) for of in (starts, ends, scores))
    others = np.empty(0)
    if len(score) > keep:
        top = np.argpartition(-score, keep)
        others = score[top[keep:]]
        start, end, score = (of[top[:keep]] for of in (start, end, score))
    order = np.argsort(-score, kind="stable")
    return Spans(start[order], end[order], score[order], *_alike(others))


def _alike(scores: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Put scores together that are alike.

    RETURNS (tuple): The mean of each group, and how many are in it.
    """
    if not len(scores):
        return scores, np.empty(0, dtype=np.int64)
    low, high = scores.min(), scores.max()
    group = ((scores - low) * ((_ALIKE - 1) / max(high - low, 1e-9))).astype(np.int64)
    counts = np.bincount(group)
    sums = np.bincount(group, weights=scores)
    there = counts > 0
    return sums[there] / counts[there], counts[there]


def span_loss(
    window: PairWindow, logits: Floats, answers: Sequence[tuple[int, int]]
) -> tuple[float, Floats]:
    """How improbable the right answers are in a window: the mean of the cross-entropies of where
    they begin and where they end. Of several answers any will do.

    answers: First and last piece of each, of the text's; none where no answer is in the window.
    logits: *Shape:* `(n, 2)`.
    RETURNS (tuple[float, Floats]): The loss and its gradient.
    """
    # The window's first piece, which stands for no answer, and the text's; not the question.
    possible = np.concatenate(([0], np.arange(window.at.start, window.at.stop)))
    scores = logits[possible].astype(np.float64)
    probable = np.exp(scores - scores.max(axis=0))
    probable /= probable.sum(axis=0)
    wanted = np.zeros_like(probable)
    if answers:
        pieces = np.array(answers) - window.start + 1
        wanted[pieces[:, 0], 0] = wanted[pieces[:, 1], 1] = 1.0
    else:
        wanted[0] = 1.0
    wanted *= probable
    sums = wanted.sum(axis=0).clip(1e-30)
    gradient = np.zeros(logits.shape)
    gradient[possible] = (probable - wanted / sums) / 2.0
    return -float(np.log(sums).mean()), gradient
