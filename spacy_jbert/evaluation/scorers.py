"""Scores of a pipeline, and how far its probabilities can be trusted.

The numbers are spaCy's own (`Scorer`), with what they leave out."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from spacy.scorer import Scorer, get_ner_prf
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
    require_confidences(sure)
    group = np.searchsorted(np.sort(sure), sure) * bins // len(sure)
    return float(np.abs(np.bincount(group, sure - correct, minlength=bins)).sum() / len(sure))


def require_confidences(values: Iterable[float]) -> None:
    """RAISES: ValueError J072 if one of them is none."""
    for value in values:
        # As 32-bit numbers, probabilities may be a little above 1.
        if not 0.0 <= value <= 1.0 + 1e-6:
            raise ValueError(Errors.J072.format(value=value))


def ner_scorer() -> Callable[..., dict[str, Any]]:
    """`spacy-jbert.ner_scorer.v1`: the scores of the stock `ner`, and `ents_ece`, the expected
    calibration error of `ent._.jbert_score`.

    RETURNS (Callable): The scorer.
    """
    return score_ner


def score_ner(examples: Iterable[Example], **settings: Any) -> dict[str, Any]:
    """See `ner_scorer`.

    RETURNS (dict[str, Any]): What `get_ner_prf` returns, and `ents_ece`; None if no entity has a
    confidence.
    """
    examples = list(examples)
    scores: dict[str, Any] = get_ner_prf(examples, **settings)
    judged = [
        (confidence, right)
        for eg in examples
        for ent, right in judge(eg)
        if (confidence := get_confidence(ent)) is not None
    ]
    sure, right = [score for score, _ in judged], [is_right for _, is_right in judged]
    scores["ents_ece"] = expected_calibration_error(sure, right) if judged else None
    return scores


def judge(eg: Example) -> Iterator[tuple[Span, bool]]:
    """Each predicted entity, and whether it is right; none of those about whose tokens the
    annotation says nothing, as in `get_ner_prf`.
    """
    for ent in eg.predicted.ents:
        right = is_right(eg, ent)
        if right is not None:
            yield ent, right


def is_right(eg: Example, span: Span) -> bool | None:
    """RETURNS (bool | None): Whether a span of the prediction is an entity of the annotation; None
    where that says nothing about its tokens.
    """
    tokens = eg.alignment.x2y[span.start : span.end]
    if not len(tokens):
        return None
    gold = eg.reference[tokens[0] : tokens[-1] + 1]
    if not all(token.ent_iob for token in gold):
        return None
    first = gold[0]
    return (
        (first.ent_iob, first.ent_type) == (3, span.label)
        and all(token.ent_iob == 1 for token in gold[1:])
        and (gold.end == len(eg.reference) or eg.reference[gold.end].ent_iob != 1)
    )


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
        require_confidences(predicted.values())
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


def forget_vectors(doc: Doc) -> None:
    """What a transformer has said of a document goes: of a whole corpus it takes gigabytes."""
    doc.user_data.pop(("._.", "trf_data", None, None), None)
