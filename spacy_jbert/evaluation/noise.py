"""Labels that are likely wrong: what a model, trained without a document, says against its
annotation.

Confident learning (Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in
Dataset Labels", JAIR 70): a model is confident of a class where its probability reaches the mean of
those that it gives to the documents of that class. So a class that is never said surely needs less
than one that is."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Found = tuple[int, int, str]
"""Start and end in characters, and label."""


class Suspect(NamedTuple):
    """A label that is likely wrong.

    number (int): Of the document.
    given (str): What is annotated; "" for nothing.
    said (str): What the model says; "" for nothing.
    place (tuple | None): Start and end in characters, of an entity.
    margin (float): The probability of what is given less that of what is said: the lower, the
        likelier it is wrong (normalised margin).
    """

    number: int
    given: str
    said: str
    place: tuple[int, int] | None
    margin: float


def wrong_classes(
    probabilities: Floats, given: NDArray[np.int64], labels: Sequence[str]
) -> list[Suspect]:
    """Of classes that exclude each other.

    probabilities (Floats): Out of fold. *Shape:* `(n_docs, n_labels)`.
    given (NDArray): The number of the annotated label. *Shape:* `(n_docs,)`.
    RETURNS (list[Suspect]): The likeliest first.
    """
    n_docs, n_labels = probabilities.shape
    if not n_docs:
        return []
    needed = np.array(
        [
            probabilities[given == label, label].mean() if (given == label).any() else np.inf
            for label in range(n_labels)
        ]
    )
    confident = probabilities >= needed
    said = np.where(confident, probabilities, -1.0).argmax(axis=1)
    (wrong,) = np.nonzero(confident.any(axis=1) & (said != given))
    suspects = [
        Suspect(
            int(i),
            labels[given[i]],
            labels[said[i]],
            None,
            float(probabilities[i, given[i]] - probabilities[i, said[i]]),
        )
        for i in wrong
    ]
    return sorted(suspects, key=lambda suspect: suspect.margin)


def wrong_categories(probabilities: Floats, given: Floats, labels: Sequence[str]) -> list[Suspect]:
    """Of labels that don't exclude each other: each is a question of its own.

    probabilities (Floats): Out of fold. *Shape:* `(n_docs, n_labels)`.
    given (Floats): 1.0, 0.0, or nan for not known. *Shape:* `(n_docs, n_labels)`.
    RETURNS (list[Suspect]): The likeliest first.
    """
    suspects: list[Suspect] = []
    for number, label in enumerate(labels):
        (known,) = np.nonzero(~np.isnan(given[:, number]))
        yes = probabilities[known, number]
        answers = ["", label]
        found = wrong_classes(
            np.stack([1.0 - yes, yes], axis=1), given[known, number].astype(np.int64), answers
        )
        suspects += [one._replace(number=int(known[one.number])) for one in found]
    return sorted(suspects, key=lambda suspect: suspect.margin)


def usual_confidence(right: Iterable[tuple[str, float]]) -> dict[str, float]:
    """How sure a model is on average of what it gets right with each label: from there on it is
    confident of something.

    right (Iterable): The label and the confidence of each right answer.
    RETURNS (dict[str, float]): By label; without those it never gets right.
    """
    by_label: dict[str, list[float]] = {}
    for label, confidence in right:
        by_label.setdefault(label, []).append(confidence)
    return {label: float(np.mean(values)) for label, values in by_label.items()}


def wrong_entities(
    gold: Sequence[Sequence[Found]],
    predicted: Sequence[Mapping[Found, float]],
    likely: Sequence[Mapping[Found, float]],
    *,
    least: float,
) -> list[Suspect]:
    """Of entities: one that the model is confident of and that isn't annotated; one that is
    annotated and that the model gives next to no probability.

    gold: Of each document what is annotated.
    predicted: Of each document what was found, with its confidence.
    likely: Of each document every span with a probability of `least` or more.
    least (float): An annotated entity under it is a suspect.
    RETURNS (list[Suspect]): The likeliest first. A wrong type or border is one suspect, not two.
    """
    needed = usual_confidence(
        (place[2], found[place])
        for wanted, found in zip(gold, predicted, strict=True)
        for place in set(wanted) & found.keys()
    )
    suspects: list[Suspect] = []
    for number, (wanted, found, spans) in enumerate(zip(gold, predicted, likely, strict=True)):
        suspects += _of_document(number, wanted, found, spans, needed, least)
    return sorted(suspects, key=lambda suspect: suspect.margin)


def _of_document(
    number: int,
    wanted: Sequence[Found],
    found: Mapping[Found, float],
    likely: Mapping[Found, float],
    needed: Mapping[str, float],
    least: float,
) -> Iterator[Suspect]:
    left = {
        place: sure
        for place, sure in found.items()
        if place not in wanted and sure >= needed.get(place[2], np.inf)
    }
    for start, end, label in wanted:
        if (start, end, label) in found:
            continue
        probability = likely.get((start, end, label), 0.0)
        other = next((place for place in left if place[0] < end and start < place[1]), None)
        if other is not None:
            margin = probability - left.pop(other)
            yield Suspect(number, label, other[2], (other[0], other[1]), margin)
        elif probability < least and not any(s < end and start < e for s, e, _ in found):
            yield Suspect(number, label, "", (start, end), 2.0 * probability - 1.0)
    for (start, end, label), sure in left.items():
        yield Suspect(number, "", label, (start, end), 1.0 - 2.0 * sure)
