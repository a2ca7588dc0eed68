"""Windows without padding between them: the same vectors and gradients as the model's own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from spacy.language import Language
from spacy.training import Example
from transformers import (
    BertConfig,
    BertModel,
    CamembertConfig,
    CamembertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from spacy_jbert.encoder.checkpoint import Encoder
from spacy_jbert.encoder.packed import Group, can_be_packed, padding, positions, run_packed
from spacy_jbert.models import run
from spacy_jbert.models.shim import EncoderShim
from spacy_jbert.models.span_qa import build_span_qa

from ..conftest import SENTENCES, listener
from ..pipeline.conftest import train, transformer

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "pad_token_id": 1,
}
FAMILIES = {
    "bert": (BertModel, BertConfig),
    "roberta": (RobertaModel, RobertaConfig),
    "xlm-roberta": (XLMRobertaModel, XLMRobertaConfig),
    "camembert": (CamembertModel, CamembertConfig),
}
MODEL = {"@architectures": "spacy-jbert.TokenClassifier.v1", "tok2vec": listener()}
HEADS = [("ner", "jbert_ner", {"model": MODEL})]


def make_model(family: str, **changed: Any) -> PreTrainedModel:
    cls, config = FAMILIES[family]
    torch.manual_seed(0)
    model = cls(config(**SIZES | changed), add_pooling_layer=False).eval().double()
    # As it begins, the embeddings of padding are zero and all positions nearly are.
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 0.3)
    return model


def packed(
    model: PreTrainedModel, ids: list[NDArray], sizes: list[int], types: list[NDArray] | None
) -> list[torch.Tensor]:
    """Each window's vectors; `sizes`: how many windows each group has."""
    lengths = np.array([len(window) for window in ids])
    groups, begin = [], 0
    for of_group in np.split(lengths, np.cumsum(sizes)[:-1]):
        group = Group(len(of_group), of_group.max(), begin, begin + of_group.sum())
        if (found := padding(of_group)) is not None:
            group.place, group.mask = map(torch.from_numpy, found)
        groups.append(group)
        begin = group.end
    flat = np.concatenate(ids)
    output = run_packed(
        model,
        torch.from_numpy(flat),
        torch.from_numpy(positions(model, flat, lengths)),
        groups,
        None if types is None else torch.from_numpy(np.concatenate(types)),
    )
    return list(output.split(lengths.tolist()))


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Lengths of windows, and how many windows each group has."""
    lengths = draw(st.lists(st.integers(1, 20), min_size=1, max_size=12))
    sizes = []
    while sum(sizes) < len(lengths):
        sizes.append(draw(st.integers(1, len(lengths) - sum(sizes))))
    return lengths, sizes


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(batch=batches(), seed=st.integers(0, 99), typed=st.booleans(), with_pad=st.booleans())
def test_vectors_and_gradients_are_those_of_each_window_alone(
    family: str, batch: tuple[list[int], list[int]], seed: int, typed: bool, with_pad: bool
) -> None:
    lengths, sizes = batch
    model = make_model(family)
    random = np.random.default_rng(seed)
    # 1 is the padding's id.
    ids = [random.integers(0 if with_pad else 2, 50, length) for length in lengths]
    types = [random.integers(0, 2, length) for length in lengths] if typed else None
    alone = []
    for i, window in enumerate(ids):
        given_types = None if types is None else torch.from_numpy(types[i])[None]
        output = model(
            input_ids=torch.from_numpy(window)[None],
            # Without one, RoBERTa's family warns of padding.
            attention_mask=torch.ones((1, len(window))),
            token_type_ids=given_types,
        )
        alone.append(output.last_hidden_state[0])
    together = packed(model, ids, sizes, types)
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-10)
    wanted = torch.autograd.grad(sum(one.square().sum() for one in alone), model.parameters())
    found = torch.autograd.grad(sum(one.square().sum() for one in together), model.parameters())
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-8, atol=1e-8)


def test_dropout_of_attention_is_that_of_the_model() -> None:
    model = make_model("bert", attention_probs_dropout_prob=0.9, hidden_dropout_prob=0.0)
    ids = [np.arange(2, 12)]
    (still,) = packed(model, ids, [1], None)
    assert (packed(model, ids, [1], None)[0] == still).all()
    model.train()
    assert (packed(model, ids, [1], None)[0] != still).any()


def test_which_encoders_can_be_packed() -> None:
    assert all(can_be_packed(make_model(family)) for family in FAMILIES)
    assert not can_be_packed(make_model("bert", is_decoder=True))
    assert not can_be_packed(make_model("bert", position_embedding_type="relative_key"))


# --- In a pipeline --------------------------------------------------------------------------------


@contextmanager
def never_packed() -> Iterator[None]:
    with patch.object(Encoder, "packs", False):
        yield


@pytest.mark.parametrize("family", ["bert-fast", "xlm-roberta"])
@pytest.mark.parametrize("window", [None, 24])
@pytest.mark.parametrize("joined", [1, 64, 4096])
def test_prediction_is_the_same_as_with_padding(
    make_nlp: Callable[..., Language],
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    window: int | None,
    joined: int,
) -> None:
    monkeypatch.setattr(run, "_MOST_ON_CPU", joined * 16)
    nlp = make_nlp(family=family, window=window)
    docs = [nlp.make_doc(text) for text in (*SENTENCES, "", "　", "".join(SENTENCES))]
    model = transformer(nlp).model
    assert transformer(nlp).encoder.packs
    together = model.predict(docs).rows
    with never_packed():
        padded = model.predict(docs).rows
    np.testing.assert_allclose(together, padded, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("budget", [48, 4096])
def test_training_is_the_same_as_with_padding(
    make_nlp: Callable[..., Language],
    ner_examples: Callable[[Language], list[Example]],
    budget: int,
) -> None:
    """With 48 pieces at once most of a step is computed again for the backward pass."""

    def learned() -> dict[str, torch.Tensor]:
        nlp = make_nlp(HEADS, ner_examples, max_batch_pieces=budget, hidden_dropout=0.0)
        train(nlp, ner_examples(nlp), 3)
        return dict(transformer(nlp).encoder.model.named_parameters())

    together = learned()
    with never_packed():
        padded = learned()
    for name, weight in padded.items():
        torch.testing.assert_close(together[name], weight, rtol=1e-3, atol=2e-5)


def test_groups_go_through_together_as_far_as_they_may(
    make_nlp: Callable[..., Language], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = transformer(make_nlp()).encoder
    lengths = np.array([30, 3, 28, 2, 3, 30])
    monkeypatch.setattr(run, "batch_overhead", lambda encoder: 4)
    groups = [[0, 5, 2], [1, 4, 3]]
    assert list(run._batches(encoder, lengths, 4096, packed=True)) == [groups]
    assert list(run._batches(encoder, lengths, 95, packed=True)) == [[group] for group in groups]
    monkeypatch.setattr(run, "_MOST_ON_CPU", 90 * encoder.width)
    assert list(run._batches(encoder, lengths, 4096, packed=True)) == [[group] for group in groups]
    monkeypatch.setattr(run, "_MOST_ON_CPU", 1024 * encoder.width)
    alone = list(run._batches(encoder, lengths, 4096, packed=False))
    assert alone == [[group] for group in groups]


def test_a_card_is_given_as_much_as_it_has_memory_for() -> None:
    card: Any = SimpleNamespace(device=torch.device("cuda:0"))
    lengths = np.random.default_rng(0).integers(5, 80, 600)
    (all_groups,) = run._batches(card, lengths, 32_768, packed=True)
    assert len(all_groups) > 1
    assert sorted(np.concatenate(all_groups).tolist()) == list(range(len(lengths)))
    parts = [np.concatenate(groups) for groups in run._batches(card, lengths, 8_192, packed=True)]
    assert len(parts) > 1
    assert all(lengths[part].sum() <= 8_192 for part in parts)


def test_only_training_with_gradient_checkpointing_is_padded(
    make_nlp: Callable[..., Language], ner_examples: Callable[[Language], list[Example]]
) -> None:
    nlp = make_nlp(HEADS, ner_examples, gradient_checkpointing=True)
    with patch.object(run, "_padded", wraps=run._padded) as padded:
        list(nlp.pipe(SENTENCES))
        assert not padded.called
        train(nlp, ner_examples(nlp), 1)
        assert padded.called


def test_questions_of_nothing(make_nlp: Callable[..., Language]) -> None:
    model = build_span_qa()
    cast(EncoderShim, model.get_ref("vectors").shims[0]).encoder = transformer(make_nlp()).encoder
    model.initialize()
    assert model.predict([]).shape == (0, 2)
