"""The encoder as a thinc model: documents in, one ragged stack of wordpiece vectors a document out.

`JapaneseTransformer` cuts documents into wordpieces and windows, runs the encoder over
length-sorted batches of windows and puts the vectors back into document order. The torch side is in
`shim.py`."""

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from spacy.attrs import SENT_START
from spacy.tokens import Doc
from spacy_transformers.data_classes import FullTransformerBatch, TransformerData, WordpieceBatch
from spacy_transformers.layers import split_trf_batch, trfs2arrays
from thinc.api import CupyOps, Model, chain
from thinc.types import Floats2d, Ragged
from transformers.file_utils import ModelOutput

from ..errors import Errors
from ..types import Ints, ListenerModel, Pieces, Tok2VecModel, TransformerModel
from ..wordpieces.segmentation import WORDS, align_docs, token_offsets
from ..wordpieces.windows import Window, batch_windows, plan_windows
from .listener import pool
from .shim import LAYERS, PRECISIONS, STORAGE, EncoderShim, check_device, send

# After these tokens a window may end as after a sentence, where the Doc has no sentences of its
# own.
_SENTENCE_ENDS = frozenset("。．！？!?\n」』")

# What a batch costs a GPU whatever is in it, in wordpieces: the launches of some hundred kernels,
# 12 ms for 12 layers forward, in which an H200 pretrains 2,800 pieces of the same encoder.
_LAUNCHES = 2048
# Of a rate from one layer to the next: with less, a layer learns nothing at all.
_LEAST_DECAY = 0.01


def build_transformer(
    words: str = "auto",
    window: int | None = None,
    overlap: int | None = None,
    max_batch_pieces: int = 4096,
    device: str = "auto",
    precision: str = "fp32",
    storage: str = "fp32",
    layers: str = "last",
    layer_decay: float = 1.0,
    train_layers: int | None = None,
    unfreeze_steps: int = 0,
    gradient_checkpointing: bool = False,
) -> TransformerModel:
    """`spacy-jbert.JapaneseTransformer.v1`. Holds no name or path: the encoder comes from
    [initialize] or from disk.

    words (str): Who segments the text before the subword model: "doc" (the Doc's own tokens),
        "native" (as the checkpoint was pretrained) or "auto".
    window (int | None): The most wordpieces of one window, special pieces included; None for the
        encoder's own limit.
    overlap (int | None): How many wordpieces neighbouring windows of a long document share, where
        the first can't end with a sentence; None for 32, less where windows are short.
    max_batch_pieces (int): The most wordpieces, padding included, that the encoder sees at once. In
        training, what a batch has beyond this is computed twice instead of being kept for the
        backward pass: what the encoder needs is bounded, and only the vectors themselves grow with
        the documents.
    device (str): "auto" follows spaCy's device; "cuda:0", for example, puts the encoder there even
        where spaCy has no CuPy.
    precision (str): Of the arithmetic: "fp32", or autocast to "bf16" or (for GPUs that lack bf16;
        the loss is scaled) "fp16".
    storage (str): Of the weights on disk: "fp32", "fp16" or "bf16". Half the size, but what is
        loaded is converted instead of mapped.
    layers (str): "last", or "mix" for a learned mean of all layers and the embeddings (Peters et
        al. 2018, arXiv:1802.05365).
    layer_decay (float): Each layer learns at this fraction of the rate of the one above it; 1.0 is
        the same for all.
    train_layers (int | None): How many layers learn, counted from the last. None for all, and the
        embeddings; 0 for none: then the encoder is run as in prediction, and only the heads (and
        the mix) learn.
    unfreeze_steps (int): Gradual unfreezing (Howard & Ruder 2018, arXiv:1801.06146): for so many
        steps the heads learn alone, for so many more the last layer with them, and so on down to
        the embeddings or as far as train_layers goes. 0: all from the beginning.
    gradient_checkpointing (bool): In training keep only each layer's input and compute the rest
        twice: a fraction of the memory, about a third more time.
    RETURNS (TransformerModel): `List[Doc] -> FullTransformerBatch`.
    RAISES: ValueError J005, J010, J040, J085, J087.
    """
    for code, name, value, choices in (
        (Errors.J005, "words", words, WORDS),
        (Errors.J010, "precision", precision, PRECISIONS),
        (Errors.J040, "storage", storage, STORAGE),
        (Errors.J040, "layers", layers, LAYERS),
    ):
        if value not in choices:
            raise ValueError(
                code.format(
                    **{name: value}, name=name, value=value, choices=", ".join(map(repr, choices))
                )
            )
    check_device(device)
    for name, number, least, most in (
        ("window", window, 1, None),
        ("overlap", overlap, 0, None),
        ("max_batch_pieces", max_batch_pieces, 1, None),
        ("train_layers", train_layers, 0, None),
        ("unfreeze_steps", unfreeze_steps, 0, None),
        ("layer_decay", layer_decay, _LEAST_DECAY, 1.0),
    ):
        _check_range(name, number, least, most)
    shim = EncoderShim(
        words=words,
        device=device,
        precision=precision,
        storage=storage,
        layers=layers,
        layer_decay=layer_decay,
        train_layers=train_layers,
        unfreeze_steps=unfreeze_steps,
        gradient_checkpointing=gradient_checkpointing,
    )
    return Model(
        "jbert_transformer",
        forward,
        init=init,
        dims={"nO": None},
        shims=[shim],
        attrs={
            "window": window,
            "overlap": overlap,
            "max_batch_pieces": max_batch_pieces,
            "replace_listener": _replace_listener,
            "replace_listener_cfg": _replace_listener_cfg,
        },
    )


def _check_range(name: str, value: float | None, least: float, most: float | None) -> None:
    """RAISES: ValueError J087 for a number out of its range, or none (nan)."""
    if value is None:
        return
    if not least <= value <= (math.inf if most is None else most):
        wanted = f"{least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(Errors.J087.format(name=name, value=value, wanted=wanted))


def build_tok2vec_transformer(
    words: str = "auto",
    window: int | None = None,
    overlap: int | None = None,
    max_batch_pieces: int = 4096,
    device: str = "auto",
    precision: str = "fp32",
    storage: str = "fp32",
    layers: str = "last",
    layer_decay: float = 1.0,
    train_layers: int | None = None,
    unfreeze_steps: int = 0,
    gradient_checkpointing: bool = False,
    pooling: str | Model[Ragged, Floats2d] = "mean",
    grad_factor: float = 1.0,
) -> Tok2VecModel:
    """`spacy-jbert.Tok2VecTransformer.v1`: an encoder inside one component. What
    `nlp.replace_listeners` leaves in the config.

    pooling, grad_factor: As in `spacy-jbert.TransformerListener.v1`, or as in
        `spacy-transformers.TransformerListener.v1` where that was replaced, with a layer; the
        others as in `spacy-jbert.JapaneseTransformer.v1`.
    RETURNS (Tok2VecModel): `List[Doc] -> List[Floats2d]`.
    """
    transformer = build_transformer(
        words,
        window,
        overlap,
        max_batch_pieces,
        device,
        precision,
        storage,
        layers,
        layer_decay,
        train_layers,
        unfreeze_steps,
        gradient_checkpointing,
    )
    # A chain inside a chain: the shape that replace_listeners gives to a model that had a listener.
    vectors: ListenerModel = chain(transformer, split_trf_batch())
    return (
        pool(vectors, pooling, grad_factor)
        if isinstance(pooling, str)
        else chain(vectors, trfs2arrays(pooling, grad_factor))
    )


def _replace_listener(model: TransformerModel) -> Model:
    return chain(model, split_trf_batch())


def _replace_listener_cfg(transformer: dict[str, Any], listener: dict[str, Any]) -> dict[str, Any]:
    return {
        **transformer,
        "@architectures": "spacy-jbert.Tok2VecTransformer.v1",
        "pooling": listener.get("pooling", "mean"),
        "grad_factor": listener.get("grad_factor", 1.0),
    }


class RaggedBatch(FullTransformerBatch):
    """The vectors of a batch of documents, unpadded: `last_hidden_state` is `(1, n_rows, width)`,
    document after document.
    """

    def unsplit_by_doc(self, arrays: list[list[Any]]) -> "RaggedBatch":
        """Put gradients of single documents together.

        Documents without pieces may be missing: they have no rows.
        """
        if not arrays:  # no document has rows, or its head sends nothing back
            return self._with_output(np.zeros((1, 0, 0), dtype="f"))
        xp = np if isinstance(arrays[0][0], np.ndarray) else CupyOps.xp
        return self._with_output(xp.concatenate([doc[0] for doc in arrays], axis=1))

    def _with_output(self, hidden: Any) -> "RaggedBatch":
        return RaggedBatch(
            self.spans, self.wordpieces, ModelOutput(last_hidden_state=hidden), self.align
        )


def init(model: TransformerModel, X: Any = None, Y: Any = None) -> None:
    shim = cast(EncoderShim, model.shims[0])
    if shim.encoder is not None:
        model.set_dim("nO", shim.encoder.width)


def forward(
    model: TransformerModel, docs: Sequence[Doc], is_train: bool
) -> tuple[RaggedBatch, Any]:
    """Run the encoder.

    The rows of a document are, window after window: special pieces, the window's own pieces,
    special pieces.
    """
    shim = cast(EncoderShim, model.shims[0])
    encoder = shim.require_encoder()
    n_special = sum(map(len, encoder.special_ids))
    limit = min(model.attrs["window"] or encoder.max_pieces, encoder.max_pieces) - n_special
    overlap = min(32, limit // 4) if model.attrs["overlap"] is None else model.attrs["overlap"]
    if limit < 1:
        raise ValueError(Errors.J086.format(window=limit + n_special, least=n_special + 1))
    if not 0 <= overlap < limit / 2:
        raise ValueError(Errors.J011.format(overlap=overlap, limit=limit))

    pieces = shim.segmenter(docs)
    windows: list[Window] = []
    for i, (doc, doc_pieces) in enumerate(zip(docs, pieces, strict=True)):
        planned = plan_windows(
            i, len(doc_pieces.ids), limit, overlap, *_cuts(doc, doc_pieces, limit)
        )
        if not planned and len(doc):
            # White space alone: heads want vectors for it too.
            planned = [Window(i, 0, 0, 0, 0)]
        windows += planned
    data = [
        _doc_data(shim, doc_pieces, doc_windows, *aligned)
        for doc_pieces, doc_windows, aligned in zip(
            pieces, _by_doc(windows, len(docs)), align_docs(docs, pieces), strict=True
        )
    ]
    wordpieces = _join([doc_data.wordpieces for doc_data in data])
    hidden, graph = _run(
        shim,
        pieces,
        windows,
        budget=model.attrs["max_batch_pieces"],
        learn=is_train and shim.learns(),
    )
    rows = _to_array(model, hidden)
    at = 0
    for doc_data in data:
        n = doc_data.wordpieces.input_ids.size
        if n or not is_train:
            # A Doc that is kept must not keep the vectors of its whole batch alive.
            own = rows[at : at + n] if is_train or n == len(rows) else rows[at : at + n].copy()
            doc_data.model_output = ModelOutput(
                last_hidden_state=own[None], **doc_data.model_output
            )
        at += n
    batch = RaggedBatch(
        spans=[[doc[:]] if len(doc) else [] for doc in docs],
        wordpieces=wordpieces,
        model_output=ModelOutput(last_hidden_state=rows[None]),
        align=_join_align(
            [doc_data.align for doc_data in data], [d.wordpieces.input_ids.size for d in data]
        ),
        cached_doc_data=data,
    )

    def backprop(d_batch: RaggedBatch) -> list[Doc]:
        d_rows = d_batch.model_output["last_hidden_state"][0]
        if graph and len(d_rows):
            d_hidden = (
                send(d_rows, hidden.device)
                if isinstance(d_rows, np.ndarray)
                else torch.as_tensor(d_rows).to(hidden.device)
            )
            # The last first, as it may have to be computed again; each is freed when it is done.
            while graph:
                output, target = graph.pop()
                shim.backward(output, d_hidden[target])
        return []

    return batch, backprop


def _run(
    shim: EncoderShim, pieces: list[Pieces], windows: list[Window], *, budget: int, learn: bool
) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Run the encoder over all windows, a batch of at most `budget` pieces at a time, and keep the
    rows that windows answer for.

    RETURNS: The rows in document order, `(n_rows, width)`; and, if `learn`, what is to be sent back
        through the encoder: for each batch its rows, `(n_batch_rows, width)`, and their places
        among all, `(n_batch_rows,)`.
    """
    encoder = shim.require_encoder()
    around = [_special_ids(shim, pieces[w.doc]) for w in windows]
    ids = [
        np.concatenate((prefix, pieces[w.doc].ids[w.start : w.end], suffix)).astype(np.int64)
        for w, (prefix, suffix) in zip(windows, around, strict=True)
    ]
    counts = np.array(
        [
            len(prefix) + w.own_end - w.own_start + len(suffix)
            for w, (prefix, suffix) in zip(windows, around, strict=True)
        ],
        int,
    )
    first = np.cumsum(counts) - counts
    hidden = torch.empty((int(counts.sum()), encoder.width), device=encoder.model.device)
    graph, kept = [], 0
    with torch.enable_grad() if learn else torch.inference_mode():
        lengths = [len(window) for window in ids]
        on_cpu = encoder.model.device.type == "cpu"
        for batch in (
            batch_windows(lengths, budget)
            if on_cpu
            else batch_windows(lengths, budget, overhead=_LAUNCHES)
        ):
            size = len(batch) * len(ids[batch[0]])
            recompute = learn and kept > 0 and kept + size > budget
            kept += 0 if recompute else size
            output = shim.run([ids[i] for i in batch], learn=learn, recompute=recompute)
            own = np.zeros(output.shape[:2], dtype=bool)
            for row, i in zip(own, batch, strict=True):
                w, (prefix, suffix) = windows[i], around[i]
                row[: len(ids[i])] = True
                row[len(prefix) : len(prefix) + w.own_start - w.start] = False
                row[len(prefix) + w.own_end - w.start : len(ids[i]) - len(suffix)] = False
            rows = output.flatten(0, 1)[send(np.flatnonzero(own), hidden.device)]
            target = send(
                np.concatenate([np.arange(first[i], first[i] + counts[i]) for i in batch]),
                hidden.device,
            )
            hidden[target] = rows.detach().float()
            if learn:
                graph.append((rows, target))
    return hidden, graph


def _special_ids(shim: EncoderShim, pieces: Pieces) -> tuple[list[int], list[int]]:
    """The special ids around each window of a document.

    Where both these and pieces are missing, one that stands for white space.
    """
    encoder = shim.require_encoder()
    prefix, suffix = encoder.special_ids
    return (prefix, suffix) if len(pieces.ids) or prefix or suffix else ([encoder.pad_id], [])


def _cuts(doc: Doc, pieces: Pieces, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """The pieces at which a token, a sentence begins; empty where the document fits one window."""
    if len(pieces.ids) <= limit:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32)
    starts, _ = token_offsets(doc)
    first = np.searchsorted(pieces.starts, starts, side="left")
    if doc.has_annotation("SENT_START"):
        begins = doc.to_array(SENT_START).astype(np.int64) == 1
    else:
        ended = np.fromiter(
            (token.text[-1] in _SENTENCE_ENDS for token in doc), dtype=bool, count=len(doc)
        )
        begins = np.concatenate(([True], ended[:-1]))
    return np.unique(first), np.unique(first[begins])


def _by_doc(windows: list[Window], n_docs: int) -> list[list[Window]]:
    grouped: list[list[Window]] = [[] for _ in range(n_docs)]
    for window in windows:
        grouped[window.doc].append(window)
    return grouped


def _doc_data(
    shim: EncoderShim, pieces: Pieces, windows: list[Window], indices: Ints, lengths: Ints
) -> TransformerData:
    """Everything of a TransformerData but the vectors. `indices` and `lengths` are those of
    `align`.

    Beside the vectors, `model_output["offsets"]` has the characters that each row stands for, -1
    for special pieces: `(n_rows, 2)`."""
    if not windows:
        data = TransformerData.empty()
        data.align = Ragged(np.zeros((0,), dtype="i"), np.zeros((len(lengths),), dtype="i"))
        return data
    prefix, suffix = _special_ids(shim, pieces)
    ids = np.concatenate(
        [part for w in windows for part in (prefix, pieces.ids[w.own_start : w.own_end], suffix)]
    ).astype(np.int32)
    # Row of each piece: the special rows of its window and of those before it come first.
    special = len(prefix) + len(suffix)
    row = np.arange(len(pieces.ids)) + np.repeat(
        [len(prefix) + i * special for i in range(len(windows))],
        [w.own_end - w.own_start for w in windows],
    )
    offsets = np.full((len(ids), 2), -1, dtype=np.int32)
    offsets[row, 0], offsets[row, 1] = pieces.starts, pieces.ends
    if not len(row):  # white space alone: its tokens take the vector of the first special piece
        row, indices, lengths = (
            np.zeros(1, dtype=np.int32),
            np.zeros_like(lengths),
            np.ones_like(lengths),
        )
    return TransformerData(
        wordpieces=WordpieceBatch(
            strings=[shim.strings(ids)],
            input_ids=ids[None],
            attention_mask=np.ones((1, len(ids)), dtype="f"),
            lengths=[len(ids)],
            # Which window a row belongs to; the encoder itself was given none.
            token_type_ids=np.repeat(
                np.arange(len(windows)), [w.own_end - w.own_start + special for w in windows]
            )[None],
        ),
        model_output=ModelOutput(offsets=offsets),
        align=Ragged(row[indices].astype(np.int32), lengths),
    )


def _join(batches: list[WordpieceBatch]) -> WordpieceBatch:
    ids = [batch.input_ids for batch in batches if len(batch)]
    joined = np.concatenate(ids, axis=1) if ids else np.zeros((1, 0), dtype=np.int32)
    return WordpieceBatch(
        strings=[strings for batch in batches for strings in batch.strings],
        input_ids=joined,
        attention_mask=np.ones(joined.shape, dtype="f"),
        lengths=[length for batch in batches for length in batch.lengths],
        token_type_ids=None,
    )


def _join_align(aligns: list[Ragged], n_rows: list[int]) -> Ragged:
    bases = np.concatenate(([0], np.cumsum(n_rows)[:-1])).astype(np.int32)
    data = np.concatenate(
        [align.data.reshape(-1) + base for align, base in zip(aligns, bases, strict=True)]
    )
    return Ragged(data.astype(np.int32), np.concatenate([align.lengths for align in aligns]))


def _to_array(model: TransformerModel, hidden: torch.Tensor) -> Floats2d:
    if isinstance(model.ops, CupyOps) and hidden.is_cuda:
        return cast(Floats2d, model.ops.xp.from_dlpack(hidden.contiguous()))
    return cast(Floats2d, model.ops.asarray(hidden.cpu().numpy()))
