"""Text to wordpieces with exact character offsets.

Three ways, chosen by `words`: the Doc's own tokens, cut one by one and cached (`DocPieces`); a fast tokenizer on the raw text
(`RawPieces`); the word segmenter a BertJapaneseTokenizer checkpoint was pretrained with (`JapanesePieces`).
"""

import json
import logging
import threading
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from spacy.attrs import ORTH, SPACY
from spacy.tokens import Doc
from tokenizers import Tokenizer
from transformers import BertJapaneseTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .alignment import cover, map_offsets, monotone, piece_spans, ragged_ranges
from .errors import Errors
from .types import Pieces

logger = logging.getLogger(__name__)

WORDS = ("auto", "doc", "native")
# A tokenizer that was trained on a Doc's tokens says so in its tokenizer_config.json.
TRAINED_ON = "jbert_words"
_CACHE_SIZE = 2**17
# Sudachi takes 49,149 bytes, and a character has four at most.
_SUDACHI_LIMIT = 12_000

# A piece of a word: its id and the characters of the word it stands for.
WordPiece = tuple[int, int, int]
CutWord = Callable[[str, bool], list[WordPiece]]


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
        return "native", f"BertJapaneseTokenizer, pretrained on {tokenizer.word_tokenizer_type} words"
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
        return RawPieces(tokenizer) if words == "native" else DocPieces(_FastWords(tokenizer))
    if isinstance(tokenizer, BertJapaneseTokenizer):
        cut = _JapaneseWords(tokenizer)
        return JapanesePieces(tokenizer, cut) if words == "native" else DocPieces(cut)
    if words == "native":
        raise ValueError(Errors.J006.format(tokenizer=type(tokenizer).__name__, reason="it is slow and gives no character offsets."))
    return DocPieces(_SlowWords(tokenizer))


class _Cache:
    """The pieces of every word seen, in flat arrays, so that a text's pieces are two array look-ups.

    cut (CutWord): Called for a word that isn't there yet.
    """

    def __init__(self, cut: CutWord) -> None:
        self.cut = cut
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self.index: dict[int, int] = {}
        self.table = np.zeros((3, 1024), dtype=np.int32)  # ids, starts, ends
        self.rows = np.zeros((2, 1024), dtype=np.int32)  # offset into the table, number of pieces
        self.n_pieces = 0

    def add(self, key: int, word: str, spaced: bool) -> int:
        """Cut a word and keep its pieces. RETURNS (int): Its row."""
        pieces = np.array(self.cut(word, spaced), dtype=np.int32).reshape(-1, 3).T
        row, end = len(self.index), self.n_pieces + pieces.shape[1]
        if end > self.table.shape[1]:
            self.table = np.concatenate((self.table, np.zeros((3, max(end, self.table.shape[1])), dtype=np.int32)), axis=1)
        if row >= self.rows.shape[1]:
            self.rows = np.concatenate((self.rows, np.zeros_like(self.rows)), axis=1)
        self.table[:, self.n_pieces : end] = pieces
        self.rows[:, row] = self.n_pieces, pieces.shape[1]
        self.n_pieces, self.index[key] = end, row
        return row

    def __call__(self, keys: list[int], words: Callable[[int], str], spaced: Sequence[bool] | None) -> tuple[np.ndarray, np.ndarray]:
        """Look up many words.

        keys (list[int]): A number for each word, the same for the same word.
        words (Callable): The word at a position; asked only where the key is new.
        spaced (Sequence[bool] | None): Whether white space (or the beginning) precedes the word; None if it makes no difference.
        RETURNS: ids, starts and ends, offsets counted from each word's start; how many pieces each word has.
            *Shapes:* `(3, n_pieces)`, `(n_words,)`.
        """
        with self.lock:
            if len(self.index) > _CACHE_SIZE:
                self.clear()
            get, rows = self.index.get, np.empty(len(keys), dtype=np.int64)
            for i, key in enumerate(keys):
                row = get(key)
                rows[i] = row if row is not None else self.add(key, words(i), bool(spaced is None or spaced[i]))
            starts, lengths = self.rows[:, rows]
            return self.table[:, ragged_ranges(starts, lengths)], lengths


class DocPieces:
    """Cuts each token of the Doc alone: exact by construction, and fast, since tokens repeat.

    cut (CutWord): Gives the pieces of one token.
    """

    def __init__(self, cut: "_FastWords | _JapaneseWords | _SlowWords") -> None:
        self.spaces_matter = cut.spaces_matter
        self.cache = _Cache(cut)

    def __call__(self, docs: Sequence[Doc]) -> list[Pieces]:
        return [self._pieces(doc) for doc in docs]

    def _pieces(self, doc: Doc) -> Pieces:
        starts, _ = token_offsets(doc)
        orths: list[int] = doc.to_array(ORTH).tolist()
        spaced = None
        if self.spaces_matter:
            spaced = spaced_tokens(doc)
            orths = [2 * orth + space for orth, space in zip(orths, spaced, strict=True)]
        table, lengths = self.cache(orths, lambda i: doc[i].text, spaced)
        base = np.repeat(starts, lengths)
        return Pieces(table[0], table[1] + base, table[2] + base)


class RawPieces:
    """Runs a fast tokenizer on the raw text, as the checkpoint was pretrained.

    tokenizer (PreTrainedTokenizerFast): The checkpoint's tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.backend = _plain_backend(tokenizer)
        self.ids = _text_ids(tokenizer)

    def __call__(self, docs: Sequence[Doc]) -> list[Pieces]:
        texts = [doc.text for doc in docs]
        encodings = self.backend.encode_batch(texts, add_special_tokens=False)
        return [
            _pieces(text, encoding.ids, np.array(encoding.offsets, dtype=np.int32), self.ids)
            for text, encoding in zip(texts, encodings, strict=True)
        ]


class JapanesePieces:
    """Runs the word segmenter of a BertJapaneseTokenizer (MeCab, Sudachi or white space and punctuation), with offsets of our own.

    tokenizer (BertJapaneseTokenizer): The checkpoint's tokenizer.
    cut (_JapaneseWords): The same checkpoint's subword model.
    RAISES: ValueError J006 for a segmenter that isn't supported (Juman++, or Sudachi with words other than those of the text).
    """

    def __init__(self, tokenizer: BertJapaneseTokenizer, cut: "_JapaneseWords") -> None:
        kind, reason = tokenizer.word_tokenizer_type, None
        if tokenizer.do_word_tokenize and kind not in ("mecab", "sudachi", "basic"):
            reason = f"{kind} is not supported."
        elif kind == "sudachi" and (projection := (tokenizer.sudachi_kwargs or {}).get("sudachi_projection")) not in (None, "surface"):
            reason = f"sudachi_projection = {projection} gives words that aren't in the text."
        if reason:
            raise ValueError(Errors.J006.format(tokenizer=type(tokenizer).__name__, reason=reason))
        self.tokenizer = tokenizer
        self.normalize = cut.normalize
        self.ids = cut.ids
        self.cache = _Cache(cut.cut_normalized)
        # MeCab's and Sudachi's taggers work in a buffer of their own.
        self.lock = threading.Lock()

    def __call__(self, docs: Sequence[Doc]) -> list[Pieces]:
        return [self._pieces(doc.text) for doc in docs]

    def _pieces(self, text: str) -> Pieces:
        normalized, starts, ends = map_offsets(text, self.normalize)
        with self.lock:
            words = self._words(normalized)
        at, begins = 0, []
        for word in words:
            at = normalized.index(word, at)
            begins.append(at)
            at += len(word)
        table, lengths = self.cache([hash(word) for word in words], words.__getitem__, None)
        base = np.repeat(np.array(begins, dtype=np.int32), lengths)
        first, last = table[1] + base, table[2] + base - 1
        offsets = np.stack((starts[first], ends[last]), axis=1) if len(first) else np.zeros((0, 2), dtype=np.int32)
        return _pieces(text, table[0], offsets, self.ids)

    def _words(self, normalized: str) -> list[str]:
        if not self.tokenizer.do_word_tokenize:
            return [normalized] if normalized else []
        segmenter = self.tokenizer.word_tokenizer
        kind = self.tokenizer.word_tokenizer_type
        if kind == "mecab":
            # A null character ends the text for MeCab, which is written in C.
            return [word.surface for part in normalized.split("\0") for word in segmenter.mecab(part) if word.surface]
        if kind == "sudachi":
            surfaces = [word.surface() for part in _parts(normalized, _SUDACHI_LIMIT) for word in segmenter.sudachi.tokenize(part)]
            return [surface.strip() if segmenter.trim_whitespace else surface for surface in surfaces if surface.strip()]
        return _split_punctuation(normalized)


class _FastWords:
    """The pieces of one word by a fast tokenizer, without a `▁` of its own for a word that no space precedes."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.backend = _plain_backend(tokenizer)
        self.ids = _text_ids(tokenizer)
        spec = json.loads(self.backend.to_str())
        bare = _without_prefix(spec)
        # Only for models that mark word beginnings (▁, Ġ) does a space make a difference.
        self.spaces_matter = bare is not spec or "ByteLevel" in json.dumps([spec["pre_tokenizer"], spec["decoder"]])
        if bare is not spec:
            self.backend = Tokenizer.from_str(json.dumps(bare))

    def __call__(self, word: str, spaced: bool) -> list[WordPiece]:
        if word.isspace():
            return []
        if self.spaces_matter and spaced:
            encoding = self.backend.encode(" " + word, add_special_tokens=False)
            offsets = np.maximum(np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2) - 1, [0, 1])
        else:
            encoding = self.backend.encode(word, add_special_tokens=False)
            offsets = np.array(encoding.offsets, dtype=np.int32)
        return _word_pieces(_pieces(word, encoding.ids, offsets, self.ids))


class _JapaneseWords:
    """The pieces of one word by the subword model of a BertJapaneseTokenizer."""

    spaces_matter = False

    def __init__(self, tokenizer: BertJapaneseTokenizer) -> None:
        self.tokenizer = tokenizer
        self.ids = _text_ids(tokenizer)
        segmenter = getattr(tokenizer, "word_tokenizer", None)
        basic = tokenizer.word_tokenizer_type == "basic"
        self.normalize: Callable[[str], str] = _clean if basic else _nfkc if getattr(segmenter, "normalize_text", False) else str
        lower = _lower_without_marks if basic else str.lower
        self.fold: Callable[[str], str] = lower if getattr(segmenter, "do_lower_case", False) else str

    def cut_normalized(self, word: str, spaced: bool = True) -> list[WordPiece]:
        """The pieces of a word that is normalised (but not in lower case), with offsets into it."""
        if not self.tokenizer.do_subword_tokenize:
            return [(self.tokenizer.convert_tokens_to_ids(word), 0, len(word))]
        seen, starts, ends = map_offsets(word, self.fold)
        subwords = self.tokenizer.subword_tokenizer
        pieces = subwords.tokenize(seen)
        if getattr(subwords, "normalize_text", False):  # the character tokenizer normalises once more
            seen, again_starts, again_ends = map_offsets(seen, _nfkc)
            starts, ends = starts[again_starts], ends[again_ends - 1]
        ids = self.tokenizer.convert_tokens_to_ids(pieces)
        spans = piece_spans(seen, pieces, self.tokenizer.unk_token)
        return [(id_, int(starts[start]), int(ends[end - 1])) for id_, (start, end) in zip(ids, spans, strict=True)]

    def __call__(self, word: str, spaced: bool) -> list[WordPiece]:
        if word.isspace():
            return []
        normalized, starts, ends = map_offsets(word, self.normalize)
        pieces = self.cut_normalized(normalized) if normalized.strip() else []
        offsets = np.array([(starts[start], ends[end - 1]) for _, start, end in pieces], dtype=np.int32)
        return _word_pieces(_pieces(word, [id_ for id_, _, _ in pieces], offsets, self.ids))


class _SlowWords:
    """The pieces of one word by any other slow tokenizer."""

    spaces_matter = False

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.ids = _text_ids(tokenizer)

    def __call__(self, word: str, spaced: bool) -> list[WordPiece]:
        if word.isspace():
            return []
        pieces = self.tokenizer.tokenize(word)
        spans = np.array(piece_spans(word, pieces, self.tokenizer.unk_token), dtype=np.int32)
        return _word_pieces(_pieces(word, self.tokenizer.convert_tokens_to_ids(pieces), spans, self.ids))


def token_offsets(doc: Doc) -> tuple[np.ndarray, np.ndarray]:
    """The character offsets of a Doc's tokens. RETURNS: Starts and ends, *shape* `(n_tokens,)` each."""
    lengths = np.fromiter((len(token) for token in doc), dtype=np.int32, count=len(doc))
    with_space = lengths + doc.to_array(SPACY).astype(np.int32)
    starts = (np.cumsum(with_space) - with_space).astype(np.int32)
    return starts, starts + lengths


def spaced_tokens(doc: Doc) -> list[bool]:
    """Whether a token comes first or after white space. RETURNS (list[bool]): One for each token."""
    return [i == 0 or bool(doc[i - 1].whitespace_) or doc[i - 1].is_space for i in range(len(doc))]


class _TextIds(NamedTuple):
    """The id of the unknown piece, and those (`[MASK]`, `<s>`) that a text never yields, even where it spells them out."""

    unknown: int
    special: list[int]


def _text_ids(tokenizer: PreTrainedTokenizerBase) -> _TextIds:
    # Byte-level models have no unknown piece and lose no character; 0 is never used for them.
    unknown = tokenizer.unk_token_id if tokenizer.unk_token_id is not None else 0
    return _TextIds(unknown, sorted(set(tokenizer.all_special_ids) - {unknown}))


def _pieces(text: str, ids: Sequence[int] | np.ndarray, offsets: np.ndarray, text_ids: _TextIds) -> Pieces:
    """Pieces whose offsets never fall and leave no character out; a text that lost all its pieces becomes one unknown piece."""
    if not len(ids):
        if not text or text.isspace():
            return Pieces(*np.zeros((3, 0), dtype=np.int32))
        ids, offsets = [text_ids.unknown], np.array([[0, len(text)]], dtype=np.int32)
    # Special pieces are in the vocabulary too, where WordPiece and Unigram models find them.
    known = np.where(np.isin(ids, text_ids.special), text_ids.unknown, ids).astype(np.int32)
    starts, ends = monotone(offsets[:, 0], offsets[:, 1])
    starts, ends = cover(text, starts, ends)
    return Pieces(known, starts.astype(np.int32), ends.astype(np.int32))


def _word_pieces(pieces: Pieces) -> list[WordPiece]:
    return list(zip(pieces.ids.tolist(), pieces.starts.tolist(), pieces.ends.tolist(), strict=True))


def _plain_backend(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """A copy of the Rust tokenizer that neither cuts nor pads, and for which a user's `[MASK]` or `<s>` is just text."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = True
    return backend


def _without_prefix(spec: Any) -> Any:
    """A tokenizer.json whose model puts no `▁` or space before a text; the same object if it didn't to begin with."""
    if isinstance(spec, list):
        new = [_without_prefix(part) for part in spec]
        new = [part for part in new if not (isinstance(part, dict) and part.get("type") == "Prepend")]
        return spec if len(new) == len(spec) and all(a is b for a, b in zip(new, spec, strict=True)) else new
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
    kept = (char for char in text if char in "\t\n\r" or not (unicodedata.category(char).startswith("C") or char == "\ufffd"))
    return unicodedata.normalize("NFC", "".join(kept))


def _lower_without_marks(text: str) -> str:
    """What BERT's basic tokenizer means by lower case; it takes the dakuten off too."""
    return "".join(char for char in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(char) != "Mn")


def _split_punctuation(text: str) -> list[str]:
    """White space and punctuation, each mark a word of its own: what BERT's basic tokenizer does to a clean text."""
    words: list[str] = []
    glue = False
    for char in text:
        if char.isspace():
            glue = False
            continue
        code = ord(char)
        mark = unicodedata.category(char).startswith("P") or 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
        if mark or not glue:
            words.append(char)
        else:
            words[-1] += char
        glue = not mark
    return words


def _parts(text: str, limit: int) -> list[str]:
    """Cut a text that is too long behind its last line, sentence or space within the limit, or else at the limit."""
    parts, start = [], 0
    while len(text) - start > limit:
        ends = (text.rfind(mark, start, start + limit) + 1 for mark in "\n。 ")
        end = next((end for end in ends if end > start), start + limit)
        parts.append(text[start:end])
        start = end
    return [*parts, text[start:]]
