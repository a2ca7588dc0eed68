"""What a file or folder is that isn't made of records: DocBins, or tagged tokens."""

from pathlib import Path

from .iob import looks_tagged
from .lines import kind

TAGGED = (".bio", ".iob", ".iob2", ".conll", ".conll03", ".bioes", ".biluo", ".ner")


def converted_parts(path: Path) -> dict[str, Path]:
    """RETURNS (dict[str, Path]): The DocBins of a folder that `jbert convert` wrote, by split."""
    files = {name: path / f"{name}.spacy" for name in ("train", "dev", "test")}
    return {name: file for name, file in files.items() if file.is_file()}


def is_docbin(path: Path) -> bool:
    """Whether it is a DocBin, or a folder of converted ones."""
    return kind(path) == ".spacy" or bool(converted_parts(path))


def is_tagged_file(path: Path, task: str | None, encoding: str | None) -> bool:
    """Whether a file holds tagged tokens: by its suffix, or, where they are what is looked for, by
    its first lines.

    task (str | None): None: it isn't known yet.
    """
    if not path.is_file():
        return False
    return kind(path) in TAGGED or (task in (None, "ner") and looks_tagged(path, encoding))
