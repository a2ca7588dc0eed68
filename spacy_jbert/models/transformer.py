"""The encoder as a thinc model: documents in, one ragged stack of wordpiece vectors a document out.

`JapaneseTransformer` cuts documents into wordpieces and windows, runs the encoder over length-sorted batches of windows and puts the
vectors back into document order; `EncoderShim` holds the torch side: the encoder, its optimizer, its bytes.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import srsly
import torch
from spacy.attrs import SENT_START
from spacy.tokens import Doc
from spacy_transformers.data_classes import FullTransformerBatch, TransformerData, WordpieceBatch
from spacy_transformers.layers import split_trf_batch, trfs2arrays
from thinc.api import CupyOps, Model, Optimizer, chain
from thinc.shims.shim import Shim
from thinc.types import Floats2d, Ragged
from thinc.util import get_torch_default_device
from transformers.file_utils import ModelOutput

from ..alignment import align
from ..encoder import Encoder
from ..errors import Errors
from ..pieces import WORDS, Segmenter, make_segmenter, token_offsets
from ..types import Pieces, Tok2VecModel, TransformerModel
from ..windows import Window, batch_windows, plan_windows
from .listener import pool_tokens

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}
# After these tokens a window may end as after a sentence, where the Doc has no sentences of its own.
_SENTENCE_ENDS = frozenset("。．！？!?\n」』")


def build_transformer(
    words: str = "auto",
    window: int | None = None,
    overlap: int | None = None,
    max_batch_pieces: int = 4096,
    device: str = "auto",
    precision: str = "fp32",
    layer_decay: float = 1.0,
) -> TransformerModel:
    """`spacy-jbert.JapaneseTransformer.v1`. Holds no name or path: the encoder comes from [initialize] or from disk.

    words (str): Who segments the text before the subword model: "doc" (the Doc's own tokens), "native" (as the checkpoint was
        pretrained) or "auto".
    window (int | None): The most wordpieces of one window, special pieces included; None for the encoder's own limit.
    overlap (int | None): How many wordpieces neighbouring windows of a long document share; None for 32, less where windows are short.
    max_batch_pieces (int): The most wordpieces, padding included, that the encoder sees at once.
    device (str): "auto" follows spaCy's device; "cuda:0", for example, puts the encoder there even where spaCy has no CuPy.
    precision (str): "fp32", or "bf16" for autocast.
    layer_decay (float): Each layer learns at this fraction of the rate of the one above it; 1.0 is the same for all.
    RETURNS (TransformerModel): `List[Doc] -> FullTransformerBatch`.
    RAISES: ValueError J005, J010.
    """
    if words not in WORDS:
        raise ValueError(Errors.J005.format(words=words))
    if precision not in PRECISIONS:
        raise ValueError(Errors.J010.format(precision=precision))
    shim = EncoderShim(words=words, device=device, precision=precision, layer_decay=layer_decay)
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


def build_tok2vec_transformer(
    words: str = "auto",
    window: int | None = None,
    overlap: int | None = None,
    max_batch_pieces: int = 4096,
    device: str = "auto",
    precision: str = "fp32",
    layer_decay: float = 1.0,
    pooling: str | Model[Ragged, Floats2d] = "mean",
    grad_factor: float = 1.0,
) -> Tok2VecModel:
    """`spacy-jbert.Tok2VecTransformer.v1`: an encoder inside one component. What `nlp.replace_listeners` leaves in the config.

    pooling, grad_factor: As in `spacy-jbert.TransformerListener.v1`, or as in `spacy-transformers.TransformerListener.v1` where that was
        replaced, with a layer; the others as in `spacy-jbert.JapaneseTransformer.v1`.
    RETURNS (Tok2VecModel): `List[Doc] -> List[Floats2d]`.
    """
    transformer = build_transformer(words, window, overlap, max_batch_pieces, device, precision, layer_decay)
    # A chain inside a chain: the shape that replace_listeners gives to a model that had a listener.
    pool = pool_tokens(pooling, grad_factor) if isinstance(pooling, str) else trfs2arrays(pooling, grad_factor)
    return chain(chain(transformer, split_trf_batch()), pool)


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
    """The vectors of a batch of documents, unpadded: `last_hidden_state` is `(1, n_rows, width)`, document after document."""

    def unsplit_by_doc(self, arrays: list[list[Any]]) -> "RaggedBatch":
        """Put gradients of single documents together. Documents without pieces may be missing: they have no rows."""
        xp = np if isinstance(arrays[0][0], np.ndarray) else CupyOps.xp
        return self._with_output(xp.concatenate([doc[0] for doc in arrays], axis=1))

    def _with_output(self, hidden: Any) -> "RaggedBatch":
        return RaggedBatch(self.spans, self.wordpieces, ModelOutput(last_hidden_state=hidden), self.align)


def init(model: TransformerModel, X: Any = None, Y: Any = None) -> None:
    shim = cast(EncoderShim, model.shims[0])
    if shim.encoder is not None:
        model.set_dim("nO", shim.encoder.width)


def forward(model: TransformerModel, docs: Sequence[Doc], is_train: bool) -> tuple[RaggedBatch, Any]:
    """Run the encoder. The rows of a document are, window after window: special pieces, the window's own pieces, special pieces."""
    shim = cast(EncoderShim, model.shims[0])
    encoder = shim.require_encoder()
    prefix, suffix = encoder.special_ids
    limit = min(model.attrs["window"] or encoder.max_pieces, encoder.max_pieces) - len(prefix) - len(suffix)
    overlap = min(32, limit // 4) if model.attrs["overlap"] is None else model.attrs["overlap"]
    if not 0 <= overlap < limit / 2:
        raise ValueError(Errors.J011.format(overlap=overlap, limit=limit))

    pieces = shim.segmenter(docs)
    windows: list[Window] = []
    for i, (doc, doc_pieces) in enumerate(zip(docs, pieces, strict=True)):
        planned = plan_windows(i, len(doc_pieces.ids), limit, overlap, *_cuts(doc, doc_pieces, limit))
        if not planned and len(doc) and (prefix or suffix):
            # White space alone: heads want vectors for it too.
            planned = [Window(i, 0, 0, 0, 0)]
        windows += planned

    inputs = [np.concatenate((prefix, pieces[w.doc].ids[w.start : w.end], suffix)).astype(np.int64) for w in windows]
    batches = batch_windows([len(ids) for ids in inputs], model.attrs["max_batch_pieces"])
    with torch.enable_grad() if is_train else torch.inference_mode():
        outputs = [shim.run([inputs[i] for i in batch], is_train=is_train) for batch in batches]
        hidden = _in_order(outputs, batches, windows, len(prefix), len(suffix)) if outputs else torch.zeros((0, encoder.width))
    data = [
        _doc_data(shim, doc, doc_pieces, doc_windows)
        for doc, doc_pieces, doc_windows in zip(docs, pieces, _by_doc(windows, len(docs)), strict=True)
    ]
    rows = _to_array(model, hidden)
    at = 0
    for doc_data in data:
        n = doc_data.wordpieces.input_ids.shape[1] if len(doc_data.wordpieces) else 0
        if n or not is_train:
            # A Doc that is kept must not keep the vectors of its whole batch alive.
            own = rows[at : at + n] if is_train else rows[at : at + n].copy()
            doc_data.model_output = ModelOutput(last_hidden_state=own[None])
        at += n
    batch = RaggedBatch(
        spans=[[doc[:]] if len(doc) else [] for doc in docs],
        wordpieces=_join([doc_data.wordpieces for doc_data in data]),
        model_output=ModelOutput(last_hidden_state=rows[None]),
        align=_join_align([doc_data.align for doc_data in data], [d.wordpieces.input_ids.size for d in data]),
        cached_doc_data=data,
    )

    def backprop(d_batch: RaggedBatch) -> list[Doc]:
        d_rows = d_batch.model_output["last_hidden_state"][0]
        if len(d_rows):
            torch.autograd.backward(hidden, torch.as_tensor(d_rows, device=hidden.device).to(hidden.dtype))
        return []

    return batch, backprop


def _cuts(doc: Doc, pieces: Pieces, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """The pieces at which a token, a sentence begins; empty where the document fits one window."""
    if len(pieces.ids) <= limit:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32)
    starts, _ = token_offsets(doc)
    first = np.searchsorted(pieces.starts, starts, side="left")
    if doc.has_annotation("SENT_START"):
        begins = doc.to_array(SENT_START).astype(np.int64) == 1
    else:
        ended = np.fromiter((token.text[-1] in _SENTENCE_ENDS for token in doc), dtype=bool, count=len(doc))
        begins = np.concatenate(([True], ended[:-1]))
    return np.unique(first), np.unique(first[begins])


def _in_order(outputs: list[torch.Tensor], batches: list[list[int]], windows: list[Window], n_prefix: int, n_suffix: int) -> torch.Tensor:
    """Pick the rows that windows answer for out of padded batches, in document order. *Shape:* `(n_rows, width)`."""
    base, place = 0, np.empty((len(windows),), dtype=np.int64)
    for output, batch in zip(outputs, batches, strict=True):
        place[batch] = base + np.arange(len(batch)) * output.shape[1]
        base += output.shape[0] * output.shape[1]
    rows = []
    for at, w in zip(place, windows, strict=True):
        length = n_prefix + w.end - w.start + n_suffix
        own = np.arange(n_prefix + w.own_start - w.start, n_prefix + w.own_end - w.start)
        rows += [at + np.arange(n_prefix), at + own, at + np.arange(length - n_suffix, length)]
    flat = torch.cat([output.reshape(-1, output.shape[-1]) for output in outputs])
    index = np.concatenate(rows)
    if len(index) == len(flat) and np.array_equal(index, np.arange(len(flat))):
        return flat
    return flat[torch.from_numpy(index).to(flat.device)]


def _by_doc(windows: list[Window], n_docs: int) -> list[list[Window]]:
    grouped: list[list[Window]] = [[] for _ in range(n_docs)]
    for window in windows:
        grouped[window.doc].append(window)
    return grouped


def _doc_data(shim: "EncoderShim", doc: Doc, pieces: Pieces, windows: list[Window]) -> TransformerData:
    """Everything of a TransformerData but the vectors."""
    if not windows:
        data = TransformerData.empty()
        data.align = Ragged(np.zeros((0,), dtype="i"), np.zeros((len(doc),), dtype="i"))
        return data
    prefix, suffix = shim.require_encoder().special_ids
    ids = np.concatenate([part for w in windows for part in (prefix, pieces.ids[w.own_start : w.own_end], suffix)]).astype(np.int32)
    # Row of each piece: the special rows of its window and of those before it come first.
    special = len(prefix) + len(suffix)
    row = np.arange(len(pieces.ids)) + np.repeat(
        [len(prefix) + i * special for i in range(len(windows))], [w.own_end - w.own_start for w in windows]
    )
    indices, lengths = align(*token_offsets(doc), pieces.starts, pieces.ends)
    if not len(row):  # white space alone: its tokens take the vector of the first special piece
        row, indices, lengths = np.zeros(1, dtype=np.int32), np.zeros(len(doc), dtype=np.int32), np.ones(len(doc), dtype=np.int32)
    return TransformerData(
        wordpieces=WordpieceBatch(
            strings=[shim.strings(ids)],
            input_ids=ids[None],
            attention_mask=np.ones((1, len(ids)), dtype="f"),
            lengths=[len(ids)],
            # Which window a row belongs to; the encoder itself was given none.
            token_type_ids=np.repeat(np.arange(len(windows)), [w.own_end - w.own_start + special for w in windows])[None],
        ),
        model_output=ModelOutput(),
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
    data = np.concatenate([align.data.reshape(-1) + base for align, base in zip(aligns, bases, strict=True)])
    return Ragged(data.astype(np.int32), np.concatenate([align.lengths for align in aligns]))


def _to_array(model: TransformerModel, hidden: torch.Tensor) -> Floats2d:
    hidden = hidden.detach().float()
    if isinstance(model.ops, CupyOps) and hidden.is_cuda:
        return cast(Floats2d, model.ops.xp.from_dlpack(hidden.contiguous()))
    return cast(Floats2d, model.ops.asarray(hidden.cpu().numpy()))


class EncoderShim(Shim):
    """The torch side of `JapaneseTransformer`: runs the encoder, steps its optimizer, turns it into bytes and back.

    words, device, precision, layer_decay: As in `build_transformer`.
    """

    def __init__(self, *, words: str = "auto", device: str = "auto", precision: str = "fp32", layer_decay: float = 1.0) -> None:
        super().__init__(None)
        self._optimizer: torch.optim.AdamW | None = None
        self.words, self.device, self.precision, self.layer_decay = words, device, precision, layer_decay
        self._encoder: Encoder | None = None
        self._segmenter: Segmenter | None = None
        self._strings: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Caches, and the optimizer's moments, are of this process.
        return {**self.__dict__, "_segmenter": None, "_strings": None, "_optimizer": None}

    @property
    def encoder(self) -> Encoder | None:
        return self._encoder

    @encoder.setter
    def encoder(self, encoder: Encoder) -> None:
        self._encoder, self._segmenter, self._strings, self._optimizer = encoder, None, None, None
        encoder.model.to(self._device())

    def require_encoder(self, name: str = "transformer") -> Encoder:
        """RETURNS (Encoder): The encoder. RAISES: ValueError J001 if there is none."""
        if self._encoder is None:
            raise ValueError(Errors.J001.format(name=name))
        return self._encoder

    @property
    def segmenter(self) -> Segmenter:
        """RETURNS (Segmenter): What cuts documents for this encoder; made when first needed."""
        if self._segmenter is None:
            self._segmenter = make_segmenter(self.require_encoder().tokenizer, self.words)
        return self._segmenter

    def strings(self, ids: np.ndarray) -> list[str]:
        """The strings of wordpiece ids."""
        if self._strings is None:
            vocabulary = self.require_encoder().tokenizer.get_vocab()
            # Ids may have gaps.
            strings = np.full(max(vocabulary.values()) + 1, "", dtype=object)
            strings[list(vocabulary.values())] = list(vocabulary)
            self._strings = strings
        return cast(list[str], self._strings[ids].tolist())

    def _device(self) -> torch.device:
        return get_torch_default_device() if self.device == "auto" else torch.device(self.device)

    def run(self, windows: list[np.ndarray], *, is_train: bool) -> torch.Tensor:
        """Run one batch of windows. RETURNS (Tensor): *Shape:* `(n_windows, longest, width)`; rows of padding hold noise."""
        encoder = self.require_encoder()
        lengths = np.array([len(ids) for ids in windows])
        ids = np.full((len(windows), lengths.max()), encoder.pad_id, dtype=np.int64)
        for row, window in zip(ids, windows, strict=True):
            row[: len(window)] = window
        device = encoder.model.device
        # A mask costs time even when it masks nothing.
        mask = None if lengths.min() == lengths.max() else torch.from_numpy(np.arange(ids.shape[1]) < lengths[:, None]).to(device)
        dtype = PRECISIONS[self.precision]
        autocast = torch.autocast(device.type, dtype=dtype) if dtype else contextlib.nullcontext()
        if encoder.model.training != is_train:
            encoder.model.train(is_train)
        with autocast:
            return encoder(torch.from_numpy(ids).to(device), mask if mask is None else mask.long())

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step AdamW over all weights at once, with the rate, decay and clipping that spaCy's optimizer has at this step.

        As in BERT (Devlin et al. 2019, arXiv:1810.04805), biases and LayerNorm are not decayed and gradients are clipped together, by
        their global norm.
        """
        if self._encoder is None:
            return
        weights = [p for p in self._encoder.model.parameters() if p.grad is not None]
        if not weights:
            return
        adamw: torch.optim.AdamW = self._optimizer or torch.optim.AdamW(self._groups(), lr=0.0, fused=True)
        self._optimizer = adamw
        if optimizer.grad_clip:
            torch.nn.utils.clip_grad_norm_(weights, optimizer.grad_clip)
        for group in adamw.param_groups:
            group["lr"] = optimizer.learn_rate * group["scale"]
            group["weight_decay"] = optimizer.L2 if group["decayed"] else 0.0
            group["betas"], group["eps"] = (optimizer.b1, optimizer.b2), optimizer.eps
        adamw.step()
        adamw.zero_grad(set_to_none=True)

    def _groups(self) -> list[dict[str, Any]]:
        groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
        weights = dict(self.require_encoder().model.named_parameters())
        # The first number in a name is the layer's. ALBERT has one layer, used again and again: the highest number counts, not the depth.
        layers = {name: int(part) for name in weights for part in reversed(name.split(".")) if part.isdigit()}
        top = max(layers.values(), default=0)
        for name, weight in weights.items():
            # Embeddings count as the layer below the first; anything behind the last layer as the last.
            layer = layers.get(name, -1 if "embed" in name else top)
            groups.setdefault((self.layer_decay ** (top - layer), weight.ndim > 1), []).append(weight)
        return [{"params": weights, "scale": scale, "decayed": decayed} for (scale, decayed), weights in groups.items()]

    def to_device(self, device_type: str, device_id: int) -> None:
        if self._encoder is not None and self.device == "auto":
            self._encoder.model.to(f"cuda:{device_id}" if device_type == "gpu" else device_type)
            # Its moments stay behind.
            self._optimizer = None

    @contextlib.contextmanager
    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        # Averages of spaCy's optimizer don't cover these weights, which torch's own steps.
        yield

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The files of the encoder's folder; empty if there is no encoder."""
        if self._encoder is None:
            return b""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "encoder"
            self._encoder.save(path)
            return cast(bytes, srsly.msgpack_dumps({file.name: file.read_bytes() for file in path.iterdir()}))

    def from_bytes(self, data: bytes) -> "EncoderShim":
        if data:
            with tempfile.TemporaryDirectory() as folder:
                for name, content in srsly.msgpack_loads(data).items():
                    (Path(folder) / name).write_bytes(content)
                self.encoder = Encoder.load(Path(folder))
        return self
