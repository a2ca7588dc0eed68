"""The manifest of a bulk run: a line of JSON for what is run, one for each shard that is whole, one
at the end. It and `rejected.jsonl` only grow; what a kill left of a line is cut off."""

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from ..corpora.readers import MANIFEST, REJECTED
from ..corpora.values import json_line
from ..errors import Errors
from ..storage import alone, replacing

LOCK = "lock"


def alone_in(folder: Path) -> AbstractContextManager[None]:
    """Keep other runs out of a folder. RAISES: ValueError J453."""
    return alone(folder / LOCK, ValueError(Errors.J453.format(path=folder)), patience=0.5)


class Done(NamedTuple):
    """How far a run has come.

    shards, entries, documents: How many are done; entries that were rejected are no documents.
    file, number: Behind the last entry: its file, and how many of that are done.
    finished: Whether there is nothing left.
    """

    shards: int = 0
    entries: int = 0
    documents: int = 0
    file: int = 0
    number: int = 0
    finished: bool = False

    @property
    def rejected(self) -> int:
        """RETURNS (int): How many entries couldn't be annotated."""
        return self.entries - self.documents


def is_begun(folder: Path) -> bool:
    """RETURNS (bool): Whether a run has begun in a folder."""
    return (folder / MANIFEST).exists()


def require_own(folder: Path) -> None:
    """RAISES: ValueError J454 for a folder with other things."""
    if folder.is_dir() and not is_begun(folder):
        strange = {entry.name for entry in folder.iterdir()} - {LOCK, f"{MANIFEST}.part"}
        if strange:
            raise ValueError(Errors.J454.format(path=folder, name=min(strange)))


class Manifest:
    """The manifest of a folder, which is begun, or gone on with.

    folder (Path): Where the run writes.
    run (dict[str, Any]): All that decides what is written.
    RAISES: ValueError J454 for a folder with other things, J455 for another run's, J456 where what
        it tells of isn't there.
    """

    def __init__(self, folder: Path, run: dict[str, Any]) -> None:
        self.folder = folder
        self.path, self.rejected = folder / MANIFEST, folder / REJECTED
        require_own(folder)
        if not is_begun(folder):
            with replacing(self.path) as (part,):
                part.write_bytes(json_line({"run": run}))
        self.shards = self._read(run)
        self.rejected.touch()
        size = self.shards[-1]["rejected_bytes"] if self.shards else 0
        if self.rejected.stat().st_size < size:
            raise self._damaged(REJECTED)
        os.truncate(self.rejected, size)

    def _read(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        os.truncate(self.path, len(whole))
        try:
            first, *lines = map(json.loads, whole.splitlines())
            others = sorted(
                name
                for name in run.keys() | first["run"].keys()
                if run.get(name) != first["run"].get(name)
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._damaged(MANIFEST) from None
        if others:
            raise ValueError(Errors.J455.format(path=self.folder, names=", ".join(others)))
        self.finished = bool(lines) and "shards" in lines[-1]
        shards = lines[:-1] if self.finished else lines
        for line in shards:
            shard = self.folder / line["shard"]
            if not shard.is_file() or shard.stat().st_size != line["bytes"]:
                raise self._damaged(line["shard"])
        return shards

    def _damaged(self, name: str) -> ValueError:
        return ValueError(Errors.J456.format(path=self.folder, name=name))

    @property
    def done(self) -> Done:
        """RETURNS (Done): How far the run has come."""
        last = self.shards[-1] if self.shards else {"file": 0, "number": 0}
        return Done(
            len(self.shards),
            sum(shard["entries"] for shard in self.shards),
            sum(shard["documents"] for shard in self.shards),
            last["file"],
            last["number"],
            self.finished,
        )

    def reject(self, lines: bytes) -> None:
        """Write lines of rejected entries. They count once the shard they belong to is added."""
        with self.rejected.open("ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())

    def add(self, **shard: Any) -> None:
        """A shard is whole, and what was rejected of it is written."""
        line = shard | {"rejected_bytes": self.rejected.stat().st_size}
        self._append(line)
        self.shards.append(line)

    def finish(self) -> None:
        """There is nothing left."""
        done = self.done
        self._append(
            {"shards": done.shards, "documents": done.documents, "rejected": done.rejected}
        )
        self.finished = True

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(json_line(line))
            file.flush()
            os.fsync(file.fileno())
