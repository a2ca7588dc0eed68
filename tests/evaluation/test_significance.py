"""Intervals and comparisons of runs: against formulas, and against what simulation says."""

import math
from collections import Counter

import numpy as np
import pytest
from spacy.scorer import PRFScore

from spacy_jbert.evaluation.significance import (
    approximate_randomisation,
    bootstrap_interval,
    compare,
    macro_f,
    mean_interval,
    micro_f,
    paired_bootstrap,
)


def classified(gold: np.ndarray, found: np.ndarray, n_labels: int = 3) -> np.ndarray:
    """Counts of exclusive classes."""
    counts = np.zeros((len(gold), n_labels, 3))
    for doc, (wanted, said) in enumerate(zip(gold, found, strict=True)):
        if wanted == said:
            counts[doc, wanted, 0] = 1
        else:
            counts[doc, wanted, 2] = counts[doc, said, 1] = 1
    return counts


def guesses(random: np.random.Generator, gold: np.ndarray, accuracy: float) -> np.ndarray:
    wrong = (gold + random.integers(1, 3, len(gold))) % 3
    return np.where(random.random(len(gold)) < accuracy, gold, wrong)


def test_measures_are_those_of_others() -> None:
    random = np.random.default_rng(1)
    gold = random.integers(0, 3, 200)
    found = guesses(random, gold, 0.7)
    sums = classified(gold, found).sum(axis=0)
    assert micro_f(sums) == pytest.approx((gold == found).mean())
    of_labels = [
        PRFScore(
            tp=((gold == label) & (found == label)).sum(),
            fp=((gold != label) & (found == label)).sum(),
            fn=((gold == label) & (found != label)).sum(),
        ).fscore
        for label in range(3)
    ]
    assert macro_f(sums) == pytest.approx(np.mean(of_labels))
    # Several at once.
    assert micro_f(np.stack([sums, 2 * sums])).shape == (2,)


def test_nothing_scores_nothing() -> None:
    empty = np.zeros((0, 2, 3))
    assert bootstrap_interval(empty, micro_f) == (0.0, 0.0, 0.0)
    assert compare(empty, empty, macro_f).p_randomisation == 1.0
    assert macro_f(np.zeros((2, 3))) == 0.0


def test_the_interval_is_that_of_a_share() -> None:
    random = np.random.default_rng(2)
    gold = random.integers(0, 3, 400)
    counts = classified(gold, guesses(random, gold, 0.8))
    value, low, high = bootstrap_interval(counts, micro_f)
    half = 1.96 * math.sqrt(value * (1 - value) / 400)
    assert (low, high) == pytest.approx((value - half, value + half), abs=0.005)


@pytest.mark.parametrize("measure", [micro_f, macro_f])
def test_equal_runs_differ_by_chance_alone(measure) -> None:
    """Of many pairs that are equally good, p is under 0.1 in about a tenth."""
    random = np.random.default_rng(3)
    hits = Counter[str]()
    for _ in range(150):
        gold = random.integers(0, 3, 150)
        ours, theirs = (classified(gold, guesses(random, gold, 0.8)) for _ in range(2))
        found = compare(ours, theirs, measure, samples=300)
        hits["bootstrap"] += found.p_bootstrap < 0.1
        hits["randomisation"] += found.p_randomisation < 0.1
        hits["outside"] += not found.difference.low <= 0 <= found.difference.high
    assert 3 <= hits["bootstrap"] <= 30
    assert 3 <= hits["randomisation"] <= 30
    assert hits["outside"] <= 20


def test_a_better_run_is_told() -> None:
    random = np.random.default_rng(4)
    gold = random.integers(0, 3, 500)
    ours = classified(gold, guesses(random, gold, 0.9))
    theirs = classified(gold, guesses(random, gold, 0.8))
    difference, p = paired_bootstrap(ours, theirs, micro_f)
    assert difference.low > 0
    assert p < 0.01
    assert approximate_randomisation(ours, theirs, micro_f) < 0.01
    assert paired_bootstrap(theirs, ours, micro_f)[0].value == pytest.approx(-difference.value)
    # The same of the same.
    assert compare(ours, ours, micro_f).p_randomisation == 1.0


def test_the_mean_of_few_runs_has_a_wide_interval() -> None:
    mean, low, high = mean_interval([0.7, 0.8, 0.75])
    assert (mean, high - mean) == pytest.approx((0.75, 4.303 * 0.05 / math.sqrt(3)))
    assert mean - low == pytest.approx(high - mean)
    folds = mean_interval([0.7, 0.8, 0.75], test_share=1.0)
    assert folds.high - folds.value == pytest.approx(4.303 * 0.05 * math.sqrt(4 / 3))
    assert math.isnan(mean_interval([0.7]).low)
    assert mean_interval([float(n % 2) for n in range(100)]).high < 0.6
