"""Everything that a report says of a pipeline on a test part, as plain values: measured once, shown
by `page.py`, `listing.py` and `card.py`."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from . import coverage, semeval, statistics
from .answers import Answer, Answers, answers_of, finds_entities, uncalibrated
from .baseline import can_tell_apart, can_train, linear_baseline
from .facts import facts
from .intervals import intervals, prf, wilson
from .mistakes import (
    UNCERTAIN,
    Mistake,
    annotate,
    mistakes_of,
    uncertain,
    wanted_category,
)
from .scorers import expected_calibration_error, is_right
from .significance import Interval

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass
class Reliability:
    """How far confidence is from accuracy: the error (see `expected_calibration_error`), and the
    points of a diagram."""

    error: float
    groups: list[coverage.Group]


@dataclass
class Task:
    """What is said of one kind of answer.

    name (str), exclusive (bool | None): See `Answers`.
    headline (dict[str, Interval]): p, r, f, and of categories macro_f; of exclusive ones accuracy.
    labels (list[dict]): label, p, r, f, support, found.
    confusion (list): What was annotated, what was found, how often; "" for nothing.
    semeval (dict): For each scheme its outcomes and its p, r, f.
    curve, table (list[Point]): Coverage and accuracy by threshold.
    kept, withheld (Point | None): What the thresholds in the pipeline keep, and what is under them;
        None without any.
    before, after (Reliability | None): The calibration; `before` only where that changed anything.
    baseline (dict[str, float]): What a linear classifier of the training part scores (accuracy of
        exclusive labels, macro_f); empty where there is no such part, or scikit-learn isn't
        installed.
    lacking (list[str]): See `Answers`.
    """

    name: str
    exclusive: bool | None
    headline: dict[str, Interval]
    labels: list[dict[str, Any]]
    confusion: list[tuple[str, str, int]]
    semeval: dict[str, dict[str, float]]
    curve: list[coverage.Point]
    table: list[coverage.Point]
    kept: coverage.Point | None
    before: Reliability | None
    after: Reliability | None
    baseline: dict[str, float] = field(default_factory=dict)
    withheld: coverage.Point | None = None
    lacking: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """A pipeline on a test part.

    title (str): Of what on what.
    documents, characters, tokens (int): Of the test part.
    seconds (float): That the pipeline took for it.
    tasks (list[Task]): Entities, then each text classifier.
    mistakes (list[Mistake]): Those that the pipeline was surest of first.
    suspects (list[int]): Of these, in which the annotation may be wrong.
    records (dict[int, dict]): The documents with mistakes, by number, as `jbert convert` reads
        them, and what was found instead.
    corpus (dict): See `statistics.py`.
    facts (dict): See `facts.py`.
    training (list[dict]): See `learning_curve`.
    answers (list[Answers]): What the figures were counted from.
    """

    title: str
    documents: int
    characters: int
    tokens: int
    seconds: float
    tasks: list[Task]
    mistakes: list[Mistake]
    suspects: list[int]
    records: dict[int, dict[str, Any]]
    corpus: dict[str, Any]
    facts: dict[str, Any]
    training: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Answers] = field(default_factory=list)

    def only(self, mistakes: list[Mistake]) -> "Outcome":
        """RETURNS (Outcome): The same with some of the mistakes and their records."""
        suspected = {self.mistakes[i] for i in self.suspects}
        numbers = {mistake.record for mistake in mistakes}
        return replace(
            self,
            mistakes=mistakes,
            suspects=[i for i, mistake in enumerate(mistakes) if mistake in suspected],
            records={number: self.records[number] for number in sorted(numbers)},
        )

    def figures(self) -> dict[str, Any]:
        """RETURNS (dict): What JSON can hold, without texts: the mistakes are only counted."""
        return {
            "title": self.title,
            "documents": self.documents,
            "characters": self.characters,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "tasks": [asdict(of) for of in self.tasks],
            "mistakes": len(self.mistakes),
            "suspects": len(self.suspects),
            "parts": self.corpus["parts"],
            "facts": self.facts,
            "training": self.training,
        }


def measure(
    nlp: Language,
    examples: Sequence[Example],
    *,
    title: str,
    parts: Mapping[str, Sequence[Doc]] | None = None,
    part: str = "test",
    training: list[dict[str, Any]] | None = None,
) -> Outcome:
    """Run a pipeline over annotated documents and measure all there is to say of it.

    examples (Sequence[Example]): As `spacy.training.Corpus` reads them; annotated here.
    title (str): Of the page.
    parts (Mapping[str, Sequence[Doc]] | None): The other parts of the corpus, by name.
    part (str): The name of this one.
    training (list[dict] | None): See `learning_curve`.
    RAISES: ValueError J072 for probabilities that are none.
    """
    # The first text loads what is loaded late; speed is of what follows.
    list(nlp.pipe(eg.text for eg in examples[:1]))
    start = time.perf_counter()
    annotate(nlp, examples)
    seconds = time.perf_counter() - start
    entities = finds_entities(nlp, examples)
    answers = answers_of(nlp, examples, entities=entities, lacking=True)
    several = any(of.exclusive is False for of in answers)
    before = uncalibrated(nlp, examples)
    mistakes = mistakes_of(nlp, examples, entities=entities)
    docs = [eg.reference for eg in examples]
    every = {**(parts or {}), part: docs}
    return Outcome(
        title=title,
        documents=len(examples),
        characters=sum(len(doc.text) for doc in docs),
        tokens=sum(len(eg.predicted) for eg in examples),
        seconds=seconds,
        tasks=[
            replace(
                task(of, before.get(of.name), examples),
                baseline=_baseline(of, (parts or {}).get("train", ()), docs),
            )
            for of in answers
        ],
        mistakes=mistakes,
        suspects=statistics.suspects(mistakes, answers),
        records={
            number: record(examples[number - 1], number, several=several)
            for number in sorted({mistake.record for mistake in mistakes})
        },
        corpus={
            "parts": statistics.parts_statistics(every),
            "duplicates": list(statistics.duplicates(every)),
            "contradictory": statistics.contradictory(docs),
            "misaligned": statistics.misaligned(examples) if entities else [],
            "entities": sum(len(doc.ents) for doc in docs) if entities else 0,
        },
        facts=facts(nlp),
        training=training or [],
        answers=answers,
    )


def task(answers: Answers, before: list[Answer] | None, examples: Sequence[Example]) -> Task:
    """The figures of one kind of answer."""
    headline = intervals(answers.counts)
    if answers.exclusive is None:
        del headline["macro_f"]
    elif answers.exclusive:
        right = sum(answer.right for answer in answers.claims)
        total = max(1, len(answers.claims))
        headline = {
            "accuracy": Interval(right / total, *wilson(right, len(answers.claims))),
            "macro_f": headline["macro_f"],
        }
    claims = answers.claims
    points = coverage.curve(
        [answer.confidence for answer in claims], [answer.right for answer in claims]
    )
    kept, withheld = _decided_by_thresholds(answers, examples)
    return Task(
        name=answers.name,
        exclusive=answers.exclusive,
        headline=headline,
        labels=_by_label(answers),
        confusion=[(*pair, count) for pair, count in answers.confusion.most_common()],
        semeval={
            scheme: {
                **{outcome: counts[outcome] for outcome in semeval.OUTCOMES},
                **dict(zip("prf", semeval.scores(counts), strict=True)),
            }
            for scheme, counts in answers.semeval.items()
        },
        curve=coverage.thinned(points),
        table=[coverage.at(points, threshold) for threshold in THRESHOLDS] if points else [],
        kept=kept,
        withheld=withheld,
        before=reliability(before) if before else None,
        after=reliability(answers.said),
        lacking=answers.lacking,
    )


def _baseline(answers: Answers, train: Sequence[Doc], test: Sequence[Doc]) -> dict[str, float]:
    exclusive = answers.exclusive
    if exclusive is None or not can_train() or not can_tell_apart(train, exclusive):
        return {}
    scores = linear_baseline(train, test, exclusive_classes=exclusive, labels=answers.labels).scores
    macro_f = {"macro_f": scores["cats_macro_f"]}
    return {"accuracy": scores["cats_micro_f"]} | macro_f if exclusive else macro_f


def _by_label(answers: Answers) -> list[dict[str, Any]]:
    totals = answers.counts.sum(axis=0)
    right, invented, missed = totals.T.astype(int).tolist()
    rows = [
        {"label": label, "p": p, "r": r, "f": f, "support": a + c, "found": a + b}
        for label, p, r, f, a, b, c in zip(
            answers.labels, *prf(totals), right, invented, missed, strict=True
        )
    ]
    return sorted(rows, key=lambda row: (-row["support"], row["label"]))


def _decided_by_thresholds(
    answers: Answers, examples: Sequence[Example]
) -> tuple[coverage.Point | None, coverage.Point | None]:
    """What `jbert threshold` has put into the pipeline keeps of the answers, and withholds."""
    if answers.exclusive is None and any(UNCERTAIN in eg.predicted.spans for eg in examples):
        right, invented, _ = answers.counts.sum(axis=(0, 1)).astype(int).tolist()
        kept = [True] * right + [False] * invented
        doubtful = [(eg, span) for eg in examples for span, _ in uncertain(eg.predicted)]
        judged = (is_right(eg, span) for eg, span in doubtful)
        withheld = [right for right in judged if right is not None]
    elif answers.exclusive and any(_decides(eg) for eg in examples):
        given = [
            _decided(eg)
            for eg in examples
            if wanted_category(eg.reference.cats, answers.labels) is not None
        ]
        pairs = list(zip(given, answers.claims, strict=True))
        kept = [answer.right for label, answer in pairs if label]
        withheld = [answer.right for label, answer in pairs if not label]
    else:
        return None, None
    total = max(1, len(kept) + len(withheld))
    return _share(kept, total), _share(withheld, total)


def _share(right: Sequence[bool], total: int) -> coverage.Point:
    count = len(right)
    return coverage.Point(0.0, count / total, sum(right) / count if count else 0.0, count)


def _decides(eg: Example) -> bool:
    """Whether something in the pipeline says when a text has no category."""
    return ("._.", "category", None, None) in eg.predicted.user_data


def _decided(eg: Example) -> str | None:
    return eg.predicted.user_data.get(("._.", "category", None, None))


def reliability(said: Sequence[Answer]) -> Reliability | None:
    """RETURNS (Reliability | None): None of no answers."""
    if not said:
        return None
    sure, right = [answer.confidence for answer in said], [answer.right for answer in said]
    return Reliability(expected_calibration_error(sure, right), coverage.groups(sure, right))


def record(eg: Example, number: int, *, several: bool = False) -> dict[str, Any]:
    """A document as `jbert convert` reads it back, so that its annotation can be corrected.

    several (bool): Whether any number of categories fits a document.
    RETURNS (dict): id, text, entities and label (a list where there are several) as far as they are
        annotated, and what was found under names that the converters don't read.
    """
    gold, found = eg.reference, eg.predicted
    content: dict[str, Any] = {"id": gold.user_data.get("id", number), "text": gold.text}
    if gold.has_annotation("ENT_IOB"):
        content["entities"] = _entities(gold)
    if gold.cats:
        labels = [label for label, value in gold.cats.items() if value > 0]
        alone = not several and len(labels) == 1 and _is_one_label(labels[0])
        content["label"] = labels[0] if alone else labels
    if found.ents:
        content["found_entities"] = _entities(found)
    if doubtful := uncertain(found):
        content["uncertain_entities"] = [
            [span.start_char, span.end_char, span.label_] for span, _ in doubtful
        ]
    if found.cats:
        best = sorted(found.cats.items(), key=lambda item: -item[1])[:5]
        content["found_labels"] = {label: round(float(value), 4) for label, value in best}
    return content


def _is_one_label(text: str) -> bool:
    """Whether a text is one label however it is read: of several labels in a text, a comma stands
    between them, or they are written as JSON."""
    return "," not in text and text == text.strip(" ") and not text.startswith(("[", "{"))


def _entities(doc: Doc) -> list[list[Any]]:
    return [[ent.start_char, ent.end_char, ent.label_] for ent in doc.ents]
