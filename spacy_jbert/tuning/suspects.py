"""Labels that are likely wrong, found by folds: each document is judged by a model that was trained
on the others."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from spacy.util import load_config

from ..corpora.doctor import Finding, Record
from ..errors import DataError, Errors
from ..evaluation.noise import Suspect, wrong_categories, wrong_classes, wrong_entities
from .folds import fold_runs
from .runs import Said, alone_in, by_document, text_digest

# Spans under it aren't kept.
_LEAST = 0.02


def find_suspects(
    config: Path,
    records: Sequence[Record],
    out: Path,
    *,
    count: int = 5,
    seed: int = 42,
    overrides: dict[str, Any] | None = None,
    gpu_id: int = -1,
) -> list[Finding]:
    """Train folds, and tell where a model is confident of something else than what is annotated.

    config (Path): The training config.
    records (Sequence[Record]): All documents.
    out (Path): Where folds are kept; those that are there aren't trained again.
    count, seed, overrides, gpu_id: As in `crossvalidate`.
    RETURNS (list[Finding]): The likeliest first.
    RAISES: DataError J328, J465, J479 for a config without a head for what is annotated.
    """
    settings = {**(overrides or {}), **_candidates(config, overrides or {})}
    docs = [record.doc for record in records]
    with alone_in(out):
        runs = fold_runs(
            config, docs, out, count=count, seed=seed, overrides=settings, gpu_id=gpu_id
        )
    found = by_document(runs)
    seen = Counter[str]()
    said: list[Said] = []
    for doc in docs:
        digest = text_digest(doc.text)
        said.append(found[digest, seen[digest]][0])
        seen[digest] += 1
    suspects = [*_entities(records, said), *_categories(records, said)]
    if not any(one.counts for one in said):
        trains = ", ".join(load_config(config).get("nlp", {}).get("pipeline", ()))
        message = Errors.J479.format(has=trains, needed="nothing of that")
        raise DataError(message, path=config)
    ordered = sorted(suspects, key=lambda suspect: suspect.margin)
    return [_finding(suspect, records[suspect.number]) for suspect in ordered]


def _candidates(config: Path, overrides: dict[str, Any]) -> dict[str, Any]:
    """Settings that let each jbert_ner of a config tell what it holds possible."""
    components = load_config(config, overrides=overrides).get("components", {})
    found: dict[str, Any] = {}
    for name, component in components.items():
        if component.get("factory") == "jbert_ner":
            found[f"components.{name}.candidates_key"] = "jbert_doctor"
            found[f"components.{name}.candidates_threshold"] = _LEAST
    return found


def _entities(records: Sequence[Record], said: Sequence[Said]) -> Iterator[Suspect]:
    judged = [
        number
        for number, (record, one) in enumerate(zip(records, said, strict=True))
        if record.doc.has_annotation("ENT_IOB") and "ents" in one.counts
    ]
    gold = [
        [(ent.start_char, ent.end_char, ent.label_) for ent in records[number].doc.ents]
        for number in judged
    ]
    predicted = [
        {(s, e, label): sure for s, e, label, sure in said[number].ents if sure is not None}
        for number in judged
    ]
    likely = [{(s, e, label): p for s, e, label, p in said[number].maybe} for number in judged]
    if any(predicted) or any(likely):
        for suspect in wrong_entities(gold, predicted, likely, least=_LEAST):
            yield suspect._replace(number=judged[suspect.number])


def _categories(records: Sequence[Record], said: Sequence[Said]) -> Iterator[Suspect]:
    # Where every category is 0.0, none is annotated that could be wrong.
    judged = [
        number
        for number, (record, one) in enumerate(zip(records, said, strict=True))
        if any(record.doc.cats.values()) and "cats" in one.counts
    ]
    if not judged:
        return
    labels = sorted({label for number in judged for label in said[number].cats})
    # A fold doesn't know a label of which it has no example.
    probabilities = np.array(
        [[said[number].cats.get(label, 0.0) for label in labels] for number in judged]
    )
    cats = [records[number].doc.cats for number in judged]
    find: Callable[..., list[Suspect]] = wrong_categories
    given = np.array([[of_doc.get(label, np.nan) for label in labels] for of_doc in cats])
    if np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-3):
        find, given = wrong_classes, np.nan_to_num(given).argmax(axis=1)
    for suspect in find(probabilities, given, labels):
        yield suspect._replace(number=judged[suspect.number])


def _finding(suspect: Suspect, record: Record) -> Finding:
    text = record.doc.text
    what = text if suspect.place is None else text[slice(*suspect.place)]
    detail = f"annotated {suspect.given or '–'}, the model says {suspect.said or '–'}"
    where = [(record.part, record.id)]
    return Finding("wrong label", what, detail, where, round(suspect.margin, 4))
