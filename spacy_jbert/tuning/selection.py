"""Which texts are worth annotating next, of many without annotation: those that a pipeline is least
sure of, or those that are least like the others.

Every way gives each text a score, the higher the sooner it is to be annotated; ties are broken by
chance, with a seed."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.language import Language
from spacy.pipeline import TextCategorizer
from spacy.tokens import Doc
from spacy.util import minibatch
from tqdm import tqdm

from ..corpora.exporters import Asked, Labels
from ..errors import Errors, Warnings
from ..evaluation.confidence import get_confidence
from ..evaluation.scorers import forget_vectors, threshold_of
from ..pipeline.ner import JBertNER

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]
By = Literal["margin", "entropy", "confidence", "diversity", "coreset", "random"]
OF_DOUBT: tuple[By, ...] = ("margin", "entropy", "confidence")
OF_VECTORS: tuple[By, ...] = ("diversity", "coreset")


class Looked(NamedTuple):
    """What a pipeline made of one text.

    asked (Asked): The text and what was found.
    doubt (dict[str, float]): By way of measuring it; empty where no component says it.
    vector (Floats | None): The mean of the encoder's vectors, of length 1. *Shape:* `(width,)`.
    """

    asked: Asked
    doubt: dict[str, float]
    vector: Floats | None


def labels_of(nlp: Language, name: str) -> Labels:
    """RETURNS (Labels): What a pipeline can find."""
    finders = _finders(nlp)
    classifiers = _classifiers(nlp)
    known = dict.fromkeys(label for pipe in finders.values() for label in pipe.labels)
    categories = dict.fromkeys(label for pipe in classifiers for label in pipe.labels)
    return Labels(
        entities=list(known) if finders else None,
        categories=list(categories) if classifiers else None,
        exclusive=all(not pipe.model.attrs["multi_label"] for pipe in classifiers),
        model=name,
    )


def look_at(nlp: Language, texts: Iterable[tuple[str, str]], by: By) -> Iterator[Looked]:
    """Send texts through a pipeline.

    texts: Of each record its id and its text.
    by (str): What is wanted of it: no vectors are kept unless they are.
    YIELDS (Looked): For each text, in order.
    RAISES: ValueError J477 where the pipeline can't say what is wanted. What only a part of it
        can't say is a warning.
    """
    _require(nlp, by)
    bar = tqdm(texts, desc="looking at the texts", unit=" texts", delay=2, disable=None)
    stream = nlp.pipe(((text, name) for name, text in bar), as_tuples=True)
    for batch in minibatch(stream, nlp.batch_size):
        docs = [doc for doc, _ in batch]
        doubts = _doubts(nlp, docs) if by in OF_DOUBT else [{} for _ in docs]
        for (doc, name), doubt in zip(batch, doubts, strict=True):
            vector = _vector(doc) if by in OF_VECTORS else None
            forget_vectors(doc)
            yield Looked(_asked(nlp, doc, name), doubt, vector)


def chosen(
    looked: Sequence[Looked],
    count: int,
    by: By,
    *,
    seed: int = 0,
    annotated: Sequence[Floats] = (),
) -> list[Asked]:
    """Choose texts.

    looked (Sequence[Looked]): From `look_at`.
    count (int): How many; fewer where there are fewer.
    seed (int): Of chance.
    annotated (Sequence[Floats]): The vectors of texts that are annotated already, from which
        "diversity" and "coreset" keep away.
    RETURNS (list[Asked]): With their scores, the highest first.
    """
    random = np.random.default_rng(seed)
    if by in OF_VECTORS:
        vectors = np.stack([one.vector for one in looked if one.vector is not None])
        pick = _k_means_plus_plus if by == "diversity" else _farthest_first
        order, scores = pick(vectors, np.asarray(annotated), count, random)
    else:
        scores = (
            random.random(len(looked))
            if by == "random"
            else np.array([one.doubt[by] for one in looked])
        )
        shuffled = random.permutation(len(looked))
        order = shuffled[np.argsort(-scores[shuffled], kind="stable")][:count]
        scores = scores[order]
    return [
        _with_score(looked[i].asked, score)
        for i, score in zip(order.tolist(), scores.tolist(), strict=True)
    ]


def _asked(nlp: Language, doc: Doc, name: str) -> Asked:
    """What was found, for somebody to correct."""
    classifiers = _classifiers(nlp)
    entities = [
        ((ent.start_char, ent.end_char, ent.label_), get_confidence(ent)) for ent in doc.ents
    ]
    categories: list[tuple[str, float]] = []
    for pipe in classifiers:
        values = {label: float(doc.cats[label]) for label in pipe.labels}
        if pipe.model.attrs["multi_label"]:
            threshold = pipe.cfg["threshold"]
            found = [label for label in values if values[label] >= threshold_of(threshold, label)]
        else:
            found = [max(values, key=lambda label: values[label])]
        categories += [(label, values[label]) for label in found]
    return Asked(
        id=name,
        text=doc.text,
        entities=entities if _finders(nlp) else None,
        categories=categories if classifiers else None,
        score=0.0,
        tokens=[(token.idx, token.idx + len(token)) for token in doc],
    )


def _with_score(asked: Asked, score: float) -> Asked:
    return replace(asked, score=round(score, 6))


def _finders(nlp: Language) -> dict[str, Any]:
    """Whatever finds entities and has labels for them: not what only takes some back."""
    return {
        name: pipe
        for name, pipe in nlp.pipeline
        if "doc.ents" in nlp.get_pipe_meta(name).assigns and hasattr(pipe, "labels")
    }


def _classifiers(nlp: Language) -> list[TextCategorizer]:
    return [pipe for _, pipe in nlp.pipeline if isinstance(pipe, TextCategorizer)]


def _require(nlp: Language, by: By) -> None:
    names = ", ".join(nlp.pipe_names) or "nothing"
    if by in OF_DOUBT:
        silent = [name for name, pipe in _finders(nlp).items() if not isinstance(pipe, JBertNER)]
        if len(silent) == len(_finders(nlp)) and not _classifiers(nlp):
            needed = "jbert_ner, textcat or textcat_multilabel"
            raise ValueError(Errors.J477.format(by=by, needed=needed, names=names))
        if silent:
            logger.warning(Warnings.JW471.format(by=by, names=", ".join(silent)))
    if by in OF_VECTORS and "doc._.trf_data" not in nlp.analyze_pipes()["attrs"]:
        raise ValueError(Errors.J477.format(by=by, needed="jbert_transformer", names=names))


# --- Doubt ----------------------------------------------------------------------------------------


def category_doubt(probabilities: Floats, *, exclusive: bool) -> dict[str, float]:
    """How unsure a classifier is of one text, 0 to 1 (Lewis & Gale 1994; Scheffer et al. 2001;
    Settles 2009, "Active Learning Literature Survey").

    probabilities (Floats): *Shape:* `(n_labels,)`.
    exclusive (bool): Whether they add up to 1. If not, each label is a question of its own, and the
        one that is hardest to answer counts.
    """
    if not exclusive:
        questions = [np.array([p, 1.0 - p]) for p in probabilities]
        found = [category_doubt(question, exclusive=True) for question in questions]
        return {by: max([doubt[by] for doubt in found], default=0.0) for by in _NONE}
    ranked = np.sort(probabilities)[::-1]
    if len(ranked) < 2:
        return dict(_NONE)
    return {
        "confidence": 1.0 - float(ranked[0]),
        "margin": 1.0 - float(ranked[0] - ranked[1]),
        "entropy": float(_entropy(ranked)) / float(np.log(len(ranked))),
    }


def tag_doubt(probabilities: Floats) -> dict[str, float]:
    """How unsure a tagger is of one text. A long text has more to be unsure of, so the means over
    tokens are taken (token entropy, Settles & Craven 2008; MNLP, Shen et al. 2018, with marginals
    in place of the sequence's probability); of margins the smallest counts.

    probabilities (Floats): Of each tag of each token. *Shape:* `(n_tokens, n_tags)`.
    """
    if not len(probabilities) or probabilities.shape[1] < 2:
        return dict(_NONE)
    first, second = np.sort(probabilities, axis=1)[:, :-3:-1].T
    return {
        "confidence": -float(np.log(np.maximum(first, 1e-12)).mean()),
        "margin": 1.0 - float((first - second).min()),
        "entropy": float(_entropy(probabilities).mean()),
    }


_NONE: dict[str, float] = dict.fromkeys(OF_DOUBT, 0.0)


def _entropy(probabilities: Floats) -> Floats:
    positive = np.maximum(probabilities, 1e-12)
    return np.asarray(-(probabilities * np.log(positive)).sum(axis=-1))


def _doubts(nlp: Language, docs: Sequence[Doc]) -> list[dict[str, float]]:
    """The doubts of all components, added up: they are about the same size."""
    found = [dict(_NONE) for _ in docs]
    for _, pipe in nlp.pipeline:
        if isinstance(pipe, JBertNER):
            of_pipe = [tag_doubt(tags) for tags in pipe.tag_probabilities(docs)]
        elif isinstance(pipe, TextCategorizer):
            exclusive = not pipe.model.attrs["multi_label"]
            cats = [np.array([doc.cats[label] for label in pipe.labels]) for doc in docs]
            of_pipe = [category_doubt(of_doc, exclusive=exclusive) for of_doc in cats]
        else:
            continue
        for doubt, more in zip(found, of_pipe, strict=True):
            for by in more:
                doubt[by] += more[by]
    return found


# Below any distance.
_TAKEN = -1.0

# --- Vectors --------------------------------------------------------------------------------------


def _vector(doc: Doc) -> Floats:
    rows = doc._.trf_data.model_output.last_hidden_state
    rows = rows.get() if hasattr(rows, "get") else rows
    mean = np.asarray(rows, dtype=np.float64).reshape(-1, rows.shape[-1]).mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12))


def _k_means_plus_plus(
    vectors: Floats, annotated: Floats, count: int, random: np.random.Generator
) -> tuple[NDArray, Floats]:
    """Draw each with a chance that grows with the square of how far it is from all that were drawn
    before (Arthur & Vassilvitskii 2007, "k-means++"; Ash et al. 2020, BADGE, choose so too)."""
    return _one_by_one(vectors, annotated, count, random, lambda far: _drawn(far, random))


def _farthest_first(
    vectors: Floats, annotated: Floats, count: int, random: np.random.Generator
) -> tuple[NDArray, Floats]:
    """Take the one that is farthest from all that were taken before: the greedy k-centre of Sener &
    Savarese 2018, "Active Learning for Convolutional Neural Networks: A Core-Set Approach"."""
    return _one_by_one(vectors, annotated, count, random, lambda far: int(far.argmax()))


def _drawn(far: Floats, random: np.random.Generator) -> int:
    weights = np.maximum(far, 0.0)
    total = weights.sum()
    return int(random.choice(len(far), p=weights / total)) if total > 0 else int(far.argmax())


def _one_by_one(
    vectors: Floats,
    annotated: Floats,
    count: int,
    random: np.random.Generator,
    pick: Callable[[Floats], int],
) -> tuple[NDArray, Floats]:
    """RETURNS (tuple): Which, in the order they were picked, and how far each was from those before
    (the square)."""
    # Squared distances between vectors of length 1 are 2 minus twice their product.
    far = np.full(len(vectors), 2.0)
    if len(annotated):
        for start in range(0, len(annotated), 1_000):
            near = (vectors @ annotated[start : start + 1_000].T).max(axis=1)
            far = np.minimum(far, np.maximum(0.0, 2.0 - 2.0 * near))
    order: list[int] = []
    scores: list[float] = []
    for _ in range(min(count, len(vectors))):
        first = not order and not len(annotated)
        index = int(random.integers(len(vectors))) if first else pick(far)
        order.append(index)
        scores.append(float(far[index]))
        far = np.minimum(far, np.maximum(0.0, 2.0 - 2.0 * (vectors @ vectors[index])))
        far[index] = _TAKEN
    return np.array(order, dtype=np.int64), np.array(scores)
