"""Texts to annotate, with what a pipeline says of them, as annotation tools read them.

What comes back is read by `importers`."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from ..errors import DataError, Errors
from ..storage import replacing
from .docs import Entity


@dataclass(frozen=True)
class Asked:
    """One text to annotate.

    id (str): Of the record that it comes from.
    text (str): The text, untouched.
    entities (list | None): What was found, each with its confidence (None: not known); None where
        entities aren't asked for.
    categories (list | None): What was found, likewise.
    score (float): How much it is worth annotating: the higher, the sooner.
    tokens (list): Start and end of the pipeline's tokens, in characters.
    """

    id: str
    text: str
    entities: list[tuple[Entity, float | None]] | None
    categories: list[tuple[str, float]] | None
    score: float
    tokens: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True)
class Labels:
    """What can be annotated.

    entities, categories (list[str] | None): The labels; None where that isn't asked for.
    exclusive (bool): Whether one category fits a text.
    model (str): What the pipeline is called.
    """

    entities: list[str] | None = None
    categories: list[str] | None = None
    exclusive: bool = True
    model: str = "model"


def label_studio(asked: Asked, labels: Labels) -> dict[str, Any]:
    """A task of Label Studio with a prediction: `labels` on the text, `choices` for the whole.
    Offsets count characters, as its current versions do."""
    result: list[dict[str, Any]] = []
    for number, ((start, end, label), confidence) in enumerate(asked.entities or ()):
        value = {"start": start, "end": end, "text": asked.text[start:end], "labels": [label]}
        region = {"id": f"e{number}", "from_name": "label", "to_name": "text", "type": "labels"}
        result.append({**region, "value": value, **_score(confidence)})
    if asked.categories:
        choices = {"choices": [label for label, _ in asked.categories]}
        region = {"id": "c0", "from_name": "category", "to_name": "text", "type": "choices"}
        result.append({**region, "value": choices, **_score(asked.categories[0][1])})
    prediction = {"model_version": labels.model, "score": asked.score, "result": result}
    # `data` has one text besides, or none would know which is to be read.
    return {
        "data": {"text": asked.text, "meta": {"id": asked.id}},
        "predictions": [prediction],
    }


def prodigy(asked: Asked, labels: Labels) -> dict[str, Any]:
    """A task of Prodigy, for `ner.manual`, `spans.manual` or the `choice` interface. With tokens,
    as it would cut a text at spaces otherwise."""
    task: dict[str, Any] = {"text": asked.text, "meta": {"id": asked.id, "score": asked.score}}
    if asked.entities is not None:
        starts = {start: number for number, (start, _) in enumerate(asked.tokens)}
        ends = {end: number for number, (_, end) in enumerate(asked.tokens)}
        task["tokens"] = [
            {
                "text": asked.text[start:end],
                "start": start,
                "end": end,
                "id": number,
                "ws": asked.text[end : end + 1] == " ",
            }
            for number, (start, end) in enumerate(asked.tokens)
        ]
        task["spans"] = [
            {
                "start": start,
                "end": end,
                "label": label,
                "token_start": starts[start],
                "token_end": ends[end],
                **_score(confidence),
            }
            for (start, end, label), confidence in asked.entities
        ]
    if asked.categories is not None:
        task["options"] = [{"id": label, "text": label} for label in labels.categories or ()]
        task["accept"] = [label for label, _ in asked.categories]
        task["config"] = {"choice_style": "single" if labels.exclusive else "multiple"}
    return task


def doccano(asked: Asked, labels: Labels) -> dict[str, Any]:
    """A record that doccano imports as JSONL: `label` for a project of one kind, `entities` and
    `cats` for one of both ("intent detection and slot filling")."""
    spans = [[start, end, label] for (start, end, label), _ in asked.entities or ()]
    names = [label for label, _ in asked.categories or ()]
    beside = {"record_id": asked.id, "score": asked.score}
    if asked.entities is not None and asked.categories is not None:
        return {"text": asked.text, "entities": spans, "cats": names, **beside}
    return {"text": asked.text, "label": names if asked.entities is None else spans, **beside}


def plain(asked: Asked, labels: Labels) -> dict[str, Any]:
    """A record as `jbert convert` reads it without any option."""
    record: dict[str, Any] = {"id": asked.id, "text": asked.text, "score": asked.score}
    if asked.entities is not None:
        record["entities"] = [
            {"start": start, "end": end, "label": label, **_score(confidence)}
            for (start, end, label), confidence in asked.entities
        ]
    if asked.categories is not None:
        names = [label for label, _ in asked.categories]
        record["label"] = names[0] if labels.exclusive and names else names
        record["confidence"] = {label: round(value, 4) for label, value in asked.categories}
    return record


def _score(confidence: float | None) -> dict[str, float]:
    return {} if confidence is None else {"score": round(confidence, 4)}


EXPORTERS: dict[str, Callable[[Asked, Labels], dict[str, Any]]] = {
    "label-studio": label_studio,
    "prodigy": prodigy,
    "doccano": doccano,
    "jsonl": plain,
}


@dataclass(frozen=True)
class Written:
    """What `write_tasks` wrote: the tasks, and what a tool needs to be told beside them."""

    tasks: Path
    beside: list[Path] = field(default_factory=list)


def write_tasks(asked: Iterable[Asked], labels: Labels, tool: str, path: Path) -> Written:
    """Write tasks, a JSON array for Label Studio and JSONL for the others.

    tool (str): A name in EXPORTERS.
    RETURNS (Written): For Label Studio also <path>.xml, the labelling interface.
    RAISES: DataError J483, see `check_tasks`.
    """
    check_tasks(tool, path)
    records = [EXPORTERS[tool](one, labels) for one in asked]
    if tool != "label-studio":
        with replacing(path) as (part,), part.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        return Written(path)
    interface = path.with_suffix(".xml")
    with replacing(path, interface) as (part, interface_part):
        part.write_text(json.dumps(records, ensure_ascii=False, indent=1), encoding="utf-8")
        interface_part.write_text(labelling_interface(labels), encoding="utf-8")
    return Written(path, [interface])


def check_tasks(tool: str, path: Path) -> None:
    """Refuse a name that the tasks can't have. RAISES: DataError J483."""
    # Some systems take .XML for the same.
    if tool == "label-studio" and path.suffix.lower() == ".xml":
        raise DataError(Errors.J483.format(path=path, other=path.with_suffix(".json")))


def labelling_interface(labels: Labels) -> str:
    """RETURNS (str): Label Studio's labelling interface for these labels."""
    parts = ["<View>"]
    if labels.categories is not None:
        choice = "single" if labels.exclusive else "multiple"
        parts.append(f'  <Choices name="category" toName="text" choice="{choice}">')
        parts += [f"    <Choice value={quoteattr(label)}/>" for label in labels.categories]
        parts.append("  </Choices>")
    if labels.entities is not None:
        parts.append('  <Labels name="label" toName="text">')
        parts += [f"    <Label value={quoteattr(label)}/>" for label in labels.entities]
        parts.append("  </Labels>")
    parts += ['  <Text name="text" value="$text"/>', "</View>"]
    return "\n".join(parts) + "\n"
