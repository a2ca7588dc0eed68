import errno
import inspect
import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from confection import ConfigValidationError
from filelock import FileLock
from spacy import registry, util
from spacy.language import Language
from spacy.training import Example
from transformers import TrainerCallback

from spacy_jbert.encoder.checkpoint import Encoder
from spacy_jbert.pretraining import callback, reporting, trainer
from spacy_jbert.pretraining.callback import pretrain_mlm
from spacy_jbert.pretraining.deprecated import pretrain_mlm_v1
from spacy_jbert.pretraining.objective import MaskedLM
from spacy_jbert.pretraining.once import tokenizer_identity, write_manifest
from spacy_jbert.pretraining.settings import OLD_NAMES
from spacy_jbert.pretraining.trainer import last_checkpoint

CONFIG = Path(__file__).parents[2] / "configs" / "pretrain.cfg"


@pytest.fixture
def pipeline(encoder: Encoder) -> Language:
    nlp = spacy.blank("ja")
    nlp.add_pipe("jbert_transformer", name="transformer").encoder = encoder
    # A run is known by where its encoder came from, not by the weights it has by now.
    nlp.config["initialize"]["components"]["transformer"] = {
        "encoder": {"@misc": "spacy-jbert.NewEncoder.v1", "seed": 0}
    }
    return nlp


@pytest.fixture
def pipe(pipeline: Language) -> Any:
    return pipeline.get_pipe("transformer")


SMALL: dict[str, Any] = {
    "max_steps": 6,
    "batch_size": 512,
    "learn_rate": 1e-2,
    "validation_fraction": 0.2,
    "device": "cpu",
    "logging_steps": 2,
    "eval_steps": 3,
}


def weights(pipe: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in pipe.encoder.model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def send_at(monkeypatch: pytest.MonkeyPatch, step: int, number: signal.Signals) -> None:
    """Send this process a signal in the middle of that step."""

    class Send(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == step - 1:
                os.kill(os.getpid(), number)

    class Sent(trainer.PretrainingTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.add_callback(Send())

    monkeypatch.setattr(trainer, "PretrainingTrainer", Sent)


def test_it_learns_and_writes_what_it_learnt(
    pipeline: Language, pipe: Any, text: Path, tmp_path: Path
) -> None:
    before = weights(pipe)
    settings = SMALL | {
        "max_steps": 120,
        "eval_steps": 60,
        "validation_fraction": 0.06,
        "batch_size": 1024,
        "learn_rate": 5e-3,
    }
    pretrain_mlm(str(text), str(tmp_path), **settings)(pipeline)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert [entry["step"] for entry in metrics["evaluations"]] == [0, 60, 120]
    assert metrics["after"]["loss"] < 0.7 * metrics["before"]["loss"]
    assert metrics["after"]["masked_accuracy"] > metrics["before"]["masked_accuracy"] + 0.2
    assert metrics["after"]["perplexity"] < metrics["before"]["perplexity"]
    assert not same(weights(pipe), before)
    assert not pipe.encoder.model.training
    saved = Encoder.load(tmp_path / "encoder")
    assert same(
        {name: tensor.clone() for name, tensor in saved.model.state_dict().items()}, weights(pipe)
    )
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "more",
    [
        {"num_workers": 2},
        {"gradient_accumulation_steps": 2, "sentence_objective": "sop", "batch_size": 200},
    ],
)
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
        send_at(patch, 4, signal.SIGTERM)
        with pytest.raises(SystemExit, match=r"\[J110\].*step 4 of 6"):
            pretrain_mlm(str(text), str(tmp_path / "parts"), **SMALL | more)(pipeline)
    assert not (tmp_path / "parts" / "encoder").exists()
    torch.manual_seed(99)
    pipe.encoder.model.apply(
        lambda module: [parameter.data.normal_() for parameter in module.parameters()] and None
    )
    pretrain_mlm(str(text), str(tmp_path / "parts"), **SMALL | more)(pipeline)
    assert same(weights(pipe), whole)
    first, second = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "parts")
    )
    assert first["before"]["loss"] == second["before"]["loss"]
    assert first["after"]["loss"] == second["after"]["loss"]
    assert [entry["loss"] for entry in first["training_loss"]] == [
        entry["loss"] for entry in second["training_loss"]
    ]


def test_a_run_that_was_killed_goes_on_bit_exact(
    pipeline: Language, pipe: Any, text: Path, tmp_path: Path
) -> None:
    """SIGKILL between two checkpoints; afterwards with processes that build the batches, and with
    another number of threads, which must make no difference. A process made by fork has one.
    """
    torch.set_num_threads(1)
    start = weights(pipe)
    pretrain_mlm(str(text), str(tmp_path / "whole"), **SMALL)(pipeline)
    whole = weights(pipe)
    pipe.encoder.model.load_state_dict(start)

    def train_until_killed() -> None:
        with pytest.MonkeyPatch.context() as patch:
            send_at(patch, 5, signal.SIGKILL)
            pretrain_mlm(str(text), str(tmp_path / "parts"), **SMALL | {"save_steps": 2})(pipeline)

    process = multiprocessing.get_context("fork").Process(target=train_until_killed)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    (run,) = (tmp_path / "parts" / "runs").iterdir()
    assert {path.name for path in run.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}
    torch.set_num_threads(2)
    pretrain_mlm(str(text), str(tmp_path / "parts"), **SMALL | {"num_workers": 2})(pipeline)
    assert torch.get_num_threads() == 2
    assert same(weights(pipe), whole)


@pytest.mark.parametrize(("trained", "within"), [(2, 2), (10_000, 1), (None, 1)])
def test_a_checkpoint_goes_on_with_its_own_number_of_threads(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    trained: int | None,
    within: int,
) -> None:
    monkeypatch.setattr(trainer, "cores", lambda: 4)
    torch.set_num_threads(1)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    write_manifest(tmp_path, "this", **({"threads": trained} if trained else {}))
    with trainer.threads_of(tmp_path, "cpu"):
        assert torch.get_num_threads() == within
    assert torch.get_num_threads() == 1
    assert ("[JW138]" in caplog.text) == (trained == 10_000)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("file write failed")]
)
def test_a_full_disk_costs_a_checkpoint_and_nothing_else(
    pipeline: Language,
    pipe: Any,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    start = weights(pipe)
    pretrain_mlm(str(text), str(tmp_path / "whole"), **SMALL)(pipeline)
    whole = weights(pipe)
    pipe.encoder.model.load_state_dict(start)
    write = torch.save

    def full(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if "checkpoint-4" in str(path) and "optimizer" in str(path):
            raise error
        write(value, path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        send_at(patch, 4, signal.SIGTERM)
        with pytest.raises(SystemExit, match=r"\[J110\].*step 2 of 6"):
            pretrain_mlm(str(text), str(tmp_path / "parts"), **SMALL | {"save_steps": 2})(pipeline)
    assert "[JW131]" in caplog.text
    (run,) = (tmp_path / "parts" / "runs").iterdir()
    assert [path.name for path in run.glob("checkpoint-*")] == ["checkpoint-2"]
    pretrain_mlm(str(text), str(tmp_path / "parts"), **SMALL | {"save_steps": 2})(pipeline)
    assert same(weights(pipe), whole)


def test_ctrl_c_is_an_order_to_save_and_stop(
    pipeline: Language, pipe: Any, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = weights(pipe)
    pretrain_mlm(str(text), str(tmp_path / "whole"), **SMALL)(pipeline)
    whole = weights(pipe)
    pipe.encoder.model.load_state_dict(start)
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        send_at(patch, 3, signal.SIGINT)
        with pytest.raises(SystemExit, match=r"\[J110\].*SIGINT.*step 3 of 6"):
            pretrain_mlm(str(text), str(tmp_path / "parts"), **SMALL | {"num_workers": 1})(pipeline)
    assert signal.getsignal(signal.SIGINT) is handler
    pretrain_mlm(str(text), str(tmp_path / "parts"), **SMALL)(pipeline)
    assert same(weights(pipe), whole)


def test_ctrl_c_while_text_is_prepared_is_one_line(
    pipeline: Language, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **settings: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("spacy_jbert.pretraining.corpus.prepare", interrupted)
        with pytest.raises(SystemExit, match="J097"):
            pretrain_mlm(str(text), str(tmp_path / "out"), **SMALL)(pipeline)
    pretrain_mlm(str(text), str(tmp_path / "out"), **SMALL)(pipeline)


def test_a_full_disk_at_the_end_loses_nothing(
    pipeline: Language, pipe: Any, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = weights(pipe)
    full = OSError(errno.ENOSPC, "No space left on device")

    def save(*_: Any) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(MaskedLM, "save", save)
        with pytest.raises(OSError, match=r"\[J134\].*step 6 of 6"):
            pretrain_mlm(str(text), str(tmp_path), **SMALL)(pipeline)
    trained = weights(pipe)
    assert not (tmp_path / "metrics.json").exists()
    pipe.encoder.model.load_state_dict(start)
    with monkeypatch.context() as patch:
        patch.setattr(trainer.PretrainingTrainer, "training_step", None)
        pretrain_mlm(str(text), str(tmp_path), **SMALL)(pipeline)
    assert same(weights(pipe), trained)
    assert (tmp_path / "metrics.json").exists()


def test_a_full_disk_at_the_manifest_costs_a_checkpoint(
    pipeline: Language,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(folder: Path, run: str, **facts: Any) -> None:
        if folder.name == "checkpoint-4":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_manifest(folder, run, **facts)

    monkeypatch.setattr(trainer, "write_manifest", full)
    pretrain_mlm(str(text), str(tmp_path), **SMALL | {"save_steps": 2})(pipeline)
    assert caplog.text.count("[JW131]") == 1
    (run,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in run.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-6"}


def test_older_checkpoints_make_room(
    pipeline: Language,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write = torch.save

    def full(value: Any, path: Any, *args: Any, **kwargs: Any) -> None:
        if len(list(Path(path).parents[1].glob("checkpoint-*"))) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(value, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    pretrain_mlm(str(text), str(tmp_path), **SMALL | {"save_steps": 2, "save_total_limit": 3})(
        pipeline
    )
    assert "[JW137]" in caplog.text
    assert "[JW131]" not in caplog.text
    (run,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in run.glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-6"}


def test_two_runs_at_once_are_refused(
    pipeline: Language, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback, "_PATIENCE", 0.1)
    with FileLock(tmp_path / "lock"), pytest.raises(RuntimeError, match=r"\[J133\]"):
        pretrain_mlm(str(text), str(tmp_path), **SMALL)(pipeline)
    assert not (tmp_path / "runs").exists()
    (tmp_path / "lock").write_text("of a process that is dead")
    pretrain_mlm(str(text), str(tmp_path), **SMALL)(pipeline)
    assert (tmp_path / "metrics.json").exists()


def test_a_run_is_prolonged(
    pipeline: Language, pipe: Any, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = weights(pipe)
    pretrain_mlm(str(text), str(tmp_path), **SMALL | {"logging_steps": 1})(pipeline)
    short = weights(pipe)
    trained: list[int] = []
    step = trainer.PretrainingTrainer.training_step

    def recorded(self: Any, *args: Any) -> Any:
        trained.append(self.state.global_step)
        return step(self, *args)

    monkeypatch.setattr(trainer.PretrainingTrainer, "training_step", recorded)
    pretrain_mlm(str(text), str(tmp_path), **SMALL | {"max_steps": 10, "logging_steps": 1})(
        pipeline
    )
    assert trained == [6, 7, 8, 9]
    assert not same(weights(pipe), short)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["steps"] == 10
    assert [entry["step"] for entry in metrics["training_loss"]] == list(range(1, 11))
    # The short run is still there, as it was.
    trained.clear()
    pipe.encoder.model.load_state_dict(start)
    pretrain_mlm(str(text), str(tmp_path), **SMALL)(pipeline)
    assert not trained
    assert same(weights(pipe), short)


def test_speed_is_that_of_the_run_itself(
    pipeline: Language, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        send_at(patch, 4, signal.SIGTERM)
        with pytest.raises(SystemExit):
            pretrain_mlm(str(text), str(tmp_path), **SMALL | {"logging_steps": 1})(pipeline)
    begun = time.perf_counter()
    pretrain_mlm(str(text), str(tmp_path), **SMALL | {"logging_steps": 1, "save_steps": 1})(
        pipeline
    )
    seconds = time.perf_counter() - begun
    (state,) = tmp_path.glob("runs/*/checkpoint-6/trainer_state.json")
    log = json.loads(state.read_text())["log_history"]
    assert not [
        name
        for entry in log
        for name in entry
        if name.endswith(("samples_per_second", "steps_per_second", "runtime"))
    ]
    # At most 512 pieces a step, and two steps took no longer than the whole call.
    speeds = [entry["pieces_per_second"] for entry in log if "loss" in entry][-2:]
    assert all(512 / speed < seconds for speed in speeds)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["steps_per_second"] == pytest.approx(2 / metrics["seconds"], rel=0.1)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_what_is_reported_stays_here(
    pipeline: Language, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pytest.importorskip(name)
    for variable in reporting.REPORTERS[name]:
        monkeypatch.delenv(variable, raising=False)
    pretrain_mlm(str(text), str(tmp_path), **SMALL | {"report_to": [name]})(pipeline)
    assert not any(variable in os.environ for variable in reporting.REPORTERS[name])
    (run,) = (tmp_path / "runs").iterdir()
    reported = {"loss", "learning_rate", "eval_loss", "eval_masked_accuracy"}
    if name == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        tags = set(EventAccumulator(str(run / "logs")).Reload().Tags()["scalars"])
        assert tags >= {
            f"eval/{tag[5:]}" if tag.startswith("eval_") else f"train/{tag}" for tag in reported
        }
    elif name == "mlflow":
        with sqlite3.connect(run / "logs" / "mlflow.db") as database:
            assert {key for (key,) in database.execute("SELECT key FROM metrics")} >= reported
    else:
        assert list((run / "logs").glob("wandb/offline-run-*/run-*.wandb"))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_each_of_two_runs_reports_to_its_own_folder(
    pipeline: Language, text: Path, tmp_path: Path, name: str
) -> None:
    pytest.importorskip(name)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        again = {"report_to": [name], "resume": "never"}
        pretrain_mlm(str(text), str(folder), **SMALL | again)(pipeline)
    kept = {"wandb": "wandb/offline-run-*/run-*.wandb", "mlflow": "mlflow.db"}[name]
    assert [len(list(folder.glob(f"runs/*/logs/{kept}"))) for folder in folders] == [1, 1]
    if name == "wandb":
        import wandb

        assert wandb.run is None
    else:
        for folder in folders:
            (file,) = folder.glob("runs/*/logs/mlflow.db")
            with sqlite3.connect(file) as database:
                assert database.execute("SELECT count(*) FROM runs").fetchone() == (1,)


@pytest.mark.parametrize("objective", ["nsp", "sop"])
def test_the_sentence_objective_is_measured(
    pipeline: Language, text: Path, tmp_path: Path, objective: str
) -> None:
    pretrain_mlm(str(text), str(tmp_path), **SMALL | {"sentence_objective": objective})(pipeline)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert all(0 <= entry["pair_accuracy"] <= 1 for entry in metrics["evaluations"])


def test_the_evaluated_part_is_bounded(pipeline: Language, text: Path, tmp_path: Path) -> None:
    settings = SMALL | {"validation_fraction": 0.4, "eval_steps": None, "max_length": 32}
    pretrain_mlm(str(text), str(tmp_path / "whole"), **settings)(pipeline)
    pretrain_mlm(str(text), str(tmp_path / "some"), **settings | {"eval_samples": 2})(pipeline)
    whole, some = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "some")
    )
    assert whole["corpus"]["samples evaluated"] == whole["corpus"]["samples held out"] > 4
    assert some["corpus"] == whole["corpus"] | {"samples evaluated": 2}
    assert some["run"] == whole["run"]
    assert [entry["step"] for entry in some["evaluations"]] == [0, 6]


def test_a_reporter_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "find_spec", lambda name: None)
    missing = pytest.raises(ImportError, match=r"\[J131\].*pip install wandb")
    with missing, reporting.reporting("wandb", tmp_path):
        pass
    with reporting.reporting("none", tmp_path) as chosen:
        assert chosen == []


def test_the_learning_curve(pipeline: Language, text: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pretrain_mlm(str(text), str(tmp_path), **SMALL | {"save_steps": 3})(pipeline)
    (run,) = (tmp_path / "runs").iterdir()
    for path in (run / "learning_curve.svg", tmp_path / "learning_curve.svg"):
        picture = path.read_text(encoding="utf-8")
        assert picture.count('id="axes_') == 3


def test_a_finished_run_is_loaded(
    pipeline: Language, pipe: Any, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = weights(pipe)
    pretrain_mlm(str(text), str(tmp_path), **SMALL)(pipeline)
    trained = weights(pipe)
    pipe.encoder.model.load_state_dict(start)
    with monkeypatch.context() as patch:
        patch.setattr(callback, "run_pretraining", None)
        pretrain_mlm(str(text), str(tmp_path), **SMALL | {"logging_steps": 3})(pipeline)
        assert same(weights(pipe), trained)
        for changed in ({"seed": 1}, {"resume": "never"}, {"validation_fraction": 0.3}):
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
    pretrain_mlm(
        str(text), str(tmp_path), **SMALL | {"precision": "bf16", "max_steps": 2, "device": "auto"}
    )(pipeline)
    assert all(tensor.dtype == torch.float32 for tensor in weights(pipe).values())


def test_an_incomplete_checkpoint_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (9, 10, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "model.safetensors").write_bytes(b"weights")
    write_manifest(tmp_path / "checkpoint-9", "this")
    write_manifest(tmp_path / "checkpoint-10", "this")
    (tmp_path / "checkpoint-10" / "model.safetensors").write_bytes(b"wei")
    assert last_checkpoint(tmp_path, "this") == tmp_path / "checkpoint-9"
    assert caplog.text.count("[JW101]") == caplog.text.count("[JW134]") == 1
    assert last_checkpoint(tmp_path, "other") is None
    assert caplog.text.count("[JW130]") == 1
    assert last_checkpoint(tmp_path / "nothing", "this") is None


def test_a_loss_that_is_not_finite_stops_training(
    pipeline: Language, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = MaskedLM.forward
    calls = []

    def broken(self: MaskedLM, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        output = forward(self, *args, **kwargs)
        calls.append(self.training)
        return output | {"loss": output["loss"] * (float("nan") if sum(calls) == 2 else 1)}

    monkeypatch.setattr(MaskedLM, "forward", broken)
    with pytest.raises(FloatingPointError, match=r"\[J106\].*step 2 is nan"):
        pretrain_mlm(str(text), str(tmp_path), **SMALL | {"save_steps": 1})(pipeline)
    (run,) = (tmp_path / "runs").iterdir()
    assert last_checkpoint(run, run.name) == run / "checkpoint-1"
    batch = torch.load(next(run.glob("not-finite-2-0.pt")))
    assert batch["loss"].isnan()
    assert batch["labels"].shape == batch["positions"].shape


@pytest.mark.parametrize("check_every", [1, 64])
def test_losses_are_read_together(
    pipeline: Language,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    check_every: int,
) -> None:
    """As on a GPU: not at each step, but a checkpoint never comes before them."""
    looks: list[int] = []

    class Patient(trainer.PretrainingTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            assert self.check_every == 1  # a CPU
            self.check_every = check_every

        def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
            loss = super().training_step(*args, **kwargs)
            step, _, inputs = self.unchecked[-1]
            self.unchecked[-1] = step, loss * (float("nan") if step == 3 else 1), inputs
            return loss

        def check_losses(self) -> None:
            looks.append(len(self.unchecked))
            super().check_losses()

    monkeypatch.setattr(trainer, "PretrainingTrainer", Patient)
    with pytest.raises(FloatingPointError, match=r"\[J106\].*step 3 is nan"):
        pretrain_mlm(str(text), str(tmp_path), **SMALL | {"save_steps": 5})(pipeline)
    assert looks == ([1, 1, 1] if check_every == 1 else [5])
    (run,) = (tmp_path / "runs").iterdir()
    assert last_checkpoint(run, run.name) is None
    assert torch.load(run / "not-finite-3-0.pt")["loss"].isnan()


def test_weights_that_are_no_numbers_are_not_saved(
    pipeline: Language, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a step whose loss was finite, and its gradient not."""

    class Ruin(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 6:
                next(kwargs["model"].parameters()).data.view(-1)[0] = float("nan")

    class Ruined(trainer.PretrainingTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.add_callback(Ruin())

    monkeypatch.setattr(trainer, "PretrainingTrainer", Ruined)
    with pytest.raises(FloatingPointError, match=r"\[J135\]"):
        pretrain_mlm(str(text), str(tmp_path), **SMALL | {"save_steps": 3})(pipeline)
    (run,) = (tmp_path / "runs").iterdir()
    assert last_checkpoint(run, run.name) == run / "checkpoint-3"
    assert not (tmp_path / "encoder").exists()


def test_figures_that_are_no_numbers_are_no_result(
    pipeline: Language, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = MaskedLM.forward

    def broken(self: MaskedLM, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        factor = float("nan") if last else 1
        return {name: value * factor for name, value in forward(self, *args, **kwargs).items()}

    evaluate, last = trainer.PretrainingTrainer.evaluate, list[int]()

    def last_is_broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 6:
            last.append(6)
        return evaluate(self, *args, **kwargs)

    monkeypatch.setattr(MaskedLM, "forward", broken)
    monkeypatch.setattr(trainer.PretrainingTrainer, "evaluate", last_is_broken)
    with pytest.raises(FloatingPointError, match=r"\[J136\]"):
        pretrain_mlm(str(text), str(tmp_path), **SMALL)(pipeline)
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    "setting",
    [
        {"output": ""},
        {"output": " "},
        {"corpus": ""},
        {"component": ""},
        {"text_field": ""},
        {"path": ""},
        {"path": []},
        {"path": [""]},
        {"learn_rate": float("nan")},
    ],
)
def test_settings_without_sense(setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(ValueError, match=rf"\[J108\] {name}"):
        pretrain_mlm(**{"path": "text", "output": "out"} | setting)


def test_errors(
    nlp: Language,
    pipeline: Language,
    pipe: Any,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline.add_pipe("jbert_transformer", name="empty")
    with pytest.raises(ValueError, match=r"\[J103\].*'other'"):
        pretrain_mlm(str(text), str(tmp_path), component="other")(pipeline)
    with pytest.raises(ValueError, match=r"\[J101\].*nowhere"):
        pretrain_mlm(str(tmp_path / "nowhere"), str(tmp_path / "out"))(pipeline)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"\[J107\].*file"):
        pretrain_mlm(str(text), str(tmp_path / "file"))(pipeline)
    for name, value in {
        "mlm_probability": 1.5,
        "batch_size": 0,
        "report_to": "paper",
        "decay_ratio": 0.99,
    }.items():
        with pytest.raises(ValueError, match=rf"\[J108\] {name}"):
            pretrain_mlm(str(text), str(tmp_path), **{name: value})
    with pytest.raises(ValueError, match=r"\[J104\]"):
        pretrain_mlm(str(text), str(tmp_path), component="empty")(pipeline)
    pipe.encoder.tokenizer.mask_token = None
    with pytest.raises(ValueError, match=r"\[J105\]"):
        pretrain_mlm(str(text), str(tmp_path))(pipeline)


def test_in_a_pipeline(text: Path, tmp_path: Path) -> None:
    """The config of the repository, as `spacy assemble` runs it."""
    overrides = {
        "paths.text": str(text),
        "paths.output": str(tmp_path / "out"),
        "initialize.components.transformer.encoder.size": "tiny",
        "initialize.components.transformer.encoder.vocabulary.size": 512,
        "initialize.after_init.max_epochs": 1,
    }
    nlp = util.load_model_from_config(util.load_config(CONFIG, overrides=overrides), auto_fill=True)
    nlp.initialize()
    nlp.to_disk(tmp_path / "pipeline")
    assert str(tmp_path) not in (tmp_path / "pipeline" / "config.cfg").read_text(encoding="utf-8")
    doc = spacy.load(tmp_path / "pipeline")("田中さんは昨日、京都で新しい図書館を見学しました。")
    saved = Encoder.load(tmp_path / "out" / "encoder").model.state_dict()
    assert all(
        torch.equal(saved[name], tensor)
        for name, tensor in nlp.get_pipe("transformer").encoder.model.state_dict().items()
    )
    assert doc._.trf_data is not None
    assert Example.from_dict(doc, {}).predicted is doc


@pytest.fixture
def configure(encoder: Encoder, text: Path, tmp_path: Path) -> Callable[..., Path]:
    """The config of the repository, going on from the tiny encoder."""
    encoder.save(tmp_path / "first")

    def write(name: str, **settings: Any) -> Path:
        config = util.load_config(
            CONFIG, overrides={"paths.text": str(text), "paths.output": str(tmp_path / name)}
        )
        loader = {
            "@misc": "spacy-jbert.HFEncoder.v1",
            "name": str(tmp_path / "first"),
            "hidden_dropout": 0.0,
        }
        config["initialize"]["components"]["transformer"]["encoder"] = loader
        config["initialize"]["after_init"] |= {
            "max_steps": 4,
            "device": "cpu",
            "validation_fraction": 0.1,
            "logging_steps": 1,
            "batch_size": 400,
            "preprocessing_workers": 1,
        }
        config["initialize"]["after_init"] |= settings
        config.to_disk(tmp_path / f"{name}.cfg")
        return tmp_path / f"{name}.cfg"

    return write


def torchrun(config: Path, output: Path) -> subprocess.Popen[str]:
    """`spacy assemble` in two processes, connected by gloo."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "spacy",
        "assemble",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, str(config), str(output)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_train_as_one_does(configure: Callable[..., Path], tmp_path: Path) -> None:
    """The same global batches, and the same loss to rounding, as one process that accumulates two
    batches. With a single held-out batch, one of the processes has nothing of its own to
    evaluate."""
    process = torchrun(configure("two"), tmp_path / "pipeline")
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors[-3000:]
    nlp = util.load_model_from_config(
        util.load_config(configure("one", gradient_accumulation_steps=2)), auto_fill=True
    )
    nlp.initialize()
    one, two = (
        json.loads((tmp_path / name / "metrics.json").read_text(encoding="utf-8"))
        for name in ("one", "two")
    )
    assert one["run"] == two["run"]
    assert two["corpus"]["samples held out"] >= 1
    for first, second in zip(one["training_loss"], two["training_loss"], strict=True):
        assert first["loss"] == pytest.approx(
            second["loss"], rel=1e-3
        )  # Trainer rounds to four places
    assert one["after"]["loss"] == pytest.approx(two["after"]["loss"], rel=1e-4)
    assert two["after"]["loss"] < two["before"]["loss"]
    trained = spacy.load(tmp_path / "pipeline").get_pipe("transformer").encoder.model.state_dict()
    for name, tensor in nlp.get_pipe("transformer").encoder.model.state_dict().items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_two_processes_stop_at_the_same_step(
    configure: Callable[..., Path], tmp_path: Path
) -> None:
    config = configure("run", max_steps=100_000, report_to="tensorboard", save_steps=100_000)
    process = torchrun(config, tmp_path / "pipeline")
    until = time.monotonic() + 300
    while not list((tmp_path / "run").glob("runs/*/logs/events*")):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.2)
    time.sleep(1)
    process.terminate()
    _, errors = process.communicate(timeout=100)
    assert "[J110]" in errors, errors[-3000:]
    (run,) = (tmp_path / "run" / "runs").iterdir()
    checkpoint = last_checkpoint(run, run.name)
    assert checkpoint
    assert len(list(checkpoint.glob("rng_state_*.pth"))) == 2
    assert not (tmp_path / "pipeline").exists()


def test_an_encoder_of_another_run_is_not_taken_for_done(
    pipeline: Language, pipe: Any, text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a second run leaves it that was killed before it wrote its metrics."""
    start = weights(pipe)
    pretrain_mlm(str(text), str(tmp_path), **SMALL)(pipeline)
    first, metrics = weights(pipe), (tmp_path / "metrics.json").read_bytes()
    pipe.encoder.model.load_state_dict(start)
    pretrain_mlm(str(text), str(tmp_path), **SMALL | {"seed": 1})(pipeline)
    assert not same(weights(pipe), first)
    (tmp_path / "metrics.json").write_bytes(metrics)
    pipe.encoder.model.load_state_dict(start)
    pretrain_mlm(str(text), str(tmp_path), **SMALL)(pipeline)
    assert same(weights(pipe), first)
    assert "[JW135]" in caplog.text


@pytest.mark.parametrize("name", ["model.safetensors", "COMPLETE", "optimizer.pt"])
def test_a_damaged_checkpoint_is_skipped(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (9, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for file in ("model.safetensors", "optimizer.pt"):
            (folder / file).write_bytes(b"weights")
        write_manifest(folder, "this")
    (tmp_path / "checkpoint-40.bak").mkdir()
    damaged = tmp_path / "checkpoint-10" / name
    damaged.write_bytes(bytes(damaged.stat().st_size))
    assert last_checkpoint(tmp_path, "this") == tmp_path / "checkpoint-9"
    assert "[JW134]" in caplog.text


@pytest.mark.parametrize(
    "manifest",
    ["{}", "[]", '{"run": "this"}', '{"run": "this", "files": {}}', '{"run": "this", "files": 1}'],
)
def test_a_manifest_without_its_keys_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, manifest: str
) -> None:
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "COMPLETE").write_text(manifest)
    assert last_checkpoint(tmp_path, "this") is None
    assert "[JW134]" in caplog.text


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


def test_one_bit_flipped_changes_nothing(
    pipeline: Language, pipe: Any, text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In any file of the latest checkpoint, and in the finished encoder."""
    settings = SMALL | {"save_steps": 4}
    start = weights(pipe)
    pretrain_mlm(str(text), str(tmp_path), **settings)(pipeline)
    whole, encoder = weights(pipe), tmp_path / "encoder"
    names = {path.name for path in tmp_path.glob("runs/*/checkpoint-6/*")} - {"COMPLETE"}
    assert names > {"model.safetensors", "optimizer.pt", "trainer_state.json"}
    for number, name in enumerate(sorted(names)):
        (damaged,) = tmp_path.glob(f"runs/*/checkpoint-6/{name}")
        flip(damaged, 12345 * (number + 1))
        flip(encoder / "model.safetensors", 54321 * (number + 1))
        pipe.encoder.model.load_state_dict(start)
        caplog.clear()
        pretrain_mlm(str(text), str(tmp_path), **settings)(pipeline)
        assert same(weights(pipe), whole)
        assert "[JW134]" in caplog.text
        assert "[JW135]" in caplog.text


@pytest.mark.parametrize("name", ["samples.arrow", "counts.json"])
def test_a_damaged_corpus_is_made_anew(
    pipeline: Language,
    pipe: Any,
    text: Path,
    tmp_path: Path,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start = weights(pipe)
    pretrain_mlm(str(text), str(tmp_path), **SMALL)(pipeline)
    first = weights(pipe)
    pipe.encoder.model.load_state_dict(start)
    (damaged,) = tmp_path.glob(f"corpus/*/{name}")
    damaged.write_bytes(bytes(damaged.stat().st_size))
    pretrain_mlm(str(text), str(tmp_path), **SMALL, resume="never")(pipeline)
    assert same(weights(pipe), first)
    assert "[JW133]" in caplog.text


def test_the_contents_of_dictionaries_count(tmp_path: Path) -> None:
    nlp = spacy.blank("ja")
    dictionary = tmp_path / "user.dic"
    dictionary.write_bytes(b"one")
    before = tokenizer_identity(nlp)
    nlp.config["initialize"]["tokenizer"] = {"user_dictionaries": [str(dictionary)]}
    one = tokenizer_identity(nlp)
    dictionary.write_bytes(b"two")
    assert before != one != tokenizer_identity(nlp)


@pytest.mark.parametrize("odd", ["[]", "null", "1", '{"run": 1}', "{"])
def test_odd_metrics_are_no_result(tmp_path: Path, odd: str) -> None:
    (tmp_path / "metrics.json").write_text(odd)
    assert not callback.finished(tmp_path, "key")


def test_configs_of_before_train_the_same_and_find_what_was_trained(
    pipeline: Language, text: Path, tmp_path: Path
) -> None:
    old = {
        "steps": 2, "batch_size": 512, "held_out": 0.2, "device": "cpu", "log_steps": 1,
        "max_pieces": 32, "rate": 0.2, "final_rate": 0.2, "clip": 0.5, "workers": 1, "keep": 3,
        "accumulate": 2, "warmup": 0.1, "decay": 0.1, "loader_workers": 0, "epochs": 2.0,
        "shard": False,
    }  # fmt: skip
    with pytest.warns(FutureWarning, match="JW139"):
        callback = pretrain_mlm_v1(path=str(text), output=str(tmp_path), **old)
    callback(pipeline)
    written = (tmp_path / "metrics.json").stat().st_mtime_ns
    new_names = {before: now for now, before in OLD_NAMES.items()}
    assert set(new_names) == set(old) - {"batch_size", "device"}
    new = {new_names.get(name, name): value for name, value in old.items()}
    pretrain_mlm(str(text), str(tmp_path), **new)(pipeline)
    assert (tmp_path / "metrics.json").stat().st_mtime_ns == written


def test_the_names_of_before_had_the_same_defaults() -> None:
    old, new = (
        {name: found.default for name, found in inspect.signature(callback).parameters.items()}
        for callback in (pretrain_mlm_v1, pretrain_mlm)
    )
    before = {OLD_NAMES.get(name, name): default for name, default in new.items()}
    assert before | {"batch_size": 8192, "loader_workers": 0} == old
    # spaCy checks configs by it.
    settings = {"@callbacks": "spacy-jbert.pretrain_mlm.v1", "path": "a", "output": "b"}
    registry.resolve({"callback": settings | {"rate": 0.2}})
    with pytest.raises(ConfigValidationError, match="mlm_probability"):
        registry.resolve({"callback": settings | {"mlm_probability": 0.2}})
