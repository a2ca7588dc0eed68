"""Whether two sets of annotated texts are alike, as when a service meets other texts than before.

Each figure is a distance from 0 to 1, tested by permutation (Fisher 1935; Good, "Permutation,
Parametric and Bootstrap Tests of Hypotheses", 3rd ed. 2005): documents are shared out anew, many
times, and counted is how often they differ as much by chance. What is shared out is documents, as
the entities of one document depend on each other."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..corpora.docs import read_docbin
from ..corpora.readers import Row, files_in, read_rows
from ..errors import Errors
from .confidence import get_confidence

_KINDS = {".spacy", ".jsonl", ".parquet"}
# More documents make the test slower and little sharper.
_MOST_DOCUMENTS = 20_000
_Item = TypeVar("_Item")


@dataclass
class Annotated:
    """What is compared of one document.

    text (str): The document's.
    entities (list[str]): Their labels.
    confidences (list[float]): Of the entities that have one.
    category (str | None): The surest one.
    category_confidence (float | None): Its score.
    unknown (float | None): Which share of the wordpieces is unknown; None if nobody looked.
    looked_at (bool): Whether a pipeline or a person has looked for entities or categories, be it
        that there are none.
    """

    text: str
    entities: list[str] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    category: str | None = None
    category_confidence: float | None = None
    unknown: float | None = None
    looked_at: bool = True


class Difference(NamedTuple):
    """How far two sets are apart in one figure.

    what (str): The figure. reference, new (float | None): Its mean; None for labels.
    distance (float): 0 to 1. Of labels, the share that would have to be another (total variation);
        of numbers, the greatest difference of the cumulative shares (Kolmogorov and Smirnov).
    p (float): How often chance alone makes them differ as much.
    drifted (bool): Whether it is more than chance, and enough to matter.
    note (str): The labels whose shares differ most.
    """

    what: str
    reference: float | None
    new: float | None
    distance: float
    p: float
    drifted: bool
    note: str = ""


def read(path: Path) -> list[Annotated]:
    """Read annotated documents: a DocBin, JSONL or Parquet with the fields text, entities and
    categories as the service and `jbert annotate` write them, or a folder of such files.

    RETURNS (list[Annotated]): All, or 20,000 of them drawn at random with a fixed seed.
    RAISES: DataError J2xx for files that can't be read.
    """
    files = files_in(path, _KINDS) if path.is_dir() else [path]
    return _drawn(doc for file in files for doc in _read_file(file))


def _drawn(items: Iterator[_Item]) -> list[_Item]:
    """So many of them, each with the same chance (Vitter 1985, algorithm R)."""
    dice = random.Random(0)
    kept: list[_Item] = []
    for number, item in enumerate(items):
        if number < _MOST_DOCUMENTS:
            kept.append(item)
        elif (place := dice.randrange(number + 1)) < _MOST_DOCUMENTS:
            kept[place] = item
    return kept


def _read_file(path: Path) -> Iterator[Annotated]:
    if path.suffix.lower() == ".spacy":
        yield from map(_of_doc, read_docbin(path, Vocab()))
    else:
        yield from map(_of_row, read_rows(path))


def _of_doc(doc: Doc) -> Annotated:
    found = Annotated(doc.text, [ent.label_ for ent in doc.ents])
    found.looked_at = bool(doc.cats) or doc.has_annotation("ENT_IOB")
    sure = map(get_confidence, doc.ents)
    found.confidences = [float(value) for value in sure if value is not None]
    if doc.cats:
        found.category = max(doc.cats, key=lambda label: doc.cats[label])
        found.category_confidence = float(doc.cats[found.category])
    return found


def _of_row(row: Row) -> Annotated:
    found = Annotated(row.text("text"))
    fields = (row.fields.get(name) for name in ("entities", "categories"))
    found.looked_at = any(field is not None for field in fields)
    try:
        for entity in row.fields.get("entities") or ():
            found.entities.append(str(entity["label"]))
            if entity.get("confidence") is not None:
                found.confidences.append(float(entity["confidence"]))
        categories = [
            (float(one["score"]), str(one["label"])) for one in row.fields.get("categories") or ()
        ]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise row.error(
            Errors.J207.format(
                field="entities or categories",
                expected='objects as {"label": …, "confidence": …}, {"label": …, "score": …}',
                value=reason,
            )
        ) from None
    if categories:
        found.category_confidence, found.category = max(categories)
    return found


def count_unknown(documents: Sequence[Annotated], nlp: Language) -> None:
    """Look up which share of each document's wordpieces the encoder doesn't know.

    RAISES: ValueError J031 if the pipeline has no encoder.
    """
    node = next(
        (
            node
            for _, pipe in nlp.pipeline
            if getattr(pipe, "model", None) is not None
            for node in pipe.model.walk()
            if node.name == "jbert_transformer"
        ),
        None,
    )
    if node is None:
        raise ValueError(Errors.J031.format(names=", ".join(nlp.pipe_names) or "none"))
    shim = node.shims[0]
    unknown = shim.require_encoder().tokenizer.unk_token_id
    for document in documents:
        ids = shim.segmenter([nlp.make_doc(document.text)])[0].ids
        document.unknown = float(np.mean(ids == unknown)) if len(ids) else 0.0


def compare(
    reference: Sequence[Annotated],
    new: Sequence[Annotated],
    *,
    alpha: float = 0.01,
    least: float = 0.1,
    rounds: int = 999,
) -> list[Difference]:
    """Compare two sets in all figures that both have.

    alpha (float): How often all figures together may be taken for different by chance alone.
    least (float): Smaller distances don't matter, however sure they are.
    rounds (int): How often documents are shared out anew.
    """
    sides = np.repeat([0, 1], [len(reference), len(new)])
    documents = [*reference, *new]
    measured: list[tuple[str, _Labels | _Numbers]] = [
        ("entity labels", _labels(documents, lambda doc: doc.entities)),
        ("entities per document", _numbers(documents, lambda doc: [len(doc.entities)])),
        ("confidence of entities", _numbers(documents, lambda doc: doc.confidences)),
        ("categories", _labels(documents, lambda doc: _some(doc.category))),
        ("confidence of categories", _numbers(documents, lambda d: _some(d.category_confidence))),
        ("unknown pieces", _numbers(documents, lambda doc: _some(doc.unknown))),
        ("characters", _numbers(documents, lambda doc: [len(doc.text)])),
    ]
    if not any(doc.entities for doc in documents):
        measured = [(what, figure) for what, figure in measured if what[:8] != "entities"]
    there = [(what, figure) for what, figure in measured if figure.is_there(sides)]
    dice = np.random.default_rng(0)
    shuffled = [dice.permutation(sides) for _ in range(rounds)]
    found = []
    for what, figure in there:
        distance = figure.distance(sides)
        chance = sum(figure.distance(other) >= distance - 1e-12 for other in shuffled)
        p = (1 + chance) / (1 + rounds)
        # Bonferroni: each figure is another occasion to be wrong.
        drifted = distance >= least and p <= max(alpha / len(there), 1 / (1 + rounds))
        before, after = figure.means(sides)
        found.append(Difference(what, before, after, distance, p, drifted, figure.note(sides)))
    return found


def _some(value: Any) -> list[Any]:
    return [] if value is None else [value]


class _Labels:
    """How often each label is in each document.

    counts (NDArray): *Shape:* `(n_documents, n_labels)`.
    """

    def __init__(self, names: Sequence[str], counts: NDArray) -> None:
        self.names = names
        self.counts = counts

    def is_there(self, sides: NDArray) -> bool:
        return all(self.counts[sides == side].any() for side in (0, 1))

    def _shares(self, sides: NDArray) -> NDArray:
        """*Shape:* `(2, n_labels)`."""
        new = sides @ self.counts
        sums = np.stack([self.counts.sum(axis=0) - new, new]).astype(np.float64)
        return sums / np.maximum(sums.sum(axis=1, keepdims=True), 1)

    def distance(self, sides: NDArray) -> float:
        before, after = self._shares(sides)
        return float(np.abs(after - before).sum() / 2)

    def means(self, sides: NDArray) -> tuple[None, None]:
        return None, None

    def note(self, sides: NDArray) -> str:
        before, after = self._shares(sides)
        most = np.argsort(-np.abs(after - before), kind="stable")[:3]
        return ", ".join(f"{self.names[i]} {before[i]:.1%} → {after[i]:.1%}" for i in most)


class _Numbers:
    """Numbers, and the document that each belongs to, by size.

    values, owners (NDArray): *Shape:* `(n,)`.
    """

    def __init__(self, values: NDArray, owners: NDArray) -> None:
        order = np.argsort(values, kind="stable")
        self.values = values[order]
        self.owners = owners[order]
        # Equal numbers are one step of the cumulative shares.
        self.last = np.flatnonzero(np.diff(self.values, append=np.inf) > 0)

    def is_there(self, sides: NDArray) -> bool:
        return len(set(sides[self.owners].tolist())) == 2

    def distance(self, sides: NDArray) -> float:
        new = sides[self.owners]
        n_new = int(new.sum())
        if n_new in (0, len(new)):
            return 0.0
        after = np.cumsum(new)[self.last] / n_new
        before = np.cumsum(1 - new)[self.last] / (len(new) - n_new)
        return float(np.abs(after - before).max())

    def means(self, sides: NDArray) -> tuple[float, float]:
        new = sides[self.owners] == 1
        return float(self.values[~new].mean()), float(self.values[new].mean())

    def note(self, sides: NDArray) -> str:
        return ""


def _labels(
    documents: Sequence[Annotated], labels: Callable[[Annotated], Sequence[str]]
) -> _Labels:
    per_document = [Counter(labels(document)) for document in documents]
    names = sorted(set().union(*per_document))
    counts = np.array([[one[name] for name in names] for one in per_document], dtype=np.int64)
    return _Labels(names, counts.reshape(len(documents), len(names)))


def _numbers(
    documents: Sequence[Annotated], numbers: Callable[[Annotated], Sequence[float]]
) -> _Numbers:
    pairs = [(value, at) for at, document in enumerate(documents) for value in numbers(document)]
    values = np.array([value for value, _ in pairs], dtype=np.float64)
    return _Numbers(values, np.array([at for _, at in pairs], dtype=np.int64))
