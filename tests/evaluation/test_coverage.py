"""Coverage and accuracy by threshold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_jbert.evaluation.coverage import at, curve, groups, thinned, threshold_for

ANSWERS = st.lists(
    st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]), st.booleans()), max_size=30
)


def test_a_curve() -> None:
    points = curve([0.9, 0.8, 0.8, 0.4], [True, True, False, False])
    assert [(p.threshold, p.coverage, p.answers) for p in points] == [
        (0.9, 0.25, 1),
        (0.8, 0.75, 3),
        (0.4, 1.0, 4),
    ]
    assert [p.accuracy for p in points] == pytest.approx([1.0, 2 / 3, 0.5])
    assert at(points, 0.85).answers == 1
    assert at(points, 0.95) == (0.95, 0.0, 0.0, 0)
    assert curve([], []) == []


@given(ANSWERS, st.floats(0.01, 1.0))
def test_the_threshold_keeps_the_most_that_is_right_often_enough(
    answers: list[tuple[float, bool]], precision: float
) -> None:
    sure, right = [sure for sure, _ in answers], [right for _, right in answers]
    found = threshold_for(curve(sure, right), precision)
    good = []
    for cut in set(sure):
        kept = [is_right for score, is_right in answers if score >= cut]
        if sum(kept) / len(kept) >= precision:
            good.append(len(kept))
    if not good:
        assert found is None
        return
    assert found is not None
    kept = [is_right for score, is_right in answers if score >= found.threshold]
    assert len(kept) == max(good) == found.answers
    assert sum(kept) / len(kept) == pytest.approx(found.accuracy)


def test_groups_of_a_diagram() -> None:
    sure = [i / 100 for i in range(100)]
    found = groups(sure, [score > 0.5 for score in sure])
    assert [group.answers for group in found] == [10] * 10
    assert found[0] == pytest.approx((0.045, 0.0, 10))
    assert groups([0.5] * 7, [True] * 7) == [(0.5, 1.0, 7)]
    assert groups([], []) == []


def test_thinning_keeps_both_ends() -> None:
    points = curve([i / 1000 for i in range(1000)], [True] * 1000)
    few = thinned(points, 50)
    assert (few[0], few[-1], len(few)) == (points[0], points[-1], 50)
