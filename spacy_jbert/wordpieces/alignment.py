"""Which characters of a text a wordpiece stands for, and which wordpieces a token.

Pure functions over offsets.
"""

import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import IS_SPACE, LENGTH, SPACY
from spacy.tokens import Doc

from ..types import Ints, Pieces


def align(
    token_starts: Ints, token_ends: Ints, piece_starts: Ints, piece_ends: Ints
) -> tuple[Ints, Ints]:
    """Find the wordpieces that overlap each token.

    token_starts, token_ends: Character offsets of the tokens. *Shape:* `(n_tokens,)`.
    piece_starts, piece_ends: The same of the pieces, neither ever falling. *Shape:* `(n_pieces,)`.
    RETURNS: Piece indices, token after token, and how many each token has. *Shapes:*
        `(n_aligned,)`, `(n_tokens,)`.
    """
    first = np.searchsorted(piece_ends, token_starts, side="right")
    last = np.searchsorted(piece_starts, token_ends, side="left")
    lengths = np.maximum(last - first, 0)
    return ragged_ranges(first, lengths), lengths.astype(np.int32)


def ragged_ranges(starts: NDArray, lengths: NDArray) -> Ints:
    """Concatenate `range(start, start + length)` of every pair, without a Python loop.

    RETURNS (Ints): *Shape:* `(lengths.sum(),)`.
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return (np.arange(total) + np.repeat(starts - (ends - lengths), lengths)).astype(np.int32)


def cover(text: str, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """Widen pieces until every character that isn't white space belongs to one.

    A normaliser that deletes characters (variation selectors, control characters) or composes them
    (か + U+3099 -> が) leaves characters that no piece claims. They go to the piece before them,
    those at the beginning to the first piece.

    RETURNS: New starts and ends; the same ones if nothing was amiss.
    """
    if not len(starts):
        return starts, ends
    gap_starts = np.concatenate(([0], ends))
    gap_ends = np.concatenate((starts, [len(text)]))
    gaps = [
        int(i)
        for i in np.flatnonzero(gap_ends > gap_starts)
        if not text[gap_starts[i] : gap_ends[i]].isspace()
    ]
    if not gaps:
        return starts, ends
    starts, ends = starts.copy(), ends.copy()
    for i in gaps:
        gap = text[gap_starts[i] : gap_ends[i]]
        if i == 0:
            starts[0] = len(gap) - len(gap.lstrip())
        else:
            ends[i - 1] = gap_starts[i] + len(gap.rstrip())
    return starts, np.maximum.accumulate(ends)


def monotone(starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """Repair offsets that fall back, as normalisers that reorder marks give them, by the least
    widening.

    RETURNS: Starts and ends that never fall; the same ones if they didn't.
    """
    if np.any(starts[1:] < starts[:-1]):
        starts = np.minimum.accumulate(starts[::-1])[::-1]
    if np.any(ends[1:] < ends[:-1]):
        ends = np.maximum.accumulate(ends)
    return starts, ends


def map_offsets(text: str, normalize: Callable[[str], str]) -> tuple[str, Ints, Ints]:
    """Normalise a text and keep, for each character of the result, the characters of the text it
    came from.

    Unicode normalisation works on stretches: a character and what may combine with it (UAX #15,
    "normalization boundaries"). Each stretch is normalised alone; its result as a whole stands for
    the stretch as a whole, unless it is a single character.

    text (str): Any text.
    normalize (Callable): NFKC, lower-casing, or both: anything that works on each stretch alone.
    RETURNS: The normalised text; for each of its characters the start and the end in `text`.
    """
    normalized = normalize(text)
    if normalized == text:
        offsets = np.arange(len(text) + 1, dtype=np.int32)
        return text, offsets[:-1], offsets[1:]
    return normalized, *_sources(text, normalized, normalize)


def _sources(text: str, normalized: str, normalize: Callable[[str], str]) -> tuple[Ints, Ints]:
    """For each character of a normalised text the start and the end in the text, stretch by
    stretch.
    """
    borders = [i for i, char in enumerate(text) if i == 0 or not _combines(char)] + [len(text)]
    parts = [normalize(text[start:end]) for start, end in pairwise(borders)]
    if "".join(parts) != normalized:  # a rule that looks further than one stretch (final sigma)
        parts, borders = _join_where_different(parts, borders, normalized)
    lengths = [len(part) for part in parts]
    starts = np.repeat(np.array(borders[:-1], dtype=np.int32), lengths)
    ends = np.repeat(np.array(borders[1:], dtype=np.int32), lengths)
    return starts, ends


def map_texts(
    texts: Sequence[str], normalize: Callable[[str], str]
) -> tuple[list[str], Ints, Ints, Ints]:
    """Normalise many texts: `map_offsets`, but with the offsets of all in one array.

    RETURNS: The normalised texts; where each begins, if they are laid one behind the other; for
        each of their characters the start and
    the end in its own text.
    """
    normalized = list(map(normalize, texts))
    sizes = np.fromiter(map(len, normalized), dtype=np.int32, count=len(texts))
    begins = np.cumsum(sizes, dtype=np.int32) - sizes
    starts = ragged_ranges(np.zeros_like(sizes), sizes)
    ends = starts + np.int32(1)
    for i, (text, became) in enumerate(zip(texts, normalized, strict=True)):
        if text != became:
            of = slice(begins[i], begins[i] + sizes[i])
            starts[of], ends[of] = _sources(text, became, normalize)
    return normalized, begins, starts, ends


def _join_where_different(
    parts: list[str], borders: list[int], normalized: str
) -> tuple[list[str], list[int]]:
    """Make one stretch of all from the first to the last at which the parts depart from the
    normalised text.
    """
    first, start = 0, 0
    while first < len(parts) - 1 and normalized.startswith(parts[first], start):
        start += len(parts[first])
        first += 1
    last, end = len(parts), len(normalized)
    while (
        last > first + 1
        and end - len(parts[last - 1]) >= start
        and normalized.endswith(parts[last - 1], start, end)
    ):
        last -= 1
        end -= len(parts[last])
    return [*parts[:first], normalized[start:end], *parts[last:]], [
        *borders[: first + 1],
        *borders[last:],
    ]


@lru_cache(maxsize=2**16)
def _combines(char: str) -> bool:
    """Whether normalisation may join the character to the one before it."""
    first = unicodedata.normalize("NFKD", char)[0]
    if unicodedata.combining(first):  # dakuten, accents, and half-width ﾞ ﾟ by way of NFKD
        return True
    # Conjoining Hangul vowels and finals, and the few vowel signs of class 0 that compose (Unicode,
    # DerivedNormalizationProps: NFC_QC=M).
    code = ord(first)
    return 0x1161 <= code <= 0x1175 or 0x11A8 <= code <= 0x11C2 or code in _COMPOSING_STARTERS


_COMPOSING_STARTERS = frozenset(
    map(
        ord,
        "\u09be\u09d7\u0b3e\u0b56\u0b57\u0bbe\u0bd7\u0cc2\u0cd5\u0cd6\u0d3e\u0d57\u0dcf\u0ddf\u102e\u1b35"
        "\U00011127\U0001133e\U00011357\U000114b0\U000114ba\U000114bd\U000115af\U00011930",
    )
)


def piece_spans(word: str, pieces: Sequence[str], unknown: str) -> list[tuple[int, int]]:
    """Find where in a word its pieces lie, for tokenizers that only give strings.

    word (str): The word as the subword model saw it (normalised).
    pieces (Sequence[str]): Its pieces, `##` or `▁` in front allowed.
    unknown (str): The string of the unknown piece, which stands for whatever lies before the next
        known one.
    RETURNS (list[tuple[int, int]]): Start and end of each piece in `word`; the whole word for each
        if they can't be told apart.
    """
    bare = [None if piece == unknown else _bare(piece) for piece in pieces]
    # Unknown pieces are one character each (character tokenizers), but the first is all that the
    # others leave over.
    spare = len(word) - sum(1 if text is None else len(text) for text in bare)
    spans: list[tuple[int, int]] = []
    at = 0
    for text in bare:
        if text is None:
            width, spare = 1 + max(0, spare), 0
        elif word.startswith(text, at):
            width = len(text)
        else:
            return [(0, len(word))] * len(pieces)
        spans.append((at, at + width))
        at += width
    if at != len(word):
        return [(0, len(word))] * len(pieces)
    return [
        (
            min(start, len(word) - 1),
            max(end, start + 1) if end > start else min(start, len(word) - 1) + 1,
        )
        for start, end in spans
    ]


def _bare(piece: str) -> str:
    return piece[2:] if piece.startswith("##") and len(piece) > 2 else piece.lstrip("▁")


def token_offsets(doc: Doc) -> tuple[Ints, Ints]:
    """The character offsets of a Doc's tokens.

    RETURNS: Starts and ends, *shape* `(n_tokens,)` each.
    """
    lengths, spaces = doc.to_array([LENGTH, SPACY]).astype(np.int32).T
    ends = np.cumsum(lengths + spaces, dtype=np.int32) - spaces
    return ends - lengths, ends


def align_docs(docs: Sequence[Doc], pieces: Sequence[Pieces]) -> list[tuple[Ints, Ints]]:
    """Find the wordpieces of each token of many documents: `align`, once, over all texts laid one
    behind the other.

    pieces: Of each document.

    RETURNS: For each document piece indices, token after token, and how many each token has.
    """
    if not docs:
        return []
    tokens = np.concatenate([doc.to_array([LENGTH, SPACY]) for doc in docs]).astype(np.int32)
    behind = np.cumsum(tokens.sum(axis=1), dtype=np.int32)
    ends = behind - tokens[:, 1]
    first = np.concatenate(([0], np.cumsum([len(doc) for doc in docs])))
    counts = np.array([len(of.ids) for of in pieces])
    shift = np.repeat(np.concatenate(([0], behind)).astype(np.int32)[first[:-1]], counts)
    piece_starts, piece_ends = (
        np.concatenate([of[column] for of in pieces]) + shift for column in (1, 2)
    )
    indices, lengths = align(ends - tokens[:, 0], ends, piece_starts, piece_ends)
    at = np.concatenate(([0], np.cumsum(lengths)))[first]
    own = indices - np.repeat(np.cumsum(counts) - counts, np.diff(at)).astype(np.int32)
    slices = zip(pairwise(at.tolist()), pairwise(first.tolist()), strict=True)
    return [(own[begin:end], lengths[start:stop]) for (begin, end), (start, stop) in slices]


def spaced_tokens(doc: Doc) -> NDArray[np.bool_]:
    """Whether a token comes first or after white space.

    RETURNS: *Shape:* `(n_tokens,)`.
    """
    return np.concatenate(([True], doc.to_array([SPACY, IS_SPACE]).any(axis=1)))[:-1]
