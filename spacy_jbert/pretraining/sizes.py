"""What `batch_size = "auto"` and `num_workers = "auto"` are on this machine.

On a CPU they are what the configs always said, so that results stay the same to the bit. On a GPU
small batches wait for whoever launches kernels, and batches that the training process builds itself
wait for it: docs/benchmarks.md has what was measured.
"""

import torch

from ..encoder.memory import gpu_memory as memory_of
from ..encoder.memory import most_pieces
from .parallel import cores

LEAST_ON_GPU = 8_192
"""Pieces of a batch: with fewer the learning rate wouldn't fit."""
MOST_WORKERS = 8


def batch_size(layers: int, width: int, precision: str, memory: int | None) -> int:
    """How many pieces a batch has.

    layers, width (int): Of the encoder.
    precision (str): "bf16" or "fp32".
    memory (int | None): The bytes of the GPU; None for a CPU.
    RETURNS (int): A power of two of 8,192 to 32,768 on a GPU, as long as a batch takes half of its
        memory at most; 4,096 on a CPU.
    """
    return most_pieces(layers, width, precision, memory, LEAST_ON_GPU)


def num_workers(memory: int | None) -> int:
    """How many processes build batches: none on a CPU, whose cores train.

    memory (int | None): As above.
    """
    return 0 if memory is None else min(MOST_WORKERS, max(1, cores() - 1))


def gpu_memory(cpu: bool) -> int | None:
    """RETURNS (int | None): The bytes of this process's GPU; None if it trains on the CPU."""
    if cpu or not torch.cuda.is_available():
        return None
    return memory_of(torch.device("cuda", torch.cuda.current_device()))
