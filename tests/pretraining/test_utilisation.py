"""Operations of a step, and their share of what a device can do."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import spacy
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from spacy_jbert.encoder.checkpoint import Encoder
from spacy_jbert.pretraining import callback, trainer
from spacy_jbert.pretraining.utilisation import Operations, peak_flops, peak_of


@pytest.mark.parametrize("family", ["bert-fast", "xlm-roberta", "albert", "modernbert"])
def test_operations_are_those_that_torch_counts(
    checkpoint: Callable[[str], Path], family: str
) -> None:
    encoder = Encoder.load(checkpoint(family))
    model = encoder.model.train()
    ids = torch.randint(5, 40, (4, 16))
    # Attention by matrix products, which are what is counted.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(input_ids=ids, attention_mask=None).last_hidden_state.sum().backward()
    counted = counter.get_total_flops()
    assert Operations(encoder.model).of(ids.numel(), 16, 0) == pytest.approx(counted, rel=0.03)


def test_the_head_counts_where_it_is_used(encoder: Encoder) -> None:
    operations = Operations(encoder.model)
    without = operations.of(640, 64, 0)
    size = encoder.model.get_input_embeddings().weight.numel()
    assert operations.of(640, 64, 100) - without == 6 * 100 * (size + 32 * 32)
    assert operations.of(640, 128, 0) - without == 640 * 12 * 2 * 32 * 64


def test_devices() -> None:
    assert peak_flops(torch.device("cpu")) is None
    assert peak_of("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_of("NVIDIA H100 PCIe", 2) == 2 * 756e12
    assert peak_of("NVIDIA L40S") == 362e12
    assert peak_of("NVIDIA L4") == 121e12
    assert peak_of("A card of tomorrow") is None


@pytest.mark.parametrize("peak", [None, 1e12])
def test_the_log_has_it_beside_the_speed(
    encoder: Encoder,
    pipe: SimpleNamespace,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    peak: float | None,
) -> None:
    monkeypatch.setattr(trainer, "peak_flops", lambda device, n_devices: peak)
    nlp = spacy.blank("ja")
    nlp.get_pipe = lambda name: pipe  # type: ignore[method-assign, assignment]
    monkeypatch.setattr(callback, "_component", lambda nlp, name: pipe)
    monkeypatch.setattr(callback, "origin", lambda nlp, name: "test")
    settings = {"max_steps": 4, "batch_size": 512, "logging_steps": 2, "device": "cpu"}
    callback.pretrain_mlm(str(text), str(tmp_path), save_steps=4, **settings)(nlp)
    state = json.loads(next(tmp_path.glob("runs/*/checkpoint-4/trainer_state.json")).read_text())
    log = [entry for entry in state["log_history"] if "loss" in entry]
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert len(log) == 2
    if peak is None:
        assert not any("mfu" in entry for entry in log)
        assert metrics["mfu"] is None
        return
    operations = Operations(encoder.model)
    for entry in log:
        # Between 15 and 30 % of the pieces are masked; samples have 64 pieces at most.
        least = operations.of(1, 32, 0) * entry["pieces_per_second"] / peak
        most = (operations.of(1, 64, 0) + operations.of(0, 0, 1) / 2) * entry["pieces_per_second"]
        assert least <= entry["mfu"] * 1.01
        assert entry["mfu"] <= most / peak * 1.01
    assert metrics["mfu"] == pytest.approx(sum(entry["mfu"] for entry in log) / 2)
