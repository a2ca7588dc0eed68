"""Sources and targets from files."""

from pathlib import Path
from typing import NamedTuple

from ..corpora.readers import read_rows
from ..errors import DataError, Errors


class Pair(NamedTuple):
    """A text, and what is to be written for it."""

    source: str
    target: str


def read_pairs(
    path: Path, source_field: str = "source", target_field: str = "target"
) -> list[Pair]:
    """Read pairs from a file of records: CSV and TSV with a header, JSONL, JSON, Parquet, Excel.

    RAISES: DataError with file and line: J556 for an empty text, J557 for a file without pairs, and
        what `read_rows` raises.
    """
    pairs = []
    for row in read_rows(path):
        pair = Pair(row.text(source_field).strip(), row.text(target_field).strip())
        for name, text in zip((source_field, target_field), pair, strict=True):
            if not text:
                raise row.error(Errors.J556.format(field=name))
        pairs.append(pair)
    if not pairs:
        raise DataError(Errors.J557.format(needed="records with a source and a target"), path=path)
    return pairs
