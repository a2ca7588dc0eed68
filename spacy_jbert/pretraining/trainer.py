"""The training loop: transformers' Trainer with batches by position, a held-out evaluation, and
checkpoints that count only if whole.
"""

import logging
import math
import os
import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState  # type: ignore[import-untyped]
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ..errors import Errors, Warnings
from . import curve
from .batches import Batches
from .objective import MaskedLM, perplexity
from .once import MANIFEST, read_manifest, write_manifest
from .parallel import cores
from .progress import progress
from .utilisation import Operations, peak_flops

logger = logging.getLogger(__name__)

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
# What stops training after a checkpoint.
_STOP = (signal.SIGTERM, signal.SIGINT)
# What a full disk is to Python, safetensors and torch.save.
CANNOT_WRITE = (OSError, SafetensorError, RuntimeError)

# On a GPU losses are looked at whenever so many batches are done, and before a checkpoint.
_CHECK_EVERY = 64


class PretrainingTrainer(Trainer):
    """Trainer for `Batches`: one of its "examples" is a whole batch, and its one "epoch" the whole
    run.

    model (MaskedLM): What is trained.
    args (TrainingArguments): See `training_arguments`.
    train_dataset, eval_dataset (Batches): The run, and the held-out part with masks that never
        change; None for no evaluation.
    run (str): Stands for all that the run depends on; a checkpoint bears it.
    """

    title = "Pretraining"

    def __init__(
        self,
        model: MaskedLM,
        args: TrainingArguments,
        train_dataset: Batches,
        eval_dataset: Batches | None,
        run: str,
    ) -> None:
        super().__init__(
            model=model, args=args, train_dataset=train_dataset, eval_dataset=eval_dataset
        )
        self.checkpoints = Checkpoints(self, run)
        self.add_callback(self.checkpoints)
        self.add_callback(LearningCurve())
        self.remove_callback(PrinterCallback)
        self.add_callback(Progress(self.title))
        # Steps, losses and batches that have not been looked at. Reading a loss waits for the GPU.
        self.unchecked: list[tuple[int, Tensor, dict[str, Tensor]]] = []
        self.check_every = 1 if args.device.type == "cpu" else _CHECK_EVERY
        # Pieces (padding counted) since the last entry of the log, and its time, put off by what
        # evaluations and checkpoints took since.
        self.pieces, self.clock = 0, 0.0
        self.costs, self.operations = Operations(model.encoder), 0.0
        self.peak = peak_flops(args.device, args.world_size)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As Trainer's; SIGTERM and Ctrl-C are handled meanwhile."""
        with self.checkpoints.listening():
            return super().train(*args, **kwargs)

    def get_train_dataloader(self) -> DataLoader:
        """RETURNS (DataLoader): Batches in order; Trainer skips those that a resumed run has had,
        unbuilt.
        """
        loader = DataLoader(
            self.train_dataset,
            batch_size=1,
            collate_fn=itemgetter(0),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            worker_init_fn=_leave_signals,
        )
        return self.accelerator.prepare(loader)

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """As Trainer's, but stops at a loss that isn't finite.

        On a GPU, which computes while this process runs ahead, many losses are looked at together.
        """
        if len(self.unchecked) >= self.check_every:
            self.check_losses()
        self.clock = self.clock or time.perf_counter()
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.unchecked.append((self.state.global_step + 1, loss, inputs))
        ids = inputs["input_ids"]
        self.pieces += ids.numel()
        self.operations += self.costs.of(ids.numel(), ids.shape[1], len(inputs["labels"]))
        return loss

    def check_losses(self) -> None:
        """Look at the losses since the last look, in a single copy from the device.

        RAISES: FloatingPointError J106; the first bad batch is in a file then.
        """
        if not self.unchecked:
            return
        unchecked, self.unchecked = self.unchecked, []
        losses = torch.stack([loss for _, loss, _ in unchecked]).tolist()
        for loss, (step, _, inputs) in zip(losses, unchecked, strict=True):
            if math.isfinite(loss):
                continue
            path = Path(self.args.output_dir) / f"not-finite-{step}-{self.args.process_index}.pt"
            batch = {name: tensor.cpu() for name, tensor in inputs.items()}
            torch.save({"loss": torch.tensor(loss), **batch}, path)
            raise FloatingPointError(Errors.J106.format(step=step, loss=loss, path=path))

    def check_weights(self) -> None:
        """Look at the weights: a loss can be finite and the step that follows from it not.

        RAISES: FloatingPointError J135.
        """
        for name, weight in self.model.named_parameters():
            if not bool(weight.detach().isfinite().all()):
                raise FloatingPointError(Errors.J135.format(step=self.state.global_step, name=name))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the speed of this run, and on a known GPU its share of what the GPU can do (`mfu`).

        Trainer's own figures count the steps before a resumption, but not their time.
        """
        own = {
            name: value
            for name, value in logs.items()
            if not name.endswith(("_per_second", "_runtime"))
        }
        if "loss" in own:
            now = time.perf_counter()
            # All processes together, of which each does as much.
            seconds = (now - self.clock) / self.args.world_size
            own["pieces_per_second"] = round(self.pieces / seconds, 1)
            if self.peak is not None:
                own["mfu"] = round(self.operations / seconds / self.peak, 6)
            self.pieces, self.operations, self.clock = 0, 0.0, now
        super().log(own, start_time)

    @torch.no_grad()
    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure on the held-out part, shared out among the processes.

        RETURNS (dict[str, float]): eval_loss and eval_perplexity of masked pieces,
            eval_masked_accuracy; eval_pair_accuracy if there are pairs.
        """
        begun = time.perf_counter()
        model = (
            self.model_wrapped
            if self.is_fsdp_enabled
            else self.accelerator.unwrap_model(self.model)
        )
        model.eval()
        sums: Counter[str] = Counter()
        for first in range(0, len(self.eval_dataset), self.args.world_size):
            position = first + self.args.process_index
            # Sharded weights need all processes for every batch; one too many isn't counted.
            inputs = self._prepare_inputs(
                self.eval_dataset[min(position, len(self.eval_dataset) - 1)]
            )
            with self.compute_loss_context_manager():
                output = model(**inputs)
            if position < len(self.eval_dataset):
                sums.update(
                    {name: float(value) for name, value in output.items()}
                    | {"masked": len(inputs["labels"])}
                )
        names = ("masked", "masked_loss", "masked_right", "pairs", "pairs_right")
        # A process without a batch of its own has whole numbers only: all must send the same type.
        own = torch.tensor(
            [sums[name] for name in names], dtype=torch.float32, device=self.args.device
        )
        summed = self.accelerator.reduce(own, reduction="sum")
        masked, masked_loss, masked_right, pairs, pairs_right = summed.tolist()
        loss = masked_loss / max(masked, 1)
        metrics = {
            "eval_loss": loss,
            "eval_perplexity": perplexity(loss),
            "eval_masked_accuracy": masked_right / max(masked, 1),
        }
        if pairs:
            metrics["eval_pair_accuracy"] = pairs_right / pairs
        self.log(metrics)
        self.control: TrainerControl = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        self.clock += time.perf_counter() - begun if self.clock else 0
        return metrics

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Go on training where a checkpoint can't be written, for example on a full disk: the next
        one may be. All checkpoints but one make room for it first.
        """
        self.check_losses()
        self.check_weights()
        begun = time.perf_counter()
        try:
            super()._save_checkpoint(model, trial)
        except CANNOT_WRITE as error:
            if not self.make_room(error):
                self.give_up_checkpoint(error)
            else:
                try:
                    super()._save_checkpoint(model, trial)
                except CANNOT_WRITE as again:
                    self.give_up_checkpoint(again)
        self.clock += time.perf_counter() - begun

    def checkpoint(self) -> Path:
        """RETURNS (Path): The checkpoint of this step."""
        return Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"

    def make_room(self, reason: Exception) -> bool:
        """Remove this step's checkpoint and all others but the last complete one.

        RETURNS (bool): Whether there were others. Several processes would have to agree on trying
            again: they don't try.
        """
        shutil.rmtree(self.checkpoint(), ignore_errors=True)
        last = last_checkpoint(self.checkpoint().parent, None)
        others = [path for path in _checkpoints(self.checkpoint().parent).values() if path != last]
        if last is None or not others or self.args.world_size > 1:
            return False
        logger.warning(
            Warnings.JW137.format(step=self.state.global_step, reason=reason, last=last.name)
        )
        for path in others:
            shutil.rmtree(path, ignore_errors=True)
        return True

    def give_up_checkpoint(self, reason: Exception) -> None:
        """Remove what there is of this step's checkpoint, and say so."""
        shutil.rmtree(self.checkpoint(), ignore_errors=True)
        last = last_checkpoint(self.checkpoint().parent, None)
        logger.warning(
            Warnings.JW131.format(
                step=self.state.global_step, reason=reason, last=last.name if last else "none"
            )
        )


class Checkpoints(TrainerCallback):
    """Marks a checkpoint as complete when all of it is written; on SIGTERM and Ctrl-C has one
    written and training stopped.

    trainer (PretrainingTrainer): What it belongs to.
    run (str): What is written into every checkpoint.
    """

    def __init__(self, trainer: PretrainingTrainer, run: str) -> None:
        self.trainer, self.run = trainer, run
        self.signal: signal.Signals | None = None
        # On CPU, and so without waiting for a GPU.
        self.group = dist.new_group(backend="gloo") if dist.is_initialized() else None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT (Ctrl-C) as an order to save and stop; a second Ctrl-C is as
        always.
        """

        def stop(number: int, frame: FrameType | None) -> None:
            self.signal = signal.Signals(number)
            # torchrun sends it on to its processes, which have had it from the terminal already.
            if number == signal.SIGINT and self.group is None:
                signal.signal(number, previous[signal.SIGINT])

        if (
            threading.current_thread() is not threading.main_thread()
        ):  # where signals can't be taken
            yield
            return
        previous = {number: signal.getsignal(number) for number in _STOP}
        for number in _STOP:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self._anyone_terminated():
            control.should_save = control.should_training_stop = True

    def _anyone_terminated(self) -> bool:
        """Processes get the signal at different steps, and have to stop at the same."""
        if self.group is None:
            return self.signal is not None
        told = torch.tensor(int(self.signal is not None))
        dist.all_reduce(told, dist.ReduceOp.MAX, group=self.group)
        return bool(told)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.trainer.check_losses()
        self.trainer.check_weights()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        # Each process writes the state of its own random numbers.
        PartialState().wait_for_everyone()
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if (
            state.is_world_process_zero
            and len(list(checkpoint.glob("rng_state*"))) == args.world_size
        ):
            try:
                write_manifest(checkpoint, self.run, threads=torch.get_num_threads())
            except OSError as error:
                self.trainer.give_up_checkpoint(error)


class LearningCurve(TrainerCallback):
    """Draws the learning curve beside the checkpoints whenever there is more to draw."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero and not curve.can_draw():
            logger.warning(Warnings.JW132)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero and curve.can_draw():
            curve.draw(state.log_history, Path(args.output_dir) / "learning_curve.svg")

    on_train_end = on_save


class Progress(TrainerCallback):
    """Shows how far training is, with the latest losses. Trainer's own bar would fill log files.

    title (str): What stands before it.
    """

    def __init__(self, title: str) -> None:
        self.title = title

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        disable = not state.is_world_process_zero
        self.bar = progress(
            self.title,
            total=state.max_steps,
            initial=state.global_step,
            unit=" steps",
            disable=disable,
        )
        self.losses: dict[str, float] = {}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.bar.update()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        names = {"loss": "loss", "eval_loss": "held out"}
        names |= {"pieces_per_second": "pieces/s", "mfu": "MFU"}
        self.losses |= {names[name]: value for name, value in (logs or {}).items() if name in names}
        self.bar.set_postfix(self.losses, refresh=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.bar.close()


def last_checkpoint(folder: Path, run: str | None) -> Path | None:
    """Find the latest checkpoint that is complete; later ones that aren't, or are another run's,
    are warned of.

    run (str | None): What its manifest has to say; None: anything.
    """
    for _, checkpoint in sorted(_checkpoints(folder).items(), reverse=True):
        manifest = read_manifest(checkpoint)
        if manifest is None:
            warning = Warnings.JW134 if (checkpoint / MANIFEST).exists() else Warnings.JW101
            logger.warning(warning.format(path=checkpoint))
        elif run is not None and manifest["run"] != run:
            logger.warning(Warnings.JW130.format(path=checkpoint))
        else:
            return checkpoint
    return None


@contextmanager
def threads_of(checkpoint: Path | None, device: str) -> Iterator[None]:
    """Go on with as many threads as the checkpoint was trained with: on a CPU their number decides
    in which order sums are taken, and so the last bits. Where there are fewer cores than that,
    the number stays, with a warning (JW138).

    checkpoint (Path | None): None: training begins, and the number stays.
    device (str): The setting.
    """
    manifest = (read_manifest(checkpoint) if checkpoint else None) or {}
    own = torch.get_num_threads()
    trained = manifest.get("threads", own)
    if trained == own or not runs_on_cpu(device):
        yield
        return
    if trained > max(cores(), own):
        logger.warning(Warnings.JW138.format(path=checkpoint, trained=trained, own=own))
        yield
        return
    logger.info("%d torch threads, as the checkpoint was trained with", trained)
    torch.set_num_threads(trained)
    try:
        yield
    finally:
        torch.set_num_threads(own)


def _checkpoints(folder: Path) -> dict[int, Path]:
    """RETURNS (dict[int, Path]): Those in a folder, whole or not, by their steps."""
    return {
        int(number[1]): path
        for path in folder.glob("checkpoint-*")
        if (number := _CHECKPOINT.fullmatch(path.name))
    }


def _leave_signals(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal, and those that build batches are still needed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def runs_on_cpu(device: str) -> bool:
    """Whether training runs on the CPU, given the setting."""
    return device == "cpu" or not torch.cuda.is_available()


def training_arguments(
    folder: Path,
    *,
    max_steps: int,
    gradient_accumulation_steps: int,
    learn_rate: float,
    warmup_ratio: float,
    decay_ratio: float,
    weight_decay: float,
    max_grad_norm: float,
    precision: str,
    torch_compile: bool,
    device: str,
    seed: int,
    eval_steps: int | None,
    save_steps: int,
    logging_steps: int,
    save_total_limit: int,
    report_to: list[str],
    num_workers: int,
    fsdp: list[str],
    resumed: bool,
) -> TrainingArguments:
    """What transformers' Trainer is told; the settings are those of `pretrain_mlm`.

    fsdp (list[str]): The classes of layers whose weights are shared out among the GPUs; none: each
        has a copy of all.
    """
    # Arguments that ask for bf16 leave this to those that come after them in the same process.
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16" if precision == "bf16" else "no"
    arguments = TrainingArguments(
        output_dir=str(folder),
        logging_dir=str(folder / "logs"),
        run_name=folder.name,
        disable_tqdm=True,  # see Progress
        max_steps=max_steps,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=gradient_accumulation_steps,
        optim="adamw_torch_fused",  # decays neither biases nor LayerNorm
        adam_beta2=0.98,  # RoBERTa
        adam_epsilon=1e-6,
        learning_rate=learn_rate,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        lr_scheduler_type="warmup_stable_decay",
        warmup_steps=round(warmup_ratio * max_steps),
        lr_scheduler_kwargs={"num_decay_steps": round(decay_ratio * max_steps)},
        bf16=precision == "bf16",
        torch_compile=torch_compile,
        use_cpu=runs_on_cpu(device),
        dataloader_pin_memory=not runs_on_cpu(device),
        # From pinned memory: the process doesn't wait for a batch to arrive on the GPU.
        accelerator_config={"non_blocking": not runs_on_cpu(device)},
        eval_strategy="steps" if eval_steps else "no",
        eval_steps=eval_steps,
        eval_on_start=bool(eval_steps) and not resumed,
        save_strategy="steps",
        save_steps=save_steps,
        # One is deleted before its successor's manifest is written.
        save_total_limit=max(save_total_limit, 2),
        logging_steps=logging_steps,
        logging_nan_inf_filter=False,
        report_to=report_to,
        dataloader_num_workers=num_workers,
        fsdp="full_shard auto_wrap" if fsdp else "",
        fsdp_config={"transformer_layer_cls_to_wrap": fsdp} if fsdp else None,
        remove_unused_columns=False,
        average_tokens_across_devices=int(os.environ.get("WORLD_SIZE", "1")) > 1,
        seed=seed,
    )
    # Batches hold positions in the flattened batch, which DataParallel would scatter: several GPUs
    # are for torchrun.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
