"""JSON lines and JSON arrays to objects, one at a time."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import DataError, Errors
from . import lines
from .lines import Told, tell
from .values import shortened

_SEEN = re.compile(r"\S")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is larger than any number that can be computed with")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        (name, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"an object names {shortened(name)} twice")
    return fields


_DECODER = json.JSONDecoder(
    parse_float=_finite, parse_constant=_no_constant, object_pairs_hook=_unique
)


def decode(text: str) -> Any:
    """RETURNS: What a whole JSON file says. RAISES: ValueError, RecursionError."""
    return _DECODER.decode(text)


def read_jsonl(
    path: Path, encoding: str | None = None, told: Told = None
) -> Iterator[tuple[int, Any]]:
    for number, line in lines.read_lines(path, encoding, told):
        if line.strip():
            try:
                fields = _DECODER.decode(line)
            except (ValueError, RecursionError) as error:
                fault = DataError(Errors.J204.format(reason=error), path=path, line=number)
                tell(told, fault)
            else:
                yield number, fields


def read_array(path: Path, encoding: str | None = None) -> Iterator[tuple[int, Any]]:
    array = _Text(path, encoding)
    if array.next() != "[":
        yield from read_jsonl(path, encoding)
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


class _Text:
    """A JSON file of which only the part that is being read is in memory."""

    def __init__(self, path: Path, encoding: str | None = None) -> None:
        self.path, self.pieces = path, lines.read_text(path, encoding)
        self.text, self.position, self.line = "", 0, 1

    def more(self) -> bool:
        """Read on, twice as far each time, as what is not complete is parsed again."""
        self.text, self.position = self.text[self.position :], 0
        wanted, pieces = max(len(self.text), lines.PIECE), list[str]()
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
                    message = Errors.J230.format(limit=lines.LONGEST_LINE)
                    raise DataError(message, path=self.path, line=self.line) from None
                if not self.more():
                    raise
            else:
                if _is_longer(self.text, self.position, end):
                    message = Errors.J230.format(limit=lines.LONGEST_LINE)
                    raise DataError(message, path=self.path, line=self.line)
                # A number can go on.
                if end < len(self.text) or not self.more():
                    line = self.line
                    self.advance(end - self.position)
                    return line, value


def _is_longer(text: str, start: int, end: int) -> bool:
    """Whether a stretch has more bytes than a line may have: up to four a character."""
    if end - start <= lines.LONGEST_LINE // 4:
        return False
    return len(text[start:end].encode("utf-8", "surrogatepass")) > lines.LONGEST_LINE
