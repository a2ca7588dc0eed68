"""A study as a page that needs nothing else: how the score rose, which settings matter, and which
go together; a table of all trials."""

import re
from collections.abc import Sequence
from html import escape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError, Errors
from ..storage import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from optuna import Study
    from optuna.trial import FrozenTrial

# In the pictures; the page puts its own colour of text there, dark or light.
_INK = "#010203"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "jbert",
    "font.size": 11,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), _INK
    ),
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# Of the trials by rank, the best lightest.
_COLOURS = "viridis"
# With fewer trials the importance of a setting is chance.
_ENOUGH = 10


def write_page(study: "Study", path: Path, title: str) -> None:
    """Write the page of a study in which a trial has come to its end.

    path (Path): An HTML file, replaced only by a whole one.
    RAISES: DataError J469 without matplotlib.
    """
    try:
        import matplotlib
    except ImportError:
        raise DataError(Errors.J469.format(package="matplotlib", extra="tune")) from None
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    names = sorted({name for trial in complete for name in trial.params})
    with matplotlib.rc_context(_STYLE):
        parts = [
            _section("History", "履歴", _history(trials, complete)),
            _section("Importance of the settings", "設定の重要度", _importances(study, names)),
            _section("Settings together", "設定の組み合わせ", _parallel(complete, names)),
            _section("Trials", "試行", _table(trials, names)),
        ]
    best = study.best_trial
    head = f"<p>{len(trials)} trials, best {best.value:.4f} (trial {best.number})</p>"
    page = _PAGE.format(title=escape(title), body="\n".join([head, *parts]))
    with replacing(path) as (part,):
        part.write_text(page, encoding="utf-8")


def importances(study: "Study", names: Sequence[str]) -> dict[str, float]:
    """How much each setting matters among the better trials, adding up to 1 (PED-ANOVA, Watanabe et
    al. 2023).

    names (Sequence[str]): Of the settings.
    RETURNS (dict[str, float]): The most important first; empty for too few trials to tell.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.value is not None]
    varied = [name for name in names if len({trial.params.get(name) for trial in complete}) > 1]
    if len(complete) < _ENOUGH or not varied:
        return {}
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), params=varied)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _history(trials: Sequence["FrozenTrial"], complete: Sequence["FrozenTrial"]) -> str:
    figure, axes = _figure(4.2)
    numbers = [trial.number for trial in complete]
    values = [_value(trial) for trial in complete]
    axes.step(numbers, np.maximum.accumulate(values), where="post", label="best so far")
    axes.plot(numbers, values, "o", label="trials")
    stopped = [trial for trial in trials if trial.state.name == "PRUNED"]
    last = [
        (trial.number, trial.intermediate_values[max(trial.intermediate_values)])
        for trial in stopped
        if trial.intermediate_values
    ]
    if last:
        axes.plot(*zip(*last, strict=True), "x", label="stopped early")
    axes.set(xlabel="trial", ylabel="score")
    axes.legend(frameon=False)
    return _svg(figure, f"The score of {len(complete)} trials; the best is {max(values):.4f}")


def _importances(study: "Study", names: Sequence[str]) -> str:
    found = importances(study, names)
    if not found:
        return "<p>Too few trials to tell. / 試行が少なく、まだ分かりません。</p>"
    figure, axes = _figure(0.9 + 0.45 * len(found))
    shown = list(reversed(found.items()))
    bars = axes.barh([_short(name) for name, _ in shown], [value for _, value in shown])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    said = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    return _svg(figure, said)


def _parallel(complete: Sequence["FrozenTrial"], names: Sequence[str]) -> str:
    from matplotlib import colormaps

    figure, axes = _figure(5.0)
    columns = [
        _Column(_short(name), [trial.params.get(name) for trial in complete]) for name in names
    ]
    values = [_value(trial) for trial in complete]
    columns.append(_Column("score", values))
    ranks = np.argsort(np.argsort(values)) / max(1, len(values) - 1)
    for index in np.argsort(ranks):
        heights = [column.heights[index] for column in columns]
        best = index == int(np.argmax(values))
        axes.plot(
            range(len(columns)),
            heights,
            color=colormaps[_COLOURS](ranks[index]),
            linewidth=3.5 if best else 1.2,
            alpha=1.0 if best else 0.65,
        )
    for number, column in enumerate(columns):
        axes.axvline(number, color=_INK, linewidth=0.8)
        for height, text in column.ticks:
            axes.annotate(
                text,
                (number, height),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
    axes.set_xticks(
        range(len(columns)), [column.name for column in columns], rotation=20, ha="right"
    )
    axes.set(yticks=[], xlim=(-0.1, len(columns) - 0.55))
    for side in axes.spines.values():
        side.set_visible(False)
    return _svg(figure, "Each line is a trial, through its settings to its score")


class _Column:
    """An axis of the parallel coordinates.

    heights (list[float]): Of each trial, 0 to 1.
    ticks (list): Height and text.
    """

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        self.name = name
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
        if not numbers:
            kinds = sorted({str(value) for value in values})
            place = {kind: i / max(1, len(kinds) - 1) for i, kind in enumerate(kinds)}
            self.heights = [place[str(value)] for value in values]
            self.ticks = [(height, kind) for kind, height in place.items()]
            return
        array = np.asarray(values, dtype=np.float64)
        low, high = float(array.min()), float(array.max())
        # What goes over more than one power of ten was tried by its logarithm.
        scale = np.log if low > 0 and high / low > 8 else np.asarray
        span = float(scale(np.float64(high)) - scale(np.float64(low)))
        self.heights = ((scale(array) - scale(np.float64(low))) / (span or 1.0)).tolist()
        self.ticks = [(0.0, f"{low:.3g}")] + ([(1.0, f"{high:.3g}")] if span else [])


def _table(trials: Sequence["FrozenTrial"], names: Sequence[str]) -> str:
    head = ["trial", "score", "", *map(_short, names), "minutes"]
    rows = []
    ordered = sorted(trials, key=lambda trial: (trial.value is None, -(trial.value or 0.0)))
    for trial in ordered:
        minutes = f"{trial.duration.total_seconds() / 60:.1f}" if trial.duration else ""
        score = "" if trial.value is None else f"{trial.value:.4f}"
        settings = [_shown(trial.params.get(name)) for name in names]
        state = (
            ""
            if trial.value is not None and trial.state.name == "COMPLETE"
            else (trial.state.name.lower())
        )
        rows.append([str(trial.number), score, state, *settings, minutes])
    cells = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    table = f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide" tabindex="0" role="region" aria-label="Trials">{table}</div>'


def _value(trial: "FrozenTrial") -> float:
    return float(trial.value or 0.0)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _short(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _figure(height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    return figure, axes


def _svg(figure: "Figure", said: str) -> str:
    """A picture as a part of the page, with what it says for who doesn't see it."""
    file = StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    # As wide as the page, and no wider.
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    picture = text.replace("<svg ", f'<svg role="img" aria-label="{escape(said)}" ', 1)
    return f'<div class="wide" tabindex="0">{picture}</div>'


def _section(english: str, japanese: str, content: str) -> str:
    return f'<section><h2>{english} <span lang="ja">{japanese}</span></h2>{content}</section>'


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
:root {{ color-scheme: light dark; --line: #8884; }}
body {{ font: 15px/1.6 system-ui, "Noto Sans CJK JP", "Hiragino Sans", "Yu Gothic", sans-serif; }}
body {{ margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.15rem; margin-top: 2.2rem; }}
h2 span {{ font-weight: 400; opacity: .7; margin-left: .5rem; }}
/* On a telephone a picture or table scrolls by itself, and the page doesn't. */
.wide {{ overflow-x: auto; }}
svg {{ width: 100%; min-width: 34rem; height: auto; display: block; }}
svg text {{ font-family: inherit !important; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ border-bottom: 1px solid var(--line); padding: .25rem .7rem; text-align: left; }}
th, td {{ white-space: nowrap; }}
</style></head>
<body>
<h1>{title}</h1>
{body}
</body></html>
"""
