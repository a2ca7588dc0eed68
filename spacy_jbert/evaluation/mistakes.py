"""Every mistake of a pipeline with its kind and confidence: what one looks at after the scores.
`listing.py` and `page.py` show it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from spacy.language import Language
from spacy.pipeline import TextCategorizer
from spacy.scorer import Scorer
from spacy.tokens import Doc, Span
from spacy.training import Example
from tqdm import tqdm

from .confidence import get_confidence
from .scorers import forget_vectors, require_confidences, threshold_of

UNCERTAIN = "jbert_uncertain"
"""`doc.spans[UNCERTAIN]`: entities that were found, and are under their threshold."""


class Label(NamedTuple):
    """A label and the characters it is on: all of the text for a category."""

    label: str
    start: int
    end: int


class Mistake(NamedTuple):
    """One difference between annotation and prediction.

    kind (str): For entities "missed", "invented", "wrong type", "wrong border", or "uncertain": it
        was missed, but something there was found and is under its threshold. For categories "wrong
        class" where they exclude each other, otherwise "missed class" or "invented class".
    text (str): The document's.
    gold, predicted (Label | None): What was annotated and what was found, also if uncertain.
    confidence (float | None): How sure the pipeline was of it. None for an entity that was missed,
        or found without a confidence.
    record (int): Which document, counted from 1; 0 if that isn't known.
    """

    kind: str
    text: str
    gold: Label | None
    predicted: Label | None
    confidence: float | None
    record: int = 0

    @property
    def answered(self) -> Label | None:
        """What the pipeline said instead of the annotation; nothing where it was uncertain."""
        return None if self.kind == "uncertain" else self.predicted


def entity_mistakes(gold: Doc, predicted: Doc) -> list[Mistake]:
    """Compare the entities of two Docs of the same text, by character.

    An entity that overlaps one of the other side is a wrong type (same characters) or a wrong
    border, reported once for both; one that overlaps only what is under its threshold is uncertain.
    What is found where the annotation says nothing is neither right nor wrong, as in spaCy's
    scores.

    RETURNS (list[Mistake]): In the order of the text.
    """
    unknown = [Label("", token.idx, token.idx + len(token)) for token in gold if not token.ent_iob]
    left_gold = {_label(ent): ent for ent in gold.ents}
    left_predicted = {_label(ent): ent for ent in predicted.ents}
    withheld = {_label(span): confidence for span, confidence in uncertain(predicted)}
    for right in left_gold.keys() & left_predicted.keys():
        del left_gold[right], left_predicted[right]
    mistakes = []
    for wanted in left_gold:
        found = next((other for other in left_predicted if _overlap(wanted, other)), None)
        if found is None:
            mistakes.append(_missed(gold.text, wanted, withheld))
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


def uncertain(doc: Doc) -> list[tuple[Span, float]]:
    """RETURNS: The entities under their threshold, with how sure the pipeline was of each."""
    if UNCERTAIN not in doc.spans:
        return []
    group = doc.spans[UNCERTAIN]
    scores = group.attrs.get("scores", [])
    return [(span, float(score)) for span, score in zip(group, scores, strict=True)]


def _missed(text: str, wanted: Label, withheld: Mapping[Label, float]) -> Mistake:
    """An entity that isn't among those found; of what was withheld there the same one counts
    first."""
    near = [label for label in withheld if _overlap(label, wanted)]
    if not near:
        return Mistake("missed", text, wanted, None, None)
    best = max(near, key=lambda label: (label == wanted, withheld[label]))
    return Mistake("uncertain", text, wanted, best, withheld[best])


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
        # As spaCy's scorer has it: of several the one that is the surest.
        wanted = wanted and [max(wanted, key=lambda label: gold.cats[label])]
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


def annotate(nlp: Language, examples: Sequence[Example], *, disable: Iterable[str] = ()) -> None:
    """Run a pipeline over annotated documents, and put what it says into `eg.predicted`.

    disable (Iterable[str]): Components to leave out.
    """
    docs = nlp.pipe((eg.predicted for eg in examples), disable=list(disable))
    watched = tqdm(docs, total=len(examples), unit=" texts", disable=None, leave=False)
    for eg, doc in zip(examples, watched, strict=True):
        eg.predicted = doc
        forget_vectors(doc)


def evaluate(nlp: Language, examples: Iterable[Example]) -> tuple[dict[str, Any], list[Mistake]]:
    """Run a pipeline over annotated documents.

    examples (Iterable[Example]): As `spacy.training.Corpus` reads them. A document may lack one
        kind of annotation.
    RETURNS: spaCy's scores, and all mistakes, see `mistakes_of`.
    RAISES: ValueError J072 for probabilities that are none.
    """
    examples = list(examples)
    annotate(nlp, examples)
    scores = Scorer(nlp).score(examples)
    return scores, mistakes_of(nlp, examples, entities=scores.get("ents_f") is not None)


def mistakes_of(nlp: Language, examples: Sequence[Example], *, entities: bool) -> list[Mistake]:
    """What a pipeline got wrong.

    examples (Sequence[Example]): The pipeline has annotated them.
    entities (bool): Whether it finds entities.
    RETURNS (list[Mistake]): Those that the pipeline was surest of first. Where annotation has a
        category that no component knows, that is a "missed class".
    RAISES: ValueError J072 for probabilities that are none.
    """
    classifiers = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, TextCategorizer)]
    known = {label for pipe in classifiers for label in pipe.labels}
    found: list[Mistake] = []
    for number, eg in enumerate(examples, 1):
        mistakes: list[Mistake] = []
        if entities and eg.reference.has_annotation("ENT_IOB"):
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
            require_confidences(eg.predicted.cats.values())
            mistakes += [
                Mistake("missed class", eg.text, Label(label, 0, len(eg.text)), None, None)
                for label, value in eg.reference.cats.items()
                if value > 0 and label not in known
            ]
        found += [mistake._replace(record=number) for mistake in mistakes]
    return sorted(
        found,
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
    """RETURNS (list[Mistake]): The mistakes in which one of the labels was annotated or found, in
    the same order.
    """
    chosen = set(labels)
    return [
        mistake
        for mistake in mistakes
        if any(side.label in chosen for side in (mistake.gold, mistake.predicted) if side)
    ]
