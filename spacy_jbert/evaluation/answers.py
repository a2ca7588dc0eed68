"""What a pipeline answers on annotated documents, how sure it is, and whether it is right: what
scores, curves and thresholds are made from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.training import Example

from .confidence import get_confidence
from .mistakes import (
    Label,
    annotate,
    entity_mistakes,
    text_classifiers,
    uncertain,
    wanted_category,
)
from .scorers import is_right, require_confidences, threshold_of
from .semeval import SCHEMES, outcomes
from .temperature import at_temperature, threshold_pipes


class Answer(NamedTuple):
    """Something a pipeline says of a document.

    label (str): What.
    confidence (float): How sure it is, 0 to 1.
    right (bool): Whether the annotation says the same.
    claimed (bool): Whether it says so at all: of labels that don't exclude each other, only those
        that reach their threshold.
    """

    label: str
    confidence: float
    right: bool
    claimed: bool = True


@dataclass
class Answers:
    """The answers of one kind, of one component.

    name (str): "entities", or the name of the text classifier.
    exclusive (bool | None): Whether one label fits a document; None for entities.
    labels (list[str]): What is counted.
    lacking (list[str]): Of these, what is annotated and the text classifier can't find.
    counts (NDArray): Right, invented and missed. *Shape:* `(n_docs, n_labels, 3)`.
    said (list[Answer]): What has a confidence.
    confusion (Counter): How often a label was annotated and another, or the same, found; "" for
        nothing. Empty for labels that don't exclude each other.
    semeval (dict): See `semeval.outcomes`; empty for categories.
    """

    name: str
    exclusive: bool | None
    labels: list[str]
    counts: NDArray[np.float64]
    said: list[Answer] = field(default_factory=list)
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    semeval: dict[str, Counter[str]] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)

    @property
    def claims(self) -> list[Answer]:
        return [answer for answer in self.said if answer.claimed]


def answers_of(
    nlp: Language, examples: Sequence[Example], *, entities: bool, lacking: bool = False
) -> list[Answers]:
    """The answers of every component that is looked at.

    examples (Sequence[Example]): The pipeline has annotated them.
    entities (bool): Whether it finds entities.
    lacking (bool): Whether categories that no component knows count as missed, as such entities do.
        spaCy's scores leave them out.
    RETURNS (list[Answers]): Of entities, then of each text classifier. What isn't annotated in any
        document is left out.
    RAISES: ValueError J072 for probabilities that are none.
    """
    found = [entity_answers(examples)] if entities else []
    found += [
        category_answers(
            examples,
            pipe.labels,
            name=name,
            exclusive=not pipe.model.attrs["multi_label"],
            threshold=pipe.cfg["threshold"],
            lacking=unknown,
        )
        for name, pipe, unknown in text_classifiers(nlp, examples)
    ]
    if not lacking:
        found = [_of_known_labels(of) for of in found]
    return [of for of in found if of.counts[:, :, [0, 2]].any()]


def _of_known_labels(answers: Answers) -> Answers:
    count = len(answers.labels) - len(answers.lacking)
    return replace(
        answers, labels=answers.labels[:count], counts=answers.counts[:, :count], lacking=[]
    )


def entity_answers(examples: Sequence[Example]) -> Answers:
    """The entities, counted as spaCy's `get_ner_prf` does. Those under their threshold are said,
    and not counted as found.
    """
    annotated = [eg for eg in examples if eg.reference.has_annotation("ENT_IOB")]
    ents = [ent for eg in annotated for doc in (eg.reference, eg.predicted) for ent in doc.ents]
    labels = sorted({ent.label_ for ent in ents})
    number = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(examples), len(labels), 3))
    answers = Answers("entities", None, labels, counts)
    answers.semeval = {scheme: Counter() for scheme in SCHEMES}
    for of_doc, eg in zip(counts, examples, strict=True):
        if not eg.reference.has_annotation("ENT_IOB"):
            continue
        for ent in eg.reference.ents:
            of_doc[number[ent.label_], 2] += 1
        for ent in eg.predicted.ents:
            right = is_right(eg, ent)
            if right is not None:
                of_doc[number[ent.label_]] += (1, 0, -1) if right else (0, 1, 0)
                confidence = get_confidence(ent)
                if confidence is not None:
                    answers.said.append(Answer(ent.label_, confidence, right))
        for ent, confidence in uncertain(eg.predicted):
            right = is_right(eg, ent)
            if right is not None:
                answers.said.append(Answer(ent.label_, confidence, right))
        _confuse(answers, eg)
    require_confidences(answer.confidence for answer in answers.said)
    return answers


def _confuse(answers: Answers, eg: Example) -> None:
    """What is taken for what, and where the errors are."""
    wanted = [Label(ent.label_, ent.start_char, ent.end_char) for ent in eg.reference.ents]
    found = [Label(ent.label_, ent.start_char, ent.end_char) for ent in eg.predicted.ents]
    for label, _, _ in set(wanted) & set(found):
        answers.confusion[label, label] += 1
    judged = set(wanted) & set(found)
    for mistake in entity_mistakes(eg.reference, eg.predicted):
        gold, predicted = mistake.gold, mistake.answered
        answers.confusion[gold.label if gold else "", predicted.label if predicted else ""] += 1
        judged.update(side for side in (predicted,) if side)
    # What is found where the annotation says nothing is neither right nor wrong.
    for scheme, counts in outcomes(wanted, [label for label in found if label in judged]).items():
        answers.semeval[scheme] += counts


def category_answers(
    examples: Sequence[Example],
    labels: Sequence[str],
    *,
    name: str,
    exclusive: bool,
    threshold: float | Mapping[str, float] = 0.5,
    lacking: Sequence[str] = (),
) -> Answers:
    """The categories of a text classifier, counted as spaCy's `Scorer.score_cats` does, but for
    documents that none of the exclusive classes fits: whatever is said of one is wrong. (spaCy
    takes the first class for annotated.)

    labels (Sequence[str]): The component's.
    threshold (float | Mapping[str, float]): See `threshold_of`.
    lacking (Sequence[str]): What else is annotated. It counts as missed.
    """
    counted = [*labels, *lacking]
    number = {label: i for i, label in enumerate(counted)}
    counts = np.zeros((len(examples), len(counted), 3))
    answers = Answers(name, exclusive, counted, counts, lacking=list(lacking))
    for of_doc, eg in zip(counts, examples, strict=True):
        gold, said = eg.reference.cats, eg.predicted.cats
        if not gold or not labels:
            continue
        require_confidences(said.values())
        if not exclusive:
            for label in (label for label in labels if label in gold):
                right, sure = gold[label] > 0, said.get(label, 0.0)
                claimed = sure >= threshold_of(threshold, label)
                of_doc[number[label]] += (right and claimed, claimed > right, right > claimed)
                answers.said.append(Answer(label, sure, right, claimed))
            for label in lacking:
                of_doc[number[label], 2] += gold.get(label, 0.0) > 0
            continue
        wanted = wanted_category(gold, labels, lacking)
        if wanted is None:
            continue
        best = max(labels, key=lambda label: said.get(label, 0.0))
        answers.said.append(Answer(best, said.get(best, 0.0), best == wanted))
        answers.confusion[wanted, best] += 1
        of_doc[number[best]] += (1, 0, 0) if best == wanted else (0, 1, 0)
        if wanted in number and wanted != best:
            of_doc[number[wanted], 2] += 1
    return answers


def uncalibrated(nlp: Language, examples: Sequence[Example]) -> dict[str, list[Answer]]:
    """What would be said with every temperature at 1, and without thresholds: one more pass.

    examples (Sequence[Example]): They stay as they are.
    RETURNS (dict[str, list[Answer]]): By the name of the `Answers`. Empty if nothing is calibrated.
    """
    fresh = [Example(nlp.make_doc(eg.text), eg.reference) for eg in examples]
    with ExitStack() as stack:
        changed = [stack.enter_context(at_temperature(pipe, 1.0)) for _, pipe in nlp.pipeline]
        if not any(changed):
            return {}
        annotate(nlp, fresh, disable=threshold_pipes(nlp))
        entities = any(eg.predicted.ents for eg in fresh)
        return {of.name: of.said for of in answers_of(nlp, fresh, entities=entities)}


def finds_entities(nlp: Language, examples: Sequence[Example]) -> bool:
    """RETURNS (bool): Whether a pipeline can find entities, or has found some."""
    return any("doc.ents" in nlp.get_pipe_meta(name).assigns for name in nlp.pipe_names) or any(
        eg.predicted.ents for eg in examples
    )
