"""How much of a device's arithmetic pretraining uses: model FLOPs utilisation (MFU), as in appendix
B of Chowdhery et al. 2022, "PaLM", arXiv:2204.02311.
"""

import torch
from transformers import PreTrainedModel

# Dense bf16 TFLOP/s (without sparsity) in the makers' data sheets, by a part of the device's name.
# The first that fits counts.
PEAK_TFLOPS = {
    "B200": 2250.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
    "V100": 125.0,
    "T4": 65.0,
}


def peak_flops(device: torch.device, n_devices: int = 1) -> float | None:
    """RETURNS (float | None): The most operations a second of so many devices of a kind; None where
    nobody knows, as of CPUs.
    """
    if device.type != "cuda":
        return None
    return peak_of(torch.cuda.get_device_name(device), n_devices)


def peak_of(name: str, n_devices: int = 1) -> float | None:
    """The same by the device's name."""
    peak = next((tflops for part, tflops in PEAK_TFLOPS.items() if part in name), None)
    return None if peak is None else peak * 1e12 * n_devices


class Operations:
    """What training costs, in operations: for each weight that a piece meets in a matrix product 2
    forward and 4 backward, and in attention 12 for each layer, unit of the width, and piece of the
    sample. What is computed twice to save memory doesn't count.

    model (PreTrainedModel): The encoder's; its embeddings are looked up.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config
        depth, width = config.num_hidden_layers, config.hidden_size
        matrices = [m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear)]
        self._weights = sum(matrices)
        # ALBERT's layers are a few, used again and again; only its projection of the embeddings,
        # which comes first, is used once.
        if groups := getattr(config, "num_hidden_groups", None):
            rest = self._weights - matrices[0]
            self._weights = matrices[0] + rest * depth // groups
        embeddings = model.get_input_embeddings().weight
        self._head = embeddings.numel() + width * embeddings.shape[1]
        self._attention = 2 * depth * width

    def of(self, n_pieces: int, length: int, n_masked: int) -> float:
        """RETURNS (float): The operations of a batch.

        n_pieces (int): All of it, padding counted.
        length (int): Of a sample.
        n_masked (int): How many go through the masked-LM head: a dense layer, and the embeddings
            once more.
        """
        pieces = n_pieces * (self._weights + self._attention * length)
        return 6.0 * (pieces + n_masked * self._head)
