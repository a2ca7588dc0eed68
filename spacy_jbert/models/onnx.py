"""The encoder as a thinc model, run by onnxruntime: all of `transformer.py` but torch's arithmetic
and training."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

from thinc.api import Model, Optimizer
from thinc.types import Floats2d, Ragged
from thinc.util import get_torch_default_device

from ..encoder.checkpoint import Encoder
from ..encoder.onnx import OnnxEncoder
from ..errors import Errors, Warnings
from ..types import Tok2VecModel, TransformerModel
from .shim import EncoderShim, check_range
from .transformer import build_transformer, inside_component, inside_component_cfg

logger = logging.getLogger(__name__)


def build_onnx_transformer(
    words: str = "auto",
    window: int | None = None,
    overlap: int | None = None,
    max_batch_pieces: int | Literal["auto"] = "auto",
    threads: int | None = None,
) -> TransformerModel:
    """`spacy-jbert.OnnxTransformer.v1`: what `python -m spacy jbert export --backend onnx` puts in
    the place of `spacy-jbert.JapaneseTransformer.v1`. It predicts only.

    words, window, overlap, max_batch_pieces: As there.
    threads (int | None): Of onnxruntime, for each encoder; null for as many as torch has.
    RETURNS (TransformerModel): `List[Doc] -> FullTransformerBatch`.
    RAISES: ValueError J005, J087.
    """
    check_range("threads", threads, 1, None)
    model = build_transformer(words, window, overlap, max_batch_pieces)
    make_onnx(model, OnnxShim(words=words, threads=threads))
    return model


def build_tok2vec_onnx_transformer(
    words: str = "auto",
    window: int | None = None,
    overlap: int | None = None,
    max_batch_pieces: int | Literal["auto"] = "auto",
    threads: int | None = None,
    pooling: str | Model[Ragged, Floats2d] = "mean",
    grad_factor: float = 1.0,
) -> Tok2VecModel:
    """`spacy-jbert.Tok2VecOnnxTransformer.v1`: an encoder inside one component, run by onnxruntime.
    What `nlp.replace_listeners` leaves in the config.

    pooling, grad_factor: As in `spacy-jbert.Tok2VecTransformer.v1`; the others as in
        `spacy-jbert.OnnxTransformer.v1`.
    RETURNS (Tok2VecModel): `List[Doc] -> List[Floats2d]`.
    """
    transformer = build_onnx_transformer(words, window, overlap, max_batch_pieces, threads)
    return inside_component(transformer, pooling, grad_factor)


def make_onnx(model: TransformerModel, shim: "OnnxShim") -> None:
    """Let a model of `build_transformer` be run by onnxruntime."""
    model.shims[0] = shim
    model.attrs["replace_listener_cfg"] = _replace_listener_cfg


def _replace_listener_cfg(transformer: dict[str, Any], listener: dict[str, Any]) -> dict[str, Any]:
    return inside_component_cfg(transformer, listener, "spacy-jbert.Tok2VecOnnxTransformer.v1")


class OnnxShim(EncoderShim):
    """Runs an `OnnxEncoder`, turns it into bytes and back.

    words (str): As in `build_onnx_transformer`; likewise `threads`.
    """

    def __init__(self, *, words: str = "auto", threads: int | None = None) -> None:
        super().__init__(words=words)
        self.threads = threads

    def _prepare(self, encoder: Encoder) -> None:
        """RAISES: ValueError J434 for an encoder of torch."""
        if not isinstance(encoder, OnnxEncoder):
            raise ValueError(Errors.J434)
        if get_torch_default_device().type != "cpu":
            logger.warning(Warnings.JW425)

    def read(self, path: Path) -> Encoder:
        """RETURNS (Encoder): What is in a folder that `save` wrote. See `OnnxEncoder.load`."""
        # To whoever runs an encoder both are the same.
        return cast(Encoder, OnnxEncoder.load(path, self.threads))

    def save(self, path: Path, generation: str | None = None) -> None:
        if self._encoder is not None:
            cast(OnnxEncoder, self._encoder).save(path, generation)

    @contextlib.contextmanager
    def running(self, learn: bool) -> Iterator[Encoder]:
        yield self.require_encoder()

    def learns(self) -> bool:
        """RAISES: NotImplementedError J425."""
        raise NotImplementedError(Errors.J425)

    def finish_update(self, optimizer: Optimizer) -> None:
        """Nothing has learned."""

    def to_device(self, device_type: str, device_id: int) -> None:
        """It stays on the CPU."""
