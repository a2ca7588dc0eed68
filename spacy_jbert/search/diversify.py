"""A list that doesn't say the same thing ten times: maximal marginal relevance (Carbonell &
Goldstein 1998, "The use of MMR, diversity-based reranking")."""

import numpy as np
from numpy.typing import NDArray

from ..errors import Errors

Floats = NDArray[np.float32]


def diversify(relevance: Floats, vectors: Floats, n: int, diversity: float = 0.3) -> list[int]:
    """Choose from candidates, one after the other, the one that is most relevant and least like
    those that are chosen already.

    relevance (NDArray): Of each candidate; on the scale of a cosine. *Shape:* `(n_candidates,)`.
    vectors (NDArray): Of length 1. *Shape:* `(n_candidates, width)`.
    n (int): How many to choose.
    diversity (float): What likeness counts, and relevance the rest (1 − λ in the paper). 0: the
        most relevant.
    RETURNS (list[int]): The numbers of at most n candidates, in the order of the list.
    RAISES: ValueError J580.
    """
    if not 0.0 <= diversity <= 1.0:
        raise ValueError(Errors.J580.format(name="diversity", value=diversity, wanted="0 to 1"))
    left = np.ones(len(relevance), dtype=bool)
    likeness = np.zeros(len(relevance), dtype=np.float32)
    chosen: list[int] = []
    while left.any() and len(chosen) < n:
        gain = (1.0 - diversity) * relevance - diversity * likeness
        best = int(np.argmax(np.where(left, gain, -np.inf)))
        alike = vectors @ vectors[best]
        # Of the first one, however unlike: a cosine may be negative.
        likeness = np.maximum(likeness, alike) if chosen else alike
        chosen.append(best)
        left[best] = False
    return chosen
