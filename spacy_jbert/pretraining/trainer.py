"""The training loop: transformers' Trainer with batches by position, a held-out evaluation, and checkpoints that count only if whole."""

import json
import logging
import os
import signal
from collections import Counter
from operator import itemgetter
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..errors import Errors, Warnings
from .batches import Batches
from .objective import MaskedLM, perplexity

logger = logging.getLogger(__name__)

_MANIFEST = "COMPLETE"


class PretrainingTrainer(Trainer):
    """Trainer for `Batches`: one of its "examples" is a whole batch, and its one "epoch" the whole run.

    model (MaskedLM): What is trained.
    args (TrainingArguments): See `training_arguments`.
    train_dataset, eval_dataset (Batches): The run, and the held-out part with masks that never change; None for no evaluation.
    """

    def __init__(self, model: MaskedLM, args: TrainingArguments, train_dataset: Batches, eval_dataset: Batches | None) -> None:
        super().__init__(model=model, args=args, train_dataset=train_dataset, eval_dataset=eval_dataset, callbacks=[Checkpoints()])

    def get_train_dataloader(self) -> DataLoader:
        """RETURNS (DataLoader): Batches in order; Trainer skips those that a resumed run has had, unbuilt."""
        loader = DataLoader(
            self.train_dataset,
            batch_size=1,
            collate_fn=itemgetter(0),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Tensor], num_items_in_batch: Tensor | None = None) -> Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(Errors.J106.format(step=self.state.global_step + 1, loss=float(loss)))
        return loss

    @torch.no_grad()
    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure on the held-out part, shared out among the processes.

        RETURNS (dict[str, float]): eval_loss and eval_perplexity of masked pieces, eval_masked_accuracy; eval_pair_accuracy if there
            are pairs.
        """
        model = self.accelerator.unwrap_model(self.model)
        model.eval()
        sums: Counter[str] = Counter()
        for position in range(self.args.process_index, len(self.eval_dataset), self.args.world_size):
            inputs = self._prepare_inputs(self.eval_dataset[position])
            with self.compute_loss_context_manager():
                output = model(**inputs)
            sums.update({name: float(value) for name, value in output.items()} | {"masked": len(inputs["labels"])})
        names = ("masked", "masked_loss", "masked_right", "pairs", "pairs_right")
        # A process without a batch of its own has whole numbers only: all must send the same type.
        own = torch.tensor([sums[name] for name in names], dtype=torch.float32, device=self.args.device)
        summed = self.accelerator.reduce(own, reduction="sum")
        masked, masked_loss, masked_right, pairs, pairs_right = summed.tolist()
        loss = masked_loss / max(masked, 1)
        metrics = {"eval_loss": loss, "eval_perplexity": perplexity(loss), "eval_masked_accuracy": masked_right / max(masked, 1)}
        if pairs:
            metrics["eval_pair_accuracy"] = pairs_right / pairs
        self.log(metrics)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class Checkpoints(TrainerCallback):
    """Marks a checkpoint as complete when all of it is written; on SIGTERM has one written and training stopped."""

    def __init__(self) -> None:
        self.terminated = False
        self.previous: Any = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        def stop(number: int, frame: FrameType | None) -> None:
            self.terminated = True

        try:
            self.previous = signal.signal(signal.SIGTERM, stop)
        except ValueError:  # not the main thread
            self.previous = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.terminated:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.previous is not None:
            signal.signal(signal.SIGTERM, self.previous)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        PartialState().wait_for_everyone()  # each process writes the state of its own random numbers
        if state.is_world_process_zero:
            write_manifest(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def write_manifest(checkpoint: Path) -> None:
    """Name the files of a checkpoint and their sizes, once they are on the disk."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != _MANIFEST)
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    new = checkpoint / f".{_MANIFEST}"
    new.write_text(json.dumps({str(path.relative_to(checkpoint)): path.stat().st_size for path in files}, indent=1), encoding="utf-8")
    new.replace(checkpoint / _MANIFEST)


def last_checkpoint(folder: Path) -> Path | None:
    """RETURNS (Path | None): The latest checkpoint that is complete; later ones that aren't are warned of."""
    for checkpoint in sorted(folder.glob("checkpoint-[0-9]*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True):
        try:
            sizes = json.loads((checkpoint / _MANIFEST).read_text(encoding="utf-8"))
            if all((checkpoint / name).stat().st_size == size for name, size in sizes.items()):
                return checkpoint
        except (OSError, ValueError):
            pass
        logger.warning(Warnings.JW101.format(path=checkpoint))
    return None


def runs_on_cpu(device: str) -> bool:
    """Whether training runs on the CPU, given the setting."""
    return device == "cpu" or not torch.cuda.is_available()


def training_arguments(
    folder: Path,
    *,
    steps: int,
    accumulate: int,
    learn_rate: float,
    warmup: float,
    decay: float,
    weight_decay: float,
    clip: float,
    precision: str,
    torch_compile: bool,
    device: str,
    seed: int,
    eval_steps: int | None,
    save_steps: int,
    log_steps: int,
    keep: int,
    report_to: str,
    resumed: bool,
) -> TrainingArguments:
    """What transformers' Trainer is told; the settings are those of `pretrain_mlm`."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        logging_dir=str(folder / "logs"),
        max_steps=steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=accumulate,
        optim="adamw_torch_fused",  # decays neither biases nor LayerNorm
        adam_beta2=0.98,  # RoBERTa
        adam_epsilon=1e-6,
        learning_rate=learn_rate,
        weight_decay=weight_decay,
        max_grad_norm=clip,
        lr_scheduler_type="warmup_stable_decay",
        warmup_steps=round(warmup * steps),
        lr_scheduler_kwargs={"num_decay_steps": round(decay * steps)},
        bf16=precision == "bf16",
        torch_compile=torch_compile,
        use_cpu=runs_on_cpu(device),
        dataloader_pin_memory=not runs_on_cpu(device),
        eval_strategy="steps" if eval_steps else "no",
        eval_steps=eval_steps,
        eval_on_start=bool(eval_steps) and not resumed,
        save_strategy="steps",
        save_steps=save_steps,
        # One is deleted before its successor's manifest is written.
        save_total_limit=max(keep, 2),
        logging_steps=log_steps,
        logging_nan_inf_filter=False,
        report_to=report_to,
        remove_unused_columns=False,
        average_tokens_across_devices=int(os.environ.get("WORLD_SIZE", "1")) > 1,
        seed=seed,
    )
    # Batches hold positions in the flattened batch, which DataParallel would scatter: several GPUs are for torchrun.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
