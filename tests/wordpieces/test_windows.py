"""Windows over long documents, and batches of windows."""

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_jbert.types import Pieces
from spacy_jbert.wordpieces.windows import (
    batch_windows,
    choose_windows,
    only_windows,
    plan_windows,
)


def ints(values: object) -> np.ndarray:
    return np.array(sorted(values), dtype=np.int32)  # type: ignore[call-overload]


@st.composite
def documents(draw: st.DrawFn) -> tuple[int, int, int, np.ndarray, np.ndarray]:
    n_pieces = draw(st.integers(0, 120))
    limit = draw(st.integers(1, 30))
    overlap = draw(st.integers(0, max(0, (limit - 1) // 2)))
    tokens = draw(st.sets(st.integers(0, n_pieces)))
    sentences = draw(st.sets(st.sampled_from(sorted(tokens)))) if tokens else set()
    return n_pieces, limit, overlap, ints(tokens), ints(sentences)


@given(documents())
@settings(max_examples=300)
def test_windows_hold_whatever_the_cuts(document: tuple) -> None:
    n_pieces, limit, overlap, tokens, sentences = document
    windows = plan_windows(7, n_pieces, limit, overlap, tokens, sentences)
    assert [piece for w in windows for piece in range(w.own_start, w.own_end)] == list(
        range(n_pieces)
    )
    for w in windows:
        assert w.doc == 7
        assert 0 <= w.start <= w.own_start < w.own_end <= w.end <= n_pieces
        assert w.end - w.start <= limit
    for a, b in pairwise(windows):
        assert a.start < b.start <= a.end < b.end
        assert a.end - b.start <= overlap
    if n_pieces > limit and len(tokens) == n_pieces + 1:  # a cut at every piece
        assert all(
            a.end - b.start == overlap for a, b in pairwise(windows) if a.end not in sentences
        )


def test_nothing_is_shared_where_a_sentence_ends() -> None:
    windows = plan_windows(0, 90, 40, 10, np.arange(91), ints({38, 70}))
    assert [(w.start, w.end) for w in windows] == [(0, 38), (38, 70), (70, 90)]
    windows = plan_windows(0, 90, 40, 10, np.arange(91), ints({38}))
    assert [(w.start, w.end) for w in windows] == [(0, 38), (38, 78), (68, 90)]


@given(documents(), st.integers(1, 4), st.sampled_from(["first", "random"]))
@settings(max_examples=300)
def test_some_windows_hold_their_pieces(document: tuple, most: int, choice: str) -> None:
    n_pieces, limit, overlap, tokens, sentences = document
    windows = plan_windows(7, n_pieces, limit, overlap, tokens, sentences)
    chosen = choose_windows(windows, most, choice)
    assert len(chosen) == min(most, len(windows))
    seen = [(w.start, w.end) for w in windows]
    if choice == "first" or most >= len(windows):
        assert [(w.start, w.end) for w in chosen] == seen[:most]
    assert {(w.start, w.end) for w in chosen} <= set(seen)
    if not windows:
        return
    # What a document has of each piece says which it was.
    numbers = np.arange(n_pieces, dtype=np.int32)
    kept, moved = only_windows(Pieces(numbers, numbers, numbers + 1), chosen)
    read = sorted({piece for w in chosen for piece in range(w.start, w.end)})
    assert kept.ids.tolist() == kept.starts.tolist() == read
    assert [piece for w in moved for piece in range(w.own_start, w.own_end)] == list(
        range(len(read))
    )
    for before, after in zip(chosen, moved, strict=True):
        assert kept.ids[after.start : after.end].tolist() == list(range(before.start, before.end))


def test_random_windows_are_others_each_time() -> None:
    windows = plan_windows(0, 900, 40, 10, np.arange(901), ints({}))
    chosen = [tuple(choose_windows(windows, 2, "random")) for _ in range(20)]
    assert len(set(chosen)) > 10


@given(documents())
@settings(max_examples=300)
def test_windows_end_at_the_best_cut_there_is(document: tuple) -> None:
    n_pieces, limit, overlap, tokens, sentences = document
    windows = plan_windows(0, n_pieces, limit, overlap, tokens, sentences)
    before = 0
    for w in windows[:-1]:
        reach = range(max(before, w.start + overlap) + 1, w.start + limit + 1)
        late = range(max(before, w.start + limit * 2 // 3) + 1, w.start + limit + 1)
        if any(cut in late for cut in sentences):
            assert w.end in sentences
        elif any(cut in reach for cut in tokens):
            assert w.end in tokens
        else:
            assert w.end == w.start + limit
        before = w.end


def test_each_piece_belongs_to_the_window_in_which_it_is_most_central() -> None:
    windows = plan_windows(0, 100, 40, 10, np.arange(101), np.arange(0))
    for piece in range(100):
        holding = [w for w in windows if w.start <= piece < w.end]
        best = max(
            min(piece - w.start if w.start else 99, w.end - 1 - piece if w.end < 100 else 99)
            for w in holding
        )
        (owner,) = [w for w in holding if w.own_start <= piece < w.own_end]
        assert (
            min(
                piece - owner.start if owner.start else 99,
                owner.end - 1 - piece if owner.end < 100 else 99,
            )
            >= best - 1
        )


def test_short_and_empty_documents() -> None:
    none = np.zeros(0, dtype=np.int32)
    assert plan_windows(0, 0, 10, 2, none, none) == []
    assert plan_windows(3, 10, 10, 2, none, none) == [(3, 0, 10, 0, 10)]


@given(st.lists(st.integers(1, 60)), st.integers(1, 200), st.integers(0, 100))
def test_batches_hold_every_window_once_and_keep_to_the_budget(
    lengths: list[int], budget: int, overhead: int
) -> None:
    batches = batch_windows(lengths, budget, overhead)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget
    flat = [lengths[i] for batch in batches for i in batch]
    assert flat == sorted(flat, reverse=True)


def work(batches: Sequence[Sequence[int]], overhead: int) -> int:
    return sum(len(batch) * max(batch) + overhead for batch in batches)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8), st.integers(60, 200), st.integers(0, 100)
)
def test_no_other_batches_are_less_work(lengths: list[int], budget: int, overhead: int) -> None:
    falling = sorted(lengths, reverse=True)
    ways = []
    for cuts in product([False, True], repeat=len(lengths) - 1):
        borders = [0, *(i for i, cut in enumerate(cuts, start=1) if cut), len(lengths)]
        way = [falling[start:end] for start, end in pairwise(borders)]
        if all(len(batch) * batch[0] <= budget for batch in way):
            ways.append(work(way, overhead))
    assert work(
        [[lengths[i] for i in batch] for batch in batch_windows(lengths, budget, overhead)],
        overhead,
    ) == min(ways)


def test_little_is_wasted_on_padding() -> None:
    lengths = np.random.default_rng(0).integers(5, 200, 500).tolist()
    padded = sum(len(batch) * lengths[batch[0]] for batch in batch_windows(lengths, 4096))
    assert padded == pytest.approx(sum(lengths), rel=0.05)
