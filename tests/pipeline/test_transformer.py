"""`jbert_transformer` in pipelines: every family, stock heads, sharing, freezing, storage, training."""

import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam, Optimizer
from transformers import AutoModel, AutoTokenizer

from spacy_jbert.pipeline.transformer import JBertTransformer

from ..conftest import FAMILIES, SENTENCES, listener, stock_listener

MakeNLP = Callable[..., Language]
LONG = "".join(SENTENCES)  # several windows of 64 pieces


def vectors(doc: Doc) -> np.ndarray:
    return doc._.trf_data.model_output.last_hidden_state[0]


def transformer(nlp: Language, name: str = "transformer") -> JBertTransformer:
    pipe = nlp.get_pipe(name)
    assert isinstance(pipe, JBertTransformer)
    return pipe


def tagged(nlp: Language) -> list[Example]:
    """Something to learn for each stock head, made up from the sentences."""
    examples = []
    for sentence in SENTENCES[:8]:
        doc = nlp.make_doc(sentence)
        n = len(doc)
        gold = Doc(
            nlp.vocab,
            words=[token.text for token in doc],
            spaces=[bool(token.whitespace_) for token in doc],
            tags=["mark" if token.is_punct else "word" for token in doc],
            heads=[min(i + 1, n - 1) for i in range(n)],
            deps=["ROOT" if i == n - 1 else "dep" for i in range(n)],
            ents=["B-X" if i == 0 else "O" for i in range(n)],
        )
        gold.cats = {"long": float(n > 15), "short": float(n <= 15)}
        gold.spans["sc"] = [gold[0:1].char_span(0, len(gold[0].text), label="X")]
        examples.append(Example(doc, gold))
    return examples


def train(nlp: Language, examples: list[Example], steps: int = 3, **settings: Any) -> dict[str, float]:
    optimizer = Adam(1e-3, L2=0.01, grad_clip=1.0)
    losses: dict[str, float] = {}
    for _ in range(steps):
        losses = {}
        nlp.update([Example(nlp.make_doc(eg.text), eg.reference) for eg in examples], sgd=optimizer, losses=losses, **settings)
    return losses


def weights(nlp: Language, name: str = "transformer") -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in transformer(nlp, name).encoder.model.parameters()]


def changed(before: list[torch.Tensor], after: list[torch.Tensor]) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_are_those_of_the_plain_model_and_survive_storage(
    family: str, make_nlp: MakeNLP, checkpoint: Callable, tmp_path: Path
) -> None:
    nlp = make_nlp(family=family)
    model = AutoModel.from_pretrained(checkpoint(family)).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint(family))
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    for text in [*SENTENCES[:4], "ｶﾞｷﾞｸﾞ㍿"]:
        doc = nlp(text)
        with torch.inference_mode():
            expected = model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0].numpy()
        np.testing.assert_allclose(vectors(doc), expected, atol=1e-5)
        assert np.array_equal(vectors(again(text)), vectors(doc))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains(family: str, make_nlp: MakeNLP, ner_examples: Callable) -> None:
    nlp = make_nlp([("ner", "jbert_ner", {})], ner_examples, family=family)
    before = weights(nlp)
    first = train(nlp, ner_examples(nlp), 1)["ner"]
    assert train(nlp, ner_examples(nlp), 4)["ner"] < first
    assert changed(before, weights(nlp))


def test_trf_data(make_nlp: MakeNLP) -> None:
    nlp = make_nlp()
    doc = nlp("東京で 会う。")
    data = doc._.trf_data
    strings = data.wordpieces.strings[0]
    assert strings[0] == "[CLS]"
    assert strings[-1] == "[SEP]"
    assert data.model_output.last_hidden_state.shape == (1, len(strings), 16)
    assert data.model_output.last_hidden_state.base.size == vectors(doc).size  # nothing else is kept alive
    assert "".join(strings[1:-1]).replace("##", "") == "東京で会う。"
    for i, token in enumerate(doc):
        assert "".join(strings[row] for row in data.align[i].dataXd.reshape(-1)).replace("##", "") == token.text


def test_long_documents(make_nlp: MakeNLP) -> None:
    nlp = make_nlp()
    doc = nlp(LONG)
    strings = doc._.trf_data.wordpieces.strings[0]
    assert strings.count("[CLS]") == strings.count("[SEP]") > 5
    assert len(vectors(doc)) == len(strings)
    rows = doc._.trf_data.align.data.reshape(-1).tolist()
    assert [row for row, name in enumerate(strings) if name not in ("[CLS]", "[SEP]")] == sorted(set(rows))
    pieces = transformer(nlp).segmenter([doc])[0]
    assert len(set(rows)) == len(pieces.ids)
    # The first window sees what it would see alone.
    end = strings.index("[SEP]")
    alone = nlp(doc.text[: pieces.ends[end - 2]])
    np.testing.assert_allclose(vectors(alone)[1], vectors(doc)[1], atol=0.5)


def test_windows_too_small_for_the_overlap(make_nlp: MakeNLP) -> None:
    with pytest.raises(ValueError, match="J011"):
        make_nlp(window=16, overlap=8)("東京")


def test_a_batch_changes_no_vector(make_nlp: MakeNLP) -> None:
    nlp = make_nlp()
    texts = ["", LONG, *SENTENCES, " ", "\n\n", "あ"]
    alone = [nlp(text) for text in texts]
    for batch_size in (1, 7, 100):
        for doc, expected in zip(nlp.pipe(texts, batch_size=batch_size), alone, strict=True):
            if len(doc):
                np.testing.assert_allclose(vectors(doc), vectors(expected), atol=1e-5)


def test_empty_and_white_space_documents(make_nlp: MakeNLP) -> None:
    nlp = make_nlp()
    for texts in (["", ""], [" ", "\n"], ["", " "], ["", "東京"]):
        for doc in nlp.pipe(texts):
            assert len(doc._.trf_data.align.lengths) == len(doc)
    assert vectors(nlp(" ")).shape == (2, 16)
    assert vectors(nlp("")).shape == (0, 16)


@pytest.mark.parametrize("own", [True, False])
def test_stock_components_train_on_it(own: bool, make_nlp: MakeNLP, tmp_path: Path) -> None:
    tok2vec = listener() if own else stock_listener()
    parser = {"@architectures": "spacy.TransitionBasedParser.v2", "extra_state_tokens": False, "hidden_width": 8, "maxout_pieces": 1}
    parser |= {"use_upper": False, "tok2vec": tok2vec}
    heads = [
        ("tagger", "tagger", {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}}),
        ("parser", "parser", {"model": {**parser, "state_type": "parser"}, "min_action_freq": 1}),
        ("ner", "ner", {"model": {**parser, "state_type": "ner"}}),
        ("spancat", "spancat", {"model": {"@architectures": "spacy.SpanCategorizer.v1", "tok2vec": tok2vec}}),
        ("textcat", "textcat", {"model": {"@architectures": "spacy.TextCatReduce.v1", "tok2vec": tok2vec, "use_reduce_mean": True}}),
    ]
    for name in ("reducer", "scorer"):
        layer = {"@layers": "spacy.mean_max_reducer.v1", "hidden_size": 8} if name == "reducer" else {"@layers": "spacy.LinearLogistic.v1"}
        heads[3][2]["model"][name] = layer
    heads[4][2]["model"] |= {"exclusive_classes": True, "use_reduce_first": False, "use_reduce_last": False, "use_reduce_max": False}
    nlp = make_nlp(heads, tagged)
    assert len(transformer(nlp).listeners) == 5
    before = weights(nlp)
    losses = train(nlp, tagged(nlp), 3)
    assert changed(before, weights(nlp))
    assert all(type(losses[name]) is float for name in ("transformer",))
    assert losses["transformer"] > 0
    # Documents without pieces, or without tokens, in a training batch.
    odd = [Example(nlp.make_doc(text), Doc(nlp.vocab, words=list(text), spaces=[False] * len(text))) for text in ("", " ")]
    nlp.update([*odd, *tagged(nlp)[:2]], sgd=Adam(1e-3))
    nlp.update(odd[:1], sgd=Adam(1e-3))
    nlp.to_disk(tmp_path)
    texts = [*SENTENCES[:5], "", " "]
    for doc, again in zip(nlp.pipe(texts), spacy.load(tmp_path).pipe(texts), strict=True):
        assert doc.to_json() == again.to_json()
        assert doc.cats == again.cats


TAGGER = {"@architectures": "spacy.Tagger.v2"}


def tagger(tok2vec: dict[str, Any], name: str = "tagger") -> tuple[str, str, dict[str, Any]]:
    return name, "tagger", {"model": {**TAGGER, "tok2vec": tok2vec}}


def scores(nlp: Language, text: str, name: str = "tagger") -> np.ndarray:
    """The head's own output, which shows more than its labels."""
    doc = nlp(text)
    return nlp.get_pipe(name).model.predict([doc])[0]


@pytest.mark.parametrize("tok2vec", [listener(), listener(pooling="first"), stock_listener()], ids=["own", "first", "stock"])
def test_replace_listeners(tok2vec: dict, make_nlp: MakeNLP, tmp_path: Path) -> None:
    nlp = make_nlp([tagger(tok2vec)], tagged)
    train(nlp, tagged(nlp))
    expected = scores(nlp, SENTENCES[0])
    nlp.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    assert transformer(nlp).listeners == []
    np.testing.assert_allclose(scores(nlp, SENTENCES[0]), expected, atol=1e-6)
    nlp.remove_pipe("transformer")
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    np.testing.assert_allclose(scores(again, SENTENCES[0]), expected, atol=1e-6)
    # The copy learns too.
    train(again, tagged(again))
    assert not np.allclose(scores(again, SENTENCES[0]), expected, atol=1e-6)


def test_frozen_and_annotating(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener())], tagged)
    before, head = weights(nlp), scores(nlp, SENTENCES[0])
    train(nlp, tagged(nlp), exclude=["transformer"], annotates=["transformer"])
    assert not changed(before, weights(nlp))
    assert not np.allclose(scores(nlp, SENTENCES[0]), head)


def test_sourcing(make_nlp: MakeNLP, tmp_path: Path) -> None:
    source = make_nlp([tagger(listener())], tagged)
    train(source, tagged(source))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
        nlp.add_pipe("transformer", source=source)
        nlp.add_pipe("tagger", source=source)
    nlp.to_disk(tmp_path)
    for other in (nlp, spacy.load(tmp_path)):
        np.testing.assert_allclose(scores(other, SENTENCES[0]), scores(source, SENTENCES[0]), atol=1e-6)


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
    assert [token.tag_ for token in spacy.load(tmp_path)(SENTENCES[0])] == [token.tag_ for token in nlp(SENTENCES[0])]


def test_bytes_pickle_and_copies(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener())], tagged)
    train(nlp, tagged(nlp))
    expected = scores(nlp, SENTENCES[0])
    blank = spacy.blank("ja").from_config(nlp.config)
    assert np.array_equal(scores(blank.from_bytes(nlp.to_bytes()), SENTENCES[0]), expected)
    pipe = pickle.loads(pickle.dumps(transformer(nlp).model))
    assert np.array_equal(pipe.predict([nlp.make_doc(SENTENCES[0])]).doc_data[0].tensors[0][0], vectors(nlp(SENTENCES[0])))


@pytest.mark.parametrize("family", ["bert-fast", "mecab-unidic", "sudachi"])
def test_several_processes(family: str, make_nlp: MakeNLP) -> None:
    nlp = make_nlp(family=family)
    for doc, expected in zip(nlp.pipe(SENTENCES, n_process=2, batch_size=5), nlp.pipe(SENTENCES), strict=True):
        np.testing.assert_allclose(vectors(doc), vectors(expected), atol=1e-6)


def test_exclude(make_nlp: MakeNLP, tmp_path: Path) -> None:
    pipe = transformer(make_nlp())
    pipe.to_disk(tmp_path / "all")
    pipe.to_disk(tmp_path / "none", exclude=["model"])
    assert (tmp_path / "all" / "model" / "model.safetensors").is_file()
    assert not (tmp_path / "none" / "model").exists()
    blank = spacy.blank("ja").add_pipe("jbert_transformer")
    assert isinstance(blank, JBertTransformer)
    blank.from_disk(tmp_path / "none", exclude=["model"])
    with pytest.raises(ValueError, match="J001"):
        _ = blank.encoder
    blank.from_disk(tmp_path / "all", exclude=["cfg"])
    assert blank.encoder.width == 16


@pytest.mark.parametrize("broken", ["folder", "weights", "half the weights"])
def test_damaged_storage(broken: str, make_nlp: MakeNLP, tmp_path: Path) -> None:
    make_nlp().to_disk(tmp_path)
    folder = tmp_path / "transformer" / "model"
    if broken == "folder":
        shutil.rmtree(folder)
    elif broken == "weights":
        (folder / "model.safetensors").unlink()
    else:
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"J009.*'transformer'"):
        spacy.load(tmp_path)


def test_no_encoder(tmp_path: Path) -> None:
    nlp = spacy.blank("ja")
    nlp.add_pipe("jbert_transformer", name="brain")
    with pytest.raises(ValueError, match=r"J001.*brain"):
        nlp.initialize()
    with pytest.raises(ValueError, match="J001"):
        nlp("東京")
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path).pipe_names == ["brain"]


def test_settings_that_dont_exist() -> None:
    for settings in ({"precision": "fp8"}, {"words": "none"}):
        with pytest.raises(ValueError, match=r"J010|J005"):
            spacy.blank("ja").add_pipe("jbert_transformer", config={"model": settings})


def test_saved_pipelines_name_no_path(make_nlp: MakeNLP, checkpoint: Callable, tmp_path: Path) -> None:
    nlp = make_nlp()
    nlp.config["initialize"]["components"].pop("transformer")
    nlp.to_disk(tmp_path)
    for path in tmp_path.rglob("*.*"):
        if path.suffix in (".cfg", ".json"):
            assert str(checkpoint("bert-fast")) not in path.read_text(encoding="utf-8"), path


def gradients(nlp: Language) -> list[torch.Tensor]:
    return [p.grad.clone() for p in transformer(nlp).encoder.model.parameters() if p.grad is not None]


def test_gradients_add_up(make_nlp: MakeNLP) -> None:
    """Two small batches without a step between give the gradient of one large batch (the tagger's loss is a sum)."""
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
    """One step with a gradient that is the same everywhere. RETURNS: How far each weight moved."""
    model = transformer(nlp).encoder.model
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, gradient)
    transformer(nlp).finish_update(optimizer)
    return {name: weight.detach() - before[name] for name, weight in model.named_parameters()}


def test_decay_spares_biases_and_layer_norms(make_nlp: MakeNLP) -> None:
    nlp = make_nlp()
    before = {name: weight.detach().clone() for name, weight in transformer(nlp).encoder.model.named_parameters()}
    # Without a gradient to speak of, Adam's own step is the same for all; decay comes on top.
    moved = step(nlp, Adam(0.1, L2=0.5, grad_clip=0.0, eps=1.0), gradient=0.0)
    for name, by in moved.items():
        expected = torch.zeros_like(by) if "bias" in name or "LayerNorm" in name else -0.05 * before[name]
        torch.testing.assert_close(by, expected, msg=name)


@pytest.mark.parametrize("family", ["bert-fast", "albert", "modernbert"])
def test_layer_decay(family: str, make_nlp: MakeNLP) -> None:
    nlp = make_nlp(family=family, layer_decay=0.5)
    moved = {name: by.abs().mean().item() for name, by in step(nlp, Adam(0.01, L2=0.0, grad_clip=0.0)).items()}
    layers = {"albert": {"albert_layers.0": 1.0}, "modernbert": {"layers.0.": 0.5, "layers.1.": 1.0, "final_norm": 1.0}}
    expected = layers.get(family, {"layer.0.": 0.5, "layer.1.": 1.0}) | {"embeddings.": {"albert": 0.5}.get(family, 0.25)}
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
    from thinc.api import warmup_linear

    nlp = make_nlp()
    optimizer = Adam(warmup_linear(0.1, 2, 4), L2=0.0, grad_clip=0.0)
    found = []
    for _ in range(4):
        found.append(step(nlp, optimizer)["embeddings.word_embeddings.weight"].abs().mean().item())
        optimizer.step_schedules()
    assert found == pytest.approx([0.0, 0.05, 0.1, 0.05], abs=1e-4)


def test_bf16(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener())], tagged, precision="bf16")
    full = make_nlp()
    doc = nlp(SENTENCES[0])
    assert vectors(doc).dtype == np.float32
    np.testing.assert_allclose(vectors(doc), vectors(full(SENTENCES[0])), atol=0.1)
    before = weights(nlp)
    train(nlp, tagged(nlp))
    assert changed(before, weights(nlp))


def test_annotation_setter(make_nlp: MakeNLP) -> None:
    nlp = make_nlp()
    seen: list[Any] = []
    transformer(nlp).set_extra_annotations = lambda docs, batch: seen.append((docs, batch))
    docs = list(nlp.pipe(SENTENCES[:3]))
    ((given, batch),) = seen
    assert given == docs
    assert batch.model_output.last_hidden_state.shape[1] == sum(len(vectors(doc)) for doc in docs)
    assert len(batch.align.lengths) == sum(map(len, docs))


def test_the_default_overlap_fits_short_windows(make_nlp: MakeNLP) -> None:
    nlp = make_nlp(overlap=None, window=20)
    doc = nlp("".join(SENTENCES))
    assert doc._.trf_data.wordpieces.token_type_ids.max() > 3  # so many windows
    assert (doc._.trf_data.align.lengths > 0).all()
