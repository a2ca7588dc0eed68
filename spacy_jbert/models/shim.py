"""The torch side of `JapaneseTransformer`: running the encoder, training it step by step, its
bytes.
"""

import contextlib
import copy
import dataclasses
import logging
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import srsly
import torch
from thinc.api import Model, Optimizer
from thinc.shims.shim import Shim
from thinc.util import get_torch_default_device
from torch.utils.checkpoint import checkpoint

from ..encoder.checkpoint import Encoder
from ..encoder.memory import gpu_memory, most_pieces
from ..encoder.packed import Group, padding, positions
from ..errors import Errors, Warnings
from ..wordpieces.segmentation import WORDS, Segmenter, make_segmenter

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
STORAGE = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Of a rate from one layer to the next: with less, a layer learns nothing at all.
_LEAST_DECAY = 0.01
# No folder, no drive, nothing hidden; what Windows takes for a device is none either.
_BARE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE)

# A forked child (nlp.pipe, n_process) inherits the state of OpenMP's thread pool but none of its
# threads, and would wait for them for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


def encoder_parts(models: Iterable[Any]) -> Iterator[Model]:
    """Find what runs encoders: a transformer's model, and what `replace_listeners` puts in heads.

    models (Iterable): Of components; what is no model of thinc is passed over.
    YIELDS (Model): Each part of these whose first shim is an `EncoderShim`.
    """
    for model in models:
        for part in model.walk() if isinstance(model, Model) else ():
            if part.shims and isinstance(part.shims[0], EncoderShim):
                yield part


class EncoderShim(Shim):
    """Runs the encoder, steps its optimizer, turns it into bytes and back.

    Arguments: As in `build_transformer`.
    """

    def __init__(
        self,
        *,
        words: str = "auto",
        device: str = "auto",
        precision: str = "fp32",
        storage: str = "fp32",
        layer_decay: float = 1.0,
        train_layers: int | None = None,
        unfreeze_steps: int = 0,
        gradient_checkpointing: bool = False,
        tf32: bool = True,
    ) -> None:
        super().__init__(None)
        self.words, self.device, self.precision, self.storage = words, device, precision, storage
        self.layer_decay, self.train_layers, self.unfreeze_steps = (
            layer_decay,
            train_layers,
            unfreeze_steps,
        )
        self.gradient_checkpointing = gradient_checkpointing
        self.tf32 = tf32
        self._encoder: Encoder | None = None
        self._segmenter: Segmenter | None = None
        self._strings: np.ndarray | None = None
        self._forget()

    def _forget(self) -> None:
        """Training begins anew."""
        # The weights in the precision of predictions, and the versions they are of.
        self._cast: tuple[list[tuple[int, int, int]], Encoder] | None = None
        self._placed: list[tuple[torch.nn.Parameter, int]] | None = None
        self._optimizer: torch.optim.AdamW | None = None
        self._scaler: torch.amp.GradScaler | None = None
        self._steps = 0

    def __getstate__(self) -> dict[str, Any]:
        # Caches, and the optimizer's moments, are of this process.
        return {
            **self.__dict__,
            "_segmenter": None,
            "_strings": None,
            "_cast": None,
            "_placed": None,
            "_optimizer": None,
            "_scaler": None,
            "_steps": 0,
        }

    @property
    def encoder(self) -> Encoder | None:
        return self._encoder

    @encoder.setter
    def encoder(self, encoder: Encoder) -> None:
        self._prepare(encoder)
        self._encoder, self._segmenter, self._strings = encoder, None, None
        self._forget()

    def _prepare(self, encoder: Encoder) -> None:
        """Make an encoder what the settings say, where they are to run it."""
        if self.gradient_checkpointing:
            if not encoder.model.supports_gradient_checkpointing:
                raise ValueError(Errors.J042.format(model=type(encoder.model).__name__))
            encoder.model.gradient_checkpointing_enable({"use_reentrant": False})
        encoder.to(self._device())

    def require_encoder(self, name: str = "transformer") -> Encoder:
        """RETURNS (Encoder): The encoder.

        RAISES: ValueError J001 if there is none.
        """
        if self._encoder is None:
            raise ValueError(Errors.J001.format(name=name))
        return self._encoder

    @property
    def segmenter(self) -> Segmenter:
        """RETURNS (Segmenter): What cuts documents for this encoder; made when first needed."""
        if self._segmenter is None:
            self._segmenter = make_segmenter(self.require_encoder().tokenizer, self.words)
        return self._segmenter

    @property
    def vocabulary(self) -> np.ndarray:
        """RETURNS (ndarray): The strings of all wordpiece ids."""
        if self._strings is None:
            vocabulary = self.require_encoder().tokenizer.get_vocab()
            # Ids may have gaps.
            strings = np.full(max(vocabulary.values()) + 1, "", dtype=object)
            strings[list(vocabulary.values())] = list(vocabulary)
            self._strings = strings
        return self._strings

    def budget(self, setting: int | Literal["auto"]) -> int:
        """RETURNS (int): How many wordpieces, padding included, the encoder is given at once."""
        if setting != "auto":
            return setting
        encoder = self.require_encoder()
        memory = gpu_memory(encoder.device)
        return most_pieces(encoder.depth, encoder.width, self.precision, memory)

    def prefix_ids(self, prefix: str) -> list[int]:
        """RETURNS (list[int]): The wordpieces of what stands before a text. The space between the
        two has none, or belongs to the text's first piece.
        """
        if not prefix.strip():
            return []
        tokenizer = self.require_encoder().tokenizer
        return cast(list[int], tokenizer(prefix.strip(), add_special_tokens=False)["input_ids"])

    def strings(self, ids: np.ndarray) -> list[str]:
        """The strings of wordpiece ids."""
        return cast(list[str], self.vocabulary[ids].tolist())

    def _device(self) -> torch.device:
        return find_device(self.device)

    @contextlib.contextmanager
    def running(self, learn: bool) -> Iterator[Encoder]:
        """Around all batches of one call.

        learn (bool): With dropout.
        YIELDS (Encoder): What to run, with weights of the precision.
        """
        encoder = self.require_encoder()
        dtype = PRECISIONS[self.precision]
        if encoder.model.training != learn:
            encoder.model.train(learn)
        with contextlib.ExitStack() as stack:
            stack.enter_context(matrix_products(encoder.model.device, tf32=self.tf32))
            if learn:
                stack.enter_context(_rows_of_embeddings(encoder))
            elif dtype:
                encoder = self._in_precision(encoder, dtype)
            if dtype:
                stack.enter_context(torch.autocast(encoder.model.device.type, dtype=dtype))
            yield encoder

    def _in_precision(self, encoder: Encoder, dtype: torch.dtype) -> Encoder:
        """The encoder with the weights of its linear layers cast, as autocast would do for each
        batch. All others are the encoder's own.
        """
        linear = [
            weight
            for module in encoder.model.modules()
            if isinstance(module, torch.nn.Linear)
            for weight in module.parameters(recurse=False)
        ]
        # Whoever changes a weight counts up its version.
        version = [(id(weight), weight._version, weight.data_ptr()) for weight in linear]
        if self._cast is None or self._cast[0] != version:
            own: dict[int, Any] = {
                id(tensor): tensor
                for tensor in (*encoder.model.parameters(), *encoder.model.buffers())
            }
            for weight in linear:
                own[id(weight)] = torch.nn.Parameter(weight.detach().to(dtype), requires_grad=False)
            model = copy.deepcopy(encoder.model, own)
            self._cast = version, dataclasses.replace(encoder, model=model)
        return self._cast[1]

    def run(
        self,
        encoder: Encoder,
        ids: np.ndarray,
        mask: np.ndarray | None,
        types: np.ndarray | None = None,
        *,
        recompute: bool = False,
    ) -> torch.Tensor:
        """Run one batch of windows.

        encoder (Encoder): From `running`.
        ids (ndarray): Special ones and padding included. *Shape:* `(n_windows, longest)`.
        mask (ndarray | None): What is no padding; None where nothing is.
        types (ndarray | None): Which of two texts a piece is of, for encoders that are told; None
            for the first.
        recompute (bool): Keep nothing for the backward pass, which runs the batch once more.
        RETURNS (Tensor): *Shape:* `(n_windows, longest, width)`; rows of padding hold noise.
        """
        device = encoder.device
        inputs: list[Any] = [send(ids, device)]
        inputs.append(None if mask is None else send(mask.astype(np.int64), device))
        if types is not None:
            inputs.append(send(types, device))
        if recompute:
            return checkpoint(encoder, *inputs, use_reentrant=False)
        return encoder(*inputs)

    def run_packed(
        self,
        encoder: Encoder,
        ids: np.ndarray,
        lengths: Sequence[np.ndarray],
        types: np.ndarray | None = None,
        *,
        recompute: bool = False,
    ) -> torch.Tensor:
        """Run windows without padding between them, by an encoder that can (`Encoder.packs`).

        ids (ndarray): Of all windows, one after the other. *Shape:* `(n_pieces,)`.
        lengths (Sequence[ndarray]): Of the windows in each group that is to be padded together.
        types (ndarray | None): As in `run`. *Shape:* as `ids`.
        encoder, recompute: As in `run`.
        RETURNS (Tensor): *Shape:* `(n_pieces, width)`.
        """
        device = encoder.device
        groups: list[Group] = []
        end = 0
        for of_group in lengths:
            begin, end = end, end + int(of_group.sum())
            group = Group(len(of_group), int(of_group.max()), begin, end)
            if (padded := padding(of_group)) is not None:
                group.place, group.mask = (send(array, device) for array in padded)
            groups.append(group)
        position_ids = positions(encoder.model, ids, np.concatenate(lengths))
        inputs: list[Any] = [send(ids, device), send(position_ids, device), groups]
        if types is not None:
            inputs.append(send(types, device))
        if recompute:
            return checkpoint(encoder.run_packed, *inputs, use_reentrant=False)
        return encoder.run_packed(*inputs)

    def learns(self) -> bool:
        """Choose the weights that learn in the next step.

        RETURNS (bool): Whether any does.
        """
        encoder = self.require_encoder()
        n_layers = encoder.depth + 1 if self.train_layers is None else self.train_layers
        if self.unfreeze_steps:
            n_layers = min(n_layers, self._steps // self.unfreeze_steps)
        for weight, below_top in self._weights:
            weight.requires_grad_(below_top < n_layers)
        return n_layers > 0

    @property
    def _weights(self) -> list[tuple[torch.nn.Parameter, int]]:
        """RETURNS: Each weight of the encoder, and how many layers its own is below the last."""
        if self._placed is None:
            encoder = self.require_encoder()
            layers = _layers(encoder)
            top = max(layers.values())
            self._placed = [
                (weight, top - layers[name]) for name, weight in encoder.model.named_parameters()
            ]
        return self._placed

    def backward(self, output: torch.Tensor, gradient: torch.Tensor) -> None:
        """Add to the gradients of the weights. output, gradient: *Shape:* `(n, width)`."""
        if self.precision == "fp16":
            # Gradients in fp16 vanish below 6e-8: they are computed of a multiple of the loss.
            self._scaler = self._scaler or torch.amp.GradScaler(output.device.type)
            gradient = self._scaler.scale(gradient)
        embeddings = self.require_encoder().model.get_input_embeddings().weight
        if embeddings.requires_grad and embeddings.grad is None:
            embeddings.grad = torch.zeros_like(embeddings)  # dense, so that rows are added in place
        with matrix_products(output.device, tf32=self.tf32):
            torch.autograd.backward(output, gradient.to(output.dtype))

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step AdamW over all weights at once, with the rate, decay and clipping that spaCy's
        optimizer has at this step.

        As in BERT (Devlin et al. 2019, arXiv:1810.04805), biases and LayerNorm are not decayed and
        gradients are clipped together, by their global norm."""
        if self._encoder is None:
            return
        self._steps += 1
        weights = [weight for weight, _ in self._weights if weight.grad is not None]
        if not weights:
            return
        adamw: torch.optim.AdamW = self._optimizer or torch.optim.AdamW(
            self._groups(), lr=0.0, fused=True
        )
        self._optimizer = adamw
        if self._scaler is not None:
            self._scaler.unscale_(adamw)
        if optimizer.grad_clip:
            torch.nn.utils.clip_grad_norm_(weights, optimizer.grad_clip)
        for group in adamw.param_groups:
            group["lr"] = optimizer.learn_rate * group["scale"]
            group["weight_decay"] = optimizer.L2 if group["decayed"] else 0.0
            group["betas"], group["eps"] = (optimizer.b1, optimizer.b2), optimizer.eps
        if self._scaler is None:
            adamw.step()
        else:
            self._scaler.step(adamw)
            self._scaler.update()
        # The fused step changes weights without counting up their versions.
        self._cast = None
        adamw.zero_grad(set_to_none=True)

    def _groups(self) -> list[dict[str, Any]]:
        groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
        for weight, below_top in self._weights:
            scale, decayed = self.layer_decay**below_top, weight.ndim > 1
            groups.setdefault((scale, decayed), []).append(weight)
        return [
            {"params": weights, "scale": scale, "decayed": decayed}
            for (scale, decayed), weights in groups.items()
        ]

    def to_device(self, device_type: str, device_id: int) -> None:
        if self._encoder is not None and self.device == "auto":
            self._encoder.to(f"cuda:{device_id}" if device_type == "gpu" else device_type)
            # Its moments stay behind.
            self._forget()

    @contextlib.contextmanager
    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        # Averages of spaCy's optimizer don't cover these weights, which torch's own steps.
        yield

    def save(self, path: Path, generation: str | None = None) -> None:
        """Write the encoder's folder, if there is an encoder. See `Encoder.save`."""
        if self._encoder is not None:
            self._encoder.save(path, STORAGE[self.storage], generation)

    def read(self, path: Path) -> Encoder:
        """RETURNS (Encoder): What is in a folder that `save` wrote. See `Encoder.load`."""
        return Encoder.load(path)

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The files of the encoder's folder; empty if there is no encoder."""
        if self._encoder is None:
            return b""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "encoder"
            self.save(path)
            return cast(
                bytes,
                srsly.msgpack_dumps({file.name: file.read_bytes() for file in path.iterdir()}),
            )

    def from_bytes(self, data: bytes) -> "EncoderShim":
        """RAISES: ValueError J061 if the bytes aren't what `to_bytes` gives, J002, J003, J060."""
        if data:
            files = packed_files(data)
            with tempfile.TemporaryDirectory() as folder:
                for name, content in files.items():
                    (Path(folder) / name).write_bytes(content)
                self.encoder = self.read(Path(folder))
        return self


def packed_files(data: bytes) -> dict[str, bytes]:
    """The files of a folder as bytes. Whoever made these chose the names, and files get written
    under them: they have to be bare.

    RAISES: ValueError J061.
    """
    try:
        files = srsly.msgpack_loads(data)
    except Exception as error:  # msgpack's own kinds of error have no common base
        raise ValueError(Errors.J061.format(reason=f"they can't be unpacked ({error})")) from error
    if not isinstance(files, dict):
        raise ValueError(Errors.J061.format(reason="they hold no files"))
    for name, content in files.items():
        if not (isinstance(name, str) and _BARE_NAME.fullmatch(name)) or _DEVICE.match(name):
            raise ValueError(Errors.J061.format(reason=f"{name!r} is not the bare name of a file"))
        if not isinstance(content, bytes):
            raise ValueError(Errors.J061.format(reason=f"{name!r} holds no bytes"))
    return files


def make_shim(
    *,
    words: str,
    device: str,
    precision: str,
    storage: str,
    layer_decay: float,
    train_layers: int | None,
    unfreeze_steps: int,
    gradient_checkpointing: bool,
    tf32: bool,
) -> EncoderShim:
    """Make a shim of settings that a config has: see `build_transformer`.

    RAISES: ValueError J005, J010, J040, J085, J087.
    """
    check_choice(Errors.J005, "words", words, WORDS)
    check_choice(Errors.J010, "precision", precision, PRECISIONS)
    check_choice(Errors.J040, "storage", storage, STORAGE)
    check_device(device)
    check_range("layer_decay", layer_decay, _LEAST_DECAY, 1.0)
    check_range("train_layers", train_layers, 0, None)
    check_range("unfreeze_steps", unfreeze_steps, 0, None)
    return EncoderShim(
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


def check_choice(code: str, name: str, value: str, choices: Iterable[str]) -> None:
    """RAISES: ValueError, with this message, for a value that isn't one of the choices."""
    if value not in choices:
        shown = ", ".join(map(repr, choices))
        raise ValueError(code.format(**{name: value}, name=name, value=value, choices=shown))


def check_range(name: str, value: float | None, least: float, most: float | None) -> None:
    """RAISES: ValueError J087 for a number out of its range, or none (nan)."""
    if value is None:
        return
    if not least <= value <= (math.inf if most is None else most):
        wanted = f"{least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(Errors.J087.format(name=name, value=value, wanted=wanted))


def check_device(name: str) -> None:
    """RAISES: ValueError J085 for what is neither "auto" nor a device that torch knows."""
    if name == "auto":
        return
    try:
        torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(Errors.J085.format(device=name)) from error


def find_device(name: str) -> torch.device:
    """RETURNS (torch.device): What a setting means on this machine: "auto" is spaCy's device. One
    that isn't here is the CPU, which is told (JW080).
    """
    if name == "auto":
        return get_torch_default_device()
    device = torch.device(name)
    if not _is_there(device):
        logger.warning(Warnings.JW080.format(device=name))
        return torch.device("cpu")
    return device


def _is_there(device: torch.device) -> bool:
    """Whether this machine has the device: a pipeline may have been trained on another one."""
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return device.type == "cpu"


@contextlib.contextmanager
def matrix_products(device: torch.device, *, tf32: bool) -> Iterator[None]:
    """Let an NVIDIA card multiply matrices of fp32 in TF32, which has the range of fp32 and 10 bits
    instead of 23 behind the point, on tensor cores. Cards older than Ampere have none and multiply
    in fp32; other devices are left alone.

    tf32 (bool): False: in fp32, whatever the process has set.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def send(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Put an array on the encoder's device.

    To a GPU from pinned memory, so that nobody waits for what the GPU is still doing.
    """
    tensor = torch.from_numpy(array)
    return (
        tensor.pin_memory().to(device, non_blocking=True)
        if device.type == "cuda"
        else tensor.to(device)
    )


@contextlib.contextmanager
def _rows_of_embeddings(encoder: Encoder) -> Iterator[None]:
    """On a CPU, let each batch send back only the rows of the embeddings that it used, not a
    gradient for all rows.

    With 40,000 rows of 384 and seven batches of short sentences a step that saved 9 % of the whole.
    """
    embeddings = encoder.model.get_input_embeddings()
    embeddings.sparse = encoder.model.device.type == "cpu"
    try:
        yield
    finally:
        embeddings.sparse = False


def _layers(encoder: Encoder) -> dict[str, int]:
    """The number of the layer that each weight is in; -1 for the embeddings, the last for anything
    behind it.
    """
    names = [name for name, _ in encoder.model.named_parameters()]
    # The first number in a name is the layer's. ALBERT has one layer, used again and again: the
    # highest number counts, not the depth.
    layers = {
        name: int(part) for name in names for part in reversed(name.split(".")) if part.isdigit()
    }
    top = max(layers.values(), default=0)
    return {name: layers.get(name, -1 if "embed" in name else top) for name in names}
