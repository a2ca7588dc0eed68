"""`jbert_transformer`: its vectors, for every family, for long and odd documents, whatever the
batch.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc
from spacy.training import Example
from transformers import AutoModel, AutoTokenizer

from ..conftest import FAMILIES, SENTENCES, listener, stock_listener
from .conftest import LONG, MakeNLP, changed, tagged, tagger, train, transformer, vectors, weights


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
            expected = (
                model(input_ids=torch.tensor([tokenizer(text)["input_ids"]]))
                .last_hidden_state[0]
                .numpy()
            )
        np.testing.assert_allclose(vectors(doc), expected, atol=1e-5)
        assert np.array_equal(vectors(again(text)), vectors(doc))


def test_trf_data(make_nlp: MakeNLP) -> None:
    nlp = make_nlp()
    doc = nlp("東京で 会う。")
    data = doc._.trf_data
    strings = data.wordpieces.strings[0]
    assert strings[0] == "[CLS]"
    assert strings[-1] == "[SEP]"
    assert data.model_output.last_hidden_state.shape == (1, len(strings), 16)
    assert (
        data.model_output.last_hidden_state.base.size == vectors(doc).size
    )  # nothing else is kept alive
    assert "".join(strings[1:-1]).replace("##", "") == "東京で会う。"
    for i, token in enumerate(doc):
        assert (
            "".join(strings[row] for row in data.align[i].dataXd.reshape(-1)).replace("##", "")
            == token.text
        )


def test_long_documents(make_nlp: MakeNLP) -> None:
    nlp = make_nlp()
    doc = nlp(LONG)
    strings = doc._.trf_data.wordpieces.strings[0]
    assert strings.count("[CLS]") == strings.count("[SEP]") > 5
    assert len(vectors(doc)) == len(strings)
    rows = doc._.trf_data.align.data.reshape(-1).tolist()
    assert [row for row, name in enumerate(strings) if name not in ("[CLS]", "[SEP]")] == sorted(
        set(rows)
    )
    pieces = transformer(nlp).segmenter([doc])[0]
    assert len(set(rows)) == len(pieces.ids)
    # The first window sees what it would see alone.
    end = strings.index("[SEP]")
    alone = nlp(doc.text[: pieces.ends[end - 2]])
    np.testing.assert_allclose(vectors(alone)[1], vectors(doc)[1], atol=0.5)


def test_windows_too_small_for_the_overlap(make_nlp: MakeNLP) -> None:
    with pytest.raises(ValueError, match="J011"):
        make_nlp(window=16, overlap=8)("東京")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_changes_no_vector(family: str, make_nlp: MakeNLP) -> None:
    nlp = make_nlp(family=family)
    texts = ["", LONG, *SENTENCES, " ", "\n\n", "あ"]
    alone = [nlp(text) for text in texts]
    for batch_size in (7, 100):
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


@pytest.mark.parametrize("tok2vec", [listener(), stock_listener()], ids=["own", "stock"])
def test_white_space_without_special_pieces(
    tok2vec: dict, make_nlp: MakeNLP, bare_llama: Path
) -> None:
    """A checkpoint that puts nothing round a text has nothing at all to run for white space."""
    nlp = make_nlp([tagger(tok2vec)], tagged, folder=bare_llama, words="doc")
    assert transformer(nlp).encoder.special_ids == ([], [])
    assert len(transformer(nlp).segmenter([nlp.make_doc(" ")])[0].ids) == 0
    assert vectors(nlp(" ")).shape == (1, 16)
    assert len(vectors(nlp("東京"))) == len(
        transformer(nlp).segmenter([nlp.make_doc("東京")])[0].ids
    )
    for texts in ([" ", "\n"], [" ", "東京", ""]):
        docs = [nlp.make_doc(text) for text in texts]
        before = weights(nlp)
        train(
            nlp,
            [
                Example(doc, Doc(nlp.vocab, [t.text for t in doc], tags=["mark"] * len(doc)))
                for doc in docs
            ],
            2,
        )
        assert changed(before, weights(nlp))


def test_vectors_are_held_once(make_nlp: MakeNLP) -> None:
    """A long document's are what the encoder's rows were written to; several documents don't keep
    those of their batch.
    """
    pipe = transformer(make_nlp(max_batch_pieces=128))
    long, short = (make_nlp().make_doc(text) for text in (LONG * 5, SENTENCES[0]))
    batch = pipe.predict([long])
    assert np.shares_memory(
        batch.model_output.last_hidden_state, batch.doc_data[0].model_output.last_hidden_state
    )
    batch = pipe.predict([long, short])
    assert not any(
        np.shares_memory(batch.model_output.last_hidden_state, data.model_output.last_hidden_state)
        for data in batch.doc_data
    )


def test_settings_that_dont_exist() -> None:
    for code, settings in (
        ("J005", {"words": "none"}),
        ("J010", {"precision": "fp8"}),
        ("J040", {"storage": "int8"}),
        ("J040", {"layers": "first"}),
        ("J087.*train_layers", {"train_layers": -1}),
        ("J087.*unfreeze_steps", {"unfreeze_steps": -1}),
        ("J087.*layer_decay", {"layer_decay": -1}),
        ("J087.*layer_decay", {"layer_decay": 1.5}),
        ("J087.*max_batch_pieces", {"max_batch_pieces": 0}),
        ("J087.*window", {"window": 0}),
        ("J087.*overlap", {"overlap": -1}),
        ("J085", {"device": "zz"}),
        ("J085", {"device": "cuda:x"}),
    ):
        with pytest.raises(ValueError, match=code):
            spacy.blank("ja").add_pipe("jbert_transformer", config={"model": settings})


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
