"""How far a score can be trusted, and whether one run is better than another, by resampling the
documents that were tested on.

Everything here works on counts: of each document and label how many were found rightly, found
wrongly, and missed. `(n_docs, n_labels, 3)`; a `Measure` turns sums of them into scores. Of several
runs over the same documents (seeds) pass the mean of their counts.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Measure = Callable[[Floats], Floats]
"""`(..., n_labels, 3)` to `(...)`."""

SAMPLES = 2_000
# So many resamples at once: their weights are (_CHUNK, n_docs).
_CHUNK = 250
# The 97.5 % points of Student's t with 1, 2, … 30 degrees of freedom, and of the normal.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_NORMAL = 1.960


class Interval(NamedTuple):
    """A score and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """One run against another on the same documents.

    difference (Interval): Ours less theirs, with the bounds of the paired bootstrap.
    p_bootstrap, p_randomisation (float): How often chance alone would make as large a difference,
        either way.
    """

    difference: Interval
    p_bootstrap: float
    p_randomisation: float


def micro_f(counts: Floats) -> Floats:
    """F over all labels together; 0 where there is nothing. For classes that exclude each other it
    is the accuracy.

    counts (Floats): *Shape:* `(..., n_labels, 3)`.
    RETURNS (Floats): *Shape:* `(...)`.
    """
    return _f(counts.sum(axis=-2))


def macro_f(counts: Floats) -> Floats:
    """The mean of the labels' F, of those that occur or were found. See `micro_f`."""
    occurs = counts.sum(axis=-1) > 0
    of_labels = np.where(occurs, _f(counts), 0.0)
    return np.asarray(of_labels.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1))


MEASURES: dict[str, tuple[str, Measure]] = {
    "ents_f": ("ents", micro_f),
    "cats_micro_f": ("cats", micro_f),
    "cats_macro_f": ("cats", macro_f),
}
"""By spaCy's name of the score: of which annotation, and how it comes of counts."""


def bootstrap_interval(
    counts: Floats, measure: Measure, *, samples: int = SAMPLES, seed: int = 0
) -> Interval:
    """The score of one run, and between which bounds 95 % of the scores lie that other documents
    like these would give (percentile bootstrap, Efron 1979).

    counts (Floats): *Shape:* `(n_docs, n_labels, 3)`.
    RETURNS (Interval): The score itself where there are no documents to draw from.
    """
    value = float(measure(counts.sum(axis=0)))
    found = [measure(sums) for (sums,) in resampled([counts], samples, seed)]
    return middle_interval(value, np.concatenate(found)) if found else Interval(value, value, value)


def compare(
    ours: Floats, theirs: Floats, measure: Measure, *, samples: int = SAMPLES, seed: int = 0
) -> Comparison:
    """Whether one run is better than another by more than chance: `paired_bootstrap` and
    `approximate_randomisation` together.

    ours, theirs (Floats): Of the same documents in the same order. *Shape:* `(n_docs, n_labels,
        3)`.
    """
    difference, p_bootstrap = paired_bootstrap(ours, theirs, measure, samples=samples, seed=seed)
    p = approximate_randomisation(ours, theirs, measure, samples=samples, seed=seed)
    return Comparison(difference, p_bootstrap, p)


def paired_bootstrap(
    ours: Floats, theirs: Floats, measure: Measure, *, samples: int = SAMPLES, seed: int = 0
) -> tuple[Interval, float]:
    """Draw documents with replacement, the same for both (Efron & Tibshirani 1993; Berg-Kirkpatrick
    et al. 2012, "An Empirical Investigation of Statistical Significance in NLP").

    RETURNS (tuple): The difference with its 95 % interval, and how often a resample is as far from
        the difference as the difference is from zero: the two-sided p-value.
    """
    value = float(measure(ours.sum(axis=0)) - measure(theirs.sum(axis=0)))
    found = [measure(a) - measure(b) for a, b in resampled([ours, theirs], samples, seed)]
    if not found:
        return Interval(value, value, value), 1.0
    differences = np.concatenate(found)
    return middle_interval(value, differences), p_value(np.abs(differences - value) >= abs(value))


def approximate_randomisation(
    ours: Floats, theirs: Floats, measure: Measure, *, samples: int = SAMPLES, seed: int = 0
) -> float:
    """Exchange what the two say of each document, or don't, by the toss of a coin (Noreen 1989; Yeh
    2000, "More accurate tests for the statistical significance of result differences").

    RETURNS (float): How often the difference is then as large as it really is: the two-sided
        p-value.
    """
    if not len(ours):
        return 1.0
    total_ours, total_theirs = ours.sum(axis=0), theirs.sum(axis=0)
    value = abs(float(measure(total_ours) - measure(total_theirs)))
    apart = (theirs - ours).reshape(len(ours), -1)
    random = np.random.default_rng(seed)
    found = []
    for size in _chunks(samples):
        swapped = random.integers(0, 2, size=(size, len(ours))).astype(np.float64)
        moved = (swapped @ apart).reshape(size, *ours.shape[1:])
        found.append(np.abs(measure(total_ours + moved) - measure(total_theirs - moved)))
    # Sums in another order differ in the last digits.
    return p_value(np.concatenate(found) >= value - 1e-9)


def mean_interval(values: Sequence[float], *, test_share: float = 0.0) -> Interval:
    """The mean of some runs with the 95 % interval of Student's t.

    values (Sequence[float]): One score a run.
    test_share (float): Of folds, the size of a test part over that of a training part. Folds share
        most of what they train on, so their scores vary less than those of new data would: the
        variance is multiplied by 1/n + test_share instead of 1/n (Nadeau & Bengio 2003, "Inference
        for the Generalization Error").
    RETURNS (Interval): Without bounds (nan) for a single run.
    """
    mean = fmean(values)
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    freedom = len(values) - 1
    t = _T[freedom - 1] if freedom <= len(_T) else _NORMAL
    half = t * stdev(values) * math.sqrt(1 / len(values) + test_share)
    return Interval(mean, mean - half, mean + half)


def _f(counts: Floats) -> Floats:
    right, wrong, missed = np.moveaxis(counts, -1, 0)
    of_all = 2.0 * right + wrong + missed
    return np.asarray(2.0 * right / np.where(of_all > 0, of_all, 1.0))


def resampled(counts: Sequence[Floats], samples: int, seed: int) -> Iterator[list[Floats]]:
    """YIELDS (list[Floats]): The sums of the same drawn documents of each. *Shape:* `(n, n_labels,
    3)`."""
    n_docs = len(counts[0])
    if not n_docs:
        return
    random = np.random.default_rng(seed)
    flat = [of_run.reshape(n_docs, -1) for of_run in counts]
    for size in _chunks(samples):
        drawn = random.multinomial(n_docs, np.full(n_docs, 1 / n_docs), size=size)
        yield [
            (drawn @ of_run).reshape(size, *like.shape[1:])
            for of_run, like in zip(flat, counts, strict=True)
        ]


def _chunks(samples: int) -> Iterator[int]:
    for start in range(0, samples, _CHUNK):
        yield min(_CHUNK, samples - start)


def middle_interval(value: float, found: Floats) -> Interval:
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def p_value(hits: NDArray[np.bool_]) -> float:
    """With the run itself counted as one of them, so that none is 0."""
    return float((1 + hits.sum()) / (1 + len(hits)))
