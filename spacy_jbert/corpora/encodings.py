"""Which encoding bytes are in, and text in other encodings than UTF-8."""

import codecs
import io
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE
from pathlib import Path
from typing import IO

from ..errors import DataError, Errors

_JAPANESE = re.compile("[ぁ-んァ-ヶ一-龠、。]")
_JAPANESE_ONLY = re.compile("[ぁ-ヿ一-龠々〇、-〟！-～]+")
_ISO_2022_JP = re.compile(rb"\x1b(?:\$[@B(]|\([IJ])")
_UTF_7 = re.compile(rb"\+[A-Za-z0-9/+]{3,}-?")


def check_encoding(line: bytes, path: Path, number: int) -> None:
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


def not_utf8(error: UnicodeDecodeError, japanese: bool, path: Path, number: int) -> DataError:
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


class Utf7:
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


def _is_utf7(line: bytes) -> bool:
    # Base64 that happens to be Japanese is rare, and with kana in it rarer.
    if not _UTF_7.search(line):
        return False
    text = "".join(part.decode("utf-7", "replace") for part in _UTF_7.findall(line))
    found = len(_JAPANESE.findall(text))
    return found >= 3 and 2 * found > len(text) and bool(re.search("[ぁ-んァ-ヶ]", text))


class Transcoded:
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


class CarriageReturns:
    """A file whose lines end with a carriage return, read as if they ended with a line feed."""

    def __init__(self, file: IO[bytes]) -> None:
        # Latin-1 keeps every byte.
        self.text = io.TextIOWrapper(file, "latin-1", newline="\r")

    def readline(self, size: int) -> bytes:
        line = self.text.readline(size).encode("latin-1")
        return line[:-1] + b"\n" if line.endswith(b"\r") else line
