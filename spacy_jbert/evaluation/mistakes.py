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
        class" where they exclude each other ("invented class" if none is annotated, "missed class"
        if the pipeline doesn't know it), otherwise "missed class" or "invented class".
    text (str): The document's.
    gold, predicted (Label | None): What was annotated and what was found, also if uncertain.
    confidence (float | None): How sure the pipeline was of it. None for an entity that was missed,
        or found without a confidence.
    record (int): Which document, counted from 1; 0 if that isn't known.
    task (str): Whose it is: "entities", or the name of a text classifier; "" if that isn't known.
    """

    kind: str
    text: str
    gold: Label | None
    predicted: Label | None
    confidence: float | None
    record: int = 0
    task: str = ""

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


def text_classifiers(
    nlp: Language, examples: Iterable[Example]
) -> list[tuple[str, TextCategorizer, list[str]]]:
    """RETURNS (list): The name of each text classifier, the component, and the annotated categories
    that it lacks. Nobody can say which of several should know a category that none knows, so only
    the one and only classifier lacks any.
    """
    found = [(name, pipe) for name, pipe in nlp.pipeline if isinstance(pipe, TextCategorizer)]
    lacking = unknown_categories(nlp, examples) if len(found) == 1 else []
    return [(name, pipe, lacking) for name, pipe in found]


def unknown_categories(nlp: Language, examples: Iterable[Example]) -> list[str]:
    """RETURNS (list[str]): The annotated categories that no text classifier knows."""
    known = {
        label
        for _, pipe in nlp.pipeline
        if isinstance(pipe, TextCategorizer)
        for label in pipe.labels
    }
    annotated = {label for eg in examples for label, on in eg.reference.cats.items() if on > 0}
    return sorted(annotated - known)


def wanted_category(
    gold: Mapping[str, float], labels: Iterable[str], lacking: Iterable[str] = ()
) -> str | None:
    """The one category that is annotated, of some that exclude each other.

    gold (Mapping[str, float]): `doc.cats` of the annotation.
    labels, lacking (Iterable[str]): What the classifier knows, and what it should know too. As in
        spaCy's scorer the first come first, and of several the one that is the surest.
    RETURNS (str | None): "" if it says that none of them fits, None if it says nothing of them.
    """
    sides = set(labels), set(lacking)
    for side in sides:
        if fits := [label for label in gold if label in side and gold[label] > 0]:
            return max(fits, key=gold.__getitem__)
    return "" if gold.keys() & set.union(*sides) else None


def category_mistakes(
    gold: Doc,
    predicted: Doc,
    labels: Sequence[str],
    *,
    exclusive_classes: bool,
    threshold: float | Mapping[str, float] = 0.5,
    lacking: Sequence[str] = (),
) -> list[Mistake]:
    """Compare the categories of two Docs: the best one each if they exclude each other, otherwise
    each that reaches its threshold.

    labels (Sequence[str]): The labels to compare. Those that the annotation leaves open are left
        out.
    exclusive_classes (bool): Whether one label fits a document.
    threshold (float | Mapping[str, float]): See `threshold_of`.
    lacking (Sequence[str]): What else is annotated, and can't be found.
    """
    everything = (0, len(gold.text))
    if exclusive_classes:
        wanted = wanted_category(gold.cats, labels, lacking)
        if wanted is None or not labels:
            return []
        found = max(labels, key=lambda label: predicted.cats.get(label, 0.0))
        if found == wanted:
            return []
        kind = "wrong class" if wanted else "invented class"
        return [
            Mistake(
                "missed class" if wanted in lacking else kind,
                gold.text,
                Label(wanted, *everything) if wanted else None,
                Label(found, *everything),
                predicted.cats.get(found),
            )
        ]
    mistakes = [
        Mistake("missed class", gold.text, Label(label, *everything), None, None)
        for label in lacking
        if gold.cats.get(label, 0.0) > 0
    ]
    for label in (label for label in labels if label in gold.cats):
        annotated, probability = gold.cats[label] > 0, predicted.cats.get(label, 0.0)
        found_it = probability >= threshold_of(threshold, label)
        if found_it and not annotated:
            mistakes.append(
                Mistake("invented class", gold.text, None, Label(label, *everything), probability)
            )
        elif annotated and not found_it:
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
    RETURNS (list[Mistake]): Those that the pipeline was surest of first. What is annotated and no
        component knows is among them.
    RAISES: ValueError J072 for probabilities that are none.
    """
    classifiers = text_classifiers(nlp, examples)
    nobodys = unknown_categories(nlp, examples) if len(classifiers) > 1 else []
    found: list[Mistake] = []
    for number, eg in enumerate(examples, 1):
        mistakes: list[Mistake] = []
        if entities and eg.reference.has_annotation("ENT_IOB"):
            of_task = entity_mistakes(eg.reference, eg.predicted)
            mistakes += [mistake._replace(task="entities") for mistake in of_task]
        for name, pipe, lacking in classifiers:
            of_task = category_mistakes(
                eg.reference,
                eg.predicted,
                pipe.labels,
                exclusive_classes=not pipe.model.attrs["multi_label"],
                threshold=pipe.cfg["threshold"],
                lacking=lacking,
            )
            mistakes += [mistake._replace(task=name) for mistake in of_task]
        if classifiers:
            require_confidences(eg.predicted.cats.values())
        mistakes += [
            Mistake("missed class", eg.text, Label(label, 0, len(eg.text)), None, None)
            for label in nobodys
            if eg.reference.cats.get(label, 0.0) > 0
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
