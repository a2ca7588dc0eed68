"""What confidence is good for: how much is answered, and how much of that is right, by threshold;
how far confidence is from accuracy."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POINTS = 200
"""So many points of a curve are kept at most."""


class Group(NamedTuple):
    """Answers of about the same confidence: its mean, the share that is right, how many."""

    confidence: float
    accuracy: float
    answers: int


class Point(NamedTuple):
    """What a threshold keeps: the share of answers, and the share of those that is right."""

    threshold: float
    coverage: float
    accuracy: float
    answers: int


def curve(confidence: Sequence[float], right: Sequence[bool]) -> list[Point]:
    """Coverage and accuracy at every threshold that changes something, the highest first.

    confidence (Sequence[float]), right (Sequence[bool]): Of each answer. *Shape:* `(n,)`.
    RETURNS (list[Point]): A threshold keeps what is as sure or surer.
    """
    sure = np.asarray(confidence, dtype=np.float64)
    order = np.argsort(-sure, kind="stable")
    sure, correct = sure[order], np.cumsum(np.asarray(right, dtype=np.float64)[order])
    # Equal confidences stay together.
    (ends,) = np.nonzero(np.append(sure[:-1] > sure[1:], True)[: len(sure)])
    return [
        Point(float(sure[end]), (end + 1) / len(sure), float(correct[end]) / (end + 1), end + 1)
        for end in ends.tolist()
    ]


def thinned(points: Sequence[Point], count: int = POINTS) -> list[Point]:
    """RETURNS (list[Point]): At most so many of them, evenly, with the first and the last."""
    if len(points) <= count:
        return list(points)
    chosen = np.unique(np.linspace(0, len(points) - 1, count).round().astype(int))
    return [points[i] for i in chosen.tolist()]


def at(points: Sequence[Point], threshold: float) -> Point:
    """RETURNS (Point): What a threshold keeps; nothing of it is right where it keeps nothing."""
    kept = [point for point in points if point.threshold >= threshold]
    return kept[-1]._replace(threshold=threshold) if kept else Point(threshold, 0.0, 0.0, 0)


def threshold_for(points: Sequence[Point], precision: float) -> Point | None:
    """The threshold that keeps the most answers of which a share is right.

    RETURNS (Point | None): The threshold lies half-way to the next lower confidence. None if no
        threshold keeps answers of which so many are right.
    """
    good = [i for i, point in enumerate(points) if point.accuracy >= precision]
    if not good:
        return None
    last = points[good[-1]]
    below = points[good[-1] + 1].threshold if good[-1] + 1 < len(points) else 0.0
    return last._replace(threshold=(last.threshold + below) / 2)


def groups(confidence: Sequence[float], right: Sequence[bool], count: int = 10) -> list[Group]:
    """A reliability diagram's points: groups of equal size, as `expected_calibration_error` has
    them. Equal confidences stay together.
    """
    if not len(confidence):
        return []
    sure, correct = np.asarray(confidence, float), np.asarray(right, float)
    member = np.searchsorted(np.sort(sure), sure) * count // len(sure)
    return [
        Group(float(sure[of].mean()), float(correct[of].mean()), int(of.sum()))
        for of in (member == number for number in np.unique(member))
    ]
