"""How far a score could be chance: the bootstrap over documents, of one pipeline or of two on the
same documents.

A test part is a sample. Drawing as many documents from it again and again, with replacement, shows
how a score would vary with another sample (Efron 1979); the same draws for two pipelines show
whether one is better (Koehn 2004, Statistical Significance Tests for Machine Translation
Evaluation)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .significance import Floats, Interval, middle_interval, p_value, resampled

DRAWS = 1000


class Difference(NamedTuple):
    """How much higher the second score is, its interval, and how often chance alone would make as
    large a difference, either way: see `significance.paired_bootstrap`.
    """

    value: float
    low: float
    high: float
    p: float


def score(counts: Floats) -> dict[str, Floats]:
    """Precision, recall and F of counts, over all labels together and as means over labels.

    counts (Floats): Right, invented and missed of each label. *Shape:* `(..., n_labels, 3)`.
    RETURNS (dict[str, Floats]): p, r, f, macro_f. *Shape:* `(...)`. Labels of which there is
        nothing count as 0 in `macro_f`, as in spaCy's.
    """
    p, r, f = prf(counts.sum(axis=-2))
    _, _, of_labels = prf(counts)
    return {"p": p, "r": r, "f": f, "macro_f": of_labels.mean(axis=-1)}


def prf(counts: Floats) -> tuple[Floats, Floats, Floats]:
    """RETURNS: Precision, recall and F of counts, *shape* `(..., 3)`; 0 where there is nothing."""
    right, invented, missed = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    return (
        _share(right, right + invented),
        _share(right, right + missed),
        _share(2.0 * right, 2.0 * right + invented + missed),
    )


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def intervals(counts: Floats, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Interval]:
    """Scores with the interval of 95 % of the draws.

    counts (Floats): See `score`, for each document. *Shape:* `(n_docs, n_labels, 3)`.
    RETURNS (dict[str, Interval]): By the names of `score`.
    """
    exact = score(counts.sum(axis=0))
    (drawn,) = _drawn([counts], draws, seed)
    return {name: middle_interval(float(value), drawn[name]) for name, value in exact.items()}


def compare(
    first: Floats, second: Floats, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Difference]:
    """The paired bootstrap of two pipelines on the same documents.

    first, second (Floats): See `intervals`; the same documents in the same order.
    RETURNS (dict[str, Difference]): The second's score minus the first's.
    """
    exact = [score(counts.sum(axis=0)) for counts in (first, second)]
    drawn = _drawn([first, second], draws, seed)
    found = {}
    for name in exact[0]:
        value = float(exact[1][name] - exact[0][name])
        differences = drawn[1][name] - drawn[0][name]
        _, low, high = middle_interval(value, differences)
        p = p_value(np.abs(differences - value) >= abs(value))
        found[name] = Difference(value, low, high, p)
    return found


def _drawn(of_runs: Sequence[Floats], draws: int, seed: int) -> list[dict[str, Floats]]:
    """The scores of each draw, of each run: the same draws for all. *Shape:* `(draws,)`."""
    there = [int((counts.sum(axis=(0, 2)) > 0).sum()) for counts in of_runs]
    scores: list[list[dict[str, Floats]]] = [[] for _ in of_runs]
    for of_draws in resampled(of_runs, draws, seed):
        for run, sums in enumerate(of_draws):
            found = score(sums)
            # A rare label that wasn't drawn is not one that was always wrong.
            drawn = (sums.sum(axis=-1) > 0).sum(axis=-1)
            found["macro_f"] = found["macro_f"] * there[run] / np.maximum(drawn, 1)
            scores[run].append(found)
    return [
        {name: np.concatenate([draw[name] for draw in of_run]) for name in of_run[0]}
        for of_run in scores
    ]


def wilson(right: int, total: int) -> tuple[float, float]:
    """RETURNS: The 95 % interval of a share (Wilson 1927), for few cases too."""
    if not total:
        return 0.0, 1.0
    z = 1.959964
    share = right / total
    middle = share + z * z / (2 * total)
    half = z * np.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, float((middle - half) / scale)), min(1.0, float((middle + half) / scale))
