"""The scores and mistakes that `mistakes.py` finds, as an HTML page, as tables for a terminal, as
JSON.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .mistakes import Label, Mistake

# Characters of the document that are shown on each side of an entity, and of a document without
# one.
_CONTEXT = 30
_DOCUMENT = 120


# What is shown of spaCy's scores: the title, the scores by label, what the first row is called and
# where it comes from.
_SCORES = (
    ("Entities", "ents", "ents_per_type", "all", "ents"),
    ("Categories", "cats", "cats_f_per_type", "macro average", "cats_macro"),
)


def confusions(mistakes: Iterable[Mistake]) -> list[tuple[str, str, int]]:
    """RETURNS (list[tuple[str, str, int]]): What was annotated, what was found instead, how often;
    the most frequent first.
    """
    counts = Counter(
        (mistake.gold.label, mistake.predicted.label)
        for mistake in mistakes
        if mistake.gold and mistake.predicted and mistake.gold.label != mistake.predicted.label
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


# --- Terminal -------------------------------------------------------------------------------------


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


# --- HTML -----------------------------------------------------------------------------------------


def html_report(title: str, scores: dict[str, Any], mistakes: Sequence[Mistake]) -> str:
    """RETURNS (str): A page that needs nothing else: scores by label, confusions, the mistakes by
    kind.
    """
    parts = [f"<h1>{escape(title)}</h1>"]
    for name, kind, per_label, first, total in _SCORES:
        if scores.get(per_label):
            rows = [
                (first, {measure: scores[f"{total}_{measure}"] for measure in "prf"}),
                *sorted(scores[per_label].items()),
            ]
            cells = [
                (escape(label), *(f"{values[measure]:.3f}" for measure in "prf"))
                for label, values in rows
            ]
            parts += [
                f"<h2>{name}</h2>",
                _table(("", "precision", "recall", "F"), cells, numbers=3),
            ]
        if scores.get(f"{kind}_ece") is not None:
            parts.append(f"<p>Expected calibration error: {scores[f'{kind}_ece']:.3f}</p>")
    parts.append(f"<h2>Mistakes: {len(mistakes)}</h2>")
    if found := confusions(mistakes):
        cells = [(escape(gold), escape(predicted), str(count)) for gold, predicted, count in found]
        parts += [
            "<h3>confusions</h3>",
            _table(("annotated", "found instead", "times"), cells, numbers=1),
        ]
    for kind, count in Counter(mistake.kind for mistake in mistakes).most_common():
        cells = [_cells(mistake) for mistake in mistakes if mistake.kind == kind]
        parts += [
            f"<h3>{kind}: {count}</h3>",
            _table(("text", "annotated", "found", "confidence"), cells, numbers=1),
        ]
    return _PAGE.format(title=escape(title), body="\n".join(parts))


def _cells(mistake: Mistake) -> tuple[str, ...]:
    before, inside, behind = (escape(part) for part in _excerpt(mistake))
    text = f"{before}<mark>{inside}</mark>{behind}" if before or behind else inside
    return (
        text,
        escape(_side(mistake.gold, mistake)),
        escape(_side(mistake.predicted, mistake)),
        _sure(mistake),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int) -> str:
    """head, rows: Cells as HTML. numbers: So many of the last columns hold numbers."""

    def row(tag: str, cells: Sequence[str]) -> str:
        words = len(cells) - numbers
        return (
            "<tr>"
            + "".join(
                f"<{tag}{' class=number' * (i >= words)}>{cell}</{tag}>"
                for i, cell in enumerate(cells)
            )
            + "</tr>"
        )

    return "<table>" + row("th", head) + "".join(row("td", cells) for cells in rows) + "</table>"


_PAGE = """<!doctype html>
<html lang="ja"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.6 system-ui, "Noto Sans CJK JP", "Hiragino Sans", "Yu Gothic", sans-serif; }}
body {{ margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; margin: .5rem 0 1.5rem; }}
/* On a telephone a wide table scrolls by itself, and the page doesn't. */
table {{ display: block; max-width: 100%; overflow-x: auto; }}
th, td {{ border-bottom: 1px solid #ddd; padding: .25rem .8rem; }}
th, td {{ text-align: left; vertical-align: top; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
td:has(mark) {{ min-width: 16rem; }}
mark {{ background: #ffe08a; }}
</style></head>
<body>
{body}
</body></html>
"""
