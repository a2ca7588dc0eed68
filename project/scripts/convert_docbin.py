"""Documents that are in spaCy's DocBin already (UD_Japanese-GSD NE) -> one DocBin a split, with
what training for NER needs.

python project/scripts/convert_docbin.py --train train.ne.spacy --dev dev.ne.spacy --test
test.ne.spacy --out project/corpus/gsd"""

from spacy_jbert.corpora.docs import clean_annotation, japanese_tokenizer, read_docbin
from spacy_jbert.corpora.options import Dev, Out, Ratio, Seed, Source, Test, Train, run
from spacy_jbert.corpora.readers import Notes
from spacy_jbert.corpora.splits import read_splits, report, write_splits


def convert_docbin(
    source: Source = None,
    *,
    out: Out,
    train: Train = None,
    dev: Dev = None,
    test: Test = None,
    split: Ratio = "80/10/10",
    seed: Seed = 42,
) -> None:
    """Convert DocBins.

    The gold tokens, sentence starts, entities and categories are kept, tags and trees are left out.
    """
    vocab, notes = japanese_tokenizer().vocab, Notes()
    files = {"train": train, "dev": dev, "test": test}
    splits = read_splits(
        lambda path: [clean_annotation(doc, notes, path) for doc in read_docbin(path, vocab)],
        source,
        files,
        ratio=split,
        seed=seed,
    )
    write_splits(out, splits)
    report(splits, notes)


if __name__ == "__main__":
    run(convert_docbin)
