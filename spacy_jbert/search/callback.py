"""`spacy-jbert.tune_pairs.v1`: tunes the pipeline's encoder on pairs of texts, in place, when `nlp`
is initialised."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from spacy.language import Language

from ..encoder.checkpoint import Encoder
from ..errors import Errors
from ..packaging import portable as make_portable
from ..pipeline.transformer import JBertTransformer
from ..pipeline.vectors import DocVectors
from ..pretraining.callback import alone_in, finished, origin, writable
from ..pretraining.once import fingerprint, hashes, tokenizer_identity
from ..pretraining.reporting import reporting
from ..pretraining.run import figures_of, step_of, telling_full_disk
from ..storage import replacing
from .contrastive import Objective, PairBatches, PairEncoder, make_batches
from .pairs import Fields, Pair, read_pairs

logger = logging.getLogger(__name__)

# Settings that change nothing about what comes out; of the pairs, their content counts.
_INDIFFERENT = {"path", "dev", "output", "component", "enabled", "device", "report_to", "portable"}
_INDIFFERENT |= {"max_steps", "max_epochs", "eval_steps", "save_steps", "logging_steps", "encoding"}
_INDIFFERENT |= {"first_field", "second_field", "score_field", "resume"}

_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (1e-3, 10.0),
    "max_length": (8, 1e9),
    "batch_size": (2, 1e9),
    "learn_rate": (0, 1.0),
    "warmup_ratio": (0, 1.0),
    "weight_decay": (0, 1e9),
    "max_grad_norm": (0, 1e9),
    "max_epochs": (1e-3, 1e9),
    "validation_fraction": (0, 0.9),
    "seed": (0, 2**32 - 1),
    **dict.fromkeys(("max_steps", "eval_steps", "save_steps", "logging_steps"), (1, 1e9)),
}


def tune_pairs(
    path: str | None,
    output: str,
    dev: str | None = None,
    component: str = "transformer",
    enabled: bool = True,
    first_field: str = "first",
    second_field: str = "second",
    score_field: str = "score",
    encoding: str | None = None,
    objective: Literal["auto", "negatives", "cosent"] = "auto",
    temperature: float = 0.05,
    max_length: int = 128,
    batch_size: int = 64,
    max_epochs: float = 1.0,
    max_steps: int | None = None,
    learn_rate: float = 5e-5,
    warmup_ratio: float = 0.1,
    weight_decay: float = 0.01,
    max_grad_norm: float = 1.0,
    precision: Literal["fp32", "bf16"] = "fp32",
    device: Literal["auto", "cpu"] = "auto",
    validation_fraction: float = 0.05,
    seed: int = 0,
    eval_steps: int | None = None,
    save_steps: int = 100,
    logging_steps: int = 10,
    resume: Literal["auto", "never"] = "auto",
    report_to: str | list[str] = "none",
    portable: bool = False,
) -> Callable[[Language], Language]:
    """Tune an encoder so that texts that belong together have vectors close to each other: for
    `[initialize.after_init]`.

    The transformer's `spacy-jbert.doc_vectors.v1` says what a text's vector is. Where the output
    folder holds a finished run with the same settings and pairs, its result is loaded; where it
    holds an unfinished one, that run goes on.

    path (str | None): Pairs: JSONL, CSV, TSV or Parquet; with a score for how alike the two are, or
        without: then the second is what was wanted for the first, such as a click or an answer.
        May be null where `enabled` is false.
    output (str): A folder for `encoder/` (a plain Hugging Face folder), `metrics.json` and `runs/`
        (checkpoints).
    dev (str | None): Pairs that are measured on. None: a share of the others,
        `validation_fraction`, is kept for that.
    component (str): The transformer component whose encoder is trained.
    enabled (bool): False: do nothing.
    first_field (str), second_field (str), score_field (str): Where records have them.
    encoding (str | None): Of text that isn't UTF-8, such as cp932.
    objective (str): "negatives": the wanted text against those of the other pairs in a batch.
        "cosent": pairs with higher scores have higher cosines. "auto": the latter where there are
        scores. For "negatives" second texts are read with `index_prefix`.
    temperature (float): Cosines are divided by it.
    max_length (int): The longest text, in wordpieces, in training; the rest is cut off.
    batch_size (int): Pairs in a batch; with "negatives" more are harder.
    max_epochs (float): Passes over the pairs; `max_steps`, where given, counts instead.
    max_steps (int | None): Updates in all.
    learn_rate (float): Its highest value, after the share `warmup_ratio` of all steps; then it
        falls.
    weight_decay (float): Of AdamW; not on biases and LayerNorm.
    max_grad_norm (float): The largest norm of a gradient.
    precision (str): bf16 computes in bfloat16 where that is safe; weights stay fp32.
    device (str): auto takes a CUDA GPU if there is one.
    validation_fraction (float): See `dev`; 0 for no evaluation.
    seed (int): For everything random.
    eval_steps (int | None): Evaluate whenever so many steps are done; None: only before the first
        and after the last.
    save_steps, logging_steps (int): The same for checkpoints and the log.
    resume (str): never: train anew whatever there is.
    report_to (str | list[str]): none, tensorboard, wandb or mlflow.
    portable (bool): Afterwards, leave no path and no name of a checkpoint in the pipeline's config,
        as `spacy-jbert.portable.v1` does.
    RETURNS (Callable[[Language], Language]): The callback.
    RAISES: ValueError J505.
    """
    settings = dict(locals())
    _check(settings)

    def tune(nlp: Language) -> Language:
        if not enabled:
            logger.info("Tuning is not enabled: the encoder of '%s' stays as it is", component)
            return make_portable()(nlp) if portable else nlp
        try:
            import accelerate  # type: ignore[import-untyped]  # noqa: F401
        except ImportError as error:
            raise ImportError(Errors.J109.format(package=error.name)) from error
        pipe, vectors = _component(nlp, component)
        fields = Fields(first_field, second_field, score_field)
        train = read_pairs(Path(path or ""), fields, encoding=encoding)
        held_out = read_pairs(Path(dev), fields, encoding=encoding) if dev else []
        if not dev:
            train, held_out = _held_out(train, validation_fraction)
        folder = writable(Path(output))
        with alone_in(folder):
            _tune(nlp, pipe, vectors, train, held_out, folder, settings)
        return make_portable()(nlp) if portable else nlp

    return tune


def _check(settings: dict[str, Any]) -> None:
    """RAISES: ValueError J505."""
    for name, (low, high) in _RANGES.items():
        value = settings[name]
        if value is not None and not low <= value <= high:
            raise ValueError(
                Errors.J505.format(name=name, value=value, wanted=f"from {low} to {high}")
            )
    for name in ("path", "output", "first_field", "second_field", "score_field"):
        if not str(settings[name] or "").strip() and settings["enabled"]:
            value = settings[name]
            raise ValueError(Errors.J505.format(name=name, value=value, wanted="a name"))


def _component(nlp: Language, name: str) -> tuple[JBertTransformer, DocVectors]:
    """RAISES: ValueError J506 if it is no transformer of torch with vectors of documents."""
    pipe = nlp.get_pipe(name) if name in nlp.component_names else None
    if not isinstance(pipe, JBertTransformer) or pipe.vectors is None:
        raise ValueError(Errors.J506.format(name=name))
    if not isinstance(pipe.encoder, Encoder):
        raise ValueError(Errors.J425)
    return pipe, pipe.vectors


def _held_out(pairs: list[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """Keep a share of the pairs, spread evenly over them. Pairs that are there several times, as
    clicks are, all stand on one side, and of those that are held out there is one each.

    RETURNS (tuple): What is trained on; what is held out: two at least, or none where fewer than
        two would be left.
    """
    different = list(dict.fromkeys((pair.first, pair.second) for pair in pairs))
    n = max(2, round(share * len(different))) if share else 0
    if not n or len(different) < n + 2:
        return pairs, []
    kept = {different[i * len(different) // n] for i in range(n)}
    train = [pair for pair in pairs if (pair.first, pair.second) not in kept]
    held_out = {(pair.first, pair.second): pair for pair in pairs}
    return train, [held_out[both] for both in different if both in kept]


def _tune(
    nlp: Language,
    pipe: JBertTransformer,
    vectors: DocVectors,
    train: list[Pair],
    held_out: list[Pair],
    folder: Path,
    settings: dict[str, Any],
) -> None:
    """Train, or load what an earlier run has trained."""
    objective = _objective(settings["objective"], train, held_out)
    encoder = pipe.encoder
    before, behind = encoder.special_ids
    prefixes = vectors.prefix, vectors.prefix if objective == "cosent" else vectors.index_prefix
    frames = [([*before, *pipe.prefix_ids(prefix)], behind) for prefix in prefixes]

    def batches(pairs: list[Pair], *, shuffled: bool) -> PairBatches:
        texts = [pair.first for pair in pairs] + [pair.second for pair in pairs]
        return make_batches(
            pairs,
            segmenter=pipe.segmenter,
            docs=[nlp.make_doc(text) for text in texts],
            frames=(frames[0], frames[1]),
            pad_id=encoder.pad_id,
            max_length=min(settings["max_length"], encoder.max_pieces),
            size=settings["batch_size"],
            seed=settings["seed"],
            shuffled=shuffled,
        )

    training = batches(train, shuffled=True)
    steps = settings["max_steps"] or max(1, round(settings["max_epochs"] * training.per_pass))
    training.n_batches = steps
    key = fingerprint(
        {name: value for name, value in settings.items() if name not in _INDIFFERENT},
        [objective, vectors.pooling, *prefixes, steps],
        [train, held_out],
        tokenizer_identity(nlp),
        origin(nlp, settings["component"]),
    )
    if settings["resume"] == "auto" and finished(folder, key):
        logger.info("Tuning is done already: loading %s", folder / "encoder")
        encoder.model.load_state_dict(Encoder.load(folder / "encoder").model.state_dict())
        return
    model = PairEncoder(
        encoder,
        objective=objective,
        pooling=vectors.pooling,
        temperature=settings["temperature"],
    )
    evaluation = batches(held_out, shuffled=False) if held_out else None
    run = folder / "runs" / key
    with reporting(settings["report_to"], run / "logs") as reporters:
        figures = _train(model, encoder, training, evaluation, run, settings, reporters)
    with telling_full_disk(folder, run, steps):
        encoder.save(folder / "encoder")
        metrics = {
            "run": key,
            "encoder": hashes(folder / "encoder"),
            "objective": objective,
            "steps": steps,
            "pairs": {"trained on": len(train), "held out": len(held_out)},
            **figures,
            "settings": settings,
        }
        with replacing(folder / "metrics.json") as (new,):
            new.write_text(json.dumps(metrics, indent=2, ensure_ascii=False), encoding="utf-8")


def _objective(setting: Objective, *parts: Sequence[Pair]) -> Objective:
    """RAISES: ValueError J507 where scores are missing that it needs."""
    scored = [pair.score is not None for pairs in parts for pair in pairs]
    if setting == "negatives" or (setting == "auto" and not any(scored)):
        return "negatives"
    if not all(scored):
        raise ValueError(Errors.J507)
    return "cosent"


def _train(
    model: PairEncoder,
    encoder: Encoder,
    training: PairBatches,
    evaluation: PairBatches | None,
    run: Path,
    settings: dict[str, Any],
    reporters: list[str],
) -> dict[str, Any]:
    """Train, or go on training.

    run (Path): The folder of the run's checkpoints; its name is the run's key.
    reporters (list[str]): Where transformers reports to.
    RETURNS (dict[str, Any]): The figures before and after.
    RAISES: SystemExit J110 where it was told to stop.
    """
    from ..pretraining.trainer import last_checkpoint, threads_of, training_arguments
    from .trainer import PairTrainer

    steps = len(training)
    checkpoint = last_checkpoint(run, run.name) if settings["resume"] == "auto" else None
    names = {"learn_rate", "warmup_ratio", "weight_decay", "max_grad_norm", "precision"}
    names |= {"device", "seed", "save_steps", "logging_steps"}
    arguments = training_arguments(
        run,
        max_steps=steps,
        gradient_accumulation_steps=1,
        decay_ratio=1.0 - settings["warmup_ratio"],
        torch_compile=False,
        eval_steps=(settings["eval_steps"] or steps) if evaluation else None,
        save_total_limit=2,
        report_to=reporters,
        num_workers=0,
        fsdp=[],
        resumed=checkpoint is not None,
        **{name: settings[name] for name in names},
    )
    home = encoder.model.device
    trainer = PairTrainer(model, arguments, training, evaluation, run.name)
    begin = f"Going on from {checkpoint.name}" if checkpoint else "Tuning"
    logger.info("%s: %d steps, %d in a pass, in %s", begin, steps, training.per_pass, run)
    try:
        with threads_of(checkpoint, settings["device"]):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        encoder.model.to(home).eval()
    if trainer.state.global_step < steps:
        step = step_of(last_checkpoint(run, run.name))
        name = getattr(trainer.checkpoints.signal, "name", "a signal")
        raise SystemExit(Errors.J110.format(signal=name, steps=steps, step=step))
    evaluations = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    figures = {
        "before": figures_of(evaluations[0]) if evaluations else None,
        "after": figures_of(evaluations[-1]) if evaluations else None,
        "training_loss": [{"step": entry["step"], "loss": entry["loss"]} for entry in log],
    }
    logger.info("Held out, before: %s; after: %s", figures["before"], figures["after"])
    return figures
