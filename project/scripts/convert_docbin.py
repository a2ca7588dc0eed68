"""Documents that are in spaCy's DocBin already (UD_Japanese-GSD NE) -> one DocBin a split, with what training for NER needs.

python project/scripts/convert_docbin.py --train train.ne.spacy --dev dev.ne.spacy --test test.ne.spacy --out project/corpus/gsd
"""

from pathlib import Path

from spacy.tokens import Doc, DocBin

from spacy_jbert import data
from spacy_jbert.errors import DataError, Errors


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
    """Convert DocBins. The gold tokens, sentence starts, entities and categories are kept, tags and trees are left out."""
    vocab = data.japanese_tokenizer().vocab

    def read(path: Path) -> list[Doc]:
        data.check_file(path)
        try:
            return list(DocBin().from_disk(path).get_docs(vocab))
        except OSError:
            raise
        except Exception as error:  # zlib, msgpack, numpy and spaCy each have their own for bytes that make no sense
            raise DataError(Errors.J224.format(reason=f"{type(error).__name__}: {error}"), path=path) from error

    splits = data.read_splits(read, source, {"train": train, "dev": dev, "test": test}, ratio=split, seed=seed)
    data.write_splits(out, splits)
    data.report(splits, data.Notes())


if __name__ == "__main__":
    data.run(convert_docbin)
