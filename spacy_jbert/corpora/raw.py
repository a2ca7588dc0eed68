"""Texts without annotation, one a record, each of them once."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import DataError, Errors
from .lines import kind, read_lines
from .readers import read_rows
from .records import record_id
from .splits import plain


def read_texts(
    path: Path, *, text_field: str = "text", encoding: str | None = None
) -> Iterator[tuple[str, str]]:
    """Read texts, blank ones left out.

    path (Path): A .txt file, a text a line; or records of any kind that `read_rows` reads.
    text_field (str): Where records have the text.
    YIELDS (tuple[str, str]): The record's id (its own, or file and line) and the text.
    RAISES: DataError with file and line.
    """
    if kind(path) == ".txt":
        for number, line in read_lines(path, encoding):
            if line.strip():
                yield f"{path.name}:{number}", line.rstrip("\r\n")
        return
    for row in read_rows(path, encoding=encoding):
        text = row.text(text_field)
        if text.strip():
            yield record_id(row), text


def different(
    texts: Iterable[tuple[str, str]], known: Iterable[str], path: Path
) -> list[tuple[str, str]]:
    """Leave out what is known, and what repeats, but for width, case and white space.

    known (Iterable[str]): Texts that are annotated already.
    path (Path): Where they are from, for the error.
    RAISES: DataError J478 if none is left.
    """
    seen = {plain(text) for text in known}
    n_known, n_texts = len(seen), 0
    found = []
    for name, text in texts:
        n_texts += 1
        if (key := plain(text)) not in seen:
            seen.add(key)
            found.append((name, text))
    if not found:
        reason = f"all {n_texts} are among the {n_known} that are annotated" if n_texts else "empty"
        raise DataError(Errors.J478.format(reason=reason), path=path)
    return found
