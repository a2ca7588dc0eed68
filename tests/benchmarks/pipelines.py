"""The two pipelines that are raced, an encoder and named entities, ours and stock with the same
weights; the texts they race over.
"""

import lzma
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import srsly
from spacy import util
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Corpus, Example
from thinc.api import Optimizer

from spacy_jbert.corpora.docs import make_doc

from .measure import ROOT, SHARED

CORPORA = SHARED / "corpora"
OURS = ROOT / "configs" / "ner.cfg"
STOCK = Path(__file__).parent / "stock_gsd.cfg"


def build(
    config: Path,
    encoder: Path,
    read: Callable[[Language], list[Example]],
    precision: str = "fp32",
) -> tuple[Language, Optimizer]:
    """Build a pipeline as `spacy train` does. Its rate stays 0, that of the first step of a
    warm-up, so that every repetition starts from the same weights.

    config (Path): OURS or STOCK.
    encoder (Path): A checkpoint folder.
    read (Callable): Gives examples, for their labels.
    precision (str): Of our encoder; stock's is always fp32.
    RETURNS: The pipeline and the optimizer of its config.
    """
    overrides = {"paths.encoder": str(encoder), "system.gpu_allocator": None}
    if config == OURS:
        overrides["components.transformer.model.precision"] = precision
    settings = util.load_config(config, overrides=overrides, interpolate=True)
    nlp = util.load_model_from_config(settings, auto_fill=True)
    examples = read(nlp)
    optimizer = nlp.initialize(lambda: examples)
    if (
        config == OURS
    ):  # Stock's head starts with random weights, ours with zeros, which would find no entity at all.
        output = nlp.get_pipe("ner").model.get_ref("output_layer")
        W = output.get_param("W")
        output.set_param("W", np.random.default_rng(0).normal(0, 0.02, W.shape).astype(W.dtype))
    assert optimizer.learn_rate == 0.0
    return nlp, optimizer


def fresh(nlp: Language, docs: Iterable[Doc]) -> list[Doc]:
    """Documents that no pipeline has seen, with the words of those given."""
    return [
        Doc(
            nlp.vocab,
            words=[token.text for token in doc],
            spaces=[bool(token.whitespace_) for token in doc],
        )
        for doc in docs
    ]


def fresh_examples(nlp: Language, examples: Sequence[Example]) -> list[Example]:
    """The same for examples, as a corpus reader gives them anew in each epoch."""
    docs = fresh(nlp, (eg.predicted for eg in examples))
    return [Example(doc, eg.reference) for doc, eg in zip(docs, examples, strict=True)]


def gsd(nlp: Language, split: str = "dev") -> list[Example]:
    """UD_Japanese-GSD: documents of about 250 tokens, with entities of 22 types."""
    return list(Corpus(CORPORA / "ud_japanese_gsd_ne" / f"ja_gsd-ud-{split}.ne.spacy")(nlp))


def stockmark(nlp: Language, n_sentences: int) -> list[Example]:
    """Stockmark: single sentences of Wikipedia, with entities of 8 types."""
    rows = cast(list[dict[str, Any]], srsly.read_json(CORPORA / "stockmark_ner" / "ner.json"))
    random.Random(42).shuffle(rows)
    examples = []
    for row in rows[:n_sentences]:
        entities = sorted((*entity["span"], entity["type"]) for entity in row["entities"])
        examples.append(
            Example(nlp.make_doc(row["text"]), make_doc(nlp.tokenizer, row["text"], entities))
        )
    return examples


def queries(n: int) -> list[str]:
    """ASDC: what people ask a hotel, a line or less."""
    rows = srsly.read_jsonl(CORPORA / "asdc" / "topic.L1.1turn.VanillaUtterances.jsonl")
    texts = [row["utterances"][0]["text"] for row in rows]
    random.Random(42).shuffle(texts)
    return texts[:n]


def articles(n: int) -> list[str]:
    """Articles of Wikipedia of 2,000 to 5,000 characters."""
    texts: list[str] = []
    with lzma.open(
        CORPORA / "pretrain" / "kyoto_wikipedia.txt.xz", "rt", encoding="utf-8"
    ) as stream:
        for text in "".join(line for line, _ in zip(stream, range(20_000), strict=False)).split(
            "\n\n"
        ):
            if 2_000 <= len(text) <= 5_000:
                texts.append(text.strip())
    return texts[:n]
