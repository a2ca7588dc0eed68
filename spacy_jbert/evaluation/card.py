"""A model card in Markdown, from measured figures: it stands in a wheel's README and meta.json
(`spacy package` puts `notes` of the meta into the README)."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spacy.language import Language

from ..errors import Errors
from .facts import encoder_facts, encoders_of
from .outcome import Outcome, Task

HEADING = "## Model card"
FEW_LEARNED, FEW_TESTED = 50, 10
"""Under so many examples of a label in the training or test part, its figures say little."""
SHOWN = 20


def read_meta(file: Path) -> dict[str, Any]:
    """Somebody's meta.json, with everything in it as the card needs it.

    RAISES: ValueError J417 if it can't be used, OSError.
    """
    try:
        # Windows' editors put a mark before UTF-8.
        meta = json.loads(file.read_text(encoding="utf-8-sig"))
        # JSON can hold halves of surrogate pairs, which no file can.
        json.dumps(meta, ensure_ascii=False).encode()
        reason = _wrong_in(meta)
    except UnicodeDecodeError:
        reason = "it isn't UTF-8"
    except UnicodeEncodeError:
        reason = "it holds half a character, which no file can"
    except (ValueError, RecursionError) as error:
        reason = f"it isn't JSON ({error})"
    if reason:
        raise ValueError(Errors.J417.format(path=file, reason=reason))
    found: dict[str, Any] = meta
    return found


def _wrong_in(meta: Any) -> str | None:
    if not isinstance(meta, dict):
        return "it isn't an object, {…}"
    for name in ("description", "author", "license", "notes"):
        if not isinstance(meta.get(name), str | None):
            return f"{name} isn't text"
    sources = meta.get("sources") or []
    if not isinstance(sources, list):
        return "sources aren't a list"
    for number, source in enumerate(sources, 1):
        values = source.values() if isinstance(source, dict) else [source or 0]
        if not all(isinstance(value, str | None) for value in values):
            return f"source {number} isn't text, or holds something that isn't"
        if not _source(source).get("name"):
            return f"source {number} has no name"
    return None


def with_card(outcome: Outcome, meta: Mapping[str, Any]) -> dict[str, Any]:
    """A meta.json for `spacy package --meta-path`: somebody's own, with a card and the scores.

    outcome (Outcome): Measured on the pipeline that is packaged.
    meta (Mapping[str, Any]): Description, author, licence, sources …; stays as it is but for what
        is measured.
    RETURNS (dict[str, Any]): Its `notes` hold the card below what was there.
    """
    named = [_source(source) for source in meta.get("sources") or ()]
    known = {source.get("name") for source in named}
    named += [of for of in map(_source, outcome.facts["sources"]) if of.get("name") not in known]
    text = card(outcome, {**meta, "sources": named})
    before = (meta.get("notes") or "").partition(HEADING)[0].rstrip()
    return {
        **meta,
        **({"sources": named} if named else {}),
        "performance": performance(outcome),
        "notes": f"{before}\n\n{text}".lstrip(),
    }


def performance(outcome: Outcome) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): The scores under spaCy's names, each with its interval beside it
    as `NAME_interval`. Of several text classifiers the names begin with "cats_COMPONENT_".
    """
    found: dict[str, Any] = {}
    several = sum(task.exclusive is not None for task in outcome.tasks) > 1
    for task in outcome.tasks:
        prefix, names = _NAMES[task.exclusive]
        if several and task.exclusive is not None:
            prefix += f"{task.name}_"
        for name, (value, low, high) in task.headline.items():
            key = prefix + names.get(name, name)
            found[key] = value
            found[f"{key}_interval"] = [low, high]
        if task.after:
            found[f"{prefix}ece"] = task.after.error
        per_label = {
            row["label"]: {name: float(row[name]) for name in "prf"} for row in task.labels
        }
        found[f"{prefix}{'' if task.exclusive is None else 'f_'}per_type"] = per_label
    if outcome.seconds:
        found["speed"] = outcome.tokens / outcome.seconds
    return found


# How spaCy calls what stands in a headline.
_MICRO = {"p": "micro_p", "r": "micro_r", "f": "micro_f"}
_NAMES: dict[bool | None, tuple[str, dict[str, str]]] = {
    None: ("ents_", {}),
    True: ("cats_", {"accuracy": "micro_f"}),
    False: ("cats_", _MICRO),
}


def card(outcome: Outcome, meta: Mapping[str, Any]) -> str:
    """RETURNS (str): The card, in Markdown."""
    sections = {
        "Intended use": _use(outcome),
        "Data": _data(outcome, meta),
        "Scores": _scores(outcome),
        "Limits": _limits(outcome),
        "Speed and size": _cost(outcome),
        "Encoder": _encoder(outcome.facts["encoders"]),
    }
    return _markdown(sections)


def training_card(nlp: Language) -> str:
    """What can be said when a training saves its pipeline: of the development part, without the
    counts of the training texts.

    RETURNS (str): Markdown. `jbert report --card` has more to say.
    """
    scores = nlp.meta.get("performance", {})
    named = ((name, scores.get(name), scores.get(f"{name}_interval")) for name in _HEADLINES)
    rows = [
        f"| {name} | {100 * value:.1f} | ({100 * ends[0]:.1f}–{100 * ends[1]:.1f}) |"
        for name, value, ends in named
        if value is not None and ends
    ]
    labels = {name: pipe.labels for name, pipe in nlp.pipeline if getattr(pipe, "labels", ())}
    sections: dict[str, Iterable[str]] = {
        "Intended use": [
            *(f"- {name}: {len(of)} labels, for Japanese text." for name, of in labels.items()),
            "- For texts like those it was trained on. Of others, nothing here says how good it "
            "is.",
        ],
        "Data": _sources(nlp.meta),
        "Scores": [
            "On the development part, after calibration. The best of several evaluations was "
            "kept, so they flatter a little; a test part has to say more (`python -m spacy jbert "
            "report … --card`). In brackets: 95 % intervals.",
            "",
            *(["| | score | |", "|---|---:|---|", *rows] if rows else ["- Not measured."]),
        ],
        "Encoder": _encoder([encoder_facts(encoder) for encoder in encoders_of(nlp)]),
    }
    return _markdown(sections)


_HEADLINES = ("ents_f", "cats_macro_f")


def _markdown(sections: Mapping[str, Iterable[str]]) -> str:
    parts = [HEADING]
    for title, lines in sections.items():
        parts.append("\n".join([f"### {title}", "", *lines]))
    return "\n\n".join(parts) + "\n"


def _use(outcome: Outcome) -> Iterator[str]:
    for task in outcome.tasks:
        labels = [row["label"] for row in task.labels if row["label"] not in task.lacking]
        what = {
            None: "Finds entities in Japanese text:",
            True: "Puts a Japanese text into one of these categories:",
            False: "Finds which of these categories fit a Japanese text:",
        }[task.exclusive]
        more = f" … ({len(labels)} in all)" if len(labels) > SHOWN else ""
        yield f"- {what} {', '.join(map(_plain, labels[:SHOWN]))}{more}."
    yield "- For texts like those it was trained on. Of others, nothing here says how good it is."


def _sources(meta: Mapping[str, Any]) -> Iterator[str]:
    for source in map(_source, meta.get("sources") or ()):
        licence = source.get("license") or "licence not stated"
        # spaCy asks for no name.
        name = source.get("name") or source.get("url") or "a source without a name"
        yield f"- {_plain(name)} ({_plain(licence)})"
    if not meta.get("sources"):
        yield "- Sources and licences are not stated."


def _data(outcome: Outcome, meta: Mapping[str, Any]) -> Iterator[str]:
    yield from _sources(meta)
    facts = outcome.facts
    for title, stated in (
        ("Author", meta.get("author") or facts["author"]),
        ("Licence", meta.get("license") or facts["licence"]),
    ):
        yield f"- {title} of this pipeline: {_plain(str(stated)) or 'not stated'}"
    yield ""
    yield "| part | texts | characters | annotated labels |"
    yield "|---|---:|---:|---:|"
    for name, part in outcome.corpus["parts"].items():
        labels = sum(part["labels"].values())
        yield f"| {name} | {part['documents']:,} | {part['characters']:,} | {labels:,} |"


def _scores(outcome: Outcome) -> Iterator[str]:
    part = list(outcome.corpus["parts"])[-1]
    how = [
        *(["calibrated"] if outcome.facts["temperatures"] else []),
        *(["with its thresholds"] if any(task.kept for task in outcome.tasks) else []),
    ]
    yield (
        f"On the {part} part ({outcome.documents:,} texts), by the pipeline as it is packaged"
        f"{': ' if how else ''}{' and '.join(how)}. In brackets: 95 % intervals."
    )
    yield ""
    yield "| | score | |"
    yield "|---|---:|---|"
    for task in outcome.tasks:
        for name, (value, low, high) in task.headline.items():
            interval = f"({100 * low:.1f}–{100 * high:.1f})"
            yield f"| {task.name}: {_WORDS[name]} | {100 * value:.1f} | {interval} |"
        if task.after:
            yield f"| {task.name}: expected calibration error | {task.after.error:.3f} | |"
        if task.kept:
            yield (
                f"| {task.name}: answers above their threshold | {100 * task.kept.coverage:.1f} "
                f"| {100 * task.kept.accuracy:.1f} % of them are right |"
            )


_WORDS = {"p": "precision", "r": "recall", "f": "F", "macro_f": "F, mean of labels"}
_WORDS["accuracy"] = "accuracy"


def _limits(outcome: Outcome) -> Iterator[str]:
    learned = outcome.corpus["parts"].get("train")
    seen = learned or list(outcome.corpus["parts"].values())[-1]
    whose = "training" if learned else "test"
    yield (
        f"- Half of the {whose} texts have at most {seen['median']} characters, 95 % at most "
        f"{seen['long']}; the longest has {seen['longest']}. Longer texts were not tried."
    )
    for task in outcome.tasks:
        if few := _few(task, learned):
            names = ", ".join(map(_plain, few[:SHOWN]))
            more = f" … ({len(few)} in all)" if len(few) > SHOWN else ""
            yield (
                f"- {task.name}: too few examples to rely on (under {FEW_LEARNED} in training or "
                f"{FEW_TESTED} in the test): {names}{more}."
            )
    if outcome.corpus["misaligned"]:
        count, total = len(outcome.corpus["misaligned"]), outcome.corpus["entities"]
        yield f"- {count} of {total} entities of the test begin or end inside a token."
    for first, second, count, _ in outcome.corpus["duplicates"]:
        if first != second:
            yield f"- {count} texts are in both {first} and {second}."


def _few(task: Task, learned: dict[str, Any] | None) -> list[str]:
    return [
        row["label"]
        for row in task.labels
        if row["support"] < FEW_TESTED
        or (learned and learned["labels"].get(row["label"], 0) < FEW_LEARNED)
    ]


def _cost(outcome: Outcome) -> Iterator[str]:
    facts = outcome.facts
    if outcome.seconds:
        speed = outcome.characters / outcome.seconds
        yield f"- {speed:,.0f} characters a second on {facts['machine']}, as measured once."
    yield f"- {facts['parameters']:,} weights" + (
        f", {facts['bytes'] / 1e6:,.1f} MB on disk." if facts["bytes"] else "."
    )


def _encoder(encoders: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for encoder in encoders:
        yield (
            f"- {encoder['kind']}, {encoder['layers']} layers of width {encoder['width']}, "
            f"{encoder['vocabulary']:,} wordpieces, {encoder['parameters']:,} weights, "
            f"{encoder['pieces']} pieces a window. Where it comes from, and its licence, stand "
            "under Data if they are stated."
        )
    if not encoders:
        yield "- None."


def _source(source: Any) -> dict[str, str]:
    """spaCy lets a source be a name alone."""
    return source if isinstance(source, dict) else {"name": str(source)}


def _plain(text: str) -> str:
    """A text that is nothing but itself in Markdown."""
    return "".join(
        f"\\{char}" if char in r"\`*_[]<>|#" else char for char in " ".join(text.split())
    )
