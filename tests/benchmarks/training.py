"""Fine-tuning: `nlp.update` on batches as `spacy train` makes them, against stock with the same
weights.
"""

from collections.abc import Callable, Iterator, Sequence

from spacy.language import Language
from spacy.training import Example
from spacy.training.batchers import minibatch_by_words
from thinc.api import Optimizer

from .measure import Row, Settings, race
from .pipelines import CORPORA, OURS, STOCK, build, fresh_examples, gsd, stockmark


def run(settings: Settings) -> Iterator[Row]:
    """Documents and single sentences. Nothing without real weights and corpora."""
    if settings.encoder is None or not CORPORA.is_dir():
        return
    for name, read in (
        ("GSD documents", gsd),
        ("Stockmark sentences", lambda nlp: stockmark(nlp, 100)),
    ):
        pipelines = [
            build(config, settings.encoder, read, settings.precision) for config in (OURS, STOCK)
        ]
        for size, n in ((1000, 2), (300, 4)):
            (ours, n_tokens), (stock, n_stock) = (
                update(nlp, sgd, batches(read(nlp), n, size)) for nlp, sgd in pipelines
            )
            assert n_tokens == n_stock
            what = f"fine-tuning: {name}, batches of {size:,} tokens"
            yield race(
                what,
                work=n_tokens,
                unit="tokens/s",
                ours=ours,
                stock=stock,
                settings=settings,
                goal=2.5,
            )


def batches(examples: Sequence[Example], n: int, size: int = 1000) -> list[list[Example]]:
    """The first batches that `spacy.batch_by_words.v1` makes of examples."""
    return [
        batch
        for batch, _ in zip(
            minibatch_by_words(examples, size=size, tolerance=0.2), range(n), strict=False
        )
    ]


def update(
    nlp: Language, optimizer: Optimizer, batches: list[list[Example]]
) -> tuple[Callable[[], object], int]:
    """RETURNS: What takes one step for each batch, as `spacy train` does, and how many tokens that
    is.
    """

    def steps() -> None:
        for batch in batches:
            nlp.update(fresh_examples(nlp, batch), drop=0.1, sgd=False, losses={})
            for _, pipe in nlp.pipeline:
                pipe.finish_update(optimizer)

    return steps, sum(len(eg.predicted) for batch in batches for eg in batch)
