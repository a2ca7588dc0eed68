"""Files to lines and records. A fault is a DataError that names the file and the line."""

import csv
import gzip
import json
import lzma
import re
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import DataError, Errors

OPENERS: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}


@dataclass(frozen=True)
class Row:
    """One record of a file: its fields, and where it starts."""

    fields: dict[str, Any]
    path: Path
    line: int

    def error(self, message: str) -> DataError:
        """The error to raise over this record."""
        return DataError(message, path=self.path, line=self.line)

    def get(self, name: str) -> Any:
        """The value of a field; dots go down into objects and lists: "utterances.0.text"."""
        if name in self.fields:
            return self.fields[name]
        value: Any = self.fields
        for key in name.split("."):
            try:
                value = value[int(key)] if isinstance(value, list) else value[key]
            except (KeyError, IndexError, TypeError, ValueError):
                raise self.error(
                    Errors.J206.format(field=name, fields=", ".join(_names(self.fields)))
                ) from None
        return value

    def text(self, name: str) -> str:
        """The value of a field that has to hold text, untouched."""
        value = self.get(name)
        if not isinstance(value, str):
            raise self.error(Errors.J207.format(field=name, expected="text", value=value))
        return self.encodable(value)

    def label(self, value: Any) -> str:
        """A label as text: whole numbers and booleans are taken too."""
        if isinstance(value, (bool, int)):
            return str(value)
        if not isinstance(value, str) or not value.strip():
            raise self.error(Errors.J214.format(label=value))
        return self.encodable(value)

    def encodable(self, value: str) -> str:
        """The same text, if it is text: JSON can hold halves of surrogate pairs."""
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self.error(Errors.J215.format(value=value, position=error.start)) from None
        return value


def _names(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _names(inner, f"{prefix}{key}.")
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from _names(value[0], f"{prefix}0.")
    else:
        yield prefix.rstrip(".") or '""'


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read a UTF-8 text file, plain or packed (.gz, .xz). A byte order mark is removed, line ends
    are kept.

    path (Path): The file.
    YIELDS (tuple[int, str]): The line's number, from 1, and the line.
    """
    check_file(path)
    number = 0
    try:
        with OPENERS.get(path.suffix, open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                yield number, _decode(line, path, number)
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise DataError(Errors.J216.format(reason=error), path=path, line=number + 1) from error
    if not number:
        raise DataError(Errors.J202, path=path)


def check_file(path: Path) -> None:
    """Refuse a file that isn't there, or has nothing in it."""
    if not path.exists():
        raise DataError(Errors.J201, path=path)
    if path.is_file() and not path.stat().st_size:
        raise DataError(Errors.J202, path=path)


def _decode(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte, guess = f"0x{error.object[error.start]:02x}", guess_encoding(line)
        raise DataError(
            Errors.J203.format(byte=byte, position=error.start, guess=guess), path=path, line=number
        ) from None


def guess_encoding(data: bytes) -> str:
    """Which of the usual encodings of Japanese these bytes are in, given that they aren't UTF-8."""
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "UTF-16"

    def plausible(encoding: str) -> int:
        text = data.decode(encoding, "replace")
        # Either one, read as the other, turns into half-width katakana and undecodable bytes.
        return len(re.findall("[ぁ-んァ-ヶ一-龠、。]", text)) - len(re.findall("[ｦ-ﾟ\ufffd]", text))

    return max(("CP932", "EUC-JP"), key=plausible)


def read_rows(path: Path) -> Iterator[Row]:
    """Read records: .csv and .tsv with a header, a .json array of objects, or else JSONL; packed
    (.gz, .xz) or not.

    path (Path): The file.
    YIELDS (Row): The records, blank lines left out.
    """
    kind = Path(path.stem if path.suffix in OPENERS else path).suffix.lower()
    records = {".csv": _read_table, ".tsv": _read_table, ".json": _read_array}.get(
        kind, _read_jsonl
    )(path)
    for line, fields in tqdm(records, desc=path.name, unit=" rows", delay=2, disable=None):
        if not isinstance(fields, dict):
            raise DataError(Errors.J205.format(kind=type(fields).__name__), path=path, line=line)
        yield Row(fields, path, line)


def _read_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in read_lines(path):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise DataError(Errors.J204.format(reason=error), path=path, line=number) from None


def _read_array(path: Path) -> Iterator[tuple[int, Any]]:
    text = "".join(line for _, line in read_lines(path))
    if not text.lstrip().startswith("["):
        yield from _read_jsonl(path)
        return
    # One element after the other, where json.loads would not tell their lines.
    decoder, line, counted = json.JSONDecoder(), 1, 0
    position = _past_space(text, text.index("[") + 1)
    try:
        while text[position : position + 1] != "]":
            value, end = decoder.raw_decode(text, position)
            line += text.count("\n", counted, position)
            counted = position
            yield line, value
            position = _past_space(text, end)
            if text[position : position + 1] == ",":
                position = _past_space(text, position + 1)
            elif text[position : position + 1] != "]":
                raise json.JSONDecodeError("Expecting ',' or ']'", text, position)
        if text[position + 1 :].strip():
            raise json.JSONDecodeError("Extra data", text, position + 1)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(
            Errors.J204.format(reason=error), path=path, line=getattr(error, "lineno", line)
        ) from None


def _past_space(text: str, position: int) -> int:
    while text[position : position + 1].isspace():
        position += 1
    return position


def _read_table(path: Path) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(2**31 - 1)
    delimiter = "\t" if ".tsv" in path.name.lower() else ","
    reader, line = (
        csv.reader((line for _, line in read_lines(path)), delimiter=delimiter, strict=True),
        1,
    )
    try:
        header = next(reader, [])
        if repeated := [name for name, count in Counter(header).items() if count > 1]:
            raise DataError(
                Errors.J209.format(reason=f"its header names {repeated[0]!r} twice."),
                path=path,
                line=1,
            )
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                raise DataError(
                    Errors.J208.format(found=len(cells), expected=len(header), header=header),
                    path=path,
                    line=line,
                )
            if cells:
                yield line, dict(zip(header, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(Errors.J209.format(reason=error), path=path, line=line) from None
