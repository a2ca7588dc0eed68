"""The bootstrap: intervals of one pipeline, the difference of two."""

import numpy as np
import pytest

from spacy_jbert.evaluation.intervals import compare, intervals, score, wilson

RNG = np.random.default_rng(3)


def counts(documents: int, right: float, labels: int = 2) -> np.ndarray:
    """Documents with one entity a label: right, or missed with another invented."""
    hits = (RNG.random((documents, labels)) < right).astype(float)
    return np.stack([hits, 1 - hits, 1 - hits], axis=-1)


def test_scores_are_those_of_the_counts() -> None:
    found = intervals(np.array([[[3, 1, 0], [0, 0, 2]], [[1, 1, 2], [0, 0, 0]]]), draws=20)
    assert found["p"].value == pytest.approx(4 / 6)
    assert found["r"].value == pytest.approx(4 / 8)
    assert found["f"].value == pytest.approx(8 / 14)
    # The second label was never found.
    assert found["macro_f"].value == pytest.approx((8 / 12 + 0) / 2)
    assert score(np.zeros((2, 3)))["f"] == 0.0


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    inside = 0
    for _ in range(60):
        low, high = intervals(counts(60, 0.7), draws=200)["f"][1:]
        inside += low <= 0.7 <= high
    assert 50 <= inside <= 60


def test_more_documents_narrow_an_interval_and_a_seed_repeats_it() -> None:
    few, many = (intervals(counts(n, 0.7), draws=200)["f"] for n in (30, 1000))
    assert many.high - many.low < (few.high - few.low) / 3
    same = counts(30, 0.7)
    assert intervals(same) == intervals(same)


def test_a_rare_label_that_is_not_drawn_is_not_wrong() -> None:
    """Of one document in 100, always right: F of both labels is 1 in any sample."""
    of = np.zeros((100, 2, 3))
    of[:, 0, 0] = 1
    of[7, 1, 0] = 1
    assert intervals(of)["macro_f"] == (1.0, 1.0, 1.0)


def test_a_difference_is_seen_and_chance_is_not() -> None:
    worse, better = counts(300, 0.6), counts(300, 0.8)
    found = compare(worse, better)["f"]
    assert found.value > 0.1
    assert found.low > 0
    assert found.p < 0.01
    assert compare(better, worse)["f"].value == pytest.approx(-found.value)
    same = compare(worse, worse)["f"]
    assert (same.value, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    # The same documents in pairs tell more than their scores apart.
    slightly = worse.copy()
    slightly[:12] = [1, 0, 0]
    assert compare(worse, slightly)["f"].low > 0


def test_an_interval_of_a_share() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
