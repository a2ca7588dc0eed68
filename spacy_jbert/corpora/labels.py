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
    RAISES: DataError J256.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.header: str | None = None
        self.used: set[str] = set()
        self.labels: dict[str, str] = {}
        for old, new in self._pairs(path) if path else ():
            if not isinstance(old, str) or not isinstance(new, str | None):
                raise DataError(Errors.J256, path=path)
            name = read_label(old, Notes(), path=path)
            self.labels[name] = read_label(new, Notes(), path=path) if new else ""

    def _pairs(self, path: Path) -> list[tuple[Any, Any]]:
        if format_of(path) not in ("csv", "tsv"):
            return [pair for row in read_rows(path) for pair in row.fields.items()]
        rows = [cells for _, cells in read_table(path) if any(cells)]
        if any(len(cells) != 2 for cells in rows):
            raise DataError(Errors.J256, path=path)
        # A header is as good as a label that doesn't occur.
        self.header = rows[0][0] if rows else None
        return [(old, new) for old, new in rows]

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
