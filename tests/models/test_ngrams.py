"""The linear classifier of character n-grams, alone and beside an encoder."""

import math
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.language import Language
from spacy.training import Example
from thinc.api import Adam

from spacy_jbert.models.ngrams import character_ngrams, count_ngrams, ngram_classifier

from ..conftest import SENTENCES, listener

MakeNLP = Callable[..., Language]


@given(st.text(max_size=40), st.integers(1, 4))
def test_counts_are_those_of_the_ngrams(text: str, longest: int) -> None:
    text = text.encode("utf-8", "replace").decode("utf-8")
    plain = unicodedata.normalize("NFKC", text).lower()
    expected = Counter(
        plain[i : i + n] for n in range(1, longest + 1) for i in range(len(plain) - n + 1)
    )
    keys, counts = count_ngrams(text, longest)
    assert len(set(keys.tolist())) == len(keys)
    assert sorted(counts.tolist()) == sorted(expected.values())


def test_width_and_case_are_the_same_and_order_is_not() -> None:
    assert np.array_equal(count_ngrams("ＡＢ", 2)[0], count_ngrams("ab", 2)[0])
    assert not np.array_equal(count_ngrams("ab", 2)[0], count_ngrams("ba", 2)[0])


@pytest.mark.parametrize("text", ["", "猫", "猫" * 1000, SENTENCES[1]])
def test_a_document_is_a_vector_of_one_length(japanese: Language, text: str) -> None:
    layer = character_ngrams(3, 10.0)
    keys, values, lengths = layer.predict(
        [japanese.make_doc(SENTENCES[0]), japanese.make_doc(text)]
    )
    assert len(keys) == len(values) == lengths.sum()
    norm = math.sqrt(float((values[lengths[0] :] ** 2).sum()))
    assert norm == pytest.approx(10.0 if text else 0.0, rel=1e-5)


def test_the_gradient_is_that_of_the_scores(japanese: Language) -> None:
    docs = [japanese.make_doc(text) for text in (*SENTENCES[:2], "")]
    layer, _ = ngram_classifier(2, 10, 1.0, 3)
    layer.initialize(X=docs)
    (linear,) = [node for node in layer.walk() if node.name == "sparse_linear"]
    random = np.random.default_rng(0)
    linear.set_param("W", random.normal(size=linear.get_param("W").shape).astype("f"))
    weights = random.normal(size=(3, 3)).astype("f")
    _, backprop = layer.begin_update(docs)
    backprop(weights)
    gradient = linear.get_grad("W").copy()
    W = linear.get_param("W")
    for at in [*np.flatnonzero(gradient)[:20], *np.flatnonzero(gradient == 0)[:5]]:
        above, below = W.copy(), W.copy()
        above[at] += 0.5
        below[at] -= 0.5
        found = []
        for changed in (above, below):
            linear.set_param("W", changed)
            found.append(float((layer.predict(docs) * weights).sum()))
        assert found[0] - found[1] == pytest.approx(gradient[at], abs=2e-3)


def heads(factory: str = "textcat", **settings: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """A text classifier whose encoder learns nothing, so that the n-grams alone tell texts apart."""
    model = {
        "@architectures": "spacy-jbert.PooledTextCat.v1",
        "exclusive_classes": factory == "textcat",
        "dropout": 0.0,
        "tok2vec": listener(grad_factor=0.0),
        **settings,
    }
    return [("textcat", factory, {"model": model})]


def examples(nlp: Language) -> list[Example]:
    found = []
    for i, sentence in enumerate(SENTENCES):
        doc = nlp.make_doc(sentence)
        doc.cats = {"even": float(i % 2 == 0), "odd": float(i % 2)}
        found.append(Example(nlp.make_doc(sentence), doc))
    return found


def train(nlp: Language, steps: int) -> None:
    optimizer = Adam(4e-3, grad_clip=1.0)
    for _ in range(steps):
        nlp.update(examples(nlp), sgd=optimizer, losses={})


def n_right(nlp: Language) -> int:
    return sum(
        max(doc.cats, key=doc.cats.__getitem__) == ("odd" if i % 2 else "even")
        for i, doc in enumerate(nlp.pipe(SENTENCES))
    )


@pytest.mark.parametrize("factory", ["textcat", "textcat_multilabel"])
def test_beside_an_encoder(factory: str, make_nlp: MakeNLP, tmp_path: Path) -> None:
    nlp = make_nlp(heads(factory, ngrams=3), examples)
    train(nlp, 15)
    assert n_right(nlp) == len(SENTENCES)
    nlp.to_disk(tmp_path / "model")
    again = spacy.load(tmp_path / "model")
    for text in (*SENTENCES, "", " "):
        assert again(text).cats == pytest.approx(nlp(text).cats, abs=1e-5)
    before = nlp(SENTENCES[0]).cats
    assert nlp.get_pipe("textcat").add_label("third") == 1
    after = nlp(SENTENCES[0]).cats
    shares = [after[label] / before[label] for label in before]
    assert shares == pytest.approx([shares[0]] * 2, rel=1e-3)
    nlp.to_disk(tmp_path / "more")
    assert spacy.load(tmp_path / "more")(SENTENCES[1]).cats == pytest.approx(
        nlp(SENTENCES[1]).cats, abs=1e-5
    )


def test_a_pipeline_from_before_the_setting(make_nlp: MakeNLP, tmp_path: Path) -> None:
    nlp = make_nlp(heads(), examples)
    train(nlp, 3)
    nlp.to_disk(tmp_path)
    config = spacy.util.load_config(tmp_path / "config.cfg")
    for setting in ("ngrams", "ngram_bits"):
        del config["components"]["textcat"]["model"][setting]
    for setting in ("train_windows", "window_choice", "predict_windows"):
        del config["components"]["transformer"]["model"][setting]
    config.to_disk(tmp_path / "config.cfg")
    assert spacy.load(tmp_path)(SENTENCES[0]).cats == pytest.approx(
        nlp(SENTENCES[0]).cats, abs=1e-5
    )


@pytest.mark.parametrize(
    "settings", [{"ngrams": -1}, {"ngrams": 9}, {"ngrams": 2, "ngram_bits": 3}, {"ngram_bits": 25}]
)
def test_settings_out_of_range(make_nlp: MakeNLP, settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="J486"):
        make_nlp(heads(**settings), examples)
