"""A look at a file that nobody has described: its format, encoding, fields and labels, and the task
that they are for."""

import json
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import DataError, Errors
from .docs import find_docbins, japanese_tokenizer, labels_of, read_docbin
from .encodings import guess_encoding
from .formats import is_docbin, is_tagged_file
from .importers import TOOLS, read_export
from .iob import read_sentences
from .lines import OPENERS, check_file, kind, read_lines
from .readers import Format, Row, format_of, read_rows
from .records import holds_standoff, is_tagged, tagged, tool_of
from .values import Notes

TEXT_FIELDS = (
    *("text", "sentence", "sent", "body", "content", "document", "utterance", "review", "comment"),
    *("本文", "テキスト", "文章", "文", "発話", "内容", "コメント", "レビュー", "質問"),
)
LABEL_FIELDS = (
    *("label", "labels", "category", "categories", "cats", "topic", "topics", "class"),
    *(
        "tag",
        "tags",
        "ラベル",
        "カテゴリ",
        "カテゴリー",
        "分類",
        "区分",
        "種別",
        "種類",
        "トピック",
    ),
)
ENTITY_FIELDS = ("entities", "spans", "labels", "label", "annotations")
SEPARATORS = (",", "、", ";", "；", "|", "/", "・")
HEAD = 2000
"""So many records tell which field is what."""

_JAPANESE = re.compile("[ぁ-んァ-ヶ一-龠]")


@dataclass
class Inspection:
    """What a file holds. Fields that are None don't apply to its format."""

    path: Path
    format: str
    encoding: str | None
    """To read it with; None if that is found out by itself."""
    encoding_name: str
    """As people call it."""
    task: str
    """ner, textcat, textcat_multilabel, joint or text."""
    fields: list[str] = field(default_factory=list)
    text_field: str | None = None
    label_field: str | None = None
    entities_field: str | None = None
    separator: str | None = None
    labels: Counter[str] = field(default_factory=Counter)
    records: int = 0
    empty: int = 0
    unlabelled: int = 0
    repeated: int = 0
    lengths: list[int] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)
    """Labels with white space at an end, which conversion leaves out."""
    overlapping: int = 0
    """Texts with entities that overlap."""
    hashes: set[int] = field(default_factory=set, repr=False)
    """Of the texts so far."""

    @property
    def texts(self) -> int:
        """How many records can be learned from."""
        return self.records - self.empty - self.unlabelled

    @property
    def median(self) -> int:
        """Of the texts' lengths, in characters."""
        return int(median(self.lengths)) if self.lengths else 0

    @property
    def characters(self) -> int:
        """Of all texts."""
        return sum(self.lengths)


def inspect(
    path: Path,
    *,
    task: str | None = None,
    format: Format = "auto",
    encoding: str | None = None,
    text_field: str | None = None,
    label_field: str | None = None,
    entities_field: str | None = None,
) -> Inspection:
    """Look at a file or folder as a whole.

    path (Path): What `convert` takes.
    task, format, encoding, text_field, label_field, entities_field: What is known of it already;
        the rest is guessed.
    RETURNS (Inspection): What it holds.
    RAISES: DataError J2xx if it can't be read, J320, J321 if a field can't be guessed.
    """
    check_file(path)
    name = encoding or "UTF-8"
    if encoding is None and path.is_file() and kind(path) not in (".xlsx", ".xlsm", ".parquet"):
        encoding, name = find_encoding(path)
    found = format if format != "auto" else find_format(path, task, encoding)
    seen = Inspection(path, found, encoding, name, task or "")
    if task == "text" or found == "text":
        seen.task = "text"
        seen.text_field = text_field
        if found in ("text", "folders"):
            _count_running_text(seen)
            return seen
    if found == "docbin":
        _look_at_docbins(seen)
    elif found == "iob":
        _look_at_tags(seen)
    elif found == "brat" or found in TOOLS:
        _look_at_export(seen)
    else:
        _look_at_records(seen, text_field, label_field, entities_field)
    return seen


def find_encoding(path: Path) -> tuple[str | None, str]:
    """RETURNS (tuple): The encoding to give to a reader, None where it finds out by itself, and its
    name."""
    decoder, first = getincrementaldecoder("utf-8")(), True
    with OPENERS.get(path.suffix.lower(), open)(path, "rb") as file:
        while piece := file.read(1 << 20):
            if first and piece.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
                return None, "UTF-16"
            marked = first and piece.startswith(BOM_UTF8)
            first = False
            try:
                decoder.decode(piece)
            except UnicodeDecodeError:
                replaced = piece.decode("utf-8", "replace")
                if len(_JAPANESE.findall(replaced)) > replaced.count("\ufffd"):
                    # UTF-8 with damage: the reader says where.
                    return None, "UTF-8"
                guess = guess_encoding(piece)
                return guess.lower(), guess
            if marked:
                return None, "UTF-8 (BOM)"
    return None, "UTF-8"


def find_format(path: Path, task: str | None, encoding: str | None) -> str:
    """RETURNS (str): What a file or folder is, by its name and its first lines."""
    if is_docbin(path):
        return "docbin"
    if is_tagged_file(path, task, encoding):
        return "iob"
    if path.is_dir():
        if holds_standoff(path):
            return "brat"
        labelled = any(file.parent != path for file in path.rglob("*.txt"))
        return format_of(path) if format_of(path) != "folders" or labelled else "text"
    records = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xlsx", ".xlsm")
    if kind(path) in records:
        return format_of(path)
    lines = _first_lines(path, encoding)
    if lines and lines[0].lstrip().startswith("{"):
        return "jsonl"
    tabs = {line.count("\t") for line in lines}
    # Excel's "Unicode text".
    return "tsv" if len(lines) > 1 and len(tabs) == 1 and tabs != {0} else "text"


def _first_lines(path: Path, encoding: str | None) -> list[str]:
    return [line for _, line in islice(read_lines(path, encoding), 50) if line.strip()]


def _look_at_records(
    seen: Inspection,
    text_field: str | None,
    label_field: str | None,
    entities_field: str | None,
) -> None:
    head = list(islice(_rows(seen), HEAD))
    if not head:
        raise DataError(Errors.J322.format(count=0), path=seen.path)
    if tool := tool_of(head[0]):
        seen.format = tool
        _look_at_export(seen)
        return
    columns: dict[str, list[Any]] = {}
    for row in head:
        for name, value in leaves(row.fields):
            columns.setdefault(name, []).append(value)
    seen.fields = list(columns)
    if is_tagged(head[0]):
        seen.task = "ner"
        for row in _rows(seen):
            record = tagged(row, Notes())
            labels = [label for _, _, label in record.entities or ()]
            _count(seen, record.text, labels, annotated=True)
        return
    for asked in (text_field, label_field, entities_field):
        if asked is not None:
            head[0].get(asked)
    seen.entities_field = entities_field or _entities_field(columns)
    seen.text_field = text_field or _text_field(columns, {label_field, seen.entities_field})
    if seen.text_field is None:
        raise DataError(Errors.J320.format(fields=", ".join(columns)), path=seen.path)
    if seen.task == "text":
        for row in _rows(seen):
            _count(seen, _text(row, seen.text_field), [], annotated=True)
        return
    taken = {seen.text_field, seen.entities_field}
    seen.label_field = label_field or _label_field(columns, taken)
    values = columns.get(seen.label_field or "", [])
    seen.task = seen.task or _task(seen, values, label_field)
    if seen.task in ("ner", "joint") and seen.entities_field is None:
        wanted = "entities (--entities-field)"
        raise DataError(
            Errors.J321.format(wanted=wanted, fields=", ".join(columns)), path=seen.path
        )
    if seen.task not in ("ner", "text") and seen.label_field is None:
        wanted = "labels (--label-field)"
        raise DataError(
            Errors.J321.format(wanted=wanted, fields=", ".join(columns)), path=seen.path
        )
    if seen.task in ("textcat", "textcat_multilabel"):
        seen.entities_field = None
    if seen.task == "ner":
        seen.label_field = None
    if seen.task == "textcat_multilabel":
        seen.separator = _separator(values) or ","
    for row in _rows(seen):
        _count_record(seen, row)
    # A table without names begins with data: its first row has a label for the label's name.
    if seen.format in ("csv", "tsv", "excel") and seen.label_field in seen.labels:
        raise DataError(Errors.J331.format(fields=", ".join(columns)), path=seen.path, line=1)


def _rows(seen: Inspection) -> Iterator[Row]:
    format: Any = seen.format
    return read_rows(seen.path, format=format, encoding=seen.encoding)


def leaves(fields: dict[str, Any], prefix: str = "", depth: int = 6) -> Iterator[tuple[str, Any]]:
    """YIELDS (tuple[str, Any]): The fields of a record, those of objects in it by dotted names."""
    for name, value in fields.items():
        if depth and isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.", depth - 1)
        elif depth and isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{prefix}{name}", value
            yield from leaves(value[0], f"{prefix}{name}.0.", depth - 1)
        else:
            yield f"{prefix}{name}", value


def _entities_field(columns: dict[str, list[Any]]) -> str | None:
    found = [name for name, values in columns.items() if any(map(_holds_entities, values))]
    known = [name for name in ENTITY_FIELDS if name in found]
    return next(iter(known or found), None)


def _holds_entities(value: Any) -> bool:
    value = _parsed(value)
    if not isinstance(value, list) or not value:
        return False
    first = value[0]
    if isinstance(first, dict):
        return bool({"start", "start_offset", "span"} & first.keys())
    return isinstance(first, list) and [type(part) for part in first] == [int, int, str]


def _parsed(value: Any) -> Any:
    """A cell with a JSON list in it, as that list."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _text_field(columns: dict[str, list[Any]], taken: set[str | None]) -> str | None:
    texts = {
        name: values
        for name, values in columns.items()
        if name not in taken and sum(isinstance(value, str) for value in values) > len(values) / 2
    }
    by_name = {name.strip().lower(): name for name in texts}
    for known in TEXT_FIELDS:
        if known in by_name:
            return by_name[known]
    # The longest ones are the texts.
    return max(texts, key=lambda name: _mean_length(texts[name]), default=None)


def _mean_length(values: list[Any]) -> float:
    return sum(len(value) for value in values if isinstance(value, str)) / max(len(values), 1)


def _label_field(columns: dict[str, list[Any]], taken: set[str | None]) -> str | None:
    free = {name: values for name, values in columns.items() if name not in taken}
    by_name = {name.rpartition(".")[2].strip().lower(): name for name in free}
    for known in LABEL_FIELDS:
        if known in by_name:
            return by_name[known]

    def repeats(values: list[Any]) -> bool:
        given = [value for value in map(_hashable, values) if value not in (None, "")]
        distinct = len(set(given))
        short = all(len(str(value)) <= 40 for value in given)
        return short and 2 <= distinct <= max(2, len(given) // 3)

    found = [name for name, values in free.items() if repeats(values)]
    return min(found, key=lambda name: len(set(map(_hashable, free[name]))), default=None)


def _hashable(value: Any) -> Any:
    value = _parsed(value)
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _task(seen: Inspection, values: list[Any], asked: str | None) -> str:
    if seen.entities_field is not None:
        return "joint" if seen.label_field is not None and (asked or _are_labels(values)) else "ner"
    if seen.label_field is None:
        return "text"
    if any(isinstance(_parsed(value), list) for value in values):
        return "textcat_multilabel"
    return "textcat_multilabel" if _separator(values) else "textcat"


def _are_labels(values: list[Any]) -> bool:
    """Whether a field beside entities holds one label a text."""
    given = [value for value in values if isinstance(value, (str, int)) and value != ""]
    return bool(given) and len(set(given)) <= max(2, len(given) // 2)


def _separator(values: list[Any]) -> str | None:
    """What stands between several labels in one cell: it takes the cells apart into labels that
    come back in others."""
    cells = [value for value in values if isinstance(value, str) and value.strip()]
    distinct = set(cells)
    for separator in SEPARATORS:
        several = [cell for cell in cells if separator in cell.strip(separator)]
        parts = {part.strip() for cell in distinct for part in cell.split(separator)}
        alone = {cell.strip() for cell in distinct if separator not in cell}
        within = {part.strip() for cell in several for part in cell.split(separator)}
        if len(several) >= 2 and len(parts) < len(distinct) and within & alone:
            return separator
    return None


def _text(row: Row, name: str) -> str:
    try:
        value = row.get(name)
    except DataError:
        return ""
    return value if isinstance(value, str) else ""


def _count_record(seen: Inspection, row: Row) -> None:
    text = _text(row, seen.text_field or "text")
    labels: list[str] = []
    annotated = False
    if seen.entities_field is not None:
        value = _optional(row, seen.entities_field)
        annotated = value is not None and value != ""
        labels += _entity_labels(_parsed(value))
        seen.overlapping += _overlap(_parsed(value))
    if seen.label_field is not None:
        value = _parsed(_optional(row, seen.label_field))
        given = value if isinstance(value, list) else [value]
        if isinstance(value, str) and seen.separator:
            given = value.split(seen.separator)
        given = [str(label) for label in given if label is not None and str(label).strip()]
        seen.unlike += [label for label in given if label != label.strip() and not seen.separator]
        labels += [label.strip() for label in given]
        several = seen.task == "textcat_multilabel" and value is not None
        annotated = annotated or bool(given) or several
    _count(seen, text, labels, annotated=annotated)


def _optional(row: Row, name: str) -> Any:
    try:
        return row.get(name)
    except DataError:
        return None


def _entity_labels(value: Any) -> list[str]:
    return [label for _, label in _entities(value)]


def _entities(value: Any) -> Iterator[tuple[list[Any], str]]:
    """YIELDS (tuple): The start and end, and the label, of what looks like an entity; what doesn't
    is for the conversion to refuse, with its line."""
    for entity in value if isinstance(value, list) else []:
        if isinstance(entity, dict):
            names = ("start", "end")
            ends = [entity.get(name, entity.get(f"{name}_offset")) for name in names]
            span = entity.get("span", ends)
            yield (
                span if isinstance(span, list) else ends,
                str(entity.get("label", entity.get("type"))),
            )
        elif isinstance(entity, list) and len(entity) == 3:
            yield entity[:2], str(entity[2])


def _overlap(value: Any) -> bool:
    spans = sorted(
        {
            (*span, label)
            for span, label in _entities(value)
            if [type(bound) for bound in span] == [int, int]
        }
    )
    return any(second[0] < first[1] for first, second in pairwise(spans))


def _count(seen: Inspection, text: str, labels: list[str], *, annotated: bool) -> None:
    seen.records += 1
    if not text.strip():
        seen.empty += 1
        return
    seen.unlabelled += not annotated
    seen.labels.update(labels)
    seen.lengths.append(len(text))
    seen.repeated += hash(text.strip()) in seen.hashes
    seen.hashes.add(hash(text.strip()))


def _look_at_docbins(seen: Inspection) -> None:
    vocab = japanese_tokenizer().vocab
    kinds: Counter[str] = Counter()
    for path in find_docbins(seen.path):
        for doc in read_docbin(path, vocab):
            applying = sum(value > 0.5 for value in doc.cats.values())
            kinds["entities"] += bool(doc.ents)
            kinds["categories"] += bool(doc.cats)
            kinds["several"] += bool(doc.cats) and applying != 1
            annotated = doc.has_annotation("ENT_IOB") or bool(doc.cats)
            _count(seen, doc.text, labels_of(doc), annotated=annotated)
    seen.task = seen.task or _task_of(kinds)


def _look_at_export(seen: Inspection) -> None:
    kinds: Counter[str] = Counter()
    for record in read_export(seen.path, Notes(), seen.format, encoding=seen.encoding):
        entities, labels = record.entities or [], record.labels or []
        kinds["entities"] += bool(entities)
        kinds["categories"] += bool(labels)
        kinds["several"] += len(labels) > 1
        found = [*(label for _, _, label in entities), *labels]
        annotated = record.entities is not None or bool(labels)
        _count(seen, record.text, found, annotated=annotated)
    seen.task = seen.task or _task_of(kinds)


def _task_of(kinds: Counter[str]) -> str:
    if kinds["entities"]:
        return "joint" if kinds["categories"] else "ner"
    if kinds["categories"]:
        return "textcat_multilabel" if kinds["several"] else "textcat"
    return "text"


def _look_at_tags(seen: Inspection) -> None:
    seen.task = seen.task or "ner"
    for sentence in read_sentences(seen.path, "auto", 0, -1, Notes(), seen.encoding):
        if sentence:
            tags = [tag[2:] for _, tag in sentence if tag[:2] in ("B-", "S-", "U-")]
            _count(seen, "".join(token for token, _ in sentence), tags, annotated=True)


def _count_running_text(seen: Inspection) -> None:
    from ..pretraining.text import find_files, read_documents

    for document in read_documents(
        find_files([str(seen.path)]), seen.text_field or "text", encoding=seen.encoding
    ):
        _count(seen, "\n".join(document), [], annotated=True)
