"""Documents that are in spaCy's DocBin already (UD_Japanese-GSD NE) -> one DocBin a split, with
what training for NER needs."""

from pathlib import Path

from .docs import clean_annotation, japanese_tokenizer, read_docbin
from .readers import Notes
from .splits import Shuffle, read_splits, report, write_splits


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
) -> None:
    """Convert DocBins. The gold tokens, sentence starts, entities and categories are kept, tags and
    trees are left out.

    source, out, train, dev, test, split, seed, shuffle: As in `convert_records`.
    RAISES: DataError J2xx, with the file.
    """
    vocab, notes = japanese_tokenizer().vocab, Notes()
    files = {"train": train, "dev": dev, "test": test}
    splits = read_splits(
        lambda path: [clean_annotation(doc, notes, path) for doc in read_docbin(path, vocab)],
        source,
        files,
        ratio=split,
        seed=seed,
        shuffle=shuffle,
    )
    write_splits(out, splits)
    report(splits, notes)
