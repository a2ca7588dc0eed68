"""The best settings of a config, by trying them: a study of Optuna (Akiba et al. 2019) whose trials
are trainings by spaCy, stopped early where others were better by then.

A study is a folder: `study.db` (SQLite) or `study.log` (a journal), `best.cfg`, `study.html`.
Several processes may work on one. Each holds a lock while it tries something, so that a trial whose
process was killed is known, and done again."""

import hashlib
import io
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from confection import ConfigValidationError
from filelock import FileLock, Timeout
from spacy.language import Language
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as train_nlp
from spacy.util import load_config, registry
from tqdm import tqdm

from ..errors import DataError, Errors, Warnings
from ..storage import replacing
from .runs import settings_text
from .space import Space, read_space, value_of

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler

logger = logging.getLogger(__name__)

Storage = Literal["sqlite", "journal"]
FILES: dict[Storage, str] = {"sqlite": "study.db", "journal": "study.log"}
_NAME = "jbert"
_WATCH = "spacy-jbert.tune_watch"
# So many failures one after the other are no accident.
_FAILURES = 3


class Best(NamedTuple):
    """The best trial, and what was tried.

    score (float): As [training.score_weights] weighs it.
    first (float | None): Of the config as it is; None if that isn't in the space.
    settings (dict[str, Any]): What is otherwise than in the config.
    finished, pruned, failed (int): How many trials.
    """

    score: float
    first: float | None
    settings: dict[str, Any]
    finished: int
    pruned: int
    failed: int


class Plan(NamedTuple):
    """What is tried.

    config (Path): The training config.
    space (Space): What may be otherwise.
    overrides (dict[str, Any]): Settings for all trials, as for `spacy train`.
    seeds (int): Trainings a trial; the mean counts.
    prune (bool): Whether trials that fall behind are stopped.
    gpu_id (int): -1 for the CPU.
    """

    config: Path
    space: Space
    overrides: dict[str, Any]
    seeds: int = 1
    prune: bool = True
    gpu_id: int = -1


def search(
    config: Path,
    space: Path,
    folder: Path,
    *,
    overrides: dict[str, Any] | None = None,
    trials: int = 30,
    minutes: float | None = None,
    seeds: int = 1,
    prune: bool = True,
    storage: Storage = "sqlite",
    gpu_id: int = -1,
) -> Best:
    """Try settings, and write best.cfg whenever something better was found.

    config (Path): The training config; the first trial is the config as it is.
    space (Path): See `read_space`.
    folder (Path): The study; one that is there goes on.
    trials (int): How many there are to be in all, those of other processes and of before too.
    minutes (float | None): After them none is begun any more; what was begun comes to its end.
    overrides, seeds, prune, gpu_id: See `Plan`.
    storage (str): Where a new study is kept.
    RETURNS (Best): The best trial.
    RAISES: DataError J469 without Optuna, J470, J471, J472 for another study, J473 if no trial came
        to its end, J474 if nothing works.
    """
    plan = Plan(config, read_space(space), overrides or {}, seeds, prune, gpu_id)
    own = _own_settings(plan)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        study = open_study(folder, storage, prune=prune)
        _begin(study, plan, own, folder)
    end = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    failures = 0
    while not _is_over(study, end):
        with _one_more(study, plan, folder, trials) as trial:
            if trial is None:
                break
            error = _try(study, plan, trial)
            failures = failures + 1 if error else 0
            if error and failures >= _FAILURES:
                message = Errors.J474.format(count=failures, reason=_reason(error))
                raise DataError(message, path=config)
        with FileLock(folder / ".lock"):
            _write_best(study, plan, folder)
    return best_of(study, own, folder)


def open_study(folder: Path, storage: Storage, *, prune: bool = True) -> "Study":
    """Open the study of a folder, or begin one.

    RAISES: DataError J469 without Optuna.
    """
    try:
        import optuna
    except ImportError:
        raise DataError(Errors.J469.format(package="Optuna", extra="tune")) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A study that is there stays what it is.
    kind = next((kind for kind, name in FILES.items() if (folder / name).exists()), storage)
    file = (folder / FILES[kind]).absolute()
    kept: optuna.storages.BaseStorage
    if kind == "sqlite":
        waiting = {"connect_args": {"timeout": 60}}
        kept = optuna.storages.RDBStorage(f"sqlite:///{file}", engine_kwargs=waiting)
    else:
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        kept = JournalStorage(JournalFileBackend(str(file)))
    pruners = optuna.pruners
    return optuna.create_study(
        storage=kept,
        study_name=_NAME,
        load_if_exists=True,
        direction="maximize",
        sampler=_sampler(0),
        pruner=pruners.MedianPruner(n_startup_trials=4) if prune else pruners.NopPruner(),
    )


def _sampler(trials: int) -> "BaseSampler":
    """What chooses the settings of a trial: by chance that depends on nothing but how many trials
    there were before, so that a search that was killed in between tries the same."""
    from optuna.samplers import TPESampler

    return TPESampler(constant_liar=True, seed=trials)


def _own_settings(plan: Plan) -> dict[str, Any]:
    """What the config itself has of the space. RAISES: DataError J471."""
    filled = load_config(plan.config, overrides=plan.overrides, interpolate=True)
    return {name: value_of(filled, name, plan.config) for name in plan.space}


def _begin(study: "Study", plan: Plan, own: dict[str, Any], folder: Path) -> None:
    """Refuse the study of something else; let a new one begin with the config as it is."""
    text = settings_text(plan.overrides, plan.space, plan.seeds)
    digest = hashlib.sha256(plan.config.read_bytes() + text.encode())
    paths = load_config(plan.config, overrides=plan.overrides, interpolate=True).get("paths", {})
    for name in ("train", "dev"):
        if paths.get(name) and Path(paths[name]).is_file():
            digest.update(Path(paths[name]).read_bytes())
    of = study.user_attrs.get("of")
    if of not in (None, digest.hexdigest()):
        raise DataError(Errors.J472.format(path=folder))
    if of is None:
        study.set_user_attr("of", digest.hexdigest())
        outside = [name for name, part in plan.space.items() if not part.holds(own[name])]
        for name in outside:
            logger.warning(Warnings.JW465.format(name=name, value=own[name]))
        if not outside:
            study.enqueue_trial(own, user_attrs={"is_config": True})


def _is_over(study: "Study", end: float) -> bool:
    """Whether the time is up, or will be before one more trial comes to its end."""
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    lasted = [trial.duration.total_seconds() for trial in done if trial.duration]
    return time.monotonic() + (fmean(lasted) if lasted else 0.0) > end


@contextmanager
def _one_more(study: "Study", plan: Plan, folder: Path, trials: int) -> "Iterator[Trial | None]":
    """A trial that no other process takes for dead while it lasts; None if there are enough."""
    from optuna.trial import TrialState

    with FileLock(folder / ".lock"):
        _bury_the_dead(study, plan, folder)
        counted = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        before = len(study.get_trials(deepcopy=False, states=counted))
        if before >= trials:
            trial, lock = None, None
        else:
            study.sampler = _sampler(before)
            trial = study.ask()
            lock = FileLock(_lock_of(folder, trial.number))
            lock.acquire()
    try:
        yield trial
    finally:
        if lock is not None:
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)


def _bury_the_dead(study: "Study", plan: Plan, folder: Path) -> None:
    """Trials that run, and whose process is no more, are done again."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        lock = FileLock(_lock_of(folder, trial.number))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        logger.warning(Warnings.JW467.format(number=trial.number))
        study.tell(trial.number, state=TrialState.FAIL)
        # Before it had all its settings, nothing is lost: the sampler finds the same again.
        given = trial.system_attrs.get("fixed_params") or trial.params
        if given.keys() == plan.space.keys():
            study.enqueue_trial(given, user_attrs=trial.user_attrs)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _lock_of(folder: Path, number: int) -> Path:
    return folder / f".trial-{number}.lock"


def _try(study: "Study", plan: Plan, trial: "Trial") -> Exception | None:
    """RETURNS (Exception | None): Why it failed, if it did."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    try:
        score = _score(plan, trial)
    except TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
        print(f"Trial {trial.number}: stopped, others were better by then", flush=True)
    except Exception as error:  # any that a training may end with: the others go on
        study.tell(trial, state=TrialState.FAIL)
        logger.warning(Warnings.JW468.format(number=trial.number, reason=_reason(error)))
        return error
    else:
        study.tell(trial, score)
        best = study.best_trial
        print(f"Trial {trial.number}: {score:.4f} (best {best.value:.4f})", flush=True)
    return None


def _reason(error: Exception) -> str:
    """RETURNS (str): Why a training failed, in a line. That of a config which doesn't fit would
    hold all of the config, with the objects in it."""
    if not isinstance(error, ConfigValidationError) or not error.errors:
        return str(error)
    places = [
        (".".join(str(part) for part in (error.parent, *one.get("loc", ())) if part), one["msg"])
        for one in error.errors
    ]
    return "; ".join(f"{place}: {message}" for place, message in places)


def _score(plan: Plan, trial: "Trial") -> float:
    """The mean of a trial's trainings. It is stopped early in the first of them, if at all."""
    from optuna import TrialPruned

    settings = {name: part.suggest(trial, name) for name, part in plan.space.items()}

    def report(step: int, score: float) -> None:
        trial.report(score, step)
        # Before anything was learned.
        if plan.prune and step and trial.should_prune():
            raise TrialPruned

    scores = []
    for seed in range(plan.seeds):
        seeded = {"system.seed": seed, "training.seed": seed} if plan.seeds > 1 else {}
        overrides = {**plan.overrides, **settings, **seeded}
        name = f"trial {trial.number}"
        scores.append(
            best_score(plan.config, overrides, name, report if seed == 0 else None, plan.gpu_id)
        )
    trial.set_user_attr("scores", scores)
    return fmean(scores)


def best_score(
    config: Path,
    overrides: dict[str, Any],
    name: str,
    report: Callable[[int, float], None] | None = None,
    gpu_id: int = -1,
) -> float:
    """Train as `spacy train` does, and save nothing.

    name (str): What the progress bar says.
    report (Callable | None): Told the step and the score of each evaluation; may raise.
    RETURNS (float): The best score on the development part.
    """
    found: list[float] = []

    def watch() -> Callable[..., Any]:
        def begin(nlp: Language, *streams: Any) -> tuple[Callable, Callable]:
            total = nlp.config["training"]["max_steps"] or None
            bar = tqdm(desc=name, total=total, unit=" steps", leave=False, delay=2, disable=None)

            def step(info: dict[str, Any] | None) -> None:
                bar.update()
                if info is not None:
                    found.append(float(info["score"]))
                    if report:
                        report(info["step"], found[-1])

            return step, bar.close

        return begin

    registry.loggers.register(_WATCH, func=watch)
    filled = load_config(config, overrides=overrides, interpolate=False)
    filled["training"]["logger"] = _beside(filled["training"].get("logger", {}))
    nlp = init_nlp(filled, use_gpu=gpu_id)
    train_nlp(nlp, None, use_gpu=gpu_id, stdout=io.StringIO())
    return max(found)


def _beside(own: dict[str, Any]) -> dict[str, Any]:
    """The config's own logger goes on, unless it would print a table for each trial."""
    watch = {"@loggers": _WATCH}
    if "ConsoleLogger" in own.get("@loggers", "ConsoleLogger"):
        return watch
    return {"@loggers": "spacy.ChainLogger.v1", "logger1": own, "logger2": watch}


# --- What came out --------------------------------------------------------------------------------


def _write_best(study: "Study", plan: Plan, folder: Path) -> None:
    """Write best.cfg: the config with the best settings, and those for all trials."""
    from optuna.trial import TrialState

    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return
    overrides = {**plan.overrides, **study.best_params}
    best = load_config(plan.config, overrides=overrides, interpolate=False)
    with replacing(folder / "best.cfg") as (part,):
        best.to_disk(part)


def best_of(study: "Study", own: dict[str, Any], folder: Path) -> Best:
    """RETURNS (Best): What came out of a study.

    own (dict[str, Any]): What the config itself has of the space.
    RAISES: DataError J473 if no trial came to its end.
    """
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        raise DataError(Errors.J473, path=folder)
    best = study.best_trial
    first = next((trial.value for trial in complete if trial.user_attrs.get("is_config")), None)
    return Best(
        score=best.value or 0.0,
        first=first,
        settings={name: value for name, value in best.params.items() if value != own[name]},
        finished=len(complete),
        pruned=sum(trial.state == TrialState.PRUNED for trial in trials),
        failed=sum(trial.state == TrialState.FAIL for trial in trials),
    )
