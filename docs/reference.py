"""Writes what the code itself says: docs/settings.md, every setting of what spacy-jbert registers,
and docs/errors.md, every message.

    python docs/reference.py

tests/test_docs.py fails when the files and the code differ.
"""

import inspect
import re
from collections.abc import Iterator
from importlib.metadata import EntryPoint, distribution
from pathlib import Path
from typing import Any

from spacy.lang.ja import Japanese

from spacy_jbert.errors import Errors, Warnings

SETTINGS = """# Settings

What `docs/reference.py` reads out of the code: every setting of everything that spacy-jbert
registers, its default, and what it means. [registry.md](registry.md) says where each is used.
"""

MESSAGES = """# Errors and warnings

What `docs/reference.py` reads out of `spacy_jbert/errors.py`. What stands in braces is put in when
the message is shown. By what people see: [troubleshooting.md](troubleshooting.md).

| code | message |
|---|---|
"""

KINDS = {
    "spacy_factories": "factory",
    "spacy_tokenizers": "@tokenizers",
    "spacy_architectures": "@architectures",
    "spacy_misc": "@misc",
    "spacy_callbacks": "@callbacks",
    "spacy_readers": "@readers",
    "spacy_scorers": "@scorers",
    "spacy_loggers": "@loggers",
    "spacy_annotation_setters": "@annotation_setters",
}

PARAMETER = re.compile(r"(?P<names>\w+(?:, \w+)*) \((?P<type>.+?)\): (?P<text>.*)")


def entry_points() -> list[EntryPoint]:
    """What is registered, by kind and name."""
    found = [point for point in distribution("spacy-jbert").entry_points if point.group in KINDS]
    return sorted(found, key=lambda point: (list(KINDS).index(point.group), point.name))


def parse(docstring: str) -> tuple[str, dict[str, tuple[str, str]]]:
    """RETURNS (tuple): What a docstring says in general; of each parameter, its type and text."""
    general: list[str] = []
    parameters: dict[str, tuple[str, str]] = {}
    names: list[str] = []
    for line in inspect.cleandoc(docstring).splitlines():
        if match := PARAMETER.fullmatch(line):
            names = match["names"].split(", ")
            parameters |= dict.fromkeys(names, (match["type"], match["text"]))
        elif names and line.startswith("    "):
            kind, text = parameters[names[0]]
            parameters |= dict.fromkeys(names, (kind, f"{text} {line.strip()}"))
        else:
            names = []
            general.append(line)
    text = "\n".join(general).strip()
    # What a function of Python returns is no setting.
    return re.split(r"^(?:RETURNS|RAISES)\b", text, flags=re.MULTILINE)[0].strip(), parameters


def shown(value: Any) -> str:
    """RETURNS (str): A default as a config writes it."""
    if value is inspect.Parameter.empty:
        return "required"
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return f"`{words[value]}`"
    if isinstance(value, dict):
        registry = next(name for name in value if name.startswith("@"))
        return f"`{value[registry]}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def section(point: EntryPoint) -> Iterator[str]:
    """The lines of one registered name."""
    function = point.load()
    general, parameters = parse(function.__doc__ or "")
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
    }
    if point.group == "spacy_factories":
        defaults |= Japanese.get_factory_meta(point.name).default_config
    yield f"## `{point.name}`"
    yield ""
    yield f"`{KINDS[point.group]}`, in `{point.value.partition(':')[0].replace('.', '/')}.py`"
    yield ""
    yield general
    rows = [
        (name, parameters[name], shown(default))
        for name, default in defaults.items()
        if name in parameters
    ]
    if rows:
        yield ""
        yield "| setting | default | what |"
        yield "|---|---|---|"
    for name, (kind, text), default in rows:
        cell = f"{text} ({kind})".replace("|", "\\|")
        yield f"| `{name}` | {default} | {cell} |"
    yield ""


def settings() -> str:
    """RETURNS (str): docs/settings.md."""
    sections = ("\n".join(section(point)) for point in entry_points())
    return "\n".join([SETTINGS, *sections])


def messages() -> str:
    """RETURNS (str): docs/errors.md."""
    rows = ""
    for kind in (Errors, Warnings):
        for code, text in sorted(vars(kind).items()):
            if re.fullmatch(r"JW?\d+", code):
                message = text.removeprefix(f"[{code}] ").replace("|", "\\|").replace("\n", " ")
                rows += f"| {code} | {message} |\n"
    return MESSAGES + rows


def pages() -> dict[str, str]:
    """RETURNS (dict[str, str]): The pages, by the names of their files."""
    return {"settings.md": settings(), "errors.md": messages()}


if __name__ == "__main__":
    for name, page in pages().items():
        Path(__file__).with_name(name).write_text(page, encoding="utf-8")
