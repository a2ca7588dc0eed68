"""The wordpieces of every word that was seen, so that those of many words are two look-ups."""

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from itertools import count
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from ..types import Ints, Pieces
from .alignment import ragged_ranges

_CACHE_SIZE = 2**17
# The pieces of many texts, one text's after the other's, offsets counted from its own start; how
# many each text has.
Flat: TypeAlias = tuple[Pieces, Ints]
Word = TypeVar("Word")


class WordCache(Generic[Word]):
    """The pieces of every word seen, in flat arrays, so that the pieces of many words are two array
    look-ups.

    cut (Callable): Called for the words that aren't there yet.
    """

    def __init__(self, cut: Callable[[Sequence[Word]], Flat]) -> None:
        self.cut = cut
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self.index: defaultdict[Hashable, int] = defaultdict(
            count().__next__
        )  # a new word's row is the next
        self.table = np.zeros((3, 1024), dtype=np.int32)  # ids, starts, ends
        self.rows = np.zeros((2, 1024), dtype=np.int32)  # offset into the table, number of pieces
        self.n_pieces = 0

    def __call__(self, keys: Sequence[Hashable], word: Callable[[int], Word]) -> Flat:
        """Look up many words.

        keys (Sequence[Hashable]): One for each word, the same for the same word.
        word (Callable): The word at a position; asked only where the key is new.
        """
        with self.lock:
            if len(self.index) > _CACHE_SIZE or self.n_pieces > 8 * _CACHE_SIZE:
                self.clear()
            known = len(self.index)
            found = np.fromiter(map(self.index.__getitem__, keys), dtype=np.int64, count=len(keys))
            if len(self.index) > known:
                # The first of each new word has a row above all before it.
                new = np.flatnonzero(
                    np.diff(np.maximum.accumulate(np.concatenate(([known - 1], found))))
                )
                try:
                    self._add(known, *self.cut(list(map(word, new.tolist()))))
                except BaseException:
                    self.clear()
                    raise
            starts, lengths = self.rows[:, found]
            return Pieces(*self.table[:, ragged_ranges(starts, lengths)]), lengths

    def _add(self, row: int, pieces: Pieces, lengths: Ints) -> None:
        self.table = _grown(self.table, self.n_pieces + len(pieces.ids))
        self.rows = _grown(self.rows, row + len(lengths))
        self.table[:, self.n_pieces : self.n_pieces + len(pieces.ids)] = pieces
        self.rows[:, row : row + len(lengths)] = (
            self.n_pieces + np.cumsum(lengths) - lengths,
            lengths,
        )
        self.n_pieces += len(pieces.ids)


def _grown(array: np.ndarray, columns: int) -> np.ndarray:
    """The array, or one with at least twice the columns if it has too few."""
    have = array.shape[1]
    return array if columns <= have else np.pad(array, ((0, 0), (0, max(columns - have, have))))
