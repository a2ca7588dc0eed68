"""Vectors of documents, spans and tokens from the encoder: what they are, where they are kept."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from transformers import AutoModel, AutoTokenizer

from spacy_jbert.models.pooling import POOLINGS, pool_batch, pool_rows
from spacy_jbert.pipeline.vectors import reading

from ..conftest import SENTENCES, listener

SETTER = "spacy-jbert.doc_vectors.v1"


def make(folder: Path, heads: bool = False, **settings: Any) -> Language:
    torch.manual_seed(0)
    nlp = spacy.blank("ja")
    vectors = {"@annotation_setters": SETTER, **settings}
    nlp.add_pipe("jbert_transformer", name="transformer", config={"set_extra_annotations": vectors})
    if heads:
        model = {"@architectures": "spacy-jbert.PooledTextCat.v1", "tok2vec": listener()}
        nlp.add_pipe("textcat", config={"model": {**model, "exclusive_classes": True}})
        nlp.get_pipe("textcat").add_label("a")
        nlp.get_pipe("textcat").add_label("b")
    loader = {"@misc": "spacy-jbert.HFEncoder.v1", "name": str(folder)}
    nlp.config["initialize"]["components"]["transformer"] = {"encoder": loader}
    nlp.initialize()
    return nlp


@pytest.fixture(scope="module")
def folder(checkpoint: Callable[[str], Path]) -> Path:
    return checkpoint("xlm-roberta")


@pytest.fixture(scope="module")
def nlp(folder: Path) -> Language:
    return make(folder, normalize=True)


@pytest.mark.parametrize("prefix", ["", "京都: "])
def test_parity_with_the_authors_code(folder: Path, prefix: str) -> None:
    """Mean of the last layer over all pieces that the mask has, prefix and special ones too."""
    nlp = make(folder, prefix=prefix)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    for doc in nlp.pipe(SENTENCES[:5]):
        with torch.inference_mode():
            output = model(**tokenizer(prefix + doc.text, return_tensors="pt"))
        expected = output.last_hidden_state[0].mean(0).numpy()
        np.testing.assert_allclose(doc.vector, expected, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_training_pools_as_prediction_does(pooling: Any) -> None:
    hidden = torch.randn(2, 5, 3)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    together = pool_batch(hidden, mask, pooling)
    for i, n in enumerate((5, 3)):
        rows = hidden[i, :n].numpy()
        alone = pool_rows(rows, np.zeros(n, dtype=np.int32), pooling)
        np.testing.assert_allclose(together[i].numpy(), alone, atol=1e-6)


def test_windows_are_pooled_together(folder: Path) -> None:
    rows, windows = np.eye(4, dtype=np.float32), np.array([0, 0, 0, 1], dtype=np.int32)
    np.testing.assert_allclose(pool_rows(rows, windows, "cls"), [0.5, 0, 0, 0.5])
    np.testing.assert_allclose(pool_rows(rows, windows, "weighted"), np.array([1, 2, 3, 1]) / 7)


def test_what_spacy_reads(nlp: Language) -> None:
    one, other = nlp.pipe(SENTENCES[:2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(of.has_vector for of in (one, one[:2], one[0]))
        assert one.similarity(one) == pytest.approx(1.0)
        assert one.similarity(other) == pytest.approx(float(one.vector @ other.vector), abs=1e-6)
        assert -1.0 <= one[:2].similarity(other) <= 1.0
        assert one[0].similarity(one[0]) == pytest.approx(1.0)
    assert one.vector_norm == pytest.approx(1.0, abs=1e-5)
    assert one[1:3].vector_norm == pytest.approx(1.0, abs=1e-5)
    mean = one.tensor[1:3].mean(axis=0)
    np.testing.assert_allclose(one[1:3].vector, mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_array_equal(one[1].vector, one.tensor[1])


def test_a_part_as_a_document(nlp: Language) -> None:
    doc = nlp(SENTENCES[0] + SENTENCES[1])
    part = doc[2:6].as_doc()
    assert part.has_vector
    assert not doc[3:3].has_vector
    assert doc[3:3].vector.shape == doc.vector.shape
    np.testing.assert_allclose(part.vector, doc[2:6].vector, atol=1e-6)
    assert part.similarity(doc[2:6]) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(part[1].vector, doc[3].vector, atol=1e-6)


def test_one_by_one_and_together(nlp: Language) -> None:
    together = list(nlp.pipe(SENTENCES, batch_size=7))
    for text, doc in zip(SENTENCES, together, strict=True):
        np.testing.assert_allclose(nlp(text).vector, doc.vector, atol=1e-5)


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
def test_without_words(nlp: Language, text: str) -> None:
    doc = next(nlp.pipe([text]))
    assert not doc.has_vector
    assert doc.vector.shape == (16,)
    assert doc.similarity(nlp(SENTENCES[0])) == 0.0


def test_long_documents(nlp: Language) -> None:
    doc = nlp("".join(SENTENCES))
    assert len(doc.tensor) == len(doc)
    assert doc.has_vector


def test_nothing_is_kept_that_was_not_asked_for(folder: Path) -> None:
    doc = make(folder, tokens=False)(SENTENCES[0])
    assert doc._.trf_data is None
    assert doc.tensor.size == 0
    assert [of.has_vector for of in (doc, doc[:2], doc[0])] == [True, False, False]
    assert make(folder, wordpieces=True)(SENTENCES[0])._.trf_data is not None
    # A head reads them.
    with_head = make(folder, heads=True)(SENTENCES[0])
    assert with_head._.trf_data is not None
    assert set(with_head.cats) == {"a", "b"}


@pytest.mark.filterwarnings("ignore:.*W109")
def test_documents_are_kept(nlp: Language, tmp_path: Path) -> None:
    doc = nlp(SENTENCES[0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(doc)).vector, doc.vector)
    attach = nlp.get_pipe("transformer").vectors.attach
    (read,) = DocBin(docs=[doc], store_user_data=True).get_docs(nlp.vocab)
    np.testing.assert_array_equal(attach(read).vector, doc.vector)
    read = attach(Doc(nlp.vocab).from_bytes(doc.to_bytes()))
    np.testing.assert_array_equal(read[:2].vector, doc[:2].vector)


@pytest.mark.slow
def test_several_processes(nlp: Language) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        docs = list(nlp.pipe(SENTENCES[:6], n_process=2, batch_size=2))
        pairs = list(nlp.pipe([(SENTENCES[0], 1)], n_process=2, as_tuples=True))
    for text, doc in zip(SENTENCES[:6], docs, strict=True):
        np.testing.assert_allclose(doc.vector, nlp(text).vector, atol=1e-5)
    assert pairs[0][1] == 1
    assert pairs[0][0].vector_norm == pytest.approx(1.0, abs=1e-5)


def test_storage(folder: Path, tmp_path: Path) -> None:
    nlp = make(folder, prefix="京都: ", normalize=True, pooling="cls")
    expected = nlp(SENTENCES[0]).vector
    nlp.to_disk(tmp_path / "nlp")
    from_disk = spacy.load(tmp_path / "nlp")
    from_bytes = spacy.blank("ja").from_config(nlp.config).from_bytes(nlp.to_bytes())
    for other in (from_disk, from_bytes, pickle.loads(pickle.dumps(nlp))):
        np.testing.assert_allclose(other(SENTENCES[0]).vector, expected, atol=1e-5)
    without = spacy.load(tmp_path / "nlp", exclude=["transformer"])
    assert not without(SENTENCES[0]).has_vector


def test_prefix_is_part_of_no_token(folder: Path) -> None:
    nlp = make(folder, wordpieces=True)
    pipe: Any = nlp.get_pipe("transformer")
    plain = nlp(SENTENCES[0])
    with reading(pipe, "京都: "):
        prefixed = nlp(SENTENCES[0])
    ours, theirs = plain._.trf_data, prefixed._.trf_data
    shift = len(theirs.rows) - len(ours.rows)
    assert shift == len(pipe.prefix_ids("京都: ")) > 0
    np.testing.assert_array_equal(theirs.aligned, ours.aligned + shift)
    np.testing.assert_allclose(nlp(SENTENCES[0]).vector, plain.vector, atol=1e-6)


def test_settings_are_checked(folder: Path) -> None:
    with pytest.raises(ValueError, match="J500"):
        spacy.registry.get("annotation_setters", SETTER)(pooling="median")


@pytest.mark.shared
def test_parity_of_the_real_encoder(real_encoder: Path) -> None:
    nlp = make(real_encoder, prefix="query: ", normalize=True)
    tokenizer = AutoTokenizer.from_pretrained(real_encoder)
    model = AutoModel.from_pretrained(real_encoder, torch_dtype=torch.float32).eval()
    for doc in nlp.pipe([*SENTENCES[:4], "2人の男性", "A社の㍿"]):
        with torch.inference_mode():
            output = model(**tokenizer("query: " + doc.text, return_tensors="pt"))
        mean = output.last_hidden_state[0].mean(0)
        np.testing.assert_allclose(doc.vector, (mean / mean.norm()).numpy(), atol=1e-5)
