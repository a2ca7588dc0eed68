"""`jbert_threshold`: what a pipeline isn't sure enough of is not said."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, SpanGroup

from ..errors import Errors
from ..evaluation.confidence import get_confidence
from ..evaluation.mistakes import UNCERTAIN
from ..evaluation.thresholds import FACTORY, Thresholds, reaches

CATEGORY = "category"
_FILE = "thresholds.json"


@Language.factory(FACTORY, assigns=["doc.ents", f"doc._.{CATEGORY}", "doc.spans"])
def make_threshold(nlp: Language, name: str) -> "Threshold":
    """Construct a component that takes back what is under a threshold; without any it changes
    nothing. `python -m spacy jbert threshold` finds the thresholds and puts it at the end of a
    pipeline.
    """
    return Threshold(name)


class Threshold:
    """Takes back what is under a threshold.

    Entities under theirs go from `doc.ents` to `doc.spans["jbert_uncertain"]`, with
    `attrs["scores"]`; those without a confidence stay. `doc._.category` is the surest label of
    `doc.cats` that reaches its threshold, or None; `doc.cats` stays as it is.

    The thresholds are saved as JSON beside the other components, since a label may hold what a
    config's key can't (`:`, `=`).

    name (str): The component's name.
    entities, categories (Thresholds): By label.
    before (dict[str, Any]): What the pipeline had before, see `evaluation.thresholds.clear`; saved
        with the rest.
    RAISES: ValueError J415, J416.
    """

    def __init__(
        self, name: str, *, entities: Thresholds | None = None, categories: Thresholds | None = None
    ) -> None:
        self.name = name
        self.entities: Thresholds = {}
        self.categories: Thresholds = {}
        self.before: dict[str, Any] = {}
        self.set(entities or {}, categories or {})
        register(name)

    def set(self, entities: Thresholds, categories: Thresholds) -> None:
        """Take other thresholds. RAISES: ValueError J415."""
        for of in (entities, categories):
            if not isinstance(of, dict):
                raise ValueError(Errors.J415.format(label="*", name=self.name, value=of))
            for label, value in of.items():
                is_number = isinstance(value, int | float) and not isinstance(value, bool)
                if value is not None and not (is_number and 0.0 <= value <= 1.0):
                    raise ValueError(Errors.J415.format(label=label, name=self.name, value=value))
        self.entities, self.categories = dict(entities), dict(categories)

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

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """See `Language.to_disk`."""
        Path(path).mkdir(parents=True, exist_ok=True)
        (Path(path) / _FILE).write_text(self._as_json(), encoding="utf-8")

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "Threshold":
        """See `Language.from_disk`. RAISES: ValueError J091, J415."""
        file = Path(path) / _FILE
        if not file.is_file():
            raise ValueError(Errors.J091.format(name=self.name, where=path, reason="no " + _FILE))
        return self._from_json(file.read_text(encoding="utf-8"), file)

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """See `Language.to_bytes`."""
        return self._as_json().encode()

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "Threshold":
        """See `Language.from_bytes`. RAISES: ValueError J091, J415."""
        return self._from_json(data.decode(), "bytes")

    def _as_json(self) -> str:
        content: dict[str, Any] = {"entities": self.entities, "categories": self.categories}
        if self.before:
            content["before"] = self.before
        return json.dumps(content, ensure_ascii=False, indent=2)

    def _from_json(self, text: str, where: Any) -> "Threshold":
        try:
            content = json.loads(text)
            entities, categories = content["entities"], content["categories"]
            before = dict(content.get("before", {}))
        except (ValueError, KeyError, TypeError) as error:
            message = Errors.J091.format(name=self.name, where=where, reason=error)
            raise ValueError(message) from error
        self.set(entities, categories)
        self.before = before
        return self


def register(name: str) -> None:
    """Add the extension to `Doc`.

    RAISES: ValueError J416 if it is there and can't be written.
    """
    if not Doc.has_extension(CATEGORY):
        Doc.set_extension(CATEGORY, default=None)
    _, _, getter, setter = Doc.get_extension(CATEGORY)
    if getter and not setter:
        raise ValueError(Errors.J416.format(extension=CATEGORY, name=name))
