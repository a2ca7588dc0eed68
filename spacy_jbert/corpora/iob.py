"""Tokens with IOB tags, one a line (CoNLL, .bio; BILUO and BIOES too) -> one DocBin a split."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..errors import DataError, Errors, Warnings
from .docs import clean_annotation, japanese_tokenizer
from .labels import LabelMap, keep
from .lines import read_lines
from .readers import Shuffle
from .splits import read_splits, report, write_splits
from .values import Notes, read_label

Delimiter = Literal["auto", "tab", "comma", "space"]
Sentence = list[tuple[str, str]]
"""Tokens, each with its tag: O, B-LABEL or I-LABEL."""

TAG = re.compile(r"O|[BIELSUM]-.*\S.*")


def convert_iob(
    source: Path | None = None,
    *,
    out: Path,
    train: Path | None = None,
    dev: Path | None = None,
    test: Path | None = None,
    split: str = "80/10/10",
    seed: int = 42,
    shuffle: Shuffle = "stratified",
    label_map: Path | None = None,
    skip_unlabelled: bool = False,
    exclude_label_containing: str | None = None,
    delimiter: Delimiter = "auto",
    token_column: int = 0,
    tag_column: int = -1,
    sentences_per_doc: int = 1,
    encoding: str | None = None,
) -> None:
    """Convert tagged tokens, and write train.spacy, dev.spacy and test.spacy.

    The tokens of the file are kept; as it doesn't tell where spaces are, there are none in the
    texts.

    source, out, train, dev, test, split, seed, shuffle, encoding, label_map, skip_unlabelled,
    exclude_label_containing: As in `convert_records`.
    delimiter (str): What stands between the columns.
    token_column, tag_column (int): Counted from 0; -1 is the last.
    sentences_per_doc (int): How many sentences make a document.
    RAISES: DataError J2xx, with file and line.
    """
    vocab, notes = japanese_tokenizer().vocab, Notes()
    labels = LabelMap(label_map, encoding)

    wanted = partial(
        keep, notes=notes, skip_unlabelled=skip_unlabelled, excluded=exclude_label_containing
    )

    def read(path: Path) -> Iterator[Doc]:
        group: list[Sentence] = []
        for sentence in read_sentences(path, delimiter, token_column, tag_column, notes, encoding):
            if group and (not sentence or len(group) == sentences_per_doc):
                yield labels.apply(clean_annotation(make_doc(vocab, group), notes, path), notes)
                group = []
            group += [sentence] if sentence else []
        if group:
            yield labels.apply(clean_annotation(make_doc(vocab, group), notes, path), notes)

    files = {"train": train, "dev": dev, "test": test}
    splits = read_splits(
        lambda path: [doc for doc in read(path) if wanted(doc)],
        source,
        files,
        ratio=split,
        seed=seed,
        shuffle=shuffle,
    )
    write_splits(out, splits, sources=[source, *files.values()])
    labels.tell_unused()
    report(splits, notes)


def make_doc(vocab: Vocab, sentences: list[Sentence]) -> Doc:
    """Put sentences together to a Doc."""
    words, tags = zip(*chain.from_iterable(sentences), strict=True)
    starts = [position == 0 for sentence in sentences for position in range(len(sentence))]
    return Doc(vocab, words=words, spaces=[False] * len(words), sent_starts=starts, ents=tags)


def looks_tagged(path: Path, encoding: str | None = None) -> bool:
    """Whether the first lines of a file each have a tag in the same column, and one at least an
    entity's."""
    try:
        lines = [line.strip() for _, line in islice(read_lines(path, encoding), 200)]
    except DataError:
        return False
    lines = [line for line in lines if line and not line.startswith(("#", "-DOCSTART-"))]
    cells = [re.split(r"[\t ,]+", line) for line in lines]
    columns = min(map(len, cells), default=0)
    if columns < 2:
        return False
    return any(_are_tags([line[n] for line in cells]) for n in (-1, *range(columns)))


def _are_tags(cells: list[str]) -> bool:
    return all(map(TAG.fullmatch, cells)) and any(cell != "O" for cell in cells)


def read_sentences(
    path: Path,
    delimiter: Delimiter,
    token_column: int,
    tag_column: int,
    notes: Notes,
    encoding: str | None = None,
) -> Iterator[Sentence]:
    """Read the sentences of a file, with an empty one where the file has a border between documents
    (-DOCSTART-).
    """
    lines = [(number, line.rstrip("\r\n")) for number, line in read_lines(path, encoding)]
    columns = Columns(path, [line for _, line in lines], delimiter, token_column, tag_column)
    sentence: Sentence = []
    before = "O"
    for number, line in [*lines, (0, "")]:
        # Not strip() alone: a token can be a full-width space.
        if not line.strip(" \t") or line.startswith("-DOCSTART-"):
            if sentence:
                yield sentence
            if line.startswith("-DOCSTART-"):
                yield []
            sentence, before = [], "O"
        elif not columns.is_comment(line):
            token, tag = columns.read(line, number)
            prefix, _, label = tag.partition("-")
            if tag != "O":
                label = read_label(label, notes, path=path, line=number)
                tag = f"{prefix}-{label}"
                inside = goes_on(tag, before, notes)
                sentence.append((token, f"{'I' if inside else 'B'}-{label}"))
            else:
                sentence.append((token, "O"))
            before = tag


def goes_on(tag: str, before: str, notes: Notes) -> bool:
    """Whether a tag goes on with the entity of the tag before it. One that should and has none is
    counted (JW205)."""
    inside = tag[0] in "IELM" and before[0] in "BIM" and before[2:] == tag[2:]
    notes[Warnings.JW205] += tag[0] in "IELM" and not inside
    return inside


class Columns:
    """Finds token and tag in a line.

    path (Path): The file, to name it in errors.
    lines (list[str]): All its lines, to find the delimiter and the number of columns.
    """

    def __init__(
        self, path: Path, lines: list[str], delimiter: Delimiter, token_column: int, tag_column: int
    ) -> None:
        lines = [
            line for line in lines if line.strip(" \t") and not line.startswith(("#", "-DOCSTART-"))
        ]
        first = next(iter(lines), "")
        if delimiter == "auto":
            delimiter = "tab" if "\t" in first else "space" if " " in first.strip(" ") else "comma"
        self.path, self.delimiter = path, delimiter
        self.count = (
            Counter(len(self.split(line)) for line in lines).most_common(1)[0][0] if lines else 2
        )
        for column in (token_column, tag_column):
            if not -self.count <= column < self.count:
                raise DataError(
                    Errors.J223.format(
                        found=self.count, expected=f"at least {column + 1}", delimiter=delimiter
                    ),
                    path=path,
                )
        self.token, self.tag = token_column % self.count, tag_column % self.count
        if (token_column, tag_column) == (0, -1):
            self._find_tags(
                [cells for line in lines if len(cells := self.split(line)) == self.count]
            )

    def _find_tags(self, rows: list[list[str]]) -> None:
        """Where the last column holds no tags and a single other one does, it is that."""
        whole = [cells for cells in rows if len(cells) == self.count]
        tagged = [n for n in range(self.count) if _are_tags([cells[n] for cells in whole])]
        if self.tag not in tagged and len(tagged) == 1:
            (self.tag,) = tagged
            self.token = 0 if self.tag else 1

    def split(self, line: str) -> list[str]:
        if self.delimiter == "space":
            return re.split("[ \t]+", line.strip(" \t"))
        return line.split("\t" if self.delimiter == "tab" else ",")

    def is_comment(self, line: str) -> bool:
        """Whether a line that starts with # is a comment; the token can be a # as well."""
        cells = self.split(line)
        return line.startswith("#") and not (
            len(cells) == self.count and TAG.fullmatch(cells[self.tag])
        )

    def read(self, line: str, number: int) -> tuple[str, str]:
        """The token and the tag of a line."""
        cells = self.split(line)
        if self.delimiter == "comma":
            cells = self._whole(line, cells)
        if len(cells) != self.count or not cells[self.token]:
            found = Errors.J223.format(
                found=sum(map(bool, cells)), expected=self.count, delimiter=self.delimiter
            )
            raise DataError(found, path=self.path, line=number)
        # Of a label white space is taken, and counted, by read_label.
        tag = cells[self.tag].lstrip()
        if tag.strip() == "O":
            tag = "O"
        if not TAG.fullmatch(tag):
            raise DataError(Errors.J222.format(tag=tag), path=self.path, line=number)
        return cells[self.token], tag

    def _whole(self, line: str, cells: list[str]) -> list[str]:
        # A token can be a comma or a quote, or hold one ("1,000"), in quotes as in a CSV file or
        # just so.
        try:
            quoted = next(csv.reader([line], strict=True))
        except csv.Error:
            quoted = []
        if len(quoted) == self.count:
            return quoted
        end = self.token + 1 + len(cells) - self.count
        return [*cells[: self.token], ",".join(cells[self.token : end]), *cells[end:]]
