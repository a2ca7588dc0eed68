"""`jbert_ner`: named entities from token vectors, each with a confidence on `ent._.score`."""

import logging
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, cast

import numpy as np
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc, Span
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Optimizer, set_dropout_rate
from thinc.types import Floats2d

from ..errors import Errors, Warnings
from ..models.biluo import Entity, decode, tag_names
from ..types import TaggerModel

logger = logging.getLogger(__name__)

DEFAULT_CONFIG = Config().from_str(
    """
[ner]
scorer = {"@scorers": "spacy.ner_scorer.v1"}

[ner.model]
@architectures = "spacy-jbert.TokenClassifier.v1"

[ner.model.tok2vec]
@architectures = "spacy-jbert.TransformerListener.v1"
"""
)


@Language.factory(
    "jbert_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "span._.score"],
    default_config=DEFAULT_CONFIG["ner"],
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_ner(nlp: Language, name: str, model: TaggerModel, scorer: Callable | None) -> "JBertNER":
    """Construct a named entity component.

    model (TaggerModel): Scores for each BILUO tag: `spacy-jbert.TokenClassifier.v1`.
    scorer (Callable | None): As in the stock `ner`.
    """
    return JBertNER(nlp.vocab, model, name, scorer=scorer)


class JBertNER(TrainablePipe):
    """Tags tokens with BILUO tags and decodes the best well-formed sequence.

    Each entity's confidence, `ent._.score`, is its probability among all well-formed sequences. It is kept by `DocBin` and `to_bytes`
    (user data) and is None for entities that something else set.

    vocab (Vocab): The pipeline's.
    model (TaggerModel): See `make_ner`.
    name (str): The component's name.
    scorer (Callable | None): See `make_ner`.
    """

    def __init__(self, vocab: Vocab, model: TaggerModel, name: str = "ner", *, scorer: Callable | None = None) -> None:
        self.vocab = vocab
        self.model = model
        self.name = name
        self.scorer = scorer
        self.cfg: dict[str, Any] = {"labels": []}
        self._reported: set[str] = set()
        if not Span.has_extension("score"):
            Span.set_extension("score", default=None)

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (tuple[str, ...]): The entity types."""
        return tuple(self.cfg["labels"])

    @property
    def label_data(self) -> list[str]:
        """RETURNS (list[str]): What `spacy init labels` writes and `initialize` takes."""
        return list(self.cfg["labels"])

    def add_label(self, label: str) -> int:
        """Add an entity type. RETURNS (int): 0 if it was there, otherwise 1. RAISES: ValueError J012, J016."""
        if not isinstance(label, str) or not label:
            raise ValueError(Errors.J012.format(label=label))
        if label in self.cfg["labels"]:
            return 0
        if self.model.get_ref("output_layer").has_dim("nO"):
            raise ValueError(Errors.J016.format(label=label, name=self.name))
        self.cfg["labels"].append(label)
        self.vocab.strings.add(label)
        return 1

    def initialize(
        self, get_examples: Callable[[], Iterable[Example]], *, nlp: Language | None = None, labels: Iterable[str] | None = None
    ) -> None:
        """Find the labels and build the output layer; say how many entities the tokenizer makes unlearnable.

        get_examples (Callable): Gives the training examples.
        nlp (Language): The pipeline.
        labels (Iterable[str] | None): The labels, if they are known: `label_data`.
        RAISES: ValueError J013 if there is no label at all.
        """
        validate_get_examples(get_examples, "JBertNER.initialize")
        found: set[str] = set()
        total, lost = 0, []
        for eg in get_examples():
            entities = eg.reference.ents
            found.update(ent.label_ for ent in entities)
            total += len(entities)
            lost += [ent.text for ent in entities if eg.predicted.char_span(ent.start_char, ent.end_char) is None]
        for label in labels if labels is not None else sorted(found):
            self.add_label(label)
        if not self.labels:
            raise ValueError(Errors.J013.format(name=self.name))
        if lost:
            logger.warning(Warnings.JW001.format(name=self.name, count=len(lost), total=total, example=lost[0]))
        self.model.get_ref("output_layer").set_dim("nO", len(tag_names(self.labels)))
        sample = [eg.predicted for eg in islice(get_examples(), 10)]
        self.model.initialize(X=sample or None)

    def predict(self, docs: Iterable[Doc]) -> list[list[Entity]]:
        """RETURNS (list[list[Entity]]): The entities of each document."""
        docs = list(docs)
        if not any(len(doc) for doc in docs):
            return [[] for _ in docs]
        scores = [np.array(self.model.ops.to_numpy(doc_scores)) for doc_scores in self.model.predict(docs)]
        # No entity begins or ends with white space: O and I are all that it can be.
        borders = [i for i, tag in enumerate(tag_names(self.labels)) if tag[0] in "BLU"]
        for doc, doc_scores in zip(docs, scores, strict=True):
            if spaces := [token.i for token in doc if token.is_space]:
                doc_scores[np.ix_(spaces, borders)] = -np.inf
        return decode(scores)

    def set_annotations(self, docs: Iterable[Doc], predictions: list[list[Entity]]) -> None:
        """Write `doc.ents` and `ent._.score`, replacing entities that are there."""
        for doc, entities in zip(docs, predictions, strict=True):
            spans = []
            for entity in entities:
                span = Span(doc, entity.start, entity.end, label=self.labels[entity.label])
                span._.score = entity.score
                spans.append(span)
            doc.set_ents(spans)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from a batch. RETURNS (dict[str, float]): The losses, with this component's mean cross-entropy a token."""
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "JBertNER.update")
        if not any(len(eg.predicted) for eg in examples):
            return losses
        set_dropout_rate(self.model, drop)
        scores, backprop = self.model.begin_update([eg.predicted for eg in examples])
        loss, d_scores = self.get_loss(examples, scores)
        backprop(d_scores)
        if sgd:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def score(self, examples: Iterable[Example], **settings: Any) -> dict[str, Any]:
        """Evaluate; say, once for each, which labels of the data this component doesn't know. RETURNS (dict[str, Any]): The scores."""
        examples = list(examples)
        unknown = {ent.label_ for eg in examples for ent in eg.reference.ents}.difference(self.labels, self._reported)
        for label in sorted(unknown):
            logger.warning(Warnings.JW002.format(name=self.name, label=label))
        self._reported |= unknown
        return super().score(examples, **settings)

    def rehearse(self, examples: Iterable[Example], **settings: Any) -> dict[str, float]:
        raise NotImplementedError(Errors.J014.format(name=self.name))

    def get_loss(self, examples: Iterable[Example], scores: list[Floats2d]) -> tuple[float, list[Floats2d]]:
        """Cross-entropy of the tags, over the tokens whose tag is known.

        scores (list[Floats2d]): *Shape:* `(n_tokens, n_tags)` for each example.
        RETURNS: The mean over tokens, and its gradient in the shapes of `scores`.
        """
        xp = self.model.ops.xp
        tags = {tag: i for i, tag in enumerate(tag_names(self.labels))}
        # Tokens of which the annotation says nothing, or of an entity that starts or ends inside them, have no tag.
        tagged = np.array([tags.get(tag, -1) for eg in examples for tag in eg.get_aligned_ner()], dtype="i")
        (at,) = np.nonzero(tagged >= 0)
        known, gold = xp.asarray(at), xp.asarray(tagged[at])
        flat = xp.concatenate(scores)
        probabilities = self.model.ops.softmax(flat)
        d_flat = xp.zeros_like(flat)
        if len(at) == 0:
            return 0.0, self._split(d_flat, scores)
        picked = probabilities[known, gold]
        d_flat[known] = probabilities[known]
        d_flat[known, gold] -= 1.0
        d_flat /= len(at)
        return -float(xp.log(xp.maximum(picked, 1e-12)).mean()), self._split(d_flat, scores)

    def _split(self, flat: Floats2d, like: list[Floats2d]) -> list[Floats2d]:
        return cast(list[Floats2d], self.model.ops.xp.split(flat, np.cumsum([len(doc) for doc in like])[:-1]))
