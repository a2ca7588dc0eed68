"""Every well-formed sequence of tags, one by one: what the recursions are compared with."""

from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray


def well_formed(length: int, n_labels: int) -> list[tuple[int, ...]]:
    """Every sequence of tags in which entities open and close."""

    def fits(tags: tuple[int, ...]) -> bool:
        inside = -1
        for tag in tags:
            kind, label = ("O", -1) if tag == 0 else ("BILU"[(tag - 1) % 4], (tag - 1) // 4)
            if (inside >= 0) != (kind in "IL") or (kind in "IL" and label != inside):
                return False
            inside = label if kind in "BI" else -1
        return inside == -1

    return [tags for tags in product(range(1 + 4 * n_labels), repeat=length) if fits(tags)]


def entities(tags: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Start, end and label of each entity."""
    found, start = [], 0
    for i, tag in enumerate(tags):
        kind = "O" if tag == 0 else "BILU"[(tag - 1) % 4]
        start = i if kind in "BU" else start
        if kind in "LU":
            found.append((start, i + 1, (tag - 1) // 4))
    return found


def weight(tags: tuple[int, ...], scores: NDArray, transitions: NDArray | None) -> float:
    """The sum of the scores of tags, and of the transitions between what ends and what begins.

    Borders of the text count as O.
    """
    total = float(scores[np.arange(len(tags)), list(tags)].astype(float).sum())
    if transitions is not None:
        whole = [
            0,
            *(
                0 if tag == 0 else 1 + (tag - 1) // 4
                for tag in tags
                if tag == 0 or "BILU"[(tag - 1) % 4] in "BU"
            ),
            0,
        ]
        total += sum(float(transitions[a, b]) for a, b in pairwise(whole))
    return total
