"""A question and a text to windows that an encoder sees at once: the whole question, and as much of
the text as fits.

    [CLS] question [SEP] stretch of the text [SEP]

Counted in wordpieces throughout. How texts are cut: `windows.py`."""

from typing import NamedTuple

import numpy as np

from ..types import Ints, PairWindow, Pieces
from .windows import plan_windows


class PairShape(NamedTuple):
    """How an encoder is given pairs.

    before, between, behind: Ids of the special pieces there.
    most (int): Pieces of one window.
    longest_question (int): More of a question isn't read.
    """

    before: list[int]
    between: list[int]
    behind: list[int]
    most: int
    longest_question: int

    def room(self, question: Pieces) -> int:
        """RETURNS (int): How many pieces of a text one window holds beside a question."""
        n_special = len(self.before) + len(self.between) + len(self.behind)
        return self.most - n_special - min(len(question.ids), self.longest_question)

    def window(
        self, question: Pieces, text: Pieces, start: int, end: int, own: tuple[int, int]
    ) -> PairWindow:
        """RETURNS (PairWindow): Of the text's pieces from start to end."""
        asked = question.ids[: self.longest_question]
        first = [*self.before, *asked, *self.between]
        ids = np.concatenate((first, text.ids[start:end], self.behind)).astype(np.int64)
        return PairWindow(ids, len(first), start, end, *own)


def pair_windows(
    shape: PairShape, question: Pieces, text: Pieces, overlap: int, token_cuts: Ints
) -> list[PairWindow]:
    """All windows of a text, beside a question.

    overlap (int): How many pieces neighbours have in common, about; less where windows are short.
    token_cuts: Pieces of the text at which a token begins. *Shape:* `(n,)`.
    RETURNS (list[PairWindow]): None for a text without pieces.
    """
    room = shape.room(question)
    nowhere = np.empty(0, dtype=np.int32)
    # An answer may be explained by the sentence before it, so no cut goes without an overlap.
    planned = plan_windows(
        0, len(text.ids), room, min(overlap, (room - 1) // 2), token_cuts, nowhere
    )
    return [
        shape.window(question, text, of.start, of.end, (of.own_start, of.own_end)) for of in planned
    ]


def stretch(shape: PairShape, question: Pieces, text: Pieces, start: int) -> PairWindow:
    """RETURNS (PairWindow): As much of a text as fits beside a question, from a piece of it on."""
    end = min(start + shape.room(question), len(text.ids))
    return shape.window(question, text, start, end, (start, end))
