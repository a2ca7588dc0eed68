"""Documents that are in spaCy's DocBin already (UD_Japanese-GSD NE) -> one DocBin a split, with
what training for NER needs."""

from functools import partial
from pathlib import Path

from spacy.tokens import Doc

from .docs import clean_annotation, japanese_tokenizer, read_docbin
from .labels import LabelMap, keep
from .readers import Shuffle
from .splits import read_splits, report, write_splits
from .values import Notes


def convert_docbin(
    source: Path | None = None,
    *,
    out: Path,
    train: Path | None = None,
    dev: Path | None = None,
    test: Path | None = None,
    split: str = "80/10/10",
    seed: int = 42,
    shuffle: Shuffle = "stratified",
    label_map: Path | None = None,
    skip_unlabelled: bool = False,
    exclude_label_containing: str | None = None,
) -> None:
    """Convert DocBins. The gold tokens, sentence starts, entities and categories are kept, tags and
    trees are left out.

    source, out, train, dev, test, split, seed, shuffle, label_map, skip_unlabelled,
    exclude_label_containing: As in `convert_records`.
    RAISES: DataError J2xx, with the file.
    """
    vocab, notes, labels = japanese_tokenizer().vocab, Notes(), LabelMap(label_map)
    wanted = partial(
        keep, notes=notes, skip_unlabelled=skip_unlabelled, excluded=exclude_label_containing
    )

    def read(path: Path) -> list[Doc]:
        docs = (clean_annotation(doc, notes, path) for doc in read_docbin(path, vocab))
        return [doc for doc in docs if wanted(labels.apply(doc, notes))]

    files = {"train": train, "dev": dev, "test": test}
    splits = read_splits(
        read,
        source,
        files,
        ratio=split,
        seed=seed,
        shuffle=shuffle,
    )
    write_splits(out, splits, sources=[source, *files.values()])
    labels.tell_unused()
    report(splits, notes)
