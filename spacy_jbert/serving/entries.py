"""What is to be annotated: files of any kind to a stream of entries, always the same one."""

import logging
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from spacy.vocab import Vocab

from ..corpora.docs import read_docbin
from ..corpora.lines import OPENERS, kind, read_lines
from ..corpora.readers import Format, Row, files_in, format_of, read_rows
from ..corpora.tables import count_rows
from ..errors import DataError, Errors, Warnings
from ..pretraining.once import hashes
from ..storage import sha256

logger = logging.getLogger(__name__)

InputFormat = Literal[
    "auto", "text", "jsonl", "json", "csv", "tsv", "parquet", "excel", "datasets", "docbin"
]
"""What a file holds, or "auto" for what its name says; "text": a text a line."""

_KINDS = {".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".xlsx", ".spacy"}
# A file that can't be read at all is told of once, not by each of its lines.
_MOST_IN_A_ROW = 10_000


class Entry(NamedTuple):
    """One text with all that came with it, or why it can't be read.

    file, line: Where it stands: the line on which it starts, or its number where there are none.
    fields: Of the record; `{}` of a Doc.
    doc: A Doc's bytes, where it is one.
    reason: Why it can't be read, else None.
    """

    file: str
    line: int
    fields: dict[str, Any]
    doc: bytes | None = None
    reason: str | None = None

    def row(self) -> Row:
        """RETURNS (Row): The fields with their place, as the readers have it."""
        return Row(self.fields, Path(self.file), self.line)


class Source(NamedTuple):
    """What the entries are read from, and how.

    files: As they were named, in the order in which they are read.
    """

    files: Sequence[Path]
    format: InputFormat = "auto"
    text_field: str = "text"
    encoding: str | None = None

    def entries(self, file: int, number: int) -> Iterator[tuple[int, int, Entry]]:
        """YIELDS (tuple): All entries from the given one on, each behind the position of the next:
        its file and its number in this.
        """
        for i, path in islice(enumerate(self.files), file, None):
            for count, entry in enumerate(_entries(path, self), 1):
                if i > file or count > number:
                    yield i, count, entry


def find_inputs(paths: Sequence[Path], format: InputFormat) -> list[Path]:
    """RETURNS (list[Path]): The files, and those in the folders, sorted.

    RAISES: DataError J201 for what isn't there, J450 for a folder without such files, J452 for a
        pipe.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(Errors.J201, path=path)
        if not path.is_file() and not path.is_dir():
            raise DataError(Errors.J452, path=path)
        if path.is_file() or format == "datasets" or format_of(path) == "datasets":
            files.append(path)
            continue
        found = files_in(path, _KINDS)
        if not found:
            raise DataError(Errors.J450.format(kinds=", ".join(sorted(_KINDS))), path=path)
        files += found
    return files


def identity(path: Path) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): What says that an input is still the same."""
    if path.is_dir():
        return {"file": str(path), "files": hashes(path)}
    return {"file": str(path), "bytes": path.stat().st_size, "sha256": sha256(path)}


def estimated_count(path: Path, source: Source) -> int | None:
    """RETURNS (int | None): About how many entries a file has, for a progress bar; None where only
    reading it would tell.
    """
    try:
        match _format(path, source):
            case "text" | "jsonl" | "csv" | "tsv":
                opener: Callable[..., Any] = OPENERS.get(path.suffix.lower(), open)
                with opener(path, "rb") as file:
                    return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
            case "parquet":
                return count_rows(path)
            case _:
                return None
    except (DataError, OSError, EOFError):  # told when it is read
        return None


def _format(path: Path, source: Source) -> str:
    if source.format != "auto":
        return source.format
    if path.is_file() and kind(path) == ".spacy":
        return "docbin"
    if path.is_file() and kind(path) == ".txt":
        return "text"
    return format_of(path, source.encoding)


def _entries(path: Path, source: Source) -> Iterator[Entry]:
    """What a file holds; what is wrong with it as a whole ends it, and is an entry too.

    RAISES: DataError J255 where a package is missing, J257 for an encoding that there isn't, J261
        where the system fails: none of that is the file's fault.
    """
    faults: deque[DataError] = deque()

    def told(fault: DataError) -> None:
        if len(faults) == _MOST_IN_A_ROW:
            raise DataError(Errors.J451.format(count=_MOST_IN_A_ROW), path=path, line=fault.line)
        faults.append(fault)

    last = 0
    try:
        for entry in _read(path, source, told):
            while faults:
                yield _fault(path, faults.popleft(), last)
            last = entry.line
            yield entry
    except DataError as error:
        if re.search(r"\[J(255|257|261)\]", str(error)):
            raise
        faults.append(error)
        logger.warning(Warnings.JW450.format(path=path, reason=reason_of(error)))
    while faults:
        yield _fault(path, faults.popleft(), last)


def _read(path: Path, source: Source, told: Callable[[DataError], None]) -> Iterator[Entry]:
    file, format = str(path), _format(path, source)
    if format == "docbin":
        for number, doc in enumerate(read_docbin(path, Vocab()), 1):
            yield Entry(file, number, {}, doc.to_bytes())
    elif format == "text":
        for line, text in read_lines(path, source.encoding, told):
            if text.strip():
                yield Entry(file, line, {source.text_field: text.rstrip("\r\n")})
    else:
        known = cast(Format, format)
        for row in read_rows(path, format=known, encoding=source.encoding, told=told, bar=False):
            yield Entry(file, row.line, row.fields)


def _fault(path: Path, error: DataError, last: int) -> Entry:
    line = last + 1 if error.line is None else error.line
    return Entry(str(path), line, {}, reason=reason_of(error))


def reason_of(error: Exception) -> str:
    """A message without the place, which stands beside it."""
    coded = re.search(r"\[[A-Z]+\d+\].*", str(error), re.DOTALL)
    return coded[0] if coded else f"{type(error).__name__}: {error}"
