"""Which Sudachi dictionaries a tokenizer works with, and how they travel with a saved pipeline."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sudachipy import Dictionary
from sudachipy.errors import SudachiError

from ..errors import Errors

NAMES = ("small", "core", "full")
_SYSTEM = "system.dic"


@dataclass
class Dictionaries:
    """A system dictionary, user dictionaries, and Sudachi's settings.

    name (str): The installed system dictionary: "small", "core" or "full".
    settings (dict[str, Any] | None): Sudachi's settings, as in its sudachi.json; they name files by
        their names in `files`. None for Sudachi's defaults.
    files (dict[str, Path]): Files that no package installs, by the names they are saved under: the
        compiled user dictionaries, in order ("user_00.dic" ...), a system dictionary ("system.dic")
        in place of the one that `name` tells, and what the settings need.
    RAISES: ValueError J021 for another name.
    """

    name: str = "core"
    settings: dict[str, Any] | None = None
    files: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(
                Errors.J021.format(name=self.name, choices=", ".join(map(repr, NAMES)))
            )

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
            object.
        """
        found: dict[str, Any] | None = None
        users, files = list(users), {}
        if settings is not None:
            found = _read_settings(_existing(settings))
            home = Path(settings).parent / found.pop("path", "")
            # `dict` of the config and these say the same thing.
            inside = found.pop("systemDict", None)
            system = system or (None if inside is None else home / inside)
            users = [*(home / path for path in found.pop("userDict", None) or ()), *users]

            def carry(value: str) -> str:
                if not (home / value).is_file():
                    return value
                files[Path(value).name] = (home / value).resolve()
                return Path(value).name

            found = _map_strings(found, carry)
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
            files that Sudachi can't use.
        """
        self.check_installed()
        system = str(self.files[_SYSTEM]) if _SYSTEM in self.files else self.name
        settings = _map_strings(
            self.settings or {}, lambda value: str(self.files.get(value, value))
        )
        settings["userDict"] = [
            str(path) for name, path in sorted(self.files.items()) if name.startswith("user_")
        ]
        try:
            return Dictionary(config=json.dumps(settings), dict=system)
        except SudachiError as error:
            files = ", ".join(map(str, self.files.values())) or system
            raise ValueError(Errors.J025.format(files=files, reason=error)) from error

    def to_disk(self, folder: Path) -> None:
        """Copy the files into a folder, in the place of those of an earlier pipeline."""
        for old in folder.glob("*"):
            if old.name not in self.files:
                old.unlink()
        for name, path in self.files.items():
            folder.mkdir(parents=True, exist_ok=True)
            copy = folder / name
            if not (copy.exists() and copy.samefile(path)):
                # Another pipeline may have mapped the old file into its memory: it keeps that, as
                # this one gets a new inode.
                shutil.copyfile(_existing(path), folder / f"{name}.new")
                os.replace(folder / f"{name}.new", copy)


def files_in(folder: Path) -> dict[str, Path]:
    """The files that `Dictionaries.to_disk` left in a folder, by name; none if there is no such
    folder.
    """
    return {path.name: path.resolve() for path in sorted(folder.glob("*"))}


class UnpackedFiles(dict[str, Path]):
    """Files that came as bytes, unpacked into a temporary folder, for Sudachi maps files into
    memory. It lasts as long as the object.
    """

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._folder = TemporaryDirectory(prefix="spacy-jbert-", ignore_cleanup_errors=True)
        super().__init__({name: Path(self._folder.name, Path(name).name) for name in contents})
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


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _map_strings(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_map_strings(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value
