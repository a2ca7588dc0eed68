"""`max_batch_pieces = "auto"`: the same as ever on a CPU, by memory on a GPU."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from spacy.language import Language

from spacy_jbert.encoder.memory import gpu_memory, most_pieces

GIB = 2**30


@pytest.mark.parametrize(
    ("layers", "width", "precision", "memory", "pieces"),
    [
        (12, 768, "fp32", None, 4_096),
        (12, 768, "bf16", 80 * GIB, 32_768),
        (12, 768, "fp32", 80 * GIB, 32_768),
        (12, 768, "fp32", 24 * GIB, 16_384),
        (12, 768, "fp16", 8 * GIB, 8_192),
        (12, 768, "fp32", 8 * GIB, 4_096),
        (24, 1_024, "fp32", 8 * GIB, 2_048),
        (48, 4_096, "fp32", GIB, 1_024),
    ],
)
def test_what_training_keeps_fits(
    layers: int, width: int, precision: str, memory: int | None, pieces: int
) -> None:
    assert most_pieces(layers, width, precision, memory) == pieces


def test_only_cards_of_cuda_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=GIB)
    )
    assert gpu_memory(torch.device("cuda:0")) == GIB
    assert gpu_memory(torch.device("cpu")) is None
    assert gpu_memory(torch.device("mps")) is None


@pytest.mark.parametrize(("setting", "budget"), [("auto", 4_096), (64, 64)])
def test_a_pipeline_is_asked(
    make_nlp: Callable[..., Language], setting: int | str, budget: int
) -> None:
    shim = make_nlp(max_batch_pieces=setting).get_pipe("transformer").model.shims[0]
    assert shim.budget(setting) == budget


def test_an_encoder_on_a_card(
    make_nlp: Callable[..., Language], monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = make_nlp(precision="bf16").get_pipe("transformer").model.shims[0]
    encoder = SimpleNamespace(device=torch.device("cuda:0"), depth=24, width=1_024)
    monkeypatch.setattr(shim, "_encoder", encoder)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=16 * GIB)
    )
    assert shim.budget("auto") == 8_192
