"""CSV and TSV to rows of cells, as they are quoted by Excel or not at all."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from ..errors import DataError, Errors
from . import lines
from .lines import Told, kind, read_lines, tell

Quoting = Literal["auto", "csv", "none"]
"""How a table's cells are quoted: as in CSV ("a ""b"" c"), not at all, or as the file shows."""

_QUOTED = re.compile('"(?:[^"]|"")*"')


def read_records(
    path: Path,
    quoting: Quoting,
    delimiter: str | None = None,
    encoding: str | None = None,
    told: Told = None,
) -> Iterator[tuple[int, Any]]:
    header: list[str] = []
    for line, cells in read_table(path, quoting, delimiter, encoding, told):
        if not header:
            # Excel leaves empty rows where a table doesn't begin at the top.
            header = [name.strip() for name in cells] if any(map(str.strip, cells)) else []
            # Columns without a name, as behind a trailing comma, are none.
            names = Counter(name for name in header if name)
            if repeated := [name for name, count in names.items() if count > 1]:
                reason = f"its header names {repeated[0]!r} twice."
                raise DataError(Errors.J209.format(reason=reason), path=path, line=line)
        elif cells and len(cells) != len(header):
            message = Errors.J208.format(found=len(cells), expected=len(header), header=header)
            tell(told, DataError(message, path=path, line=line))
        elif cells:
            yield line, {name: cell for name, cell in zip(header, cells, strict=True) if name}


def read_table(
    path: Path,
    quoting: Quoting = "auto",
    delimiter: str | None = None,
    encoding: str | None = None,
    told: Told = None,
) -> Iterator[tuple[int, list[str]]]:
    """YIELDS (tuple[int, list[str]]): The line in which a row begins, and its cells.

    delimiter (str | None): What stands between them; None finds out.
    told (Callable | None): Told of lines and rows that can't be read.
    RAISES: DataError J209 for quotes that don't end, and what `read_lines` raises.
    """
    csv.field_size_limit(lines.LONGEST_LINE)
    delimiter = delimiter or ("\t" if kind(path) == ".tsv" else _delimiter(path, encoding))
    if quoting == "auto":
        unquoted = delimiter == "\t" and _is_unquoted(path, encoding)
        quoting = "none" if unquoted else "csv"
    numbered = _Numbered(read_lines(path, encoding, told))
    reader = csv.reader(
        numbered,
        delimiter=delimiter,
        strict=True,
        quoting=csv.QUOTE_NONE if quoting == "none" else csv.QUOTE_MINIMAL,
    )
    while True:
        numbered.first = None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fault = DataError(Errors.J209.format(reason=error), path=path, line=numbered.first or 1)
            tell(told, fault)
        else:
            yield numbered.first or 1, cells


class _Numbered:
    """Lines for a reader of rows; `first` is the number of the first one since it was None."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self.lines = lines
        self.first: int | None = None

    def __iter__(self) -> "_Numbered":
        return self

    def __next__(self) -> str:
        number, line = next(self.lines)
        self.first = self.first or number
        return line


def _delimiter(path: Path, encoding: str | None) -> str:
    """What stands between the columns of a CSV file, by its first line: a semicolon where Excel's
    language has commas in numbers."""
    for _, line in read_lines(path, encoding):
        if line.strip(",; \t\r\n"):
            found = {mark: line.count(mark) for mark in (",", ";", "\t")}
            return max(found, key=lambda mark: found[mark])
    return ","


def _is_unquoted(path: Path, encoding: str | None = None) -> bool:
    """Whether quotes are characters like others in a TSV file: each line has all columns, and some
    cell begins with a quote that doesn't end it as CSV would."""
    columns, odd = None, False
    for _, line in read_lines(path, encoding):
        cells = line.rstrip("\r\n").split("\t")
        columns = columns or len(cells)
        if any(cells) and len(cells) != columns:
            return False
        odd = odd or any(cell.startswith('"') and not _QUOTED.fullmatch(cell) for cell in cells)
    return odd
