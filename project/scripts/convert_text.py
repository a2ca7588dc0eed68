"""Texts of any size and kind (plain, JSONL, Parquet, wikiextractor's; .gz and .xz too) -> one clean
text file for pretraining.

    python project/scripts/convert_text.py wikipedia/ news.jsonl.gz --out
    project/corpus/pretrain.txt

What comes out is UTF-8, one sentence or paragraph a line as in the source, and a blank line between
documents. Pretraining reads all these formats itself; this is for a file to look at, and to keep.
"""

from pathlib import Path
from typing import Annotated

import typer

from spacy_jbert.corpora.options import run
from spacy_jbert.corpora.splits import check_folder
from spacy_jbert.errors import DataError, Errors
from spacy_jbert.pretraining.text import find_files, printable, read_documents, split_sentences
from spacy_jbert.storage import replacing


def convert_text(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Files and folders: text with blank lines between documents, or records"
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The text file to write")],
    text_field: Annotated[str, typer.Option(help="Field of a record that holds its text")] = "text",
    sentences: Annotated[
        bool, typer.Option("--sentences", help="Begin a new line after each sentence")
    ] = False,
    min_characters: Annotated[int, typer.Option(help="Leave out lines that are shorter")] = 1,
) -> None:
    """Clean texts for pretraining.

    Characters are kept as they are, but for control characters and white space at line ends.
    """
    check_folder(out.parent)
    documents = lines = characters = 0
    with replacing(out) as (part,), part.open("w", encoding="utf-8", newline="\n") as file:
        for document in read_documents(find_files([str(source) for source in sources]), text_field):
            whole = [printable(line).strip() for line in document]
            parts = [
                sentence.strip()
                for line in whole
                for sentence in (split_sentences(line) if sentences else [line])
            ]
            kept = [line for line in parts if len(line) >= max(min_characters, 1)]
            if kept:
                file.write("\n" * bool(documents) + "".join(f"{line}\n" for line in kept))
                documents, lines, characters = (
                    documents + 1,
                    lines + len(kept),
                    characters + sum(map(len, kept)),
                )
        if not documents:
            raise DataError(Errors.J219.format(name=out.name), path=sources[0])
    print(f"{out}: {documents:,} documents, {lines:,} lines, {characters:,} characters")


if __name__ == "__main__":
    run(convert_text)
