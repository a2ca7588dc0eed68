"""Labels under other names: a file says which becomes which, for records and for Docs."""

import sys
from pathlib import Path
from typing import Any

from spacy.tokens import Doc, Span

from ..errors import DataError, Errors, Warnings
from .delimited import read_table
from .docs import labels_of
from .readers import format_of, read_rows
from .values import Notes, read_label


class LabelMap:
    """Which label becomes which, and which becomes nothing.

    path (Path | None): A JSON object of old and new labels, or a CSV or TSV file with two columns,
        with a header or without. What becomes nothing ("" or null) is left out. None: labels stay.
    encoding (str | None): Of the data. The file is in this one too, or in UTF-8.
    RAISES: DataError J256, J203.
    """

    def __init__(self, path: Path | None, encoding: str | None = None) -> None:
        self.path = path
        self.used: set[str] = set()
        self.labels: dict[str, str] = {}
        pairs, self.header = _read(path, encoding) if path else ([], None)
        for old, new in pairs:
            if not isinstance(old, str) or not isinstance(new, str | None):
                raise DataError(Errors.J256, path=path)
            name = read_label(old, Notes(), path=path)
            self.labels[name] = read_label(new, Notes(), path=path) if new else ""

    def get(self, label: str) -> str:
        """RETURNS (str): The new label, "" for one that is left out."""
        self.used.add(label)
        return self.labels.get(label, label)

    def tell_unused(self) -> None:
        """Say on stderr which labels of the file the data doesn't have: they may be misspelt."""
        unused = sorted(set(self.labels) - self.used - {self.header})
        if unused:
            print(Warnings.JW261.format(labels=", ".join(unused)), file=sys.stderr)

    def apply(self, doc: Doc, notes: Notes) -> Doc:
        """Rename the entities and categories of a Doc. Of categories that become one, it applies if
        any does.

        notes (Notes): Told what became nothing (JW257).
        RETURNS (Doc): The same Doc.
        """
        if not self.labels:
            return doc
        spans = [Span(doc, ent.start, ent.end, self.get(ent.label_)) for ent in doc.ents]
        kept = [span for span in spans if span.label_]
        if doc.ents:
            dropped = [doc[span.start : span.end] for span in spans if not span.label_]
            doc.set_ents(kept, outside=dropped, default="unmodified")
        cats: dict[str, float] = {}
        for label, value in doc.cats.items():
            new = self.get(label)
            cats[new] = max(value, cats.get(new, 0.0))
        dropped_category = bool(cats.pop("", 0.0))
        doc.cats = cats
        notes[Warnings.JW257] += len(spans) - len(kept) + dropped_category
        return doc


def _read(path: Path, encoding: str | None) -> tuple[list[tuple[Any, Any]], str | None]:
    """The pairs of a file, and what may be its header: that is as good as a label that doesn't
    occur."""
    try:
        return _read_in(path, None)
    except DataError:
        if encoding is None:
            raise
        return _read_in(path, encoding)


def _read_in(path: Path, encoding: str | None) -> tuple[list[tuple[Any, Any]], str | None]:
    if format_of(path, encoding) not in ("csv", "tsv"):
        rows = read_rows(path, encoding=encoding)
        return [pair for row in rows for pair in row.fields.items()], None
    table = [cells for _, cells in read_table(path, encoding=encoding) if any(cells)]
    if any(len(cells) != 2 for cells in table):
        raise DataError(Errors.J256, path=path)
    return [(old, new) for old, new in table], table[0][0] if table else None


def keep(doc: Doc, notes: Notes, *, skip_unlabelled: bool, excluded: str | None) -> bool:
    """Whether a Doc is wanted. What isn't is counted (JW206, JW256)."""
    labels = labels_of(doc)
    if excluded and any(excluded in label for label in labels):
        notes[Warnings.JW206] += 1
        return False
    if skip_unlabelled and not labels:
        notes[Warnings.JW256] += 1
        return False
    return True
