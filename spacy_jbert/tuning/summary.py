"""The scores of several runs: mean, standard deviation, interval; and against those of others."""

import sys
from collections.abc import Iterable, Sequence
from math import isnan
from pathlib import Path
from statistics import stdev
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from ..evaluation.significance import Comparison, Interval, mean_interval
from .runs import SUMMARY, Run, write_json


class Spread(NamedTuple):
    """One score over several runs.

    mean (Interval): With the bounds of its 95 % interval.
    sd (float): The standard deviation of the runs; 0 of one.
    values (list[float]): Of each run.
    """

    mean: Interval
    sd: float
    values: list[float]


class Summary(NamedTuple):
    """What came out of several runs."""

    runs: list[Run]
    scores: dict[str, Spread]


def summarised(runs: Sequence[Run], out: Path, kind: str, *, test_share: float = 0.0) -> Summary:
    """Summarise runs, and write out/scores.json.

    kind (str): What they are: "folds", "seeds".
    test_share (float): See `mean_interval`.
    """
    scores = spreads([run.scores for run in runs], test_share=test_share)
    rows = {
        name: {
            "mean": spread.mean.value,
            "sd": spread.sd,
            # JSON has no nan.
            "low": spread.mean.low if len(runs) > 1 else None,
            "high": spread.mean.high if len(runs) > 1 else None,
            "values": spread.values,
        }
        for name, spread in scores.items()
    }
    of = {run.name: run.of for run in runs}
    write_json(out / SUMMARY, {kind: len(runs), "runs": of, "scores": rows})
    return Summary(list(runs), scores)


def spreads(found: Sequence[dict[str, Any]], *, test_share: float = 0.0) -> dict[str, Spread]:
    """RETURNS (dict[str, Spread]): Of the scores that every run has as a number, those within
    (`a.b`) too."""
    flat = [dict(_numbers(scores)) for scores in found]
    names = [name for name in flat[0] if all(name in scores for scores in flat)]
    columns = {name: [scores[name] for scores in flat] for name in names}
    return {
        name: Spread(
            mean_interval(values, test_share=test_share),
            stdev(values) if len(values) > 1 else 0.0,
            values,
        )
        for name, values in columns.items()
    }


def _numbers(scores: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, float]]:
    for name, value in scores.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and name != "speed":
            yield f"{prefix}{name}", float(value)


def show(summary: Summary, kind: str) -> None:
    """Print the scores of entities and categories.

    kind (str): What the runs are: "folds", "seeds".
    """
    table = Table("", f"mean of {len(summary.runs)} {kind}", "± sd", "95 %")
    for name, (mean, sd, _) in summary.scores.items():
        if name.startswith(("ents_", "cats_")):
            table.add_row(name, f"{mean.value:.3f}", f"{sd:.3f}", _bounds(mean))
    _console().print(table)


def show_comparison(found: dict[str, Comparison], where: Path) -> None:
    """Print how runs differ from those of another folder."""
    table = Table("", f"against {where}", "95 %", "p (bootstrap)", "p (randomisation)")
    for name, (difference, p_bootstrap, p_randomisation) in found.items():
        probabilities = (f"{p:.3f}" for p in (p_bootstrap, p_randomisation))
        table.add_row(name, f"{difference.value:+.3f}", _bounds(difference), *probabilities)
    _console().print(table)


def as_rows(found: dict[str, Comparison]) -> dict[str, dict[str, float]]:
    """RETURNS (dict): A comparison as JSON holds it."""
    return {
        name: {**difference._asdict(), "p_bootstrap": p, "p_randomisation": q}
        for name, (difference, p, q) in found.items()
    }


def _bounds(interval: Interval) -> str:
    return "" if isnan(interval.low) else f"{interval.low:.3f} to {interval.high:.3f}"


def _console() -> Console:
    # A file has no width, and the headings are to fit.
    width = None if sys.stdout.isatty() else 140
    return Console(markup=False, highlight=False, width=width)
