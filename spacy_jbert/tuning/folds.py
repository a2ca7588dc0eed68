"""Few documents -> scores with their spread: each fold is trained by spaCy's own `train` and tested
once."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spacy.tokens import Doc

from ..corpora.docs import find_docbins, japanese_tokenizer, read_docbin
from ..corpora.splits import Splits, folds, write_splits
from ..errors import DataError, Errors
from .runs import Run, alone_in, once, settings_text, trained_and_tested
from .summary import Summary, summarised


def crossvalidate(
    config: Path,
    corpus: Path,
    out: Path,
    *,
    count: int = 5,
    seed: int = 42,
    overrides: dict[str, Any] | None = None,
    gpu_id: int = -1,
) -> Summary:
    """Train and test on each fold, and write out/fold-N.json, out/fold-N.jsonl and out/scores.json.

    A fold whose scores are there, of the same config, settings and documents, isn't trained again.
    Folds have their share of each label; documents of one text or one group stay together.

    config (Path): The training config.
    corpus (Path): A DocBin, or a folder of them.
    count (int): How many folds; one is tested on, one tells when training is best.
    overrides (dict[str, Any] | None): Settings, as for `spacy train`.
    RETURNS (Summary): Of the scores that are numbers.
    RAISES: DataError J328 for fewer documents than folds, J465 while another process is at it.
    """
    docs = read_docs(find_docbins(corpus))
    with alone_in(out):
        runs = fold_runs(
            config, docs, out, count=count, seed=seed, overrides=overrides, gpu_id=gpu_id
        )
        # A test part is one fold, a training part all but two.
        return summarised(runs, out, "folds", test_share=1 / (count - 2))


def fold_runs(
    config: Path,
    docs: Sequence[Doc],
    out: Path,
    *,
    count: int,
    seed: int,
    overrides: dict[str, Any] | None,
    gpu_id: int,
) -> list[Run]:
    """RETURNS (list[Run]): One a fold. See `crossvalidate`."""
    if len(docs) < count:
        raise DataError(Errors.J328.format(count=len(docs), folds=count))
    of = _digest(config, docs, settings_text(overrides, count, seed))
    runs = []
    for number, splits in enumerate(folds(list(docs), count, seed), 1):

        def work(folder: Path, splits: Splits = splits) -> Run:
            return _trained(config, folder, splits, overrides or {}, gpu_id)

        print(f"Fold {number} of {count}", flush=True)
        run, was_there = once(out, f"fold-{number}", of, work)
        if was_there:
            print(f"  done already ({out / f'fold-{number}.json'})")
        runs.append(run)
    return runs


def read_docs(files: Sequence[Path]) -> list[Doc]:
    """RETURNS (list[Doc]): The documents of DocBins, one file after the other."""
    vocab = japanese_tokenizer().vocab
    return [doc for path in files for doc in read_docbin(path, vocab)]


def _trained(
    config: Path, folder: Path, splits: Splits, overrides: dict[str, Any], gpu_id: int
) -> Run:
    parts = folder / "corpus"
    write_splits(parts, splits)
    paths = {f"paths.{name}": str(parts / f"{name}.spacy") for name in ("train", "dev")}
    test = parts / "test.spacy"
    return trained_and_tested(config, folder, test, {**overrides, **paths}, gpu_id)


def _digest(config: Path, docs: Iterable[Doc], settings: str) -> str:
    digest = hashlib.sha256(config.read_bytes() + settings.encode())
    for doc in docs:
        entities = [(token.idx, token.ent_iob, token.ent_type_) for token in doc]
        group = doc.user_data.get("group")
        annotation = repr((doc.text, entities, sorted(doc.cats.items()), group))
        digest.update(annotation.encode("utf-8", "backslashreplace"))
    return digest.hexdigest()
