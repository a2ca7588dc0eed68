"""What a search may try: settings of a config, each with a range or with choices."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from confection import Config

from ..corpora.lines import check_file
from ..corpora.values import shortened
from ..errors import DataError, Errors

Scalar = str | int | float | bool | None
DEFAULTS = Path(__file__).parent / "spaces"


class Trial(Protocol):
    """Of Optuna's trial what is needed here."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None, log: bool
    ) -> float: ...

    def suggest_categorical(self, name: str, choices: list[Scalar]) -> Scalar: ...


class Range(NamedTuple):
    """Numbers from low to high, both included; whole ones if both are.

    step (int | float | None): Between them; None for 1, or any number.
    log (bool): Whether they are tried evenly by their logarithm.
    """

    low: int | float
    high: int | float
    step: int | float | None
    log: bool

    def suggest(self, trial: Trial, name: str) -> int | float:
        """RETURNS (int | float): What a trial is to use."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = int(self.step or 1)
            return trial.suggest_int(name, self.low, self.high, step=step, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def holds(self, value: Any) -> bool:
        """RETURNS (bool): Whether a value is in it."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high


class Choice(NamedTuple):
    """One of several values."""

    values: list[Scalar]

    def suggest(self, trial: Trial, name: str) -> Scalar:
        """RETURNS (Scalar): What a trial is to use."""
        return trial.suggest_categorical(name, self.values)

    def holds(self, value: Any) -> bool:
        """RETURNS (bool): Whether a value is one of them."""
        return value in self.values


Space = dict[str, Range | Choice]
"""By the setting's name, with dots, as for `spacy train`."""


def read_space(path: Path) -> Space:
    """Read the section [space] of a config.

    RAISES: DataError J470 for what is no space.
    """
    check_file(path)
    try:
        section = Config().from_disk(path, interpolate=False)["space"]
    except (ValueError, KeyError) as error:
        raise DataError(Errors.J470.format(reason=shortened(str(error))), path=path) from None
    if not section:
        raise DataError(Errors.J470.format(reason="it names no setting"), path=path)
    return {name: _read(path, name, value) for name, value in section.items()}


def default_space(config: Mapping[str, Any], path: Path) -> Path:
    """The space that comes along for a config.

    config (Mapping): The training config.
    path (Path): Where it is from, for the error.
    RETURNS (Path): A file of DEFAULTS.
    RAISES: DataError J475 for a pipeline that there is none for.
    """
    pipeline = config.get("nlp", {}).get("pipeline", [])
    for name, file in (("ner", "ner"), ("textcat", "textcat"), ("textcat_multilabel", "textcat")):
        if pipeline == ["transformer", name]:
            return DEFAULTS / f"{file}.cfg"
    raise DataError(Errors.J475.format(names=", ".join(pipeline) or "nothing"), path=path)


def value_of(config: Mapping[str, Any], name: str, path: Path) -> Any:
    """The value that a config has, with variables filled in.

    name (str): Of the setting, with dots.
    path (Path): Where the config is from, for the error.
    RAISES: DataError J471 for a setting that it doesn't have.
    """
    known = dict(_settings(config))
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    similar = f" Is {near[0]} meant?" if near else ""
    raise DataError(Errors.J471.format(name=name, similar=similar), path=path)


def _settings(node: Mapping[str, Any], prefix: str = "") -> "list[tuple[str, Any]]":
    found: list[tuple[str, Any]] = []
    for name, value in node.items():
        if isinstance(value, Mapping):
            found += _settings(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found


def _read(path: Path, name: str, value: Any) -> Range | Choice:
    def wrong(reason: str) -> DataError:
        return DataError(Errors.J470.format(reason=f"{name} {reason}"), path=path)

    if isinstance(value, list):
        if not value or not all(isinstance(one, Scalar) for one in value):
            raise wrong("needs at least one choice, each a text, a number, true, false or null")
        return Choice(value)
    if not isinstance(value, dict) or not {"low", "high"} <= set(value):
        raise wrong("is neither a list nor an object with low and high")
    if unknown := set(value) - {"low", "high", "step", "log"}:
        raise wrong(f"has {', '.join(sorted(unknown))} besides low, high, step and log")
    low: Any = value["low"]
    high: Any = value["high"]
    step: Any = value.get("step")
    log = value.get("log")
    numbers = [low, high] if step is None else [low, high, step]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers):
        raise wrong("has a low, high or step that is no number")
    if not low < high or (step is not None and not 0 < step <= high - low):
        raise wrong("has to rise from low to high, by a step above 0")
    if not isinstance(log, bool | None) or (log and (low <= 0 or step is not None)):
        raise wrong("can be log (true or false) only from above 0, and without step")
    return Range(low, high, step, bool(log))
