"""Answers that begin or end inside a wordpiece: 年に is one piece, and only 年 the answer.

A span is one of whole pieces. Those of me5-small-ja express 86 % of the answers in JaQuAD's
development part. What is too much is nearly always a token of few characters, a particle or
punctuation, so it is enough to know of each such string whether answers leave it out."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..types import Ints


class Borders:
    """Strings that answers leave out where a piece begins, and where one ends, with them.

    heads, tails (Iterable[str]): They lie between the piece's end and the border of a token.
    """

    def __init__(self, heads: Sequence[str] = (), tails: Sequence[str] = ()) -> None:
        self.heads, self.tails = frozenset(heads), frozenset(tails)

    def cut(
        self, text: str, first: tuple[int, int], last: tuple[int, int], token_borders: Ints
    ) -> tuple[int, int]:
        """Leave out what answers leave out.

        first, last: The characters of a span's first piece and of its last one.
        token_borders: Characters of the text at which a token begins or ends; rising.
        RETURNS (tuple[int, int]): Start and end of the answer.
        """
        start, end = first[0], last[1]
        for border in reversed(_between(token_borders, *first)):
            if border < end and text[start:border] in self.heads:
                start = border
                break
        for border in _between(token_borders, *last):
            if border > start and text[border:end] in self.tails:
                end = border
                break
        return start, end


class BorderCounts:
    """How often answers left out a part of their first or last piece, and how often not."""

    def __init__(self) -> None:
        self.heads: tuple[Counter[str], Counter[str]] = Counter(), Counter()
        self.tails: tuple[Counter[str], Counter[str]] = Counter(), Counter()

    def add(
        self,
        text: str,
        answer: tuple[int, int],
        first: tuple[int, int],
        last: tuple[int, int],
        token_borders: Ints,
    ) -> None:
        """Count one right answer. As in `Borders.cut`."""
        for border in _between(token_borders, *first):
            self.heads[answer[0] >= border][text[first[0] : border]] += 1
        for border in _between(token_borders, *last):
            self.tails[answer[1] <= border][text[border : last[1]]] += 1

    def borders(self) -> Borders:
        """RETURNS (Borders): Of what was left out more often than not."""
        heads, tails = (
            sorted(string for string in left_out if left_out[string] > kept[string])
            for kept, left_out in (self.heads, self.tails)
        )
        return Borders(heads, tails)


def _between(borders: Ints, start: int, end: int) -> list[int]:
    """RETURNS (list[int]): The borders inside a stretch."""
    first, last = np.searchsorted(borders, start, "right"), np.searchsorted(borders, end, "left")
    return borders[first:last].tolist()
