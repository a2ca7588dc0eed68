"""What each measure gives: ours as it is ("ours") beside ours with one thing done otherwise
("stock"), the pipeline being the same.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from spacy.language import Language
from spacy.training import Example
from thinc.api import Optimizer

from spacy_jbert.encoder.checkpoint import Encoder
from spacy_jbert.models import run as run_module
from spacy_jbert.models import shim as shim_module
from spacy_jbert.models.shim import EncoderShim
from spacy_jbert.wordpieces.windows import batch_windows

from .measure import Row, Settings, compare, race
from .pipelines import CORPORA, OURS, articles, build, fresh, gsd, queries, stockmark
from .training import batches, update

Change = Callable[[Language], AbstractContextManager[Any]]


def run(settings: Settings) -> Iterator[Row]:
    """Padding first, which is counted, not timed; then speed.

    Nothing without real weights and corpora.
    """
    if settings.encoder is None or not CORPORA.is_dir():
        return
    nlp, optimizer = build(OURS, settings.encoder, gsd)
    documents, sentences = gsd(nlp), stockmark(nlp, 600)
    for name, examples in (("GSD documents", documents), ("Stockmark sentences", sentences)):
        for overhead in (8, 16, 64, 128, 10_000):
            pair = _padding(nlp, examples), _padding(nlp, examples, overhead=overhead)
            yield compare(
                f"padding: {name} / overhead {overhead}", "% of pieces", [pair], less_is_better=True
            )
    changes: dict[str, Change] = {
        "attention dropout 0.1": _attention_dropout,
        "all windows in one padded batch": _one_batch,
        **{f"overhead {n}": partial(_overhead, n) for n in (8, 16, 64, 128)},
        "padding between groups": _not_packed,
        **{f"{n} pieces at once on a CPU": partial(_at_once, n) for n in (256, 512, 4096)},
        "a mask where nothing is padded": _always_masked,
        "AdamW, a loop over weights": _adamw(foreach=False),
        "AdamW with foreach": _adamw(foreach=True),
        "spaCy's Adam for each weight": lambda nlp: patch.object(
            EncoderShim, "finish_update", _spacy_adam
        ),
        "a gradient of all embeddings for each batch": lambda nlp: patch.object(
            shim_module, "_rows_of_embeddings", lambda encoder: nullcontext()
        ),
        "windows of 128, 32 shared": lambda nlp: _attributes(nlp, window=130, overlap=32),
        **{f"the last {n} layers alone learn": partial(_last_layers, n) for n in (6, 4)},
    }
    for name, examples in (("GSD documents", documents), ("Stockmark sentences", sentences)):
        steps, work = update(nlp, optimizer, batches(examples, 1))
        for change, context in changes.items():
            yield _ours_and(
                f"fine-tuning: {name} / {change}", nlp, steps, context, work=work, settings=settings
            )
    piping: dict[str, Change] = {
        "all windows in one padded batch": _one_batch,
        **{f"overhead {n}": partial(_overhead, n) for n in (8, 16, 64)},
        "padding between groups": _not_packed,
        **{f"{n} pieces at once on a CPU": partial(_at_once, n) for n in (256, 512, 4096)},
        **{
            f"{n} pieces at once": partial(_attributes, max_batch_pieces=n)
            for n in (1024, 2048, 8192)
        },
        **{f"windows of {n}": partial(_attributes, window=n) for n in (128, 256)},
        **{
            f"windows of {n}, nothing shared": partial(_attributes, window=n, overlap=0)
            for n in (128, 256, 512)
        },
    }
    for name, texts in (
        ("ASDC queries", queries(192)),
        ("Stockmark sentences", [eg.text for eg in sentences[:96]]),
        ("articles", articles(2)),
    ):
        docs = [nlp.make_doc(text) for text in texts]
        for change, context in piping.items():
            pipe = lambda docs=docs: list(nlp.pipe(fresh(nlp, docs)))  # noqa: E731
            yield _ours_and(
                f"pipe: {name} / {change}",
                nlp,
                pipe,
                context,
                work=sum(map(len, docs)),
                settings=settings,
            )


def _ours_and(
    what: str,
    nlp: Language,
    call: Callable[[], object],
    change: Change,
    *,
    work: int,
    settings: Settings,
) -> Row:
    def changed() -> None:
        with change(nlp):
            call()

    return race(what, work=work, unit="tokens/s", ours=call, stock=changed, settings=settings)


def _padding(nlp: Language, examples: Sequence[Example], **settings: int) -> float:
    """The share of padding in what the encoder sees, training batch after training batch."""
    transformer = nlp.get_pipe("transformer")
    special, limit, budget = (
        sum(map(len, transformer.encoder.special_ids)),
        transformer.encoder.max_pieces,
        transformer.model.shims[0].budget(transformer.model.attrs["max_batch_pieces"]),
    )
    real = seen = 0
    for batch in batches(examples, len(examples)):
        lengths = [
            min(len(pieces.ids) + special, limit)
            for pieces in transformer.segmenter([eg.predicted for eg in batch])
        ]
        real += sum(lengths)
        seen += sum(
            len(windows) * lengths[windows[0]]
            for windows in batch_windows(lengths, budget, **settings)
        )
    return 100 * (1 - real / seen)


def _shim(nlp: Language) -> EncoderShim:
    return nlp.get_pipe("transformer").model.shims[0]


def _one_batch(nlp: Language) -> AbstractContextManager[Any]:
    def batch(lengths: Sequence[int], budget: int, overhead: int) -> list[list[int]]:
        # The longest first, as `run_windows` expects.
        return [sorted(range(len(lengths)), key=lambda i: -lengths[i])]

    return patch.object(run_module, "batch_windows", batch)


def _overhead(pieces: int, nlp: Language) -> AbstractContextManager[Any]:
    return patch.object(run_module, "batch_overhead", lambda encoder: pieces)


def _not_packed(nlp: Language) -> AbstractContextManager[Any]:
    return patch.object(Encoder, "packs", False)


def _at_once(pieces: int, nlp: Language) -> AbstractContextManager[Any]:
    width = nlp.get_pipe("transformer").encoder.width
    return patch.object(run_module, "_MOST_ON_CPU", pieces * width)


def _last_layers(n: int, nlp: Language) -> AbstractContextManager[Any]:
    return patch.object(_shim(nlp), "train_layers", n)


@contextmanager
def _attributes(nlp: Language, **attributes: int) -> Iterator[None]:
    attrs = nlp.get_pipe("transformer").model.attrs
    before = dict(attrs)
    attrs.update(attributes)
    yield
    attrs.update(before)


@contextmanager
def _attention_dropout(nlp: Language) -> Iterator[None]:
    modules = [
        module
        for module in nlp.get_pipe("transformer").encoder.model.modules()
        if hasattr(module, "dropout_prob")
    ]
    assert modules
    for module in modules:
        module.dropout_prob = 0.1
    yield
    for module in modules:
        module.dropout_prob = 0.0


def _always_masked(nlp: Language) -> AbstractContextManager[Any]:
    run = Encoder.__call__

    def masked(
        encoder: Encoder, ids: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        return run(encoder, ids, torch.ones_like(ids) if mask is None else mask)

    return patch.object(Encoder, "__call__", masked)


def _adamw(foreach: bool) -> Change:
    """AdamW of another kind, with moments of its own."""
    kept: torch.optim.AdamW | None = None
    adamw = torch.optim.AdamW

    @contextmanager
    def change(nlp: Language) -> Iterator[None]:
        nonlocal kept
        shim = _shim(nlp)
        ours, shim._optimizer = shim._optimizer, kept
        with patch.object(
            torch.optim,
            "AdamW",
            lambda groups, lr, fused: adamw(groups, lr=lr, foreach=foreach, fused=False),
        ):
            yield
        kept, shim._optimizer = shim._optimizer, ours

    return change


def _spacy_adam(shim: EncoderShim, optimizer: Optimizer) -> None:
    """What thinc's PyTorchShim does: spaCy's own Adam, weight after weight, each clipped by its own
    norm.
    """
    for name, weight in shim.require_encoder().model.named_parameters():
        if weight.grad is not None:
            updated, _ = optimizer((shim.id, name), weight.detach().numpy(), weight.grad.numpy())
            weight.data = torch.from_numpy(updated)
            weight.grad = None
