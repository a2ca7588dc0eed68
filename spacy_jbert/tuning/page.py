"""A study as a page that needs nothing else: how the score rose, which settings matter, and which
go together; a table of all trials."""

import re
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from ..errors import DataError, Errors
from ..evaluation.html import render
from ..evaluation.wording import Lang, both, both_in_svg
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
_WORDS = {
    "trial": ("試行", "trial"),
    "trials": ("試行", "trials"),
    "score": ("点", "score"),
    "best so far": ("それまでの最良", "best so far"),
    "stopped early": ("途中で打ち切り", "stopped early"),
    "minutes": ("分", "minutes"),
    "pruned": ("打ち切り", "stopped early"),
    "fail": ("失敗", "failed"),
    "running": ("実行中", "running"),
    "waiting": ("待ち", "waiting"),
}
"""Japanese and English, by what the pictures and the table are drawn with."""
_HISTORY = (
    both("履歴", "History"),
    both("開発データの点が試行とともにどう上がったか。", "How the score on dev rose by trial."),
)
_IMPORTANCE = (
    both("設定の重要度", "Importance of the settings"),
    both(
        "よい試行の間で、点の違いをどれだけ説明するか（PED-ANOVA、合計 1）。試行が 10 "
        "回に満たないうちは分かりません。",
        "How much each explains among the better trials (PED-ANOVA; they add up to 1). Of fewer "
        "than 10 trials nothing can be told.",
    ),
)
_TOGETHER = (
    both("設定の組み合わせ", "Settings together"),
    both(
        "線 1 本が試行 1 回です。明るいほどよく、太い線が最良です。",
        "Each line is a trial, through its settings to its score. The lighter, the better; the "
        "thick one is the best.",
    ),
)
# Of the trials by rank, the best lightest.
_COLOURS = "viridis"
# With fewer trials the importance of a setting is chance.
_ENOUGH = 10


def write_page(study: "Study", path: Path, title: str, lang: Lang = "auto") -> None:
    """Write the page of a study in which a trial has come to its end.

    path (Path): An HTML file, replaced only by a whole one.
    lang (str): "ja", "en", or "auto": what the browser speaks.
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
        pictures = [
            ("history", *_HISTORY, _history(trials, complete)),
            ("importance", *_IMPORTANCE, _importances(study, names)),
            ("together", *_TOGETHER, _parallel(complete, names)),
        ]
    content = {
        "title": title,
        "summary": _summary(study, len(trials)),
        "pictures": pictures,
        "words": {name: both(*words) for name, words in _WORDS.items()},
        "head": _head(names),
        "rows": list(_rows(trials, names)),
    }
    page = render("study.html", content, lang=lang, scripts=("look.js",), inline_styles=True)
    with replacing(path) as (part,):
        part.write_text(page, encoding="utf-8")


def _summary(study: "Study", count: int) -> Markup:
    best = study.best_trial
    return both(
        f"{count} 回の試行。最良は {best.value:.4f}（試行 {best.number}）",
        f"{count} trials, best {best.value:.4f} (trial {best.number})",
    )


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


def _history(trials: Sequence["FrozenTrial"], complete: Sequence["FrozenTrial"]) -> Markup:
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
    return _svg(figure, "history-note")


def _importances(study: "Study", names: Sequence[str]) -> Markup:
    found = importances(study, names)
    if not found:
        return Markup()
    figure, axes = _figure(0.9 + 0.45 * len(found))
    shown = list(reversed(found.items()))
    bars = axes.barh([_short(name) for name, _ in shown], [value for _, value in shown])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    said = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    return _svg(figure, "importance-note", said)


def _parallel(complete: Sequence["FrozenTrial"], names: Sequence[str]) -> Markup:
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
    return _svg(figure, "together-note")


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


def _head(names: Sequence[str]) -> list[Markup | str]:
    words = {name: both(*words) for name, words in _WORDS.items()}
    return [words["trial"], words["score"], "", *map(_short, names), words["minutes"]]


def _rows(
    trials: Sequence["FrozenTrial"], names: Sequence[str]
) -> Iterator[list[Markup | str | int]]:
    ordered = sorted(trials, key=lambda trial: (trial.value is None, -(trial.value or 0.0)))
    for trial in ordered:
        minutes = f"{trial.duration.total_seconds() / 60:.1f}" if trial.duration else ""
        score = "" if trial.value is None else f"{trial.value:.4f}"
        settings = [_shown(trial.params.get(name)) for name in names]
        state = _WORDS.get(trial.state.name.lower())
        yield [trial.number, score, both(*state) if state else "", *settings, minutes]


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


def _svg(figure: "Figure", described_by: str, said: str = "") -> Markup:
    """A picture as a part of the page.

    described_by (str): The id of what says what it shows, for who doesn't see it.
    said (str): More of that, in no language.
    """
    file = StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    for words in _WORDS.values():
        text = text.replace(f">{words[1]}</text>", f">{both_in_svg(*words)}</text>")
    # As wide as the page, and no wider.
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    label = Markup('aria-label="{}"').format(said) if said else f'aria-labelledby="{described_by}"'
    head = f'<svg class="picture" role="img" {label} aria-describedby="{described_by}" '
    return Markup(text.replace("<svg ", head, 1))
