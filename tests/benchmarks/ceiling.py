"""Text to entities, and steps of fine-tuning, with an encoder of no cost: the speed that no GPU can
pass with one process.

One layer of width 16, beside raw Sudachi over the same texts in the same run. A ratio of 0.5 says
that a text takes twice the time of its segmentation alone.
"""

from collections.abc import Callable, Iterator

import numpy as np
import spacy
import sudachipy
from spacy.language import Language
from spacy.training import Example
from spacy.training.batchers import minibatch_by_words

from .measure import ROOT, Row, Settings, race
from .pipelines import CORPORA, articles, stockmark

VOCABULARY = ROOT / "project" / "assets" / "jbert-mini"
# As many as annotators found in the sentences of Stockmark.
ENTITIES_A_TOKEN = 0.08


def run(settings: Settings) -> Iterator[Row]:
    """Sentences and articles, with all attributes of the tokens and with their words alone; then
    fine-tuning on sentences.
    """
    if not CORPORA.is_dir():
        return
    for attributes in ("all", "words"):
        nlp = build(attributes)
        sentences = [eg.text for eg in stockmark(nlp, 500)]
        for name, texts in (("Stockmark sentences", sentences), ("articles", articles(8))):
            set_density(nlp, texts)
            yield race(
                f"ceiling: {name}, {attributes} / raw Sudachi",
                work=sum(map(len, texts)),
                unit="characters/s",
                ours=_pipe(nlp, texts),
                stock=_raw(texts),
                settings=settings,
                goal=0.5,
            )
    nlp = build("words")
    examples = stockmark(nlp, 500)
    for size in (300, 1000, 4000):
        yield race(
            f"ceiling: fine-tuning, batches of {size:,} tokens / raw Sudachi",
            work=sum(len(eg.predicted) for eg in examples),
            unit="tokens/s",
            ours=_steps(nlp, examples, size),
            stock=_raw([eg.text for eg in examples]),
            settings=settings,
        )


def build(attributes: str) -> Language:
    """A pipeline whose encoder does next to nothing, with random weights."""
    tokenizer = {"@tokenizers": "spacy-jbert.SudachiTokenizer.v1", "attributes": attributes}
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": tokenizer}})
    nlp.add_pipe("jbert_transformer", name="transformer")
    ner = nlp.add_pipe("jbert_ner", name="ner")
    encoder = {
        "@misc": "spacy-jbert.NewEncoder.v1",
        "vocabulary": str(VOCABULARY),
        "layers": 1,
        "width": 16,
        "heads": 1,
        "seed": 0,
    }
    nlp.config["initialize"]["components"]["transformer"] = {"encoder": encoder}
    examples = stockmark(nlp, 200)
    nlp.initialize(lambda: examples)
    output = ner.model.get_ref("output_layer")
    W = output.get_param("W")
    random = np.random.default_rng(0).normal(0, 0.02, W.shape)
    output.set_param("W", random.astype(W.dtype))
    return nlp


def set_density(nlp: Language, texts: list[str]) -> None:
    """Find the bias of O at which as many entities come out as real texts have."""
    output = nlp.get_pipe("ner").model.get_ref("output_layer")
    bias = output.get_param("b")
    low, high = -20.0, 20.0
    for _ in range(12):
        bias[0] = (low + high) / 2
        output.set_param("b", bias)
        docs = list(nlp.pipe(texts[:20]))
        found = sum(len(doc.ents) for doc in docs) / sum(map(len, docs))
        if found > ENTITIES_A_TOKEN:
            low = bias[0]
        else:
            high = bias[0]


def _pipe(nlp: Language, texts: list[str]) -> Callable[[], object]:
    def annotate() -> None:
        for _ in nlp.pipe(texts):
            pass

    return annotate


def _steps(nlp: Language, examples: list[Example], size: int) -> Callable[[], object]:
    optimizer = nlp.create_optimizer()
    batches = list(minibatch_by_words(examples, size))

    def learn() -> None:
        for batch in batches:
            nlp.update(batch, drop=0.1, sgd=optimizer)

    return learn


def _raw(texts: list[str]) -> Callable[[], object]:
    tokenizer = sudachipy.Dictionary().create(mode=sudachipy.SplitMode.A)

    def segment() -> None:
        for text in texts:
            for morpheme in tokenizer.tokenize(text):
                morpheme.surface()

    return segment
