"""Two pipelines on the same documents: how much better one is, whether that could be chance, and
which documents one gets and the other doesn't."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import Errors
from .answers import Answers
from .intervals import Difference, compare
from .outcome import Outcome


@dataclass
class Comparison:
    """The second pipeline beside the first.

    differences (dict): By the name of the task, see `compare`.
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
    names = [name for name in of_first if name in of_second]
    if not names:
        raise ValueError(Errors.J411.format(first=", ".join(of_first), second=", ".join(of_second)))
    differences, labels = {}, {}
    for name in names:
        pair = of_first[name], of_second[name]
        differences[name] = _named(compare(*_on_the_same_labels(*pair)), pair[0])
        rows = [
            {row["label"]: row for task in one.tasks if task.name == name for row in task.labels}
            for one in (first, second)
        ]
        labels[name] = [
            (label, row["support"], row["f"], rows[1].get(label, {"f": 0.0})["f"])
            for label, row in rows[0].items()
        ]
    wrong: dict[int, str] = {}
    for letter, one in zip("AB", (first, second), strict=True):
        for number in one.records:
            wrong[number] = wrong.get(number, "") + letter
    return Comparison(differences, labels, {str(number): wrong[number] for number in sorted(wrong)})


def _named(found: dict[str, Difference], answers: Answers) -> dict[str, Difference]:
    """The names of a task's headline: of one label a text, F over all is the accuracy."""
    if answers.exclusive is None:
        return {name: found[name] for name in "prf"}
    if answers.exclusive:
        return {"accuracy": found["r"], "macro_f": found["macro_f"]}
    return found


def _on_the_same_labels(first: Answers, second: Answers) -> Sequence[np.ndarray]:
    labels = sorted({*first.labels, *second.labels})
    widened = []
    for answers in (first, second):
        counts = np.zeros((len(answers.counts), len(labels), 3))
        if answers.labels:
            counts[:, [labels.index(label) for label in answers.labels]] = answers.counts
        widened.append(counts)
    return widened
