"""Pooling of wordpiece vectors: values, gradients and odd documents."""

import numpy as np
import pytest
from spacy_transformers.data_classes import TransformerData, WordpieceBatch
from thinc.types import Ragged
from transformers.file_utils import ModelOutput

from spacy_jbert.models.listener import build_listener, pool_tokens


def data(rows: np.ndarray, ids: list[int], per_token: list[list[int]]) -> TransformerData:
    n = len(ids)
    windows = np.cumsum(np.array(ids) == 2)[None] - 1  # every window begins with a 2
    return TransformerData(
        WordpieceBatch([["x"] * n], np.array([ids]), np.ones((1, n), dtype="f"), [n], windows),
        ModelOutput(last_hidden_state=rows[None]),
        Ragged(
            np.array([row for token in per_token for row in token], dtype="i"),
            np.array([len(token) for token in per_token], dtype="i"),
        ),
    )


@pytest.fixture
def docs() -> list[TransformerData]:
    rng = np.random.default_rng(0)
    return [
        data(
            rng.normal(size=(6, 3)).astype("f"), [2, 7, 8, 9, 5, 3], [[1, 2], [], [2, 3], [4]]
        ),  # a piece of two tokens, a space
        TransformerData.empty(),
        data(
            rng.normal(size=(7, 3)).astype("f"), [2, 7, 3, 2, 8, 9, 3], [[1], [4, 5]]
        ),  # two windows
    ]


def naive(docs: list[TransformerData], pooling: str) -> list[np.ndarray]:
    outputs = []
    for doc in docs:
        if "last_hidden_state" not in doc.model_output:
            outputs.append(np.zeros((0, 3)))
            continue
        rows = doc.model_output["last_hidden_state"][0]
        if pooling == "cls":
            outputs.append(rows[doc.wordpieces.input_ids[0] == 2])
            continue
        tokens = [doc.align[i].dataXd.reshape(-1) for i in range(len(doc.align.lengths))]
        tokens = [token[:1] if pooling == "first" else token for token in tokens]
        outputs.append(
            np.array([rows[token].mean(axis=0) if len(token) else np.zeros(3) for token in tokens])
        )
    return outputs


@pytest.mark.parametrize("pooling", ["mean", "first", "cls"])
def test_values_and_gradients(pooling: str, docs: list[TransformerData]) -> None:
    model = pool_tokens(pooling, 0.5)
    outputs, backprop = model(docs, is_train=True)
    for output, expected in zip(outputs, naive(docs, pooling), strict=True):
        np.testing.assert_allclose(output, expected, atol=1e-6)
    rng = np.random.default_rng(1)
    d_outputs = [rng.normal(size=output.shape).astype("f") for output in outputs]
    d_docs = backprop([d.copy() for d in d_outputs])
    assert len(d_docs) == 2  # the empty one has no rows
    for d_doc, doc in zip(d_docs, (docs[0], docs[2]), strict=True):
        rows, gradient = (
            doc.model_output["last_hidden_state"],
            d_doc.model_output["last_hidden_state"],
        )
        assert gradient.shape == rows.shape
        for at in np.ndindex(rows.shape):
            total = []
            for step in (1e-2, -1e-2):
                rows[at] += step
                total.append(
                    sum(
                        (d * out).sum()
                        for d, out in zip(d_outputs, naive(docs, pooling), strict=True)
                    )
                )
                rows[at] -= step
            assert gradient[at] == pytest.approx(0.5 * (total[0] - total[1]) / 2e-2, abs=1e-3)


@pytest.mark.parametrize("pooling", ["mean", "first", "cls"])
def test_only_empty_documents(pooling: str) -> None:
    outputs, backprop = pool_tokens(pooling, 1.0)([TransformerData.empty()] * 2, is_train=True)
    assert [len(output) for output in outputs] == [0, 0]
    assert backprop(outputs) == []


def test_a_disabled_transformer_gives_zeros() -> None:
    outputs = pool_tokens("mean", 1.0).predict(
        [TransformerData.zeros(4, 3), TransformerData.zeros(0, 3)]
    )
    assert [output.shape for output in outputs] == [(4, 3), (0, 3)]


def test_unknown_pooling() -> None:
    with pytest.raises(ValueError, match="J015"):
        build_listener("max")
