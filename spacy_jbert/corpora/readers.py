"""Files to lines and records. A fault is a DataError that names the file and the line."""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import reprlib
import unicodedata
import zlib
from codecs import (
    BOM_UTF16_BE,
    BOM_UTF16_LE,
    BOM_UTF32_BE,
    BOM_UTF32_LE,
    getincrementaldecoder,
)
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal

from tqdm import tqdm

from ..errors import DataError, Errors, Warnings
from . import tables

OPENERS: dict[str, Any] = {
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
    ".zst": tables.open_zst,
}
# Packed in a way that has to be undone first.
PACKED_OTHERWISE = {".zip", ".7z", ".lz4", ".br", ".lzma", ".rar", ".tar", ".tgz"}
LONGEST_LINE = 30_000_000
"""Bytes that a line, a record of a JSON array or a cell may have: 10 million kana or kanji. A small
packed file can hold a line that fills the memory."""
_PIECE = 1 << 20

Told = Callable[[DataError], None] | None
"""Told of each line or record that can't be read, which is then left out. None: it is raised. What
is wrong with a file as a whole is always raised."""
Notes = Counter[str]
"""How often each warning (a message with a place for its `count`) was earned."""
Quoting = Literal["auto", "csv", "none"]
"""How a table's cells are quoted: as in CSV ("a ""b"" c"), not at all, or as the file shows."""

Shuffle = Literal["stratified", "plain"]
"""How one file is shared out: by labels, or as it comes."""
Format = Literal[
    "auto",
    "jsonl",
    "json",
    "csv",
    "tsv",
    "parquet",
    "excel",
    "datasets",
    "folders",
    "iob",
    "docbin",
    "text",
    "doccano",
    "label-studio",
    "prodigy",
    "brat",
]
"""What a file is, or "auto" for what its name and its first record say."""

_JAPANESE = re.compile("[ぁ-んァ-ヶ一-龠、。]")
_SEEN = re.compile(r"\S")
_JAPANESE_ONLY = re.compile("[ぁ-ヿ一-龠々〇、-〟！-～]+")
_QUOTED = re.compile('"(?:[^"]|"")*"')
_ISO_2022_JP = re.compile(rb"\x1b(?:\$[@B(]|\([IJ])")
_UTF_7 = re.compile(rb"\+[A-Za-z0-9/+]{3,}-?")
# Zero-width characters, which are no white space to Unicode, but as invisible.
_INVISIBLE = "\u200b\u2060\ufeff"

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120
shortened = _short.repr
"""A value as an error shows it, however long or deep it is."""


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave out what can't be seen at the ends of a stretch of text: all that Unicode takes for
    white space (line breaks, U+3000 and U+00A0 too), and zero-width spaces and joiners.

    RETURNS (tuple[int, int]): The new start and end; both are the same if nothing is left.
    """
    while start < end and (text[start].isspace() or text[start] in _INVISIBLE):
        start += 1
    while start < end and (text[end - 1].isspace() or text[end - 1] in _INVISIBLE):
        end -= 1
    return start, end


def read_label(
    value: Any, notes: Notes, *, path: Path | None = None, line: int | None = None
) -> str:
    """Check a label. White space at its ends is left out and counted (JW209).

    value (Any): Text; whole numbers and booleans are taken too.
    notes (Notes): Told of white space. path, line: Where the label is, for errors.
    RETURNS (str): The label.
    RAISES: DataError J214 for what is no text or an empty one, J215 for half a character, J229 for
        control characters.
    """
    if isinstance(value, (bool, int)):
        return str(value)
    start, end = trimmed(value, 0, len(value)) if isinstance(value, str) else (0, 0)
    if start == end:
        raise DataError(Errors.J214.format(label=shortened(value)), path=path, line=line)
    label: str = _encodable(value[start:end], path, line)
    # Format characters (Cf) can't be seen, but those that join emoji and Indic letters are needed.
    if any(
        unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") and char not in "\u200c\u200d"
        for char in label
    ):
        raise DataError(Errors.J229.format(label=shortened(label)), path=path, line=line)
    notes[Warnings.JW209] += label != value
    return label


def _encodable(value: str, path: Path | None, line: int | None) -> str:
    """The same text, if it is text: JSON can hold halves of surrogate pairs."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = Errors.J215.format(value=shortened(value), position=error.start)
        raise DataError(message, path=path, line=line) from None
    return value


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
            raise self.error(
                Errors.J207.format(field=name, expected="text", value=shortened(value))
            )
        return _encodable(value, self.path, self.line)

    def label(self, value: Any, notes: Notes) -> str:
        """A label as text: `read_label`."""
        return read_label(value, notes, path=self.path, line=self.line)


def _names(value: Any, prefix: str = "", depth: int = 9) -> Iterator[str]:
    if depth and isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _names(inner, f"{prefix}{key}.", depth - 1)
    elif depth and isinstance(value, list) and value and isinstance(value[0], dict):
        yield from _names(value[0], f"{prefix}0.", depth - 1)
    else:
        yield prefix.rstrip(".") or '""'


def kind(path: Path) -> str:
    """RETURNS (str): The suffix that tells what a file holds: ".csv" for A.CSV.GZ."""
    return Path(unpacked_name(path)).suffix.lower()


def unpacked_name(path: Path) -> str:
    """RETURNS (str): A file's name without .gz, .xz, .bz2 or .zst."""
    return path.stem if path.suffix.lower() in OPENERS else path.name


def read_lines(
    path: Path, encoding: str | None = None, told: Told = None
) -> Iterator[tuple[int, str]]:
    """Read a text file, plain or packed (.gz, .xz, .bz2, .zst). A byte order mark is removed, line
    ends are kept.

    path (Path): The file.
    encoding (str | None): A name that Python knows; None or "auto": UTF-8, or UTF-16 with a byte
        order mark.
    told (Callable | None): Told of damaged lines and of those that are too long.
    YIELDS (tuple[int, str]): The line's number, from 1, and the line.
    RAISES: DataError J203, J227, J228 for other encodings and damage, J254, J257 for an encoding
        that the file isn't in or that there isn't, J230 for a line that is too
        long, J231 for other ways of packing, J201, J202, J216.
    """
    japanese, utf_7 = False, _Utf7()
    for number, line, too_long in _whole_lines(path, encoding):
        utf_7.add(line)
        if too_long:
            _tell(told, DataError(Errors.J230.format(limit=LONGEST_LINE), path=path, line=number))
            continue
        if encoding in (None, "auto"):
            _check_encoding(line, path, number)
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            fault = _not_utf8(error, japanese, path, number)
            # Another encoding is what the whole file is in.
            _tell(told if "[J228]" in str(fault) else None, fault)
            continue
        yield number, text
        japanese = japanese or not line.isascii()
    if encoding in (None, "auto"):
        utf_7.check(path)


def _tell(told: Told, fault: DataError) -> None:
    if told is None:
        raise fault from None
    told(fault)


def _whole_lines(path: Path, encoding: str | None) -> Iterator[tuple[int, bytes, bool]]:
    """Each line with its number, and whether it is too long: then it is the beginning of one."""
    number, goes_on = 1, False
    for piece in _read_pieces(path, LONGEST_LINE + 1, encoding):
        too_long = len(piece) > LONGEST_LINE
        if not goes_on:
            yield number, piece, too_long
        goes_on = too_long and not piece.endswith((b"\n", b"\r"))
        number += not goes_on


def _read_pieces(path: Path, size: int, encoding: str | None = None) -> Iterator[bytes]:
    """The lines of a file as UTF-8, those of more than `size` bytes in pieces."""
    check_file(path)
    if encoding in (None, "auto"):
        encoding = _marked_encoding(path)
    elif encoding.lower().replace("_", "-") in ("utf-16", "utf16"):
        encoding = _marked_encoding(path) or _unmarked_encoding(path)
    lines = 0
    suffix = path.suffix.lower()
    if suffix in PACKED_OTHERWISE:
        raise DataError(Errors.J231.format(suffix=suffix), path=path)
    try:
        with OPENERS.get(suffix, open)(path, "rb") as file:
            source: IO[bytes] | _Transcoded | _CarriageReturns = file
            if encoding:
                source = _Transcoded(file, encoding, path)
            elif _has_bare_returns(path):
                source = _CarriageReturns(file)
            while piece := source.readline(size):
                lines += piece.endswith(b"\n")
                yield piece
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        # An error of the system has a number, gzip's and bz2's over their data have none.
        if isinstance(error, OSError) and error.errno is not None:
            message = Errors.J261.format(path=path, done="read", reason=error.strerror)
            raise DataError(message) from error
        raise DataError(Errors.J216.format(reason=error), path=path, line=lines + 1) from error
    if not lines and not _has_bytes(path):
        raise DataError(Errors.J202, path=path)


def _marked_encoding(path: Path) -> str | None:
    """UTF-16, if a byte order mark says so. Excel's "Unicode text" begins with one."""
    if path.suffix.lower() in PACKED_OTHERWISE or path.is_dir():
        return None
    with suppress(EOFError, OSError, lzma.LZMAError, zlib.error), _opened(path) as file:
        start = file.read(4)
        if start.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) and start[2:] != b"\0\0":
            return "utf-16"
    return None


def _unmarked_encoding(path: Path) -> str:
    """In which order the bytes of UTF-16 are, where no byte order mark says so: Windows' unless the
    zeros of ASCII come first."""
    with suppress(EOFError, OSError, lzma.LZMAError, zlib.error), _opened(path) as file:
        start = file.read(1 << 16)
        return "utf-16-be" if start[::2].count(0) > start[1::2].count(0) else "utf-16-le"
    return "utf-16-le"


def _has_bare_returns(path: Path) -> bool:
    """Whether lines end with a carriage return alone, as Excel for Mac saves CSV."""
    with suppress(EOFError, OSError, lzma.LZMAError, zlib.error), _opened(path) as file:
        start = file.read(1 << 16)
        return b"\r" in start.rstrip(b"\r") and b"\n" not in start
    return False


class _CarriageReturns:
    """A file whose lines end with a carriage return, read as if they ended with a line feed."""

    def __init__(self, file: IO[bytes]) -> None:
        # Latin-1 keeps every byte.
        self.text = io.TextIOWrapper(file, "latin-1", newline="\r")

    def readline(self, size: int) -> bytes:
        line = self.text.readline(size).encode("latin-1")
        return line[:-1] + b"\n" if line.endswith(b"\r") else line


def _opened(path: Path) -> IO[bytes]:
    opened: IO[bytes] = OPENERS.get(path.suffix.lower(), open)(path, "rb")
    return opened


class _Transcoded:
    """A file in another encoding, read as UTF-8."""

    def __init__(self, file: IO[bytes], encoding: str, path: Path) -> None:
        try:
            codecs.lookup(encoding)
            # Line ends stay as they are.
            self.text = io.TextIOWrapper(file, encoding, newline="")
        except LookupError as error:
            raise DataError(Errors.J257.format(encoding=encoding, reason=error)) from None
        self.encoding, self.path, self.lines = encoding, path, 0

    def readline(self, size: int) -> bytes:
        try:
            line = self.text.readline(size)
        except UnicodeError as error:
            message = Errors.J254.format(encoding=self.encoding, reason=error)
            raise DataError(message, path=self.path, line=self.lines + 1) from None
        self.lines += line.endswith("\n")
        return line.encode("utf-8", "surrogatepass")


def _has_bytes(path: Path) -> bool:
    with OPENERS.get(path.suffix.lower(), open)(path, "rb") as file:
        return bool(file.read(1))


def check_file(path: Path) -> None:
    """Refuse a file that isn't there, or has nothing in it."""
    if not path.exists():
        raise DataError(Errors.J201, path=path)
    if path.is_file() and not path.stat().st_size:
        raise DataError(Errors.J202, path=path)


def _check_encoding(line: bytes, path: Path, number: int) -> None:
    """Refuse encodings that are UTF-8 too, as they do with the bytes of ASCII."""
    guess = None
    if number == 1 and line.count(0) > len(line) / 4:
        guess = guess_encoding(line)
    elif b"\x1b" in line and _ISO_2022_JP.search(line):
        guess = "ISO-2022-JP"
    elif b"+" in line and line.isascii() and _is_utf7(line):
        guess = "UTF-7"
    if guess:
        raise DataError(Errors.J227.format(guess=guess), path=path, line=number)


def _is_utf7(line: bytes) -> bool:
    # Base64 that happens to be Japanese is rare, and with kana in it rarer.
    if not _UTF_7.search(line):
        return False
    text = "".join(part.decode("utf-7", "replace") for part in _UTF_7.findall(line))
    found = len(_JAPANESE.findall(text))
    return found >= 3 and 2 * found > len(text) and bool(re.search("[ぁ-んァ-ヶ]", text))


class _Utf7:
    """Whether a file is UTF-7 as a whole, where no line says so by itself: it is ASCII, and all its
    runs of base64 (+…-) are Japanese."""

    def __init__(self) -> None:
        self.possible, self.characters = True, 0

    def add(self, line: bytes) -> None:
        if not self.possible or b"+" not in line:
            self.possible = self.possible and line.isascii()
            return
        for run in _UTF_7.findall(line):
            text = (run.rstrip(b"-") + b"-").decode("utf-7", "replace")
            self.possible = self.possible and bool(_JAPANESE_ONLY.fullmatch(text))
            self.characters += len(text)

    def check(self, path: Path) -> None:
        # Eight characters of chance would be one in some thousand files.
        if self.possible and self.characters >= 8:
            raise DataError(Errors.J227.format(guess="UTF-7"), path=path, line=1)


def _not_utf8(error: UnicodeDecodeError, japanese: bool, path: Path, number: int) -> DataError:
    """Bytes that aren't UTF-8 amid or behind UTF-8 are damage, else they are another encoding."""
    data = error.object
    rest = data.decode("utf-8", "replace")
    cut = error.end == len(data) and error.reason == "unexpected end of data"
    if japanese or cut or len(_JAPANESE.findall(rest)) > rest.count("\ufffd"):
        message = Errors.J228.format(byte=f"0x{data[error.start]:02x}", position=error.start)
    else:
        message = Errors.J203.format(
            byte=f"0x{data[error.start]:02x}", position=error.start, guess=guess_encoding(data)
        )
    return DataError(message, path=path, line=number)


def guess_encoding(data: bytes) -> str:
    """Which of the usual encodings of Japanese these bytes are in, given that they aren't UTF-8."""
    if data.startswith((BOM_UTF32_LE, BOM_UTF32_BE)) or 2 * data.count(0) > len(data) + 1:
        return "UTF-32"
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "UTF-16"
    even, odd = data[::2].count(0), data[1::2].count(0)
    if even + odd > 1 and max(even, odd) > 3 * min(even, odd):
        return "UTF-16LE" if odd > even else "UTF-16BE"

    def plausible(encoding: str) -> int:
        text = data.decode(encoding, "replace")
        # Either one, read as the other, turns into half-width katakana and undecodable bytes.
        return len(_JAPANESE.findall(text)) - len(re.findall("[ｦ-ﾟ\ufffd]", text))

    return max(("CP932", "EUC-JP"), key=plausible)


def read_rows(
    path: Path,
    *,
    format: Format = "auto",
    quoting: Quoting = "auto",
    encoding: str | None = None,
    sheet: int = 1,
    told: Told = None,
    bar: bool = True,
) -> Iterator[Row]:
    """Read records: .csv and .tsv with a header, a .json array of objects, .parquet, .xlsx, what
    `datasets` saved to disk, a folder of texts (a folder a label), or else JSONL; text packed
    (.gz, .xz, .bz2, .zst) or not.

    path (Path): The file or folder.
    format (str): What it is, if its name doesn't say so.
    quoting (str): How a table's cells are quoted.
    encoding (str | None): Of text, as in `read_lines`.
    sheet (int): Which sheet of an Excel file, from 1.
    told (Callable | None): Told of lines of JSONL, CSV and TSV, and of records, that can't be read.
    bar (bool): Show how many have been read.
    YIELDS (Row): The records, blank lines left out.
    RAISES: DataError with file and line, J255 if the package that reads a format is missing.
    """
    match format if format != "auto" else format_of(path, encoding):
        case "csv" | "tsv" as table:
            mark = "\t" if table == "tsv" else None
            records = _read_table(path, quoting, mark, encoding, told)
        case "json":
            records = _read_array(path, encoding)
        case "parquet":
            records = tables.read_parquet(path)
        case "excel":
            records = tables.read_excel(path, sheet)
        case "datasets":
            records = tables.read_dataset(path)
        case "folders":
            records = read_folder(path, encoding)
        case _:
            records = _read_jsonl(path, encoding, told)
    shown = None if bar else True
    for line, fields in tqdm(records, desc=path.name, unit=" rows", delay=2, disable=shown):
        if isinstance(fields, dict):
            yield Row(fields, path, line)
        else:
            message = Errors.J205.format(kind=type(fields).__name__)
            _tell(told, DataError(message, path=path, line=line))


def format_of(path: Path, encoding: str | None = None) -> str:
    """RETURNS (str): What a file or folder is by its name, or else by how it begins: a value of
    Format other than auto.
    """
    if path.is_dir():
        saved = ("dataset_info.json", "dataset_dict.json", "state.json")
        return "datasets" if any((path / name).is_file() for name in saved) else "folders"
    names = {
        ".csv": "csv",
        ".tsv": "tsv",
        ".json": "json",
        ".parquet": "parquet",
        ".xlsx": "excel",
        ".xlsm": "excel",
        ".jsonl": "jsonl",
        ".ndjson": "jsonl",
    }
    if (named := names.get(kind(path))) is not None:
        return named
    lines = (line.strip() for _, line in read_lines(path, encoding))
    return "json" if next(filter(None, lines), "{").startswith(("{", "[")) else "csv"


def read_folder(path: Path, encoding: str | None = None) -> Iterator[tuple[int, Any]]:
    """Read a folder of .txt files, one text each: the folder that a file lies in is its label.

    YIELDS (tuple): The number of the file, and its fields: text, label (in the folder itself:
        none), file.
    """
    files = sorted(file for file in path.rglob("*") if kind(file) == ".txt")
    if not files:
        raise DataError(Errors.J258, path=path)
    for number, file in enumerate(files, 1):
        text = "".join(line for _, line in read_lines(file, encoding)) if _size(file) else ""
        fields = {"text": text.rstrip("\r\n"), "file": str(file.relative_to(path))}
        if file.parent != path:
            fields["label"] = file.parent.name
        yield number, fields


def _size(path: Path) -> int:
    return path.stat().st_size


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        (name, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"an object names {shortened(name)} twice")
    return fields


_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_unique)


def _read_jsonl(
    path: Path, encoding: str | None = None, told: Told = None
) -> Iterator[tuple[int, Any]]:
    for number, line in read_lines(path, encoding, told):
        if line.strip():
            try:
                fields = _DECODER.decode(line)
            except (ValueError, RecursionError) as error:
                fault = DataError(Errors.J204.format(reason=error), path=path, line=number)
                _tell(told, fault)
            else:
                yield number, fields


def _read_array(path: Path, encoding: str | None = None) -> Iterator[tuple[int, Any]]:
    array = _Text(path, encoding)
    if array.next() != "[":
        yield from _read_jsonl(path, encoding)
        return
    array.advance(1)
    try:
        if array.next() != "]":
            yield array.element()
            while (mark := array.next()) == ",":
                array.advance(1)
                array.next()
                yield array.element()
            if mark != "]":
                raise json.JSONDecodeError("Expecting ',' or ']'", array.text, array.position)
        array.advance(1)
        line = array.line
        if array.next():
            raise DataError(Errors.J204.format(reason="Extra data"), path=path, line=line)
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        line = array.line_of(getattr(error, "pos", array.position))
        raise DataError(Errors.J204.format(reason=error), path=path, line=line) from None


def _is_longer(text: str, start: int, end: int) -> bool:
    """Whether a stretch has more bytes than a line may have: up to four a character."""
    if end - start <= LONGEST_LINE // 4:
        return False
    return len(text[start:end].encode("utf-8", "surrogatepass")) > LONGEST_LINE


class _Text:
    """A JSON file of which only the part that is being read is in memory."""

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.path, self.pieces = path, _read_text(path, encoding)
        self.text, self.position, self.line = "", 0, 1

    def more(self) -> bool:
        """Read on, twice as far each time, as what is not complete is parsed again."""
        self.text, self.position = self.text[self.position :], 0
        wanted, pieces = max(len(self.text), _PIECE), list[str]()
        while wanted > 0 and (piece := next(self.pieces, None)) is not None:
            pieces.append(piece)
            wanted -= len(piece)
        self.text += "".join(pieces)
        return bool(pieces)

    def advance(self, count: int) -> None:
        self.line = self.line_of(self.position + count)
        self.position += count

    def line_of(self, position: int) -> int:
        return self.line + self.text.count("\n", self.position, position)

    def next(self) -> str:
        """Step over white space.

        RETURNS (str): The character behind it, "" at the end.
        """
        while True:
            seen = _SEEN.search(self.text, self.position)
            end = seen.start() if seen else len(self.text)
            self.advance(end - self.position)
            if self.position < len(self.text) or not self.more():
                return self.text[self.position : self.position + 1]

    def element(self) -> tuple[int, Any]:
        """The value that starts here, and its line."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.position)
            except json.JSONDecodeError:
                if _is_longer(self.text, self.position, len(self.text)):
                    message = Errors.J230.format(limit=LONGEST_LINE)
                    raise DataError(message, path=self.path, line=self.line) from None
                if not self.more():
                    raise
            else:
                if _is_longer(self.text, self.position, end):
                    message = Errors.J230.format(limit=LONGEST_LINE)
                    raise DataError(message, path=self.path, line=self.line)
                # A number can go on.
                if end < len(self.text) or not self.more():
                    line = self.line
                    self.advance(end - self.position)
                    return line, value


def _read_text(path: Path, encoding: str | None = None) -> Iterator[str]:
    """The text of a file in pieces, as a JSON array may stand on one line."""
    decoder, number, japanese = getincrementaldecoder("utf-8-sig")(), 1, False
    utf_7 = _Utf7()
    for piece in chain(_read_pieces(path, _PIECE, encoding), [b""]):
        utf_7.add(piece)
        if encoding in (None, "auto"):
            _check_encoding(piece, path, number)
        try:
            yield decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise _not_utf8(error, japanese, path, number) from None
        japanese = japanese or not piece.isascii()
        number += piece.endswith(b"\n")
    if encoding in (None, "auto"):
        utf_7.check(path)


def _read_table(
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
            _tell(told, DataError(message, path=path, line=line))
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
    csv.field_size_limit(LONGEST_LINE)
    delimiter = delimiter or ("\t" if kind(path) == ".tsv" else _delimiter(path, encoding))
    if quoting == "auto":
        unquoted = delimiter == "\t" and _is_unquoted(path, encoding)
        quoting = "none" if unquoted else "csv"
    lines = _Numbered(read_lines(path, encoding, told))
    reader = csv.reader(
        lines,
        delimiter=delimiter,
        strict=True,
        quoting=csv.QUOTE_NONE if quoting == "none" else csv.QUOTE_MINIMAL,
    )
    while True:
        lines.first = None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fault = DataError(Errors.J209.format(reason=error), path=path, line=lines.first or 1)
            _tell(told, fault)
        else:
            yield lines.first or 1, cells


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
