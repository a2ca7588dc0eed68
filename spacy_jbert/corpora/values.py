"""What a record's values may be: labels, text, the ends of spans, times; and how errors show
them."""

import json
import math
import reprlib
import unicodedata
from base64 import b64encode
from collections import Counter
from datetime import date, datetime, timedelta, timezone
from numbers import Integral
from pathlib import Path
from typing import Any

from ..errors import DataError, Errors, Warnings

Notes = Counter[str]
"""How often each warning (a message with a place for its `count`) was earned."""

JAPAN = timezone(timedelta(hours=9))

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
    label: str = encodable(value[start:end], path, line)
    # Format characters (Cf) can't be seen, but those that join emoji and Indic letters are needed.
    if any(
        unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") and char not in "\u200c\u200d"
        for char in label
    ):
        raise DataError(Errors.J229.format(label=shortened(label)), path=path, line=line)
    notes[Warnings.JW209] += label != value
    return label


def encodable(value: str, path: Path | None, line: int | None) -> str:
    """The same text, if it is text: JSON can hold halves of surrogate pairs."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = Errors.J215.format(value=shortened(value), position=error.start)
        raise DataError(message, path=path, line=line) from None
    return value


def json_line(value: dict[str, Any] | list[Any]) -> bytes:
    """RETURNS (bytes): A value as a line of JSON. What JSON doesn't know (dates, decimals of
    Parquet) is text in it, bytes are in base 64, and what is no number is null. Half a character
    stays the escape that it was.
    """
    try:
        line = json.dumps(value, ensure_ascii=False, default=_as_text, allow_nan=False)
    except ValueError:
        line = json.dumps(_without_nan(value), ensure_ascii=False, default=_as_text)
    return line.encode("utf-8", "backslashreplace") + b"\n"


def _as_text(value: Any) -> str:
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    return [_without_nan(inner) for inner in value] if isinstance(value, list) else value


def seconds_since_1970(when: str | date) -> float:
    """RETURNS (float): A time in ISO 8601, or as tables have it; Japanese time where it doesn't
    say.

    RAISES: ValueError for what is none, or can't be told in Japanese time.
    """
    moment = datetime.fromisoformat(when if isinstance(when, str) else when.isoformat())
    seconds = moment.replace(tzinfo=moment.tzinfo or JAPAN).timestamp()
    try:
        datetime.fromtimestamp(seconds, JAPAN)
    except (OverflowError, OSError) as error:  # the first and the last day there is
        raise ValueError(str(error)) from error
    return seconds


def is_whole(value: Any) -> bool:
    """RETURNS (bool): Whether a value is a whole number, be it Python's or NumPy's."""
    return isinstance(value, Integral)
