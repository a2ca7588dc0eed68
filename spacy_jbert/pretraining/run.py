"""One run of pretraining: train or go on training, then write encoder and figures."""

import copy
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ..encoder.checkpoint import Encoder
from ..errors import Errors
from ..storage import replacing
from .once import hashes

if TYPE_CHECKING:
    from .batches import Batches
    from .corpus import Corpus

logger = logging.getLogger(__name__)


def run_pretraining(
    encoder: Encoder,
    corpus: "Corpus",
    train: "Batches",
    steps: int,
    run: Path,
    settings: dict[str, Any],
    reporters: list[str],
) -> None:
    """Train, or go on training, and write the result.

    run (Path): The folder of the run's checkpoints; its name is the run's key.
    reporters (list[str]): Where transformers reports to, see `reporting`.
    """
    from . import curve
    from .batches import Batches
    from .objective import MaskedLM
    from .trainer import (
        PretrainingTrainer,
        last_checkpoint,
        threads_of,
        training_arguments,
    )

    folder, key = run.parents[1], run.name
    checkpoint = None if settings["resume"] == "never" else _begun(run, steps)
    shape = {"size": settings["batch_size"], "size_by": settings["batch_by"]}
    shared = {name: settings[name] for name in ("sentence_objective", "seed")}
    n_held_out = len(corpus.held_out)
    n_evaluated = min(settings["eval_samples"], n_held_out)
    held_out = corpus.held_out.select([i * n_held_out // n_evaluated for i in range(n_evaluated)])
    evaluation = Batches(held_out, encoder, **shape, **shared) if n_evaluated else None
    every = (settings["eval_steps"] or max(100, -(-steps // 10))) if evaluation else None
    names = {
        "gradient_accumulation_steps",
        "learn_rate",
        "warmup_ratio",
        "decay_ratio",
        "weight_decay",
        "max_grad_norm",
        "precision",
        "torch_compile",
        "device",
        "seed",
    }
    names |= {"save_steps", "logging_steps", "save_total_limit", "num_workers"}
    arguments = training_arguments(
        run,
        max_steps=steps,
        eval_steps=every,
        fsdp=_layers(encoder) if settings["fsdp"] else [],
        report_to=reporters,
        resumed=checkpoint is not None,
        **{name: settings[name] for name in names},
    )
    home = encoder.model.device
    model = whole = MaskedLM(
        encoder, sentences=settings["sentence_objective"] != "none", seed=settings["seed"]
    )
    if settings["fsdp"]:
        whole = copy.deepcopy(model)  # of the other, each process will have a part only
    trainer = PretrainingTrainer(model, arguments, train, evaluation, key)
    begin = f"Going on from {checkpoint.relative_to(run.parent)}" if checkpoint else "Pretraining"
    logger.info("%s: %d steps, %d batches in a pass, in %s", begin, steps, train.per_pass, run)
    start, first = time.monotonic(), step_of(checkpoint)
    try:
        with threads_of(checkpoint, settings["device"]):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            if trainer.state.global_step < steps:
                saved = last_checkpoint(run, key)
                raise SystemExit(
                    Errors.J110.format(
                        signal=stopped.name
                        if (stopped := trainer.checkpoints.signal)
                        else "a signal",
                        steps=steps,
                        step=step_of(saved),
                    )
                )
            evaluations = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
            if evaluation and (not evaluations or evaluations[-1]["step"] < steps):
                trainer.evaluate()
                evaluations.append(trainer.state.log_history[-1])
    finally:
        if settings["fsdp"]:
            if weights := trainer.accelerator.get_state_dict(
                trainer.model_wrapped
            ):  # in the first process
                whole.load_state_dict(weights)
            encoder.model = whole.encoder
        encoder.model.to(home).eval()
    seconds = time.monotonic() - start
    if evaluations and not math.isfinite(loss := evaluations[-1]["eval_loss"]):
        raise FloatingPointError(Errors.J136.format(loss=loss, step=steps))
    if not trainer.is_world_process_zero():
        return
    with telling_full_disk(folder, run, steps):
        whole.save(encoder, folder / "encoder")
        if curve.can_draw():
            curve.draw(trainer.state.log_history, folder / "learning_curve.svg")
        log = [entry for entry in trainer.state.log_history if "loss" in entry]
        metrics = {
            "run": key,
            "encoder": hashes(folder / "encoder"),
            "steps": steps,
            "seconds": round(seconds, 1),
            "steps_per_second": round((steps - first) / seconds, 3),
            "pieces_per_second": median(entry["pieces_per_second"] for entry in log)
            if log
            else None,
            "mfu": median(shares) if (shares := [e["mfu"] for e in log if "mfu" in e]) else None,
            "before": figures_of(evaluations[0]) if evaluations else None,
            "after": figures_of(evaluations[-1]) if evaluations else None,
            "evaluations": [figures_of(entry) for entry in evaluations],
            "training_loss": [{"step": entry["step"], "loss": entry["loss"]} for entry in log],
            "corpus": corpus.counts
            | {
                "samples trained on": len(corpus.train),
                "samples held out": n_held_out,
                "samples evaluated": n_evaluated,
            },
            "settings": settings,
        }
        with replacing(folder / "metrics.json") as (new,):
            new.write_text(json.dumps(metrics, indent=2, ensure_ascii=False), encoding="utf-8")
    logger.info("Held out, before: %s", metrics["before"])
    logger.info("Held out, after: %s", metrics["after"])


def forget(run: Path) -> None:
    """Remove what a run has left, before all processes go on."""
    from accelerate import PartialState  # type: ignore[import-untyped]

    if PartialState().is_main_process:
        shutil.rmtree(run, ignore_errors=True)
    PartialState().wait_for_everyone()


def _begun(run: Path, steps: int) -> Path | None:
    """RETURNS (Path | None): The checkpoint to go on from: this run's, else that of the longest run
    that is shorter and the same in all else.
    """
    from .trainer import last_checkpoint

    kind = run.name.rpartition("-")[0]
    names = (path.name.rpartition("-")[2] for path in run.parent.glob(f"{kind}-*"))
    lengths = [int(name) for name in names if name.isdecimal()]
    for length in sorted(filter(steps.__ge__, lengths), reverse=True):
        begun = run.with_name(f"{kind}-{length}")
        if checkpoint := last_checkpoint(begun, begun.name):
            return checkpoint
    return None


@contextmanager
def telling_full_disk(folder: Path, run: Path, steps: int) -> Iterator[None]:
    """While the result of a training is written.

    folder (Path): Where to. run (Path): Of the checkpoints; its name is the run's key.
    steps (int): Of the training.
    RAISES: OSError J134.
    """
    from .trainer import CANNOT_WRITE, last_checkpoint

    try:
        yield
    except CANNOT_WRITE as error:
        step = step_of(last_checkpoint(run, run.name))
        message = Errors.J134.format(path=folder, reason=error, step=step, steps=steps)
        raise OSError(message) from error


def step_of(checkpoint: Path | None) -> int:
    return int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0


def processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _layers(encoder: Encoder) -> list[str]:
    """RETURNS (list[str]): The class of the encoder's layers.

    RAISES: ValueError J130 where weights can't be shared out.
    """
    from torch import cuda, nn

    lists = [
        module
        for module in encoder.model.modules()
        if isinstance(module, nn.ModuleList) and len(module) == encoder.depth
    ]
    if not lists or not cuda.is_available() or processes() == 1:
        raise ValueError(Errors.J130)
    return sorted({type(layers[0]).__name__ for layers in lists})


def figures_of(entry: dict[str, Any]) -> dict[str, Any]:
    return {"step": entry["step"]} | {
        name.removeprefix("eval_"): value
        for name, value in entry.items()
        if name.startswith("eval_")
    }
