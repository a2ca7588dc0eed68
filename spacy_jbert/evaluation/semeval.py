"""Errors of entities as SemEval-2013 task 9 counts them, and as the nervaluate package names them:
is it the border, the type, or the whole entity?

Segura-Bedmar et al. 2013, SemEval-2013 Task 9: Extraction of Drug-Drug Interactions from
Biomedical Texts."""

from collections import Counter
from collections.abc import Sequence

from .mistakes import Label

SCHEMES = ("strict", "exact", "partial", "type")
OUTCOMES = ("correct", "incorrect", "partial", "missed", "spurious")


def outcomes(gold: Sequence[Label], found: Sequence[Label]) -> dict[str, Counter[str]]:
    """How the entities of a document fare in each scheme.

    strict: borders and type have to be right; exact: the borders; partial: an overlap is half
    right; type: the type, with any overlap.

    gold, found (Sequence[Label]): Annotated and predicted entities.
    RETURNS (dict[str, Counter[str]]): For each scheme how many are correct, incorrect, partial,
        missed, spurious.
    """
    counts: dict[str, Counter[str]] = {scheme: Counter() for scheme in SCHEMES}
    left, pairs = list(gold), []
    # What fits best is paired first; a pair of the same borders before one that only overlaps.
    unpaired = list(found)
    for fits in (_equal, _same_borders, _same_type, _overlap):
        for other in list(unpaired):
            match = next((wanted for wanted in left if fits(wanted, other)), None)
            if match is not None:
                left.remove(match)
                unpaired.remove(other)
                pairs.append((match, other))
    for wanted, other in pairs:
        borders, type_ = wanted[1:] == other[1:], wanted.label == other.label
        counts["strict"]["correct" if borders and type_ else "incorrect"] += 1
        counts["exact"]["correct" if borders else "incorrect"] += 1
        counts["partial"]["correct" if borders else "partial"] += 1
        counts["type"]["correct" if type_ else "incorrect"] += 1
    for of_scheme in counts.values():
        of_scheme["missed"] += len(left)
        of_scheme["spurious"] += len(unpaired)
    return counts


def scores(counts: Counter[str]) -> tuple[float, float, float]:
    """RETURNS: Precision, recall and F of a scheme's outcomes; what is partial counts half."""
    right = counts["correct"] + 0.5 * counts["partial"]
    paired = counts["correct"] + counts["incorrect"] + counts["partial"]
    found, wanted = paired + counts["spurious"], paired + counts["missed"]
    return (
        right / found if found else 0.0,
        right / wanted if wanted else 0.0,
        2 * right / (found + wanted) if found + wanted else 0.0,
    )


def _equal(a: Label, b: Label) -> bool:
    return a == b


def _same_borders(a: Label, b: Label) -> bool:
    return a[1:] == b[1:]


def _same_type(a: Label, b: Label) -> bool:
    return a.label == b.label and _overlap(a, b)


def _overlap(a: Label, b: Label) -> bool:
    return a.start < b.end and b.start < a.end
