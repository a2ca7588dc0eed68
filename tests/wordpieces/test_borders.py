"""What answers leave out of their first and last wordpiece."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spacy_jbert.wordpieces.borders import BorderCounts, Borders

TEXT = "、1839年に日本館"
TOKENS = np.array([0, 1, 5, 6, 7, 9, 10])  # 、|1839|年|に|日本|館


def test_what_most_answers_leave_out() -> None:
    counts = BorderCounts()
    for answer in ((1, 6), (1, 6), (0, 7)):
        counts.add(TEXT, answer, (0, 5), (5, 7), TOKENS)
    counts.add(TEXT, (7, 10), (7, 10), (7, 10), TOKENS)
    borders = counts.borders()
    assert (borders.heads, borders.tails) == ({"、"}, {"に"})
    assert borders.cut(TEXT, (0, 5), (5, 7), TOKENS) == (1, 6)
    assert borders.cut(TEXT, (7, 10), (7, 10), TOKENS) == (7, 10)


def test_nothing_is_cut_away_entirely() -> None:
    borders = Borders(["、", "年"], ["年に", "に"])
    assert borders.cut(TEXT, (5, 7), (5, 7), TOKENS) == (6, 7)
    assert Borders().cut(TEXT, (0, 5), (5, 7), TOKENS) == (0, 7)


@given(st.data())
def test_never_wider_and_never_empty(data: st.DataObject) -> None:
    ends = sorted(data.draw(st.sets(st.integers(0, 10), min_size=2)))
    first, last = (ends[0], ends[1]), (ends[-2], ends[-1])
    strings = [TEXT[a:b] for a in range(10) for b in range(a + 1, 11)]
    chosen = [data.draw(st.lists(st.sampled_from(strings))) for _ in range(2)]
    start, end = Borders(*chosen).cut(TEXT, first, last, TOKENS)
    assert first[0] <= start < end <= last[1]
