"""Texts with categories, one label each or several (JSONL, JSON, CSV, TSV) -> one DocBin a split.

    python project/scripts/convert_textcat.py topics.jsonl --text-field utterances.0.text
    --label-field meta.topic \
        --split-field purpose --out project/corpus/asdc
    python project/scripts/convert_textcat.py --train train.csv --dev val.csv --text-field sent
    --out project/corpus/morality
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from spacy.tokens import Doc

from spacy_jbert.corpora.docs import japanese_tokenizer, make_doc
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
from spacy_jbert.corpora.readers import Notes, Row, read_rows
from spacy_jbert.corpora.splits import read_splits, report, split_of, write_splits
from spacy_jbert.errors import Errors, Warnings


def convert_textcat(
    source: Source = None,
    *,
    out: Out,
    train: Train = None,
    dev: Dev = None,
    test: Test = None,
    split: Ratio = "80/10/10",
    seed: Seed = 42,
    split_field: SplitField = None,
    text_field: Annotated[
        str, typer.Option(help="Field that holds the text; dots go down: utterances.0.text")
    ] = "text",
    label_field: Annotated[
        str, typer.Option(help="Field that holds the label or labels")
    ] = "label",
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="A text can have any number of labels")
    ] = False,
    separator: Annotated[
        str,
        typer.Option(help="With --multi-label: what stands between labels that aren't a JSON list"),
    ] = ",",
    exclude_label_containing: Annotated[
        str | None, typer.Option(help="Leave out records with such a label")
    ] = None,
    split_mode: SplitMode = "A",
    quoting: TableQuoting = "auto",
) -> None:
    """Convert texts with categories. Every document gets every label of the data, as 1.0 or 0.0."""
    tokenizer, notes = japanese_tokenizer(split_mode), Notes()

    def read(path: Path) -> Iterator[Doc]:
        for row in read_rows(path, quoting=quoting):
            text = row.text(text_field)
            labels = read_labels(row, label_field, separator if multi_label else None, notes)
            if exclude_label_containing and any(
                exclude_label_containing in label for label in labels
            ):
                notes[Warnings.JW206] += 1
            elif not text.strip():
                notes[Warnings.JW203] += 1
            else:
                doc = make_doc(tokenizer, text)
                doc.user_data |= split_of(row, split_field)
                doc.cats = dict.fromkeys(labels, 1.0)
                yield doc

    files = {"train": train, "dev": dev, "test": test}
    splits = read_splits(
        read, source, files, ratio=split, seed=seed, by_field=split_field is not None
    )
    docs = [doc for docs in splits.values() for doc in docs]
    label_set = sorted({label for doc in docs for label in doc.cats})
    for doc in docs:
        doc.cats = {label: float(label in doc.cats) for label in label_set}
    write_splits(out, splits)
    report(splits, notes)


def read_labels(row: Row, name: str, separator: str | None, notes: Notes) -> list[str]:
    """The labels of a record: a list, or text; with a separator any number of them, without one
    exactly one.
    """
    value: Any = row.get(name)
    if separator and isinstance(value, str):
        value = [label.strip(" ") for label in value.split(separator) if label.strip()]
    labels = [row.label(label, notes) for label in (value if isinstance(value, list) else [value])]
    if separator is None and len(labels) != 1:
        raise row.error(Errors.J225.format(field=name, count=len(labels)))
    return labels


if __name__ == "__main__":
    run(convert_textcat)
