"""Documents that are in spaCy's DocBin already (UD_Japanese-GSD NE) -> one DocBin a split, with
what training for NER needs.

python project/scripts/convert_docbin.py --train train.ne.spacy --dev dev.ne.spacy --test
test.ne.spacy --out project/corpus/gsd"""

from spacy_jbert.corpora import data


def convert_docbin(
    source: data.Source = None,
    *,
    out: data.Out,
    train: data.Train = None,
    dev: data.Dev = None,
    test: data.Test = None,
    split: data.Ratio = "80/10/10",
    seed: data.Seed = 42,
) -> None:
    """Convert DocBins.

    The gold tokens, sentence starts, entities and categories are kept, tags and trees are left out.
    """
    vocab = data.japanese_tokenizer().vocab
    files = {"train": train, "dev": dev, "test": test}
    splits = data.read_splits(
        lambda path: data.read_docbin(path, vocab), source, files, ratio=split, seed=seed
    )
    data.write_splits(out, splits)
    data.report(splits, data.Notes())


if __name__ == "__main__":
    data.run(convert_docbin)
