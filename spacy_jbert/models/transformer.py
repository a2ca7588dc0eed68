"""The encoder as a thinc model: documents in, one ragged stack of wordpiece vectors a document out.

`JapaneseTransformer` cuts documents into wordpieces and windows, runs the encoder over
length-sorted batches of windows and puts the vectors back into document order. The torch side is in
`shim.py`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np
import torch
from spacy.attrs import SENT_START
from spacy.tokens import Doc
from spacy_transformers.data_classes import TransformerData
from spacy_transformers.layers import split_trf_batch, trfs2arrays
from thinc.api import CupyOps, Model, Ops, chain
from thinc.types import Floats2d, Ragged
from transformers.file_utils import ModelOutput

from ..errors import Errors
from ..types import Ints, ListenerModel, Pieces, Tok2VecModel, TransformerModel
from ..wordpieces.alignment import align_docs, ragged_ranges, token_offsets
from ..wordpieces.windows import (
    CHOICES,
    Window,
    choose_windows,
    only_windows,
    plan_windows,
)
from .listener import pool
from .run import Inputs, Part, run_windows, send_back
from .shim import EncoderShim, check_choice, check_range, make_shim, send
from .vectors import DocVectors, RaggedBatch

# After these tokens a window may end as after a sentence, where the Doc has no sentences of its
# own.
_SENTENCE_END = re.compile("[。．！？!?\n」』]")


def build_transformer(
    words: str = "auto",
    window: int | None = None,
    overlap: int | None = None,
    max_batch_pieces: int | Literal["auto"] = "auto",
    device: str = "auto",
    precision: str = "fp32",
    storage: str = "fp32",
    layers: str = "last",
    layer_decay: float = 1.0,
    train_layers: int | None = None,
    unfreeze_steps: int = 0,
    gradient_checkpointing: bool = False,
    train_windows: int | None = None,
    window_choice: str = "random",
    predict_windows: int | None = None,
    tf32: bool = True,
) -> TransformerModel:
    """`spacy-jbert.JapaneseTransformer.v1`. Holds no name or path: the encoder comes from
    [initialize] or from disk.

    words (str): Who segments the text before the subword model: "doc" (the Doc's own tokens),
        "native" (as the checkpoint was pretrained) or "auto".
    window (int | None): The most wordpieces of one window, special pieces included; None for the
        encoder's own limit.
    overlap (int | None): How many wordpieces neighbouring windows of a long document share, where
        the first can't end with a sentence; None for 32, less where windows are short.
    max_batch_pieces (int | Literal["auto"]): The most wordpieces that the encoder sees at once,
        padding included where it needs some (BERT's and RoBERTa's families don't). In training,
        what a batch has beyond this is computed twice instead of being kept for the backward pass:
        what the encoder needs is bounded, and only the vectors themselves grow with the documents.
        "auto": 4,096 on a CPU; on a GPU up to 32,768, as long as training keeps half of its memory
        at most. Without padding a CPU is given less at once (about 500,000 / the encoder's width),
        as that is faster; there this only bounds what training keeps.
    device (str): "auto" follows spaCy's device; "cuda:0", for example, puts the encoder there even
        where spaCy has no CuPy.
    precision (str): Of the arithmetic: "fp32", or autocast to "bf16" or (for GPUs that lack bf16;
        the loss is scaled) "fp16".
    storage (str): Of the weights on disk: "fp32", "fp16" or "bf16". Half the size, but what is
        loaded is converted instead of mapped.
    layers (str): "last". There was a learned mean of all layers once, which gained nothing.
    layer_decay (float): Each layer learns at this fraction of the rate of the one above it; 1.0 is
        the same for all.
    train_layers (int | None): How many layers learn, counted from the last. None for all, and the
        embeddings; 0 for none: then the encoder is run as in prediction, and only the heads learn.
    unfreeze_steps (int): Gradual unfreezing (Howard & Ruder 2018, arXiv:1801.06146): for so many
        steps the heads learn alone, for so many more the last layer with them, and so on down to
        the embeddings or as far as train_layers goes. 0: all from the beginning.
    gradient_checkpointing (bool): In training keep only each layer's input and compute the rest
        twice: a fraction of the memory, about a third more time.
    train_windows (int | None): How many windows of a long document are read in training, for
        `spacy-jbert.PooledTextCat.v1` alone; None for all.
    window_choice (str): Which: "random" ones, others each time, or the "first".
    predict_windows (int | None): How many are read otherwise: the first so many, or None for all.
    tf32 (bool): With precision "fp32", let NVIDIA cards that have it (Ampere and later) multiply
        matrices in TF32: vectors differ in the third or fourth digit. Nothing on a CPU.
    RETURNS (TransformerModel): `List[Doc] -> FullTransformerBatch`.
    RAISES: ValueError J005, J010, J040, J085, J087.
    """
    for name, value, choices in (
        ("layers", layers, ("last",)),
        ("window_choice", window_choice, CHOICES),
    ):
        check_choice(Errors.J040, name, value, choices)
    for name, number, least in (
        ("window", window, 1),
        ("overlap", overlap, 0),
        ("max_batch_pieces", None if max_batch_pieces == "auto" else max_batch_pieces, 1),
        ("train_windows", train_windows, 1),
        ("predict_windows", predict_windows, 1),
    ):
        check_range(name, number, least, None)
    shim = make_shim(
        words=words,
        device=device,
        precision=precision,
        storage=storage,
        layer_decay=layer_decay,
        train_layers=train_layers,
        unfreeze_steps=unfreeze_steps,
        gradient_checkpointing=gradient_checkpointing,
        tf32=tf32,
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
            "train_windows": train_windows,
            "window_choice": window_choice,
            "predict_windows": predict_windows,
            # What stands before every text: of `spacy-jbert.doc_vectors.v1`.
            "prefix": "",
            "replace_listener": _replace_listener,
            "replace_listener_cfg": _replace_listener_cfg,
        },
    )


def build_tok2vec_transformer(
    words: str = "auto",
    window: int | None = None,
    overlap: int | None = None,
    max_batch_pieces: int | Literal["auto"] = "auto",
    device: str = "auto",
    precision: str = "fp32",
    storage: str = "fp32",
    layers: str = "last",
    layer_decay: float = 1.0,
    train_layers: int | None = None,
    unfreeze_steps: int = 0,
    gradient_checkpointing: bool = False,
    train_windows: int | None = None,
    window_choice: str = "random",
    predict_windows: int | None = None,
    tf32: bool = True,
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
        train_windows,
        window_choice,
        predict_windows,
        tf32,
    )
    return inside_component(transformer, pooling, grad_factor)


def inside_component(
    transformer: TransformerModel, pooling: str | Model[Ragged, Floats2d], grad_factor: float
) -> Tok2VecModel:
    """A transformer and what pools its vectors: what `nlp.replace_listeners` leaves in the config.

    pooling, grad_factor: As in `build_tok2vec_transformer`.
    RETURNS (Tok2VecModel): `List[Doc] -> List[Floats2d]`.
    """
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
    return inside_component_cfg(transformer, listener, "spacy-jbert.Tok2VecTransformer.v1")


def inside_component_cfg(
    transformer: dict[str, Any], listener: dict[str, Any], architecture: str
) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): The settings of `architecture`, from those of a transformer and of
    what listened to it.
    """
    return {
        **transformer,
        "@architectures": architecture,
        "pooling": listener.get("pooling", "mean"),
        "grad_factor": listener.get("grad_factor", 1.0),
    }


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
    launched = launch(model, docs, is_train)
    return launched.batch(), launched.backprop


def launch(model: TransformerModel, docs: Sequence[Doc], is_train: bool = False) -> "Launched":
    """Give a batch to the encoder, and don't wait for its vectors: a GPU works on while this
    process does something else.

    RETURNS (Launched): Its `batch` waits.
    """
    shim = cast(EncoderShim, model.shims[0])
    encoder = shim.require_encoder()
    before, behind = encoder.special_ids
    # Of models that were saved before there were prefixes, nothing.
    before = [*before, *shim.prefix_ids(model.attrs.get("prefix", ""))]
    n_special = len(before) + len(behind)
    limit = min(model.attrs["window"] or encoder.max_pieces, encoder.max_pieces) - n_special
    overlap = min(32, limit // 4) if model.attrs["overlap"] is None else model.attrs["overlap"]
    if limit < 1:
        raise ValueError(Errors.J086.format(window=limit + n_special, least=n_special + 1))
    if not 0 <= overlap < limit / 2:
        raise ValueError(Errors.J011.format(overlap=overlap, limit=limit))

    pieces = shim.segmenter(docs)
    most = model.attrs["train_windows" if is_train else "predict_windows"]
    choice = model.attrs["window_choice"] if is_train else "first"
    partial: set[int] = set()
    planned: list[Window] = []
    for i, (doc, doc_pieces) in enumerate(zip(docs, pieces, strict=True)):
        n = len(doc_pieces.ids)
        if n > limit:
            windows = plan_windows(i, n, limit, overlap, *_cuts(doc, doc_pieces))
            if most is not None and len(windows) > most:
                chosen = choose_windows(windows, most, choice)
                pieces[i], windows = only_windows(doc_pieces, chosen)
                partial.add(i)
            planned += windows
        elif n or len(doc):
            # White space alone has no pieces, but heads want vectors for it too.
            planned.append(Window(i, 0, n, 0, n))
    layout = _Layout((before, behind), encoder.pad_id, pieces, planned)
    hidden, parts = run_windows(
        shim,
        Inputs(layout.inputs, layout.lengths, layout.row_of_input, len(layout.table)),
        budget=shim.budget(model.attrs["max_batch_pieces"]),
        learn=is_train and shim.learns(),
    )
    return Launched(model, docs, is_train, layout, align_docs(docs, pieces), partial, hidden, parts)


@dataclass
class Launched:
    """A batch that the encoder was given.

    layout, aligned, partial: As in `_split`.
    hidden (Tensor): The vectors, on the encoder's device, which may be at work on them.
    parts: From `run_windows`.
    """

    model: TransformerModel
    docs: Sequence[Doc]
    is_train: bool
    layout: "_Layout"
    aligned: list[tuple[Ints, Ints]]
    partial: set[int]
    hidden: torch.Tensor
    parts: list[Part]

    def batch(self) -> RaggedBatch:
        """RETURNS (RaggedBatch): The vectors."""
        rows = to_array(self.model.ops, self.hidden)
        data = _split(
            rows,
            self.layout,
            self.aligned,
            self.partial,
            cast(EncoderShim, self.model.shims[0]).vocabulary,
            is_train=self.is_train,
        )
        return RaggedBatch(self.docs, rows, data)

    def backprop(self, d_batch: RaggedBatch) -> list[Doc]:
        """Send the gradient of the vectors back through the encoder."""
        shim, device = cast(EncoderShim, self.model.shims[0]), self.hidden.device
        d_rows = d_batch.rows
        if self.parts and len(d_rows):
            d_hidden = (
                send(d_rows, device)
                if isinstance(d_rows, np.ndarray)
                else torch.as_tensor(d_rows).to(device)
            )
            send_back(shim, self.parts, d_hidden)
        return []


class _Layout:
    """Where everything lies: what goes into the encoder, window after window, and what comes out of
    it, which are the rows that windows answer for and their special rows.

    around (tuple[list[int], list[int]]): What stands before and behind each window.
    pad_id (int): What stands in a window that would be empty.
    pieces (list[Pieces]): Of each document.
    windows (list[Window]): In the order of documents.

    inputs: Ids of all windows. *Shape:* `(n_inputs,)`.
    begins, lengths: Each window's part of these. *Shape:* `(n_windows,)`.
    row_of_input: The row that each input's vector becomes, -1 for none.
    table: Of each row what `DocVectors.table` says.
    row_of_piece: The row of each piece of all documents.
    n_pieces: How many each document has.
    rows_of_doc: Where the rows of each document begin, and where the last ones end.
    """

    def __init__(
        self,
        around: tuple[list[int], list[int]],
        pad_id: int,
        pieces: list[Pieces],
        windows: list[Window],
    ) -> None:
        doc, start, end, own_start, own_end = (
            np.array(windows, dtype=np.int64).reshape(-1, 5).T if windows else np.zeros((5, 0), int)
        )
        ids, starts, ends = (
            np.concatenate([of[column] for of in pieces]) if pieces else np.zeros(0, int)
            for column in range(3)
        )
        self.n_pieces = [len(of.ids) for of in pieces]
        n_pieces = np.array(self.n_pieces, dtype=np.int64)
        first_piece = np.cumsum(n_pieces) - n_pieces
        prefix, suffix = (np.array(ids, dtype=np.int64) for ids in around)
        n_before = np.full(len(doc), len(prefix))
        if not len(prefix) and not len(suffix):
            # Where pieces are missing too, one that stands for white space.
            n_before[end == start] = 1
            prefix = np.array([pad_id])
        special = n_before + len(suffix)
        self.lengths = end - start + special
        self.begins = np.cumsum(self.lengths) - self.lengths
        n_rows = own_end - own_start + special
        row_begins = np.cumsum(n_rows) - n_rows

        # Inside a document windows follow one another, so all pieces do.
        body = row_begins + n_before
        first_own = first_piece[doc] + own_start
        self.row_of_piece = np.arange(len(ids)) + np.repeat(body - first_own, own_end - own_start)
        self.table = np.full((int(n_rows.sum()), 4), -1, dtype=np.int32)
        self.table[self.row_of_piece, :3] = np.stack((ids, starts, ends), axis=1)
        first_window = np.searchsorted(doc, doc)
        self.table[:, 3] = np.repeat(np.arange(len(doc)) - first_window, n_rows)
        self.rows_of_doc = np.concatenate(
            ([0], np.cumsum(np.bincount(doc, weights=n_rows, minlength=len(pieces)))),
        ).astype(np.int64)

        self.inputs = np.empty(int(self.lengths.sum()), dtype=np.int64)
        self.row_of_input = np.empty(len(self.inputs), dtype=np.int64)
        at = ragged_ranges(self.begins + n_before, end - start)
        piece = ragged_ranges(first_piece[doc] + start, end - start)
        self.inputs[at] = ids[piece]
        inside = ragged_ranges(start, end - start)
        is_own = inside >= np.repeat(own_start, end - start)
        is_own &= inside < np.repeat(own_end, end - start)
        self.row_of_input[at] = np.where(is_own, self.row_of_piece[piece], -1)
        for before, special_ids, offset in (
            (n_before, prefix, 0),
            (np.full(len(doc), len(suffix)), suffix, self.lengths - len(suffix)),
        ):
            at = ragged_ranges(self.begins + offset, before)
            number = ragged_ranges(np.zeros(len(doc), dtype=np.int64), before)
            to = row_begins if before is n_before else row_begins + n_rows - len(suffix)
            row = ragged_ranges(to, before)
            self.inputs[at] = special_ids[number]
            self.row_of_input[at] = row
            self.table[row, 0] = special_ids[number]


def _cuts(doc: Doc, pieces: Pieces) -> tuple[np.ndarray, np.ndarray]:
    """The pieces at which a token, a sentence begins."""
    starts, ends = token_offsets(doc)
    first = np.searchsorted(pieces.starts, starts, side="left")
    if doc.has_annotation("SENT_START"):
        begins = doc.to_array(SENT_START).astype(np.int64) == 1
    else:
        ended = np.zeros(len(doc.text) + 1, dtype=bool)
        ended[[found.end() for found in _SENTENCE_END.finditer(doc.text)]] = True
        begins = np.concatenate(([True], ended[ends[:-1]]))
    return _without_repeats(first), _without_repeats(first[begins])


def _without_repeats(rising: np.ndarray) -> np.ndarray:
    return rising[np.diff(rising, prepend=-1) > 0]


def _split(
    rows: Floats2d,
    layout: _Layout,
    aligned: list[tuple[Ints, Ints]],
    partial: set[int],
    vocabulary: np.ndarray,
    *,
    is_train: bool,
) -> list[TransformerData]:
    """Each document's share of the rows.

    aligned: From `align_docs`.
    partial: The documents of which only some windows were read.
    """
    data: list[TransformerData] = []
    borders = layout.rows_of_doc.tolist()
    first_piece = 0
    for i, ((a, b), (indices, lengths), n_pieces) in enumerate(
        zip(pairwise(borders), aligned, layout.n_pieces, strict=True)
    ):
        if a == b:
            empty = TransformerData.empty()
            empty.align = Ragged(np.zeros((0,), dtype="i"), np.zeros((len(lengths),), dtype="i"))
            if not is_train:
                empty.model_output = ModelOutput(last_hidden_state=rows[a:b][None])
            data.append(empty)
            continue
        if n_pieces:
            of_token = layout.row_of_piece[first_piece : first_piece + n_pieces][indices] - a
            of_token = of_token.astype(np.int32)
        else:  # white space alone: its tokens take the vector of the first special piece
            of_token, lengths = np.zeros(len(lengths), dtype=np.int32), np.ones_like(lengths)
        first_piece += n_pieces
        # A Doc that is kept must not keep the vectors of its whole batch alive.
        own = rows[a:b] if is_train or b - a == len(rows) else rows[a:b].copy()
        table = layout.table[a:b].copy()
        data.append(
            DocVectors(own, table, of_token, lengths.copy(), vocabulary, partial=i in partial)
        )
    return data


def to_array(ops: Ops, hidden: torch.Tensor) -> Floats2d:
    """RETURNS (Floats2d): Vectors for thinc, without a copy where both are on one device."""
    if isinstance(ops, CupyOps) and hidden.is_cuda:
        return cast(Floats2d, ops.xp.from_dlpack(hidden.contiguous()))
    return cast(Floats2d, ops.asarray(hidden.cpu().numpy()))
