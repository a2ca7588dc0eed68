"""Raw text for pretraining: files to documents, documents to clean sentences, everything that is
dropped counted.
"""

import html
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..corpora.lines import PACKED_OTHERWISE, kind, read_lines, unpacked_name
from ..corpora.readers import Row, read_rows
from ..errors import Errors, Warnings

logger = logging.getLogger(__name__)

_RECORDS = {".jsonl", ".json", ".csv", ".tsv", ".parquet"}
# What wikiextractor calls its files, with or without --json.
_WIKI = re.compile(r"wiki_\d+")
_ARTICLE = re.compile(r'<doc id=".*?title="(.*)">')
_JAPANESE = re.compile(r"[ぁ-ゖァ-ヺｦ-ﾝ々〆㐀-䶿一-鿿豈-﫿\U00020000-\U0003ffff]")
# Control characters, zero-width spaces and byte order marks amid the text.
_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u200b\ufeff]")

# Characters that are cut at a time: Sudachi takes 65,535 bytes after its own normalisation, which
# can make 33 of one character.
_LONGEST = 1900
_SENTENCE = re.compile(
    rf".{{1,{_LONGEST}}}?(?:[。！？]+[」』）】》〉〕］”’]*\s*|$)|.{{1,{_LONGEST}}}"
)
_OPEN, _CLOSE = re.compile("[「『（【《〈〔［“(]"), re.compile("[」』）】》〉〕］”)]")
_CLOSED_LAST = re.compile(r"[」』）】》〉〕］”’]*\s*$")


@dataclass(frozen=True)
class Cleaning:
    """What is done to the lines of a text.

    normalization (str | None): A Unicode form, such as NFKC; None leaves the text as it is.
    min_characters (int): Shorter lines are dropped.
    """

    normalization: str | None = None
    min_characters: int = 10


class Document(NamedTuple):
    """key (int): Of the text as it was read, 64 bits.

    lines (list[list[str]]): The sentences of each line that is left; a line of more than
    1,900 characters is several."""

    key: int
    lines: list[list[str]]


class Seen:
    """Which lines were seen before: a hash table of 64-bit hashes, 12 to 24 bytes a line, where a
    set of Python takes about 100.

    Among 100 million lines the chance that two different ones share their hash, so that one is
    lost, is 0.03 %."""

    def __init__(self) -> None:
        self.count = 0
        self._resize(2**10)

    def _resize(self, size: int) -> None:
        self.table = np.zeros(size, dtype=np.uint64)  # 0: free
        self.slots = memoryview(self.table)  # type: ignore[arg-type]  # gives Python's own numbers, three times as fast

    def add(self, line: str) -> bool:
        """RETURNS (bool): Whether the line is new."""
        value = int.from_bytes(blake2b(line.encode(), digest_size=8).digest(), "little") or 1
        slots, last = self.slots, len(self.slots) - 1
        place = value & last
        while slots[place]:
            if slots[place] == value:
                return False
            place = (place + 1) & last
        slots[place] = value
        self.count += 1
        if self.count > 2 * len(slots) // 3:
            self._grow()
        return True

    def _grow(self) -> None:
        values = self.table[self.table > 0]
        self._resize(2 * len(self.table))
        last = np.uint64(len(self.table) - 1)
        places = values & last
        while len(values):
            free = self.table[places] == 0
            self.table[places[free]] = values[
                free
            ]  # of several that want one place the last gets it
            rest = self.table[places] != values
            values, places = values[rest], (places[rest] + np.uint64(1)) & last


def find_files(paths: str | Sequence[str]) -> list[Path]:
    """List the files to read: those named, and all text and record files in the folders named,
    sorted.

    RAISES: ValueError J101 for a path that doesn't exist, a file that may not be read, or a folder
        without such files.
    """
    files: list[Path] = []
    for path in map(Path, [paths] if isinstance(paths, str) else paths):
        inside = sorted(
            file
            for file in path.rglob("*")
            if file.is_file() and (kind(file) in {".txt", *_RECORDS} or _is_wiki(file))
        )
        found = [path] if path.is_file() else inside
        if packed := [file for file in path.rglob("*") if file.suffix.lower() in PACKED_OTHERWISE]:
            suffixes = ", ".join(sorted({file.suffix for file in packed}))
            message = Warnings.JW213.format(count=len(packed), path=path, suffixes=suffixes)
            logger.warning(message)
        if not found:
            reason = (
                f"The folder holds no .txt, {', '.join(sorted(_RECORDS))} or wiki_00 file."
                if path.is_dir()
                else "There is no such file or folder."
            )
            raise ValueError(Errors.J101.format(path=path, reason=reason))
        for file in found:
            if not os.access(file, os.R_OK):
                raise ValueError(
                    Errors.J101.format(path=file, reason="Permission to read it is denied.")
                )
        files.extend(found)
    if not files:
        raise ValueError(Errors.J101.format(path="", reason="No path is given."))
    return files


def _is_wiki(path: Path) -> bool:
    return _WIKI.fullmatch(unpacked_name(path)) is not None


def read_documents(
    files: Iterable[Path], text_field: str = "text", encoding: str | None = None
) -> Iterator[list[str]]:
    """Read documents, one at a time: records (JSONL, JSON, CSV, Parquet), wikiextractor's articles,
    or plain text.

    text_field (str): The field of a record that holds its text.
    encoding (str | None): As in `read_lines`.
    YIELDS (list[str]): The lines of a document, a sentence or a paragraph each.
    RAISES: DataError for a file that can't be read, ImportError J109 for Parquet without pyarrow.
    """
    for file in files:
        if kind(file) in _RECORDS:
            records = (
                _read_parquet(file, text_field)
                if kind(file) == ".parquet"
                else read_rows(file, encoding=encoding)
            )
            for row in records:
                yield row.text(text_field).splitlines()
        elif _is_wiki(file) and _first_line(file, encoding).startswith("{"):
            for row in read_rows(file, encoding=encoding):
                yield html.unescape(row.text(text_field)).splitlines()
        else:
            yield from _read_plain(file, encoding)


def _first_line(file: Path, encoding: str | None) -> str:
    return next((line for _, line in read_lines(file, encoding) if line.strip()), "").lstrip()


def _read_parquet(file: Path, text_field: str) -> Iterator[Row]:
    try:
        from pyarrow import lib, parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(Errors.J109.format(package="pyarrow")) from error
    try:
        table = parquet.ParquetFile(file)
        if text_field not in table.schema_arrow.names:
            raise Row(dict.fromkeys(table.schema_arrow.names), file, 1).error(
                Errors.J206.format(field=text_field, fields=", ".join(table.schema_arrow.names))
            )
        texts = chain.from_iterable(
            batch[text_field] for batch in table.iter_batches(batch_size=1000, columns=[text_field])
        )
        for number, text in enumerate(texts, 1):
            yield Row({text_field: text.as_py()}, file, number)
    except lib.ArrowException as error:
        raise ValueError(Errors.J101.format(path=file, reason=f"{error}.")) from error


def _read_plain(file: Path, encoding: str | None) -> Iterator[list[str]]:
    """Plain text, in which a blank line or the file's end ends a document; between `<doc …>` and
    `</doc>` only the latter does.
    """
    document: list[str] = []
    title = None
    for _, line in read_lines(file, encoding):
        if article := _ARTICLE.match(line):
            title = html.unescape(article[1])
        elif title is not None and line.rstrip() != "</doc>":
            text = html.unescape(line)
            # The article's first line is its title.
            if text.strip() and (document or text.strip() != title):
                document.append(text)
        elif title is None and line.strip():
            document.append(line)
        else:
            if document:
                yield document
            document, title = [], None
    if document:
        yield document


def clean(
    documents: Iterable[list[str]], cleaning: Cleaning, counts: Counter[str]
) -> Iterator[Document]:
    """Drop lines that are too short, not Japanese, or exact repetitions of an earlier one, and
    documents that have none left.

    counts (Counter[str]): Told what was read and what was dropped.
    YIELDS (Document): The sentences that are left, and the document's key.
    """
    seen = Seen()
    for document in documents:
        counts["documents read"] += 1
        key = blake2b(digest_size=8)
        kept: list[list[str]] = []
        for line in map(str.strip, document):
            if not line:
                continue
            key.update(line.encode())
            counts["lines read"] += 1
            counts["characters read"] += len(line)
            length, line = len(line), printable(line)
            counts["characters dropped: control"] += length - len(line)
            if cleaning.normalization:
                line = unicodedata.normalize(cleaning.normalization, line)  # type: ignore[arg-type]
            line = line.strip()
            if len(line) < cleaning.min_characters:
                counts["lines dropped: short"] += 1
            elif not _JAPANESE.search(line):
                counts["lines dropped: not Japanese"] += 1
            elif not seen.add(line):
                counts["lines dropped: repeated"] += 1
            else:
                counts["characters"] += len(line)
                kept.extend(_lines(split_sentences(line)))
        if kept:
            counts["documents"] += 1
            counts["sentences"] += sum(len(line) for line in kept)
            yield Document(int.from_bytes(key.digest(), "little", signed=True), kept)
        else:
            counts["documents dropped"] += 1


def printable(line: str) -> str:
    """RETURNS (str): The line without control characters, zero-width spaces, byte order marks."""
    return _UNPRINTABLE.sub("", line)


def _lines(sentences: list[str]) -> Iterator[list[str]]:
    line: list[str] = []
    room = _LONGEST
    for sentence in sentences:
        if len(sentence) > room:
            yield line
            line, room = [], _LONGEST
        line.append(sentence)
        room -= len(sentence)
    yield line


def split_sentences(line: str) -> list[str]:
    """Cut a line behind 。！？ that stand outside brackets, with the brackets that close there;
    brackets that never close don't count.

    line (str): A line without white space at its ends.
    RETURNS (list[str]): Sentences of 1,900 characters at most, each with the white space behind it:
        joined, they are the line.
    """
    parts: list[str] = _SENTENCE.findall(line)
    return list(_outside_brackets(parts)) if len(parts) > 1 and _OPEN.search(line) else parts


def _outside_brackets(parts: list[str]) -> Iterator[str]:
    """Join the parts of a line that end within brackets with what follows them."""
    waiting: list[str] = []
    depth = length = 0
    for part in parts:
        if length + len(part) > _LONGEST:
            yield from waiting
            waiting, depth, length = [], 0, 0
        opened = depth + len(_OPEN.findall(part))
        waiting.append(part)
        length += len(part)
        depth = max(opened - len(_CLOSE.findall(part)), 0)
        if opened <= len(_CLOSE.findall(_CLOSED_LAST.sub("", part))):
            yield "".join(waiting)
            waiting, length = [], 0
    if depth:
        yield from waiting
    elif waiting:
        yield "".join(waiting)
