"""Texts of any size (plain or JSONL, .gz and .xz too) -> one clean text file for pretraining.

    python project/scripts/convert_text.py wikipedia.txt.xz news.jsonl.gz --out project/corpus/pretrain.txt

What comes out is UTF-8, one sentence or paragraph a line as in the source, and a blank line between documents.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from spacy_jbert import data
from spacy_jbert.errors import DataError, Errors

# Control characters but tab and line feed, zero-width spaces and byte order marks amid the text.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\ufeff]")
SENTENCE_END = re.compile(r"(?<=[。！？])(?![。！？」』）)])")


def convert_text(
    sources: Annotated[list[Path], typer.Argument(help="Plain text, with blank lines between documents, or JSONL, a document each")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The text file to write")],
    text_field: Annotated[str, typer.Option(help="JSONL: field that holds the text")] = "text",
    sentences: Annotated[bool, typer.Option("--sentences", help="Begin a new line after each sentence")] = False,
    min_characters: Annotated[int, typer.Option(help="Leave out lines that are shorter")] = 1,
) -> None:
    """Clean texts for pretraining. Characters are kept as they are, but for control characters and white space at line ends."""
    documents = lines = characters = 0
    with data.replacing(out) as (part,), part.open("w", encoding="utf-8", newline="\n") as file:
        for path in sources:
            for document in read_documents(path, text_field):
                parts = [piece for line in document for piece in (SENTENCE_END.split(line) if sentences else [line])]
                kept = [line for line in map(clean, parts) if len(line) >= max(min_characters, 1)]
                if kept:
                    file.write("\n" * bool(documents) + "".join(f"{line}\n" for line in kept))
                    documents, lines, characters = documents + 1, lines + len(kept), characters + sum(map(len, kept))
        if not documents:
            raise DataError(Errors.J219.format(name=out.name), path=sources[0])
    print(f"{out}: {documents:,} documents, {lines:,} lines, {characters:,} characters")


def read_documents(path: Path, text_field: str) -> Iterator[list[str]]:
    """Read the lines of each document of a file."""
    if {".jsonl", ".json"} & set(path.suffixes):
        for row in data.read_rows(path):
            yield re.split(r"\r\n|\n|\r", row.text(text_field))
        return
    document: list[str] = []
    for _, line in tqdm(data.read_lines(path), desc=path.name, unit=" lines", delay=2, disable=None):
        if line.strip():
            document.append(line)
        elif document:
            yield document
            document = []
    yield document


def clean(line: str) -> str:
    """Take out what can't be read, and white space at both ends."""
    return UNPRINTABLE.sub("", line).strip()


if __name__ == "__main__":
    data.run(convert_text)
