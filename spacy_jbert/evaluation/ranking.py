"""How good a ranked list is: of what was wanted, how much is in it, and how far up."""

import math
from collections.abc import Collection, Sequence


def recall_at(ranked: Sequence[str], wanted: Collection[str], k: int) -> float:
    """RETURNS (float): The share of what was wanted that is among the first k; of more than k
    wanted ones, k can be.

    ranked (Sequence[str]): Ids, the best first, each once.
    wanted (Collection[str]): Ids; one at least.
    """
    found = sum(item in wanted for item in ranked[:k])
    return found / min(k, len(wanted))


def ndcg_at(ranked: Sequence[str], wanted: Collection[str], k: int) -> float:
    """RETURNS (float): The discounted cumulative gain of the first k, as a share of the best there
    could be (Järvelin & Kekäläinen 2002). Whatever was wanted has a gain of 1.

    ranked, wanted: As for `recall_at`.
    """
    gain = sum(_discount(rank) for rank, item in enumerate(ranked[:k]) if item in wanted)
    return gain / sum(_discount(rank) for rank in range(min(k, len(wanted))))


def _discount(rank: int) -> float:
    """Of a rank that is counted from 0."""
    return 1.0 / math.log2(rank + 2)
