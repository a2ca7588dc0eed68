"""Texts of any size and kind (plain, JSONL, Parquet, wikiextractor's; .gz and .xz too) -> one clean
text file for pretraining.

What comes out is UTF-8, one sentence or paragraph a line as in the source, and a blank line between
documents. Pretraining reads all these formats itself; this is for a file to look at, and to keep.
"""

from collections.abc import Iterable
from pathlib import Path

from ..corpora.splits import cannot_write, check_folder, check_sources
from ..errors import DataError, Errors
from ..storage import replacing
from .text import find_files, printable, read_documents, split_sentences


def convert_text(
    sources: list[Path],
    *,
    out: Path,
    text_field: str = "text",
    sentences: bool = False,
    min_characters: int = 1,
    encoding: str | None = None,
) -> None:
    """Clean texts for pretraining. Characters are kept as they are, but for control characters and
    white space at line ends.

    sources (list[Path]): Files and folders: text with blank lines between documents, or records.
    out (Path): The text file to write.
    text_field (str): The field of a record that holds its text.
    sentences (bool): Begin a new line after each sentence.
    min_characters (int): Leave out lines that are shorter.
    encoding (str | None): As in `read_lines`.
    RAISES: DataError J260 if the file to write is one to read, J219 if nothing is left, and what
        the readers raise.
    """
    check_folder(out.parent)
    files = find_files([str(source) for source in sources])
    check_sources([out], files)
    try:
        shown = _write(out, read_documents(files, text_field, encoding), sentences, min_characters)
    except OSError as error:
        raise cannot_write(out, error) from error
    print(shown)


def _write(out: Path, texts: Iterable[list[str]], sentences: bool, min_characters: int) -> str:
    """Write documents. RETURNS (str): What was written, to be shown."""
    documents = lines = characters = 0
    with replacing(out) as (part,), part.open("w", encoding="utf-8", newline="\n") as file:
        for document in texts:
            whole = [printable(line).strip() for line in document]
            parts = [
                sentence.strip()
                for line in whole
                for sentence in (split_sentences(line) if sentences else [line])
            ]
            kept = [line for line in parts if len(line) >= max(min_characters, 1)]
            if kept:
                file.write("\n" * bool(documents) + "".join(f"{line}\n" for line in kept))
                documents += 1
                lines += len(kept)
                characters += sum(map(len, kept))
        if not documents:
            raise DataError(Errors.J219.format(name=out.name), path=out)
    return f"{out}: {documents:,} documents, {lines:,} lines, {characters:,} characters"
