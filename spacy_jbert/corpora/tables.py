"""What packages read: records of Parquet, Excel and what `datasets` saved to disk; Zstandard."""

import io
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import DataError, Errors

Record = tuple[int, dict[str, Any]]
"""The number of a row, from 1 (in Excel that of the sheet), and its fields."""


def _package(name: str, extra: str, path: Path) -> ModuleType:
    """Import what a format needs. RAISES: DataError J255."""
    try:
        return import_module(name)
    except ImportError:
        message = Errors.J255.format(package=name.partition(".")[0], extra=extra)
        raise DataError(message, path=path) from None


def open_zst(path: Path, mode: str = "rb") -> io.BufferedReader:
    """RETURNS (BufferedReader): What a .zst file holds.

    RAISES: DataError J255 without pyarrow; OSError.
    """
    pyarrow = _package("pyarrow", "pretrain", path)
    return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd"))


def read_parquet(path: Path) -> Iterator[Record]:
    """YIELDS (Record): The rows of a Parquet file, read by row groups.

    RAISES: DataError J255 without pyarrow, J209 for a damaged file.
    """
    parquet = _package("pyarrow.parquet", "pretrain", path)
    number = 0
    try:
        table = parquet.ParquetFile(path)
        features = _features(table.schema_arrow.metadata or {})
        for batch in table.iter_batches():
            for fields in batch.to_pylist():
                number += 1
                yield (
                    number,
                    {name: _named(value, features.get(name)) for name, value in fields.items()},
                )
    except (ValueError, OSError) as error:
        # pyarrow's errors are ValueErrors and OSErrors.
        raise DataError(Errors.J209.format(reason=error), path=path, line=number + 1) from None


def count_rows(path: Path) -> int:
    """RETURNS (int): How many rows a Parquet file says that it has.

    RAISES: DataError J255, J209.
    """
    parquet = _package("pyarrow.parquet", "pretrain", path)
    try:
        return int(parquet.read_metadata(path).num_rows)
    except (ValueError, OSError) as error:
        raise DataError(Errors.J209.format(reason=error), path=path) from None


def read_excel(path: Path, sheet: int = 1) -> Iterator[Record]:
    """YIELDS (Record): The rows of a sheet of an .xlsx file, under the first row that isn't empty,
        its header. An empty cell is "".

    RAISES: DataError J255 without openpyxl, J209 for a damaged file, J208 for a cell outside of
        the header's columns.
    """
    openpyxl = _package("openpyxl", "excel", path)
    try:
        sheets = openpyxl.load_workbook(path, read_only=True, data_only=True).worksheets
    except Exception as error:  # zipfile, xml and openpyxl each have their own for damage
        raise DataError(Errors.J209.format(reason=error), path=path) from None
    if not 1 <= sheet <= len(sheets):
        reason = f"it has {len(sheets)} sheets, and no sheet {sheet}."
        raise DataError(Errors.J209.format(reason=reason), path=path)
    header: list[str] = []
    for number, cells in enumerate(sheets[sheet - 1].iter_rows(values_only=True), 1):
        values = [_text(cell) for cell in cells]
        if not any(values):
            continue
        if not header:
            header = values
            # A sheet is as wide as its widest row.
            while not header[-1]:
                header.pop()
            names = [name for name in header if name]
            if repeated := [name for name in names if names.count(name) > 1]:
                reason = f"its header names {repeated[0]!r} twice."
                raise DataError(Errors.J209.format(reason=reason), path=path, line=number)
            continue
        if any(values[len(header) :]):
            message = Errors.J208.format(found=len(values), expected=len(header), header=header)
            raise DataError(message, path=path, line=number)
        values += [""] * (len(header) - len(values))
        yield number, {name: value for name, value in zip(header, values, strict=False) if name}


def _text(cell: Any) -> str:
    """A cell as Excel shows it: 1, not 1.0."""
    if cell is None:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def has_splits(path: Path) -> bool:
    """Whether a folder that `datasets` saved holds several splits, with names that are known."""
    try:
        names = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
    except (OSError, KeyError, TypeError, ValueError):
        return False
    known = {"train", "dev", "valid", "validation", "val", "test"}
    return len(names) > 1 and "train" in names and known.issuperset(names)


def read_dataset(path: Path) -> Iterator[Record]:
    """Read a folder that `datasets` saved with save_to_disk. Ids of a ClassLabel become its names.

    YIELDS (Record): The rows; where the folder holds several splits, a field `split` names them.
    RAISES: DataError J255 without datasets, J209 for a damaged folder.
    """
    datasets = _package("datasets", "pretrain", path)
    try:
        loaded = datasets.load_from_disk(str(path))
    except Exception as error:  # pyarrow and json each have their own for damage
        raise DataError(Errors.J209.format(reason=error), path=path) from None
    splits = loaded.items() if isinstance(loaded, dict) else [(None, loaded)]
    number = 0
    for split, rows in splits:
        features = rows.features.to_dict()
        for row in rows:
            number += 1
            fields = {name: _named(value, features.get(name)) for name, value in row.items()}
            yield number, fields if split is None else fields | {"split": split}


def _features(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """What `datasets` says of the columns of a Parquet file that it wrote."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}


def _named(value: Any, feature: Any) -> Any:
    """A value with the names of its classes, however deep these are.

    feature (Any): As `datasets` writes it: {"names": [...], "_type": "ClassLabel"}, or what holds
        such: a list, or an object by field.
    """
    if isinstance(feature, list):
        feature = {"feature": feature[0]} if feature else None
    if not isinstance(feature, dict):
        return value
    if feature.get("_type") == "ClassLabel":
        names = feature.get("names") or []
        # Without a label there is -1.
        return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
    if isinstance(value, list):
        return [_named(item, feature.get("feature")) for item in value]
    if isinstance(value, dict):
        # A sequence of objects is kept as an object of lists.
        inner = feature.get("feature")
        fields = inner if isinstance(inner, dict) and "_type" not in inner else feature
        listed = fields is inner
        return {
            name: _named(item, {"feature": fields.get(name)} if listed else fields.get(name))
            for name, item in value.items()
        }
    return value
