"""The wordpieces of a BertJapaneseTokenizer (MeCab, Sudachi, basic; wordpieces or characters), with
the characters that each stands for."""

import string
import threading
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import accumulate, chain
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models
from transformers import BertJapaneseTokenizer

from ..errors import Errors
from ..types import Pieces
from .alignment import map_offsets, map_texts, piece_spans
from .cache import Flat, WordCache
from .mending import columns, mended, text_ids_of

# Sudachi takes 49,149 bytes, and a character has four at most.
_SUDACHI_LIMIT = 12_000
# A word segmenter of MeCab's or Sudachi's serves one thread at a time. Not a lock for each object
# here: two threads that begin together may each make one for the same segmenter.
_ONE_AT_A_TIME = threading.Lock()


class JapaneseWords:
    """The pieces of texts by a BertJapaneseTokenizer that takes each for one word.

    tokenizer (BertJapaneseTokenizer): The checkpoint's.
    """

    def __init__(self, tokenizer: BertJapaneseTokenizer) -> None:
        self.tokenizer = tokenizer
        self.ids = text_ids_of(tokenizer)
        segmenter = getattr(tokenizer, "word_tokenizer", None)
        basic = tokenizer.word_tokenizer_type == "basic"
        self.normalize: Callable[[str], str] = (
            _clean if basic else _nfkc if getattr(segmenter, "normalize_text", False) else str
        )
        lower = _lower_without_marks if basic else str.lower
        self.fold: Callable[[str], str] = (
            lower if getattr(segmenter, "do_lower_case", False) else str
        )
        # The character tokenizer normalises once more.
        self.twice = getattr(getattr(tokenizer, "subword_tokenizer", None), "normalize_text", False)
        # Its WordPiece is written in Python; the one in Rust gives the same.
        self.wordpiece = _rust_wordpiece(tokenizer) if tokenizer.do_subword_tokenize else None
        self.vocab = dict(tokenizer.vocab)
        self.limit = getattr(
            getattr(tokenizer, "subword_tokenizer", None), "max_input_chars_per_word", 0
        )
        # The tokenizer's own attributes and look-ups are slow.
        self.unknown = tokenizer.unk_token
        self.id = lru_cache(maxsize=None)(tokenizer.convert_tokens_to_ids)

    def __call__(self, texts: Sequence[str]) -> Flat:
        normalized, begins, starts, ends = map_texts(texts, self.normalize)
        (ids, first, last), lengths = self.cut_words(
            [text if text.strip() else "" for text in normalized]
        )
        base = np.repeat(begins, lengths)
        return mended(
            texts, Pieces(ids, starts[first + base], ends[last + base - 1]), lengths, self.ids
        )

    def cut_words(self, words: Sequence[str]) -> Flat:
        """The pieces of words that are normalised but not in lower case, with offsets."""
        cut = list(map(self._cut_word, words))
        lengths = np.array([len(ids) for ids, _, _ in cut], dtype=np.int32)
        return Pieces(
            *(
                np.array(list(chain.from_iterable(column)), dtype=np.int32)
                for column in zip(*cut, strict=True)
            )
        ), lengths

    def _cut_word(self, word: str) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        if not word:
            return (), (), ()
        if not self.tokenizer.do_subword_tokenize:
            return (self.id(word),), (0,), (len(word),)
        # Python knows more kinds of white space than Rust.
        if self.wordpiece is not None and self.fold(word) == word and word.split() == [word]:
            if len(word) <= self.limit and (whole := self.vocab.get(word)) is not None:
                return (whole,), (0,), (len(word),)
            encoding = self.wordpiece.encode(word)
            return encoding.ids, *zip(*encoding.offsets, strict=True)
        seen, starts, ends = map_offsets(word, self.fold)
        pieces = self.tokenizer.subword_tokenizer.tokenize(seen)
        if self.twice:
            seen, again_starts, again_ends = map_offsets(seen, _nfkc)
            starts, ends = starts[again_starts], ends[again_ends - 1]
        first, last = columns(piece_spans(seen, pieces, self.unknown))
        ids = list(map(self.id, pieces))
        return ids, starts[first].tolist(), ends[last - 1].tolist()


class JapaneseTexts:
    """The pieces of texts by a BertJapaneseTokenizer.

    words (JapaneseWords): Cuts words.
    segment (Callable): Cuts a normalised text into words, strings of it in their order.
    """

    def __init__(self, words: JapaneseWords, segment: Callable[[str], list[str]]) -> None:
        self.words = words
        self.segment = segment
        self.cache: WordCache[str] = WordCache(words.cut_words)
        # MeCab's and Sudachi's taggers work in a buffer of their own.

    def __call__(self, texts: Sequence[str]) -> Flat:
        normalized, begins, starts, ends = map_texts(texts, self.words.normalize)
        with _ONE_AT_A_TIME:
            segmented = list(map(self.segment, normalized))
        words = list(chain.from_iterable(segmented))
        (ids, first, last), lengths = self.cache(words, words.__getitem__)
        # From offsets in a word to those in all normalised texts, one after the other, and from
        # there to those in each text.
        n_words = list(map(len, segmented))
        at_word = np.array(
            list(chain.from_iterable(map(_begins, normalized, segmented))), dtype=np.int64
        ) + np.repeat(begins, n_words)
        base = np.repeat(at_word, lengths)
        n_pieces = np.diff(np.concatenate(([0], np.cumsum(lengths)))[[0, *accumulate(n_words)]])
        return mended(
            texts,
            Pieces(ids, starts[first + base], ends[last + base - 1]),
            n_pieces,
            self.words.ids,
        )


def _rust_wordpiece(tokenizer: BertJapaneseTokenizer) -> Tokenizer | None:
    if tokenizer.subword_tokenizer_type != "wordpiece":
        return None
    subwords = tokenizer.subword_tokenizer
    limit = subwords.max_input_chars_per_word
    return Tokenizer(
        models.WordPiece(
            dict(tokenizer.vocab), unk_token=subwords.unk_token, max_input_chars_per_word=limit
        )
    )


def word_segmenter(tokenizer: BertJapaneseTokenizer) -> Callable[[str], list[str]]:
    """The word segmenter that a BertJapaneseTokenizer was pretrained with: MeCab, Sudachi, or white
    space and punctuation.

    RAISES: ValueError J006 for one that isn't supported (Juman++, or Sudachi with words other than
        those of the text).
    """
    kind = tokenizer.word_tokenizer_type
    if not tokenizer.do_word_tokenize:
        return _as_one_word
    segmenter = tokenizer.word_tokenizer
    if kind == "mecab":
        return partial(_mecab_words, segmenter.mecab)
    if kind == "sudachi" and (
        projection := (tokenizer.sudachi_kwargs or {}).get("sudachi_projection")
    ) not in (None, "surface"):
        reason = f"sudachi_projection = {projection} gives words that aren't in the text."
    elif kind == "sudachi":
        return partial(_sudachi_words, segmenter.sudachi, trim=segmenter.trim_whitespace)
    elif kind == "basic":
        return _split_punctuation
    else:
        reason = f"{kind} is not supported."
    raise ValueError(Errors.J006.format(tokenizer=type(tokenizer).__name__, reason=reason))


def _as_one_word(normalized: str) -> list[str]:
    return [normalized] if normalized.strip() else []


def _mecab_words(tagger: Any, normalized: str) -> list[str]:
    # A null character ends the text for MeCab, which is written in C.
    return [
        word.surface for part in normalized.split("\0") for word in tagger(part) if word.surface
    ]


def _sudachi_words(tokenizer: Any, normalized: str, *, trim: bool) -> list[str]:
    surfaces = [
        word.surface()
        for part in _parts(normalized, _SUDACHI_LIMIT)
        for word in tokenizer.tokenize(part)
    ]
    return [surface.strip() if trim else surface for surface in surfaces if surface.strip()]


def _begins(text: str, words: Sequence[str]) -> list[int]:
    """Where in a text its words begin, one after the other."""
    begins = list(accumulate(map(len, words), initial=0))
    if begins.pop() == len(text):  # nothing between them
        return begins
    at = 0
    for i, word in enumerate(words):
        begins[i] = text.index(word, at)
        at = begins[i] + len(word)
    return begins


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _clean(text: str) -> str:
    """Without control characters, and composed: what BERT's basic tokenizer does first."""
    if not text.isprintable() or "\ufffd" in text:
        text = "".join(
            char
            for char in text
            if char in "\t\n\r"
            or not (unicodedata.category(char).startswith("C") or char == "\ufffd")
        )
    return unicodedata.normalize("NFC", text)


def _lower_without_marks(text: str) -> str:
    """What BERT's basic tokenizer means by lower case; it takes the dakuten off too."""
    return "".join(
        char
        for char in unicodedata.normalize("NFD", text.lower())
        if unicodedata.category(char) != "Mn"
    )


def _split_punctuation(text: str) -> list[str]:
    """White space and punctuation, each mark a word of its own: what BERT's basic tokenizer does to
    a clean text.
    """
    words: list[str] = []
    glue = False
    for char in text:
        if char.isspace():
            glue = False
            continue
        mark = _is_mark(char)
        if mark or not glue:
            words.append(char)
        else:
            words[-1] += char
        glue = not mark
    return words


@lru_cache(maxsize=2**16)
def _is_mark(char: str) -> bool:
    return char in string.punctuation or unicodedata.category(char).startswith("P")


def _parts(text: str, limit: int) -> list[str]:
    """Cut a text that is too long behind its last line, sentence or space within the limit, or else
    at the limit.
    """
    parts, start = [], 0
    while len(text) - start > limit:
        ends = (text.rfind(mark, start, start + limit) + 1 for mark in "\n。 ")
        end = next((end for end in ends if end > start), start + limit)
        parts.append(text[start:end])
        start = end
    return [*parts, text[start:]]
