"""Two pipelines on the same documents: how much better one is, whether that could be chance, and
which documents one gets and the other doesn't."""

from dataclasses import dataclass

from ..errors import Errors
from .intervals import Difference, compare
from .outcome import Outcome, Task


@dataclass
class Comparison:
    """The second pipeline beside the first.

    differences (dict): By the name of the task, of each score that both have, see `compare`.
    labels (dict): By the name of the task: label, support, and the F of both.
    wrong (dict[str, str]): Whose answer is wrong ("A", "B", "AB"), by the number of the document.
    """

    differences: dict[str, dict[str, Difference]]
    labels: dict[str, list[tuple[str, int, float, float]]]
    wrong: dict[str, str]

    @property
    def only(self) -> dict[str, int]:
        """RETURNS (dict[str, int]): How many documents A alone, B alone, and both get wrong."""
        found = list(self.wrong.values())
        return {name: found.count(name) for name in ("A", "B", "AB")}


def compared(first: Outcome, second: Outcome) -> Comparison:
    """Compare two pipelines.

    first, second (Outcome): Measured on the same documents.
    RAISES: ValueError J411 if they answer nothing of the same kind.
    """
    of_first, of_second = ({of.name: of for of in one.answers} for one in (first, second))
    differences, labels = {}, {}
    tasks = [{task.name: task for task in one.tasks} for one in (first, second)]
    for name in (name for name in tasks[0] if name in tasks[1]):
        ours, theirs = (of[name] for of in tasks)
        # Of one the labels may exclude each other and of the other not: some scores are of both.
        if shared := [score for score in ours.headline if score in theirs.headline]:
            # The counts of the headlines, so that their difference is the one that is shown.
            found = compare(of_first[name].counts, of_second[name].counts)
            differences[name] = {score: found[_COUNTED.get(score, score)] for score in shared}
            labels[name] = _by_label(ours, theirs)
    if not differences:
        raise ValueError(Errors.J411.format(first=", ".join(of_first), second=", ".join(of_second)))
    wrong: dict[int, str] = {}
    for letter, one in zip("AB", (first, second), strict=True):
        for number in one.records:
            wrong[number] = wrong.get(number, "") + letter
    return Comparison(differences, labels, {str(number): wrong[number] for number in sorted(wrong)})


# Of exclusive labels there is one answer a document, so their precision is the accuracy.
_COUNTED = {"accuracy": "p"}


def _by_label(first: Task, second: Task) -> list[tuple[str, int, float, float]]:
    """The labels of both; what one of them lacks it never gets right."""
    rows = [{row["label"]: row for row in task.labels} for task in (first, second)]
    found = []
    for label in rows[0] | rows[1]:
        pair = [of.get(label, {"support": 0, "f": 0.0}) for of in rows]
        found.append((label, max(row["support"] for row in pair), pair[0]["f"], pair[1]["f"]))
    return sorted(found, key=lambda row: (-row[1], row[0]))
