"""What torch does in one step of training and in one prediction, counted: kernels, casts, waiting."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from spacy.language import Language
from spacy.training import Example
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from spacy_jbert.models import shim
from spacy_jbert.models.shim import matrix_products

from ..conftest import SENTENCES, listener
from .conftest import train, transformer

MODEL = {"@architectures": "spacy-jbert.TokenClassifier.v1", "tok2vec": listener()}
HEADS = [("ner", "jbert_ner", {"model": MODEL})]
MakeNLP = Callable[..., Language]
Examples = Callable[[Language], list[Example]]


def counted(call: Callable[[], object]) -> Counter[str]:
    """How often each operation of torch was called."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        call()
    return Counter({event.key: event.count for event in profiler.key_averages()})


class CastsOfWeights(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how often each of an encoder's weights is converted."""

    def __init__(self, nlp: Language) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        model = transformer(nlp).encoder.model
        self.names = {weight.data_ptr(): name for name, weight in model.named_parameters()}
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default and args[0].data_ptr() in self.names:
            self.found[self.names[args[0].data_ptr()]] += 1
        return func(*args, **(kwargs or {}))


def waits(counts: Counter[str]) -> int:
    """How often the host asked for a number that a device may not have yet."""
    return counts["aten::_local_scalar_dense"] + counts["aten::is_nonzero"] + counts["aten::all"]


@pytest.mark.parametrize("family", ["bert-fast", "xlm-roberta"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("batch", [4096, 64])
def test_prediction(
    make_nlp: MakeNLP, ner_examples: Examples, family: str, precision: str, batch: int
) -> None:
    nlp = make_nlp(HEADS, ner_examples, family, precision=precision, max_batch_pieces=batch)
    docs = [nlp.make_doc(text) for text in SENTENCES]
    model = transformer(nlp).model
    first = model.predict(docs).rows
    counts = counted(lambda: model.predict(docs))
    assert waits(counts) == 0
    # Two layers of six matrices, one attention, one activation and two norms; the embeddings' norm.
    n_batches = counts["aten::gelu"] // 2
    assert n_batches == (1 if batch == 4096 else 9)
    assert counts["aten::addmm"] == 12 * n_batches
    assert counts["aten::layer_norm"] == 5 * n_batches
    if precision == "fp32":
        assert counts["aten::_to_copy"] == 0
    with CastsOfWeights(nlp) as casts:
        again = model.predict(docs).rows
    assert not casts.found
    assert (again == first).all()


@pytest.mark.parametrize("family", ["bert-fast", "xlm-roberta"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_step_of_training(
    make_nlp: MakeNLP, ner_examples: Examples, family: str, precision: str
) -> None:
    nlp = make_nlp(HEADS, ner_examples, family, precision=precision)
    examples = ner_examples(nlp)
    train(nlp, examples, 1)
    counts = counted(lambda: train(nlp, examples, 1))
    n_weights = len(list(transformer(nlp).encoder.model.parameters()))
    # On a CPU, AdamW looks up for each weight which step it is at.
    assert waits(counts) == n_weights
    assert counts["aten::addmm"] == 12
    assert counts["aten::_fused_adamw_"] == 2
    with CastsOfWeights(nlp) as casts:
        train(nlp, examples, 1)
    # Matrices and biases of the twelve, each once.
    assert set(casts.found.values()) == ({1} if precision == "bf16" else set())
    assert len(casts.found) == (24 if precision == "bf16" else 0)


def test_what_is_learned_is_cast_again(make_nlp: MakeNLP, ner_examples: Examples) -> None:
    nlp = make_nlp(HEADS, ner_examples, precision="bf16")
    doc = nlp.make_doc(SENTENCES[0])
    model = transformer(nlp).model
    before = model.predict([doc]).rows
    train(nlp, ner_examples(nlp), 2)
    learned = model.predict([doc]).rows
    assert (learned != before).any()
    with CastsOfWeights(nlp) as casts:
        assert (model.predict([doc]).rows == learned).all()
    assert not casts.found


@pytest.mark.parametrize(("tf32", "inside"), [(True, "high"), (False, "highest")])
def test_matrix_products_of_a_card(tf32: bool, inside: str) -> None:
    before = torch.get_float32_matmul_precision()
    with matrix_products(torch.device("cuda"), tf32=tf32):
        assert torch.get_float32_matmul_precision() == inside
    assert torch.get_float32_matmul_precision() == before
    with matrix_products(torch.device("cpu"), tf32=tf32):
        assert torch.get_float32_matmul_precision() == before


def test_training_and_prediction_multiply_as_is_set(
    make_nlp: MakeNLP, ner_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    @contextmanager
    def noted(device: torch.device, *, tf32: bool) -> Iterator[None]:
        asked.append(tf32)
        yield

    monkeypatch.setattr(shim, "matrix_products", noted)
    for tf32 in (True, False):
        nlp = make_nlp(HEADS, ner_examples, tf32=tf32)
        asked.clear()
        nlp(SENTENCES[0])
        assert asked == [tf32]
        train(nlp, ner_examples(nlp), 1)
        assert asked == [tf32] * 3  # forward, and backward
