"""Stock `textcat` and `textcat_multilabel` on `spacy-jbert.PooledTextCat.v1`."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.cli.find_threshold import find_threshold
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from thinc.api import Adam, Model

from spacy_jbert.evaluation.calibration import calibrate
from spacy_jbert.models.textcat import build_pooled_textcat

from ..conftest import SENTENCES, listener

MakeNLP = Callable[..., Language]
KINDS = [
    (factory, pooling)
    for factory in ("textcat", "textcat_multilabel")
    for pooling in ("mean", "cls", "attention")
]


def heads(factory: str, pooling: str) -> list:
    """A text classifier on the mean of all tokens, on the mean of all [CLS], or on all tokens by
    attention.
    """
    rows, pool = ("mean", "attention") if pooling == "attention" else (pooling, "mean")
    model = {
        "@architectures": "spacy-jbert.PooledTextCat.v1",
        "exclusive_classes": factory == "textcat",
        "dropout": 0.0,
    }
    return [
        (factory, factory, {"model": {**model, "pooling": pool, "tok2vec": listener(pooling=rows)}})
    ]


def examples(nlp: Language) -> list[Example]:
    found = []
    for i, sentence in enumerate(SENTENCES[:3]):
        doc = nlp.make_doc(sentence)
        doc.cats = {"A": float(i % 3 == 0), "B": float(i % 3 == 1), "C": float(i % 3 == 2)}
        found.append(Example(nlp.make_doc(sentence), doc))
    return found


def train(nlp: Language, batch: list[Example], steps: int) -> dict[str, float]:
    optimizer, losses = Adam(4e-3, grad_clip=1.0), {}
    for _ in range(steps):
        losses = {}
        nlp.update(
            [Example(nlp.make_doc(eg.text), eg.reference) for eg in batch],
            sgd=optimizer,
            losses=losses,
        )
    return losses


@pytest.mark.parametrize(("factory", "pooling"), KINDS)
def test_overfitting_and_storage(
    factory: str, pooling: str, make_nlp: MakeNLP, tmp_path: Path
) -> None:
    nlp = make_nlp(heads(factory, pooling), examples)
    train(nlp, examples(nlp), 150)
    for eg in examples(nlp):
        cats = nlp(eg.text).cats
        assert max(cats, key=cats.__getitem__) == max(
            eg.reference.cats, key=eg.reference.cats.__getitem__
        )
        if factory == "textcat":
            assert sum(cats.values()) == pytest.approx(1.0, abs=1e-5)
    nlp.to_disk(tmp_path)
    texts = [*SENTENCES, "", " ", "".join(SENTENCES)]
    again = spacy.load(tmp_path)
    for doc, other, text in zip(
        nlp.pipe(texts), again.pipe(texts, batch_size=4), texts, strict=True
    ):
        assert doc.cats == pytest.approx(other.cats, abs=1e-5)
        assert doc.cats == pytest.approx(again(text).cats, abs=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "attention"])
def test_the_whole_of_a_long_document_counts(pooling: str, make_nlp: MakeNLP) -> None:
    nlp = make_nlp(heads("textcat", pooling), examples)
    nlp.get_pipe("textcat").model.get_ref("output_layer").set_param(
        "W", np.random.default_rng(0).normal(0, 0.2, (3, 16)).astype("f")
    )
    long = "".join(SENTENCES)
    # Another ending, far behind the first window's end.
    a, b = nlp(long), nlp(long[: -len(SENTENCES[-1])] + SENTENCES[-1].replace("国会", "大学"))
    assert a.cats != pytest.approx(b.cats, abs=1e-6)
    doc = nlp.make_doc(long)
    hidden = nlp.get_pipe("transformer").model.predict([doc]).doc_data[0]
    doc._.trf_data = hidden
    tok2vec = nlp.get_pipe("textcat").model.get_ref("tok2vec").predict([doc])[0]
    windows = hidden.wordpieces.strings[0].count("[CLS]")
    assert windows > 5
    assert len(tok2vec) == (windows if pooling == "cls" else len(doc))


@pytest.mark.parametrize(("factory", "pooling"), KINDS)
def test_gradient_reaches_the_encoder(factory: str, pooling: str, make_nlp: MakeNLP) -> None:
    nlp = make_nlp(heads(factory, pooling), examples)
    train(nlp, examples(nlp), 1)  # the output layer begins with zeros
    odd = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in ("", " ")]
    for eg in odd:
        eg.reference.cats = {"A": 1.0, "B": 0.0, "C": 0.0}
    before = nlp(SENTENCES[0])._.trf_data.model_output.last_hidden_state
    losses = train(nlp, [*odd, *examples(nlp)], 2)
    assert losses["transformer"] > 0
    assert np.isfinite(losses[factory])
    assert not np.allclose(before, nlp(SENTENCES[0])._.trf_data.model_output.last_hidden_state)
    train(nlp, odd, 1)


@pytest.mark.parametrize("factory", ["textcat", "textcat_multilabel"])
def test_a_label_added_later_leaves_the_others_as_they_are(
    factory: str, make_nlp: MakeNLP, tmp_path: Path
) -> None:
    nlp = make_nlp(heads(factory, "mean"), examples)
    train(nlp, examples(nlp), 20)
    before = nlp(SENTENCES[0]).cats
    assert nlp.get_pipe(factory).add_label("D") == 1
    after = nlp(SENTENCES[0]).cats
    assert list(after) == ["A", "B", "C", "D"]
    shares = [after[label] / before[label] for label in before]
    assert shares == pytest.approx([shares[0]] * 3, rel=1e-3)
    train(nlp, examples(nlp), 2)
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path)(SENTENCES[0]).cats == pytest.approx(
        nlp(SENTENCES[0]).cats, abs=1e-5
    )


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_the_gradient_is_that_of_the_mean_loss(pooling: str, exclusive: bool) -> None:
    random = np.random.default_rng(0)
    given: Model = Model("given", lambda model, X, is_train: (X, lambda dX: dX))
    model = build_pooled_textcat(given, exclusive, pooling=pooling, dropout=0.0, nO=3)
    docs = [random.normal(size=(length, 4)).astype("f") for length in (3, 1, 5)]
    truth = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], dtype="f")
    model.initialize(X=docs)
    output = model.get_ref("output_layer")
    output.set_param("W", random.normal(0.0, 0.1, (3, 4)).astype("f"))
    predicted, backprop = model.begin_update(docs)
    d_docs = backprop(predicted - truth)

    def loss() -> float:
        p = np.asarray(model.predict(docs), dtype="d")
        return float(
            -np.sum(truth * np.log(p)) if exclusive else np.sum((p - truth) ** 2) / 2
        ) / len(docs)

    attention = [node for node in model.walk() if node.name == "para-attn"]
    assert len(attention) == (pooling == "attention")
    arrays = [(doc, d_doc) for doc, d_doc in zip(docs, d_docs, strict=True)]
    arrays += [(node.get_param("Q"), node.get_grad("Q")) for node in attention] + [
        (output.get_param("W"), output.get_grad("W"))
    ]
    for array, gradient in arrays:
        assert np.abs(gradient).max() > 1e-3
        for at in np.ndindex(array.shape):
            kept = array[at]
            array[at] = kept + 1e-2
            above = loss()
            array[at] = kept - 1e-2
            below = loss()
            array[at] = kept
            assert (above - below) / 2e-2 == pytest.approx(gradient[at], rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_hundred_thousand_characters(pooling: str, make_nlp: MakeNLP) -> None:
    """The encoder sees no more of them at once than of many short texts, and the last words count
    like the first.
    """
    nlp = make_nlp(heads("textcat", pooling), examples)
    nlp.get_pipe("textcat").model.get_ref("output_layer").set_param(
        "W", np.random.default_rng(0).normal(0, 0.2, (3, 16)).astype("f")
    )
    sizes: list[int] = []
    embeddings = nlp.get_pipe("transformer").encoder.model.get_input_embeddings()
    hook = embeddings.register_forward_pre_hook(lambda module, ids: sizes.append(ids[0].numel()))
    words = ["図書館", "で", "本", "を", "読む", "。"] * 12_000
    first, last = (
        Doc(nlp.vocab, words=words[:-600] + [word] * 600, spaces=[False] * len(words))
        for word in ("猫", "桜")
    )
    assert len(first.text) > 98_000
    cats = nlp(first).cats
    hook.remove()
    assert len(sizes) > 10
    assert max(sizes) <= 4096
    assert sum(cats.values()) == pytest.approx(1.0, abs=1e-5)
    assert cats != pytest.approx(nlp(last).cats, abs=1e-6)


def test_find_threshold_works(make_nlp: MakeNLP, tmp_path: Path) -> None:
    """Stock `spacy find-threshold`, also where each label has a threshold of its own, for which it
    looks for one instead.
    """
    ((name, factory, config),) = heads("textcat_multilabel", "mean")
    scorer = {"@scorers": "spacy-jbert.textcat_scorer.v1", "exclusive_classes": False}
    nlp = make_nlp([(name, factory, {**config, "scorer": scorer})], examples)
    train(nlp, examples(nlp), 30)
    DocBin(docs=[eg.reference for eg in examples(nlp)], store_user_data=True).to_disk(
        tmp_path / "dev.spacy"
    )
    calibrate(corpus=examples, thresholds=True)(nlp)
    nlp.to_disk(tmp_path / "model")
    best, score, tried = find_threshold(
        str(tmp_path / "model"),
        tmp_path / "dev.spacy",
        name,
        "threshold",
        "cats_micro_f",
        n_trials=5,
    )
    assert len(set(tried.values())) > 1
    assert score == max(tried.values()) == tried[best]


def test_categories_travel(make_nlp: MakeNLP, tmp_path: Path) -> None:
    nlp = make_nlp(heads("textcat_multilabel", "mean"), examples)
    train(nlp, examples(nlp), 5)
    docs = []
    for (doc, number), sentence in zip(
        nlp.pipe(zip(SENTENCES, count()), as_tuples=True), SENTENCES, strict=False
    ):
        assert (doc.text, number) == (sentence, len(docs))
        docs.append(doc)
    assert len(docs) == len(SENTENCES)
    stored = DocBin(docs=docs, store_user_data=False).to_bytes()
    for doc, kept in zip(docs, DocBin().from_bytes(stored).get_docs(nlp.vocab), strict=True):
        assert kept.cats == doc.cats == Doc(nlp.vocab).from_json(doc.to_json()).cats


@pytest.mark.parametrize(("factory", "pooling"), KINDS)
def test_empty_texts_alone_and_in_a_batch(factory: str, pooling: str, make_nlp: MakeNLP) -> None:
    nlp = make_nlp(heads(factory, pooling), examples)
    layer = nlp.get_pipe(factory).model.get_ref("output_layer")
    layer.get_param("b")[:] = [1.0, -2.0, 0.5]
    layer.get_param("W")[:] = np.random.default_rng(0).normal(0, 1, (3, 16))
    for texts in (
        ["", ""],
        ["", SENTENCES[0]],
        [SENTENCES[0], "", SENTENCES[1]],
        [" ", "", "\u3000\n", SENTENCES[0]],
        [" ", "\n"],
    ):
        for doc, text in zip(nlp.pipe(texts), texts, strict=True):
            assert doc.cats == pytest.approx(nlp(text).cats, abs=1e-5)
            assert any(doc.cats.values()) == bool(text)
    # Nothing is learned from them.
    vectors = [np.ones((len(text), 16), dtype="f") for text in ("", "a")]
    nothing = Model("vectors", lambda model, docs, is_train: (vectors, lambda d_vectors: []))
    model = build_pooled_textcat(nothing, factory == "textcat", dropout=0.0, nO=3)
    model.initialize(X=[nlp.make_doc(""), nlp.make_doc("a")])
    _, backprop = model.begin_update([nlp.make_doc(""), nlp.make_doc("a")])
    backprop(np.array([[0.5, -0.5, 0.5], [0.0, 0.0, 0.0]], dtype="f"))
    assert not model.get_ref("output_layer").get_grad("b").any()
