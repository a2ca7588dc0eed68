"""The report as one HTML page that needs nothing else (see `html.py`).

Texts and labels are somebody else's: the script writes them as text only."""

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from . import charts
from .charts import Axis, Line
from .comparison import Comparison
from .html import render
from .mistakes import Mistake
from .outcome import Outcome, Reliability, Task
from .wording import WORDS, Lang, say, say_in_svg


def page(
    outcomes: Sequence[Outcome], *, comparison: Comparison | None = None, lang: Lang = "auto"
) -> str:
    """Write the page.

    outcomes (Sequence[Outcome]): Of one pipeline, or of two on the same documents.
    comparison (Comparison | None): Of the two.
    lang (str): "ja", "en", or "auto": what the browser speaks.
    RETURNS (str): HTML.
    """
    content = {
        "outcomes": outcomes,
        "comparison": comparison,
        "data": data(outcomes, comparison),
        "charts": _Charts(),
        "matrix": matrix,
        "often": often,
        "heat": _heat,
    }
    filters: dict[str, Callable[..., Any]] = {"percent": percent, "size": size, "heading": _heading}
    return render("page.html", content, lang=lang, scripts=("look.js", "page.js"), filters=filters)


def data(outcomes: Sequence[Outcome], comparison: Comparison | None) -> dict[str, Any]:
    """What the page's script lists: the mistakes, and the records in which they are.

    RETURNS (dict): mistakes: record, kind, gold and predicted (label, start, end) or null,
        confidence, task, whose (A, B, AB), whether the annotation is suspected. records: by number,
        see `Outcome.records`.
    """
    whose: dict[tuple, str] = {}
    kept: dict[tuple, tuple[Mistake, bool]] = {}
    for name, outcome in zip("AB", outcomes, strict=False):
        suspected = set(outcome.suspects)
        for i, mistake in enumerate(outcome.mistakes):
            key = (mistake.record, mistake.kind, mistake.gold, mistake.predicted, mistake.task)
            whose[key] = whose.get(key, "") + name
            kept.setdefault(key, (mistake, i in suspected))
    if comparison:
        # Each list is sorted, both together aren't.
        kept = dict(sorted(kept.items(), key=lambda item: -(item[1][0].confidence or -1.0)))
    records = {str(number): one for of in outcomes for number, one in of.records.items()}
    if comparison:
        # What was found is of one of the two, and nobody could tell of which.
        records = {
            number: {name: one[name] for name in ("id", "text", "entities", "label") if name in one}
            for number, one in records.items()
        }
    return {
        "words": {name: WORDS[name] for name in _IN_SCRIPT},
        "mistakes": [
            [*_as_list(mistake), whose[key], suspect] for key, (mistake, suspect) in kept.items()
        ],
        "records": records,
        "wrong": comparison.wrong if comparison else {},
    }


# What the script writes itself.
_IN_SCRIPT = (
    *("all", "record", "annotated", "found", "sure", "whole", "suspect", "nothing", "more"),
    *("only_a", "only_b", "both"),
    *("missed", "invented", "wrong type", "wrong border", "uncertain"),
    *("wrong class", "missed class", "invented class"),
)


def _as_list(mistake: Mistake) -> list[Any]:
    confidence = None if mistake.confidence is None else round(mistake.confidence, 4)
    sides = mistake.gold, mistake.predicted
    return [mistake.record, mistake.kind, *sides, confidence, mistake.task]


def matrix(task: Task) -> tuple[list[str], dict[tuple[str, str], int], dict[str, int]]:
    """RETURNS: The labels of a confusion matrix ("" for nothing), its cells, and the sum of each
    row.
    """
    cells = {(gold, found): count for gold, found, count in task.confusion}
    order = [row["label"] for row in task.labels if row["support"] or row["found"]]
    labels = order + sorted({label for pair in cells for label in pair} - set(order), reverse=True)
    sums = {gold: sum(cells.get((gold, found), 0) for found in labels) for gold in labels}
    return labels, cells, sums


def often(task: Task, count: int = 20) -> list[tuple[str, str, int]]:
    """RETURNS (list): What is taken for what, the most frequent first."""
    return [pair for pair in task.confusion if pair[0] != pair[1]][:count]


def _heat(count: int, total: int) -> int:
    """RETURNS (int): 0 to 9, how dark a cell is."""
    return round(9 * count / total) if total else 0


def percent(share: float) -> str:
    """RETURNS (str): A share as people write it: 0.7691 is 76.9."""
    return f"{100 * share:.1f}"


def size(number: int) -> str:
    """RETURNS (str): Bytes, in the largest unit that leaves a whole number."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000  # type: ignore[assignment]
    return f"{number:.3g} GB"


def _heading(name: str) -> Markup:
    if name == "entities":
        return say("entities")
    return Markup("{} ({})").format(say("categories"), name)


class _Charts:
    """The charts that the template asks for, by the id of what describes each."""

    def coverage(self, id_: str, task: Task) -> Markup:
        across, up = self._shares("share_kept", "accuracy")
        points = [(point.coverage, point.accuracy) for point in task.curve]
        series = [Line("first", points)]
        if task.kept:
            series.append(Line("second", [(task.kept.coverage, task.kept.accuracy)], dots=True))
        return charts.lines(id_, across, up, series, diagonal=False)

    def reliability(self, id_: str, task: Task) -> Markup:
        across, up = self._shares("confidence", "accuracy")
        series = [
            Line(css, _points(of), dots=True)
            for css, of in (("second", task.before), ("first", task.after))
            if of
        ]
        return charts.lines(id_, across, up, series, diagonal=True)

    def training(self, id_: str, outcome: Outcome) -> Markup:
        points = [(float(entry["step"]), float(entry["score"])) for entry in outcome.training]
        high = max([score for _, score in points] + [0.01])
        across = Axis(0.0, max(step for step, _ in points) or 1.0, say_in_svg("step"))
        # Scores of spaCy's logs are shares.
        up = Axis(0.0, 1.0 if high <= 1.0 else high, say_in_svg("score"), percent=high <= 1.0)
        return charts.lines(id_, across, up, [Line("first", points, dots=True)], diagonal=False)

    def lengths(self, id_: str, bins: Sequence[tuple[int, int, int]]) -> Markup:
        across = Axis(0.0, float(bins[-1][1]), say_in_svg("characters"))
        up = Axis(0.0, float(max(count for _, _, count in bins)), say_in_svg("texts"))
        return charts.bars(id_, across, up, bins)

    def _shares(self, x: str, y: str) -> tuple[Axis, Axis]:
        return Axis(0, 1, say_in_svg(x), percent=True), Axis(0, 1, say_in_svg(y), percent=True)


def _points(of: Reliability) -> list[tuple[float, float]]:
    return [(group.confidence, group.accuracy) for group in of.groups]
