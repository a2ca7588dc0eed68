"""What spacy-transformers has in `doc._.trf_data`, made of arrays when it is read."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from spacy_transformers.data_classes import TransformerData
from thinc.types import Ragged

from spacy_jbert.models.listener import pool_tokens
from spacy_jbert.models.vectors import DocVectors


def made() -> DocVectors:
    table = np.array([[1, -1, -1, 0], [3, 0, 1, 0], [4, 1, 3, 0], [2, -1, -1, 0]], dtype="i")
    rows = np.arange(8, dtype="f").reshape(4, 2)
    vocabulary = np.array(["", "[CLS]", "[SEP]", "東", "京都"], dtype=object)
    return DocVectors(rows, table, np.array([1, 2, 2], "i"), np.array([2, 1], "i"), vocabulary)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_a_copy_is_what_spacy_transformers_knows(
    copied: Callable[[DocVectors], TransformerData],
) -> None:
    data, other = made(), copied(made())
    assert type(other) is TransformerData
    for of in (data, other, TransformerData.empty().from_bytes(data.to_bytes())):
        assert of.wordpieces.strings == [["[CLS]", "東", "京都", "[SEP]"]]
        assert of.wordpieces.input_ids.tolist() == [[1, 3, 4, 2]]
        assert of.model_output["offsets"].tolist() == [[-1, -1], [0, 1], [1, 3], [-1, -1]]
        assert of.model_output["last_hidden_state"].tolist() == [data.rows.tolist()]
        assert of.align.dataXd.reshape(-1).tolist() == [1, 2, 2]
        assert of.width == 2


@pytest.mark.parametrize("pooling", ["mean", "first", "cls"])
def test_heads_see_what_was_put_in_its_place(pooling: str) -> None:
    layer = pool_tokens(pooling, 1.0)
    expected = layer.predict([copy.deepcopy(made())])[0].tolist()
    data = made()
    assert layer.predict([data])[0].tolist() == expected
    data.align = Ragged(np.array([3], "i"), np.array([1, 0], "i"))
    data.model_output["last_hidden_state"] = 2.0 * data.rows[None]
    changed = layer.predict([data])[0].tolist()
    assert changed == ([[0.0, 2.0]] if pooling == "cls" else [[12.0, 14.0], [0.0, 0.0]])
