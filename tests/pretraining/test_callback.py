import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy import util
from spacy.language import Language
from spacy.training import Example
from transformers import TrainerCallback

from spacy_jbert.encoder import Encoder
from spacy_jbert.pretraining import callback, trainer
from spacy_jbert.pretraining.callback import pretrain_mlm
from spacy_jbert.pretraining.objective import MaskedLM
from spacy_jbert.pretraining.trainer import last_checkpoint, write_manifest


@pytest.fixture
def pipeline(encoder: Encoder) -> Language:
    nlp = spacy.blank("ja")
    nlp.add_pipe("jbert_transformer", name="transformer").encoder = encoder
    return nlp


@pytest.fixture
def pipe(pipeline: Language) -> Any:
    return pipeline.get_pipe("transformer")


SMALL: dict[str, Any] = {
    "steps": 6,
    "batch_size": 512,
    "learn_rate": 1e-2,
    "held_out": 0.2,
    "device": "cpu",
    "log_steps": 2,
    "eval_steps": 3,
}


def weights(pipe: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in pipe.encoder.model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send SIGTERM when that step is done."""

    class Stop(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == step - 1:
                os.kill(os.getpid(), signal.SIGTERM)

    class Stopped(trainer.PretrainingTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.add_callback(Stop())

    monkeypatch.setattr(trainer, "PretrainingTrainer", Stopped)


def test_it_learns_and_writes_what_it_learnt(pipeline: Language, pipe: Any, text: Path, tmp_path: Path) -> None:
    before = weights(pipe)
    settings = SMALL | {"steps": 120, "eval_steps": 60, "held_out": 0.25, "batch_size": 1024, "learn_rate": 5e-3}
    pretrain_mlm(str(text), str(tmp_path), **settings)(pipeline)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert [entry["step"] for entry in metrics["evaluations"]] == [0, 60, 120]
    assert metrics["after"]["loss"] < 0.5 * metrics["before"]["loss"]
    assert metrics["after"]["masked_accuracy"] > metrics["before"]["masked_accuracy"] + 0.2
    assert metrics["after"]["perplexity"] < metrics["before"]["perplexity"]
    assert not same(weights(pipe), before)
    assert not pipe.encoder.model.training
    saved = Encoder.load(tmp_path / "encoder")
    assert same({name: tensor.clone() for name, tensor in saved.model.state_dict().items()}, weights(pipe))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("more", [{}, {"accumulate": 2, "sentence_objective": "sop", "batch_size": 200}])
def test_a_resumed_run_is_bit_exact(
    pipeline: Language,
    pipe: Any,
    encoder: Encoder,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, Any],
) -> None:
    start = weights(pipe)
    pretrain_mlm(str(text), str(tmp_path / "whole"), **SMALL | more)(pipeline)
    whole = weights(pipe)
    pipe.encoder.model.load_state_dict(start)
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        with pytest.raises(SystemExit, match=r"\[J110\].*step 4 of 6"):
            pretrain_mlm(str(text), str(tmp_path / "parts"), **SMALL | more)(pipeline)
    assert not (tmp_path / "parts" / "encoder").exists()
    torch.manual_seed(99)
    pipe.encoder.model.apply(lambda module: [parameter.data.normal_() for parameter in module.parameters()] and None)
    pretrain_mlm(str(text), str(tmp_path / "parts"), **SMALL | more)(pipeline)
    assert same(weights(pipe), whole)
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "parts"))
    assert first["before"]["loss"] == second["before"]["loss"]
    assert first["after"]["loss"] == second["after"]["loss"]


def test_a_finished_run_is_loaded(pipeline: Language, pipe: Any, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = weights(pipe)
    pretrain_mlm(str(text), str(tmp_path), **SMALL)(pipeline)
    trained = weights(pipe)
    pipe.encoder.model.load_state_dict(start)
    with monkeypatch.context() as patch:
        patch.setattr(callback, "_run", None)
        pretrain_mlm(str(text), str(tmp_path), **SMALL | {"log_steps": 3})(pipeline)
        assert same(weights(pipe), trained)
        for changed in ({"seed": 1}, {"resume": "never"}, {"held_out": 0.3}):
            with pytest.raises(TypeError):
                pretrain_mlm(str(text), str(tmp_path), **SMALL | changed)(pipeline)
    pipe.encoder.model.load_state_dict(start)
    pretrain_mlm(str(text), str(tmp_path), **SMALL | {"resume": "never"})(pipeline)
    assert same(weights(pipe), trained)


def test_not_enabled(pipeline: Language, pipe: Any, tmp_path: Path) -> None:
    before = weights(pipe)
    assert pretrain_mlm("nowhere", str(tmp_path), enabled=False)(pipeline) is pipeline
    assert same(weights(pipe), before)
    assert not list(tmp_path.iterdir())


def test_bf16(pipeline: Language, pipe: Any, text: Path, tmp_path: Path) -> None:
    pretrain_mlm(str(text), str(tmp_path), **SMALL | {"precision": "bf16", "steps": 2, "device": "auto"})(pipeline)
    assert all(tensor.dtype == torch.float32 for tensor in weights(pipe).values())


def test_an_incomplete_checkpoint_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (9, 10, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "model.safetensors").write_bytes(b"weights")
    write_manifest(tmp_path / "checkpoint-9")
    write_manifest(tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-10" / "model.safetensors").write_bytes(b"wei")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    assert caplog.text.count("[JW101]") == 2
    assert last_checkpoint(tmp_path / "nothing") is None


def test_a_loss_that_is_not_finite_stops_training(pipeline: Language, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = MaskedLM.forward
    calls = []

    def broken(self: MaskedLM, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        output = forward(self, *args, **kwargs)
        calls.append(self.training)
        return output | {"loss": output["loss"] * (float("nan") if sum(calls) == 2 else 1)}

    monkeypatch.setattr(MaskedLM, "forward", broken)
    with pytest.raises(FloatingPointError, match=r"\[J106\].*step 2 is nan"):
        pretrain_mlm(str(text), str(tmp_path), **SMALL)(pipeline)


def test_errors(nlp: Language, pipeline: Language, pipe: Any, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline.add_pipe("jbert_transformer", name="empty")
    with pytest.raises(ValueError, match=r"\[J103\].*'other'"):
        pretrain_mlm(str(text), str(tmp_path), component="other")(pipeline)
    with pytest.raises(ValueError, match=r"\[J101\].*nowhere"):
        pretrain_mlm(str(tmp_path / "nowhere"), str(tmp_path / "out"))(pipeline)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"\[J107\].*file"):
        pretrain_mlm(str(text), str(tmp_path / "file"))(pipeline)
    for name, value in {"rate": 1.5, "batch_size": 0, "report_to": "paper", "decay": 0.99}.items():
        with pytest.raises(ValueError, match=rf"\[J108\] {name}"):
            pretrain_mlm(str(text), str(tmp_path), **{name: value})
    with pytest.raises(ValueError, match=r"\[J104\]"):
        pretrain_mlm(str(text), str(tmp_path), component="empty")(pipeline)
    pipe.encoder.tokenizer.mask_token = None
    with pytest.raises(ValueError, match=r"\[J105\]"):
        pretrain_mlm(str(text), str(tmp_path))(pipeline)


def test_in_a_pipeline(text: Path, tmp_path: Path) -> None:
    """The config of the repository, as `spacy assemble` runs it."""
    path = Path(__file__).parents[2] / "configs" / "pretrain.cfg"
    overrides = {
        "paths.text": str(text),
        "paths.output": str(tmp_path / "out"),
        "initialize.components.transformer.encoder.size": "tiny",
        "initialize.components.transformer.encoder.vocabulary.size": 512,
        "initialize.after_init.epochs": 1,
    }
    nlp = util.load_model_from_config(util.load_config(path, overrides=overrides), auto_fill=True)
    nlp.initialize()
    nlp.to_disk(tmp_path / "pipeline")
    doc = spacy.load(tmp_path / "pipeline")("田中さんは昨日、京都で新しい図書館を見学しました。")
    saved = Encoder.load(tmp_path / "out" / "encoder").model.state_dict()
    assert all(torch.equal(saved[name], tensor) for name, tensor in nlp.get_pipe("transformer").encoder.model.state_dict().items())
    assert doc._.trf_data is not None
    assert Example.from_dict(doc, {}).predicted is doc


@pytest.mark.slow
def test_two_processes_train_one_encoder(text: Path, tmp_path: Path) -> None:
    """torchrun with gloo: with a single held-out batch, one of the processes has nothing of its own to evaluate."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "spacy", "assemble"]
    settings = {
        "paths.text": text,
        "paths.output": tmp_path / "run",
        "initialize.components.transformer.encoder.size": "tiny",
        "initialize.components.transformer.encoder.vocabulary.size": 512,
        "initialize.after_init.steps": 4,
        "initialize.after_init.device": "cpu",
        "initialize.after_init.held_out": 0.1,
    }
    config = Path(__file__).parents[2] / "configs" / "pretrain.cfg"
    command += [str(config), str(tmp_path / "pipeline"), *(part for name, value in settings.items() for part in (f"--{name}", str(value)))]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert figures["corpus"]["samples held out"] >= 1
    assert figures["after"]["loss"] < figures["before"]["loss"]
    assert spacy.load(tmp_path / "pipeline")("東京で田中さんと会った。")._.trf_data is not None
