"""What annotation tools export, record by record: doccano, Label Studio, Prodigy, brat.

`read_export` finds out which tool a file is of and gives one `Annotated` a record. What a tool
knows and a corpus doesn't (relations, a second annotator, answers that were not accepted) is
counted in the notes, never dropped without a word.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import DataError, Errors, Warnings
from .docs import Entity, trim_entities
from .lines import read_lines
from .readers import Row, read_rows
from .values import Notes, shortened


@dataclass(frozen=True)
class Annotated:
    """One text with what was annotated.

    text (str): The text, untouched.
    entities (list[Entity] | None): Start, end and label, counted in characters; they may overlap.
        None: nobody said which there are.
    labels (list[str] | None): The categories of the whole text, or None.
    row (Row): Where it comes from, for errors and for the fields beside.
    """

    text: str
    row: Row
    entities: list[Entity] | None = field(default_factory=list)
    labels: list[str] | None = field(default_factory=list)


@dataclass(frozen=True)
class Named:
    """Which fields a user named, where a tool leaves it open. None: they are found.

    text (str | None): Label Studio: the field of `data` that holds the text.
    label (str | None): Label Studio: the question (`from_name`) that is answered by a category.
    entities (str | None): Label Studio: the one that is answered by spans.
    """

    text: str | None = None
    label: str | None = None
    entities: str | None = None


def read_export(
    path: Path,
    notes: Notes,
    tool: str | None = None,
    encoding: str | None = None,
    named: Named | None = None,
) -> Iterator[Annotated]:
    """Read what a tool exported.

    path (Path): A JSONL or JSON file; for brat a folder of .txt and .ann files, or one .ann file.
    notes (Notes): Counts what was left out.
    tool (str | None): A name in TOOLS; None: whichever the first record has the fields of.
    encoding (str | None): As in `read_lines`.
    named (Named | None): Fields that a user named.
    YIELDS (Annotated): A record, in the order of the file.
    RAISES: DataError J250 if no tool's fields are there, and what the readers raise.
    """
    if tool == "brat" or path.is_dir() or path.suffix == ".ann":
        yield from read_brat(path, notes, encoding)
        return
    if tool is not None and tool not in TOOLS:
        raise DataError(Errors.J253.format(tool=tool, tools=", ".join(TOOLS)), path=path)
    rows = read_rows(path, encoding=encoding)
    first = next(rows, None)
    if first is None:
        return
    tool = tool or find_tool(first)
    rows = chain([first], rows)
    if tool == "prodigy":
        yield from prodigy_sessions(rows, notes)
    elif tool == "label-studio":
        for row in rows:
            yield from label_studio(row, notes, named or Named())
    else:
        for row in rows:
            yield from doccano(row, notes)


def find_tool(row: Row) -> str:
    """Which tool writes a record with these fields.

    RETURNS (str): A name in TOOLS.
    RAISES: DataError J250.
    """
    fields = row.fields
    if "data" in fields and ("annotations" in fields or "completions" in fields):
        return "label-studio"
    if "annotation_id" in fields:
        return "label-studio"
    if "_input_hash" in fields or "answer" in fields:
        return "prodigy"
    if "text" in fields and "spans" in fields:
        return "prodigy"
    if ("text" in fields or "data" in fields) and {
        "label",
        "labels",
        "entities",
        "annotations",
    } & set(fields):
        return "doccano"
    raise row.error(Errors.J250.format(fields=", ".join(map(str, fields)), tools=", ".join(TOOLS)))


def doccano(row: Row, notes: Notes) -> Iterator[Annotated]:
    """doccano's JSONL: `label` or `labels` with [start, end, label] or names, and since 1.6
    `entities` with `start_offset`, `end_offset`, `label` (and `relations`, which are counted), with
    `cats` beside them in projects of both."""
    text = row.text("text" if "text" in row.fields else "data")
    notes[Warnings.JW250] += len(_listed(row, "relations", row.fields.get("relations")))
    entities: list[Entity] = []
    labels: list[str] = []
    for name in ("annotations", "entities", "cats", "label", "labels"):
        found = row.fields.get(name)
        values = _listed(row, name, found)
        if len(values) == 3 and [type(value) for value in values] == [int, int, str]:
            raise row.error(_not_a_list(name, found, "a list of [start, end, label]"))
        for value in values:
            if isinstance(value, list) and len(value) == 3:
                entities.append(_entity(row, text, value[0], value[1], value[2], notes))
            elif isinstance(value, dict):
                start, end = value.get("start_offset"), value.get("end_offset")
                entities.append(_entity(row, text, start, end, value.get("label"), notes))
            else:
                labels.append(row.label(value, notes))
    yield Annotated(text, row, trim_entities(text, entities, notes), labels)


def prodigy_sessions(rows: Iterable[Row], notes: Notes) -> Iterator[Annotated]:
    """Records of Prodigy, of which several can be about one text.

    Of several answers to one question (two annotators, a correction) the latest counts. The binary
    questions and the spans of one text make one record.
    """
    answers: dict[tuple[object, object], Row] = {}
    for number, row in enumerate(rows):
        key = (row.fields.get("_input_hash", ("record", number)), _question(row))
        if key in answers:
            notes[Warnings.JW252] += 1
            if _answered(row) < _answered(answers[key]):
                continue
        answers[key] = row
    texts: dict[object, Annotated] = {}
    for (text_hash, _), row in answers.items():
        for record in prodigy(row, notes):
            before = texts.get(text_hash)
            texts[text_hash] = _joined(before, record) if before else record
    yield from texts.values()


def _question(row: Row) -> object:
    """What is asked about a text: whether a label applies, or for spans or choices."""
    asked, view = row.fields.get("label"), row.fields.get("_view_id")
    if isinstance(asked, str):
        return "label", asked
    # There each span is a question of its own.
    return (view, repr(row.fields.get("spans"))) if view == "ner" else view


def _answered(row: Row) -> tuple[bool, float]:
    """What makes one answer count before others: being one, and then its time."""
    time = row.fields.get("_timestamp")
    return row.fields.get("answer") != "ignore", time if isinstance(time, int | float) else 0.0


def _joined(first: Annotated, second: Annotated) -> Annotated:
    def both(one: list[Any] | None, other: list[Any] | None) -> list[Any] | None:
        if one is None or other is None:
            return other if one is None else one
        return list(dict.fromkeys([*one, *other]))

    entities = both(first.entities, second.entities)
    return Annotated(first.text, first.row, entities, both(first.labels, second.labels))


# Prodigy's interfaces: what is asked for by spans, and what by a label or a choice.
_OF_SPANS = ("ner", "ner_manual", "spans", "spans_manual", "relations")
_OF_LABELS = ("classification", "choice")


def prodigy(row: Row, notes: Notes) -> Iterator[Annotated]:
    """Prodigy's JSONL (`db-out`): `spans`, `label` for a binary question, `accept` for choices.

    Only what was accepted is used, as in Prodigy's own recipes: a rejected binary question says
    what a text isn't, which a corpus of labels can't hold. Spans that a pattern found, beside a
    question about the text (`_view_id`), are no entities.
    """
    if (answer := row.fields.get("answer", "accept")) != "accept":
        notes[Warnings.JW251] += 1
        if answer not in ("reject", "ignore"):
            raise row.error(
                Errors.J207.format(
                    field="answer", expected="accept, reject or ignore", value=answer
                )
            )
        return
    text = row.text("text")
    notes[Warnings.JW250] += len(_listed(row, "relations", row.fields.get("relations")))
    view = row.fields.get("_view_id")
    spans = _objects(row, "spans", row.fields.get("spans"))
    entities: list[Entity] | None = None
    if view not in _OF_LABELS:
        entities = [
            _entity(row, text, span.get("start"), span.get("end"), span.get("label"), notes)
            for span in spans
        ]
        entities = trim_entities(text, entities, notes)
    labels = _chosen(row, notes)
    asked = row.fields.get("label")
    # Where no view is named, a span with the label that is asked about is what is asked about.
    marked = view is None and any(span.get("label") == asked for span in spans)
    if asked is not None and view not in _OF_SPANS and not marked:
        labels.append(row.label(asked, notes))
    yield Annotated(text, row, entities, None if view in _OF_SPANS and not labels else labels)


def _chosen(row: Row, notes: Notes) -> list[str]:
    """The choices that were accepted. An id that is a number says nothing by itself."""
    options = {
        option.get("id"): option.get("text")
        for option in _objects(row, "options", row.fields.get("options"))
    }
    chosen = _listed(row, "accept", row.fields.get("accept"))
    names = [options.get(value, value) if type(value) is int else value for value in chosen]
    return [row.label(name, notes) for name in names]


def label_studio(row: Row, notes: Notes, named: Named | None = None) -> Iterator[Annotated]:
    """Label Studio's JSON (`data` and `annotations`, each with a `result`) and JSON-MIN (the fields
    of `data` beside those of the annotation).

    Of several annotators the one who came last counts, the others are counted; so are skipped
    tasks, predictions and relations.
    """
    named = named or Named()
    if "annotations" not in row.fields and "completions" not in row.fields:
        yield from _label_studio_min(row, notes, named)
        return
    data = row.fields.get("data")
    if not isinstance(data, dict):
        raise row.error(Errors.J207.format(field="data", expected="an object", value=data))
    name = "annotations" if "annotations" in row.fields else "completions"
    done = _objects(row, name, row.fields[name])
    kept = [item for item in done if not item.get("was_cancelled") and not item.get("skipped")]
    notes[Warnings.JW251] += not kept
    if not kept:
        return
    notes[Warnings.JW252] += len(kept) - 1
    last = max(kept, key=_precedence)
    text = _only_text(row, data, "data.", named.text)
    labels: list[str] = []
    regions: list[tuple[dict[str, Any], Any]] = []
    for result in _objects(row, "result", last.get("result")):
        value = result.get("value") or {}
        if not isinstance(value, dict):
            raise row.error(_not_a_list("value", value, "an object"))
        if result.get("type") == "relation":
            notes[Warnings.JW250] += 1
        elif "choices" in value:
            if named.label in (None, result.get("from_name")):
                labels += [
                    row.label(choice, notes) for choice in _listed(row, "choices", value["choices"])
                ]
        elif found := value.get("labels") or value.get("hypertextlabels"):
            if named.entities in (None, result.get("from_name")):
                regions += [(value, label) for label in _listed(row, "labels", found)]
        else:
            notes[Warnings.JW253] += 1
    entities = _regions(row, text, regions, notes)
    yield Annotated(text, row, trim_entities(text, entities, notes), labels)


# What JSON-MIN adds to the fields of a task.
_MIN_META = {
    "id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "completed_by",
}  # fmt: skip


def _precedence(annotation: dict[str, Any]) -> tuple[bool, float]:
    """What makes one annotation count before others: ground truth first, then the latest."""
    value = annotation.get("updated_at") or annotation.get("created_at") or ""
    try:
        time = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return bool(annotation.get("ground_truth")), 0.0
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return bool(annotation.get("ground_truth")), aware.timestamp()


def _label_studio_min(row: Row, notes: Notes, named: Named) -> Iterator[Annotated]:
    """The fields of the task, then `id`, those of the annotation, then `annotator` and so on. Spans
    and several choices are known by their shape, a single choice is a text as any other."""
    labels: list[str] = []
    regions: list[tuple[dict[str, Any], Any]] = []
    texts: dict[str, Any] = {}
    for name, value in row.fields.items():
        if name in _MIN_META:
            continue
        if isinstance(value, list) and any(_is_region(item) for item in value):
            if named.entities in (None, name):
                for region in _objects(row, name, value):
                    found = region.get("labels") or region.get("hypertextlabels")
                    regions += [(region, label) for label in _listed(row, "labels", found)]
        elif (chosen := _choices(value)) is not None:
            if named.label in (None, name):
                labels += [row.label(choice, notes) for choice in chosen]
        else:
            texts[name] = value
    text_field = named.text or ("text" if "text" in texts else None)
    if not labels and (single := _single_choice(row, texts, text_field, named)):
        labels.append(row.label(texts.pop(single), notes))
    text = _only_text(row, texts, "", text_field)
    entities = _regions(row, text, regions, notes)
    yield Annotated(text, row, trim_entities(text, entities, notes), labels)


def _is_region(value: Any) -> bool:
    return isinstance(value, dict) and {"start", "end"} <= set(value)


def _choices(value: Any) -> list[Any] | None:
    """Several choices, or those of a list of answers."""
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        return list(value["choices"])
    if isinstance(value, list) and value:
        inner = [_choices(item) for item in value]
        return [name for found in inner for name in found or ()] if all(inner) else None
    return None


def _single_choice(
    row: Row, texts: dict[str, Any], text_field: str | None, named: Named
) -> str | None:
    """The field that holds a single choice: the one named, or the only text between `id` and
    `annotator` beside the text itself, or `label`."""
    if named.label is not None:
        return named.label if isinstance(texts.get(named.label), str) else None
    fields = list(row.fields)
    end = next((n for n, name in enumerate(fields) if name in _MIN_META - {"id"}), len(fields))
    start = fields.index("id") + 1 if "id" in fields[:end] else 0
    answers = [
        name
        for name in fields[start:end]
        if name != text_field and isinstance(texts.get(name), str)
    ]
    if len(answers) == 1 and len(texts) > 1:
        return answers[0]
    return "label" if isinstance(texts.get("label"), str) and text_field != "label" else None


def _listed(row: Row, name: str, value: Any) -> list[Any]:
    """A field that holds several values, or one that stands alone, or none."""
    if value is None:
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, (str, int)):
        return [value]
    raise row.error(_not_a_list(name, value, "a list"))


def _objects(row: Row, name: str, value: Any) -> list[dict[str, Any]]:
    """A field that holds a list of objects, or none."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise row.error(_not_a_list(name, value, "a list of objects"))
    return value


def _not_a_list(name: str, value: Any, expected: str) -> str:
    return Errors.J207.format(field=name, expected=expected, value=shortened(value))


def _only_text(row: Row, data: dict[str, Any], prefix: str = "", named: str | None = None) -> str:
    """The field that is named, or `text`, or the only field that holds text."""
    if named is not None:
        return row.text(named if named.startswith(prefix) else prefix + named)
    texts = [name for name, value in data.items() if isinstance(value, str)]
    name = texts[0] if len(texts) == 1 and "text" not in data else "text"
    return row.text(prefix + name)


def _regions(
    row: Row, text: str, regions: list[tuple[dict[str, Any], Any]], notes: Notes
) -> list[Entity]:
    """Regions of Label Studio, each with a label. Older versions counted UTF-16 units, two for 𠮷
    or an emoji: so they are read if what all regions say that they hold is at those units, and not
    at those characters."""
    claims = [(value, held) for value, _ in regions if (held := _held(value)) is not None]
    in_characters = all(text[slice(*_bounds(value))] == held for value, held in claims)
    units = text.encode("utf-16-le")
    in_units = all(_in_units(units, value) == held for value, held in claims)
    entities: list[Entity] = []
    for value, label in regions:
        start, end = value.get("start"), value.get("end")
        if not in_characters and in_units and type(start) is int and type(end) is int:
            start, end = (
                len(units[: 2 * bound].decode("utf-16-le", "replace")) for bound in (start, end)
            )
        entity = _entity(row, text, start, end, label, notes)
        found = text[entity[0] : entity[1]]
        if _held(value) not in (None, found):
            raise row.error(Errors.J212.format(name=_held(value), found=found))
        entities.append(entity)
    return entities


def _held(value: dict[str, Any]) -> str | None:
    """What a region says that it holds. Some versions write a line break as two characters."""
    held = value.get("text")
    return held.replace("\\n", "\n") if isinstance(held, str) else None


def _bounds(value: dict[str, Any]) -> tuple[int, int]:
    start, end = value.get("start"), value.get("end")
    return (start, end) if type(start) is int and type(end) is int else (0, 0)


def _in_units(units: bytes, value: dict[str, Any]) -> str:
    start, end = _bounds(value)
    return units[2 * start : 2 * end].decode("utf-16-le", "replace")


def _entity(row: Row, text: str, start: Any, end: Any, label: Any, notes: Notes) -> Entity:
    whole = type(start) is int and type(end) is int
    if not whole or not 0 <= start < end <= len(text):
        raise row.error(Errors.J211.format(start=start, end=end, length=len(text)))
    return start, end, row.label(label, notes)


_BRAT_ENTITY = re.compile(
    r"T\d+\t(?P<label>\S+) (?P<spans>\d{1,15} \d{1,15}(?:;\d{1,15} \d{1,15})*)\t(?P<text>.*)"
)


def read_brat(path: Path, notes: Notes, encoding: str | None = None) -> Iterator[Annotated]:
    """Read brat's standoff: `a.txt` with `a.ann` beside it, alone or in folders.

    An entity in several stretches becomes one from the first to the last, and is counted; so are
    relations, events, attributes and notes.
    """
    files = sorted(path.rglob("*.ann")) if path.is_dir() else [path]
    if not files:
        raise DataError(Errors.J251, path=path)
    if path.is_dir():
        texts = set(path.rglob("*.txt"))
        notes[Warnings.JW259] += len(texts - {file.with_suffix(".txt") for file in files})
    for file in files:
        text_file = file.with_suffix(".txt")
        text = "".join(line for _, line in read_lines(text_file, encoding))
        row = Row({"text": text}, text_file, 1)
        found = _standoff(file, notes, encoding)
        # brat counts a byte order mark, where there is one, as a character.
        shift = 0
        if found and all(entity.fits(text, -1) and not entity.fits(text, 0) for entity in found):
            shift = -1
        entities = [entity.check(text, shift, notes) for entity in found]
        yield Annotated(text, row, trim_entities(text, entities, notes))


@dataclass(frozen=True)
class _Standoff:
    """An entity as an .ann file has it: its stretches, and the text that they hold."""

    stretches: list[tuple[int, int]]
    label: str
    text: str
    row: Row

    def held(self, text: str, shift: int) -> str:
        parts = [text[max(start + shift, 0) : end + shift] for start, end in self.stretches]
        return " ".join(parts).replace("\n", " ")

    def fits(self, text: str, shift: int) -> bool:
        return self.held(text, shift) == self.text

    def check(self, text: str, shift: int, notes: Notes) -> Entity:
        """The entity, from the first stretch to the last. RAISES: DataError J211, J212, J214."""
        start, end = self.stretches[0][0] + shift, self.stretches[-1][1] + shift
        entity = _entity(self.row, text, start, end, self.label, notes)
        if not self.fits(text, shift):
            message = Errors.J212.format(name=self.text, found=self.held(text, shift))
            raise self.row.error(message)
        return entity


def _standoff(file: Path, notes: Notes, encoding: str | None) -> list[_Standoff]:
    """The entities of an .ann file; what else is in it is counted."""
    found: list[_Standoff] = []
    for number, line in read_lines(file, encoding) if file.stat().st_size else ():
        line = line.rstrip("\r\n")
        if not line.startswith("T"):
            notes[Warnings.JW250] += bool(line)
            continue
        match = _BRAT_ENTITY.fullmatch(line)
        if match is None:
            raise DataError(Errors.J252.format(line=line), path=file, line=number)
        bounds = [int(bound) for bound in re.findall(r"\d+", match["spans"])]
        stretches = list(zip(bounds[::2], bounds[1::2], strict=True))
        notes[Warnings.JW254] += len(stretches) > 1
        found.append(_Standoff(stretches, match["label"], match["text"], Row({}, file, number)))
    return found


TOOLS: dict[str, Callable[[Row, Notes], Iterator[Annotated]]] = {
    "doccano": doccano,
    "label-studio": label_studio,
    "prodigy": prodigy,
}
