"""How near what was written comes to what was meant."""

from collections.abc import Sequence
from importlib.util import find_spec

from ..errors import Errors


def require_scores() -> None:
    """RAISES: ImportError J469 if sacrebleu is missing."""
    if find_spec("sacrebleu") is None:
        raise ImportError(Errors.J469.format(package="sacrebleu", extra="seq2seq"))


def scores(written: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """Compare texts.

    RETURNS (dict[str, float]): `exact`, the share of those that are the same; `chrf`, F of
        n-grams of characters (Popović 2015), 0 to 100.
    RAISES: ImportError J469 if sacrebleu is missing.
    """
    require_scores()
    from sacrebleu.metrics.chrf import CHRF

    exact = sum(a == b for a, b in zip(written, wanted, strict=True)) / len(wanted)
    chrf = CHRF().corpus_score(list(written), [list(wanted)]).score
    return {"exact": round(exact, 4), "chrf": round(chrf, 2)}
