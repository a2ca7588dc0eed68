"""Texts of 1,200 characters by the source they are from, for long documents' text classification.

    python -m tests.benchmarks.long_texts OUT [--share 0.2] [--train]

OUT/train.spacy, dev.spacy and test.spacy. The sources are the corpora of ../shared/corpora/pretrain;
the larger encyclopedia and the fiction, which would be most of the texts, give two classes each: the
first and the second half, between which texts differ only in what they are about and who wrote them.
Nine categories in all. With --train, jbert-mini learns them in several ways, beside the linear baseline.
"""

import lzma
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.util import fix_random_seed, minibatch
from thinc.api import Adam, warmup_linear
from tqdm import tqdm

from spacy_jbert.corpora.docs import japanese_tokenizer
from spacy_jbert.evaluation.baseline import linear_baseline

from .measure import ROOT, SHARED

MINI = ROOT / "project" / "assets" / "jbert-mini"

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


def main(
    out: Annotated[Path, typer.Argument(help="The folder for the DocBins")],
    share: Annotated[float, typer.Option(help="Of the texts")] = 1.0,
    train: Annotated[bool, typer.Option(help="Train on them too")] = False,
) -> None:
    if not (out / "test.spacy").is_file():
        write(out, share)
    if train:
        compare(out)


def write(out: Path, share: float) -> None:
    """Make the DocBins."""
    out.mkdir(parents=True, exist_ok=True)
    chosen = dict(categories())
    tokenize = japanese_tokenizer()
    bins = {part: DocBin(store_user_data=True) for part in PARTS}
    for name, found in tqdm(chosen.items(), desc="Categories"):
        random.Random(0).shuffle(found)
        for part, most in PARTS.items():
            n = round(most * share)
            for text in found[:n]:
                doc = tokenize(text)
                doc.cats = {label: float(label == name) for label in chosen}
                bins[part].add(doc)
            del found[:n]
    for part, docs in bins.items():
        docs.to_disk(out / f"{part}.spacy")
    print(", ".join(chosen))


# Each way: settings of the transformer and of the text classifier, passes over the training part.
WAYS: dict[str, tuple[dict[str, int], dict[str, int], int]] = {
    "one random window": ({"train_windows": 1}, {}, 4),
    "one random window, n-grams": ({"train_windows": 1}, {"ngrams": 3}, 4),
    "whole texts": ({}, {}, 1),
}
BATCH = 6  # documents
LEARN_RATE = 5e-4


def compare(folder: Path) -> None:
    """Print accuracy, macro F and CPU seconds of each way, and of the linear baseline."""
    vocab = spacy.blank("ja").vocab
    learned, tested = (
        list(DocBin().from_disk(folder / f"{part}.spacy").get_docs(vocab))
        for part in ("train", "test")
    )
    found = linear_baseline(learned, tested, exclusive_classes=True)
    show("linear baseline", found.scores, found.seconds)
    for name, (transformer, textcat, passes) in WAYS.items():
        nlp = build(transformer, textcat, learned)
        begun = time.process_time()
        teach(nlp, learned, passes)
        seconds = time.process_time() - begun
        show(name, nlp.evaluate([Example(copied(nlp, doc), doc) for doc in tested]), seconds)


def show(name: str, scores: dict[str, Any], seconds: float) -> None:
    accuracy, macro = (100 * scores[name] for name in ("cats_micro_f", "cats_macro_f"))
    print(f"| {name} | {accuracy:.1f} | {macro:.1f} | {seconds:.0f} |", flush=True)


def copied(nlp: Language, doc: Doc) -> Doc:
    words, spaces = [token.text for token in doc], [bool(token.whitespace_) for token in doc]
    return Doc(nlp.vocab, words=words, spaces=spaces)


def build(transformer: dict[str, int], textcat: dict[str, int], docs: list[Doc]) -> Language:
    fix_random_seed(0)
    nlp = spacy.blank("ja")
    nlp.add_pipe("jbert_transformer", name="transformer", config={"model": transformer})
    model = {
        "@architectures": "spacy-jbert.PooledTextCat.v1",
        "exclusive_classes": True,
        "tok2vec": {"@architectures": "spacy-jbert.TransformerListener.v1"},
        **textcat,
    }
    nlp.add_pipe("textcat", config={"model": model})
    encoder = {"@misc": "spacy-jbert.HFEncoder.v1", "name": str(MINI)}
    nlp.config["initialize"]["components"]["transformer"] = {"encoder": encoder}
    nlp.initialize(lambda: [Example(copied(nlp, doc), doc) for doc in docs])
    return nlp


def teach(nlp: Language, docs: list[Doc], passes: int) -> None:
    """Rates that rise for a tenth of the steps and fall to nothing, as in the configs."""
    order = random.Random(0)
    steps = passes * -(-len(docs) // BATCH)
    optimizer = Adam(
        warmup_linear(LEARN_RATE, steps // 10, steps), L2=0.01, grad_clip=1.0, beta2=0.999
    )
    for _ in range(passes):
        for batch in minibatch(order.sample(docs, len(docs)), BATCH):
            nlp.update([Example(copied(nlp, doc), doc) for doc in batch], sgd=optimizer, drop=0.1)
            optimizer.step_schedules()


if __name__ == "__main__":
    typer.run(main)
