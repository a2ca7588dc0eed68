"""Windows through the encoder, and a gradient back: for all models that run one.

Windows are sorted by length and shared out to groups, within which they are padded. Several groups
go through the encoder at once where it runs without padding between them (`encoder/packed.py`)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..encoder.checkpoint import Encoder
from ..encoder.windows import WordpieceEncoder
from ..wordpieces.alignment import ragged_ranges
from ..wordpieces.windows import batch_windows
from .shim import EncoderShim, send

# What a batch costs a GPU whatever is in it, in wordpieces: the launches of some hundred kernels,
# 12 ms for 12 layers forward, in which an H200 pretrains 2,800 pieces of the same encoder.
_LAUNCHES = 2048
# What it costs a CPU: so many pieces at least, and of a narrow encoder this by the square of its
# width.
_LEAST_OVERHEAD = 32
_CALLS = 2**22
# As much as a CPU runs at once without padding, in numbers of a layer's output: with more, what is
# between two layers leaves its cache (docs/benchmarks.md).
_MOST_ON_CPU = 2**19


class Inputs(NamedTuple):
    """What goes into the encoder, window after window.

    ids: *Shape:* `(n_inputs,)`.
    lengths: Of the windows. *Shape:* `(n_windows,)`.
    rows: The row that each input's vector becomes, -1 for none. *Shape:* `(n_inputs,)`.
    n_rows (int): How many rows there are.
    types: Which of two texts each is of, for encoders that are told; None for the first.
    """

    ids: NDArray
    lengths: NDArray
    rows: NDArray
    n_rows: int
    types: NDArray | None = None

    @property
    def begins(self) -> NDArray:
        """RETURNS (NDArray): Each window's first input. *Shape:* `(n_windows,)`."""
        return np.cumsum(self.lengths) - self.lengths


class Part(NamedTuple):
    """A batch that went through the encoder in training.

    vectors (Tensor): *Shape:* `(n_batch_rows, width)`.
    rows (Tensor): Their places among all rows. *Shape:* `(n_batch_rows,)`.
    """

    vectors: torch.Tensor
    rows: torch.Tensor


def run_windows(
    shim: EncoderShim, inputs: Inputs, *, budget: int, learn: bool
) -> tuple[torch.Tensor, list[Part]]:
    """Run the encoder over all windows, a batch of at most `budget` pieces at a time.

    learn (bool): Keep what the backward pass needs of `budget` pieces; what a step has beyond them
        is computed again for it.
    RETURNS: The rows, *shape* `(n_rows, width)`; and, if `learn`, what is to be sent back.
    """
    encoder = shim.require_encoder()
    # Keeping only each layer's input is left to the model's own `forward`.
    packed = encoder.packs and not (learn and shim.gradient_checkpointing)
    run_batch = _packed if packed else _padded
    hidden = torch.empty((inputs.n_rows, encoder.width), device=encoder.device)
    parts: list[Part] = []
    kept = 0
    with torch.enable_grad() if learn else torch.inference_mode(), shim.running(learn) as runs:
        for groups in _batches(encoder, inputs.lengths, budget, packed=packed):
            size = _size(inputs.lengths, groups, packed=packed)
            recompute = learn and kept > 0 and kept + size > budget
            kept += 0 if recompute else size
            output, row = run_batch(shim, runs, inputs, groups, recompute)
            own = np.flatnonzero(row >= 0)
            if len(own) < len(row):
                output = output[send(own, encoder.device)]
            rows = send(row[own], encoder.device)
            hidden[rows] = output.detach().float()
            if learn:
                parts.append(Part(output, rows))
    return hidden, parts


def _size(lengths: NDArray, groups: list[list[int]], *, packed: bool) -> int:
    """RETURNS (int): The pieces of a batch."""
    if packed:
        return sum(int(lengths[group].sum()) for group in groups)
    return sum(len(group) * int(lengths[group[0]]) for group in groups)


def send_back(shim: EncoderShim, parts: list[Part], d_hidden: torch.Tensor) -> None:
    """Add to the gradients of the encoder's weights. Leaves `parts` empty.

    d_hidden (Tensor): The gradient of the rows. *Shape:* `(n_rows, width)`.
    """
    # The last first, as it may have to be computed again; each is freed when it is done.
    while parts:
        vectors, rows = parts.pop()
        shim.backward(vectors, d_hidden[rows])


def _batches(
    encoder: WordpieceEncoder, lengths: NDArray, budget: int, *, packed: bool
) -> Iterator[list[list[int]]]:
    """YIELDS (list[list[int]]): Groups of windows that go through the encoder at once."""
    most = budget
    if packed and encoder.device.type == "cpu":
        most = min(budget, _MOST_ON_CPU // encoder.width)
    groups = batch_windows(lengths.tolist(), most, overhead=batch_overhead(encoder))
    joined: list[list[int]] = []
    room = 0
    for group in groups:
        size = int(lengths[group].sum())
        if joined and not (packed and size <= room):
            yield joined
            joined = []
        if not joined:
            room = most
        joined.append(group)
        room -= size
    if joined:
        yield joined


def batch_overhead(encoder: WordpieceEncoder) -> int:
    """What a group costs whatever is in it, in wordpieces."""
    if encoder.device.type != "cpu":
        return _LAUNCHES
    # A narrow encoder's arithmetic takes less time than the calls.
    return min(_LAUNCHES, max(_LEAST_OVERHEAD, _CALLS // encoder.width**2))


def _packed(
    shim: EncoderShim, encoder: Encoder, inputs: Inputs, groups: list[list[int]], recompute: bool
) -> tuple[torch.Tensor, NDArray]:
    """Run a batch without padding between its groups.

    RETURNS: Vectors, *shape* `(n_pieces, width)`, and the row of each.
    """
    windows = np.concatenate(groups)
    at = ragged_ranges(inputs.begins[windows], inputs.lengths[windows])
    types = None if inputs.types is None else inputs.types[at]
    lengths = [inputs.lengths[group] for group in groups]
    output = shim.run_packed(encoder, inputs.ids[at], lengths, types, recompute=recompute)
    return output, inputs.rows[at]


def _padded(
    shim: EncoderShim, encoder: Encoder, inputs: Inputs, groups: list[list[int]], recompute: bool
) -> tuple[torch.Tensor, NDArray]:
    """Run a batch of a single group.

    RETURNS: Vectors, *shape* `(n_windows * longest, width)`, and the row of each, -1 for padding.
    """
    (group,) = groups
    lengths = inputs.lengths[group]
    column = np.arange(lengths[0])
    real = column < lengths[:, None]
    at = np.where(real, inputs.begins[group][:, None] + column, 0)
    ids = np.where(real, inputs.ids[at], encoder.pad_id)
    # The first piece of all is of the first type, as padding is.
    types = None if inputs.types is None else inputs.types[at]
    # A mask costs time even when it masks nothing.
    mask = None if lengths[-1] == lengths[0] else real
    output = shim.run(encoder, ids, mask, types, recompute=recompute)
    return output.flatten(0, 1), np.where(real, inputs.rows[at], -1).reshape(-1)
