"""How a head reads the transformer: wordpiece vectors to one vector a token (or a window), for a
whole batch at once.
"""

from typing import Any, TypeGuard, cast

import numpy as np
from spacy.tokens import Doc
from spacy_transformers.data_classes import TransformerData
from spacy_transformers.layers import TransformerListener
from spacy_transformers.layers.listener import forward as forward_stock
from thinc.api import Model, Ops, chain
from thinc.types import Floats2d, Ragged

from ..errors import Errors
from ..types import ListenerModel, Tok2VecModel, UnitVectors
from ..wordpieces.units import units
from .vectors import DocVectors, Gradient

# The attribute of a document's vectors with the name of the transformer that made them.
SOURCE = "jbert_source"
POOLINGS = ("mean", "first", "cls", "window", "units")


def build_listener(
    pooling: str = "mean", grad_factor: float = 1.0, upstream: str = "*"
) -> Tok2VecModel:
    """`spacy-jbert.TransformerListener.v1`: connects a head to the transformer before it in the
    pipeline.

    pooling (str): "mean" of a token's wordpieces or the "first" of them, a row a token; "cls": the
        vector of the piece before the text (for BERT, [CLS]), a row a window, for classifying
        documents; "window": the mean of all pieces of a window, special ones included, for the
        same; "units": the mean for each part of a token that ends with a wordpiece, for
        `jbert_ner` with misaligned = "split", which no other component understands.
    grad_factor (float): Scales what flows back to the encoder; with 0.0 nothing does, and nothing
        is computed for it.
    upstream (str): The transformer's name in the pipeline, "*" for whichever there is.
    RETURNS (Tok2VecModel): `List[Doc] -> List[Floats2d]`; with "units" `List[Doc] -> UnitVectors`.
    RAISES: ValueError J015.
    """
    listener = TransformerListener(upstream_name=upstream)
    listener._func = listen
    model = pool(listener, pooling, grad_factor)
    model.set_ref("listener", listener)
    return model


def mend(listener: TransformerListener) -> None:
    """Let a listener of spacy-transformers do what ours does, as far as its pooling bears it."""
    if listener._func is forward_stock:
        listener._func = listen_before_stock_pooling


def listen_before_stock_pooling(
    listener: TransformerListener, docs: list[Doc], is_train: bool
) -> tuple[list[TransformerData], Any]:
    """See `listen`.

    RAISES: ValueError J092, J093; J094 for documents none of which has a token; J485.
    """
    if not any(map(len, docs)):
        raise ValueError(Errors.J094)
    datas, backprop = listen(listener, docs, is_train)
    _require_whole(datas)
    return datas, backprop


def listen(
    listener: TransformerListener, docs: list[Doc], is_train: bool
) -> tuple[list[TransformerData], Any]:
    """What the transformer said of a batch. Where spacy-transformers' own listener would fail, or
    name a remedy that is none, this one doesn't.

    RAISES: ValueError J092 if it hasn't run in training, or nothing was initialized, J093 if it ran
        on other documents, J099 if they are the vectors of another transformer.
    """
    if is_train and listener._batch_id is None and any(doc._.trf_data is None for doc in docs):
        raise ValueError(Errors.J092)
    if not is_train and not listener.has_dim("nO"):
        raise ValueError(Errors.J092)
    if is_train and listener._batch_id not in (None, listener.get_batch_id(docs)):
        raise ValueError(Errors.J093)
    datas, backprop = forward_stock(listener, docs, is_train)
    if listener.upstream_name != "*":
        for data in datas:
            source = getattr(data, SOURCE, None)
            if source not in (None, listener.upstream_name):
                raise ValueError(Errors.J099.format(wanted=listener.upstream_name, found=source))
    if not datas or any(map(_has_vectors, datas)):
        return datas, backprop
    # Of documents without tokens nobody could tell the width.
    return [_no_tokens(listener), *datas[1:]], lambda d_datas: backprop([])


def _has_vectors(data: TransformerData) -> bool:
    if _is_bare(data):
        return bool(data.rows.size)
    return any(hidden.size for hidden in data.model_output.values())


def _no_tokens(listener: TransformerListener) -> TransformerData:
    """A document without tokens, with a row that belongs to none."""
    data = TransformerData.zeros(1, listener.get_dim("nO"), xp=listener.ops.xp)
    data.wordpieces.token_type_ids = np.zeros((1, 0), dtype="i")
    data.align = Ragged(np.zeros(0, dtype="i"), np.zeros(0, dtype="i"))
    return data


def take_part(tok2vec: Tok2VecModel) -> None:
    """Let a head have documents of which only some windows were read. It then gets rows for these,
    and not for each token.
    """
    for node in tok2vec.walk():
        if node.name == "pool_tokens":
            node.attrs["partial"] = True


def _require_whole(datas: list[TransformerData]) -> None:
    """RAISES: ValueError J485."""
    if any(map(_is_partial, datas)):
        raise ValueError(Errors.J485)


def _is_partial(data: TransformerData) -> bool:
    return isinstance(data, DocVectors) and data.partial


def pool(vectors: ListenerModel, pooling: str, grad_factor: float) -> Tok2VecModel:
    """Wordpiece vectors and what makes one row of some of them. See `build_listener`."""
    layer = pool_tokens(pooling, grad_factor)
    if pooling == "units":
        return Model("units", forward_units, init=init_units, layers=[vectors, layer])
    return chain(vectors, layer)


def is_units(tok2vec: Model) -> bool:
    """RETURNS (bool): Whether a model gives `UnitVectors`."""
    return tok2vec.name == "units"


def init_units(model: Model, X: Any = None, Y: Any = None) -> None:
    for layer in model.layers:
        layer.initialize()


def forward_units(model: Model, docs: list[Doc], is_train: bool) -> tuple[UnitVectors, Any]:
    vectors, pooled = model.layers
    datas, backprop_vectors = vectors(docs, is_train)
    _require_whole(datas)
    cut = [units(doc, data) for doc, data in zip(docs, datas, strict=True)]
    rows, backprop_rows = pooled([data for _, data in cut], is_train)
    return UnitVectors(rows, [ends for ends, _ in cut]), lambda d_rows: backprop_vectors(
        backprop_rows(d_rows)
    )


def pool_tokens(pooling: str, grad_factor: float) -> Model[list[TransformerData], list[Floats2d]]:
    """The layer behind the listener. Tokens without wordpieces (white space) get zeros.

    Of a document of which only some windows were read there are rows for the tokens in these, where
    `take_part` allows it; otherwise it raises ValueError J485.
    """
    if pooling not in POOLINGS:
        raise ValueError(Errors.J015.format(pooling=pooling, choices=", ".join(POOLINGS)))
    return Model(
        "pool_tokens",
        forward,
        attrs={"pooling": pooling, "grad_factor": grad_factor, "partial": False},
    )


def forward(
    model: Model, datas: list[TransformerData], is_train: bool
) -> tuple[list[Floats2d], Any]:
    ops, pooling = model.ops, model.attrs["pooling"]
    if not model.attrs["partial"]:
        _require_whole(datas)
    hidden = [_hidden(data) for data in datas]
    # Stock empties (a document without tokens, a disabled transformer) have no vectors, or none of
    # any width.
    rows = [h.reshape(-1, h.shape[-1]) for h in hidden if h is not None and h.size]
    if not rows:
        width = next((h.shape[-1] for h in hidden if h is not None), 0)
        return [ops.alloc2f(len(data.align.lengths), width) for data in datas], lambda d_outputs: []
    flat = rows[0] if len(rows) == 1 else ops.xp.concatenate(rows)
    shape = (
        flat.shape
    )  # all that the backward pass needs: the vectors of a long document needn't wait for it
    index, lengths, counts = _rows_to_pool(datas, hidden, pooling)
    picked = flat[ops.asarray(index)]
    lengths = ops.asarray1i(lengths)
    pooled = ops.reduce_mean(picked, lengths)
    outputs = ops.xp.split(pooled, np.cumsum(counts)[:-1])

    def backprop(d_outputs: list[Floats2d]) -> list[TransformerData]:
        if not model.attrs["grad_factor"]:
            return []
        d_picked = ops.backprop_reduce_mean(ops.xp.concatenate(d_outputs), lengths)
        d_flat = _scatter(ops, shape, index, d_picked)
        d_flat *= model.attrs["grad_factor"]
        d_datas, at = [], 0
        for data, h in zip(datas, hidden, strict=True):
            if h is not None and h.size:
                n = h.shape[-2] * h.shape[0]
                d_datas.append(Gradient(d_flat[at : at + n].reshape(h.shape), data))
                at += n
        return d_datas

    return outputs, backprop


def _rows_to_pool(
    datas: list[TransformerData], hidden: list[Any], pooling: str
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """The rows of the flat batch to average, how many go into each output row, how many output rows
    each document has.
    """
    index, lengths, counts, at = [], [], [], 0
    for data, h in zip(datas, hidden, strict=True):
        if pooling in ("cls", "window"):
            window = data.table[:, 3] if _is_bare(data) else data.wordpieces.token_type_ids
            begins = (
                np.unique(window, return_index=True)[1]
                if window is not None
                else np.zeros(min(1, h.size if h is not None else 0), int)
            )
            if pooling == "window":
                n_rows = h.shape[0] * h.shape[-2] if h is not None and h.size else 0
                index.append(np.arange(n_rows) + at)
                lengths.append(np.diff(begins, append=n_rows).astype(np.int32))
            else:
                index.append(begins + at)
                lengths.append(np.ones(len(begins), dtype=np.int32))
        else:
            aligned, per_token = (
                (data.aligned, data.per_token)
                if _is_bare(data)
                else (_as_numpy(data.align.data).reshape(-1), _as_numpy(data.align.lengths))
            )
            if _is_partial(data):
                per_token = per_token[per_token > 0]
            if pooling == "first":
                firsts = (np.cumsum(per_token) - per_token)[per_token > 0]
                aligned, per_token = aligned[firsts], np.minimum(per_token, 1)
            index.append(aligned + at)
            lengths.append(per_token)
        counts.append(len(lengths[-1]))
        at += h.shape[-2] * h.shape[0] if h is not None and h.size else 0
    return np.concatenate(index).astype(np.int64), np.concatenate(lengths).astype(np.int32), counts


def _is_bare(data: TransformerData) -> TypeGuard[DocVectors]:
    """RETURNS (bool): Whether the arrays can be read in place of the objects made of them."""
    return isinstance(data, DocVectors) and data.untouched


def _hidden(data: TransformerData) -> Any:
    """*Shape:* `(n_windows, n_rows, width)`; None if there is none."""
    return data.rows[None] if _is_bare(data) else data.model_output.get("last_hidden_state")


def _as_numpy(array: Any) -> np.ndarray:
    return cast(np.ndarray, array if isinstance(array, np.ndarray) else array.get())


def _scatter(ops: Ops, shape: tuple[int, int], index: np.ndarray, values: Floats2d) -> Floats2d:
    """The gradient of picking rows. Adding is slow and only needed where a row was picked twice."""
    table = ops.alloc2f(*shape)
    if len(index) < 2 or np.all(index[1:] > index[:-1]):
        table[ops.asarray(index)] = values
    else:
        ops.scatter_add(table, ops.asarray1i(index), values)
    return table
