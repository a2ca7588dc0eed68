"""Files to the entries of an index."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..corpora.lines import kind, read_lines
from ..corpora.readers import files_in, read_rows
from ..corpora.records import record_id
from ..corpora.values import trimmed
from ..errors import DataError, Errors
from .index import Entry

_KINDS = {".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".xlsx"}


def read_entries(
    paths: Iterable[Path],
    *,
    text_field: str = "text",
    id_field: str | None = None,
    encoding: str | None = None,
) -> Iterator[Entry]:
    """Read texts: .txt, one a line, or records of any kind that `read_rows` reads; what else they
    hold is `meta`. Blank texts are left out. Of folders, all such files.

    id_field (str | None): Where records have their name. None: `id`; those without are called by
        file and line.
    RAISES: DataError with file and line; J450 for a folder without such files.
    """
    for path in paths:
        files = files_in(path, _KINDS) if path.is_dir() else [path]
        # Of two folders in it, files may have the same name.
        base = path if path.is_dir() else path.parent
        if not files:
            raise DataError(Errors.J450.format(kinds=", ".join(sorted(_KINDS))), path=path)
        for file in files:
            name = file.relative_to(base).as_posix()
            yield from _entries(file, name, text_field, id_field, encoding)


def _entries(
    file: Path, called: str, text_field: str, id_field: str | None, encoding: str | None
) -> Iterator[Entry]:
    if kind(file) == ".txt":
        for number, line in read_lines(file, encoding):
            if _is_text(line):
                yield Entry(f"{called}:{number}", line.rstrip("\r\n"))
        return
    for row in read_rows(file, encoding=encoding, bar=False):
        text = row.text(text_field)
        if _is_text(text):
            name = record_id(row, called) if id_field is None else row.name(id_field)
            known = (text_field, id_field or "id")
            meta = {field: value for field, value in row.fields.items() if field not in known}
            yield Entry(name, text, meta)


def _is_text(text: str) -> bool:
    start, end = trimmed(text, 0, len(text))
    return start < end
