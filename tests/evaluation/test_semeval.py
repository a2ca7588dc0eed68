"""Errors of entities in the four schemes of SemEval-2013."""

import pytest

from spacy_jbert.evaluation.mistakes import Label
from spacy_jbert.evaluation.semeval import outcomes, scores

GOLD = [Label("PER", 0, 2)]
#                   found                      strict       exact        partial      type
CASES = [
    ([Label("PER", 0, 2)], ("correct", "correct", "correct", "correct")),
    ([Label("ORG", 0, 2)], ("incorrect", "correct", "correct", "incorrect")),
    ([Label("PER", 1, 4)], ("incorrect", "incorrect", "partial", "correct")),
    ([Label("ORG", 1, 4)], ("incorrect", "incorrect", "partial", "incorrect")),
    ([], ("missed",) * 4),
]


@pytest.mark.parametrize(("found", "wanted"), CASES)
def test_one_entity(found: list[Label], wanted: tuple[str, ...]) -> None:
    got = outcomes(GOLD, found)
    for scheme, outcome in zip(("strict", "exact", "partial", "type"), wanted, strict=True):
        assert +got[scheme] == {outcome: 1}, scheme


def test_what_fits_best_is_paired() -> None:
    """The invented one overlaps too, and comes first."""
    got = outcomes([Label("PER", 0, 4)], [Label("ORG", 0, 1), Label("PER", 1, 4)])
    assert +got["type"] == {"correct": 1, "spurious": 1}
    assert +got["strict"] == {"incorrect": 1, "spurious": 1}
    two = [Label("A", 0, 2), Label("B", 2, 4)]
    assert +outcomes(two, [Label("B", 0, 4)])["type"] == {"correct": 1, "missed": 1}


def test_scores_count_half_of_what_is_partial() -> None:
    got = outcomes(
        [Label("A", 0, 2), Label("A", 5, 7), Label("A", 9, 10)],
        [Label("A", 0, 2), Label("A", 5, 8)],
    )
    assert scores(got["partial"]) == pytest.approx((1.5 / 2, 1.5 / 3, 3 / 5))
    assert scores(got["strict"]) == pytest.approx((1 / 2, 1 / 3, 2 / 5))
    assert scores(outcomes([], [])["strict"]) == (0.0, 0.0, 0.0)
