"""`spacy-jbert.pretrain_mlm.v2`: pretrains the pipeline's encoder in place when `nlp` is
initialised.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import torch
from spacy.language import Language

from ..encoder.checkpoint import Encoder
from ..errors import Errors, Warnings
from ..packaging import portable as make_portable
from ..storage import alone
from ..wordpieces.segmentation import DocPieces
from .once import contents, fingerprint, intact
from .parallel import refuse_helpers
from .reporting import reporting
from .run import forget, processes, run_pretraining
from .settings import INDIFFERENT, OLD_NAMES, check
from .text import Cleaning

logger = logging.getLogger(__name__)

# Processes that built a killed run's batches hold its lock until they notice, after 5 seconds.
_PATIENCE = 10.0  # seconds


def pretrain_mlm(
    path: str | list[str],
    output: str,
    component: str = "transformer",
    enabled: bool = True,
    corpus: str | None = None,
    normalization: Literal["NFC", "NFKC"] | None = None,
    min_characters: int = 10,
    text_field: str = "text",
    preprocessing_workers: int | None = None,
    max_length: int | None = None,
    validation_fraction: float = 0.02,
    mlm_probability: float = 0.30,
    final_mlm_probability: float = 0.15,
    sentence_objective: Literal["none", "nsp", "sop"] = "none",
    max_steps: int | None = None,
    max_epochs: float = 1.0,
    batch_size: int | Literal["auto"] = "auto",
    batch_by: Literal["pieces", "samples"] = "pieces",
    gradient_accumulation_steps: int = 1,
    learn_rate: float = 5e-4,
    warmup_ratio: float = 0.05,
    decay_ratio: float = 0.2,
    weight_decay: float = 0.01,
    max_grad_norm: float = 1.0,
    precision: Literal["fp32", "bf16"] = "fp32",
    torch_compile: bool = False,
    device: Literal["auto", "cpu"] = "auto",
    fsdp: bool = False,
    num_workers: int | Literal["auto"] = "auto",
    seed: int = 0,
    eval_steps: int | None = None,
    eval_samples: int = 500,
    save_steps: int = 500,
    logging_steps: int = 50,
    save_total_limit: int = 2,
    resume: Literal["auto", "never"] = "auto",
    report_to: str | list[str] = "none",
    portable: bool = False,
) -> Callable[[Language], Language]:
    """Pretrain an encoder as a masked language model, with whole words masked: for
    `[initialize.after_init]`.

    The encoder goes on from the weights it has: new ones, or a checkpoint's (domain adaptation).
    Where the output folder holds a finished run with the same settings and text, its result is
    loaded; where it holds an unfinished one, that run goes on. Where `max_steps` or `max_epochs`
    are more than those of an earlier run that is the same in all else, it is prolonged: training
    goes on from its last checkpoint, with the learning rate and the masking of the longer run.

    path (str | list[str]): Text, JSONL, CSV, Parquet and wikiextractor's files, or folders of them;
        packed (.gz, .xz) or not. In plain text a line is a sentence or a paragraph, a blank line
        ends a document; a record is a document.
    output (str): A folder for `encoder/` (a plain Hugging Face folder), `metrics.json`, `runs/`
        (checkpoints) and the corpus.
    component (str): The transformer component whose encoder is trained.
    enabled (bool): False: do nothing.
    corpus (str | None): A folder for prepared corpora, by default `corpus/` in the output folder.
        Runs can share it.
    normalization (str | None): The Unicode form to bring the text into; None leaves it, as the
        pipeline will see it.
    min_characters (int): Shorter lines are dropped.
    text_field (str): The field of a record that holds its text.
    preprocessing_workers (int | None): Processes that cut the text into words and pieces; None: one
        for each core.
    max_length (int | None): The length of a sample, special pieces included; None: as much as the
        encoder takes.
    validation_fraction (float): The share of the text, in whole documents, that is evaluated on.
    mlm_probability, final_mlm_probability (float): The share of pieces that is masked at the
        beginning and, changing linearly, at the end.
    sentence_objective (str): nsp: next sentence prediction, sop: sentence order prediction, beside
        the masked pieces.
    max_steps (int | None): Updates in all; None: as many as `max_epochs` passes over the text take.
    max_epochs (float): See `max_steps`.
    batch_size (int | str): The pieces (padding counted) or samples of a batch, as `batch_by` says,
        on each device. "auto": 4,096 pieces on a CPU, up to 32,768 on a GPU, as its memory allows.
    gradient_accumulation_steps (int): Batches for one update.
    learn_rate (float): Its highest value, after the share `warmup_ratio` of all steps; it falls in
        the last share, `decay_ratio` (Hu et al. 2024, arXiv:2404.06395).
    weight_decay (float): Of AdamW; not on biases and LayerNorm.
    max_grad_norm (float): The largest norm of a gradient.
    precision (str): bf16 computes in bfloat16 where that is safe; weights stay fp32.
    torch_compile (bool): Compile the model first: minutes at the beginning, faster afterwards.
    device (str): auto takes a CUDA GPU if there is one; several by torchrun.
    fsdp (bool): Share the weights out among the GPUs (FSDP), for models that one can't hold. False:
        a copy on each (DDP).
    num_workers (int | str): Processes that build batches; 0: the training process itself. The
        batches are the same. "auto": 0 on a CPU, up to 8 on a GPU, one core left over.
    seed (int): For everything random.
    eval_steps (int | None): Evaluate whenever so many steps are done; None: ten times in all, but
        at most every 100 steps. There is one evaluation before the first step and one after the
        last anyway.
    save_steps, logging_steps (int): The same for checkpoints and the log.
    eval_samples (int): The most samples of the held-out part that are evaluated on, spread evenly
        over it.
    save_total_limit (int): The latest checkpoints that are kept, two at least.
    resume (str): never: train anew whatever there is.
    report_to (str | list[str]): none, tensorboard, wandb or mlflow. Nothing leaves the machine
        unless WANDB_MODE or MLFLOW_TRACKING_URI says so.
    portable (bool): Afterwards, leave no path and no name of a checkpoint in the pipeline's config,
        as `spacy-jbert.portable.v1` does: for `spacy assemble`, where nothing comes after
        pretraining.
    RETURNS (Callable[[Language], Language]): The callback.
    """
    settings = dict(locals())
    check({name: None if value == "auto" else value for name, value in settings.items()})

    def pretrain(nlp: Language) -> Language:
        if not enabled:
            logger.info("Pretraining is not enabled: the encoder of '%s' stays as it is", component)
            return nlp
        try:
            from accelerate import PartialState  # type: ignore[import-untyped]

            from . import corpus, trainer  # noqa: F401
        except ImportError as error:
            raise ImportError(Errors.J109.format(package=error.name)) from error
        pipe = _component(nlp, component)
        folder = writable(Path(output))
        with alone_in(folder):
            _pretrain(nlp, pipe, folder, settings)
        if not PartialState().is_main_process:
            raise SystemExit(0)  # one process is enough for the rest of the command
        return make_portable()(nlp) if portable else nlp

    return pretrain


def _pretrain(nlp: Language, pipe: Any, folder: Path, settings: dict[str, Any]) -> None:
    """Prepare the corpus, then train, or load what an earlier run has trained."""
    from accelerate import PartialState

    from . import corpus as corpora
    from .batches import Batches
    from .parallel import cores
    from .trainer import runs_on_cpu

    encoder: Encoder = pipe.encoder
    settings = settings | _sizes(encoder, settings)
    sentences = settings["sentence_objective"]
    n_special = sum(map(len, encoder.special_ids)) + (
        len(encoder.between_ids) if sentences != "none" else 0
    )
    longest = min(settings["max_length"] or encoder.max_pieces, encoder.max_pieces)
    prepared = corpora.prepare(
        nlp,
        encoder.tokenizer,
        words="doc" if isinstance(pipe.segmenter, DocPieces) else "native",
        path=settings["path"],
        folder=Path(settings["corpus"]) if settings["corpus"] else folder / "corpus",
        cleaning=Cleaning(
            normalization=settings["normalization"], min_characters=settings["min_characters"]
        ),
        length=longest - n_special,
        held_out=settings["validation_fraction"],
        text_field=settings["text_field"],
        workers=settings["preprocessing_workers"] or cores(),
    )
    PartialState(cpu=runs_on_cpu(settings["device"]))
    together = settings["gradient_accumulation_steps"] * processes()  # batches of an update
    train = Batches(
        prepared.train,
        encoder,
        rate=settings["mlm_probability"],
        final_rate=settings["final_mlm_probability"],
        size=settings["batch_size"],
        size_by=settings["batch_by"],
        sentence_objective=sentences,
        seed=settings["seed"],
    )
    steps = settings["max_steps"] or max(
        1, -(-int(settings["max_epochs"] * train.per_pass) // together)
    )
    train.n_batches = steps * together
    kind = fingerprint(
        {OLD_NAMES.get(n, n): value for n, value in settings.items() if n not in INDIFFERENT},
        prepared.key,
        together,
        origin(nlp, settings["component"]),
        {name: list(tensor.shape) for name, tensor in encoder.model.state_dict().items()},
    )
    run = folder / "runs" / f"{kind}-{steps}"
    if settings["resume"] == "auto" and finished(folder, run.name):
        logger.info("Pretraining is done already: loading %s", folder / "encoder")
        encoder.model.load_state_dict(Encoder.load(folder / "encoder").model.state_dict())
    else:
        if settings["resume"] == "never":
            forget(run)
        with reporting(settings["report_to"], run / "logs") as reporters:
            run_pretraining(encoder, prepared, train, steps, run, settings, reporters)
    PartialState().wait_for_everyone()


def _sizes(encoder: Encoder, settings: dict[str, Any]) -> dict[str, int]:
    """What "auto" is here: of settings that have other values, nothing."""
    from . import sizes
    from .trainer import runs_on_cpu

    memory = sizes.gpu_memory(runs_on_cpu(settings["device"]))
    config = encoder.model.config
    found = {
        "batch_size": sizes.batch_size(
            config.num_hidden_layers, config.hidden_size, settings["precision"], memory
        ),
        "num_workers": sizes.num_workers(memory),
    }
    return {name: value for name, value in found.items() if settings[name] == "auto"}


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of an output folder, and say what is left where one is interrupted. The
    lock is the operating system's, and so ends with
    the process, however that ends; under torchrun it is the first process's.

    RAISES: RuntimeError J133 where another run is at work; J137 in a process that was started to
        cut text, where a script does its work without a guard; SystemExit J097.
    """
    refuse_helpers()
    try:
        if int(os.environ.get("RANK", "0")):
            yield
            return
        refusal = RuntimeError(Errors.J133.format(path=folder))
        with alone(folder / "lock", refusal, patience=_PATIENCE):
            yield
    except KeyboardInterrupt:  # in training, only the second one gets here
        raise SystemExit(Errors.J097.format(path=folder)) from None


def finished(folder: Path, key: str) -> bool:
    """RETURNS (bool): Whether the folder holds this run's result; JW135 where its figures are there
    but the encoder beside them is damaged, or another run's.
    """
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(metrics, dict) or metrics.get("run") != key:
        return False
    whole = intact(folder / "encoder", metrics.get("encoder"))
    if not whole:
        logger.warning(Warnings.JW135.format(path=folder / "encoder"))
    return whole


def origin(nlp: Language, component: str) -> Any:
    """Where the encoder's first weights come from, as the config has it, with the content of
    checkpoints that are folders here; of a component that comes from another pipeline, the weights
    themselves."""
    components = nlp.config.interpolate()["initialize"].get("components", {})
    if block := components.get(component, {}).get("encoder", {}):
        # Of a vocabulary's text the content counts, and the vocabulary is in the corpus's key.
        return contents({name: value for name, value in block.items() if name != "vocabulary"})
    digest = blake2b(digest_size=20)
    for tensor in nlp.get_pipe(component).encoder.model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def _component(nlp: Language, name: str) -> Any:
    if name not in nlp.component_names:
        raise ValueError(
            Errors.J103.format(name=name, names=", ".join(nlp.component_names) or "none")
        )
    pipe = nlp.get_pipe(name)
    try:
        encoder = getattr(pipe, "encoder", None)
    except ValueError as error:
        raise ValueError(Errors.J104.format(name=name)) from error
    if not isinstance(encoder, Encoder):
        raise ValueError(Errors.J104.format(name=name))
    if encoder.tokenizer.mask_token_id is None:
        raise ValueError(Errors.J105.format(tokenizer=type(encoder.tokenizer).__name__))
    return pipe


def writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(Errors.J107.format(path=folder, reason=error.strerror)) from error
    return folder
