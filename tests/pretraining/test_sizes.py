"""What "auto" is: the same as ever on a CPU, by memory on a GPU."""

import pytest

from spacy_jbert.pretraining import sizes

GIB = 2**30


@pytest.mark.parametrize(
    ("layers", "width", "precision", "memory", "pieces"),
    [
        (12, 768, "bf16", None, 4_096),
        (8, 384, "bf16", 80 * GIB, 32_768),
        (12, 768, "bf16", 80 * GIB, 32_768),
        (12, 768, "bf16", 16 * GIB, 16_384),
        (12, 768, "fp32", 16 * GIB, 8_192),
        (24, 1_024, "fp32", 8 * GIB, 8_192),
    ],
)
def test_batches_fit(
    layers: int, width: int, precision: str, memory: int | None, pieces: int
) -> None:
    assert sizes.batch_size(layers, width, precision, memory) == pieces


def test_workers_are_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "cores", lambda: 4)
    assert (sizes.num_workers(None), sizes.num_workers(80 * GIB)) == (0, 3)
    monkeypatch.setattr(sizes, "cores", lambda: 64)
    assert sizes.num_workers(80 * GIB) == 8
    assert sizes.gpu_memory(cpu=True) is None
