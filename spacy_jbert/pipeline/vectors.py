"""`spacy-jbert.doc_vectors.v1`: `doc.vector`, `span.vector`, `token.vector` and `.similarity()`
from the encoder, set by the transformer as it annotates.

The vector of a document lies in `doc._.jbert_vector`, those of its tokens in `doc.tensor`; both are
saved with a Doc. What makes spaCy's own attributes read them are hooks, which are not:
`DocVectors.attach` puts them back.
"""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc, Span, Token
from spacy_transformers.data_classes import FullTransformerBatch, TransformerData
from thinc.api import NumpyOps
from thinc.util import to_numpy

from ..errors import Errors
from ..models.pooling import POOLINGS, Pooling, pool_rows
from ..models.vectors import DocVectors as Rows
from .summary import EXTENSION as SUMMARY
from .summary import summary

Vector = NDArray[np.float32]

# The extension of a Doc with its vector.
VECTOR = "jbert_vector"


def doc_vectors(
    pooling: Literal["mean", "cls", "weighted"] = "mean",
    normalize: bool = False,
    prefix: str = "",
    index_prefix: str | None = None,
    tokens: bool = True,
    wordpieces: bool = False,
) -> "DocVectors":
    """`spacy-jbert.doc_vectors.v1`, for [components.transformer.set_extra_annotations]: vectors of
    documents, spans and tokens.

    pooling (str): What a document's vector is: the "mean" of all its wordpieces, special ones and
        the prefix included, as Sentence-BERT and E5 have it (Reimers & Gurevych 2019,
        arXiv:1908.10084; Wang et al. 2022, arXiv:2212.03533); "cls": the first piece's, of several
        windows their mean; "weighted": the mean weighted by position, for decoders, whose later
        pieces have read more (Muennighoff 2022, arXiv:2202.08904).
    normalize (bool): Documents and spans have vectors of length 1.
    prefix (str): Stands before every text that the encoder reads, and is no part of the Doc; E5's
        "query: ", for example. Heads on the same encoder read it too.
    index_prefix (str | None): The same for texts that `jbert index` takes in: E5's "passage: ".
        None: as `prefix`.
    tokens (bool): Keep the vectors of tokens, in `doc.tensor`. Without them spans and tokens have
        no vectors.
    wordpieces (bool): Keep `doc._.trf_data`. Where other components listen to the transformer it is
        kept anyway; spaCy's `doc_cleaner` at the end of the pipeline removes it.
    RETURNS (DocVectors): Called by the transformer.
    RAISES: ValueError J500.
    """
    if pooling not in POOLINGS:
        raise ValueError(Errors.J500.format(pooling=pooling, choices=", ".join(POOLINGS)))
    return DocVectors(
        pooling,
        normalize=normalize,
        prefix=prefix,
        index_prefix=prefix if index_prefix is None else index_prefix,
        tokens=tokens,
        wordpieces=wordpieces,
    )


class DocVectors:
    """Gives documents their vectors. The settings are those of `doc_vectors`."""

    def __init__(
        self,
        pooling: Pooling = "mean",
        *,
        normalize: bool = False,
        prefix: str = "",
        index_prefix: str = "",
        tokens: bool = True,
        wordpieces: bool = False,
    ) -> None:
        self.pooling = pooling
        self.normalize = normalize
        self.prefix = prefix
        self.index_prefix = index_prefix
        self.tokens = tokens
        self.wordpieces = wordpieces
        register()

    def __call__(self, docs: Iterable[Doc], batch: FullTransformerBatch) -> None:
        """Set the vectors of a batch."""
        width = batch.model_output["last_hidden_state"].shape[-1]
        for doc, data in zip(docs, batch.doc_data, strict=True):
            self._set(doc, data, width)

    def _set(self, doc: Doc, data: TransformerData, width: int) -> None:
        vector = np.zeros(width, dtype=np.float32)
        tensor = np.zeros((len(doc), width), dtype=np.float32)
        if isinstance(data, Rows):
            rows = to_numpy(data.rows)
            if not doc.text.isspace():
                vector = pool_rows(rows, data.table[:, 3], self.pooling)
            if self.tokens:
                tensor = NumpyOps().reduce_mean(rows[data.aligned], data.per_token)
        doc._.set(VECTOR, _unit(vector) if self.normalize else vector)
        doc.tensor = tensor if self.tokens else np.zeros((0,), dtype=np.float32)
        self.attach(doc)

    def attach(self, doc: Doc) -> Doc:
        """Let spaCy's attributes read the vectors that a Doc came with: after `DocBin`,
        `Doc.from_bytes`, or another process.

        RETURNS (Doc): The same.
        """
        if doc._.get(VECTOR) is None:
            return doc
        of_doc = partial(_of_doc, normalize=self.normalize)
        doc.user_hooks |= {"vector": of_doc, "has_vector": _has, "similarity": cosine}
        doc.user_span_hooks["vector"] = partial(_of_span, normalize=self.normalize)
        doc.user_token_hooks["vector"] = _of_token
        for hooks in (doc.user_span_hooks, doc.user_token_hooks):
            hooks |= {"has_vector": _has, "similarity": cosine}
        return doc


def register() -> None:
    """Add the extensions to `Doc`: the vector, and `doc._.summary(n)` where that name is free."""
    if not Doc.has_extension(VECTOR):
        Doc.set_extension(VECTOR, default=None)
    if not Doc.has_extension(SUMMARY):
        Doc.set_extension(SUMMARY, method=summary)


def attach_in_pipe(nlp: Language, vectors: DocVectors) -> None:
    """Let `nlp.pipe` give documents that other processes made their hooks back: spaCy sends them as
    bytes.
    """
    nlp.pipe = partial(_pipe, nlp, vectors)


def _pipe(nlp: Language, vectors: DocVectors, *args: Any, **settings: Any) -> Iterator[Any]:
    """See `Language.pipe`, which calls this again for the documents where it gives tuples."""
    docs = type(nlp).pipe(nlp, *args, **settings)
    if settings.get("as_tuples") or settings.get("n_process", 1) == 1:
        yield from docs
        return
    with warnings.catch_warnings():
        # Of each of the processes, which begin with the first document, that hooks aren't saved.
        warnings.filterwarnings("ignore", message=r"\[W109\]")
        first = list(islice(docs, 1))
    for doc in chain(first, docs):
        yield vectors.attach(doc)


@contextmanager
def reading(transformer: Any, prefix: str) -> Iterator[None]:
    """For a while, let a transformer put something else before its texts.

    transformer (JBertTransformer): The component.
    prefix (str): As in `doc_vectors`.
    """
    before = transformer.model.attrs["prefix"]
    transformer.model.attrs["prefix"] = prefix
    try:
        yield
    finally:
        transformer.model.attrs["prefix"] = before


def cosine(one: Any, other: Any) -> float:
    """RETURNS (float): The cosine of the vectors of two documents, spans or tokens; 0 where one has
    none.
    """
    ours, theirs = to_numpy(one.vector), to_numpy(other.vector)
    if not ours.any() or not theirs.any():
        return 0.0
    return float(_unit(ours) @ _unit(theirs))


def _unit(vector: Vector) -> Vector:
    length = np.linalg.norm(vector)
    return cast(Vector, vector / length) if length else vector


def _of_doc(doc: Doc, *, normalize: bool) -> Vector:
    vector = doc._.get(VECTOR)
    # `span.as_doc()` has the tokens' vectors and the hooks, but not this.
    return _of_span(doc[:], normalize=normalize) if vector is None else cast(Vector, vector)


def _of_span(span: Span, *, normalize: bool) -> Vector:
    """The mean of its tokens' but those that have none."""
    if not len(span.doc.tensor):
        return _nothing(span.doc)
    rows = span.doc.tensor[span.start : span.end]
    some = rows[rows.any(axis=1)]
    vector = some.mean(axis=0) if len(some) else np.zeros_like(span.doc.tensor[0])
    return _unit(vector) if normalize else vector


def _of_token(token: Token) -> Vector:
    tensor = token.doc.tensor
    return tensor[token.i] if len(tensor) else _nothing(token.doc)


def _nothing(doc: Doc) -> Vector:
    vector = doc._.get(VECTOR)
    return np.zeros(0, dtype=np.float32) if vector is None else np.zeros_like(vector)


def _has(of: Doc | Span | Token) -> bool:
    return bool(of.vector.any())
