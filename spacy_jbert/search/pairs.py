"""Pairs of texts for tuning an encoder: with a score for how alike they are, or without one, then
each second text is what was wanted for the first (a click, an answer)."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..corpora.readers import read_rows
from ..corpora.values import shortened
from ..errors import DataError, Errors


class Pair(NamedTuple):
    """Two texts that belong together, or as alike as the score says.

    score: Any scale will do, as long as it is one; None where there is none.
    """

    first: str
    second: str
    score: float | None = None


class Fields(NamedTuple):
    """Where records have the texts, and the score, if it has one there."""

    first: str = "first"
    second: str = "second"
    score: str = "score"


FIELDS = Fields()


def read_pairs(path: Path, fields: Fields = FIELDS, *, encoding: str | None = None) -> list[Pair]:
    """Read pairs from records of any kind that `read_rows` reads: JSONL, CSV, TSV, Parquet.

    RAISES: DataError with file and line: J501 for an empty text, J502 for a score that is no
        number, J503 where some have a score and others none, J504 where there are fewer than two.
    """
    pairs = list(_pairs(path, fields, encoding))
    if len(pairs) < 2:
        raise DataError(Errors.J504.format(count=len(pairs)), path=path)
    return pairs


def _pairs(path: Path, fields: Fields, encoding: str | None) -> Iterator[Pair]:
    scored: bool | None = None
    for row in read_rows(path, encoding=encoding):
        first, second = row.text(fields.first), row.text(fields.second)
        for name, text in zip(fields, (first, second), strict=False):
            if not text.strip():
                raise row.error(Errors.J501.format(field=name))
        score = _score(row.fields.get(fields.score))
        if isinstance(score, str):
            raise row.error(Errors.J502.format(field=fields.score, value=score))
        scored = (score is not None) if scored is None else scored
        if scored != (score is not None):
            raise row.error(Errors.J503.format(field=fields.score))
        yield Pair(first, second, score)


def _score(value: object) -> float | str | None:
    """RETURNS (float | str | None): The number; as text what is none; None where nothing is."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return shortened(value)
    try:
        number = float(value)
    except ValueError:
        return shortened(value)
    return number if math.isfinite(number) else shortened(value)
