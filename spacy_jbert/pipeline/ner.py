"""`jbert_ner`: named entities from token vectors, each with a confidence on `ent._.jbert_score`."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import ENT_IOB, ENT_TYPE, IS_SPACE
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Optimizer, set_dropout_rate

from ..errors import Errors, Warnings
from ..evaluation.calibration import fit_temperature
from ..evaluation.confidence import get_confidence, register, set_confidence
from ..evaluation.scorers import judge, score_ner
from ..models.biluo import (
    Entity,
    decode,
    expectations,
    span_probabilities,
    tag_names,
    tag_probabilities,
)
from ..models.crf import Expected, require_temperature
from ..models.finite import finite, finite_weights
from ..models.listener import is_units
from ..models.tag_loss import tag_loss
from ..saving import save_whole, telling_damage
from ..types import Ints, TaggerModel, TagScores
from ..wordpieces.alignment import token_offsets
from ..wordpieces.units import split_tokens, unit_doc, unit_starts
from .gold_tags import gold_tags, incorrect_spans, tags_with
from .soft_tags import soft_tags

logger = logging.getLogger(__name__)

MISALIGNED = ("count", "expand", "split")

DEFAULT_CONFIG = Config().from_str(
    """
[ner]
incorrect_spans_key = null
misaligned = "count"
candidates_key = null
candidates_threshold = 0.05
scorer = {"@scorers": "spacy-jbert.ner_scorer.v1"}

[ner.model]
@architectures = "spacy-jbert.TokenClassifier.v1"

[ner.model.tok2vec]
@architectures = "spacy-jbert.TransformerListener.v1"
"""
)


@Language.factory(
    "jbert_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "span._.jbert_score"],
    default_config=DEFAULT_CONFIG["ner"],
    default_score_weights={
        "ents_f": 1.0,
        "ents_p": 0.0,
        "ents_r": 0.0,
        "ents_per_type": None,
        "ents_ece": None,
    },
)
def make_ner(
    nlp: Language,
    name: str,
    model: TaggerModel,
    incorrect_spans_key: str | None,
    misaligned: str,
    candidates_key: str | None,
    candidates_threshold: float,
    scorer: Callable | None,
) -> "JBertNER":
    """Construct a named entity component.

    model (TaggerModel): Scores for each BILUO tag: `spacy-jbert.TokenClassifier.v1`. Its `decoder`
        says how they are learned.
    incorrect_spans_key (str | None): As in the stock `ner`: `reference.spans[key]` are spans that
        are no entities of their label.
    misaligned (str): What to learn from an entity that starts or ends inside a token. "count":
        nothing, its tokens are left out of the loss; "expand": the tokens that cover it are the
        entity; "split": it is learned and found where it is, as far as a wordpiece begins or ends
        there too, and what is found inside a token cuts it in the Doc (see `split_tokens`;
        attributes set by components before this one go to the parts). "split" needs pooling =
        "units" in `spacy-jbert.TransformerListener.v1`; the component can't be among the
        `annotating_components`, since listeners of the same batch would find other tokens than the
        transformer did.
    candidates_key (str | None): Where to put every span that may be an entity, `doc.spans[key]`,
        with `attrs["scores"]`; None for nowhere. Tokens aren't split for candidates: one that isn't
        an entity and has a border inside a token is left out.
    candidates_threshold (float): The probability from which a span is one.
    scorer (Callable | None): As in the stock `ner`. The default adds `ents_ece`.
    """
    save_whole(nlp)
    return JBertNER(
        nlp.vocab,
        model,
        name,
        incorrect_spans_key=incorrect_spans_key,
        misaligned=misaligned,
        candidates_key=candidates_key,
        candidates_threshold=candidates_threshold,
        scorer=scorer,
    )


class Found(NamedTuple):
    """What `predict` says of a document: see `Decoded`. Entities count tokens or, if it is known
    where these end, units: `units.py`.
    """

    entities: list[Entity]
    candidates: list[Entity]
    ends: Ints | None
    # Whether there are entities, or blocked tokens, of something else.
    beside_others: bool = True


class Judged(NamedTuple):
    """Entities that were found in held-out documents, and what calibration needs of them.

    entities: One after another.
    right: Whether each is.
    spans: For each document start, end and label of its entities; they count tokens, or units.
    scores: Of each document's tags.
    transitions: See `TagScores`.
    """

    entities: list[Span]
    right: NDArray
    spans: list[list[tuple[int, int, int]]]
    scores: list[NDArray]
    transitions: NDArray | None


def _of_all(docs: Sequence[Doc], attribute: int, all_ends: Sequence[Ints | None]) -> NDArray:
    """An attribute of each token of all documents, or, of documents whose units are known, of each
    unit's token. *Shape:* `(n,)`.
    """
    values = [doc.to_array([attribute]) for doc in docs]
    for i, ends in enumerate(all_ends):
        if ends is not None:
            values[i] = values[i][np.searchsorted(token_offsets(docs[i])[1], ends)]
    return np.concatenate(values)


def _among(ent: Span, ends: Ints | None) -> tuple[int, int]:
    """Start and end of an entity counted in tokens, or in units."""
    if ends is None:
        return ent.start, ent.end
    return int(np.searchsorted(ends, ent.start_char, "right")), int(
        np.searchsorted(ends, ent.end_char)
    ) + 1


def _on_tokens(doc: Doc, entities: Sequence[Entity], starts: Ints, ends: Ints) -> Iterator[Entity]:
    """Entities counted in tokens instead of units, without those that tokens can't express."""
    for entity in entities:
        span = doc.char_span(int(starts[entity.start]), int(ends[entity.end - 1]))
        if span is not None:
            yield entity._replace(start=span.start, end=span.end)


class JBertNER(TrainablePipe):
    """Tags tokens with BILUO tags and decodes the best well-formed sequence.

    Each entity's confidence, `ent._.jbert_score`, is its probability among all well-formed
    sequences. It is kept by `DocBin` and `to_bytes` (user data) and is None for entities that
    something else set. `ent._.score` is the same unless another has registered that name.
    As with the stock `ner`, entities that are there already stay, and no entity is found in blocked
    tokens.

    vocab (Vocab): The pipeline's.
    model (TaggerModel): See `make_ner`.
    name (str): The component's name. incorrect_spans_key, misaligned, candidates_key,
        candidates_threshold, scorer: See `make_ner`.
    RAISES: ValueError J040, J050, J052, J059.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: TaggerModel,
        name: str = "ner",
        *,
        incorrect_spans_key: str | None = None,
        misaligned: str = "count",
        candidates_key: str | None = None,
        candidates_threshold: float = 0.05,
        scorer: Callable | None = score_ner,
    ) -> None:
        if misaligned not in MISALIGNED:
            raise ValueError(
                Errors.J040.format(
                    name="misaligned", value=misaligned, choices=", ".join(MISALIGNED)
                )
            )
        if not 0.0 < candidates_threshold <= 1.0:
            raise ValueError(Errors.J050.format(threshold=candidates_threshold))
        if (misaligned == "split") != any(map(is_units, model.walk())):
            raise ValueError(Errors.J052.format(name=name, misaligned=misaligned))
        self.vocab = vocab
        self.model = model
        self.name = name
        self.incorrect_spans_key = incorrect_spans_key
        self.misaligned = misaligned
        self.candidates_key = candidates_key
        self.candidates_threshold = candidates_threshold
        self.scorer = scorer
        self.cfg: dict[str, Any] = {"labels": [], "temperature": 1.0}
        self._reported: set[str] = set()
        self._not_in_units: set[str] = set()
        register()

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): The entity types."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> list[str]:
        """RETURNS (list[str]): What `spacy init labels` writes and `initialize` takes."""
        return list(self.cfg["labels"])

    def add_label(self, label: str) -> int:
        """Add an entity type. If the model is initialised, its output grows: the new label is found
        nowhere until it is learned, all else is found as before.

        RETURNS (int): 0 if it was there, otherwise 1.
        RAISES: ValueError J012.
        """
        if not isinstance(label, str) or not label:
            raise ValueError(Errors.J012.format(label=label))
        if label in self.cfg["labels"]:
            return 0
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        if self.model.get_ref("output_layer").has_dim("nO"):
            self.set_output(len(tag_names(self.labels)))
        return 1

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
    ) -> None:
        """Find the labels and build the output layer; say how many entities start or end inside a
        token, or with white space.

        get_examples (Callable): Gives the training examples.
        nlp (Language): The pipeline.
        labels (Iterable[str] | None): The labels, if they are known: `label_data`.
        RAISES: ValueError J013 if there is no label at all, J053.
        """
        training = {} if nlp is None else nlp.config.get("training", {})
        if self.misaligned == "split" and self.name in training.get("annotating_components", ()):
            raise ValueError(Errors.J053.format(name=self.name))
        validate_get_examples(get_examples, "JBertNER.initialize")
        found: set[str] = set()
        total, misaligned, spaced = 0, [], []
        for eg in get_examples():
            entities = eg.reference.ents
            found.update(ent.label_ for ent in entities)
            total += len(entities)
            spaced += [ent.text for ent in entities if ent.text != ent.text.strip()]
            misaligned += [
                ent.text
                for ent in entities
                if eg.predicted.char_span(ent.start_char, ent.end_char) is None
            ]
        for label in labels if labels is not None else sorted(found):
            self.add_label(label)
        if not self.labels:
            raise ValueError(Errors.J013.format(name=self.name))
        if misaligned:
            message = {"count": Warnings.JW001, "expand": Warnings.JW050, "split": Warnings.JW051}[
                self.misaligned
            ]
            logger.warning(
                message.format(
                    name=self.name, count=len(misaligned), total=total, example=misaligned[0]
                )
            )
        if spaced:
            logger.warning(
                Warnings.JW054.format(
                    name=self.name, count=len(spaced), total=total, example=spaced[0]
                )
            )
        for layer in ("output_layer", "transitions"):
            self.model.get_ref(layer).set_dim("nO", len(tag_names(self.labels)))
        self.cfg["temperature"] = 1.0
        sample = [eg.predicted for eg in islice(get_examples(), 10)]
        self.model.initialize(X=sample or None)

    def predict(self, docs: Iterable[Doc]) -> list[Found]:
        """RETURNS (list[Found]): The entities of each document, and its candidates if they are
            wanted.
        RAISES: ValueError J054 if a score is no number.
        """
        docs = list(docs)
        if not any(len(doc) for doc in docs):
            return [Found([], [], None)] * len(docs)
        scores, transitions, ends = self._scores(docs)
        # What something else has found stays, and blocked tokens stay free.
        iob = _of_all(docs, ENT_IOB, ends)
        taken = (iob == 1) | (iob == 3)
        beside = [False] * len(docs)
        if taken.any():
            borders = np.cumsum([len(of) for of in scores])[:-1]
            for i, of_doc in enumerate(np.split(taken, borders)):
                beside[i] = bool(of_doc.any())
                scores[i][of_doc, 1:] = -np.inf
        threshold = self.candidates_threshold if self.candidates_key is not None else None
        found = decode(
            scores, transitions, temperature=self.cfg["temperature"], threshold=threshold
        )
        return [
            Found(*spans, doc_ends, doc_beside)
            for spans, doc_ends, doc_beside in zip(found, ends, beside, strict=True)
        ]

    def set_annotations(self, docs: Iterable[Doc], predictions: list[Found]) -> None:
        """Write `doc.ents` and `ent._.jbert_score` beside the entities that are there, and the
        candidates; split tokens if an entity needs it.
        """
        for doc, (entities, candidates, ends, beside_others) in zip(docs, predictions, strict=True):
            if ends is not None:
                starts = unit_starts(*token_offsets(doc), ends)
                split_tokens(
                    doc,
                    [
                        border
                        for entity in entities
                        for border in (starts[entity.start], ends[entity.end - 1])
                    ],
                )
                entities, candidates = (
                    list(_on_tokens(doc, of, starts, ends)) for of in (entities, candidates)
                )
            spans = self._spans(doc, entities)
            for span, entity in zip(spans, entities, strict=True):
                set_confidence(span, entity.score)
            if beside_others:
                iob, label = doc.to_array([ENT_IOB, ENT_TYPE]).T
                no_label = np.flatnonzero((iob == 3) & (label == 0)).tolist()
                blocked = [doc[i : i + 1] for i in no_label]
                doc.set_ents([*doc.ents, *spans], blocked=blocked)
            else:
                doc.set_ents(spans)
            if self.candidates_key is not None:
                scores = np.array([entity.score for entity in candidates], dtype="f")
                group = SpanGroup(
                    doc,
                    name=self.candidates_key,
                    attrs={"scores": scores},
                    spans=self._spans(doc, candidates),
                )
                doc.spans[self.candidates_key] = group

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from a batch.

        RETURNS (dict[str, float]): The losses, with this component's: see `get_loss`.
        RAISES: ValueError J054 if a score or the loss is no number; the weights stay as they are.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "JBertNER.update")
        if not any(len(eg.predicted) for eg in examples):
            return losses
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update([eg.predicted for eg in examples])
        self._require_finite(self.model.ops.xp.concatenate(scores.tokens), scores.transitions)
        loss, d_scores = self.get_loss(examples, scores)
        if not np.isfinite(loss):
            raise ValueError(Errors.J054.format(name=self.name, what=f"its loss is {loss},"))
        # What was fitted to other weights says nothing of these.
        self.cfg["temperature"] = 1.0
        backprop(d_scores)
        if sgd:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def score(self, examples: Iterable[Example], **settings: Any) -> dict[str, Any]:
        """Evaluate; say, once for each, which labels of the data this component doesn't know.

        RETURNS (dict[str, Any]): The scores.
        """
        examples = list(examples)
        unknown = {ent.label_ for eg in examples for ent in eg.reference.ents}.difference(
            self.labels, self._reported
        )
        for label in sorted(unknown):
            logger.warning(Warnings.JW002.format(name=self.name, label=label))
        self._reported |= unknown
        return super().score(examples, **settings)

    def calibration_data(self, examples: Iterable[Example]) -> Judged:
        """The entities that were found in some held-out documents, and what was said of these.

        examples (Iterable[Example]): `predicted` went through the pipeline as it is now.
        """
        examples = [eg for eg in examples if eg.predicted.ents]
        judged = [
            [
                (ent, right)
                for ent, right in judge(eg)
                if get_confidence(ent) is not None and ent.label_ in self.labels
            ]
            for eg in examples
        ]
        if not any(judged):
            return Judged([], np.empty(0, dtype=bool), [], [], None)
        scores, transitions, all_ends = self._scores([eg.predicted for eg in examples])
        return Judged(
            [ent for of_doc in judged for ent, _ in of_doc],
            np.array([right for of_doc in judged for _, right in of_doc]),
            [
                [(*_among(ent, ends), self.labels.index(ent.label_)) for ent, _ in of_doc]
                for of_doc, ends in zip(judged, all_ends, strict=True)
            ],
            scores,
            transitions,
        )

    def calibrate(self, data: Iterable[Judged]) -> None:
        """Fit the temperature, so that of all entities with a confidence of 0.8, 80 % are right.
        `spacy-jbert.calibrate.v1` calls this. The entities get their confidence anew.

        data (Iterable[Judged]): From `calibration_data`.
        """
        data = [batch for batch in data if batch.entities]
        if not data:
            return
        right = np.concatenate([batch.right for batch in data])
        spans = [of_doc for batch in data for of_doc in batch.spans]
        scores = [of_doc for batch in data for of_doc in batch.scores]
        transitions = data[0].transitions
        # As if one more entity had been seen each way (Platt 1999): where all are right, no
        # temperature would be low enough.
        wanted = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))

        def cross_entropy(temperature: float) -> float:
            sure = span_probabilities(scores, spans, transitions, temperature=temperature).clip(
                1e-12, 1.0 - 1e-12
            )
            return -float((wanted * np.log(sure) + (1.0 - wanted) * np.log1p(-sure)).mean())

        temperature = self.cfg["temperature"] = fit_temperature(cross_entropy)
        sure = span_probabilities(scores, spans, transitions, temperature=temperature)
        entities = [ent for batch in data for ent in batch.entities]
        for ent, confidence in zip(entities, sure.tolist(), strict=True):
            set_confidence(ent, confidence)
        logger.info("%s: temperature %.3f from %d entities", self.name, temperature, len(right))

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """See `TrainablePipe.to_disk`.

        RAISES: ValueError J054, J056 before anything is written.
        """
        self._require_sound()
        super().to_disk(path, exclude=exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "JBertNER":
        """See `TrainablePipe.from_disk`.

        RAISES: ValueError J054, J056, J091.
        """
        with telling_damage(self.name, path):
            super().from_disk(path, exclude=exclude)
        self._require_sound()
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """See `TrainablePipe.to_bytes`.

        RAISES: ValueError J054, J056.
        """
        self._require_sound()
        return cast(bytes, super().to_bytes(exclude=exclude))

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "JBertNER":
        """See `TrainablePipe.from_bytes`.

        RAISES: ValueError J054, J056, J091.
        """
        with telling_damage(self.name, "bytes"):
            super().from_bytes(data, exclude=exclude)
        self._require_sound()
        return self

    def tag_probabilities(self, docs: Sequence[Doc]) -> list[NDArray]:
        """How probable each BILUO tag is, whatever the other tokens' tags are: the marginals.

        docs (Sequence[Doc]): They went through the components before this one.
        RETURNS (list[NDArray]): For each document. *Shape:* `(n_tokens, 1 + 4 * n_labels)`.
        RAISES: ValueError J054 if a score is no number.
        """
        if not any(len(doc) for doc in docs):
            return [np.zeros((0, len(tag_names(self.labels))))] * len(docs)
        scores, transitions, _ = self._scores(docs)
        return tag_probabilities(scores, transitions, temperature=self.cfg["temperature"])

    def expectations(self, docs: Sequence[Doc]) -> list[Expected]:
        """What a student learns from: how probable tags are, and how often each transition is
        expected.

        docs (Sequence[Doc]): Some, with tokens, that went through the components before this one.
        RETURNS (list[Expected]): For each document.
        RAISES: ValueError J054 if a score is no number, J543.
        """
        self._require_tokens()
        scores, transitions, _ = self._scores(docs)
        return expectations(scores, transitions, temperature=self.cfg["temperature"])

    def rehearse(self, examples: Iterable[Example], **settings: Any) -> dict[str, float]:
        raise NotImplementedError(Errors.J014.format(name=self.name))

    def get_loss(self, examples: Iterable[Example], scores: TagScores) -> tuple[float, TagScores]:
        """How improbable the annotation is: see `tag_loss`. Where a teacher labelled the text, that
        is what it was sure of (`soft_tags.py`).

        scores (TagScores): What the model says of each example.
        RETURNS (tuple[float, TagScores]): The loss and its gradient by the scores.
        RAISES: ValueError J051, J540, J541, J543.
        """
        examples = list(examples)
        soft = [soft_tags(eg, self.name, self.labels) for eg in examples]
        if any(of is not None for of in soft):
            self._require_tokens()
        if scores.ends is not None:
            examples = [
                self._with_units(eg, ends) for eg, ends in zip(examples, scores.ends, strict=True)
            ]
        expand = self.misaligned == "expand"
        tags = gold_tags(examples, self.labels, expand=expand)
        incorrect = [
            (i, tags_with(span, self.labels))
            for i, eg in enumerate(examples)
            for span in incorrect_spans(eg, self.incorrect_spans_key, self.labels)
        ]
        known = [hard if of is None else of for hard, of in zip(tags, soft, strict=True)]
        return tag_loss(self.model.ops, scores, known, incorrect)

    def _require_tokens(self) -> None:
        """RAISES: ValueError J543 if it tags units, which differ from one encoder to another."""
        if self.misaligned == "split":
            raise ValueError(Errors.J543.format(name=self.name))

    def _with_units(self, eg: Example, ends: Ints) -> Example:
        """The example with units as the tokens of its prediction.

        Reports, once each, the entities that even these can't express.
        """
        predicted = unit_doc(eg.predicted, ends)
        for ent in eg.reference.ents:
            if (
                predicted.char_span(ent.start_char, ent.end_char) is None
                and ent.text not in self._not_in_units
            ):
                self._not_in_units.add(ent.text)
                logger.warning(
                    Warnings.JW052.format(
                        name=self.name, text=ent.text, count=len(self._not_in_units)
                    )
                )
        return Example(predicted, eg.reference)

    def _spans(self, doc: Doc, entities: Sequence[Entity]) -> list[Span]:
        return [
            Span(doc, entity.start, entity.end, label=self.labels[entity.label])
            for entity in entities
        ]

    def _scores(
        self, docs: Sequence[Doc]
    ) -> tuple[list[NDArray], NDArray | None, Sequence[Ints | None]]:
        """What the model says, as arrays one may write to, and where units end. No entity begins or
        ends with white space: O and I are all that it can be."""
        scores = self.model.predict(docs)
        flat = np.array(self.model.ops.to_numpy(self.model.ops.xp.concatenate(scores.tokens)))
        transitions = self._transitions(scores)
        self._require_finite(flat, transitions)
        ends = scores.ends or [None] * len(docs)
        borders = [i for i, tag in enumerate(tag_names(self.labels)) if tag[0] in "BLU"]
        (spaces,) = np.nonzero(_of_all(docs, IS_SPACE, ends))
        flat[spaces[:, None], borders] = -np.inf
        docs_end = np.cumsum([len(doc) for doc in scores.tokens])
        return np.split(flat, docs_end[:-1]), transitions, ends

    def _require_finite(self, *arrays: Any) -> None:
        """RAISES: ValueError J054 if the model says something that is no number."""
        if not all(array is None or finite(array) for array in arrays):
            raise ValueError(Errors.J054.format(name=self.name, what="its scores are"))

    def _require_sound(self) -> None:
        """What is saved or was loaded can be predicted with.

        RAISES: ValueError J054 if a weight is no number, J056.
        """
        require_temperature(self.cfg["temperature"])
        if not finite_weights(self.model):
            raise ValueError(Errors.J054.format(name=self.name, what="its weights are"))

    def _transitions(self, scores: TagScores) -> NDArray | None:
        return (
            None
            if scores.transitions is None
            else cast(NDArray, self.model.ops.to_numpy(scores.transitions))
        )
