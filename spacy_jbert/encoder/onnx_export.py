"""A torch encoder as an ONNX graph, in fp32 or int8."""

import copy
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn.functional import embedding
from transformers import PreTrainedModel

from ..errors import Errors
from ..storage import sha256
from .checkpoint import Encoder, build_model
from .onnx import FACTS_FILE, GRAPH_FILE, INPUTS, OUTPUT, OnnxEncoder, import_onnx, import_runtime

# The first opset with LayerNormalization.
_OPSET = 17
# These make their mask in a way that can't be traced, unless they are given the whole of it.
_CAUSAL = {"llama"}
# What fp32 may differ by, as a share of the largest number in the vectors.
_TOLERANCE = 1e-3
# Windows and pieces of the batches that both sides are compared on.
_PROBES = ((1, 1), (3, 9), (2, 40))


def export_encoder(
    encoder: Encoder, *, int8: bool = False, threads: int | None = None
) -> OnnxEncoder:
    """Write an encoder as ONNX, and read it again.

    encoder (Encoder): On a CPU; stays as it is.
    int8 (bool): Weights of the linear layers with a scale for each column, the wordpieces'
        embeddings with a scale for each row; what goes into a layer is rounded as it comes
        ("dynamic"). Position embeddings and norms stay in fp32.
    threads (int | None): See `OnnxEncoder`.
    RETURNS (OnnxEncoder): What runs it. `facts["difference"]` is the largest difference between
        its vectors and torch's on random wordpieces.
    RAISES: ImportError J469; ValueError J430 if the architecture can't be exported, J431 if the
        graph computes something else.
    """
    import_runtime()
    import_onnx()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write_graph(encoder, folder / GRAPH_FILE, int8=int8)
        config, tokenizer = encoder.config, encoder.tokenizer
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        facts: dict[str, Any] = {
            "precision": "int8" if int8 else "fp32",
            "sha256": sha256(folder / GRAPH_FILE),
            "rows": encoder.n_rows,
            "parameters": encoder.n_parameters,
            "width": encoder.width,
            "pieces": int(getattr(config, "max_position_embeddings", None) or 0),
            "exported_by": f"torch {torch.__version__}, onnxruntime {import_runtime().__version__}",
        }
        (folder / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
        exported = OnnxEncoder.load(folder, threads)
    exported.facts["difference"] = _largest_difference(encoder, exported, exact=not int8)
    return exported


def _write_graph(encoder: Encoder, file: Path, *, int8: bool) -> None:
    """RAISES: ValueError J430."""
    graph = _Graph(encoder, int8=int8)
    ids = torch.arange(14).reshape(2, 7) % encoder.n_rows
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    shape = {0: "windows", 1: "pieces"}
    plain = file.with_name("plain.onnx") if int8 else file
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # What is fixed to the sizes of this batch shows when others are compared.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph,
                (ids, mask),
                str(plain),
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                dynamic_axes=dict.fromkeys((*INPUTS, OUTPUT), shape),
                opset_version=_OPSET,
                # torch's other exporter needs onnxscript, and takes each size it is shown as fixed
                # in some of these architectures.
                dynamo=False,
            )
    except Exception as error:  # the exporter's kinds of error have no common base
        raise _refused(encoder, str(error).strip().splitlines()[0]) from error
    if [entry for entry in file.parent.iterdir() if entry != plain]:
        raise _refused(encoder, "its weights are over the 2 GB that one ONNX file can hold.")
    if int8:
        _quantize(plain, file)
        plain.unlink()


def _refused(encoder: Encoder, reason: str) -> ValueError:
    return ValueError(Errors.J430.format(model=type(encoder.model).__name__, reason=reason))


def _quantize(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    disabled = logging.root.manager.disable
    # It recommends a preparation that onnxruntime does by itself when it loads the graph.
    logging.disable(logging.WARNING)
    try:
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
    finally:
        logging.disable(disabled)


class _Graph(torch.nn.Module):
    """An encoder in the form that becomes a graph.

    Attention is written out, since onnxruntime knows how to put it together again.
    """

    def __init__(self, encoder: Encoder, *, int8: bool) -> None:
        super().__init__()
        config = copy.deepcopy(encoder.config)
        config._attn_implementation = "eager"
        if hasattr(config, "reference_compile"):  # ModernBERT's own torch.compile
            config.reference_compile = False
        model = build_model(config)
        model.load_state_dict(encoder.model.state_dict())
        if int8:
            rows = _Int8Embedding(cast(torch.nn.Embedding, model.get_input_embeddings()))
            model.set_input_embeddings(rows)
        self.model: PreTrainedModel = model
        self._encoder = Encoder(model, encoder.tokenizer)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        if self.model.config.model_type in _CAUSAL:
            attention_mask = _causal(attention_mask)
        return self._encoder(input_ids, attention_mask)


def _causal(mask: torch.Tensor) -> torch.Tensor:
    """What a mask adds to the scores of attention that only looks back. *Shape:* `(n_windows, 1,
    n_pieces, n_pieces)`.
    """
    place = torch.arange(mask.shape[1])
    seen = (place[None, :] <= place[:, None])[None, None] & mask.bool()[:, None, None]
    return torch.where(seen, 0.0, torch.finfo(torch.float32).min)


class _Int8Embedding(torch.nn.Module):
    """Embeddings in a byte a number, with a scale for each row."""

    rows: torch.Tensor
    scale: torch.Tensor

    def __init__(self, whole: torch.nn.Embedding) -> None:
        super().__init__()
        rows = whole.weight.detach()
        scale = (rows.abs().amax(dim=1, keepdim=True) / 127).clamp_min(torch.finfo().tiny)
        self.register_buffer("rows", (rows / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return embedding(ids, self.rows).float() * embedding(ids, self.scale)


def _largest_difference(encoder: Encoder, exported: OnnxEncoder, *, exact: bool) -> float:
    """RAISES: ValueError J431 if it is none that rounding explains."""
    largest = top = 0.0
    encoder.model.eval()
    for ids, mask in probes(encoder):
        with torch.inference_mode():
            wanted = encoder(ids, mask)
        real = mask.bool()
        largest = max(largest, float((exported(ids, mask) - wanted)[real].abs().max()))
        top = max(top, float(wanted[real].abs().max()))
    if exact and not largest <= _TOLERANCE * top:
        raise ValueError(
            Errors.J431.format(
                model=type(encoder.model).__name__, difference=largest, allowed=_TOLERANCE * top
            )
        )
    return largest


def probes(encoder: Encoder) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """YIELDS: Ids and mask of batches of several sizes, with padding."""
    generator = torch.Generator().manual_seed(0)
    longest = encoder.max_pieces
    for windows, pieces in (*_PROBES, (1, min(longest, 600))):
        n = min(pieces, longest)
        ids = torch.randint(encoder.n_rows, (windows, n), generator=generator)
        mask = torch.ones_like(ids)
        for window in range(1, windows):
            padding = n - n * window // windows
            ids[window, -padding:], mask[window, -padding:] = encoder.pad_id, 0
        yield ids, mask
