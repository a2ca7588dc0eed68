"""Converted corpora, each with its own kind of annotation -> one corpus with all of it, for
configs/joint.cfg.

python project/scripts/combine.py project/corpus/sample_ner project/corpus/sample_topic --out
project/corpus/sample_joint"""

from pathlib import Path
from typing import Annotated

import typer
from spacy.tokens import Doc

from spacy_jbert.corpora.docs import clean_annotation, japanese_tokenizer, read_docbin
from spacy_jbert.corpora.options import Out, run
from spacy_jbert.corpora.readers import Notes
from spacy_jbert.corpora.splits import SPLITS, Splits, report, write_splits
from spacy_jbert.errors import DataError, Errors


def combine(
    folders: Annotated[list[Path], typer.Argument(help="Folders with {train,dev,test}.spacy")],
    *,
    out: Out,
) -> None:
    """Combine corpora, split by split. A text with entities in one and categories in another
    becomes one document. The others keep what they have: what a document lacks stays unknown, and
    isn't taken for "none"."""
    vocab, notes = japanese_tokenizer().vocab, Notes()
    splits: Splits = {}
    for folder in folders:
        files = {name: path for name in SPLITS if (path := folder / f"{name}.spacy").is_file()}
        if not files:
            raise DataError(Errors.J201, path=folder / "train.spacy")
        for name, path in files.items():
            splits.setdefault(name, []).extend(
                clean_annotation(doc, notes, path) for doc in read_docbin(path, vocab)
            )
    splits = {name: merge(splits[name]) for name in SPLITS if name in splits}
    write_splits(out, splits)
    report(splits, notes)


def merge(docs: list[Doc]) -> list[Doc]:
    """Move the categories of a text to the Doc that has its entities, as those come with tokens of
    their own.
    """
    categorised = {doc.text: doc for doc in docs if doc.cats and not doc.has_annotation("ENT_IOB")}
    moved = set()
    for doc in docs:
        if doc.text in categorised and doc.has_annotation("ENT_IOB") and not doc.cats:
            doc.cats = categorised[doc.text].cats
            moved.add(id(categorised[doc.text]))
    return [doc for doc in docs if id(doc) not in moved]


if __name__ == "__main__":
    run(combine)
