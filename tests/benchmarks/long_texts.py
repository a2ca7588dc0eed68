"""Texts of 1,200 characters by the source they are from, for long documents' text classification.

    python -m tests.benchmarks.long_texts OUT

OUT/train.spacy, dev.spacy and test.spacy. The sources are the corpora of ../shared/corpora/pretrain;
the larger encyclopedia and the fiction, which would be most of the texts, give two classes each: the
first and the second half, between which texts differ only in what they are about and who wrote them.
Nine categories in all.
"""

import lzma
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from spacy.tokens import DocBin
from tqdm import tqdm

from spacy_jbert.corpora.docs import japanese_tokenizer

from .measure import SHARED

LENGTH = 1200
# Of each category; the smallest source, queries, has 280 in all.
PARTS = {"train": 160, "dev": 12, "test": 40}
HALVED = ("aozora_sample", "kyoto_wikipedia")


def texts(file: Path) -> Iterator[str]:
    """Stretches of a file, each from a place of its own."""
    with lzma.open(file, "rt", encoding="utf-8") as stream:
        whole = "".join(stream.read().split("\n"))
    for begin in range(0, len(whole) - LENGTH, LENGTH):
        yield whole[begin : begin + LENGTH]


def categories() -> Iterator[tuple[str, list[str]]]:
    """The categories, and all texts of each."""
    for file in sorted((SHARED / "corpora" / "pretrain").glob("*.txt.xz")):
        name, found = file.name.removesuffix(".txt.xz"), list(texts(file))
        if name not in HALVED:
            yield name, found
            continue
        yield f"{name}-1", found[: len(found) // 2]
        yield f"{name}-2", found[len(found) // 2 :]


def main(out: Annotated[Path, typer.Argument(help="The folder for the DocBins")]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    chosen = dict(categories())
    tokenize = japanese_tokenizer()
    bins = {part: DocBin(store_user_data=True) for part in PARTS}
    for name, found in tqdm(chosen.items(), desc="Categories"):
        random.Random(0).shuffle(found)
        for part, n in PARTS.items():
            for text in found[:n]:
                doc = tokenize(text)
                doc.cats = {label: float(label == name) for label in chosen}
                bins[part].add(doc)
            del found[:n]
    for part, docs in bins.items():
        docs.to_disk(out / f"{part}.spacy")
    print(", ".join(chosen))


if __name__ == "__main__":
    typer.run(main)
