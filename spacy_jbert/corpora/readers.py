"""Files and folders to records (`Row`). A fault is a DataError that names the file and the line."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from ..errors import DataError, Errors
from . import delimited, json_records, tables
from .delimited import Quoting
from .lines import Told, kind, read_lines, tell
from .values import Notes, encodable, read_label, shortened

MANIFEST, REJECTED = "manifest.jsonl", "rejected.jsonl"
"""What `jbert annotate` writes beside its shards: what was done, and what couldn't be."""

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
        return encodable(value, self.path, self.line)

    def name(self, name: str) -> str:
        """The value of a field that says what something is called: text, or a whole number."""
        value = self.get(name)
        number = isinstance(value, int) and not isinstance(value, bool)
        return str(value) if number else self.text(name)

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
            records = delimited.read_records(path, quoting, mark, encoding, told)
        case "json":
            records = json_records.read_array(path, encoding)
        case "parquet":
            records = tables.read_parquet(path)
        case "excel":
            records = tables.read_excel(path, sheet)
        case "datasets":
            records = tables.read_dataset(path)
        case "folders":
            records = read_folder(path, encoding)
        case _:
            records = json_records.read_jsonl(path, encoding, told)
    shown = None if bar else True
    for line, fields in tqdm(records, desc=path.name, unit=" rows", delay=2, disable=shown):
        if isinstance(fields, dict):
            yield Row(fields, path, line)
        else:
            message = Errors.J205.format(kind=type(fields).__name__)
            tell(told, DataError(message, path=path, line=line))


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


def files_in(folder: Path, kinds: Collection[str]) -> list[Path]:
    """RETURNS (list[Path]): The files of a folder and those below it, sorted, without what `jbert
    annotate` tells of itself beside its shards.

    kinds (Collection[str]): Their suffixes: see `kind`.
    """
    files = (file for file in folder.rglob("*") if file.is_file() and kind(file) in kinds)
    return sorted(file for file in files if not _tells_of_a_run(file))


def _tells_of_a_run(file: Path) -> bool:
    names = (MANIFEST, REJECTED)
    return file.name in names and all((file.parent / name).is_file() for name in names)


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
