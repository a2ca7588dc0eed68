"""Training `jbert_transformer`: heads of all kinds, what learns and at which rate, precision,
memory.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam, Optimizer, warmup_linear

from spacy_jbert.models import shim

from ..conftest import FAMILIES, SENTENCES, listener, stock_listener
from .conftest import (
    LONG,
    MakeNLP,
    changed,
    scores,
    tagged,
    tagger,
    train,
    transformer,
    vectors,
    weights,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains(family: str, make_nlp: MakeNLP, ner_examples: Callable) -> None:
    nlp = make_nlp([("ner", "jbert_ner", {})], ner_examples, family=family)
    before = weights(nlp)
    first = train(nlp, ner_examples(nlp), 1)["ner"]
    assert train(nlp, ner_examples(nlp), 4)["ner"] < first
    assert changed(before, weights(nlp))


@pytest.mark.parametrize("own", [True, False])
def test_stock_components_train_on_it(own: bool, make_nlp: MakeNLP, tmp_path: Path) -> None:
    tok2vec = listener() if own else stock_listener()
    parser = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "extra_state_tokens": False,
        "hidden_width": 8,
        "maxout_pieces": 1,
    }
    parser |= {"use_upper": False, "tok2vec": tok2vec}
    heads = [
        ("tagger", "tagger", {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}}),
        ("parser", "parser", {"model": {**parser, "state_type": "parser"}, "min_action_freq": 1}),
        ("ner", "ner", {"model": {**parser, "state_type": "ner"}}),
        (
            "spancat",
            "spancat",
            {"model": {"@architectures": "spacy.SpanCategorizer.v1", "tok2vec": tok2vec}},
        ),
        (
            "textcat",
            "textcat",
            {
                "model": {
                    "@architectures": "spacy.TextCatReduce.v1",
                    "tok2vec": tok2vec,
                    "use_reduce_mean": True,
                }
            },
        ),
    ]
    for name in ("reducer", "scorer"):
        layer = (
            {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 8}
            if name == "reducer"
            else {"@layers": "spacy.LinearLogistic.v1"}
        )
        heads[3][2]["model"][name] = layer
    heads[4][2]["model"] |= {
        "exclusive_classes": True,
        "use_reduce_first": False,
        "use_reduce_last": False,
        "use_reduce_max": False,
    }
    nlp = make_nlp(heads, tagged)
    assert len(transformer(nlp).listeners) == 5
    before = weights(nlp)
    losses = train(nlp, tagged(nlp), 3)
    assert changed(before, weights(nlp))
    assert all(type(losses[name]) is float for name in ("transformer",))
    assert losses["transformer"] > 0
    # Documents without pieces, or without tokens, in a training batch.
    odd = [
        Example(nlp.make_doc(text), Doc(nlp.vocab, words=list(text), spaces=[False] * len(text)))
        for text in ("", " ")
    ]
    nlp.update([*odd, *tagged(nlp)[:2]], sgd=Adam(1e-3))
    nlp.update(odd[:1], sgd=Adam(1e-3))
    nlp.to_disk(tmp_path)
    texts = [*SENTENCES[:5], "", " "]
    for doc, again in zip(nlp.pipe(texts), spacy.load(tmp_path).pipe(texts), strict=True):
        assert doc.to_json() == again.to_json()
        assert doc.cats == again.cats


def test_frozen_and_annotating(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener())], tagged)
    before, head = weights(nlp), scores(nlp, SENTENCES[0])
    train(nlp, tagged(nlp), exclude=["transformer"], annotates=["transformer"])
    assert not changed(before, weights(nlp))
    assert not np.allclose(scores(nlp, SENTENCES[0]), head)


def test_two_transformers(make_nlp: MakeNLP, checkpoint: Callable, tmp_path: Path) -> None:
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    for which, family in (("one", "bert-fast"), ("two", "electra")):
        nlp.add_pipe("jbert_transformer", name=which, config={"model": {"overlap": 8}})
        name, factory, config = tagger(listener(upstream=which), f"tagger_{which}")
        nlp.add_pipe(factory, name=name, config=config)
        loader = {"@misc": "spacy-jbert.HFEncoder.v1", "name": str(checkpoint(family))}
        nlp.config["initialize"]["components"][which] = {"encoder": loader}
    nlp.initialize(lambda: tagged(nlp))
    before = weights(nlp, "one"), weights(nlp, "two")
    train(nlp, tagged(nlp))
    assert changed(before[0], weights(nlp, "one"))
    assert changed(before[1], weights(nlp, "two"))
    assert [len(transformer(nlp, which).listeners) for which in ("one", "two")] == [1, 1]
    nlp.to_disk(tmp_path)
    assert [token.tag_ for token in spacy.load(tmp_path)(SENTENCES[0])] == [
        token.tag_ for token in nlp(SENTENCES[0])
    ]


def gradients(nlp: Language) -> list[torch.Tensor]:
    return [
        p.grad.clone() for p in transformer(nlp).encoder.model.parameters() if p.grad is not None
    ]


def test_gradients_add_up(make_nlp: MakeNLP) -> None:
    """Two small batches without a step between give the gradient of one large batch (the tagger's
    loss is a sum).
    """
    found = []
    for batches in (slice(0, 8),), (slice(0, 4), slice(4, 8)):
        nlp = make_nlp([tagger(listener())], tagged)
        train_first(nlp)
        examples = tagged(nlp)
        for batch in batches:
            nlp.update(examples[batch], sgd=False)
        found.append(gradients(nlp))
        nlp.get_pipe("transformer").finish_update(Adam(1e-3))
        assert gradients(nlp) == []
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


def test_embeddings_get_the_whole_gradient(
    make_nlp: MakeNLP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row by row, from several batches of windows, some of them computed twice, it is what torch
    makes of it at once.
    """
    found = []
    for rows in (True, False):
        if not rows:
            monkeypatch.setattr(shim, "_rows_of_embeddings", lambda encoder: nullcontext())
        nlp = make_nlp([tagger(listener())], tagged, max_batch_pieces=64)
        train_first(nlp)
        nlp.update(tagged(nlp), sgd=False)
        embeddings = transformer(nlp).encoder.model.get_input_embeddings()
        assert not embeddings.sparse
        assert embeddings.weight.grad.any()
        found.append(embeddings.weight.grad)
    torch.testing.assert_close(*found)


def train_first(nlp: Language) -> None:
    """The tagger's output layer begins with zeros, which let no gradient through."""
    rng = np.random.default_rng(0)
    for pipe in ("tagger", "tagger_one", "tagger_two"):
        if pipe in nlp.pipe_names:
            softmax = nlp.get_pipe(pipe).model.get_ref("softmax")
            softmax.set_param("W", rng.normal(0, 0.3, softmax.get_param("W").shape).astype("f"))


def test_two_listeners_send_the_sum(make_nlp: MakeNLP) -> None:
    heads = [tagger(listener(), "tagger_one"), tagger(stock_listener(), "tagger_two")]
    found = []
    for kept in ((0, 1), (0,), (1,)):
        nlp = make_nlp(heads, tagged)
        train_first(nlp)
        for i in (0, 1):
            if i not in kept:
                nlp.remove_pipe(heads[i][0])
                transformer(nlp).listener_map.pop(heads[i][0], None)
        nlp.update(tagged(nlp), sgd=False)
        found.append(gradients(nlp))
    for both, one, two in zip(*found, strict=True):
        np.testing.assert_allclose(both, one + two, rtol=1e-4, atol=1e-4)


def test_grad_factor(make_nlp: MakeNLP) -> None:
    found = []
    for factor in (1.0, 0.5):
        nlp = make_nlp([tagger(listener(grad_factor=factor))], tagged)
        train_first(nlp)
        nlp.update(tagged(nlp), sgd=False)
        found.append(gradients(nlp))
    for whole, half in zip(*found, strict=True):
        np.testing.assert_allclose(0.5 * whole, half, atol=1e-6)


def step(nlp: Language, optimizer: Optimizer, gradient: float = 1.0) -> dict[str, torch.Tensor]:
    """One step with a gradient that is the same everywhere.

    RETURNS: How far each weight moved.
    """
    model = transformer(nlp).encoder.model
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, gradient)
    transformer(nlp).finish_update(optimizer)
    return {name: weight.detach() - before[name] for name, weight in model.named_parameters()}


def test_decay_spares_biases_and_layer_norms(make_nlp: MakeNLP) -> None:
    nlp = make_nlp()
    before = {
        name: weight.detach().clone()
        for name, weight in transformer(nlp).encoder.model.named_parameters()
    }
    # Without a gradient to speak of, Adam's own step is the same for all; decay comes on top.
    moved = step(nlp, Adam(0.1, L2=0.5, grad_clip=0.0, eps=1.0), gradient=0.0)
    for name, by in moved.items():
        expected = (
            torch.zeros_like(by) if "bias" in name or "LayerNorm" in name else -0.05 * before[name]
        )
        torch.testing.assert_close(by, expected, msg=name)


@pytest.mark.parametrize("family", ["bert-fast", "albert", "modernbert"])
def test_layer_decay(family: str, make_nlp: MakeNLP) -> None:
    nlp = make_nlp(family=family, layer_decay=0.5)
    moved = {
        name: by.abs().mean().item()
        for name, by in step(nlp, Adam(0.01, L2=0.0, grad_clip=0.0)).items()
    }
    layers = {
        "albert": {"albert_layers.0": 1.0},
        "modernbert": {"layers.0.": 0.5, "layers.1.": 1.0, "final_norm": 1.0},
    }
    expected = layers.get(family, {"layer.0.": 0.5, "layer.1.": 1.0}) | {
        "embeddings.": {"albert": 0.5}.get(family, 0.25)
    }
    for part, scale in expected.items():
        assert [by for name, by in moved.items() if part in name] == pytest.approx(
            [0.01 * scale for name in moved if part in name], rel=1e-3
        ), part
        assert any(part in name for name in moved)


def test_clipping_is_of_the_global_norm(make_nlp: MakeNLP) -> None:
    nlp = make_nlp()
    model = transformer(nlp).encoder.model
    n = sum(weight.numel() for weight in model.parameters())
    # With an eps that dwarfs it, Adam's step is proportional to the clipped gradient.
    moved = step(nlp, Adam(1e6, L2=0.0, grad_clip=1.0, eps=1e6), gradient=100.0)
    for by in moved.values():
        torch.testing.assert_close(by, torch.full_like(by, -(n**-0.5)), rtol=1e-2, atol=0)


def test_the_rate_follows_the_schedule(make_nlp: MakeNLP) -> None:
    nlp = make_nlp()
    optimizer = Adam(warmup_linear(0.1, 2, 4), L2=0.0, grad_clip=0.0)
    found = []
    for _ in range(4):
        found.append(step(nlp, optimizer)["embeddings.word_embeddings.weight"].abs().mean().item())
        optimizer.step_schedules()
    assert found == pytest.approx([0.0, 0.05, 0.1, 0.05], abs=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision(precision: str, make_nlp: MakeNLP) -> None:
    """Vectors and gradients are those of full precision, nearly; the weights stay fp32 and learn."""
    full, half = (
        make_nlp([tagger(listener())], tagged, precision=setting) for setting in ("fp32", precision)
    )
    assert vectors(half(SENTENCES[0])).dtype == np.float32
    np.testing.assert_allclose(vectors(half(SENTENCES[0])), vectors(full(SENTENCES[0])), atol=0.1)
    found = []
    for nlp in (full, half):
        train_first(nlp)
        shim = transformer(nlp).model.shims[0]
        # Steps that change nothing, for the scale of the loss to fall until fp16 can hold the
        # gradients.
        for _ in range(12 if precision == "fp16" else 0):
            nlp.update(tagged(nlp), sgd=False)
            transformer(nlp).finish_update(Adam(0.0))
        nlp.update(tagged(nlp), sgd=False)
        scale = shim._scaler.get_scale() if shim._scaler else 1.0
        found.append(torch.cat([gradient.flatten() / scale for gradient in gradients(nlp)]))
    assert (found[0] - found[1]).norm() < 0.1 * found[0].norm()
    before = weights(nlp)
    train(nlp, tagged(nlp))
    assert changed(before, weights(nlp))
    assert all(weight.dtype == torch.float32 for weight in weights(nlp))


def test_fp16_skips_a_step_that_overflows(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener())], tagged, precision="fp16")
    train(nlp, tagged(nlp))
    before, scale = weights(nlp), transformer(nlp).model.shims[0]._scaler.get_scale()
    nlp.update(tagged(nlp), sgd=False)
    next(w for w in transformer(nlp).encoder.model.parameters() if w.grad is not None).grad.fill_(
        torch.inf
    )
    transformer(nlp).finish_update(Adam(1e-3))
    assert not changed(before, weights(nlp))
    assert transformer(nlp).model.shims[0]._scaler.get_scale() == scale / 2


def test_frozen_without_annotations(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener())], tagged)
    with pytest.raises(ValueError, match=r"E203.*annotating"):
        train(nlp, tagged(nlp), exclude=["transformer"])


@pytest.mark.parametrize("how", ["train_layers", "grad_factor"])
def test_no_gradient_is_computed_for_a_frozen_encoder(how: str, make_nlp: MakeNLP) -> None:
    settings = {"train_layers": 0} if how == "train_layers" else {}
    nlp = make_nlp([tagger(listener(grad_factor=float(how == "train_layers")))], tagged, **settings)
    train_first(nlp)
    before, head = weights(nlp), scores(nlp, SENTENCES[0])
    nlp.update(tagged(nlp), sgd=False)
    assert gradients(nlp) == []
    train(nlp, tagged(nlp))
    assert not changed(before, weights(nlp))
    assert not np.allclose(scores(nlp, SENTENCES[0]), head)


def test_an_encoder_that_doesnt_learn_runs_as_in_prediction(make_nlp: MakeNLP) -> None:
    nlp = make_nlp(train_layers=0)
    transformer(nlp).encoder.model.config.hidden_dropout_prob = 0.9
    for module in transformer(nlp).encoder.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.9
    docs = [nlp.make_doc(text) for text in SENTENCES[:3]]
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor), lambda _: torch.zeros(0)
    ):
        batch, _ = transformer(nlp).model.begin_update(docs)
    assert kept == []
    for data, doc in zip(batch.doc_data, docs, strict=True):
        np.testing.assert_allclose(
            data.model_output.last_hidden_state[0], vectors(transformer(nlp)(doc)), atol=1e-6
        )


def moving(nlp: Language, steps: int) -> list[set[str]]:
    """The parts of the encoder that change in each step."""
    parts = ("embeddings.", "layer.0.", "layer.1.")
    found = []
    for _ in range(steps):
        before = {
            name: weight.detach().clone()
            for name, weight in transformer(nlp).encoder.model.named_parameters()
        }
        train(nlp, tagged(nlp), 1)
        after = dict(transformer(nlp).encoder.model.named_parameters())
        found.append(
            {
                part
                for part in parts
                for name in before
                if part in name and not torch.equal(before[name], after[name])
            }
        )
    return found


def test_the_last_layers_learn(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener())], tagged, train_layers=1)
    train_first(nlp)
    assert moving(nlp, 2) == [{"layer.1."}] * 2


def test_gradual_unfreezing(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener())], tagged, unfreeze_steps=2)
    train_first(nlp)
    everything = {"embeddings.", "layer.0.", "layer.1."}
    assert (
        moving(nlp, 8)
        == [set()] * 2 + [{"layer.1."}] * 2 + [{"layer.0.", "layer.1."}] * 2 + [everything] * 2
    )
    nlp = make_nlp([tagger(listener())], tagged, unfreeze_steps=1, train_layers=1)
    train_first(nlp)
    assert moving(nlp, 4) == [set()] + [{"layer.1."}] * 3


def learned(make_nlp: MakeNLP, text: str = LONG, **settings: Any) -> torch.Tensor:
    """The gradient of all weights after one batch with a long document."""
    nlp = make_nlp([tagger(listener())], tagged, **settings)
    train_first(nlp)
    doc = nlp.make_doc(text)
    long = Example(
        doc,
        Doc(nlp.vocab, [t.text for t in doc], tags=["mark" if t.is_punct else "word" for t in doc]),
    )
    torch.manual_seed(1)
    nlp.update([*tagged(nlp), long], sgd=False)
    return torch.cat([gradient.flatten() for gradient in gradients(nlp)])


@pytest.mark.parametrize(
    "family", ["bert-fast", "xlm-roberta", "deberta-v2", "llama", "modernbert", "electra"]
)
def test_gradient_checkpointing(family: str, make_nlp: MakeNLP) -> None:
    expected = learned(make_nlp, family=family)
    torch.testing.assert_close(
        learned(make_nlp, family=family, gradient_checkpointing=True), expected
    )
    # Within batches that are computed twice themselves.
    again = learned(make_nlp, family=family, gradient_checkpointing=True, max_batch_pieces=128)
    torch.testing.assert_close(again, learned(make_nlp, family=family, max_batch_pieces=128))


def test_gradient_checkpointing_with_autocast(make_nlp: MakeNLP) -> None:
    expected = learned(make_nlp, precision="bf16")
    torch.testing.assert_close(
        learned(make_nlp, precision="bf16", gradient_checkpointing=True), expected
    )


def test_gradient_checkpointing_that_a_model_lacks(make_nlp: MakeNLP) -> None:
    with pytest.raises(ValueError, match=r"J042.*Albert"):
        make_nlp(family="albert", gradient_checkpointing=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_computed_twice_learns_the_same(
    precision: str, make_nlp: MakeNLP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even with dropout, which has to leave out the same the second time."""
    settings = {"max_batch_pieces": 128, "hidden_dropout": 0.3, "precision": precision}
    twice = learned(make_nlp, **settings)
    calls = []

    def keep(encoder: Callable, *inputs: torch.Tensor, **_: Any) -> torch.Tensor:
        calls.append(inputs)
        return encoder(*inputs)

    monkeypatch.setattr("spacy_jbert.models.shim.checkpoint", keep)
    torch.testing.assert_close(learned(make_nlp, **settings), twice)
    assert len(calls) > 3


def test_memory_of_training_is_that_of_the_budget_not_of_the_document(make_nlp: MakeNLP) -> None:
    nlp = make_nlp(max_batch_pieces=256)
    kept = []
    for times in (2, 8):
        sizes: list[int] = []

        def keep(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            transformer(nlp).model.begin_update([nlp.make_doc(LONG * times)])
        kept.append(sum(sizes))
    # Beyond the budget only ids and the places of rows are kept.
    assert kept[1] < 1.1 * kept[0]


def test_nothing_is_cached_for_generating(make_nlp: MakeNLP) -> None:
    assert transformer(make_nlp(family="llama")).encoder.model.config.use_cache is False
