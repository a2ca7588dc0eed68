"""Few documents -> scores with their spread: each fold is trained by spaCy's own `train` and tested
once."""

import hashlib
import json
import tempfile
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import spacy
import srsly
from rich.console import Console
from rich.table import Table
from spacy.cli.train import train
from spacy.tokens import DocBin
from spacy.training import Corpus

from ..corpora.docs import find_docbins, japanese_tokenizer, read_docbin
from ..corpora.splits import folds, write_splits
from ..errors import DataError, Errors
from ..storage import replacing

Means = dict[str, tuple[float, float]]
"""The mean and the standard deviation of each score."""


def crossvalidate(
    config: Path,
    corpus: Path,
    out: Path,
    *,
    count: int = 5,
    seed: int = 42,
    overrides: dict[str, Any] | None = None,
    gpu_id: int = -1,
) -> Means:
    """Train and test on each fold, and write out/fold-N.json and out/scores.json.

    A fold whose scores are there, of the same config, settings and documents, isn't trained again.

    config (Path): The training config.
    corpus (Path): A DocBin, or a folder of them.
    count (int): How many folds; one is tested on, one tells when training is best.
    overrides (dict[str, Any] | None): Settings, as for `spacy train`.
    RETURNS (Means): Of the scores that are numbers.
    RAISES: DataError J328 for fewer documents than folds.
    """
    vocab = japanese_tokenizer().vocab
    files = find_docbins(corpus)
    docs = [doc for path in files for doc in read_docbin(path, vocab)]
    if len(docs) < count:
        raise DataError(Errors.J328.format(count=len(docs), folds=count), path=corpus)
    settings = json.dumps([count, seed, overrides], sort_keys=True, default=str)
    digest = hashlib.sha256(config.read_bytes() + settings.encode())
    for path in files:
        digest.update(path.read_bytes())
    of = digest.hexdigest()
    found: list[dict[str, Any]] = []
    for number, splits in enumerate(folds(docs, count, seed), 1):
        file = out / f"fold-{number}.json"
        done = _read(file)
        if done.get("of") == of:
            print(f"Fold {number} of {count}: done already ({file})")
        else:
            print(f"Fold {number} of {count}", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                parts = Path(folder) / "corpus"
                write_splits(parts, splits)
                scores = _scores(config, parts, Path(folder), overrides or {}, gpu_id)
            done = {"of": of, "scores": scores}
            _write(file, done)
        found.append(done["scores"])
    means = averaged(found)
    summary = {name: {"mean": mean, "sd": sd} for name, (mean, sd) in means.items()}
    _write(out / "scores.json", {"folds": count, "scores": summary})
    return means


def _scores(
    config: Path, parts: Path, folder: Path, overrides: dict[str, Any], gpu_id: int
) -> dict[str, Any]:
    paths = {f"paths.{name}": str(parts / f"{name}.spacy") for name in ("train", "dev")}
    train(config, folder / "trained", use_gpu=gpu_id, overrides={**overrides, **paths})
    nlp = spacy.load(folder / "trained" / "model-best")
    docs = DocBin().from_disk(parts / "test.spacy").get_docs(nlp.vocab)
    examples = list(Corpus(parts).make_examples(nlp, docs))
    scores: dict[str, Any] = nlp.evaluate(examples)
    return scores


def averaged(found: list[dict[str, Any]]) -> Means:
    """RETURNS (Means): Of the scores that every fold has as a number, those within (`a.b`) too."""
    flat = [dict(_numbers(scores)) for scores in found]
    names = [name for name in flat[0] if all(name in scores for scores in flat)]
    columns = {name: [scores[name] for scores in flat] for name in names}
    return {
        name: (fmean(values), stdev(values) if len(values) > 1 else 0.0)
        for name, values in columns.items()
    }


def _numbers(scores: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in scores.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and name != "speed":
            found.append((f"{prefix}{name}", float(value)))
    return found


def _read(path: Path) -> dict[str, Any]:
    """What was written before; nothing where there is none, or it is damaged."""
    try:
        content = srsly.read_json(path) if path.is_file() else {}
    except ValueError:
        return {}
    return content if isinstance(content, dict) and "scores" in content else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=2)
    with replacing(path) as (part,):
        part.write_text(text, encoding="utf-8")


def show(means: Means, count: int) -> None:
    """Print the scores of entities and categories."""
    table = Table("", f"mean of {count} folds", "± sd")
    for name, (mean, sd) in means.items():
        if name.startswith(("ents_", "cats_")):
            table.add_row(name, f"{mean:.3f}", f"{sd:.3f}")
    Console(markup=False, highlight=False).print(table)
