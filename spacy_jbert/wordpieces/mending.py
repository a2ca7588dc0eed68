"""What every way of cutting a text promises of its pieces: offsets that never fall, and that leave
no character out but white space."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..types import Ints, Pieces
from .alignment import cover, monotone
from .cache import Flat


class TextIds(NamedTuple):
    """The id of the unknown piece, and those (`[MASK]`, `<s>`) that a text never yields, even where
    it spells them out.
    """

    unknown: int
    special: list[int]


def text_ids_of(tokenizer: PreTrainedTokenizerBase) -> TextIds:
    # Byte-level models have no unknown piece and lose no character; 0 is never used for them.
    unknown = tokenizer.unk_token_id if tokenizer.unk_token_id is not None else 0
    return TextIds(unknown, sorted(set(tokenizer.all_special_ids) - {unknown}))


def columns(spans: Iterable[tuple[int, int]]) -> tuple[Ints, Ints]:
    """Starts and ends."""
    starts, ends = np.fromiter(chain.from_iterable(spans), dtype=np.int32).reshape(-1, 2).T
    return starts, ends


def mended(
    texts: Sequence[str], pieces: Pieces, lengths: Sequence[int] | Ints, text_ids: TextIds
) -> Flat:
    """Mend what doesn't hold what `CutTexts` promises: offsets never fall and leave no character
    out, and a text that lost all its pieces becomes one unknown piece."""
    # Special pieces are in the vocabulary too, where WordPiece and Unigram models find them.
    ids = np.where(np.isin(pieces.ids, text_ids.special), text_ids.unknown, pieces.ids)
    lengths = np.array(lengths, dtype=np.int32)
    lost = [i for i in np.flatnonzero(lengths == 0).tolist() if texts[i] and not texts[i].isspace()]
    sizes = np.fromiter(map(len, texts), dtype=np.int32, count=len(texts))
    at = np.cumsum(lengths)[lost]
    ids, starts, ends = (
        np.insert(column, at, new).astype(np.int32, copy=False)
        for column, new in ((ids, text_ids.unknown), (pieces.starts, 0), (pieces.ends, sizes[lost]))
    )
    lengths[lost] = 1
    borders = np.concatenate(([0], np.cumsum(lengths)))
    filled = np.flatnonzero(lengths)
    if len(filled):
        first, last = borders[filled], borders[filled + 1] - 1
        before_start, before_end = np.roll(starts, 1), np.roll(ends, 1)
        before_start[first] = before_end[first] = 0
        wrong = (starts < before_start) | (ends < before_end) | (starts > before_end)
        wrong[last] |= ends[last] < sizes[filled]
        for i in filled[np.logical_or.reduceat(wrong, first)].tolist():
            of = slice(borders[i], borders[i + 1])
            starts[of], ends[of] = cover(texts[i], *monotone(starts[of], ends[of]))
    return Pieces(ids, starts, ends), lengths
