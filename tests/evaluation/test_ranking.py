"""Scores of ranked lists, by hand and by scikit-learn's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from spacy_jbert.evaluation.ranking import ndcg_at, recall_at


def test_recall() -> None:
    assert recall_at("abcd", {"b", "x"}, 2) == 0.5
    assert recall_at("abcd", {"d"}, 2) == 0.0
    # More are wanted than there is room for.
    assert recall_at("abcd", set("abcd"), 2) == 1.0


def test_gain() -> None:
    assert ndcg_at("abcd", {"a", "b"}, 4) == 1.0
    assert ndcg_at("abcd", {"b"}, 4) == pytest.approx(0.6309, abs=1e-4)
    assert ndcg_at("abcd", {"x"}, 4) == 0.0


@given(st.lists(st.booleans(), min_size=2, max_size=20).filter(any), st.integers(1, 20))
def test_gain_as_others_have_it(wanted: list[bool], k: int) -> None:
    ids = [str(n) for n in range(len(wanted))]
    scores = [float(-n) for n in range(len(wanted))]
    expected = ndcg_score([[float(w) for w in wanted]], [scores], k=k)
    chosen = {id for id, is_wanted in zip(ids, wanted, strict=True) if is_wanted}
    assert ndcg_at(ids, chosen, k) == pytest.approx(expected)
