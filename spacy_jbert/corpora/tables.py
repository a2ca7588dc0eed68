"""Records of formats that packages read: Parquet, Excel, and what `datasets` saved to disk."""

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


def read_parquet(path: Path) -> Iterator[Record]:
    """YIELDS (Record): The rows of a Parquet file, read by row groups.

    RAISES: DataError J255 without pyarrow, J209 for a damaged file.
    """
    parquet = _package("pyarrow.parquet", "pretrain", path)
    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            for fields in batch.to_pylist():
                number += 1
                yield number, fields
    except (ValueError, OSError) as error:
        # pyarrow's errors are ValueErrors and OSErrors.
        raise DataError(Errors.J209.format(reason=error), path=path, line=number + 1) from None


def read_excel(path: Path) -> Iterator[Record]:
    """YIELDS (Record): The rows of the first sheet of an .xlsx file, under the first row that isn't
        empty, its header. An empty cell is "".

    RAISES: DataError J255 without openpyxl, J209 for a damaged file, J208 for a cell outside of
        the header's columns.
    """
    openpyxl = _package("openpyxl", "excel", path)
    try:
        sheet = openpyxl.load_workbook(path, read_only=True, data_only=True).worksheets[0]
    except Exception as error:  # zipfile, xml and openpyxl each have their own for damage
        raise DataError(Errors.J209.format(reason=error), path=path) from None
    header: list[str] = []
    for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
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
        for row in rows:
            number += 1
            fields = {name: _named(value, rows.features[name]) for name, value in row.items()}
            yield number, fields if split is None else fields | {"split": split}


def _named(value: Any, feature: Any) -> Any:
    """A value with the names of its classes: of one, or of each in a list."""
    inner = getattr(feature, "feature", None)
    if isinstance(value, list) and inner is not None:
        return [_named(item, inner) for item in value]
    if value is not None and hasattr(feature, "int2str"):
        # Without a label there is -1.
        return feature.int2str(value) if value >= 0 else None
    return value
