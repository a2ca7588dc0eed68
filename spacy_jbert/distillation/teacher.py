"""A trained pipeline labels texts with how sure it is: shards of Docs in a folder, which a run that
was killed goes on with."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import torch
from spacy.language import Language
from spacy.pipeline import TextCategorizer
from spacy.tokens import Doc, DocBin
from spacy.util import get_package_path, is_package, minibatch
from spacy.vocab import Vocab
from tqdm import tqdm

from ..errors import Errors
from ..evaluation.temperature import threshold_pipes
from ..pipeline.ner import JBertNER
from ..pipeline.soft_tags import keep_soft_tags
from ..storage import alone, replacing, sha256

# What a kill loses at most; how many have their vectors in memory.
_TEXTS_A_SHARD, _TEXTS_A_BATCH = 500, 64
_SETTINGS, _TEXTS, _LOCK = "settings.json", "texts.json", "lock"
# What a student learns from beside the Doc's user data and its cats.
_ATTRS = ["ENT_IOB", "ENT_TYPE"]


def label(
    folder: Path, settings: dict[str, Any], teacher: str, draw: Callable[[], list[str]]
) -> None:
    """Let a teacher label texts, or those that are still missing.

    folder (Path): It gets settings.json and texts.json, then 00000.spacy and on.
    settings (dict[str, Any]): All that decides what is in it, as JSON holds it.
    teacher (str): A folder, or an installed package.
    draw (Callable[[], list[str]]): Gives the texts, if they aren't known yet.
    RAISES: ValueError J544, J545 for a folder made with other settings, J548, J552 if another
        process labels there.
    """
    with alone(folder / _LOCK, ValueError(Errors.J552.format(path=folder)), patience=0.5):
        _require_settings(folder, settings)
        if not (folder / _SETTINGS).exists():
            with replacing(folder / _TEXTS) as (part,):
                _write(part, draw())
            with replacing(folder / _SETTINGS) as (part,):
                _write(part, settings)
        missing = [(file, texts) for file, texts in _shards(folder) if not file.exists()]
        if missing:
            with _unchanged_randomness():
                _label_shards(teacher, missing)


def _require_settings(folder: Path, settings: dict[str, Any]) -> None:
    """RAISES: ValueError J545, J548."""
    if not (folder / _SETTINGS).exists():
        return
    kept = _read(folder / _SETTINGS)
    if not isinstance(kept, dict):
        raise ValueError(Errors.J548.format(path=folder / _SETTINGS, reason="it is no JSON object"))
    names = kept.keys() | settings.keys()
    others = sorted(name for name in names if kept.get(name) != settings.get(name))
    if others:
        raise ValueError(Errors.J545.format(path=folder, names=", ".join(others)))


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(Errors.J548.format(path=file, reason=error)) from error


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def _shards(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """YIELDS (tuple[Path, list[str]]): Each shard's file, and its texts.

    RAISES: ValueError J548.
    """
    texts = _read(folder / _TEXTS)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(Errors.J548.format(path=folder / _TEXTS, reason="it is no list of texts"))
    for number, some in enumerate(minibatch(texts, _TEXTS_A_SHARD)):
        yield folder / f"{number:05}.spacy", some


def _label_shards(teacher: str, shards: list[tuple[Path, list[str]]]) -> None:
    nlp = spacy.load(teacher)
    if not (soft_ners(nlp) or has_categories(nlp)):
        raise ValueError(Errors.J544.format(teacher=teacher, names=", ".join(nlp.pipe_names)))
    total = sum(len(texts) for _, texts in shards)
    with tqdm(desc="The teacher labels", total=total, unit=" texts") as progress:
        for file, texts in shards:
            found = DocBin(attrs=_ATTRS, store_user_data=True)
            for batch in minibatch(texts, _TEXTS_A_BATCH):
                for doc in _labelled(nlp, batch):
                    found.add(doc)
                progress.update(len(batch))
            with replacing(file) as (part,):
                part.write_bytes(found.to_bytes())


def _labelled(nlp: Language, texts: list[str]) -> list[Doc]:
    docs = list(nlp.pipe(texts, disable=threshold_pipes(nlp)))
    ners = soft_ners(nlp)
    expected = [ner.expectations(docs) for ner in ners]
    for doc in docs:
        doc.user_data.clear()
    for ner, of_docs in zip(ners, expected, strict=True):
        for doc, of_doc in zip(docs, of_docs, strict=True):
            keep_soft_tags(doc, ner.name, ner.labels, of_doc)
    return docs


def soft_ners(nlp: Language) -> list[JBertNER]:
    """RETURNS (list[JBertNER]): The components that can say, or learn, how sure tags are."""
    return [pipe for _, pipe in nlp.pipeline if isinstance(pipe, JBertNER)]


def has_categories(nlp: Language) -> bool:
    """RETURNS (bool): Whether a component classifies texts."""
    return any(isinstance(pipe, TextCategorizer) for _, pipe in nlp.pipeline)


def read_labelled(folder: Path, vocab: Vocab) -> Iterator[Doc]:
    """Read what `label` wrote.

    RAISES: ValueError J548 for a shard that is damaged.
    """
    for file, texts in _shards(folder):
        try:
            docs = list(DocBin(store_user_data=True).from_disk(file).get_docs(vocab))
        except Exception as error:  # of zlib, msgpack, numpy: they have no common base
            raise ValueError(Errors.J548.format(path=file, reason=error)) from error
        if [doc.text for doc in docs] != texts:
            reason = f"its texts aren't those of {_TEXTS}"
            raise ValueError(Errors.J548.format(path=file, reason=reason))
        yield from docs


def fingerprint(teacher: str) -> str:
    """What changes when a pipeline does.

    teacher (str): A folder, or an installed package.
    RETURNS (str): The SHA-256 of its files, in hexadecimal.
    RAISES: ValueError J551 if there is none.
    """
    folder = get_package_path(teacher) if is_package(teacher) else Path(teacher)
    if not folder.is_dir():
        raise ValueError(Errors.J551.format(path=teacher))
    found = new_sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            found.update(f"{file.relative_to(folder).as_posix()} {sha256(file)}\n".encode())
    return found.hexdigest()


@contextmanager
def _unchanged_randomness() -> Iterator[None]:
    """Training goes on as if nothing had been labelled: the second run of a config is the first."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        yield
    random.setstate(python)
    np.random.set_state(numpy)
