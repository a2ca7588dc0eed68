"""`doc._.trf_data` and the batch it comes from: arrays, and the objects that spacy-transformers has
in their place, which are made when somebody reads them.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc, Span
from spacy_transformers.data_classes import FullTransformerBatch, TransformerData, WordpieceBatch
from thinc.api import CupyOps
from thinc.types import Floats2d, FloatsXd, Ragged
from transformers.file_utils import ModelOutput

from ..types import Ints


class DocVectors(TransformerData):
    """A document's vectors.

    rows (Floats2d): *Shape:* `(n_rows, width)`.
    table (Ints): Of each row the wordpiece's id, the characters it stands for (start and end, -1
        for special pieces), and which window it belongs to. *Shape:* `(n_rows, 4)`.
    aligned (Ints): The rows of each token, one token's after the other's.
    per_token (Ints): How many rows each token has.
    vocabulary (NDArray): The strings of all wordpiece ids.
    partial (bool): Whether only some of its windows were read.
    """

    def __init__(
        self,
        rows: Floats2d,
        table: Ints,
        aligned: Ints,
        per_token: Ints,
        vocabulary: NDArray,
        *,
        partial: bool = False,
    ) -> None:
        self.rows = rows
        self.table = table
        self.aligned = aligned
        self.per_token = per_token
        self.vocabulary = vocabulary
        self.partial = partial

    @property
    def untouched(self) -> bool:
        """RETURNS (bool): Whether the arrays are still all that is known: who has read one of the
        objects may have changed it.
        """
        return self.__dict__.keys().isdisjoint(("wordpieces", "model_output", "align"))

    @cached_property
    def wordpieces(self) -> WordpieceBatch:
        ids, _, _, windows = self.table.T
        return WordpieceBatch(
            strings=[self.vocabulary[ids].tolist()],
            input_ids=ids[None].copy(),
            attention_mask=np.ones((1, len(ids)), dtype="f"),
            lengths=[len(ids)],
            # Which window a row belongs to; the encoder itself was given none.
            token_type_ids=windows[None].astype(np.int64),
        )

    @cached_property
    def model_output(self) -> ModelOutput:
        """RETURNS (ModelOutput): The vectors, and the characters that each row stands for, -1 for
        special pieces: `offsets`, `(n_rows, 2)`.
        """
        offsets = self.table[:, 1:3].copy()
        return ModelOutput(last_hidden_state=self.rows[None], offsets=offsets)

    @cached_property
    def align(self) -> Ragged:
        return Ragged(self.aligned, self.per_token)

    def __reduce__(self) -> tuple[Any, ...]:
        return TransformerData, (self.wordpieces, self.model_output, self.align)


class Gradient(TransformerData):
    """The gradient of a document's vectors.

    hidden (FloatsXd): *Shape:* that of the vectors.
    of (TransformerData): What it is the gradient of.
    """

    def __init__(self, hidden: FloatsXd, of: TransformerData) -> None:
        self.hidden = hidden
        self.of = of

    @property
    def tensors(self) -> tuple[FloatsXd]:
        return (self.hidden,)

    @property
    def wordpieces(self) -> WordpieceBatch:
        return self.of.wordpieces

    @property
    def align(self) -> Ragged:
        return self.of.align

    @cached_property
    def model_output(self) -> ModelOutput:
        return ModelOutput(last_hidden_state=self.hidden)


class RaggedBatch(FullTransformerBatch):
    """The vectors of a batch of documents, unpadded: `last_hidden_state` is `(1, n_rows, width)`,
    document after document.

    docs (Sequence[Doc]): The documents.
    rows (Floats2d): The vectors, or their gradient.
    data (list[TransformerData]): Each document's.
    """

    def __init__(self, docs: Sequence[Doc], rows: Floats2d, data: list[TransformerData]) -> None:
        self.docs = docs
        self.rows = rows
        self.model_output = ModelOutput(last_hidden_state=rows[None])
        self.cached_doc_data = data

    @cached_property
    def spans(self) -> list[list[Span]]:
        return [[doc[:]] if len(doc) else [] for doc in self.docs]

    @cached_property
    def wordpieces(self) -> WordpieceBatch:
        batches = [data.wordpieces for data in self.doc_data]
        ids = [batch.input_ids for batch in batches if len(batch)]
        joined = np.concatenate(ids, axis=1) if ids else np.zeros((1, 0), dtype=np.int32)
        return WordpieceBatch(
            strings=[strings for batch in batches for strings in batch.strings],
            input_ids=joined,
            attention_mask=np.ones(joined.shape, dtype="f"),
            lengths=[length for batch in batches for length in batch.lengths],
            token_type_ids=None,
        )

    @cached_property
    def align(self) -> Ragged:
        n_rows = [data.wordpieces.input_ids.size for data in self.doc_data]
        aligns = [data.align for data in self.doc_data]
        bases = np.concatenate(([0], np.cumsum(n_rows)[:-1])).astype(np.int32)
        data = [align.data.reshape(-1) + base for align, base in zip(aligns, bases, strict=True)]
        return Ragged(
            np.concatenate(data).astype(np.int32),
            np.concatenate([align.lengths for align in aligns]),
        )

    def unsplit_by_doc(self, arrays: list[list[Any]]) -> "RaggedBatch":
        """Put gradients of single documents together.

        Documents without pieces may be missing: they have no rows.
        """
        if not arrays:  # no document has rows, or its head sends nothing back
            return RaggedBatch(self.docs, np.zeros((0, 0), dtype="f"), self.doc_data)
        xp = np if isinstance(arrays[0][0], np.ndarray) else CupyOps.xp
        rows = xp.concatenate([doc[0] for doc in arrays], axis=1)[0]
        return RaggedBatch(self.docs, rows, self.doc_data)
