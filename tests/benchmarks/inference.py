"""`nlp.pipe` with an encoder and named entities: against stock with the same weights, and against
the bare encoder.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from spacy.language import Language
from spacy.tokens import Doc

from . import exported
from .measure import Row, Settings, race
from .pipelines import CORPORA, OURS, STOCK, articles, build, fresh, gsd, queries, stockmark


def run(settings: Settings) -> Iterator[Row]:
    """Short and long texts, tokenised beforehand, then with each side's tokenizer.

    Nothing without real weights and corpora.
    """
    if settings.encoder is None or not CORPORA.is_dir():
        return
    if settings.backend != "torch":
        yield from exported.run(settings)
        return
    ours, stock = (
        build(config, settings.encoder, gsd, settings.precision)[0] for config in (OURS, STOCK)
    )
    documents = [eg.text for eg in gsd(ours)[:12]]
    sentences = [eg.text for eg in stockmark(ours, 96)]
    long = articles(2)
    for name, texts, goal in (
        ("Stockmark sentences", sentences, 2.0),
        ("ASDC queries", queries(192), 2.0),
        ("GSD documents", documents, 1.5),
        ("articles", long, 1.5),
    ):
        docs = [ours.make_doc(text) for text in texts]
        yield race(
            f"pipe: {name}, tokenised",
            work=sum(map(len, docs)),
            unit="tokens/s",
            ours=_pipe(ours, docs),
            stock=_pipe(stock, docs),
            settings=settings,
            goal=goal,
        )
    attrs = ours.get_pipe("transformer").model.attrs
    attrs["window"] = 128  # as stock's
    docs = [ours.make_doc(text) for text in long]
    yield race(
        "pipe: articles, tokenised, windows of 128",
        work=sum(map(len, docs)),
        unit="tokens/s",
        ours=_pipe(ours, docs),
        stock=_pipe(stock, docs),
        settings=settings,
        goal=1.5,
    )
    attrs["window"] = None
    yield race(
        "pipe: Stockmark sentences, as text",
        work=sum(len(ours.make_doc(text)) for text in sentences),
        unit="tokens/s",
        ours=lambda: list(ours.pipe(sentences)),
        stock=lambda: list(stock.pipe(sentences)),
        settings=settings,
    )
    if settings.precision != "fp32":  # as the bare encoder below is
        return
    for name, texts, length in (("Stockmark sentences", sentences, 128), ("articles", long, 512)):
        docs = [ours.make_doc(text) for text in texts]
        pieces = sum(
            doc._.trf_data.wordpieces.input_ids.size for doc in ours.pipe(fresh(ours, docs))
        )
        windows = round(pieces / length)
        yield race(
            f"limit: {name} / bare encoder, {length} pieces",
            work=pieces,
            stock_work=windows * length,
            unit="pieces/s",
            ours=_pipe(ours, docs),
            stock=_bare(ours, windows, length),
            settings=settings,
            goal=0.85,
        )


def _pipe(nlp: Language, docs: list[Doc]) -> Callable[[], object]:
    return lambda: list(nlp.pipe(fresh(nlp, docs)))


def _bare(nlp: Language, windows: int, length: int) -> Callable[[], object]:
    """The encoder alone, over full windows of random ids, as many at once as `nlp` allows."""
    transformer = nlp.get_pipe("transformer")
    encoder = transformer.encoder
    ids = torch.from_numpy(
        np.random.default_rng(0).integers(5, encoder.model.config.vocab_size, (windows, length))
    )
    budget = transformer.model.shims[0].budget(transformer.model.attrs["max_batch_pieces"])
    batches = ids.split(budget // length)

    def forward() -> None:
        encoder.model.eval()
        with torch.inference_mode():
            for batch in batches:
                encoder(batch)

    return forward
