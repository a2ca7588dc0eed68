"""Files and folders that appear under their name only when they are complete.

What is new is written beside the name and renamed; what was there stays until then. A folder takes
two renames, so a process killed between them leaves the old one under a hidden name: `recover`
puts it back. Their names: `<name>.part` for files, `.<name>.new` and `.<name>.old` for folders.
"""

import ctypes
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import Errors


@contextmanager
def replacing(*targets: Path) -> Iterator[list[Path]]:
    """Paths of files to write to. They are renamed to the targets if all went well and removed if
    not, so that no target is ever half written. Folders that are missing are made.
    """
    for target in targets:
        # Before the first of several is renamed.
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    parts = [target.with_name(f"{target.name}.part") for target in targets]
    for part in parts:
        part.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield parts
        for part, target in zip(parts, targets, strict=True):
            part.replace(target)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """An empty folder to fill. It takes the target's name if all went well, and is removed if not;
    then the target is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    new, old = _beside(target)
    new.mkdir()
    try:
        yield new
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
        remove(old)
    finally:
        remove(new)


def require_replaceable(target: Path, mark: str, what: str) -> None:
    """Refuse a folder that would be replaced, but holds something else.

    mark (str): A file that is in each folder of that kind. what (str): Such a folder, in words.
    RAISES: FileExistsError J519.
    """
    recover(target)
    empty = target.is_dir() and not any(target.iterdir())
    if target.exists() and not empty and not (target / mark).is_file():
        raise FileExistsError(Errors.J519.format(path=target, what=what))


@contextmanager
def replacing_entries(target: Path, last: str) -> Iterator[Path]:
    """An empty folder to fill. If all went well, its entries take the place of those of the same
    names in the target; what else is there stays. If not, the target is as it was.

    On Linux both folders change their names at once, so that the target is whole wherever the
    process is killed. Where that can't be done, entries are moved one by one.

    last (str): An entry without which nobody reads the target. It is missing while the others are
        moved, so that a process killed then leaves nothing that could be taken for whole.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    new, old = _beside(target)
    if target.is_mount() or not os.access(target.parent, os.W_OK):
        new, old = target / new.name, target / old.name
    remove(new)
    remove(old)
    new.mkdir()
    try:
        yield new
        if not target.exists():
            new.rename(target)
            return
        names = sorted((entry.name for entry in new.iterdir()), key=lambda name: name == last)
        if _may_be_another(target, new) and _link_others(target, new) and _exchange(new, target):
            return
        old.mkdir()
        try:
            for name in reversed(names):
                if (target / name).exists():
                    (target / name).rename(old / name)
            for name in names:
                (new / name).rename(target / name)
        except OSError:
            for name in names:
                if not (new / name).exists():
                    remove(target / name)
                if (old / name).exists():
                    (old / name).rename(target / name)
            raise
    finally:
        remove(new)
        remove(old)


def _may_be_another(target: Path, new: Path) -> bool:
    """Whether a new folder may have the target's name: nobody stands in it."""
    return new.parent == target.parent and not Path.cwd().is_relative_to(target)


def _link_others(target: Path, new: Path) -> bool:
    """Let what only the target has be in the new folder too, without copying it.

    RETURNS (bool): Whether this could be done; if not, the new folder is as it was.
    """
    others = [entry for entry in target.iterdir() if not (new / entry.name).exists()]
    link = partial(os.link, follow_symlinks=False)
    try:
        shutil.copystat(target, new)
        for entry in others:
            if entry.is_dir() and not entry.is_symlink():
                shutil.copytree(entry, new / entry.name, symlinks=True, copy_function=link)
            else:
                link(entry, new / entry.name)
    except OSError:  # a file system without links
        for entry in others:
            remove(new / entry.name)
        return False
    return True


def _exchange(first: Path, second: Path) -> bool:
    """Let two folders change their names in one step, which Python has no function for: renameat2
    of Linux.

    RETURNS (bool): Whether the system and the file system can do it; if not, nothing has changed.
    """
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return not rename(here, os.fsencode(first), here, os.fsencode(second), exchange)


def recover(target: Path) -> None:
    """Put right what a killed `replacing_folder` left beside a target.

    The old folder gets its name back if the new one had not taken it; what is left over is removed.
    """
    new, old = _beside(target)
    if old.exists() and not target.exists():
        old.rename(target)
    remove(new)
    remove(old)


def readable(target: Path) -> Path:
    """RETURNS (Path): The target, or its old folder where a kill left that and no target.

    Nothing is moved: the disk may be read-only, or somebody may be writing just now.
    """
    _, old = _beside(target)
    return old if old.exists() and not target.exists() else target


def remove(path: Path) -> None:
    """Remove a folder or file, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def alone(lock: Path, refusal: Exception, *, patience: float = 0.0) -> Iterator[None]:
    """Keep other processes out of a piece of work. The lock is the operating system's, and so ends
    with the process, however that ends.

    lock (Path): A file; folders that are missing are made.
    refusal (Exception): Raised where another process has the lock.
    patience (float): Seconds to wait for it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=patience)
    except Timeout:
        raise refusal from None
    try:
        yield
    finally:
        held.release()


def sha256(path: Path) -> str:
    """RETURNS (str): The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(target: Path) -> tuple[Path, Path]:
    return target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
