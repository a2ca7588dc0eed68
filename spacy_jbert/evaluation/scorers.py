"""What a pipeline gets wrong: its scores, how far its probabilities can be trusted, and every
mistake with its kind and confidence.

The numbers are spaCy's own (`Scorer`); this adds what one looks at after them. `report.py` shows
it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from spacy.language import Language
from spacy.pipeline import TextCategorizer
from spacy.scorer import Scorer
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..errors import Errors
from .confidence import get_confidence


def expected_calibration_error(
    confidence: Sequence[float], right: Sequence[bool], bins: int = 10
) -> float:
    """How far confidence is from accuracy, on average: 0.0 where of all that is said with 0.8, 80 %
    is right.

    Confidences are compared in groups of equal size: the adaptive error of Nixon et al. 2019,
    "Measuring Calibration in Deep Learning" (arXiv:1904.01685). Most confidences of a trained head
    are close to 1. Groups of equal width would put nearly all of them into one, in which too sure
    and too doubtful cancel, and very few into each of the others, where chance adds up. Like every
    such estimate it is too high for few confidences: of 400 perfectly calibrated ones it says about
    0.025.

    confidence (Sequence[float]): 0 to 1. *Shape:* `(n,)`.
    right (Sequence[bool]): Whether each is right. *Shape:* `(n,)`.
    bins (int): So many groups. Equal confidences stay together.
    RETURNS (float): The difference of the groups' means, weighted by their sizes; nan of nothing.
    RAISES: ValueError J072 if one of them is no confidence.
    """
    if len(confidence) == 0:
        return math.nan
    sure, correct = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    # As 32-bit numbers, sums of probabilities may be a little above 1.
    wrong = ~((sure >= 0.0) & (sure <= 1.0 + 1e-6))
    if wrong.any():
        raise ValueError(Errors.J072.format(value=sure[wrong][0]))
    group = np.searchsorted(np.sort(sure), sure) * bins // len(sure)
    return float(np.abs(np.bincount(group, sure - correct, minlength=bins)).sum() / len(sure))


def textcat_scorer(exclusive_classes: bool) -> Callable[..., dict[str, Any]]:
    """`spacy-jbert.textcat_scorer.v1`: spaCy's scores of categories, with three differences.

    - Documents without categories aren't counted. The stock scorer takes a prediction for one as a
      mistake.
    - `threshold` may be a table by label, as `spacy-jbert.calibrate.v1` makes it.
    - `cats_ece` is the expected calibration error: of the best label's probability if classes are
      exclusive, otherwise of all.

    exclusive_classes (bool): As the model has it: `${components.textcat.model.exclusive_classes}`.
    RETURNS (Callable): The scorer.
    """
    return partial(score_textcat, exclusive_classes=exclusive_classes)


def score_textcat(
    examples: Iterable[Example],
    *,
    exclusive_classes: bool,
    labels: Sequence[str],
    threshold: float | Mapping[str, float] = 0.5,
    positive_label: str | None = None,
    **cfg: Any,
) -> dict[str, Any]:
    """See `textcat_scorer`.

    RETURNS (dict[str, Any]): What `Scorer.score_cats` returns, and `cats_ece`.
    """
    examples = [eg for eg in examples if eg.reference.cats]

    def shifted(doc: Doc, attr: str) -> dict[str, float]:
        """Stretches each label's scores so that its threshold is at 0.5, the only one that the
        stock scorer takes.
        """
        cats: dict[str, float] = getattr(doc, attr)
        return {
            label: _stretch(value, threshold_of(threshold, label)) for label, value in cats.items()
        }

    scores: dict[str, Any] = Scorer.score_cats(
        examples,
        "cats",
        getter=getattr if exclusive_classes else shifted,
        labels=labels,
        multi_label=not exclusive_classes,
        positive_label=positive_label,
        threshold=0.5,
    )
    said: list[float] = []
    right: list[bool] = []
    for eg in examples:
        predicted, gold = eg.predicted.cats, eg.reference.cats
        considered = (
            [max(labels, key=lambda label: predicted[label])]
            if exclusive_classes
            else [label for label in labels if label in gold]
        )
        said += [predicted[label] for label in considered]
        right += [gold.get(label, 0.0) > 0 for label in considered]
    scores["cats_ece"] = expected_calibration_error(said, right) if said else None
    return scores


def threshold_of(threshold: float | Mapping[str, float], label: str) -> float:
    """The threshold of a label: `pipe.cfg["threshold"]` of a text classifier is one number, or a
    table of them by label.

    RETURNS (float): 0.5 for labels that came after the table.
    """
    return threshold.get(label, 0.5) if isinstance(threshold, Mapping) else threshold


def _stretch(value: float, threshold: float) -> float:
    if value < threshold or value == 0.0:  # 0.0 is also how annotation says no, and stays it
        return 0.5 * value / threshold if value else 0.0
    return 0.5 + 0.5 * (value - threshold) / (1.0 - threshold) if threshold < 1.0 else 0.5


class Label(NamedTuple):
    """A label and the characters it is on: all of the text for a category."""

    label: str
    start: int
    end: int


class Mistake(NamedTuple):
    """One difference between annotation and prediction.

    kind (str): For entities "missed", "invented", "wrong type" or "wrong border". For categories
        "wrong class" where they exclude each other, otherwise "missed class" or "invented class".
    text (str): The document's.
    gold, predicted (Label | None): What was annotated and what was found.
    confidence (float | None): How sure the pipeline was of it. None for an entity that was missed,
        or found without a confidence.
    """

    kind: str
    text: str
    gold: Label | None
    predicted: Label | None
    confidence: float | None


def entity_mistakes(gold: Doc, predicted: Doc) -> list[Mistake]:
    """Compare the entities of two Docs of the same text, by character.

    An entity that overlaps one of the other side is a wrong type (same characters) or a wrong
    border, reported once for both. What is found where the annotation says nothing is neither right
    nor wrong, as in spaCy's scores.

    RETURNS (list[Mistake]): In the order of the text.
    """
    unknown = [Label("", token.idx, token.idx + len(token)) for token in gold if not token.ent_iob]
    left_gold = {_label(ent): ent for ent in gold.ents}
    left_predicted = {_label(ent): ent for ent in predicted.ents}
    for right in left_gold.keys() & left_predicted.keys():
        del left_gold[right], left_predicted[right]
    mistakes = []
    for wanted in left_gold:
        found = next((other for other in left_predicted if _overlap(wanted, other)), None)
        if found is None:
            mistakes.append(Mistake("missed", gold.text, wanted, None, None))
        else:
            kind = "wrong type" if wanted[1:] == found[1:] else "wrong border"
            mistakes.append(
                Mistake(kind, gold.text, wanted, found, get_confidence(left_predicted.pop(found)))
            )
    for found, ent in left_predicted.items():
        if not any(_overlap(found, token) for token in unknown):
            mistakes.append(Mistake("invented", gold.text, None, found, get_confidence(ent)))
    return sorted(
        mistakes,
        key=lambda mistake: min(side.start for side in (mistake.gold, mistake.predicted) if side),
    )


def _label(ent: Span) -> Label:
    return Label(ent.label_, ent.start_char, ent.end_char)


def _overlap(a: Label, b: Label) -> bool:
    return a.start < b.end and b.start < a.end


def category_mistakes(
    gold: Doc,
    predicted: Doc,
    labels: Sequence[str],
    *,
    exclusive_classes: bool,
    threshold: float | Mapping[str, float] = 0.5,
) -> list[Mistake]:
    """Compare the categories of two Docs: the best one each if they exclude each other, otherwise
    each that reaches its threshold.

    labels (Sequence[str]): The labels to compare. Those that the annotation leaves open are left
        out.
    exclusive_classes (bool): Whether one label fits a document.
    threshold (float | Mapping[str, float]): See `threshold_of`.
    """
    everything = (0, len(gold.text))
    known = [label for label in labels if label in gold.cats]
    wanted = [label for label in known if gold.cats[label] > 0]
    if exclusive_classes:
        found = max(labels, key=lambda label: predicted.cats.get(label, 0.0))
        if not wanted or found in wanted:
            return []
        return [
            Mistake(
                "wrong class",
                gold.text,
                Label(wanted[0], *everything),
                Label(found, *everything),
                predicted.cats.get(found),
            )
        ]
    mistakes = []
    for label in known:
        probability = predicted.cats.get(label, 0.0)
        found_it = probability >= threshold_of(threshold, label)
        if found_it and label not in wanted:
            mistakes.append(
                Mistake("invented class", gold.text, None, Label(label, *everything), probability)
            )
        elif label in wanted and not found_it:
            mistakes.append(
                Mistake(
                    "missed class", gold.text, Label(label, *everything), None, 1.0 - probability
                )
            )
    return mistakes


def forget_vectors(doc: Doc) -> None:
    """What a transformer has said of a document goes: of a whole corpus it takes gigabytes."""
    doc.user_data.pop(("._.", "trf_data", None, None), None)


def evaluate(nlp: Language, examples: Iterable[Example]) -> tuple[dict[str, Any], list[Mistake]]:
    """Run a pipeline over annotated documents.

    examples (Iterable[Example]): As `spacy.training.Corpus` reads them. A document may lack one
        kind of annotation.
    RETURNS: spaCy's scores, and all mistakes, those that the pipeline was surest of first. Where
        annotation has a category that no component knows, that is a "missed class".
    """
    examples = list(examples)
    for eg, doc in zip(examples, nlp.pipe(eg.predicted for eg in examples), strict=True):
        eg.predicted = doc
        forget_vectors(doc)
    scores = Scorer(nlp).score(examples)
    classifiers = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, TextCategorizer)]
    known = {label for pipe in classifiers for label in pipe.labels}
    mistakes = []
    for eg in examples:
        if scores.get("ents_f") is not None and eg.reference.has_annotation("ENT_IOB"):
            mistakes += entity_mistakes(eg.reference, eg.predicted)
        for pipe in classifiers:
            mistakes += category_mistakes(
                eg.reference,
                eg.predicted,
                pipe.labels,
                exclusive_classes=not pipe.model.attrs["multi_label"],
                threshold=pipe.cfg["threshold"],
            )
        if classifiers:
            mistakes += [
                Mistake("missed class", eg.text, Label(label, 0, len(eg.text)), None, None)
                for label, value in eg.reference.cats.items()
                if value > 0 and label not in known
            ]
    return scores, sorted(
        mistakes,
        key=lambda mistake: -1.0 if mistake.confidence is None else mistake.confidence,
        reverse=True,
    )


class Labels(NamedTuple):
    """The labels of one kind of annotation, "entities" or "categories"."""

    kind: str
    known: set[str]
    annotated: set[str]


def labels_of(nlp: Language, examples: Sequence[Example]) -> list[Labels]:
    """What a pipeline can find and what is in the data.

    examples (Sequence[Example]): `evaluate` has sent them through the pipeline.
    RETURNS (list[Labels]): For each kind that the pipeline finds at all.
    """
    finders = [pipe for name, pipe in nlp.pipeline if "doc.ents" in nlp.get_pipe_meta(name).assigns]
    classifiers = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, TextCategorizer)]
    annotated = {ent.label_ for eg in examples for ent in eg.reference.ents}
    # Not every component says that it sets entities, and which.
    known = {ent.label_ for eg in examples for ent in eg.predicted.ents}
    found = []
    if finders or known:
        for pipe in finders:
            known.update(getattr(pipe, "labels", annotated))
        found.append(Labels("entities", known, annotated))
    if classifiers:
        categories = {
            label for eg in examples for label, value in eg.reference.cats.items() if value > 0
        }
        labels = {label for pipe in classifiers for label in pipe.labels}
        found.append(Labels("categories", labels, categories))
    return found


def about(mistakes: Iterable[Mistake], labels: Iterable[str]) -> list[Mistake]:
    """RETURNS (list[Mistake]):

    The mistakes in which one of the labels was annotated or found, in the same order.
    """
    chosen = set(labels)
    return [
        mistake
        for mistake in mistakes
        if any(side.label in chosen for side in (mistake.gold, mistake.predicted) if side)
    ]
