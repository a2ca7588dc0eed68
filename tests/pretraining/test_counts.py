"""What torch does in one step of pretraining, counted: casts of weights, kernels, copies to the
host.
"""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import spacy
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback

from spacy_jbert.pretraining import callback, trainer

STEPS = 6
# The first steps make what later ones have: AdamW's moments, for example.
COUNTED = 4


class StepCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations of torch, and by name which weights were cast."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names = {weight.data_ptr(): name for name, weight in model.named_parameters()}
        self.casts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default and args[0].data_ptr() in self.names:
            self.casts[self.names[args[0].data_ptr()]] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def counted(
    pipe: SimpleNamespace, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Runs a few steps and counts one of them: (operations, casts of weights)."""

    def run(precision: str, check_every: int) -> tuple[Counter[str], Counter[str]]:
        operations: Counter[str] = Counter()
        casts: Counter[str] = Counter()

        class Counted(trainer.PretrainingTrainer):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self.check_every = check_every
                self.add_callback(Count(self))

        class Count(TrainerCallback):
            def __init__(self, of: Counted) -> None:
                self.of = of

            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == COUNTED:
                    self.profiler = profile(activities=[ProfilerActivity.CPU])
                    self.profiler.__enter__()
                if state.global_step == COUNTED + 1:
                    self.counter = StepCounter(self.of.model)
                    self.counter.__enter__()

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == COUNTED + 1:
                    self.profiler.__exit__(None, None, None)
                    averages = self.profiler.key_averages()
                    operations.update({event.key: event.count for event in averages})
                if state.global_step == COUNTED + 2:
                    self.counter.__exit__(None, None, None)
                    casts.update(self.counter.casts)

        monkeypatch.setattr(trainer, "PretrainingTrainer", Counted)
        monkeypatch.setattr(callback, "_component", lambda nlp, name: pipe)
        monkeypatch.setattr(callback, "origin", lambda nlp, name: "test")
        settings: dict[str, Any] = {
            "max_steps": STEPS,
            "batch_size": 512,
            "logging_steps": 100,
            "save_steps": 100,
            "validation_fraction": 0.0,
            "device": "cpu",
        }
        pretrain = callback.pretrain_mlm(str(text), str(tmp_path), precision=precision, **settings)
        pretrain(spacy.blank("ja"))
        return operations, casts

    return run


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_on_a_gpu_would_not_wait(
    counted: Any, pipe: SimpleNamespace, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As an earlier run of the other precision leaves it.
    earlier = "no" if precision == "bf16" else "bf16"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", earlier)
    operations, casts = counted(precision, 64)
    model = pipe.encoder.model
    n_weights = len(list(model.parameters()))
    # The head has a matrix, its bias, a norm and the bias of the pieces besides. On a CPU AdamW
    # looks up for each weight which step it is at; a GPU's fused kernel does not.
    head = 5
    waits = operations["aten::_local_scalar_dense"] - (n_weights + head)
    assert waits == 0, operations
    assert operations["aten::is_nonzero"] == 0
    # Two layers of six matrices, the head's, and the pieces'.
    assert operations["aten::addmm"] == 2 * 6 + 2
    assert operations["aten::_fused_adamw_"] == 2  # what decays, and what doesn't
    if precision == "fp32":
        assert not casts
    else:
        # Each weight of a matrix product once: matrices and biases, the embeddings for the head.
        assert set(casts.values()) == {1}
        assert len(casts) == 2 * 6 * 2 + 2 + 2
