"""Sums, marginals and gradients against the enumeration of every well-formed sequence and
difference quotients.
"""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from spacy_jbert.models import crf
from spacy_jbert.models.crf import Expected, Lattice, Moves, log_shares

from .sequences import weight, well_formed

LENGTHS = (4, 1, 3)


def longest_first(scores: list[NDArray]) -> list[NDArray]:
    return sorted(scores, key=len, reverse=True)


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


def expected_by(seed: int, n_labels: int) -> list[tuple[int, Expected]]:
    """What other scores expect of the same documents."""
    scores, transitions = random(seed + 100, n_labels)
    return [(i, Lattice(Moves([doc]), transitions).expected()) for i, doc in enumerate(scores)]


@pytest.mark.parametrize("n_labels", [1, 2])
def test_the_share_of_what_is_expected_is_the_cross_entropy(n_labels: int) -> None:
    scores, transitions = random(0, n_labels)
    teacher, of_teacher = random(100, n_labels)
    found, _ = log_shares(scores, transitions, expected_by(0, n_labels))
    for i, doc in enumerate(scores):
        ways = well_formed(len(doc), n_labels)
        log_p = np.array([weight(tags, doc, transitions) for tags in ways])
        log_p -= np.logaddexp.reduce(log_p)
        log_q = np.array([weight(tags, teacher[i], of_teacher) for tags in ways])
        q = np.exp(log_q - np.logaddexp.reduce(log_q))
        assert found[i] == pytest.approx(q @ log_p)


def test_the_gradient_of_what_is_expected_is_the_difference_quotient() -> None:
    scores, transitions = random(0, 2)
    parts = [*subsets(0, 2), *expected_by(0, 2)]
    d_shares = np.random.default_rng(0).normal(0, 1, len(parts))
    d_scores, d_transitions = log_shares(scores, transitions, parts)[1](d_shares)
    for array, gradient in zip([*scores, transitions], [*d_scores, d_transitions], strict=True):
        for at in np.ndindex(*array.shape):
            value, moved = array[at], []
            for step in (1e-5, -1e-5):
                array[at] = value + step
                moved.append(float(log_shares(scores, transitions, parts)[0] @ d_shares))
            array[at] = value
            assert gradient[at] == pytest.approx((moved[0] - moved[1]) / 2e-5, abs=1e-7)


def test_one_sees_no_gradient_of_what_it_expects_itself() -> None:
    scores, transitions = random(0, 2)
    own = [(i, Lattice(Moves([doc]), transitions).expected()) for i, doc in enumerate(scores)]
    d_scores, d_transitions = log_shares(scores, transitions, own)[1](np.ones(len(own)))
    assert np.concatenate(d_scores) == pytest.approx(0.0, abs=1e-9)
    assert d_transitions == pytest.approx(0.0, abs=1e-9)


def test_tags_are_marginals() -> None:
    scores, transitions = random(0, 2)
    scores = longest_first(scores)
    lattice = Lattice(Moves(scores), transitions)
    found = lattice.moves.of_tags(lattice.tags())
    for i, doc in enumerate(scores):
        ways = well_formed(len(doc), 2)
        weights = np.exp([weight(tags, doc, transitions) for tags in ways])
        expected = np.zeros(doc.shape)
        for tags, part in zip(ways, weights / weights.sum(), strict=True):
            expected[np.arange(len(tags)), list(tags)] += part
        assert found[i] == pytest.approx(expected, abs=1e-9)
        # One transition at each beginning, and one at the end.
        assert lattice.pairs(np.eye(len(scores))[i]).sum() == pytest.approx(
            expected[:, [0, 1, 4, 5, 8]].sum() + 1
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
    scores = longest_first(scores)
    found = Lattice(Moves(scores), transitions)
    for i, doc in enumerate(scores):
        ways = well_formed(len(doc), 2)
        weights = np.array([weight(tags, doc, transitions) for tags in ways])
        assert found.log_total[i] == pytest.approx(np.logaddexp.reduce(weights), rel=1e-12)


def test_a_single_sequence_needs_no_lattice_of_its_own() -> None:
    """A path's share and gradient are those of a subset in which nothing else is possible."""
    scores, transitions = random(1, 2)
    path = np.zeros((4, 9), dtype=bool)
    path[np.arange(4), [0, 1, 3, 8]] = True
    # A tag that is allowed but can't be part of any well-formed sequence, so no path by its looks.
    same = path.copy()
    same[0, 3] = True
    for learned in (None, transitions):
        found = [
            log_shares(scores, learned, [(0, allowed)])
            for allowed in (path, same, path.argmax(axis=1))
        ]
        gradients = [gradient(np.array([-1.0])) for _, gradient in found]
        for other in (1, 2):
            assert found[0][0] == pytest.approx(found[other][0], abs=2e-13)
            assert gradients[0][0][0] == pytest.approx(gradients[other][0][0], abs=2e-13)
            assert gradients[0][1] == pytest.approx(gradients[other][1], abs=2e-13)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, transitions = random(2, 2)
    whole, gradient = log_shares(scores, transitions, subsets(2, 2))
    monkeypatch.setattr("spacy_jbert.models.crf._ENOUGH_POSITIONS", 1)
    monkeypatch.setattr("spacy_jbert.models.crf._MOST_CELLS", 1)
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
        Lattice(Moves(longest_first(scores)), transitions, temperature)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sums_that_are_no_numbers_are_refused(value: float) -> None:
    scores, transitions = random(0, 1)
    scores[1][0, 1] = value
    with pytest.raises(ValueError, match="J055"):
        Lattice(Moves(longest_first(scores)), transitions)
    with pytest.raises(ValueError, match="J055"):
        Lattice(Moves(longest_first(random(0, 1)[0])), np.full((2, 2), value))


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


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_scaled_sums_are_those_of_logarithms(seed: int, masked: bool) -> None:
    rng = np.random.default_rng(seed)
    lengths = sorted(rng.integers(0, 40, 6).tolist(), reverse=True)
    scores = [rng.normal(0, 5, (length, 1 + 4 * 3)) for length in lengths]
    for doc in scores if masked else ():
        borders = [tag for tag in range(1, 13) if (tag - 1) % 4 != 1]
        doc[np.ix_(np.flatnonzero(rng.random(len(doc)) < 0.2), borders)] = -np.inf
    moves, transitions = Moves(scores), rng.normal(0, 2, (4, 4))
    assert not crf._is_wide(moves, moves.scores, transitions)
    with np.errstate(divide="ignore"):
        scaled = crf._scaled(moves, moves.scores, transitions)
        exact = crf._logarithmic(moves, moves.scores, transitions)
    for found, expected in zip(scaled, exact, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)


def test_what_leaves_the_range_of_a_float_is_summed_in_logarithms() -> None:
    table = np.zeros((2, 2))
    scores = [np.zeros((40, 5))]
    scores[0][:, 2] = 120.0
    moves = Moves(scores)
    assert crf._is_wide(moves, moves.scores, table)
    # A run of tokens that can only be inside or outside adds up.
    scores = [np.zeros((40, 5))]
    scores[0][:, 0] = 20.0
    assert not crf._is_wide(Moves(scores), Moves(scores).scores, table)
    scores[0][2:38, [1, 3, 4]] = -np.inf
    assert crf._is_wide(Moves(scores), Moves(scores).scores, table)


def test_subsets_count_as_tables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is partly known has sums of its own, within the same budget of memory."""
    sizes = []
    init = Lattice.__init__

    def counted(self: Lattice, moves: Moves, *args: object) -> None:
        sizes.append(moves.n_rows)
        init(self, moves, *args)

    monkeypatch.setattr(Lattice, "__init__", counted)
    monkeypatch.setattr("spacy_jbert.models.crf._ENOUGH_POSITIONS", 1)
    monkeypatch.setattr("spacy_jbert.models.crf._MOST_CELLS", 3 * 25)
    scores, transitions = random(0, 2)
    log_shares(scores, transitions, subsets(0, 2) * 20)
    assert max(sizes) <= 25
