"""A choice that doesn't say the same thing twice: maximal marginal relevance (Carbonell & Goldstein
1998, "The use of MMR, diversity-based reranking")."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def choose_diverse(
    relevance: NDArray, likeness: Callable[[int], NDArray], n: int, diversity: float
) -> list[int]:
    """Choose from candidates, one after the other, the one that is most relevant and least like
    those that are chosen already.

    relevance (NDArray): Of each candidate. *Shape:* `(n_candidates,)`.
    likeness (Callable): Of all candidates to one of them, on the scale of the relevance. *Shape:*
        `(n_candidates,)`.
    n (int): How many to choose.
    diversity (float): What likeness counts, and relevance the rest (1 − λ in the paper). 0: the
        most relevant.
    RETURNS (list[int]): The numbers of at most n candidates, in the order of the choice; of equal
        ones the first.
    """
    # In float32 a share of the smallest relevance would be 0.
    relevance = relevance.astype(np.float64)
    chosen: list[int] = []
    alike = np.zeros(len(relevance))
    while len(chosen) < min(n, len(relevance)):
        worth = (1.0 - diversity) * relevance - diversity * alike
        worth[chosen] = -np.inf
        best = int(np.argmax(worth))
        # Of the first one, however unlike: a cosine may be negative.
        alike = np.maximum(alike, likeness(best)) if chosen else likeness(best)
        chosen.append(best)
    return chosen
