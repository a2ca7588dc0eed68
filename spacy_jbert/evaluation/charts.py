"""Charts as SVG, drawn here so that a page needs no script and no library for them: colours are
those of the page's style sheet, in light and dark."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 420, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 22, 10, 40


class Line(NamedTuple):
    """Points of a line: its class in the style sheet, and whether each point is drawn."""

    css: str
    points: Sequence[tuple[float, float]]
    dots: bool = False


class Axis(NamedTuple):
    """Where an axis begins and ends, and what stands beside it (HTML-safe, may be in two
    languages)."""

    low: float
    high: float
    label: Markup
    percent: bool = False

    def at(self, value: float) -> float:
        """RETURNS (float): 0 to 1."""
        span = self.high - self.low
        return min(1.0, max(0.0, (value - self.low) / span)) if span else 0.5

    def shown(self, value: float) -> str:
        return f"{value:.0%}" if self.percent else f"{value:,.4g}"


def lines(described_by: str, x: Axis, y: Axis, series: Sequence[Line], diagonal: bool) -> Markup:
    """A line chart.

    described_by (str): The id of the element that says what it shows.
    diagonal (bool): Whether to draw where x and y are equal.
    RETURNS (Markup): An <svg>.
    """
    parts = [_axes(x, y)]
    if diagonal:
        ends = [(x.low, x.low), (x.high, x.high)]
        parts.append(_path("diagonal", [_place(x, y, *end) for end in ends]))
    for line in series:
        placed = [_place(x, y, *point) for point in line.points]
        parts.append(_path(line.css, placed))
        if line.dots:
            parts += [
                Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(
                    line.css, *point
                )
                for point in placed
            ]
    return _svg(described_by, parts)


def bars(described_by: str, x: Axis, y: Axis, counts: Sequence[tuple[float, float, int]]) -> Markup:
    """A histogram.

    counts (Sequence): From, to, how many.
    RETURNS (Markup): An <svg>.
    """
    parts = [_axes(x, y)]
    for start, end, count in counts:
        left, top = _place(x, y, start, count)
        right, bottom = _place(x, y, end, y.low)
        parts.append(
            Markup(
                '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                "<title>{:g}–{:g}: {}</title></rect>"
            ).format(left, top, max(0.5, right - left - 1), bottom - top, start, end, count)
        )
    return _svg(described_by, parts)


def _svg(described_by: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-labelledby="{}" class="chart">{}</svg>'
    ).format(WIDTH, HEIGHT, described_by, Markup("").join(parts))


def _place(x: Axis, y: Axis, across: float, up: float) -> tuple[float, float]:
    width, height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    return _LEFT + x.at(across) * width, _TOP + (1.0 - y.at(up)) * height


def _path(css: str, points: Sequence[tuple[float, float]]) -> Markup:
    drawn = " ".join(f"{left:.1f},{top:.1f}" for left, top in points)
    return Markup('<polyline class="line {}" points="{}"/>').format(css, drawn)


def _axes(x: Axis, y: Axis) -> Markup:
    parts = []
    for step in range(6):
        share = step / 5
        across, up = x.low + share * (x.high - x.low), y.low + share * (y.high - y.low)
        left, top = _place(x, y, across, up)
        parts.append(
            Markup(
                '<line class="grid" x1="{left}" x2="{right}" y1="{top:.1f}" y2="{top:.1f}"/>'
                '<text class="tick" x="{beside}" y="{level:.1f}" text-anchor="end">{shown}</text>'
            ).format(
                left=_LEFT,
                right=WIDTH - _RIGHT,
                top=top,
                beside=_LEFT - 6,
                level=top + 4,
                shown=y.shown(up),
            )
        )
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                left, HEIGHT - _BOTTOM + 16, x.shown(across)
            )
        )
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(_label(x.label, f'x="{middle}" y="{HEIGHT - 6}"'))
    parts.append(_label(y.label, f'transform="translate(11 {HEIGHT / 2 - 15}) rotate(-90)"'))
    return Markup("").join(parts)


def _label(label: Markup, place: str) -> Markup:
    return Markup('<text class="axis" text-anchor="middle" {}>{}</text>').format(
        Markup(place), escape(label)
    )
