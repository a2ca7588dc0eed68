"""Long documents to encoder windows and back; windows to batches of a piece budget.

Counted in wordpieces throughout.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..types import Ints, Pieces

# Which of a document's windows are read where not all are.
CHOICES = ("random", "first")


class Window(NamedTuple):
    """A stretch of a document's pieces that the encoder sees at once, `pieces[start:end]`, and the
    part of it that it answers for.

    Neighbours overlap by some pieces; the one in which a piece is more central answers for it, so
    `own_start:own_end` of all windows of a document follow one another without gap or overlap."""

    doc: int
    start: int
    end: int
    own_start: int
    own_end: int


def plan_windows(
    doc: int, n_pieces: int, limit: int, overlap: int, token_cuts: Ints, sentence_cuts: Ints
) -> list[Window]:
    """Cut a document into windows at sentence ends, or at token ends, or anywhere if a single token
    is longer than a window.

    doc (int): The document's number, kept in the windows.
    n_pieces (int): Its length in pieces.
    limit (int): The most pieces of one window, special pieces not counted.
    overlap (int): How many pieces neighbours have in common, about; none where one ends with a
        sentence.
    token_cuts, sentence_cuts: Pieces at which a token, a sentence begins; rising. *Shape:* `(n,)`.
    RETURNS (list[Window]): None for an empty document.
    """
    if n_pieces == 0:
        return []
    if n_pieces <= limit:
        return [Window(doc, 0, n_pieces, 0, n_pieces)]
    ends, starts, at = [], [0], 0
    while starts[-1] + limit < n_pieces:
        start = starts[-1]
        # Not before two thirds: a cut at a sentence end is worth a third of a window, not more.
        # Always past the previous end.
        sentence = _last_cut(sentence_cuts, max(at, start + limit * 2 // 3), start + limit)
        at = (
            sentence
            or _last_cut(token_cuts, max(at, start + overlap), start + limit)
            or start + limit
        )
        ends.append(at)
        starts.append(_first_cut(token_cuts, at - overlap, at) if overlap and not sentence else at)
    ends.append(n_pieces)
    borders = [
        0,
        *((start + end) // 2 for start, end in zip(starts[1:], ends[:-1], strict=True)),
        n_pieces,
    ]
    return [Window(doc, starts[i], ends[i], borders[i], borders[i + 1]) for i in range(len(starts))]


def _last_cut(cuts: Ints, above: int, up_to: int) -> int:
    """The last cut in `(above, up_to]`, 0 if there is none."""
    i = int(np.searchsorted(cuts, up_to, side="right")) - 1
    return int(cuts[i]) if i >= 0 and cuts[i] > above else 0


def _first_cut(cuts: Ints, from_: int, default: int) -> int:
    """The first cut in `[from_, default]`; `from_` itself if a token longer than the overlap leaves
    none.
    """
    i = int(np.searchsorted(cuts, from_, side="left"))
    return int(cuts[i]) if i < len(cuts) and cuts[i] <= default else from_


def choose_windows(windows: Sequence[Window], most: int, choice: str) -> list[Window]:
    """Take some windows of a document. Where a neighbour is left out, a window answers for all of
    its own pieces.

    windows (Sequence[Window]): From `plan_windows`.
    most (int): How many, at most.
    choice (str): The "first", or "random" ones, by the generator that `[training.seed]` sets.
    RETURNS (list[Window]): Rising.
    """
    if len(windows) <= most:
        return list(windows)
    numbers = range(most) if choice == "first" else random.sample(range(len(windows)), most)
    chosen = set(numbers)
    return [
        windows[i]._replace(
            own_start=windows[i].own_start if i - 1 in chosen else windows[i].start,
            own_end=windows[i].own_end if i + 1 in chosen else windows[i].end,
        )
        for i in sorted(chosen)
    ]


def only_windows(pieces: Pieces, windows: Sequence[Window]) -> tuple[Pieces, list[Window]]:
    """Leave out the pieces of a document that none of some windows answers for.

    RETURNS (tuple[Pieces, list[Window]]): The others, and the windows over these.
    """
    kept = np.concatenate([np.arange(w.own_start, w.own_end) for w in windows])
    of_kept = Pieces(*(column[kept] for column in pieces))
    begins = np.cumsum([0, *(w.own_end - w.own_start for w in windows)]).tolist()
    moved = [
        Window(
            w.doc,
            w.start - w.own_start + begin,
            w.end - w.own_start + begin,
            begin,
            begin + w.own_end - w.own_start,
        )
        for w, begin in zip(windows, begins, strict=False)
    ]
    return of_kept, moved


def batch_windows(lengths: Sequence[int], budget: int, overhead: int = 32) -> list[list[int]]:
    """Share out windows to batches of at most `budget` pieces, padding counted, with the least work
    for all: no other cut of the windows, sorted by length, has fewer pieces, padding and `overhead`
    counted.

    lengths (Sequence[int]): The windows' lengths.
    budget (int): A window longer than it still gets a batch of its own.
    overhead (int): What a batch costs whatever is in it, as a number of pieces. Less wastes work on
        small batches, more on padding.
    RETURNS (list[list[int]]): Indices of windows, longest first, so that memory is short at the
        beginning if at all.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    sizes = np.array([lengths[i] for i in order])
    # Of the first n windows: the least work, and where the last batch begins.
    work, begins = np.zeros(len(order) + 1), np.zeros(len(order) + 1, dtype=int)
    first = 0
    for end in range(1, len(order) + 1):
        while first < end - 1 and sizes[first] * (end - first) > budget:
            first += 1
        ways = work[first:end] + sizes[first:end] * np.arange(end - first, 0, -1) + overhead
        begins[end] = first + ways.argmin()
        work[end] = ways.min()
    batches, end = [], len(order)
    while end:
        batches.append(order[begins[end] : end])
        end = int(begins[end])
    return batches[::-1]
