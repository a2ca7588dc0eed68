"""A saved pipeline is of one save, or is refused.

spaCy writes a pipeline file by file, over the one that was there, so a kill leaves half of each.
Where something of ours is in the pipeline, all is written beside the folder and put in its place
when it is complete. What is copied file by file (`spacy train` makes model-best so) says in its
meta.json what belongs to it, and is refused while something is missing."""

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import srsly
from spacy.language import Language

from .errors import Errors
from .storage import readable, replacing_entries

# The file with an encoder's mark of the save. A pipeline without it is of before there were marks.
GENERATION_FILE = "generation"
_META = "meta.json"
# In meta.json: the size of each file of the save, in bytes.
_FILES = "jbert_files"


def save_whole(nlp: Language) -> None:
    """Let a pipeline's `to_disk` be whole or not there, and its `from_disk` refuse what isn't."""
    nlp.to_disk = partial(_to_disk, nlp)
    nlp.from_disk = partial(_from_disk, nlp)


def _to_disk(nlp: Language, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
    """See `Language.to_disk`. What else is in the folder stays, as there."""
    path = Path(path)
    with replacing_entries(path, last=_META) as new:
        type(nlp).to_disk(nlp, new, exclude=exclude)
        written = {entry.name for entry in new.iterdir()}
        meta = _read_meta(new if _META in written else path)
        if meta is None:
            return
        # Of what was excluded now.
        kept = {
            name: size for name, size in meta.get(_FILES, {}).items() if _part(name) not in written
        }
        meta[_FILES] = kept | {
            file.relative_to(new).as_posix(): file.stat().st_size
            for file in sorted(new.rglob("*"))
            if file.is_file()
        }
        srsly.write_json(new / _META, meta)


def _from_disk(
    nlp: Language, path: str | Path, *, exclude: Iterable[str] = (), **settings: Any
) -> Language:
    """See `Language.from_disk`.

    RAISES: ValueError J091 (J009 for an encoder) if something of the save is missing.
    """
    parts = {name for name in ("vocab", *nlp.component_names) if name not in exclude}
    _require_whole(Path(path), parts)
    type(nlp).from_disk(nlp, path, exclude=exclude, **settings)
    # Of that folder, not of where the pipeline is saved next.
    nlp.meta.pop(_FILES, None)
    return nlp


def _require_whole(path: Path, parts: set[str]) -> None:
    files = (_read_meta(path) or {}).get(_FILES) or {}
    encoders = {_part(name) for name in files if name.startswith(f"{_part(name)}/model/")}
    for name, size in files.items():
        part, file = _part(name), path / name
        if part not in parts or file.name == GENERATION_FILE:
            continue
        file = readable(file.parent) / file.name
        found = file.stat().st_size if file.is_file() else None
        if found == size or (found and _is_settings(file)):
            continue
        reason = (
            f"{name} is missing" if found is None else f"{name} has {found} bytes instead of {size}"
        )
        if part in encoders:
            raise ValueError(Errors.J009.format(name=part, reason=reason))
        raise ValueError(Errors.J091.format(name=part, where=path, reason=reason))


def _is_settings(file: Path) -> bool:
    """Whether it is what people may change, and not cut off."""
    if file.suffix != ".json" and file.name != "cfg":
        return False
    try:
        json.loads(file.read_bytes())
    except ValueError:
        return False
    return True


def _read_meta(path: Path) -> dict[str, Any] | None:
    file = path / _META
    meta: dict[str, Any] | None = srsly.read_json(file) if file.is_file() else None
    return meta


def _part(name: str) -> str:
    return name.partition("/")[0]
