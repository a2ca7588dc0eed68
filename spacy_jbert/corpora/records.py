"""Texts with entities, labels or both, whatever file they are in -> one DocBin a split.

`convert_records` is the whole of it: read records and check them (`Reader`), share them out and
write them. Files of tagged tokens are in iob.py, DocBins in docbins.py.
"""

import ast
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from spacy.tokens import Doc

from ..errors import DataError, Errors, Warnings
from .delimited import Quoting
from .docs import Entity, japanese_tokenizer, make_doc, trim_entities
from .importers import TOOLS, Annotated, Named, read_export
from .iob import TAG, goes_on
from .labels import LabelMap
from .readers import Format, Row, Shuffle, format_of, read_rows
from .splits import Splits, read_splits, report, split_of, write_splits
from .tables import has_splits
from .values import Notes, shortened

Task = Literal["ner", "textcat", "textcat_multilabel", "joint"]
ENTITY_FIELDS = ("entities", "labels", "label")


def convert_records(
    source: Path | None = None,
    *,
    out: Path,
    task: Task,
    train: Path | None = None,
    dev: Path | None = None,
    test: Path | None = None,
    split: str = "80/10/10",
    seed: int = 42,
    shuffle: Shuffle = "stratified",
    split_field: str | None = None,
    group_field: str | None = None,
    text_field: str = "text",
    label_field: str = "label",
    entities_field: str | None = None,
    separator: str = ",",
    overlaps: Literal["refuse", "longest"] = "refuse",
    exclude_label_containing: str | None = None,
    skip_unlabelled: bool = False,
    label_map: Path | None = None,
    split_mode: Literal["A", "B", "C"] = "A",
    format: Format = "auto",
    encoding: str | None = None,
    quoting: Quoting = "auto",
    sheet: int = 1,
) -> None:
    """Convert records and write train.spacy, dev.spacy and test.spacy.

    source (Path | None): One file, which is then split, or
    train, dev, test (Path | None): the file of each split.
    out (Path): The folder to write to.
    task (str): "ner": entities, "textcat": one label a text, "textcat_multilabel": any number,
        "joint": entities and one label.
    split, seed, shuffle: How one file is shared out: `splits.shared_out`.
    split_field (str | None): The field that names each record's split, instead.
    group_field (str | None): Records with the same value stay in one split.
    text_field, label_field, entities_field: Where things are; dots go down: "meta.topic".
    separator (str): What stands between several labels that aren't a list.
    overlaps (str): "refuse" entities that overlap, or keep the "longest".
    exclude_label_containing (str | None): Leave out records with such a label.
    skip_unlabelled (bool): Leave out records without any annotation, instead of refusing them
        (textcat) or taking them for texts without entities (ner).
    label_map (Path | None): A file of old and new labels: `LabelMap`.
    split_mode (str): Sudachi's, for the tokens.
    format, encoding, quoting, sheet: How the file is to be read, where it isn't found out.
    RAISES: DataError J2xx, with file and line.
    """
    if split_field is None and source is not None and has_splits(source):
        split_field = "split"
    reader = Reader(
        task=task,
        format=format,
        encoding=encoding,
        quoting=quoting,
        sheet=sheet,
        text_field=text_field,
        label_field=label_field,
        entities_field=entities_field,
        separator=separator,
        overlaps=overlaps,
        exclude_label_containing=exclude_label_containing,
        skip_unlabelled=skip_unlabelled,
        label_map=LabelMap(label_map, encoding),
        split_field=split_field,
        group_field=group_field,
        split_mode=split_mode,
    )
    files = {"train": train, "dev": dev, "test": test}
    splits = read_splits(
        reader.read,
        source,
        files,
        ratio=split,
        seed=seed,
        shuffle=shuffle,
        by_field=split_field is not None,
    )
    if task != "ner":
        complete_categories(splits, unlabelled=task == "textcat_multilabel")
    write_splits(out, splits, sources=[source, *files.values()])
    reader.label_map.tell_unused()
    report(splits, reader.notes)


def complete_categories(splits: Splits, *, unlabelled: bool) -> None:
    """Give every document every category of the data, as 1.0 or 0.0.

    unlabelled (bool): A document without any category has none of them; else it isn't known which,
        and it stays without.
    """
    docs = [doc for docs in splits.values() for doc in docs]
    labels = sorted({label for doc in docs for label in doc.cats})
    for doc in docs:
        if doc.cats or unlabelled:
            doc.cats = {label: float(label in doc.cats) for label in labels}


@dataclass(frozen=True)
class Reader:
    """Reads the records of a file as Docs. The settings are those of `convert_records`."""

    task: Task
    format: Format
    encoding: str | None
    quoting: Quoting
    sheet: int
    text_field: str
    label_field: str
    entities_field: str | None
    separator: str
    overlaps: str
    exclude_label_containing: str | None
    skip_unlabelled: bool
    label_map: LabelMap
    split_field: str | None
    group_field: str | None
    split_mode: str
    notes: Notes = field(default_factory=Notes)

    def read(self, path: Path) -> Iterator[Doc]:
        """YIELDS (Doc): The Docs of the records that are kept."""
        tokenizer = japanese_tokenizer(self.split_mode)
        for record in self.records(path):
            if not record.text.strip():
                self.notes[Warnings.JW203] += 1
                continue
            entities = self.entities(record) if self.task in ("ner", "joint") else None
            labels = self.labels(record) if self.task != "ner" else []
            if labels is None:
                continue
            if self.skip_unlabelled and not entities and not labels:
                self.notes[Warnings.JW256] += 1
                continue
            doc = make_doc(tokenizer, record.text, entities)
            doc.cats = dict.fromkeys(labels, 1.0)
            doc.user_data |= split_of(record.row, self.split_field)
            doc.user_data["id"] = record_id(record.row)
            if self.group_field is not None:
                group = record.row.get(self.group_field)
                # What belongs to none isn't a group.
                if group not in (None, ""):
                    doc.user_data["group"] = str(group)
            yield doc

    def records(self, path: Path) -> Iterator[Annotated]:
        """The records of a file, of an annotation tool or with fields that are named."""
        tool = self.tool(path)
        if tool is not None:
            yield from read_export(path, self.notes, tool, self.encoding, self.named)
            return
        for row in self.rows(path):
            yield self.annotated(row)

    def rows(self, path: Path) -> Iterator[Row]:
        """The records of a file as they are."""
        return read_rows(
            path,
            format=self.format,
            quoting=self.quoting,
            encoding=self.encoding,
            sheet=self.sheet,
        )

    @property
    def named(self) -> Named:
        """The fields that were named, other than by default."""
        text = self.text_field if self.text_field != "text" else None
        label = self.label_field if self.label_field != "label" else None
        return Named(text, label, self.entities_field)

    def tool(self, path: Path) -> str | None:
        """The annotation tool that a file or folder is from: the one named, or found by its first
        record, which is told on stderr."""
        if self.format != "auto":
            self._require_entities(self.format, path)
            return self.format if self.format in (*TOOLS, "brat") else None
        found: str | None = None
        if path.suffix == ".ann" or holds_standoff(path):
            found = "brat"
        elif (form := format_of(path, self.encoding)) not in ("json", "jsonl"):
            self._require_entities(form, path)
        else:
            first = next(self.rows(path), None)
            found = tool_of(first) if first else None
        # The others' records are like anybody's with fields that can be named.
        if found in ("doccano", "prodigy") and self.named != Named():
            found = None
        print(f"{path}: read as {found or format_of(path, self.encoding)}", file=sys.stderr)
        return found

    def _require_entities(self, form: str, path: Path) -> None:
        """RAISES: DataError J259 for a folder of texts, where entities are wanted."""
        if form == "folders" and self.task in ("ner", "joint"):
            reason = "A folder of texts holds labels of whole texts and no entities."
            message = Errors.J259.format(task=self.task, format=form, reason=reason)
            raise DataError(message, path=path)

    def annotated(self, row: Row) -> Annotated:
        """A record with fields of the user's."""
        if self.task == "ner" and self.text_field not in row.fields and is_tagged(row):
            return tagged(row, self.notes)
        text = row.text(self.text_field)
        joint = self.task == "joint"
        entities: list[Entity] | None = None
        labels: list[str] | None = None
        if self.task in ("ner", "joint"):
            name = self.entities_field or self.entities_field_of(row)
            found = self.value(row, name)
            if found is not None or not (joint or self.skip_unlabelled):
                entities = read_entities(row, text, found, self.notes)
                entities = trim_entities(text, entities, self.notes)
        if self.task != "ner":
            found = self.value(row, self.label_field)
            if found not in (None, "", []) or not (joint or self.skip_unlabelled):
                labels = read_labels(row, found, self.several, self.notes)
        return Annotated(text, row, entities, labels)

    def value(self, row: Row, name: str) -> Any:
        """The value of a field, which may be missing where not every record has to have it."""
        try:
            return row.get(name)
        except DataError:
            if self.task == "joint" or self.skip_unlabelled:
                return None
            raise

    @property
    def several(self) -> str | None:
        """What stands between labels, where a text can have several."""
        return self.separator if self.task == "textcat_multilabel" else None

    def entities_field_of(self, row: Row) -> str:
        names = ("entities",) if self.task == "joint" else ENTITY_FIELDS
        return next((name for name in names if name in row.fields), "entities")

    def entities(self, record: Annotated) -> list[Entity] | None:
        """The entities of a record, without those that overlap; None if it doesn't say which."""
        if record.entities is None:
            return None
        entities = [
            (start, end, new)
            for start, end, label in record.entities
            if (new := self.label_map.get(label))
        ]
        self.notes[Warnings.JW257] += len(record.entities) - len(entities)
        distinct = sorted(set(entities))
        self.notes[Warnings.JW258] += len(entities) - len(distinct)
        kept = longest(distinct)
        if self.overlaps == "refuse" and len(kept) < len(distinct):
            first, second = next((a, b) for a, b in pairwise(distinct) if b[0] < a[1])
            raise record.row.error(Errors.J213.format(first=first, second=second))
        self.notes[Warnings.JW204] += len(distinct) - len(kept)
        return kept

    def labels(self, record: Annotated) -> list[str] | None:
        """The labels of a record; None if it is to be left out."""
        labels = [self.label_map.get(label) for label in record.labels or ()]
        self.notes[Warnings.JW257] += labels.count("")
        labels = [label for label in labels if label]
        excluded = self.exclude_label_containing
        if excluded and any(excluded in label for label in labels):
            self.notes[Warnings.JW206] += 1
            return None
        if labels or self.task in ("textcat_multilabel", "joint"):
            distinct = list(dict.fromkeys(labels))
            if self.task != "textcat_multilabel" and len(distinct) > 1:
                raise record.row.error(
                    Errors.J225.format(field=self.label_field, count=len(distinct))
                )
            return distinct
        if self.skip_unlabelled or record.labels:
            # Without a label, or with one that the map leaves out and that is counted already.
            self.notes[Warnings.JW256] += not record.labels
            return None
        raise record.row.error(Errors.J225.format(field=self.label_field, count=0))


def record_id(row: Row, file: str | None = None) -> str:
    """RETURNS (str): What the record calls itself, or else its file and line.

    file (str | None): What its file is called, if not by its name.
    """
    name = row.fields.get("id")
    named = isinstance(name, int | str) and not isinstance(name, bool) and name != ""
    found = str(name) if named else f"{file or row.path.name}:{row.line}"
    # Half of a surrogate pair can be in JSON, and in no file.
    return found.encode("utf-8", "backslashreplace").decode()


def tool_of(row: Row) -> str | None:
    """RETURNS (str | None): The annotation tool that alone writes records with these fields, if
    there is one. doccano's without comments and relations are as anybody's."""
    fields = set(row.fields)
    tasks = isinstance(row.fields.get("data"), dict)
    if tasks and {"annotations", "completions"} & fields:
        return "label-studio"
    if {"annotation_id", "annotator"} <= fields:
        return "label-studio"
    if "_input_hash" in fields or {"text", "spans"} <= fields or {"text", "answer"} <= fields:
        return "prodigy"
    labelled = {"label", "labels", "entities", "annotations"} & fields
    if labelled and {"Comments", "comments", "relations", "annotation_approver"} & fields:
        return "doccano"
    return None


def is_tagged(row: Row) -> bool:
    """Whether a record holds tokens and their tags, as corpora on hubs do."""
    return all(isinstance(row.fields.get(name), list) for name in ("tokens", "ner_tags"))


def tagged(row: Row, notes: Notes) -> Annotated:
    """A record of tokens and tags: IOB, BILUO or BIOES. There are no spaces between tokens."""
    tokens, tags = row.fields["tokens"], row.fields["ner_tags"]
    texts = all(isinstance(value, str) for value in (*tokens, *tags))
    if len(tokens) != len(tags) or not texts:
        expected = f"a tag for each of the {len(tokens)} tokens, by name"
        raise row.error(Errors.J207.format(field="ner_tags", expected=expected, value=len(tags)))
    entities: list[Entity] = []
    start, before = 0, "O"
    for token, tag in zip(tokens, tags, strict=True):
        if not TAG.fullmatch(tag):
            raise row.error(Errors.J222.format(tag=tag))
        end = start + len(token)
        if tag != "O":
            tag = f"{tag[0]}-{row.label(tag[2:], notes)}"
            first = entities.pop()[0] if goes_on(tag, before, notes) else start
            entities.append((first, end, tag[2:]))
        start, before = end, tag
    return Annotated("".join(tokens), row, trim_entities("".join(tokens), entities, notes))


def holds_standoff(path: Path) -> bool:
    """Whether a folder holds brat's files."""
    return path.is_dir() and any(path.rglob("*.ann"))


def read_entities(row: Row, text: str, found: Any, notes: Notes) -> list[Entity]:
    """Check the entities of a record, in whichever of the known forms they are, and sort them: a
    list, the same as JSON in a cell of a table, or an object of lists, as `datasets` keeps it.
    """
    if isinstance(found, str):
        found = _json(found) if found.strip() else []
    if isinstance(found, dict) and all(isinstance(values, list) for values in found.values()):
        found = [
            dict(zip(found, values, strict=False)) for values in zip(*found.values(), strict=False)
        ]
    if not isinstance(found, list):
        message = Errors.J207.format(
            field="entities", expected="a list of entities", value=shortened(found)
        )
        raise row.error(message)
    return sorted(read_entity(row, text, entity, notes) for entity in found)


def read_entity(row: Row, text: str, entity: Any, notes: Notes) -> Entity:
    """Check one entity: [start, end, label] or an object."""
    try:
        if isinstance(entity, dict):
            label = entity["label"] if "label" in entity else entity["type"]
            if "span" in entity:
                start, end = entity["span"]
            else:
                start, end = (
                    entity[name] if name in entity else entity[f"{name}_offset"]
                    for name in ("start", "end")
                )
        else:
            start, end, label = entity
    except (KeyError, TypeError, ValueError):
        raise row.error(Errors.J210.format(entity=shortened(entity))) from None
    if not (type(start) is type(end) is int and 0 <= start < end <= len(text)):
        raise row.error(Errors.J211.format(start=start, end=end, length=len(text)))
    name = entity.get("name", text[start:end]) if isinstance(entity, dict) else text[start:end]
    if name != text[start:end]:
        raise row.error(Errors.J212.format(name=name, found=text[start:end]))
    return start, end, row.label(label, notes)


def longest(entities: list[Entity]) -> list[Entity]:
    """Leave out every entity that overlaps a longer one (of two as long, the first stays)."""
    kept: list[Entity] = []
    for start, end, label in sorted(
        entities, key=lambda entity: (entity[0] - entity[1], entity[0])
    ):
        if all(end <= other_start or other_end <= start for other_start, other_end, _ in kept):
            kept.append((start, end, label))
    return sorted(kept)


def read_labels(row: Row, value: Any, separator: str | None, notes: Notes) -> list[str]:
    """The labels of a record: a list, or text; with a separator any number of them, which may be
    an object of labels with 1 or 0 as well."""
    if separator and value is None:
        return []
    if separator and isinstance(value, str):
        listed = _json(value)
        split = [label.strip(" ") for label in value.split(separator) if label.strip()]
        value = split if isinstance(listed, str) else listed
    if separator and isinstance(value, dict) and all(value[name] in (0, 1) for name in value):
        value = [name for name, applies in value.items() if applies]
    return [row.label(label, notes) for label in (value if isinstance(value, list) else [value])]


def _json(cell: str) -> Any:
    """A list or an object that stands in a cell of a table, as JSON or as Python writes it; any
    other text as it is."""
    if cell.strip()[:1] not in ("[", "{"):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return cell
