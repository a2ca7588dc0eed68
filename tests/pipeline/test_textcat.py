"""Stock `textcat` and `textcat_multilabel` on `spacy-jbert.PooledTextCat.v1`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.training import Example
from thinc.api import Adam

from ..conftest import SENTENCES, listener

MakeNLP = Callable[..., Language]
KINDS = [(factory, pooling) for factory in ("textcat", "textcat_multilabel") for pooling in ("mean", "cls")]


def heads(factory: str, pooling: str) -> list:
    model = {"@architectures": "spacy-jbert.PooledTextCat.v1", "exclusive_classes": factory == "textcat", "dropout": 0.0}
    return [(factory, factory, {"model": {**model, "tok2vec": listener(pooling=pooling)}})]


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
        nlp.update([Example(nlp.make_doc(eg.text), eg.reference) for eg in batch], sgd=optimizer, losses=losses)
    return losses


@pytest.mark.parametrize(("factory", "pooling"), KINDS)
def test_overfitting_and_storage(factory: str, pooling: str, make_nlp: MakeNLP, tmp_path: Path) -> None:
    nlp = make_nlp(heads(factory, pooling), examples)
    train(nlp, examples(nlp), 100)
    for eg in examples(nlp):
        cats = nlp(eg.text).cats
        assert max(cats, key=cats.__getitem__) == max(eg.reference.cats, key=eg.reference.cats.__getitem__)
        if factory == "textcat":
            assert sum(cats.values()) == pytest.approx(1.0, abs=1e-5)
    nlp.to_disk(tmp_path)
    texts = [*SENTENCES, "", " ", "".join(SENTENCES)]
    again = spacy.load(tmp_path)
    for doc, other, text in zip(nlp.pipe(texts), again.pipe(texts, batch_size=4), texts, strict=True):
        assert doc.cats == pytest.approx(other.cats, abs=1e-5)
        if text:  # alone, the stock component gives an empty document zeros
            assert doc.cats == pytest.approx(again(text).cats, abs=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_whole_of_a_long_document_counts(pooling: str, make_nlp: MakeNLP) -> None:
    nlp = make_nlp(heads("textcat", pooling), examples)
    nlp.get_pipe("textcat").model.get_ref("output_layer").set_param("W", np.random.default_rng(0).normal(0, 0.2, (3, 16)).astype("f"))
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
    assert len(tok2vec) == (len(doc) if pooling == "mean" else windows)


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
def test_a_label_added_later_leaves_the_others_as_they_are(factory: str, make_nlp: MakeNLP, tmp_path: Path) -> None:
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
    assert spacy.load(tmp_path)(SENTENCES[0]).cats == pytest.approx(nlp(SENTENCES[0]).cats, abs=1e-5)
