"""From which confidence on a pipeline is right often enough: found on held-out documents, kept in
the pipeline as `jbert_threshold`."""

import logging
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from spacy.language import Language
from spacy.pipeline import TextCategorizer
from spacy.scorer import Scorer
from spacy.training import Example

from ..errors import Errors, Warnings
from . import coverage
from .answers import Answer, Answers, answers_of, finds_entities
from .intervals import wilson
from .mistakes import labels_of
from .temperature import is_pooled_textcat, threshold_pipes

logger = logging.getLogger(__name__)

FACTORY = "jbert_threshold"
ANY = "*"
"""The threshold of labels that have none of their own."""

Thresholds = dict[str, float | None]
"""By label; None: never sure enough."""

FEW = 30
"""Of fewer answers no precision can be told."""


def reaches(thresholds: Thresholds, label: str, score: float) -> bool:
    """RETURNS (bool): Whether a label is sure enough; all are that no threshold is set for."""
    threshold = thresholds.get(label, thresholds.get(ANY, 0.0))
    return threshold is not None and score >= threshold


class Found(NamedTuple):
    """A threshold, and what it keeps of the held-out answers.

    task (str): See `Answers.name`.
    label (str): Or "*" for all that have none of their own.
    threshold (float | None): None if none is high enough.
    coverage, precision (float): Of the answers; low: the lower end of the precision's interval.
    answers (int): How many there were.
    """

    task: str
    label: str
    threshold: float | None
    coverage: float
    precision: float
    low: float
    answers: int


def fit_thresholds(
    nlp: Language,
    examples: Sequence[Example],
    precision: float,
    *,
    labels: Sequence[str] = (),
    by_label: bool = False,
) -> list[Found]:
    """Find the lowest thresholds from which on a share of the answers is right, and put them into
    the pipeline. Those of other labels that it has already stay.

    examples (Sequence[Example]): Held-out documents; the pipeline has annotated them, without
        thresholds.
    precision (float): The share, 0 to 1.
    labels (Sequence[str]): For these labels only, each by itself.
    by_label (bool): For each label by itself.
    RAISES: ValueError J412 if no threshold does it, J413 if nothing has a confidence, J482 if there
        is no answer with any of the labels.
    """
    answers = [
        of for of in answers_of(nlp, examples, entities=finds_entities(nlp, examples)) if of.said
    ]
    if not answers:
        raise ValueError(Errors.J413.format(names=", ".join(nlp.pipe_names) or "none"))
    found = [one for of in answers for one in _of_task(of, precision, labels, by_label)]
    if labels or by_label:
        _tell_unknown(nlp, examples, found, labels)
    few = [
        one.label for one in found if one.threshold is not None and one.coverage * one.answers < FEW
    ]
    if few:
        logger.warning(Warnings.JW410.format(few=FEW, labels=", ".join(few)))
    _put(nlp, found, {of.name for of in answers if of.exclusive is False}, keep=bool(labels))
    _measure_again(nlp, examples)
    return found


def _tell_unknown(
    nlp: Language, examples: Sequence[Example], found: Sequence[Found], labels: Sequence[str]
) -> None:
    """Name the labels that no threshold was looked for, as there is no answer with them."""
    wanted = set(labels) or set().union(*(of.known for of in labels_of(nlp, examples)))
    unknown = ", ".join(sorted(wanted - {one.label for one in found}))
    if not found:
        raise ValueError(Errors.J482.format(labels=unknown))
    if unknown:
        logger.warning(Warnings.JW470.format(labels=unknown))


def _of_task(
    answers: Answers, precision: float, labels: Sequence[str], by_label: bool
) -> list[Found]:
    if labels or by_label:
        wanted = [label for label in answers.labels if not labels or label in labels]
        each = {
            label: [answer for answer in answers.said if answer.label == label] for label in wanted
        }
        return [_find(answers, label, said, precision) for label, said in each.items() if said]
    found = _find(answers, ANY, answers.said, precision)
    if found.threshold is None:
        best = max(_points(answers.said), key=lambda point: (point.accuracy, point.answers))
        raise ValueError(
            Errors.J412.format(
                precision=precision, what=answers.name, best=best.accuracy, count=best.answers
            )
        )
    return [found]


def _points(said: Iterable[Answer]) -> list[coverage.Point]:
    said = list(said)
    return coverage.curve([one.confidence for one in said], [one.right for one in said])


def _find(answers: Answers, label: str, said: list[Answer], precision: float) -> Found:
    point = coverage.threshold_for(_points(said), precision)
    if point is None:
        if label != ANY:
            logger.warning(Warnings.JW411.format(precision=precision, label=label))
        return Found(answers.name, label, None, 0.0, 0.0, 0.0, len(said))
    low, _ = wilson(round(point.accuracy * point.answers), point.answers)
    # Rounded down, so that nothing that is kept here falls under it.
    threshold = int(point.threshold * 1e6) / 1e6
    return Found(answers.name, label, threshold, point.coverage, point.accuracy, low, len(said))


def _put(nlp: Language, found: Sequence[Found], several: set[str], *, keep: bool) -> None:
    """Write the thresholds into the pipeline.

    several (set[str]): The text classifiers whose labels don't exclude each other.
    keep (bool): Whether thresholds that are there stay.
    """
    entities: Thresholds = {}
    categories: Thresholds = {}
    before = _state(nlp)
    for name in threshold_pipes(nlp):
        pipe = nlp.get_pipe(name)
        # Those of before the first thresholds.
        before = pipe.before or before
        if keep:
            entities |= pipe.entities
            categories |= pipe.categories
        nlp.remove_pipe(name)
    for one in found:
        (entities if one.task == "entities" else categories)[one.label] = one.threshold
    added = nlp.add_pipe(FACTORY, last=True)
    added.set(entities, categories)
    added.before = before
    # Where any number of labels fits, the classifier itself has a threshold for each.
    for name in several:
        pipe = nlp.get_pipe(name)
        of_pipe = {one.label: one.threshold for one in found if one.task == name}
        if is_pooled_textcat(pipe) and of_pipe:
            pipe.cfg["threshold"] = _by_label(pipe, of_pipe)


def _by_label(pipe: Any, found: Thresholds) -> dict[str, float]:
    before = pipe.cfg["threshold"]
    kept = before if isinstance(before, dict) else dict.fromkeys(pipe.labels, before)
    wanted = {
        label: found.get(label, found.get(ANY, kept.get(label, 0.5))) for label in pipe.labels
    }
    # No score is above 1.
    return {label: 1.0 if value is None else value for label, value in wanted.items()}


def _measure_again(nlp: Language, examples: Sequence[Example]) -> None:
    """Put right the figures in the pipeline's meta: with thresholds less is found, and more of it
    is right.
    """
    for pipe in threshold_pipes(nlp):
        for eg in examples:
            eg.predicted = nlp.get_pipe(pipe)(eg.predicted)
    performance = nlp.meta.get("performance")
    if performance:
        after = Scorer(nlp).score(examples)
        for name in after.keys() & performance.keys():
            performance[name] = after[name]
            # It is of other documents.
            performance.pop(f"{name}_interval", None)


def _state(nlp: Language) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): What thresholds change besides their own component: those of the
    text classifiers, and the figures in the meta."""
    thresholds = {
        name: pipe.cfg["threshold"]
        for name, pipe in nlp.pipeline
        if isinstance(pipe, TextCategorizer) and "threshold" in pipe.cfg
    }
    return deepcopy({"thresholds": thresholds, "performance": nlp.meta.get("performance", {})})


def clear(nlp: Language) -> list[str]:
    """Take the thresholds out of a pipeline: it says again what it said before, and its meta has
    the figures of that.

    RETURNS (list[str]): The components that were taken out.
    """
    names = threshold_pipes(nlp)
    for name in names:
        before = nlp.get_pipe(name).before
        nlp.remove_pipe(name)
        for of, threshold in before.get("thresholds", {}).items():
            if nlp.has_pipe(of):
                nlp.get_pipe(of).cfg["threshold"] = deepcopy(threshold)
        if "performance" in before:
            nlp.meta["performance"] = deepcopy(before["performance"])
    return names
