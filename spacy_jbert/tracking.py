"""Loggers for [training.logger] that spaCy and spacy-loggers don't have: TensorBoard, MLflow with
steps, and a record of what a training was made from.

W&B (`spacy.WandbLogger.v5`), JSON lines (`spacy.ConsoleLogger.v3`) and the chain
(`spacy.ChainLogger.v1`) are theirs. Their MLflow logger counts no steps, loads the pipeline again
at each best score, and refuses the `*` that spaCy's configs name positional arguments by."""

import hashlib
import json
import logging
import platform
import posixpath
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from spacy.language import Language
from spacy.training.loggers import console_logger

from .errors import Errors, Warnings
from .evaluation.facts import RECORD
from .storage import replacing
from .versions import versions

logger = logging.getLogger(__name__)

Log = Callable[[dict[str, Any] | None], None]
Logger = Callable[[Language, IO, IO], tuple[Log, Callable[[], None]]]

_PACKAGES = [
    *("spacy-jbert", "spacy", "spacy-transformers", "thinc", "torch", "transformers"),
    *("tokenizers", "numpy", "SudachiPy", "sudachidict-core"),
]
# MLflow takes no longer value or name, and these characters in no name: on Windows no colon either.
_LONGEST_VALUE = 500
_LONGEST_NAME = 250
_MODELS = ("model-best", "model-last")
_NO_NAME = re.compile(r"[^\w\-. /]")


def tensorboard_logger(path: str, per_label: bool = False) -> Logger:
    """`spacy-jbert.TensorBoardLogger.v1`: losses and scores by step, and the config, for
    `tensorboard --logdir`.

    path (str): A folder; each training becomes one in it, named by when it began.
    per_label (bool): Scores of each label too.
    RETURNS (Callable): The logger.
    RAISES: ImportError J469 without TensorBoard.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        message = Errors.J469.format(package="TensorBoard", extra="pretrain")
        raise ImportError(message) from None

    def begin(nlp: Language, stdout: IO = sys.stdout, stderr: IO = sys.stderr) -> Any:
        began = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
        writer = SummaryWriter(str(Path(path) / began))
        writer.add_text("config", f"```ini\n{nlp.config.interpolate().to_str()}\n```")

        def log(info: dict[str, Any] | None) -> None:
            if info is None:
                return
            for name, value in metrics(info, per_label).items():
                writer.add_scalar(name, value, info["step"])
            # What was logged is there though the training is killed.
            writer.flush()

        return log, writer.close

    return begin


def mlflow_logger(
    uri: str = "sqlite:///mlflow.db",
    experiment: str = "spacy-jbert",
    run_name: str | None = None,
    model: bool = False,
    artefacts: list[str] | None = None,
    per_label: bool = False,
) -> Logger:
    """`spacy-jbert.MLflowLogger.v1`: a run of MLflow: the config, losses and scores by step, and
    files.

    uri (str): Where MLflow keeps it: an SQLite file, a folder, a server.
    experiment (str): Under which name.
    run_name (str | None): MLflow's choice if null.
    model (bool): Keep model-best, or model-last, when training ends.
    artefacts (list[str] | None): Files to keep when training ends, such as a report.
    per_label (bool): Scores of each label too.
    RETURNS (Callable): The logger.
    RAISES: ImportError J469 without MLflow.
    """
    try:
        import mlflow
    except ImportError:
        raise ImportError(Errors.J469.format(package="MLflow", extra="track")) from None

    def begin(nlp: Language, stdout: IO = sys.stdout, stderr: IO = sys.stderr) -> Any:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(experiment)
        mlflow.start_run(run_name=run_name)
        config = nlp.config.interpolate()
        mlflow.log_params(dict(_parameters(config)))
        mlflow.log_text(config.to_str(), "config.cfg")
        output: Path | None = None

        def log(info: dict[str, Any] | None) -> None:
            nonlocal output
            if info is None:
                return
            found = metrics(info, per_label)
            named = {mlflow_name(name): value for name, value in found.items()}
            mlflow.log_metrics(named, step=info["step"])
            output = Path(info["output_path"]).parent if "output_path" in info else None

        def end() -> None:
            for file in artefacts or ():
                if Path(file).exists():
                    mlflow.log_artifact(file)
            if model and output is not None:
                kept = [output / name for name in _MODELS if (output / name).is_dir()]
                if kept:
                    mlflow.log_artifacts(str(kept[0]), "model")
                else:
                    logger.warning(Warnings.JW469.format(path=output))
            mlflow.end_run()

        return log, end

    return begin


def record_logger(
    path: str | None = None, console: bool = False, progress_bar: bool = False
) -> Logger:
    """`spacy-jbert.RecordLogger.v1`: writes what a training was made from, and what came of it, as
    JSON: the command, the state of git, versions, machine, config, and the score of each
    evaluation, the learning curve that `jbert report` shows. Behind the loggers of W&B or MLflow in
    a chain it gives them the file too.

    path (str | None): The file; it is written anew at each evaluation. None: run.json beside
        model-best, from the first evaluation on; nothing where no model is saved.
    console (bool): Print the table of spaCy's ConsoleLogger too.
    progress_bar (bool): With it, a bar of the steps to the next evaluation.
    RETURNS (Callable): The logger.
    """

    def begin(nlp: Language, stdout: IO = sys.stdout, stderr: IO = sys.stderr) -> Any:
        file = Path(path) if path else None
        tell, end = _silent()
        if console:
            tell, end = console_logger(progress_bar)(nlp, stdout, stderr)
        record: dict[str, Any] = {
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": sys.argv,
            "git": git_state(Path.cwd()),
            "machine": f"{platform.system()} {platform.machine()}",
            "packages": versions(_PACKAGES),
            "config": nlp.config.interpolate().to_str(),
            "evaluations": [],
        }

        def write(file: Path) -> None:
            text = json.dumps(record, ensure_ascii=False, indent=2)
            # An argument of the command may be a file name that isn't UTF-8.
            with replacing(file) as (part,):
                part.write_text(text, encoding="utf-8", errors="replace")

        def log(info: dict[str, Any] | None) -> None:
            nonlocal file
            tell(info)
            if info is None:
                return
            scores = dict(numbers(info["other_scores"], nested=False))
            losses = {name: float(value) for name, value in info["losses"].items()}
            one = {"step": info["step"], "epoch": info["epoch"], "score": float(info["score"])}
            record["evaluations"].append({**one, "scores": scores, "losses": losses})
            if file is None and "output_path" in info:
                file = Path(info["output_path"]).parent / RECORD
                write(file)
                _give_to_trackers(file)
            elif file is not None:
                write(file)

        if file is not None:
            write(file)
            _give_to_trackers(file)
        return log, end

    return begin


def _silent() -> tuple[Log, Callable[[], None]]:
    return lambda info: None, lambda: None


def metrics(info: dict[str, Any], per_label: bool) -> dict[str, float]:
    """RETURNS (dict[str, float]): The losses and scores of an evaluation, by name."""
    losses = {f"loss/{name}": float(value) for name, value in info["losses"].items()}
    scores = numbers(info["other_scores"], nested=per_label, prefix="score/")
    return {"score/score": float(info["score"]), **losses, **dict(scores)}


def numbers(scores: dict[str, Any], *, nested: bool, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """YIELDS (tuple): The name and value of each score that is a number.

    nested (bool): Those by label too, as `ents_per_type/地名/f`.
    """
    for name, value in scores.items():
        if isinstance(value, dict):
            if nested:
                yield from numbers(value, nested=True, prefix=f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)


def git_state(folder: Path) -> dict[str, Any] | None:
    """RETURNS (dict | None): The commit, and which files differ from it; None outside of git."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, check=True)
        # A file's name may be of any bytes, such as those of CP932.
        return done.stdout.decode("utf-8", "backslashreplace")

    try:
        commit = git("rev-parse", "HEAD").strip()
        entries = iter(git("status", "--porcelain", "-z").split("\0"))
    except (OSError, subprocess.CalledProcessError):
        return None
    changed = []
    for entry in filter(None, entries):
        changed.append(entry[3:])
        # What was renamed or copied has its name of before after it.
        if {"R", "C"} & set(entry[:2]):
            next(entries, None)
    return {"commit": commit, "changed": changed}


def mlflow_name(name: str) -> str:
    """RETURNS (str): A name that MLflow takes. Where that isn't the name itself, a digest keeps it
    apart from others that would be the same."""
    fit = _NO_NAME.sub("_", name)
    # It is a path too.
    if posixpath.normpath(fit) != fit or fit.startswith(("/", ".")):
        fit = f"_{fit.replace('/', '_')}"
    if fit == name and len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{fit[: _LONGEST_NAME - 9]}-{digest}"


def _parameters(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _parameters(value, f"{prefix}{name}.")
        else:
            yield mlflow_name(f"{prefix}{name}"), str(value)[:_LONGEST_VALUE]


def _give_to_trackers(file: Path) -> None:
    """Give a file to the runs of W&B and MLflow that are going on, if there are any. Nothing is
    imported for that: where there is a run, it is imported."""
    mlflow, wandb = sys.modules.get("mlflow"), sys.modules.get("wandb")
    if mlflow is not None and mlflow.active_run():
        mlflow.log_artifact(str(file))
    if wandb is not None and wandb.run:
        wandb.run.save(str(file), base_path=str(file.parent), policy="end")
