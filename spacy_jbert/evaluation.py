"""What a pipeline gets wrong: scores by label, and every mistake with its kind, text and confidence, as an HTML report.

The numbers are spaCy's own (`Scorer`); this adds what one looks at after them, and how far probabilities can be trusted.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from html import escape
from typing import Any, NamedTuple

import numpy as np
from spacy.language import Language
from spacy.scorer import Scorer
from spacy.tokens import Doc, Span
from spacy.training import Example

_CONTEXT = 30


def expected_calibration_error(confidence: Sequence[float], right: Sequence[bool], bins: int = 15) -> float:
    """How far confidence is from accuracy, on average: 0.0 where of all that is said with 0.8, 80 % is right.

    confidence (Sequence[float]): 0 to 1. *Shape:* `(n,)`.
    right (Sequence[bool]): Whether each is right. *Shape:* `(n,)`.
    bins (int): Confidences are compared in so many groups of equal width.
    RETURNS (float): The difference of the groups' means, weighted by their sizes; nan of nothing.
    """
    if len(confidence) == 0:
        return math.nan
    sure, correct = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    group = np.minimum((sure * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(group, sure - correct, minlength=bins)).sum() / len(sure))


def textcat_scorer(exclusive_classes: bool) -> Callable[..., dict[str, Any]]:
    """`spacy-jbert.textcat_scorer.v1`: spaCy's scores of categories, with three differences.

    - Documents without categories aren't counted. The stock scorer takes a prediction for one as a mistake.
    - `threshold` may be a table by label, as `spacy-jbert.calibrate.v1` makes it.
    - `cats_ece` is the expected calibration error: of the best label's probability if classes are exclusive, otherwise of all.

    exclusive_classes (bool): As the model has it: `${components.textcat.model.exclusive_classes}`.
    RETURNS (Callable): The scorer.
    """
    return partial(score_textcat, exclusive_classes=exclusive_classes)


def score_textcat(
    examples: Iterable[Example],
    *,
    exclusive_classes: bool,
    labels: Sequence[str],
    threshold: float | Mapping[str, float] = 0.5,
    positive_label: str | None = None,
    **cfg: Any,
) -> dict[str, Any]:
    """See `textcat_scorer`. RETURNS (dict[str, Any]): What `Scorer.score_cats` returns, and `cats_ece`."""
    examples = [eg for eg in examples if eg.reference.cats]

    def shifted(doc: Doc, attr: str) -> dict[str, float]:
        """Stretches each label's scores so that its threshold is at 0.5, the only one that the stock scorer takes."""
        cats: dict[str, float] = getattr(doc, attr)
        return {label: _stretch(value, threshold_of(threshold, label)) for label, value in cats.items()}

    scores: dict[str, Any] = Scorer.score_cats(
        examples,
        "cats",
        getter=getattr if exclusive_classes else shifted,
        labels=labels,
        multi_label=not exclusive_classes,
        positive_label=positive_label,
        threshold=0.5,
    )
    said: list[float] = []
    right: list[bool] = []
    for eg in examples:
        predicted, gold = eg.predicted.cats, eg.reference.cats
        considered = (
            [max(labels, key=lambda label: predicted[label])] if exclusive_classes else [label for label in labels if label in gold]
        )
        said += [predicted[label] for label in considered]
        right += [gold.get(label, 0.0) > 0 for label in considered]
    scores["cats_ece"] = expected_calibration_error(said, right) if said else None
    return scores


def threshold_of(threshold: float | Mapping[str, float], label: str) -> float:
    """The threshold of a label: `pipe.cfg["threshold"]` of a text classifier is one number, or a table of them by label.

    RETURNS (float): 0.5 for labels that came after the table.
    """
    return threshold.get(label, 0.5) if isinstance(threshold, Mapping) else threshold


def _stretch(value: float, threshold: float) -> float:
    if value < threshold:
        return 0.5 * value / threshold
    return 0.5 + 0.5 * (value - threshold) / (1.0 - threshold) if threshold < 1.0 else 0.5


class Mistake(NamedTuple):
    """One difference between annotation and prediction.

    kind: "missed", "invented", "wrong type" or "wrong border" for entities, "wrong label" for documents.
    text: The text; `start:end` are the characters it is about (the whole text for documents).
    gold, predicted: What was annotated, what was found; "" for nothing. Entities are written `text (label)`.
    confidence: Of the prediction, None if there is none.
    """

    kind: str
    text: str
    start: int
    end: int
    gold: str
    predicted: str
    confidence: float | None


def entity_mistakes(gold: Doc, predicted: Doc) -> list[Mistake]:
    """Compare the entities of two Docs of the same text, by character.

    An entity that overlaps one of the other side is a wrong type (same characters) or a wrong border, reported once for both.

    RETURNS (list[Mistake]): In the order of the text.
    """
    mistakes = []
    right = {(ent.start_char, ent.end_char, ent.label_) for ent in gold.ents} & {
        (ent.start_char, ent.end_char, ent.label_) for ent in predicted.ents
    }
    left_gold = [ent for ent in gold.ents if (ent.start_char, ent.end_char, ent.label_) not in right]
    left_predicted = [ent for ent in predicted.ents if (ent.start_char, ent.end_char, ent.label_) not in right]
    for ent in left_gold:
        other = next((o for o in left_predicted if o.start_char < ent.end_char and ent.start_char < o.end_char), None)
        if other is None:
            mistakes.append(_mistake("missed", ent, None))
        else:
            left_predicted.remove(other)
            same_place = (other.start_char, other.end_char) == (ent.start_char, ent.end_char)
            mistakes.append(_mistake("wrong type" if same_place else "wrong border", ent, other))
    mistakes += [_mistake("invented", None, ent) for ent in left_predicted]
    return sorted(mistakes, key=lambda mistake: mistake.start)


def _mistake(kind: str, gold: Span | None, predicted: Span | None) -> Mistake:
    both = [ent for ent in (gold, predicted) if ent is not None]
    score = predicted._.score if predicted is not None and Span.has_extension("score") else None
    return Mistake(
        kind,
        both[0].doc.text,
        min(ent.start_char for ent in both),
        max(ent.end_char for ent in both),
        f"{gold.text} ({gold.label_})" if gold is not None else "",
        f"{predicted.text} ({predicted.label_})" if predicted is not None else "",
        score,
    )


def category_mistakes(gold: Doc, predicted: Doc) -> list[Mistake]:
    """Compare the categories of two Docs: the best one each where they exclude one another, otherwise all that reach 0.5."""
    wanted = {label for label, value in gold.cats.items() if value >= 0.5}
    if not wanted and not gold.cats:
        return []
    if abs(sum(predicted.cats.values()) - 1.0) < 1e-3:
        found = {max(predicted.cats, key=lambda label: predicted.cats[label])}
    else:
        found = {label for label, value in predicted.cats.items() if value >= 0.5}
    if wanted == found:
        return []
    confidence = max((predicted.cats[label] for label in found), default=None)
    return [Mistake("wrong label", gold.text, 0, len(gold.text), ", ".join(sorted(wanted)), ", ".join(sorted(found)), confidence)]


def evaluate(nlp: Language, docs: Iterable[Doc]) -> tuple[dict[str, Any], list[Mistake]]:
    """Run a pipeline over annotated documents.

    docs (Iterable[Doc]): The annotation.
    RETURNS: spaCy's scores, and all mistakes.
    """
    docs = list(docs)
    predicted = nlp.pipe(doc.text for doc in docs)
    examples = [Example(doc, gold) for doc, gold in zip(predicted, docs, strict=True)]
    scores = Scorer(nlp).score(examples)
    mistakes = []
    for eg in examples:
        if "ents_f" in scores:
            mistakes += entity_mistakes(eg.reference, eg.predicted)
        if "cats_score" in scores:
            mistakes += category_mistakes(eg.reference, eg.predicted)
    return scores, mistakes


def html_report(title: str, scores: dict[str, Any], mistakes: Sequence[Mistake]) -> str:
    """A page that needs nothing else: totals, scores by label, mistakes by kind."""
    parts = [f"<h1>{escape(title)}</h1>"]
    for key, name in (("ents", "Entities"), ("cats", "Categories")):
        per_label = scores.get("ents_per_type") if key == "ents" else scores.get("cats_f_per_type")
        if per_label:
            total = [scores[f"ents_{x}"] for x in "prf"] if key == "ents" else [scores[f"cats_macro_{x}"] for x in "prf"]
            rows = [("all" if key == "ents" else "macro average", *total)]
            rows += [(label, values["p"], values["r"], values["f"]) for label, values in sorted(per_label.items())]
            parts.append(
                f"<h2>{name}</h2>" + _table(("", "precision", "recall", "F"), [(r[0], *(f"{v:.3f}" for v in r[1:])) for r in rows])
            )
    counts = Counter(mistake.kind for mistake in mistakes)
    parts.append(f"<h2>Mistakes: {len(mistakes)}</h2>")
    parts.append("<p>" + ", ".join(f"{kind} {count}" for kind, count in counts.most_common()) + "</p>")
    for kind in counts:
        rows_html = "".join(_row(mistake) for mistake in mistakes if mistake.kind == kind)
        head = "<tr><th>text</th><th>annotated</th><th>found</th><th>confidence</th></tr>"
        parts.append(f"<h3>{kind}</h3><table>{head}{rows_html}</table>")
    return _PAGE.format(title=escape(title), body="\n".join(parts))


def _row(mistake: Mistake) -> str:
    before = mistake.text[max(0, mistake.start - _CONTEXT) : mistake.start]
    after = mistake.text[mistake.end : mistake.end + _CONTEXT]
    about = mistake.text[mistake.start : mistake.end]
    text = escape(before) + (escape(about) if mistake.kind == "wrong label" else f"<mark>{escape(about)}</mark>") + escape(after)
    confidence = "" if mistake.confidence is None else f"{mistake.confidence:.2f}"
    return f"<tr><td>{text}</td><td>{escape(mistake.gold)}</td><td>{escape(mistake.predicted)}</td><td class=number>{confidence}</td></tr>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr><td>{escape(row[0])}</td>" + "".join(f"<td class=number>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


_PAGE = """<!doctype html>
<html lang="ja"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.6 system-ui, "Noto Sans CJK JP", "Hiragino Sans", "Yu Gothic", sans-serif; }}
body {{ margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: .5rem 0 1.5rem; }}
th, td {{ border-bottom: 1px solid #ddd; padding: .25rem .8rem; text-align: left; vertical-align: top; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
mark {{ background: #ffe08a; }}
</style></head>
<body>
{body}
</body></html>
"""
