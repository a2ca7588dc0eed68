"""Text to wordpieces with exact character offsets.

A checkpoint's tokenizer cuts texts: a fast one (`_FastTexts`), a BertJapaneseTokenizer with the
word segmenter it was pretrained with (`japanese.py`), or any other slow one (`_SlowTexts`).
`words` says what it is given: the whole text (`TextPieces`, "native"), or each of the Doc's own
tokens, which repeat and are cached (`DocPieces`, "doc"; of a BertJapaneseTokenizer only
`JapaneseWords`)."""

import json
import logging
from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import LENGTH, ORTH, SPACY
from spacy.tokens import Doc
from tokenizers import Tokenizer
from transformers import BertJapaneseTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..errors import Errors
from ..types import Pieces
from .alignment import (
    piece_spans,
    spaced_tokens,
)
from .cache import Flat, WordCache
from .japanese import JapaneseTexts, JapaneseWords, word_segmenter
from .mending import columns, mended, text_ids_of

logger = logging.getLogger(__name__)
WORDS = ("auto", "doc", "native")
# A tokenizer that was trained on a Doc's tokens says so in its tokenizer_config.json.
TRAINED_ON = "jbert_words"
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
        cut = JapaneseWords(tokenizer)
        return (
            TextPieces(JapaneseTexts(cut, word_segmenter(tokenizer)))
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
        self.cache: WordCache[tuple[str, bool]] = WordCache(self._cut_tokens)

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


class _FastTexts:
    """The pieces of texts by a fast tokenizer.

    tokenizer (PreTrainedTokenizerFast): The checkpoint's.
    bare (bool): Put no `▁` or space of its own before a text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, bare: bool) -> None:
        self.ids = text_ids_of(tokenizer)
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
        starts, ends = columns(chain.from_iterable(encoding.offsets for encoding in encodings))
        return mended(texts, Pieces(ids, starts, ends), list(map(len, encodings)), self.ids)


class _SlowTexts:
    """The pieces of texts by any other slow tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.ids = text_ids_of(tokenizer)

    def __call__(self, texts: Sequence[str]) -> Flat:
        pieces = [self.tokenizer.tokenize(text) for text in texts]
        spans = chain.from_iterable(
            piece_spans(text, of, self.tokenizer.unk_token)
            for text, of in zip(texts, pieces, strict=True)
        )
        starts, ends = columns(spans)
        ids = np.array(
            self.tokenizer.convert_tokens_to_ids(list(chain.from_iterable(pieces))), dtype=np.int32
        )
        return mended(texts, Pieces(ids, starts, ends), list(map(len, pieces)), self.ids)


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
