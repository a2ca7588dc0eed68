"""Which of Sudachi's settings a pipeline may carry: those that are data. A plugin that isn't
Sudachi's own is native code, and a saved pipeline must not bring any."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sudachipy

from ..errors import Errors

RESOURCES = Path(sudachipy.__file__).parent / "resources"

_PREFIX = "com.worksap.nlp.sudachi."
_OOV = {"oovPOS", "leftId", "rightId", "cost", "userPOS"}
# The plugins in Sudachi itself, and what each of them can be told.
_PLUGINS: dict[str, dict[str, set[str]]] = {
    "inputTextPlugin": {
        "DefaultInputTextPlugin": {"rewriteDef"},
        "ProlongedSoundMarkPlugin": {"prolongedSoundMarks", "replacementSymbol"},
        "IgnoreYomiganaPlugin": {"leftBrackets", "rightBrackets", "maxYomiganaLength"},
    },
    "oovProviderPlugin": {
        "MeCabOovPlugin": {"charDef", "unkDef", "userPOS"},
        "SimpleOovPlugin": _OOV,
        "RegexOovProvider": {*_OOV, "regex", "maxLength", "boundaries", "debug"},
    },
    "pathRewritePlugin": {
        "JoinNumericPlugin": {"enableNormalize"},
        "JoinKatakanaOovPlugin": {"oovPOS", "minLength"},
    },
    "connectionCostPlugin": {"InhibitConnectionPlugin": {"inhibitPair"}},
}
_FILES = {"characterDefinitionFile", "charDef", "unkDef", "rewriteDef"}
# The tokenizer is made with a projection of its own, so that this one says nothing.
_OTHERS = {"characterDefinitionFile", "projection"}


def check(settings: Any) -> None:
    """See that Sudachi's settings name no code, and nothing that isn't known.

    settings (Any): What a sudachi.json holds, but for its dictionaries and `path`.
    RAISES: ValueError J026 for a plugin that isn't Sudachi's own, J027 for anything else.
    """
    if not isinstance(settings, dict):
        raise ValueError(
            Errors.J027.format(setting="config", value=settings, reason="it is no JSON object.")
        )
    for key, value in settings.items():
        if key in _PLUGINS:
            _check_plugins(key, [] if value is None else value)
        elif key not in _OTHERS:
            raise ValueError(
                Errors.J027.format(setting=key, value=value, reason="it isn't known here.")
            )
        _check_file(key, key, value)


def _check_plugins(kind: str, plugins: Any) -> None:
    if not isinstance(plugins, list) or not all(isinstance(plugin, dict) for plugin in plugins):
        raise ValueError(
            Errors.J027.format(setting=kind, value=plugins, reason="it is no list of JSON objects.")
        )
    known = {_PREFIX + name: settings for name, settings in _PLUGINS[kind].items()}
    for plugin in plugins:
        name = plugin.get("class")
        if not isinstance(name, str) or name not in known:
            raise ValueError(Errors.J026.format(kind=kind, name=name, known=", ".join(known)))
        for key, value in plugin.items():
            setting = f"{kind} {name} {key}"
            if key != "class" and key not in known[name]:
                raise ValueError(
                    Errors.J027.format(setting=setting, value=value, reason="it isn't known here.")
                )
            _check_file(setting, key, value)


def _check_file(setting: str, key: str, value: Any) -> None:
    if key in _FILES and value is not None and not isinstance(value, str):
        raise ValueError(
            Errors.J027.format(setting=setting, value=value, reason="it is no file's name.")
        )


def map_files(settings: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Checked settings, with a function applied to each file's name in them."""

    def changed(values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: change(value) if key in _FILES and value is not None else value
            for key, value in values.items()
        }

    return changed(settings) | {
        kind: [changed(plugin) for plugin in settings[kind]]
        for kind in _PLUGINS
        if settings.get(kind)
    }


def files_named(settings: Mapping[str, Any]) -> list[str]:
    """RETURNS (list[str]): The files' names in checked settings."""
    names: list[str] = []

    def note(name: str) -> str:
        names.append(name)
        return name

    map_files(settings, note)
    return names


def resource(name: str) -> Path | None:
    """RETURNS (Path | None): The file of this name that Sudachi brings."""
    path = RESOURCES / name
    return path if is_bare(name) and path.is_file() else None


def is_bare(name: Any) -> bool:
    """RETURNS (bool): Whether a name that came with data is that of a file and no path, on any
    system.
    """
    return (
        isinstance(name, str)
        and name not in ("", ".", "..")
        and not any(character in "/\\:\0" for character in name)
    )
