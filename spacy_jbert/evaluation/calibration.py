"""Probabilities that mean what they say: fitted on held-out documents when training saves the
pipeline.

A trained network is too sure of itself. Dividing its scores by one number, the temperature, mends
most of that and leaves their order as it is (Guo et al. 2017, On Calibration of Modern Neural
Networks)."""

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline import TextCategorizer
from spacy.scorer import Scorer
from spacy.training import Example
from spacy.util import minibatch

from ..callbacks import Callback
from ..errors import Errors
from .answers import answers_of
from .intervals import intervals
from .scorers import forget_vectors, score_textcat
from .temperature import is_pooled_textcat, threshold_pipes

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

# No temperature outside of 1/20 and 20 is looked at.
_MAX_LOG = math.log(20.0)
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


@runtime_checkable
class Calibratable(Protocol):
    """A component that fits its own probabilities."""

    def calibration_data(self, examples: list[Example]) -> Any:
        """What is needed of some held-out documents. Their vectors aren't kept.

        examples (list[Example]): `predicted` went through the pipeline as it is now, so
            `doc._.trf_data` is there and `self.model.predict` costs the head alone. Annotation of
            this component's kind may be missing on any of them.
        """

    def calibrate(self, data: list[Any]) -> None:
        """Fit, keep the result where `to_disk` saves it, and write the probabilities as they are
        now to the documents.

        data (list[Any]): From `calibration_data`, for each batch.
        """


def calibrate(
    corpus: Callable[[Language], Iterable[Example]], thresholds: bool = False
) -> Callback:
    """`spacy-jbert.calibrate.v1`, a callback for [training.before_to_disk]: fit the probabilities
    of every component that has some.

    These are components like `Calibratable`, and stock `textcat` and `textcat_multilabel` on
    `spacy-jbert.PooledTextCat.v1`. It is one more pass over `corpus`. spaCy saves after each
    evaluation; it is done for the best model so far and for the last one only, and skipped where
    the score has fallen, as that model is soon replaced. The figures in `nlp.meta["performance"]`
    are measured again afterwards, so that all are those of what is saved.

    corpus (Callable): Reads the held-out documents: `${corpora.dev}`.
    thresholds (bool): For categories that don't exclude each other, also find the threshold of each
        label that has the best F, and keep them as `cfg["threshold"]` of the component. Needs
        `spacy-jbert.textcat_scorer.v1` as its scorer.
    RETURNS (Callback): The callback.
    """
    best = -math.inf
    saved: dict[str, Any] | None = None

    def fit(nlp: Language) -> Language:
        nonlocal best, saved
        performance = dict(nlp.meta.get("performance", {}))
        score = _main_score(nlp, performance)
        # The last save comes without an evaluation of its own.
        if score >= best or performance == saved:
            best = max(best, score)
            fit_all(nlp, list(corpus(nlp)), thresholds=thresholds)
        saved = dict(nlp.meta.get("performance", {}))
        return nlp

    return fit


def _main_score(nlp: Language, performance: dict[str, Any]) -> float:
    """By which `spacy train` finds the best model; infinite where nothing was evaluated yet."""
    weights = nlp.config.get("training", {}).get("score_weights", {})
    known = [name for name in weights if weights[name] and performance.get(name) is not None]
    return sum(performance[name] * weights[name] for name in known) if known else math.inf


def fit_all(nlp: Language, examples: list[Example], *, thresholds: bool = False) -> None:
    """Fit the probabilities of a pipeline on held-out documents, and put right the figures in its
    meta. Vectors are in memory for one batch at a time.

    examples (list[Example]): They are sent through the pipeline.
    thresholds (bool): See `calibrate`.
    """
    pipes = [
        _OfTextCat(pipe, thresholds) if is_pooled_textcat(pipe) else pipe
        for _, pipe in nlp.pipeline
        if isinstance(pipe, Calibratable) or is_pooled_textcat(pipe)
    ]
    data: list[list[Any]] = [[] for _ in pipes]
    for batch in minibatch(examples, nlp.batch_size):
        docs = nlp.pipe((eg.predicted for eg in batch), disable=threshold_pipes(nlp))
        for eg, doc in zip(batch, docs, strict=True):
            eg.predicted = doc
        for pipe, of_pipe in zip(pipes, data, strict=True):
            of_pipe.append(pipe.calibration_data(batch))
        for eg in batch:
            forget_vectors(eg.predicted)
    performance = nlp.meta.get("performance")
    for pipe, of_pipe in zip(pipes, data, strict=True):
        pipe.calibrate(of_pipe)
    if not performance:
        return
    # All of them, not only what calibration changes: at the last save of a training they can be of
    # an evaluation some steps ago.
    after = Scorer(nlp).score(examples)
    for name in after.keys() & performance.keys():
        performance[name] = after[name]
    performance.update(_intervals(nlp, examples))


def _intervals(nlp: Language, examples: list[Example]) -> dict[str, list[float]]:
    """RETURNS (dict[str, list[float]]): Of the scores that people look at, under their names and
    `_interval`: what holds 95 of 100 draws.
    """
    found = {}
    for answers in answers_of(
        nlp, examples, entities=nlp.meta["performance"].get("ents_f") is not None
    ):
        names = ("ents_f", "f") if answers.exclusive is None else ("cats_macro_f", "macro_f")
        _, *ends = intervals(answers.counts)[names[1]]
        found[f"{names[0]}_interval"] = ends
    return found


class _OfTextCat:
    """`Calibratable` for a text classifier on `spacy-jbert.PooledTextCat.v1`: its temperature, and
    a threshold for each label if asked for.

    pipe (TextCategorizer): `textcat` or `textcat_multilabel`.
    thresholds (bool): See `calibrate`.
    RAISES: ValueError J070 if thresholds are wanted that the component's scorer would not
        understand.
    """

    def __init__(self, pipe: TextCategorizer, thresholds: bool) -> None:
        self._pipe = pipe
        self._exclusive = not pipe.model.attrs["multi_label"]
        self._thresholds = thresholds and not self._exclusive
        if self._thresholds and getattr(pipe.scorer, "func", None) is not score_textcat:
            raise ValueError(Errors.J070.format(name=pipe.name))

    def calibration_data(self, examples: list[Example]) -> tuple[list[Example], Floats]:
        """RETURNS: The documents with categories, and what is said of each before any temperature.

        One that none of the exclusive classes fits tells no more than one without categories.
        """
        chosen = [
            eg
            for eg in examples
            if len(eg.predicted)
            and (any(eg.reference.cats.values()) if self._exclusive else eg.reference.cats)
        ]
        if not chosen:
            return [], np.empty((0, len(self._pipe.labels)))
        logits = self._pipe.model.get_ref("logits").predict([eg.predicted for eg in chosen])
        return chosen, _numpy(self._pipe, logits)

    def calibrate(self, data: list[tuple[list[Example], Floats]]) -> None:
        """See `Calibratable`. Without any document nothing changes."""
        pipe, exclusive = self._pipe, self._exclusive
        examples = [eg for batch, _ in data for eg in batch]
        if not examples:
            return
        logits = np.concatenate([of_batch for _, of_batch in data])
        open_ = 0.0 if exclusive else np.nan
        truth = np.array(
            [[eg.reference.cats.get(label, open_) for label in pipe.labels] for eg in examples]
        )
        layer = pipe.model.get_ref("probabilities")
        layer.attrs["temperature"] = fit_temperature(
            lambda temperature: cross_entropy(logits / temperature, truth, exclusive=exclusive)
        )
        logger.info(
            "%s: temperature %.3f from %d documents",
            pipe.name,
            layer.attrs["temperature"],
            len(examples),
        )
        scores = layer.predict(pipe.model.ops.asarray2f(logits))
        pipe.set_annotations([eg.predicted for eg in examples], scores)
        if self._thresholds:
            said = _numpy(pipe, scores)
            pipe.cfg["threshold"] = {
                label: best_threshold(said[:, i], truth[:, i])
                for i, label in enumerate(pipe.labels)
            }


def _numpy(pipe: TextCategorizer, array: Any) -> Floats:
    return np.asarray(pipe.model.ops.to_numpy(array), dtype=np.float64)


def fit_temperature(loss: Callable[[float], float]) -> float:
    """The temperature with the lowest loss, by golden-section search on the logarithm. Divide
    scores by it.

    loss (Callable[[float], float]): The loss on held-out data with scores divided by a temperature.
        It has one minimum: a cross-entropy is convex in 1 / temperature.
    RETURNS (float): Between 0.05 and 20, to a thousandth part.
    RAISES: ValueError J071 if a loss is no number.
    """

    def at(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        if not math.isfinite(found := loss(temperature)):
            raise ValueError(Errors.J071.format(temperature=temperature, loss=found))
        return found

    low, high = -_MAX_LOG, _MAX_LOG
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = at(left), at(right)
    while high - low > 1e-3:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = at(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = at(right)
    return math.exp((low + high) / 2)


def cross_entropy(logits: Floats, truth: Floats, *, exclusive: bool) -> float:
    """The mean cross-entropy, as if one more document had been seen and got wrong: where all are
    right, as happens with few, no temperature would be low enough (Platt 1999 does the same to his
    targets).

    logits (Floats): *Shape:* `(n_docs, n_labels)`.
    truth (Floats): 1.0, 0.0, or nan for not known. *Shape:* `(n_docs, n_labels)`.
    exclusive (bool): Softmax, otherwise a logistic for each label.
    RETURNS (float): Its mean over documents, or over what is known of each label.
    """
    doubt = 1.0 / (len(truth) + 2.0)
    if exclusive:
        wanted = (1.0 - doubt) * truth + doubt / truth.shape[1]
        top = logits.max(axis=1, keepdims=True)
        log_total = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
        return float((log_total - (wanted * logits).sum(axis=1)).mean())
    known = ~np.isnan(truth)
    z, wanted = logits[known], (1.0 - doubt) * truth[known] + doubt / 2.0
    return float((np.logaddexp(0.0, z) - wanted * z).mean())


def best_threshold(scores: Floats, truth: Floats) -> float:
    """The threshold with the highest F: half-way between the two scores it separates, of equally
    good ones the nearest to 0.5.

    scores (Floats): Of one label. *Shape:* `(n_docs,)`.
    truth (Floats): 1.0, 0.0, or nan for not known. *Shape:* `(n_docs,)`.
    RETURNS (float): 0.5 if no document has the label.
    """
    known = ~np.isnan(truth)
    scores, truth = scores[known], truth[known]
    if not truth.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], np.cumsum(truth[order])
    # One may cut behind a score only where the next is lower.
    (ends,) = np.nonzero(np.append(scores[:-1] > scores[1:], True))
    f = 2.0 * right[ends] / (ends + 1 + truth.sum())
    cuts = (scores[ends] + np.append(scores[1:], 0.0)[ends]) / 2.0
    best = cuts[f == f.max()]
    return float(best[np.argmin(np.abs(best - 0.5))])
