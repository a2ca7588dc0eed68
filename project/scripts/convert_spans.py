"""Entities as character spans (Stockmark's JSON array, doccano's or any other JSONL, CSV) -> one
DocBin a split.

python project/scripts/convert_spans.py ner.json --out project/corpus/stockmark
python project/scripts/convert_spans.py --train train.jsonl --dev dev.jsonl --out
project/corpus/mine"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from spacy.tokens import Doc

from spacy_jbert.corpora.docs import Entity, japanese_tokenizer, make_doc, trim_entities
from spacy_jbert.corpora.options import (
    Dev,
    Out,
    Ratio,
    Seed,
    Source,
    SplitField,
    SplitMode,
    TableQuoting,
    Test,
    Train,
    run,
)
from spacy_jbert.corpora.readers import Notes, Row, read_rows, shortened
from spacy_jbert.corpora.splits import read_splits, report, split_of, write_splits
from spacy_jbert.errors import Errors, Warnings


def convert_spans(
    source: Source = None,
    *,
    out: Out,
    train: Train = None,
    dev: Dev = None,
    test: Test = None,
    split: Ratio = "80/10/10",
    seed: Seed = 42,
    split_field: SplitField = None,
    text_field: Annotated[str, typer.Option(help="Field that holds the text")] = "text",
    entities_field: Annotated[
        str | None,
        typer.Option(help="Field that holds the entities [default: entities, labels or label]"),
    ] = None,
    overlaps: Annotated[
        Literal["refuse", "longest"], typer.Option(help="What to do with entities that overlap")
    ] = "refuse",
    split_mode: SplitMode = "A",
    quoting: TableQuoting = "auto",
) -> None:
    """Convert texts with character spans.

    Tokens are cut where an entity starts or ends inside, so that every entity is kept.
    """
    tokenizer, notes = japanese_tokenizer(split_mode), Notes()

    def read(path: Path) -> Iterator[Doc]:
        for row in read_rows(path, quoting=quoting):
            text = row.text(text_field)
            found = row.get(
                entities_field
                or next(
                    (name for name in ("entities", "labels", "label") if name in row.fields),
                    "entities",
                )
            )
            entities = trim_entities(text, read_entities(row, text, found, notes), notes)
            kept = longest(entities)
            if overlaps == "refuse" and len(kept) < len(entities):
                first, second = next((a, b) for a, b in pairwise(entities) if b[0] < a[1])
                raise row.error(Errors.J213.format(first=first, second=second))
            notes[Warnings.JW204] += len(entities) - len(kept)
            if text.strip():
                doc = make_doc(tokenizer, text, kept)
                doc.user_data |= split_of(row, split_field)
                yield doc
            else:
                notes[Warnings.JW203] += 1

    files = {"train": train, "dev": dev, "test": test}
    splits = read_splits(
        read, source, files, ratio=split, seed=seed, by_field=split_field is not None
    )
    write_splits(out, splits)
    report(splits, notes)


def read_entities(row: Row, text: str, found: Any, notes: Notes) -> list[Entity]:
    """Check the entities of a record, in whichever of the known forms they are, and sort them."""
    if not isinstance(found, list):
        raise row.error(
            Errors.J207.format(
                field="entities", expected="a list of entities", value=shortened(found)
            )
        )
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


if __name__ == "__main__":
    run(convert_spans)
