"""Converted corpora, each with its own kind of annotation -> one corpus with all of it, for
configs/joint.cfg."""

from pathlib import Path

from spacy.tokens import Doc

from ..errors import DataError, Errors, Warnings
from .docs import clean_annotation, japanese_tokenizer, read_docbin
from .splits import SPLITS, Splits, report, write_splits
from .values import Notes


def combine(folders: list[Path], *, out: Path) -> None:
    """Combine corpora, split by split. A text with entities in one and categories in another
    becomes one document. The others keep what they have: what a document lacks stays unknown, and
    isn't taken for "none". A text that an earlier folder has in another split goes there, so that
    it is never on both sides.

    folders (list[Path]): Folders with {train,dev,test}.spacy.
    out (Path): The folder to write to.
    RAISES: DataError J201 for a folder without any, and what `read_docbin` raises.
    """
    vocab, notes = japanese_tokenizer().vocab, Notes()
    splits: Splits = {}
    # Corpora that were shared out by different labels have a text in different splits.
    places: dict[str, str] = {}
    for folder in folders:
        found: dict[str, str] = {}
        files = {name: path for name in SPLITS if (path := folder / f"{name}.spacy").is_file()}
        if not files:
            raise DataError(Errors.J201, path=folder / "train.spacy")
        for name, path in files.items():
            for doc in read_docbin(path, vocab):
                place = places.get(doc.text, name)
                notes[Warnings.JW260] += place != name
                splits.setdefault(place, []).append(clean_annotation(doc, notes, path))
                found.setdefault(doc.text, place)
        places = found | places
    splits = {name: merge(splits[name]) for name in SPLITS if name in splits}
    write_splits(out, splits, sources=[f / f"{n}.spacy" for f in folders for n in SPLITS])
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
