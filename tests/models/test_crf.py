"""Sums, marginals and gradients against the enumeration of every well-formed sequence and
difference quotients.
"""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from spacy_jbert.models.crf import Lattice, log_shares, pad, unpad

from .sequences import weight, well_formed

LENGTHS = (4, 1, 3)


def random(seed: int, n_labels: int) -> tuple[list[NDArray], NDArray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 2, (length, 1 + 4 * n_labels)) for length in LENGTHS], rng.normal(
        0, 2, (1 + n_labels, 1 + n_labels)
    )


def subsets(seed: int, n_labels: int) -> list[tuple[int, NDArray]]:
    """What some well-formed sequence allows, and for each token a few tags more: gold, partly
    known, not known at all.
    """
    rng = np.random.default_rng(seed)
    found = []
    for doc, more in ((0, 0.0), (0, 0.4), (2, 0.4), (1, 1.0), (0, 1.0)):
        ways = well_formed(LENGTHS[doc], n_labels)
        allowed = rng.random((LENGTHS[doc], 1 + 4 * n_labels)) < more
        allowed[np.arange(LENGTHS[doc]), list(ways[rng.integers(len(ways))])] = True
        found.append((doc, allowed))
    return found


def share(scores: NDArray, transitions: NDArray | None, allowed: NDArray) -> float:
    ways = well_formed(len(scores), (scores.shape[1] - 1) // 4)
    weights = np.exp([weight(tags, scores, transitions) for tags in ways])
    fits = [all(allowed[t, tag] for t, tag in enumerate(tags)) for tags in ways]
    return float(np.log(weights[fits].sum() / weights.sum()))


@pytest.mark.parametrize("n_labels", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_shares_against_enumeration(seed: int, n_labels: int) -> None:
    scores, transitions = random(seed, n_labels)
    for learned in (None, transitions):
        expected = [
            share(scores[doc], learned, allowed) for doc, allowed in subsets(seed, n_labels)
        ]
        assert log_shares(scores, learned, subsets(seed, n_labels))[0] == pytest.approx(
            expected, abs=1e-9
        )


@pytest.mark.parametrize("n_labels", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_gradient_is_the_difference_quotient(seed: int, n_labels: int) -> None:
    scores, transitions = random(seed, n_labels)
    parts = subsets(seed, n_labels)
    d_shares = np.random.default_rng(seed).normal(0, 1, len(parts))
    d_scores, d_transitions = log_shares(scores, transitions, parts)[1](d_shares)
    for array, gradient in zip([*scores, transitions], [*d_scores, d_transitions], strict=True):
        assert gradient.shape == array.shape
        for at in np.ndindex(*array.shape):
            value, moved = array[at], []
            for step in (1e-5, -1e-5):
                array[at] = value + step
                moved.append(float(log_shares(scores, transitions, parts)[0] @ d_shares))
            array[at] = value
            assert gradient[at] == pytest.approx((moved[0] - moved[1]) / 2e-5, abs=1e-7)


def test_tags_are_marginals() -> None:
    scores, transitions = random(0, 2)
    lattice = Lattice(pad(scores), transitions)
    for i, doc in enumerate(scores):
        ways = well_formed(len(doc), 2)
        weights = np.exp([weight(tags, doc, transitions) for tags in ways])
        expected = np.zeros(doc.shape)
        for tags, part in zip(ways, weights / weights.sum(), strict=True):
            expected[np.arange(len(tags)), list(tags)] += part
        assert unpad(lattice.tags()[:, :, :, i], len(doc)) == pytest.approx(expected, abs=1e-9)
        # One transition at each beginning: all there are but the padding's own.
        assert lattice.pairs(np.eye(len(scores))[i]).sum() == pytest.approx(
            expected[:, [0, 1, 4, 5, 8]].sum() + len(pad(scores)) - len(doc)
        )


def test_finite_where_scores_are_extreme() -> None:
    scores = [np.full((60, 9), -1e4)]
    scores[0][:, 2] = 1e4
    gold = np.zeros((60, 9), dtype=bool)
    gold[:, 0] = True
    shares, gradient = log_shares(scores, np.full((3, 3), -50.0), [(0, gold)])
    assert shares[0] < -1e5
    (d_scores,), d_transitions = gradient(np.array([-1.0]))
    assert np.isfinite(d_scores).all()
    assert np.isfinite(d_transitions).all()
    assert d_scores[:, 0] == pytest.approx(-1.0)
    assert d_scores[1:-1, 2] == pytest.approx(1.0)


@pytest.mark.parametrize("highest", [50.0, 2_000.0])
def test_sums_where_transitions_leave_the_range_of_a_float(highest: float) -> None:
    """exp(2000) is no float."""
    scores, transitions = random(3, 2)
    transitions[1, 2] += highest
    scores[0][:, 1:] -= highest / 3
    parts = subsets(3, 2)
    shares, gradient = log_shares(scores, transitions, parts)
    assert np.isfinite(shares).all()
    assert (shares <= 0.0).all()
    d_scores, d_transitions = gradient(np.full(len(parts), -1.0))
    assert all(np.isfinite(array).all() for array in (*d_scores, d_transitions))
    # Each token of a document has a tag, in the subset as in all sequences.
    assert d_scores[0].sum(axis=1) == pytest.approx(0.0, abs=1e-9)
    found = Lattice(pad(scores), transitions)
    for i, doc in enumerate(scores):
        ways = well_formed(len(doc), 2)
        weights = np.array([weight(tags, doc, transitions) for tags in ways])
        padding = transitions[0, 0] * (max(LENGTHS) - len(doc))
        expected = np.logaddexp.reduce(weights) + padding
        assert found.log_total[i] == pytest.approx(expected, rel=1e-12)


def test_a_single_sequence_needs_no_lattice_of_its_own() -> None:
    """A path's share and gradient are those of a subset in which nothing else is possible."""
    scores, transitions = random(1, 2)
    path = np.zeros((4, 9), dtype=bool)
    path[np.arange(4), [0, 1, 3, 8]] = True
    # A tag that is allowed but can't be part of any well-formed sequence, so no path by its looks.
    same = path.copy()
    same[0, 3] = True
    for learned in (None, transitions):
        found = [log_shares(scores, learned, [(0, allowed)]) for allowed in (path, same)]
        assert found[0][0] == pytest.approx(found[1][0], abs=2e-13)
        gradients = [gradient(np.array([-1.0])) for _, gradient in found]
        assert gradients[0][0][0] == pytest.approx(gradients[1][0][0], abs=2e-13)
        assert gradients[0][1] == pytest.approx(gradients[1][1], abs=2e-13)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, transitions = random(2, 2)
    whole, gradient = log_shares(scores, transitions, subsets(2, 2))
    monkeypatch.setattr("spacy_jbert.models.crf._MOST_POSITIONS", 1)
    apart, other = log_shares(scores, transitions, subsets(2, 2))
    assert apart == pytest.approx(whole, abs=1e-12)
    d_shares = np.arange(-5.0, 0.0)
    for a, b in zip(gradient(d_shares)[0], other(d_shares)[0], strict=True):
        assert a == pytest.approx(b, abs=1e-12)
    assert gradient(d_shares)[1] == pytest.approx(other(d_shares)[1], abs=1e-12)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    scores, transitions = random(0, 1)
    with pytest.raises(ValueError, match="J056"):
        Lattice(pad(scores), transitions, temperature)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sums_that_are_no_numbers_are_refused(value: float) -> None:
    scores, transitions = random(0, 1)
    scores[1][0, 1] = value
    with pytest.raises(ValueError, match="J055"):
        Lattice(pad(scores), transitions)
    with pytest.raises(ValueError, match="J055"):
        Lattice(pad(random(0, 1)[0]), np.full((2, 2), value))


def test_work_with_many_labels_stays_in_proportion() -> None:
    """One table of transitions for each of 100 sentences with 500 labels would be 0.2 GB."""
    rng = np.random.default_rng(0)
    scores = [rng.normal(0, 1, (12, 2001)).astype("f") for _ in range(100)]
    gold = np.zeros((12, 2001), dtype=bool)
    gold[:, 0] = True
    started = time.process_time()
    shares, gradient = log_shares(scores, np.zeros((501, 501)), [(i, gold) for i in range(100)])
    gradient(np.full(100, -1.0))
    assert np.isfinite(shares).all()
    assert time.process_time() - started < 10
