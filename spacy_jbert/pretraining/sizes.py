"""What `batch_size = "auto"` and `num_workers = "auto"` are on this machine.

On a CPU they are what the configs always said, so that results stay the same to the bit. On a GPU
small batches wait for whoever launches kernels, and batches that the training process builds itself
wait for it: docs/benchmarks.md has what was measured.
"""

import torch

from .parallel import cores

ON_CPU = 4_096
"""Pieces of a batch."""
ON_GPU = 32_768
LEAST_ON_GPU = 8_192
MOST_WORKERS = 8
# Bytes that training keeps of a piece, for each layer and unit of its width, in half precision:
# Korthikanti et al. 2022, "Reducing activation recomputation in large transformer models",
# arXiv:2205.05198, without attention, whose fused kernel keeps next to nothing.
_KEPT = 34


def batch_size(layers: int, width: int, precision: str, memory: int | None) -> int:
    """How many pieces a batch has.

    layers, width (int): Of the encoder.
    precision (str): "bf16" or "fp32".
    memory (int | None): The bytes of the GPU; None for a CPU.
    RETURNS (int): A power of two of 8,192 to 32,768 on a GPU, as long as a batch takes half of its
        memory at most; 4,096 on a CPU.
    """
    if memory is None:
        return ON_CPU
    each = layers * width * _KEPT * (1 if precision == "bf16" else 2)
    size = ON_GPU
    while size > LEAST_ON_GPU and size * each > memory / 2:
        size //= 2
    return size


def num_workers(memory: int | None) -> int:
    """How many processes build batches: none on a CPU, whose cores train.

    memory (int | None): As above.
    """
    return 0 if memory is None else min(MOST_WORKERS, max(1, cores() - 1))


def gpu_memory(cpu: bool) -> int | None:
    """RETURNS (int | None): The bytes of this process's GPU; None if it trains on the CPU."""
    if cpu or not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
