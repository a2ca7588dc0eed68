"""Text to wordpieces with exact character offsets.

A checkpoint's tokenizer cuts texts: a fast one (`_FastTexts`), a BertJapaneseTokenizer with the
word segmenter it was pretrained with (`_JapaneseTexts`), or any other slow one (`_SlowTexts`).
`words` says what it is given: the whole text (`TextPieces`, "native"), or each of the Doc's own
tokens, which repeat and are cached (`DocPieces`, "doc"; of a BertJapaneseTokenizer only
`_JapaneseWords`)."""

import json
import logging
import string
import threading
import unicodedata
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import lru_cache, partial
from itertools import accumulate, chain, count, pairwise
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import IS_SPACE, LENGTH, ORTH, SPACY
from spacy.tokens import Doc
from tokenizers import Tokenizer, models
from transformers import BertJapaneseTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..errors import Errors
from ..types import Ints, Pieces
from .alignment import align, cover, map_offsets, map_texts, monotone, piece_spans, ragged_ranges

logger = logging.getLogger(__name__)

WORDS = ("auto", "doc", "native")
# A tokenizer that was trained on a Doc's tokens says so in its tokenizer_config.json.
TRAINED_ON = "jbert_words"
_CACHE_SIZE = 2**17
# Sudachi takes 49,149 bytes, and a character has four at most.
_SUDACHI_LIMIT = 12_000

# The pieces of many texts, one text's after the other's, offsets counted from its own start; how
# many each text has.
Flat: TypeAlias = tuple[Pieces, Ints]
# Texts to pieces that leave out white space only.
CutTexts = Callable[[Sequence[str]], Flat]


class Segmenter(Protocol):
    """Documents to wordpieces."""

    def __call__(self, docs: Sequence[Doc]) -> list[Pieces]: ...


def choose_words(tokenizer: PreTrainedTokenizerBase, words: str) -> tuple[str, str]:
    """Decide who segments the text before the subword model.

    words (str): The setting: auto, doc or native.
    RETURNS (tuple[str, str]): 'doc' or 'native', and why.
    RAISES: ValueError J005 for another setting.
    """
    if words not in WORDS:
        raise ValueError(Errors.J005.format(words=words))
    if words != "auto":
        return words, "set in the config"
    trained_on = tokenizer.init_kwargs.get(TRAINED_ON)
    if trained_on in ("doc", "native"):
        return trained_on, f"its tokenizer_config.json says {TRAINED_ON} = {trained_on}"
    if isinstance(tokenizer, BertJapaneseTokenizer):
        return (
            "native",
            f"BertJapaneseTokenizer, pretrained on {tokenizer.word_tokenizer_type} words",
        )
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        return "native", f"{type(tokenizer).__name__}, pretrained on raw text"
    return "doc", f"{type(tokenizer).__name__} gives no offsets of its own"


def make_segmenter(tokenizer: PreTrainedTokenizerBase, words: str = "auto") -> Segmenter:
    """Build what turns documents into wordpieces.

    tokenizer (PreTrainedTokenizerBase): The checkpoint's tokenizer.
    words (str): auto, doc or native.
    RETURNS (Segmenter): `List[Doc] -> List[Pieces]`.
    RAISES: ValueError J005, J006.
    """
    words, why = choose_words(tokenizer, words)
    logger.info("Wordpieces: words = '%s' (%s)", words, why)
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        fast = _FastTexts(tokenizer, bare=words == "doc")
        return (
            TextPieces(fast)
            if words == "native"
            else DocPieces(fast, spaces_matter=fast.spaces_matter)
        )
    if isinstance(tokenizer, BertJapaneseTokenizer):
        cut = _JapaneseWords(tokenizer)
        return (
            TextPieces(_JapaneseTexts(cut, _segment(tokenizer)))
            if words == "native"
            else DocPieces(cut)
        )
    if words == "native":
        raise ValueError(
            Errors.J006.format(
                tokenizer=type(tokenizer).__name__,
                reason="it is slow and gives no character offsets.",
            )
        )
    return DocPieces(_SlowTexts(tokenizer))


class TextPieces:
    """Gives the tokenizer the text as it is, as in pretraining.

    cut (CutTexts): Gives the pieces of texts.
    """

    def __init__(self, cut: CutTexts) -> None:
        self.cut = cut

    def __call__(self, docs: Sequence[Doc]) -> list[Pieces]:
        if not docs:
            return []
        pieces, lengths = self.cut([doc.text for doc in docs])
        return _sliced(pieces, np.concatenate(([0], np.cumsum(lengths))))


class DocPieces:
    """Cuts each token of the Doc alone: exact by construction, and fast, since tokens repeat.

    cut (CutTexts): Gives the pieces of tokens.
    spaces_matter (bool): Whether a token is cut otherwise after a space than after another token.
    """

    def __init__(self, cut: CutTexts, *, spaces_matter: bool = False) -> None:
        self.cut = cut
        self.spaces_matter = spaces_matter
        self.cache: _Cache[tuple[str, bool]] = _Cache(self._cut_tokens)

    def __call__(self, docs: Sequence[Doc]) -> list[Pieces]:
        if not docs:
            return []
        first = [0, *accumulate(map(len, docs))]
        tokens = np.concatenate([doc.to_array([ORTH, LENGTH, SPACY]) for doc in docs])
        keys = tokens[:, 0]
        spaced = (
            np.concatenate([spaced_tokens(doc) for doc in docs])
            if self.spaces_matter
            else np.zeros(len(keys), dtype=bool)
        )
        if self.spaces_matter:
            keys = 2 * keys + spaced  # modulo 2**64: 63 bits of a hash tell words apart as well

        def token(i: int) -> tuple[str, bool]:
            doc = bisect(first, i) - 1
            return docs[doc][i - first[doc]].text, bool(spaced[i])

        pieces, lengths = self.cache(keys.tolist(), token)
        # Where tokens start, first in all texts, one after the other, then each in its own.
        at_token = np.concatenate(([0], np.cumsum(tokens[:, 1:].astype(np.int64).sum(axis=1))))
        token_starts = at_token[:-1] - np.repeat(at_token[first[:-1]], np.diff(first))
        base = np.repeat(token_starts.astype(np.int32), lengths)
        pieces = Pieces(pieces.ids, pieces.starts + base, pieces.ends + base)
        return _sliced(pieces, np.concatenate(([0], np.cumsum(lengths)))[first])

    def _cut_tokens(self, tokens: Sequence[tuple[str, bool]]) -> Flat:
        """Cut tokens, with a space in front of those that came after one.

        It belongs to the first piece, but isn't in the offsets.
        """
        pieces, lengths = self.cut(
            ["" if text.isspace() else " " + text if spaced else text for text, spaced in tokens]
        )
        space = np.repeat(np.array([spaced for _, spaced in tokens], dtype=np.int32), lengths)
        return Pieces(
            pieces.ids, np.maximum(pieces.starts - space, 0), np.maximum(pieces.ends - space, space)
        ), lengths


def _sliced(pieces: Pieces, borders: NDArray) -> list[Pieces]:
    """The pieces of each text.

    borders: Where each begins, and where the last ends. *Shape:* `(n_texts + 1,)`.
    """
    ids, starts, ends = pieces
    return [
        Pieces(ids[start:end], starts[start:end], ends[start:end])
        for start, end in pairwise(borders.tolist())
    ]


Word = TypeVar("Word")


class _Cache(Generic[Word]):
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


class _FastTexts:
    """The pieces of texts by a fast tokenizer.

    tokenizer (PreTrainedTokenizerFast): The checkpoint's.
    bare (bool): Put no `▁` or space of its own before a text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, bare: bool) -> None:
        self.ids = _text_ids(tokenizer)
        self.backend = _plain_backend(tokenizer)
        spec = json.loads(self.backend.to_str())
        without = _without_prefix(spec)
        # Only for models that mark word beginnings (▁, Ġ) does a space make a difference.
        self.spaces_matter = without is not spec or "ByteLevel" in json.dumps(
            [spec["pre_tokenizer"], spec["decoder"]]
        )
        if bare and without is not spec:
            self.backend = Tokenizer.from_str(json.dumps(without))

    def __call__(self, texts: Sequence[str]) -> Flat:
        encodings = self.backend.encode_batch(texts, add_special_tokens=False)
        ids = np.array(
            list(chain.from_iterable(encoding.ids for encoding in encodings)), dtype=np.int32
        )
        starts, ends = _columns(chain.from_iterable(encoding.offsets for encoding in encodings))
        return _mended(texts, Pieces(ids, starts, ends), list(map(len, encodings)), self.ids)


class _JapaneseWords:
    """The pieces of texts by a BertJapaneseTokenizer that takes each for one word.

    tokenizer (BertJapaneseTokenizer): The checkpoint's.
    """

    def __init__(self, tokenizer: BertJapaneseTokenizer) -> None:
        self.tokenizer = tokenizer
        self.ids = _text_ids(tokenizer)
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
        return _mended(
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
        first, last = _columns(piece_spans(seen, pieces, self.unknown))
        ids = list(map(self.id, pieces))
        return ids, starts[first].tolist(), ends[last - 1].tolist()


class _JapaneseTexts:
    """The pieces of texts by a BertJapaneseTokenizer.

    words (_JapaneseWords): Cuts words.
    segment (Callable): Cuts a normalised text into words, strings of it in their order.
    """

    def __init__(self, words: _JapaneseWords, segment: Callable[[str], list[str]]) -> None:
        self.words = words
        self.segment = segment
        self.cache: _Cache[str] = _Cache(words.cut_words)
        # MeCab's and Sudachi's taggers work in a buffer of their own.
        self.lock = threading.Lock()

    def __call__(self, texts: Sequence[str]) -> Flat:
        normalized, begins, starts, ends = map_texts(texts, self.words.normalize)
        with self.lock:
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
        return _mended(
            texts,
            Pieces(ids, starts[first + base], ends[last + base - 1]),
            n_pieces,
            self.words.ids,
        )


class _SlowTexts:
    """The pieces of texts by any other slow tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.ids = _text_ids(tokenizer)

    def __call__(self, texts: Sequence[str]) -> Flat:
        pieces = [self.tokenizer.tokenize(text) for text in texts]
        spans = chain.from_iterable(
            piece_spans(text, of, self.tokenizer.unk_token)
            for text, of in zip(texts, pieces, strict=True)
        )
        starts, ends = _columns(spans)
        ids = np.array(
            self.tokenizer.convert_tokens_to_ids(list(chain.from_iterable(pieces))), dtype=np.int32
        )
        return _mended(texts, Pieces(ids, starts, ends), list(map(len, pieces)), self.ids)


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


def _segment(tokenizer: BertJapaneseTokenizer) -> Callable[[str], list[str]]:
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


class _TextIds(NamedTuple):
    """The id of the unknown piece, and those (`[MASK]`, `<s>`) that a text never yields, even where
    it spells them out.
    """

    unknown: int
    special: list[int]


def _text_ids(tokenizer: PreTrainedTokenizerBase) -> _TextIds:
    # Byte-level models have no unknown piece and lose no character; 0 is never used for them.
    unknown = tokenizer.unk_token_id if tokenizer.unk_token_id is not None else 0
    return _TextIds(unknown, sorted(set(tokenizer.all_special_ids) - {unknown}))


def _columns(spans: Iterable[tuple[int, int]]) -> tuple[Ints, Ints]:
    """Starts and ends."""
    starts, ends = np.fromiter(chain.from_iterable(spans), dtype=np.int32).reshape(-1, 2).T
    return starts, ends


def _mended(
    texts: Sequence[str], pieces: Pieces, lengths: Sequence[int] | Ints, text_ids: _TextIds
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


def _plain_backend(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """A copy of the Rust tokenizer that neither cuts nor pads, and for which a user's `[MASK]` or
    `<s>` is just text.
    """
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = True
    return backend


def _without_prefix(spec: Any) -> Any:
    """A tokenizer.json whose model puts no `▁` or space before a text; the same object if it didn't
    to begin with.
    """
    if isinstance(spec, list):
        new = [_without_prefix(part) for part in spec]
        new = [
            part for part in new if not (isinstance(part, dict) and part.get("type") == "Prepend")
        ]
        return (
            spec
            if len(new) == len(spec) and all(a is b for a, b in zip(new, spec, strict=True))
            else new
        )
    if not isinstance(spec, dict):
        return spec
    changed: dict[str, Any] = {}
    if spec.get("type") == "Metaspace" and spec.get("prepend_scheme", "always") != "never":
        changed["prepend_scheme"] = "never"
    elif spec.get("type") == "ByteLevel" and spec.get("add_prefix_space"):
        changed["add_prefix_space"] = False
    for key in ("normalizer", "pre_tokenizer", "normalizers", "pretokenizers"):
        if key in spec and (new := _without_prefix(spec[key])) is not spec[key]:
            changed[key] = new
    return {**spec, **changed} if changed else spec


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
