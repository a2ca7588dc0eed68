"""Scores and mistakes as tables for a terminal, and as JSON."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .comparison import Comparison
from .mistakes import Label, Mistake
from .outcome import Outcome, Task

# Characters of the document that are shown on each side of an entity, and of a document without
# one.
_CONTEXT = 30
_DOCUMENT = 120


def confusions(mistakes: Iterable[Mistake]) -> list[tuple[str, str, int]]:
    """RETURNS (list[tuple[str, str, int]]): What was annotated, what was found instead, how often;
    the most frequent first.
    """
    counts = Counter(
        (mistake.gold.label, mistake.answered.label)
        for mistake in mistakes
        if mistake.gold and mistake.answered and mistake.gold.label != mistake.answered.label
    )
    return [(gold, predicted, count) for (gold, predicted), count in counts.most_common()]


def as_dict(mistake: Mistake) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): What JSON can hold, with names for everything."""
    sides = {"gold": mistake.gold, "predicted": mistake.predicted}
    return {
        **mistake._asdict(),
        **{name: label and label._asdict() for name, label in sides.items()},
    }


def _excerpt(mistake: Mistake) -> tuple[str, str, str]:
    """What stands before, what the mistake is about, what stands behind."""
    start, end = _extent(mistake)
    if (start, end) == (0, len(mistake.text)):
        return "", mistake.text[:_DOCUMENT] + "…" * (end > _DOCUMENT), ""
    before, behind = (
        mistake.text[max(0, start - _CONTEXT) : start],
        mistake.text[end : end + _CONTEXT],
    )
    return (
        "…" * (start > _CONTEXT) + before,
        mistake.text[start:end],
        behind + "…" * (end + _CONTEXT < len(mistake.text)),
    )


def _extent(mistake: Mistake) -> tuple[int, int]:
    sides = [side for side in (mistake.gold, mistake.predicted) if side]
    return min(side.start for side in sides), max(side.end for side in sides)


def _side(label: Label | None, mistake: Mistake) -> str:
    """A category's label; an entity with its text, as the two sides may differ in it."""
    if label is None:
        return ""
    whole = (label.start, label.end) == (0, len(mistake.text))
    return label.label if whole else f"{mistake.text[label.start : label.end]} ({label.label})"


def _sure(mistake: Mistake) -> str:
    return "" if mistake.confidence is None else f"{mistake.confidence:.2f}"


def print_mistakes(console: Console, mistakes: Sequence[Mistake], limit: int) -> None:
    """Print how many mistakes of each kind there are, what is taken for what, and the mistakes one
    by one.

    console (Console): Where to; rich counts full-width characters as two columns.
    mistakes (Sequence[Mistake]): The worst first.
    limit (int): How many to print of them.
    """
    summary = _columns("kind", "mistakes")
    for kind, count in Counter(mistake.kind for mistake in mistakes).most_common():
        summary.add_row(kind, str(count))
    summary.columns[1].justify = "right"
    console.print(summary)
    if found := confusions(mistakes):
        confused = _columns("annotated", "found instead", "times")
        for gold, predicted, count in found[:limit]:
            confused.add_row(Text(_printable(gold)), Text(_printable(predicted)), str(count))
        confused.columns[2].justify = "right"
        console.print(confused)
    listing = _columns("kind", "text", "annotated", "found", "sure")
    for mistake in mistakes[:limit]:
        before, inside, behind = map(_printable, _excerpt(mistake))
        text = Text.assemble(before, (inside, "bold reverse" if before or behind else ""), behind)
        sides = (
            Text(_printable(_side(side, mistake))) for side in (mistake.gold, mistake.predicted)
        )
        listing.add_row(mistake.kind, text, *sides, _sure(mistake))
    listing.columns[4].justify = "right"
    console.print(listing)
    if len(mistakes) > limit:
        console.print(f"{len(mistakes) - limit} more: --limit {len(mistakes)}")


def _columns(*head: str) -> Table:
    """A table that breaks lines where they have no spaces, instead of cutting them off."""
    table = Table()
    for name in head:
        table.add_column(name, overflow="fold")
    return table


def _printable(text: str) -> str:
    """A text that stays on its line and moves no cursor."""
    return "".join(
        char if char.isprintable() or char == "\u3000" else char.encode("unicode_escape").decode()
        for char in text
    )


def print_outcomes(
    console: Console, outcomes: Sequence[Outcome], comparison: Comparison | None = None
) -> None:
    """Print a report in short: the headline of each task with its interval, calibration, the ten
    weakest labels, the kinds of mistakes.

    console (Console): Where to.
    outcomes (Sequence[Outcome]): Of one pipeline, or of two.
    comparison (Comparison | None): Of the two.
    """
    for letter, outcome in zip("AB", outcomes, strict=False):
        head = _columns(f"{letter}: {outcome.title}" if comparison else outcome.title, "", "95 %")
        for task in outcome.tasks:
            for name, (value, low, high) in task.headline.items():
                head.add_row(
                    Text(f"{task.name} {_NAMES[name]}"),
                    f"{100 * value:.1f}",
                    f"{100 * low:.1f}–{100 * high:.1f}",
                )
            for name, value in task.baseline.items():
                head.add_row(Text(f"linear baseline {_NAMES[name]}"), f"{100 * value:.1f}", "")
            if task.after:
                before = f"{task.before.error:.3f} → " if task.before else ""
                head.add_row(f"{task.name} ECE", before + f"{task.after.error:.3f}", "")
            if task.kept:
                kept = f"{100 * task.kept.coverage:.1f}"
                head.add_row("kept by thresholds", kept, f"{100 * task.kept.accuracy:.1f} right")
            if task.withheld:
                right = f"{100 * task.withheld.accuracy:.1f} right"
                head.add_row("under a threshold", str(task.withheld.answers), right)
        for kind, count in Counter(mistake.kind for mistake in outcome.mistakes).most_common():
            head.add_row(kind, str(count), "")
        if outcome.seconds:
            speed = f"{outcome.characters / outcome.seconds:,.0f}"
            head.add_row("characters a second", speed, outcome.facts["machine"])
        console.print(head)
        if not comparison:
            for task in outcome.tasks:
                console.print(_weakest(task))
    if comparison:
        _print_comparison(console, comparison)


_NAMES = {"p": "precision", "r": "recall", "f": "F", "macro_f": "F, mean of labels"}
_NAMES["accuracy"] = "accuracy"


def _weakest(task: Task, count: int = 10) -> Table:
    rows = [row for row in task.labels if row["support"]]
    table = _columns(f"{task.name}: lowest F", "precision", "recall", "F", "annotated")
    for row in sorted(rows, key=lambda row: row["f"])[:count]:
        shares = (f"{100 * row[name]:.1f}" for name in "prf")
        table.add_row(Text(_printable(row["label"])), *shares, str(row["support"]))
    return table


def _print_comparison(console: Console, comparison: Comparison) -> None:
    table = _columns("B − A", "difference", "95 %", "p")
    for task, differences in comparison.differences.items():
        for name, of in differences.items():
            table.add_row(
                Text(f"{task} {_NAMES[name]}"),
                f"{100 * of.value:+.1f}",
                f"{100 * of.low:+.1f} – {100 * of.high:+.1f}",
                f"{of.p:.3f}",
            )
    for name, count in zip(("A alone", "B alone", "both"), comparison.only.values(), strict=True):
        table.add_row(f"records {name} wrong", str(count), "", "")
    console.print(table)
