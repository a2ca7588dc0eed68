"""Raw text for pretraining: files to documents, documents to clean sentences, everything that is dropped counted."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from ..data import read_lines, read_rows
from ..errors import Errors

_RECORDS = {".jsonl", ".json", ".csv", ".tsv"}
_PACKED = {".gz", ".xz"}
_JAPANESE = re.compile(r"[ぁ-ゖァ-ヺｦ-ﾝ々〆㐀-䶿一-鿿豈-﫿\U00020000-\U0003ffff]")
# Up to the end of the sentence with the brackets that close behind it. The limit keeps a text without an end under Sudachi's 49,149 bytes.
_SENTENCE = re.compile(r".{1,4000}?(?:[。！？]+[」』）】》〉〕］”’]*|$)|.{1,4000}")


@dataclass(frozen=True)
class Cleaning:
    """What is done to the lines of a text.

    normalization (str | None): A Unicode form, such as NFKC; None leaves the text as it is.
    min_characters (int): Shorter lines are dropped.
    """

    normalization: str | None = None
    min_characters: int = 10


def find_files(paths: str | Sequence[str]) -> list[Path]:
    """List the files to read: those named, and all text and record files in the folders named, sorted.

    RAISES: ValueError J101 for a path that doesn't exist or a folder without such files.
    """
    files: list[Path] = []
    for path in map(Path, [paths] if isinstance(paths, str) else paths):
        inside = sorted(file for file in path.rglob("*") if file.is_file() and _kind(file) in {".txt", *_RECORDS})
        found = [path] if path.is_file() else inside
        if not found:
            reason = "The folder holds no .txt, .jsonl, .json, .csv or .tsv file." if path.is_dir() else "There is no such file or folder."
            raise ValueError(Errors.J101.format(path=path, reason=reason))
        files.extend(found)
    if not files:
        raise ValueError(Errors.J101.format(path="", reason="No path is given."))
    return files


def _kind(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix in _PACKED else path.suffix


def read_documents(files: Iterable[Path]) -> Iterator[list[str]]:
    """Read documents: a record's `text` is one; in plain text a blank line, or the file's end, ends one.

    YIELDS (list[str]): The lines of a document, a sentence or a paragraph each.
    """
    for file in files:
        if _kind(file) in _RECORDS:
            for row in read_rows(file):
                yield row.text("text").splitlines()
            continue
        document: list[str] = []
        for _, line in read_lines(file):
            if line.strip():
                document.append(line)
            elif document:
                yield document
                document = []
        if document:
            yield document


def clean(documents: Iterable[list[str]], cleaning: Cleaning, counts: Counter[str]) -> Iterator[list[str]]:
    """Drop lines that are too short, not Japanese, or exact repetitions of an earlier one, and documents that have none left.

    counts (Counter[str]): Told what was read and what was dropped.
    YIELDS (list[str]): The sentences of a document.
    """
    seen: set[bytes] = set()
    for document in documents:
        counts["documents read"] += 1
        kept = []
        for line in map(str.strip, document):
            if not line:
                continue
            counts["lines read"] += 1
            if cleaning.normalization:
                line = unicodedata.normalize(cleaning.normalization, line).strip()  # type: ignore[arg-type]
            digest = blake2b(line.encode(), digest_size=8).digest()
            if len(line) < cleaning.min_characters:
                counts["lines dropped: short"] += 1
            elif not _JAPANESE.search(line):
                counts["lines dropped: not Japanese"] += 1
            elif digest in seen:
                counts["lines dropped: repeated"] += 1
            else:
                seen.add(digest)
                kept.extend(split_sentences(line))
        if kept:
            counts["documents"] += 1
            counts["sentences"] += len(kept)
            yield kept
        else:
            counts["documents dropped"] += 1


def split_sentences(line: str) -> list[str]:
    """Cut a line behind 。！？ and the brackets that close there; nothing is lost but the white space around sentences."""
    return [sentence for sentence in map(str.strip, _SENTENCE.findall(line)) if sentence]
