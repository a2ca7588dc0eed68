"""Text files, plain or packed, to lines. A fault is a DataError with the file and the line."""

import bz2
import gzip
import lzma
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO, Any

from ..errors import DataError, Errors
from . import tables
from .encodings import CarriageReturns, Transcoded, Utf7, check_encoding, not_utf8

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

PIECE = 1 << 20

Told = Callable[[DataError], None] | None
"""Told of each line or record that can't be read, which is then left out. None: it is raised. What
is wrong with a file as a whole is always raised."""


def kind(path: Path) -> str:
    """RETURNS (str): The suffix that tells what a file holds: ".csv" for A.CSV.GZ."""
    return Path(unpacked_name(path)).suffix.lower()


def unpacked_name(path: Path) -> str:
    """RETURNS (str): A file's name without .gz, .xz, .bz2 or .zst."""
    return path.stem if path.suffix.lower() in OPENERS else path.name


def check_file(path: Path) -> None:
    """Refuse a file that isn't there, or has nothing in it."""
    if not path.exists():
        raise DataError(Errors.J201, path=path)
    if path.is_file() and not path.stat().st_size:
        raise DataError(Errors.J202, path=path)


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
    japanese, utf_7 = False, Utf7()
    for number, line, too_long in _whole_lines(path, encoding):
        utf_7.add(line)
        if too_long:
            tell(told, DataError(Errors.J230.format(limit=LONGEST_LINE), path=path, line=number))
            continue
        if encoding in (None, "auto"):
            check_encoding(line, path, number)
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            fault = not_utf8(error, japanese, path, number)
            # Another encoding is what the whole file is in.
            tell(told if "[J228]" in str(fault) else None, fault)
            continue
        yield number, text
        japanese = japanese or not line.isascii()
    if encoding in (None, "auto"):
        utf_7.check(path)


def tell(told: Told, fault: DataError) -> None:
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


def read_text(path: Path, encoding: str | None = None) -> Iterator[str]:
    """The text of a file in pieces, as a JSON array may stand on one line."""
    decoder, number, japanese = getincrementaldecoder("utf-8-sig")(), 1, False
    utf_7 = Utf7()
    for piece in chain(_read_pieces(path, PIECE, encoding), [b""]):
        utf_7.add(piece)
        if encoding in (None, "auto"):
            check_encoding(piece, path, number)
        try:
            yield decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise not_utf8(error, japanese, path, number) from None
        japanese = japanese or not piece.isascii()
        number += piece.endswith(b"\n")
    if encoding in (None, "auto"):
        utf_7.check(path)


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
            source: IO[bytes] | Transcoded | CarriageReturns = file
            if encoding:
                source = Transcoded(file, encoding, path)
            elif _has_bare_returns(path):
                source = CarriageReturns(file)
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


def _opened(path: Path) -> IO[bytes]:
    opened: IO[bytes] = OPENERS.get(path.suffix.lower(), open)(path, "rb")
    return opened


def _has_bytes(path: Path) -> bool:
    with OPENERS.get(path.suffix.lower(), open)(path, "rb") as file:
        return bool(file.read(1))
