"""Shards: files of so many annotated documents, each whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from spacy.tokens import DocBin

from ..corpora.values import json_line
from ..errors import Errors
from ..storage import replacing, sha256

OutputFormat = Literal["jsonl", "parquet", "spacy"]
OTHERS = "other_fields"
"""The Parquet column for what doesn't fit the others, as JSON."""

Part = bytes | list[dict[str, Any]]
"""Some documents of a shard: lines of JSON, or a DocBin, or, for Parquet, their fields."""


class Writer(Protocol):
    """Takes the parts of one shard, in order."""

    def add(self, part: Part) -> None:
        """Take the next part."""

    def close(self) -> None:
        """Write what isn't written yet."""


@contextmanager
def writing(path: Path, columns: "Columns | None") -> Iterator[Writer]:
    """A writer for a shard. Its file has its name, and is on the disk, once all went well.

    path (Path): The shard; its suffix says in which format.
    columns (Columns | None): Of all shards, for Parquet.
    """
    with replacing(path) as (part,):
        writer: Writer
        if columns is not None:
            writer = _Parquet(part, columns)
        elif path.suffix == ".spacy":
            writer = _Docs(part)
        else:
            writer = _Lines(part)
        yield writer
        writer.close()
        with part.open("rb") as file:
            os.fsync(file.fileno())


class _Lines:
    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")

    def add(self, part: Part) -> None:
        assert isinstance(part, bytes)
        self.file.write(part)

    def close(self) -> None:
        self.file.close()


class _Docs:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.docs = DocBin(store_user_data=True)

    def add(self, part: Part) -> None:
        assert isinstance(part, bytes)
        self.docs.merge(DocBin(store_user_data=True).from_bytes(part))

    def close(self) -> None:
        self.path.write_bytes(self.docs.to_bytes())


class _Parquet:
    def __init__(self, path: Path, columns: "Columns") -> None:
        self.path, self.columns = path, columns
        self.writer: Any = None

    def add(self, part: Part) -> None:
        assert isinstance(part, list)
        # The columns are those of the first documents, which may be in a later part.
        if part:
            self._write(part)

    def close(self) -> None:
        if self.writer is None:
            self._write([])
        self.writer.close()

    def _write(self, documents: list[dict[str, Any]]) -> None:
        table = self.columns.table(documents)
        self.writer = self.writer or self.columns.writer(self.path, table.schema)
        self.writer.write_table(table)


class Columns:
    """The columns of all Parquet shards: the fields of the first documents, with the types that
    their values have, and the annotation. What comes later and doesn't fit is in OTHERS.

    kinds: Of annotation. prefix: Before their names.
    """

    def __init__(self, kinds: list[str], prefix: str) -> None:
        self.arrow, self.parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
        self.annotation = {f"{prefix}{name}": self._type_of(name) for name in kinds}
        self.fields: dict[str, Any] | None = None

    def read(self, shard: Path) -> None:
        """Take the columns of a shard that is there. One without documents doesn't tell."""
        schema = self.parquet.read_schema(shard)
        names = [name for name in schema.names if name not in {*self.annotation, OTHERS}]
        if self.fields is None and names:
            self.fields = {name: schema.field(name).type for name in names}

    def writer(self, path: Path | BytesIO, schema: Any) -> Any:
        """RETURNS (ParquetWriter): For one shard."""
        return self.parquet.ParquetWriter(path, schema, compression="zstd")

    def table(self, documents: list[dict[str, Any]]) -> Any:
        """RETURNS (Table): Documents as rows."""
        arrow = self.arrow
        if self.fields is None and documents:
            self.fields = self._infer(documents)
        fields = self.fields or {}
        others: list[dict[str, Any]] = [
            {
                name: value
                for name, value in document.items()
                if name not in fields and name not in self.annotation
            }
            for document in documents
        ]
        arrays = {
            name: self._array(name, type_, documents, others) for name, type_ in fields.items()
        }
        for name, type_ in self.annotation.items():
            arrays[name] = arrow.array([document[name] for document in documents], type_)
        left = [json_line(rest).decode().rstrip("\n") if rest else None for rest in others]
        arrays[OTHERS] = arrow.array(left, arrow.string())
        return arrow.table(arrays)

    def _infer(self, documents: list[dict[str, Any]]) -> dict[str, Any]:
        names = dict.fromkeys(name for document in documents for name in document)
        fields = {}
        for name in names:
            if name in self.annotation or not _is_unicode(name):
                continue
            try:
                type_ = self.arrow.array([document.get(name) for document in documents]).type
                fields[name] = self._as_read(type_)
            except self._unfit:  # of several types, or of none that Parquet has
                fields[name] = self.arrow.string()
        return fields

    def _as_read(self, type_: Any) -> Any:
        """RETURNS (DataType): As a shard that is read again has it, so that a run that goes on
        writes the same bytes: Parquet has names of its own for what is inside of a list.

        RAISES: ArrowException for a type that Parquet lacks.
        """
        if self.arrow.types.is_null(type_):
            return self.arrow.string()
        file = BytesIO()
        self.writer(file, self.arrow.schema([("x", type_)])).close()
        file.seek(0)
        return self.parquet.read_schema(file).field("x").type

    def _array(
        self, name: str, type_: Any, documents: list[dict[str, Any]], others: list[dict[str, Any]]
    ) -> Any:
        values = [document.get(name) for document in documents]
        if self._fits(values, type_):
            return self.arrow.array(values, type_)
        for i, value in enumerate(values):
            if not self._fits([value], type_):
                others[i][name] = value
                values[i] = None
        return self.arrow.array(values, type_)

    def _fits(self, values: list[Any], type_: Any) -> bool:
        """Whether nothing of them would be lost: an object's field that a type lacks is."""
        try:
            return _same(self.arrow.array(values, type_).to_pylist(), values)
        except self._unfit:
            return False

    @property
    def _unfit(self) -> tuple[type[Exception], ...]:
        """What pyarrow says of values that a type can't hold."""
        return self.arrow.ArrowException, OverflowError, TypeError, ValueError

    def _type_of(self, kind: str) -> Any:
        arrow = self.arrow
        place = [("start", arrow.int64()), ("end", arrow.int64())]
        if kind == "sentences":
            return arrow.list_(arrow.struct(place))
        if kind == "answers":
            answer = arrow.struct([("text", arrow.string()), *place, ("score", arrow.float64())])
            fields = [("question", arrow.string()), ("answers", arrow.list_(answer))]
            return arrow.list_(arrow.struct([*fields, ("no_answer", arrow.float64())]))
        label = [("label", arrow.string())]
        if kind == "categories":
            return arrow.list_(arrow.struct([*label, ("score", arrow.float64())]))
        key = [("key", arrow.string())] if kind == "spans" else []
        sure = [("confidence", arrow.float64())]
        return arrow.list_(arrow.struct([*key, *place, ("text", arrow.string()), *label, *sure]))


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal, NaN being the same as NaN."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other) or (one != one and other != other)


def _is_unicode(text: str) -> bool:
    """Whether there is no half of a character (a lone surrogate) in a text."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _pyarrow(name: str) -> ModuleType:
    """RAISES: ImportError J469."""
    try:
        return import_module(name)
    except ImportError:
        raise ImportError(Errors.J469.format(package="pyarrow", extra="bulk")) from None


def size_and_hash(path: Path) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): A file's bytes and SHA-256, for the manifest."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}
