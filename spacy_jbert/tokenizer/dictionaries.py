"""Which Sudachi dictionaries a tokenizer works with, and how they travel with a saved pipeline."""

import hashlib
import json
import mmap
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sudachipy import Dictionary

from ..errors import Errors
from ..storage import remove, replacing_folder
from .settings import check, files_named, is_bare, map_files, resource

NAMES = ("small", "core", "full")
_SYSTEM = "system.dic"
_USER = re.compile(r"user_\d\d\.dic")


@dataclass
class Dictionaries:
    """A system dictionary, user dictionaries, and Sudachi's settings.

    name (str): The installed system dictionary: "small", "core" or "full".
    settings (dict[str, Any] | None): Sudachi's settings, as in its sudachi.json; they name files by
        their names in `files`. None for Sudachi's defaults.
    files (dict[str, Path]): Files that no package installs, by the names they are saved under: the
        compiled user dictionaries, in order ("user_00.dic" ...), a system dictionary ("system.dic")
        in place of the one that `name` tells, and what the settings need. They are held: what
        becomes of the files later doesn't matter. Others are left out.
    RAISES: ValueError J021 for another name, J026 or J027 for settings that can't be used, J028 for
        a path in the place of a file's name, J023 or J025 for files that can't be read.
    """

    name: str = "core"
    settings: dict[str, Any] | None = None
    files: dict[str, Path] = field(default_factory=dict)
    _contents: dict[str, mmap.mmap] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(
                Errors.J021.format(name=self.name, choices=", ".join(map(repr, NAMES)))
            )

        wanted = {_SYSTEM}
        if self.settings is not None:
            check(self.settings)
            wanted.update(files_named(self.settings))
        for name in (*self.files, *wanted):
            if not is_bare(name):
                raise ValueError(Errors.J028.format(name=name, reason="it is a path."))
        for name, path in self.files.items():
            if name in wanted or _USER.fullmatch(name):
                self._contents[name] = _mapped(path)

    @classmethod
    def gather(
        cls,
        name: str,
        *,
        system: str | Path | None = None,
        users: Iterable[str | Path] = (),
        settings: str | Path | None = None,
    ) -> "Dictionaries":
        """Look up the files that a config names.

        name (str): The installed system dictionary.
        system (str | Path | None): A compiled system dictionary to use instead.
        users (Iterable[str | Path]): Compiled user dictionaries. Of two entries that fit alike the
            later one's is taken.
        settings (str | Path | None): A sudachi.json. The files it names are looked for beside it,
            then where Sudachi has its own.
        RAISES: ValueError J023 for a file that isn't there, J024 for settings that aren't a JSON
            object, J026 or J027 for settings that can't be used.
        """
        found: dict[str, Any] | None = None
        users = list(users)
        files: dict[str, Path] = {}
        if settings is not None:
            found = _read_settings(_existing(settings))
            try:
                home = Path(settings).parent / (found.pop("path", None) or "")
                # `dict` of the config and these say the same thing.
                inside = found.pop("systemDict", None)
                if system is None and inside is not None:
                    system = home / inside
                users = [*(home / path for path in found.pop("userDict", None) or ()), *users]
            except TypeError as error:  # no text
                raise ValueError(Errors.J024.format(path=settings, reason=error)) from None
            check(found)
            names: dict[Path, str] = {}

            def carry(value: str) -> str:
                if not (home / value).is_file() and resource(value):
                    return value
                return names.setdefault(_existing(home / value), f"settings_{len(names):02}.def")

            found = map_files(found, carry)
            files |= {name: path for path, name in names.items()}
        if system is not None:
            files[_SYSTEM] = _existing(system)
        files |= {f"user_{i:02}.dic": _existing(path) for i, path in enumerate(users)}
        return cls(name, found, files)

    def check_installed(self) -> None:
        """RAISES: ValueError J022 where the package of the system dictionary isn't installed."""
        if _SYSTEM not in self.files and find_spec(f"sudachidict_{self.name}") is None:
            raise ValueError(Errors.J022.format(name=self.name))

    def requirements(self) -> list[str]:
        """The package of the system dictionary, where spacy-jbert itself doesn't require it."""
        return [] if self.name == "core" or _SYSTEM in self.files else [f"sudachidict-{self.name}"]

    def open(self) -> Dictionary:
        """Open them.

        RAISES: ValueError J022 where the package of the system dictionary isn't installed, J025 for
            files that Sudachi can't use, J027 for a file in the settings that isn't there.
        """
        self.check_installed()
        system = str(self.files[_SYSTEM]) if _SYSTEM in self.files else self.name
        settings = map_files(self.settings or {}, self._path)
        settings["userDict"] = [
            str(self.files[name]) for name in sorted(self._contents) if _USER.fullmatch(name)
        ]
        try:
            return Dictionary(config=json.dumps(settings), dict=system)
        except BaseException as error:
            # SudachiError, or what Rust makes of a dictionary that it didn't expect, which is no
            # Exception and has no name that one could import.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            files = ", ".join(map(str, self.files.values())) or system
            raise ValueError(Errors.J025.format(files=files, reason=error)) from error

    def _path(self, name: str) -> str:
        """Where a file of the settings is: never where the process happens to run."""
        found = self.files.get(name) or resource(name)
        if found is None:
            raise ValueError(
                Errors.J027.format(
                    setting="a file's name", value=name, reason="the file isn't saved with it."
                )
            )
        return str(found)

    def contents(self) -> dict[str, bytes]:
        """What the files hold, by name."""
        return {name: bytes(content) for name, content in self._contents.items()}

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file, by name."""
        return {
            name: hashlib.sha256(content).hexdigest() for name, content in self._contents.items()
        }

    def to_disk(self, folder: Path) -> None:
        """Write the files into a folder, in the place of those of an earlier pipeline. Who has
        mapped those into memory keeps them.
        """
        with replacing_folder(folder) as new:
            for name, content in self._contents.items():
                (new / name).write_bytes(content)
        if not self._contents:
            remove(folder)


def files_in(folder: Path) -> dict[str, Path]:
    """The files that `Dictionaries.to_disk` left in a folder, by name; none if there is no such
    folder.

    RAISES: ValueError J028 for links: a pipeline must not make files from elsewhere its own.
    """
    files = sorted(folder.glob("*"))
    for path in (folder, *files):
        if path.is_symlink():
            raise ValueError(Errors.J028.format(name=path, reason="it is a link."))
    return {path.name: path.resolve() for path in files if path.is_file()}


class UnpackedFiles(dict[str, Path]):
    """Files that came as bytes, unpacked into a temporary folder, for Sudachi maps files into
    memory. It lasts as long as the object.

    RAISES: ValueError J028 for a path in the place of a file's name.
    """

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        for name in contents:
            if not is_bare(name):
                raise ValueError(Errors.J028.format(name=name, reason="it is a path."))
        self._folder = TemporaryDirectory(prefix="spacy-jbert-", ignore_cleanup_errors=True)
        super().__init__({name: Path(self._folder.name, name) for name in contents})
        for name, path in self.items():
            path.write_bytes(contents[name])


def _existing(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise ValueError(Errors.J023.format(path=path))
    return Path(path).resolve()


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(Errors.J024.format(path=path, reason=error)) from None
    if not isinstance(settings, dict):
        raise ValueError(
            Errors.J024.format(path=path, reason=f"it holds a {type(settings).__name__}.")
        )
    return settings


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise ValueError(Errors.J023.format(path=path)) from None
    except (OSError, ValueError) as error:  # an empty file can't be mapped
        raise ValueError(Errors.J025.format(files=path, reason=error)) from error
