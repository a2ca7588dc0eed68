"""`jbert_threshold`: what a pipeline isn't sure enough of is not said."""

from collections.abc import Mapping

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, SpanGroup

from ..errors import Errors
from ..evaluation.answers import UNCERTAIN
from ..evaluation.confidence import get_confidence
from ..evaluation.thresholds import FACTORY, Thresholds, reaches

CATEGORY = "category"


@Language.factory(
    FACTORY,
    assigns=["doc.ents", f"doc._.{CATEGORY}", "doc.spans"],
    default_config={"entities": {}, "categories": {}},
)
def make_threshold(
    nlp: Language,
    name: str,
    entities: dict[str, float | None],
    categories: dict[str, float | None],
) -> "Threshold":
    """Construct a component that takes back what is under a threshold. `python -m spacy jbert
    threshold` finds the thresholds and puts it at the end of a pipeline.

    entities (dict[str, float | None]): The threshold of each label; "*" is for labels that have
        none here, null is never. Entities under it go from `doc.ents` to
        `doc.spans["jbert_uncertain"]`, with `attrs["scores"]`. Those without a confidence stay.
    categories (dict[str, float | None]): Likewise. `doc._.category` is the surest label of
        `doc.cats` that reaches its threshold, or None. `doc.cats` stays as it is.
    """
    return Threshold(name, entities=entities, categories=categories)


class Threshold:
    """See `make_threshold`.

    RAISES: ValueError J415, J416.
    """

    def __init__(self, name: str, *, entities: Thresholds, categories: Thresholds) -> None:
        for of in (entities, categories):
            for label, value in of.items():
                is_number = isinstance(value, int | float) and not isinstance(value, bool)
                if value is not None and not (is_number and 0.0 <= value <= 1.0):
                    raise ValueError(Errors.J415.format(label=label, name=name, value=value))
        self.name = name
        self.entities, self.categories = dict(entities), dict(categories)
        register(name)

    def __call__(self, doc: Doc) -> Doc:
        """Take back what is under its threshold."""
        if self.entities:
            self._entities(doc)
        if self.categories:
            doc._.set(CATEGORY, self.category(doc.cats))
        return doc

    def category(self, cats: Mapping[str, float]) -> str | None:
        """RETURNS (str | None): The surest label that reaches its threshold."""
        sure = {
            label: score for label, score in cats.items() if reaches(self.categories, label, score)
        }
        return max(sure, key=sure.__getitem__, default=None)

    def _entities(self, doc: Doc) -> None:
        kept, doubtful, scores = [], [], []
        for ent in doc.ents:
            confidence = get_confidence(ent)
            if confidence is None or reaches(self.entities, ent.label_, confidence):
                kept.append(ent)
            else:
                doubtful.append(ent)
                scores.append(confidence)
        doc.spans[UNCERTAIN] = SpanGroup(
            doc,
            name=UNCERTAIN,
            attrs={"scores": np.array(scores, dtype="f")},
            spans=doubtful,
        )
        if doubtful:
            # What is annotated about the other tokens, blocked ones included, stays.
            doc.set_ents(kept, outside=doubtful, default="unmodified")


def register(name: str) -> None:
    """Add the extension to `Doc`.

    RAISES: ValueError J416 if it is there and can't be written.
    """
    if not Doc.has_extension(CATEGORY):
        Doc.set_extension(CATEGORY, default=None)
    _, _, getter, setter = Doc.get_extension(CATEGORY)
    if getter and not setter:
        raise ValueError(Errors.J416.format(extension=CATEGORY, name=name))
