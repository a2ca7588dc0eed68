"""A saved pipeline is of one save, or is refused.

spaCy writes a pipeline file by file, over the one that was there, so a kill leaves half of each.
Where something of ours is in the pipeline, all is written beside the folder and put in its place
when it is complete. What is copied file by file (`spacy train` makes model-best so) says in its
files.json what belongs to it, and is refused while something is missing."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import srsly
from spacy.language import Language

from .errors import Errors
from .storage import readable, replacing_entries

# The file with an encoder's mark of the save. A pipeline without it is of before there were marks.
GENERATION_FILE = "generation"
_META, _CONFIG = "meta.json", "config.cfg"
# The size of each file of the save, in bytes; meta.json names it. Where something else has saved
# over it, meta.json doesn't, and it says nothing.
_FILES, _KEY = "files.json", "jbert_files"
# The last section that spaCy writes.
_LAST_SECTION = b"[initialize]"


def save_whole(nlp: Language) -> None:
    """Let a pipeline's `to_disk` be whole or not there, and its `from_disk` refuse what isn't."""
    nlp.to_disk = partial(_to_disk, nlp)
    nlp.from_disk = partial(_from_disk, nlp)


@contextmanager
def telling_damage(name: str, where: str | Path) -> Iterator[None]:
    """While a component reads what was saved.

    name (str): The component's. where (str | Path): What it reads.
    RAISES: ValueError J091 for whatever goes wrong; what has a code of ours as it is.
    """
    try:
        yield
    except Exception as error:  # of msgpack, json, numpy, thinc: they have no common base
        if re.search(r"\[J\d{3}\]", str(error)):
            raise
        raise ValueError(Errors.J091.format(name=name, where=where, reason=error)) from error


def _to_disk(nlp: Language, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
    """See `Language.to_disk`. What else is in the folder stays, as there."""
    path = Path(path)
    with replacing_entries(path, last=_META) as new:
        type(nlp).to_disk(nlp, new, exclude=exclude)
        written = {entry.name for entry in new.iterdir()}
        # Of what was excluded now.
        kept = {
            name: size
            for name, size in (_read_files(path) or {}).items()
            if _part(name) not in written
        }
        sizes = {
            file.relative_to(new).as_posix(): file.stat().st_size
            for file in sorted(new.rglob("*"))
            if file.is_file()
        }
        srsly.write_json(new / _FILES, kept | sizes)
        meta = _read_json(new / _META) or _read_json(path / _META)
        if meta is not None:
            srsly.write_json(new / _META, meta | {_KEY: _FILES})


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
    nlp.meta.pop(_KEY, None)
    return nlp


def _require_whole(path: Path, parts: set[str]) -> None:
    files = _read_files(path)
    if files is None:
        raise _incomplete(path, _FILES, "it is missing, or no JSON")
    config = path / _CONFIG
    if _CONFIG in files and not (config.is_file() and _LAST_SECTION in config.read_bytes()):
        raise _incomplete(path, _CONFIG, "its last section is missing")
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
        raise _incomplete(path, part, reason)


def _incomplete(path: Path, part: str, reason: str) -> ValueError:
    return ValueError(Errors.J091.format(name=part, where=path, reason=reason))


def _is_settings(file: Path) -> bool:
    """Whether it is what people may change, and not cut off."""
    if file.suffix != ".json" and file.name != "cfg":
        return False
    try:
        json.loads(file.read_bytes())
    except ValueError:
        return False
    return True


def _read_files(path: Path) -> dict[str, int] | None:
    """RETURNS (dict | None): The sizes of what a folder should hold; empty where nothing is said
    about that, None where that is missing.
    """
    if not (_read_json(path / _META) or {}).get(_KEY):
        return {}
    return _read_json(path / _FILES)


def _read_json(file: Path) -> dict[str, Any] | None:
    """RETURNS (dict | None): An object; None if there is none, or it is damaged."""
    try:
        content = srsly.read_json(file) if file.is_file() else None
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _part(name: str) -> str:
    return name.partition("/")[0]
