"""Search by words: BM25 over the normalised forms that Sudachi gives, by bm25s."""

import json
import unicodedata
from collections.abc import Iterable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Token

from ..corpora.lines import read_lines
from ..errors import Errors

# Particles, auxiliaries and conjunctions say little about what a text is about.
_FUNCTION_WORDS = {"ADP", "AUX", "CCONJ", "PART", "SCONJ"}
_NO_WORDS = {"PUNCT", "SPACE", "SYM"}
_TERMS, _IDS, _ENDS, _SCORES = "terms.json", "terms.i32", "terms.i64", "bm25"


class Terms:
    """Documents to terms: the normalised form of each word (附属 and 付属, 打込む and 打ち込む are
    one), NFKC, lower case; without punctuation and stop words.

    stop_words (list[str] | None): Forms that are left out. None: spaCy's list for the pipeline's
        language and function words; an empty list: nothing is.
    """

    def __init__(self, stop_words: list[str] | None = None) -> None:
        self.stop_words = stop_words
        self._given = frozenset(map(_folded, stop_words or ()))

    def __call__(self, doc: Doc) -> list[str]:
        """RETURNS (list[str]): The terms, in order."""
        terms = []
        for token in doc:
            if token.pos_ in _NO_WORDS or token.is_punct or token.is_space:
                continue
            term = _folded(token.norm_ or token.text)
            if term and not self._is_stop(token, term):
                terms.append(term)
        return terms

    def _is_stop(self, token: Token, term: str) -> bool:
        if self.stop_words is None:
            return token.pos_ in _FUNCTION_WORDS or token.is_stop
        return term in self._given or _folded(token.text) in self._given


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()


def read_stop_words(setting: str) -> list[str] | None:
    """RETURNS (list[str] | None): As `Terms` takes them.

    setting (str): "default", "none", or a file with a word a line.
    """
    if setting == "default":
        return None
    if setting == "none":
        return []
    return [line.strip() for _, line in read_lines(Path(setting)) if line.strip()]


class Words:
    """The BM25 scores of an index (Robertson & Zaragoza 2009, as Lucene has them), mapped from
    disk.

    folder (Path): Of the index.
    """

    def __init__(self, folder: Path) -> None:
        self.numbers = _numbers(folder)
        self.count = (folder / _ENDS).stat().st_size // np.dtype(np.int64).itemsize
        self._scores: Any = None
        if self.numbers:
            scores = str(folder / _SCORES)
            self._scores = _bm25().BM25.load(scores, mmap=True, load_vocab=False)

    def scores(self, terms: list[str]) -> NDArray[np.float32]:
        """RETURNS (NDArray): Of all texts; 0 where none of the terms is. *Shape:* `(n_texts,)`."""
        ids = [self.numbers[term] for term in terms if term in self.numbers]
        if not ids:
            return np.zeros(self.count, dtype=np.float32)
        return np.asarray(self._scores.get_scores_from_ids(np.array(ids)), dtype=np.float32)


class WordsWriter:
    """Writes the terms of texts as they come, and their scores at the end.

    folder (Path): Of the new index.
    before (Path | None): Of one whose texts come first.
    """

    def __init__(self, folder: Path, before: Path | None = None) -> None:
        _bm25()  # before hours are spent
        self.folder = folder
        self.numbers = _numbers(before) if before else {}
        ids, ends = _stored(before) if before else (np.zeros(0, np.int32), np.zeros(0, np.int64))
        self.end = len(ids)
        ids.tofile(folder / _IDS)
        ends.tofile(folder / _ENDS)

    def add(self, texts: Iterable[list[str]]) -> None:
        """Append the terms of texts."""
        ids, ends = [], []
        for terms in texts:
            ids += [self.numbers.setdefault(term, len(self.numbers)) for term in terms]
            ends.append(self.end + len(ids))
        self.end += len(ids)
        for name, values, dtype in ((_IDS, ids, np.int32), (_ENDS, ends, np.int64)):
            with (self.folder / name).open("ab") as file:
                np.array(values, dtype=dtype).tofile(file)

    def finish(self) -> None:
        """Write the vocabulary and the scores."""
        text = json.dumps(list(self.numbers), ensure_ascii=False)
        (self.folder / _TERMS).write_text(text, encoding="utf-8")
        if not self.numbers:
            return
        ids, ends = _stored(self.folder)
        texts = [ids[a:b].tolist() for a, b in pairwise([0, *ends.tolist()])]
        scores = _bm25().BM25()
        scores.index((texts, self.numbers), create_empty_token=False, show_progress=False)
        scores.save(str(self.folder / _SCORES), show_progress=False)


def _numbers(folder: Path) -> dict[str, int]:
    terms = json.loads((folder / _TERMS).read_bytes())
    return {term: number for number, term in enumerate(terms)}


def _stored(folder: Path) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The terms' numbers of all texts, and where those of each text end."""
    return (
        np.fromfile(folder / _IDS, dtype=np.int32),
        np.fromfile(folder / _ENDS, dtype=np.int64),
    )


def has_bm25() -> bool:
    """RETURNS (bool): Whether the package for scores is installed."""
    return find_spec("bm25s") is not None


def missing_bm25() -> ImportError:
    """RETURNS (ImportError): J469."""
    return ImportError(Errors.J469.format(package="bm25s", extra="search"))


def _bm25() -> Any:
    """RAISES: ImportError J469 if the package is missing."""
    try:
        import bm25s
    except ImportError as error:
        raise missing_bm25() from error
    return bm25s
