"""A config trained and tested once, and kept: what was finished isn't done again.

A run is two files: `<name>.jsonl`, what the pipeline said of each tested document, and
`<name>.json`, its scores, which is written last. `scores.json` names the runs that it is of."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import spacy
import srsly
from spacy.cli.train import train
from spacy.language import Language
from spacy.pipeline import TextCategorizer
from spacy.tokens import DocBin
from spacy.training import Corpus, Example

from ..errors import DataError, Errors
from ..evaluation.confidence import get_confidence
from ..evaluation.mistakes import Mistake, entity_mistakes, evaluate
from ..evaluation.scorers import threshold_of
from ..evaluation.significance import MEASURES, Comparison, Floats, compare
from ..storage import alone, remove, replacing

SUMMARY = "scores.json"
# Runs that were counted otherwise are done again.
_FORMAT = 2

Counts = dict[str, list[int]]
"""Of each label: found rightly, found wrongly, missed."""


class Said(NamedTuple):
    """What a pipeline said of one document.

    text (str): A digest of its text: by it the same documents of two runs find each other.
    counts (dict[str, Counts]): Of "ents" and "cats", where they are annotated.
    ents (list): Start, end, label and confidence (None: not known) of what was found.
    maybe (list): The same of every candidate, where the pipeline keeps some.
    cats (dict[str, float]): The probabilities.
    """

    text: str
    counts: dict[str, Counts]
    ents: list[tuple[int, int, str, float | None]]
    maybe: list[tuple[int, int, str, float]]
    cats: dict[str, float]


class Run(NamedTuple):
    """Scores as spaCy gives them, and what was said of each document.

    name, of (str): What it is kept as, and what it is of, see `once`; empty before it is kept.
    """

    scores: dict[str, Any]
    said: list[Said]
    name: str = ""
    of: str = ""


def once(out: Path, name: str, of: str, work: Callable[[Path], Run]) -> tuple[Run, bool]:
    """Do a run that isn't there yet.

    out, name: Where it is kept.
    of (str): What it is of: a digest of config, settings and data.
    work (Callable): Does it in an empty folder, which is removed afterwards.
    RETURNS (tuple): The run, and whether it was there already.
    """
    file, said_file = out / f"{name}.json", out / f"{name}.jsonl"
    of = f"{_FORMAT}-{of}"
    if (there := _read_run(out, name, of)) is not None:
        return there, True
    folder = out / f".{name}"
    # A killed run leaves it.
    remove(folder)
    folder.mkdir(parents=True)
    try:
        run = work(folder)
    finally:
        remove(folder)
    with replacing(said_file) as (part,):
        srsly.write_jsonl(part, [said._asdict() for said in run.said])
    write_json(file, {"of": of, "scores": run.scores})
    return run._replace(name=name, of=of), False


def settings_text(overrides: dict[str, Any] | None, *others: object) -> str:
    """Settings for a digest: the same however the path of a file is written.

    overrides (dict[str, Any] | None): Settings, as for `spacy train`.
    others: More of what JSON holds.
    RETURNS (str): JSON.
    """
    settings = {name: _without_detours(name, value) for name, value in (overrides or {}).items()}
    return json.dumps([settings, *others], sort_keys=True, default=str)


def _without_detours(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    # What is read is there. Of other paths, such as a log's, it may not depend whether they are.
    if name.startswith("paths.") and os.path.exists(value):
        return os.path.realpath(value)
    return os.path.normpath(value) if "/" in value and "://" not in value else value


def alone_in(out: Path) -> AbstractContextManager[None]:
    """Work in a folder that no other process works in. RAISES: DataError J465."""
    return alone(out / ".lock", DataError(Errors.J465, path=out))


def trained_and_tested(
    config: Path, folder: Path, test: Path, overrides: dict[str, Any], gpu_id: int
) -> Run:
    """Train by spaCy's own `train`, and test the best model.

    config (Path): The training config.
    folder (Path): To train in.
    test (Path): A DocBin.
    overrides (dict[str, Any]): Settings of the config.
    """
    train(config, folder / "trained", use_gpu=gpu_id, overrides=overrides)
    nlp = spacy.load(folder / "trained" / "model-best")
    docs = DocBin().from_disk(test).get_docs(nlp.vocab)
    return evaluated(nlp, list(Corpus(test).make_examples(nlp, docs)))


def evaluated(nlp: Language, examples: list[Example]) -> Run:
    """RETURNS (Run): spaCy's scores of a pipeline, and what it says of each document."""
    scores, _ = evaluate(nlp, examples)
    return Run(scores, [_said(nlp, eg) for eg in examples])


def _said(nlp: Language, eg: Example) -> Said:
    gold, predicted = eg.reference, eg.predicted
    counts: dict[str, Counts] = {}
    if gold.has_annotation("ENT_IOB"):
        labels = [ent.label_ for ent in gold.ents]
        counts["ents"] = _counts(labels, entity_mistakes(gold, predicted))
    classifiers = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, TextCategorizer)]
    if gold.cats and classifiers:
        counts["cats"] = _category_counts(gold.cats, predicted.cats, classifiers)
    ents = [
        (ent.start_char, ent.end_char, ent.label_, get_confidence(ent)) for ent in predicted.ents
    ]
    maybe = [
        (span.start_char, span.end_char, span.label_, round(float(score), 6))
        for group in predicted.spans.values()
        for span, score in zip(group, group.attrs.get("scores", ()), strict=False)
    ]
    cats = {label: round(float(value), 6) for label, value in predicted.cats.items()}
    return Said(text_digest(gold.text), counts, ents, maybe, cats)


def _counts(gold: Iterable[str], mistakes: Iterable[Mistake]) -> Counts:
    found: Counts = {}
    for label in gold:
        found.setdefault(label, [0, 0, 0])[0] += 1
    for mistake in mistakes:
        if mistake.gold:
            of_label = found.setdefault(mistake.gold.label, [0, 0, 0])
            of_label[0] -= 1
            of_label[2] += 1
        if mistake.answered:
            found.setdefault(mistake.answered.label, [0, 0, 0])[1] += 1
    return found


def _category_counts(
    gold: dict[str, float], said: dict[str, float], classifiers: Sequence[TextCategorizer]
) -> Counts:
    """As `Scorer.score_cats` counts them; but what is annotated and no component knows is missed,
    or a pipeline would be the better for each label it lacks."""
    known = {label for pipe in classifiers for label in pipe.labels}
    missed = {label for label, value in gold.items() if value > 0 and label not in known}
    counts: Counts = {label: [0, 0, 1] for label in missed}

    def count(label: str, *, wanted: bool, found: bool) -> None:
        of_label = counts.setdefault(label, [0, 0, 0])
        of_label[0 if wanted and found else 1 if found else 2] += wanted or found

    for pipe in classifiers:
        of_pipe = {label: value for label, value in gold.items() if label in pipe.labels}
        if pipe.model.attrs["multi_label"]:
            for label, value in of_pipe.items():
                found = said.get(label, 0.0) >= threshold_of(pipe.cfg["threshold"], label)
                count(label, wanted=value > 0, found=found)
        elif of_pipe or missed:
            best = max(pipe.labels, key=lambda label: said.get(label, 0.0))
            # Of all at 0.0 the first counts as annotated, as in the scores.
            wanted = max(of_pipe, key=of_pipe.__getitem__, default=None)
            if missed and not any(of_pipe.values()):
                wanted = None
            for label in {best, wanted} - {None}:
                count(label, wanted=label == wanted, found=label == best)
    return counts


def text_digest(text: str) -> str:
    """RETURNS (str): 16 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


# --- One run, or several, against others ----------------------------------------------------------


def read_runs(folder: Path) -> list[Run]:
    """RETURNS (list[Run]): The runs that a folder's scores.json is of. Others may be left from a
    command before, with other settings or more of them.

    RAISES: DataError J466 if there are none, J481 if they aren't as scores.json has them.
    """
    summary = _read_object(folder / SUMMARY)
    if not summary:
        raise DataError(Errors.J466, path=folder)
    of = summary.get("runs")
    if not isinstance(of, dict) or not of:
        raise DataError(Errors.J481.format(names="it names none"), path=folder)
    found = {name: _read_run(folder, name, digest) for name, digest in of.items()}
    if others := [name for name, run in found.items() if run is None]:
        raise DataError(Errors.J481.format(names=", ".join(others)), path=folder)
    return [run for run in found.values() if run is not None]


def compared(ours: Sequence[Run], theirs: Sequence[Run], where: Path) -> dict[str, Comparison]:
    """Compare runs over the same documents; of several over one document the mean counts.

    where (Path): The folder of theirs, for the error.
    RETURNS (dict[str, Comparison]): By the name of the score, where both have it.
    RAISES: DataError J467 for other documents.
    """
    our_said, their_said = by_document(ours), by_document(theirs)
    if our_said.keys() != their_said.keys():
        shared = len(our_said.keys() & their_said.keys())
        message = Errors.J467.format(ours=len(our_said), theirs=len(their_said), shared=shared)
        raise DataError(message, path=where)
    documents = list(our_said)
    found: dict[str, Comparison] = {}
    for name, (kind, measure) in MEASURES.items():
        both = [[said[document] for document in documents] for said in (our_said, their_said)]
        labels = sorted(
            {label for of_run in both for said in of_run for label in _labels(said, kind)}
        )
        if labels and all(_is_counted(of_run, kind) for of_run in both):
            ours_array, theirs_array = (counts_array(of_run, kind, labels) for of_run in both)
            found[name] = compare(ours_array, theirs_array, measure)
    return found


def counts_array(said: Sequence[Sequence[Said]], kind: str, labels: Sequence[str]) -> Floats:
    """What `significance` takes.

    said: Of each document what each run said.
    kind (str): "ents" or "cats".
    RETURNS (Floats): The mean over runs. *Shape:* `(n_docs, n_labels, 3)`.
    """
    array = np.zeros((len(said), len(labels), 3))
    number = {label: i for i, label in enumerate(labels)}
    for i, of_doc in enumerate(said):
        for one in of_doc:
            for label, counts in one.counts.get(kind, {}).items():
                array[i, number[label]] += np.asarray(counts) / len(of_doc)
    return array


def _labels(said: Iterable[Said], kind: str) -> Iterator[str]:
    for one in said:
        yield from one.counts.get(kind, {})


def _is_counted(said: Iterable[Iterable[Said]], kind: str) -> bool:
    """RETURNS (bool): Whether runs say anything of that kind."""
    return any(kind in one.counts for of_doc in said for one in of_doc)


def by_document(runs: Iterable[Run]) -> dict[tuple[str, int], list[Said]]:
    """RETURNS (dict): What the runs said of each document, by the digest of its text, and which of
    those with that text it is, from 0."""
    found: dict[tuple[str, int], list[Said]] = {}
    for run in runs:
        seen = Counter[str]()
        for said in run.said:
            found.setdefault((said.text, seen[said.text]), []).append(said)
            seen[said.text] += 1
    return found


# --- Files ----------------------------------------------------------------------------------------


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file that is there whole or not at all."""
    text = json.dumps(content, ensure_ascii=False, indent=2)
    with replacing(path) as (part,):
        part.write_text(text, encoding="utf-8")


def _read_run(folder: Path, name: str, of: str) -> Run | None:
    """None where there is none of that, or it is damaged."""
    done = _read_object(folder / f"{name}.json")
    said = _read_said(folder / f"{name}.jsonl")
    if said is None or done.get("of") != of or "scores" not in done:
        return None
    return Run(done["scores"], said, name, of)


def _read_object(path: Path) -> dict[str, Any]:
    """What was written before; nothing where there is none, or it is damaged."""
    try:
        content = srsly.read_json(path) if path.is_file() else {}
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _read_said(path: Path) -> list[Said] | None:
    """None where there is none, or it is damaged."""
    try:
        rows = list(srsly.read_jsonl(path)) if path.is_file() else None
        return None if rows is None else [Said(**row) for row in rows]
    except (ValueError, TypeError):
        return None
