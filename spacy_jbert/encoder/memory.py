"""How many wordpieces an encoder is given at once, by the memory of a GPU.

By all memory of the card rather than what is free: batches, and so the last digits of what comes
out, are the same in each run."""

import torch

ON_CPU = 4_096
"""Pieces of a batch on a CPU, whose speed hardly depends on it."""
ON_GPU = 32_768
"""On a GPU, where its memory allows: smaller ones wait for whoever launches kernels."""
_LEAST_ON_GPU = 1_024
# Bytes that training keeps of a piece, for each layer and unit of its width, in half precision:
# Korthikanti et al. 2022, "Reducing activation recomputation in large transformer models",
# arXiv:2205.05198, without attention, whose fused kernel keeps next to nothing.
_KEPT = 34


def most_pieces(
    layers: int, width: int, precision: str, memory: int | None, least: int = _LEAST_ON_GPU
) -> int:
    """How many pieces a batch has at most, also where it is learned from.

    layers, width (int): Of the encoder.
    precision (str): "bf16", "fp16" or "fp32".
    memory (int | None): The bytes of the GPU; None for a CPU.
    least (int): What is taken in any case on a GPU.
    RETURNS (int): A power of two up to 32,768 on a GPU, of which training keeps half of its memory
        at most; 4,096 on a CPU.
    """
    if memory is None:
        return ON_CPU
    each = layers * width * _KEPT * (2 if precision == "fp32" else 1)
    pieces = ON_GPU
    while pieces > least and pieces * each > memory / 2:
        pieces //= 2
    return pieces


def gpu_memory(device: torch.device) -> int | None:
    """RETURNS (int | None): The bytes of a GPU of CUDA; None for any other device."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.get_device_properties(device).total_memory)
