"""Work that is done once: found again by what it was made of, and done by one process for all of
them under torchrun.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from hashlib import blake2b
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from filelock import FileLock
from spacy.language import Language

from ..errors import Warnings
from ..storage import replacing, sha256
from .parallel import refuse_helpers

logger = logging.getLogger(__name__)

_ASK_AGAIN = 0.5  # seconds
MANIFEST = "COMPLETE"
# What cuts a text into words: another version may cut it otherwise.
_CUTTERS = ("spacy", "sudachi", "fugashi", "unidic", "ipadic", "tokenizers")


def fingerprint(*parts: Any) -> str:
    """RETURNS (str): The same for the same values (JSON), on any machine."""
    return blake2b(
        json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str).encode(), digest_size=10
    ).hexdigest()


def file_fingerprint(path: Path) -> str:
    """RETURNS (str): The same for the same content."""
    digest = blake2b(digest_size=20)
    with path.open("rb") as file:
        while block := file.read(2**22):
            digest.update(block)
    return digest.hexdigest()


def contents(value: Any) -> Any:
    """RETURNS (Any): A config's value with the content of files and folders in place of paths."""
    if isinstance(value, dict):
        return {name: contents(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [contents(part) for part in value]
    if not isinstance(value, str | Path) or not value:
        return value
    path = Path(value)
    if path.is_file():
        return file_fingerprint(path)
    return hashes(path) if path.is_dir() else value


def tokenizer_identity(nlp: Language) -> Any:
    """RETURNS (Any): All that decides which words the pipeline's tokenizer makes of a text: its
    settings, the content of the files they name, and versions of libraries and dictionaries.
    """
    config = nlp.config.interpolate()
    versions = {
        name.lower(): distribution.version
        for distribution in distributions()
        if (name := distribution.metadata["Name"]) and name.lower().startswith(_CUTTERS)
    }
    blocks = config["nlp"]["tokenizer"], config["initialize"].get("tokenizer", {})
    return *map(contents, blocks), versions


def hashes(folder: Path) -> dict[str, str]:
    """RETURNS (dict[str, str]): The SHA-256 of each file in a folder but its manifest."""
    return {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def intact(folder: Path, expected: Any) -> bool:
    """RETURNS (bool): Whether a folder holds files with these hashes, whatever else it holds."""
    if not isinstance(expected, dict) or not expected:
        return False
    try:
        return all(sha256(folder / name) == value for name, value in expected.items())
    except OSError:
        return False


def write_manifest(folder: Path, run: str, **facts: Any) -> None:
    """Name the run and the files of a folder with their hashes, once they are on the disk.

    facts (Any): What else is written into it.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    with replacing(folder / MANIFEST) as (new,):
        manifest = {"run": run, **facts, "files": hashes(folder)}
        new.write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """RETURNS (dict[str, Any] | None): A folder's manifest, if its files are those it names."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    sound = isinstance(manifest, dict) and "run" in manifest
    return manifest if sound and intact(folder, manifest.get("files")) else None


def is_whole(folder: Path) -> bool:
    """RETURNS (bool): Whether a folder is complete; damage to one that was is warned of."""
    if read_manifest(folder) is not None:
        return True
    if (folder / MANIFEST).exists():
        logger.warning(Warnings.JW133.format(path=folder))
    return False


def first_rank(folder: Path, make: Callable[[], None]) -> bool:
    """Have the first process make a folder; the others wait until its manifest is there.

    A barrier won't do: it gives up after ten minutes (NCCL), and a large corpus takes hours. If the
    first process fails, torchrun ends the others. On several machines it has to be on a file
    system that all of them see.

    folder (Path): The folder; its manifest says that it is complete.
    make (Callable[[], None]): Makes it; isn't called where it is there, and undamaged.
    RETURNS (bool): Whether it had to be made.
    """
    if is_whole(folder):
        return False
    if int(os.environ.get("RANK", "0")) == 0:
        refuse_helpers()
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Runs can share a folder: whoever comes second waits, and takes what the first has made.
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if missing := read_manifest(folder) is None:
                make()
        return missing
    logger.info("Waiting for the first process to write %s", folder)
    while read_manifest(folder) is None:
        time.sleep(_ASK_AGAIN)
    return True
