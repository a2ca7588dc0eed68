"""What the corpus converters in project/scripts share: reading rows, building and splitting Docs,
writing and counting them.

A converter reads files into Docs (`read_rows`, `make_doc`), shares them out (`read_splits`), writes
one DocBin a split (`write_splits`) and shows what is in them (`report`). What is wrong with a file
is a DataError that names the file and the line."""

import csv
import gzip
import json
import lzma
import random
import re
import sys
import zlib
from bisect import bisect_left, bisect_right
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from spacy.lang.ja import Japanese
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab, create_vocab
from tqdm import tqdm

from ..errors import DataError, Errors, Warnings
from ..storage import replacing
from ..tokenizer.sudachi import SudachiTokenizer

OPENERS: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
SPLITS = ("train", "dev", "test")
Splits = dict[str, list[Doc]]
Entity = tuple[int, int, str]
"""Start and end, counted in characters, and label."""
Notes = Counter[str]
"""How often each warning (a message with a place for its `count`) was earned."""

# The options that every converter has.
Source = Annotated[Path | None, typer.Argument(help="One file, to be split", show_default=False)]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for {train,dev,test}.spacy")]
Train = Annotated[
    Path | None,
    typer.Option("--train", help="File of the training split, where the data come split"),
]
Dev = Annotated[Path | None, typer.Option("--dev", help="File of the development split")]
Test = Annotated[Path | None, typer.Option("--test", help="File of the test split")]
Ratio = Annotated[
    str, typer.Option("--split", help="How one file is shared out: percentages for train/dev/test")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the shuffle before the split")]
SplitField = Annotated[
    str | None,
    typer.Option("--split-field", help="Field that names each record's split, instead of --split"),
]
SplitMode = Annotated[
    Literal["A", "B", "C"],
    typer.Option("--split-mode", help="Sudachi's split mode for the reference tokens"),
]


def run(command: Callable[..., None]) -> None:
    """Run a script's command; a DataError, or a file that the system won't open, is one line on
    stderr and exit status 1.
    """
    try:
        typer.run(command)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)


# --- Reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One record of a file: its fields, and where it starts."""

    fields: dict[str, Any]
    path: Path
    line: int

    def error(self, message: str) -> DataError:
        """The error to raise over this record."""
        return DataError(message, path=self.path, line=self.line)

    def get(self, name: str) -> Any:
        """The value of a field; dots go down into objects and lists: "utterances.0.text"."""
        if name in self.fields:
            return self.fields[name]
        value: Any = self.fields
        for key in name.split("."):
            try:
                value = value[int(key)] if isinstance(value, list) else value[key]
            except (KeyError, IndexError, TypeError, ValueError):
                raise self.error(
                    Errors.J206.format(field=name, fields=", ".join(_names(self.fields)))
                ) from None
        return value

    def text(self, name: str) -> str:
        """The value of a field that has to hold text, untouched."""
        value = self.get(name)
        if not isinstance(value, str):
            raise self.error(Errors.J207.format(field=name, expected="text", value=value))
        return self.encodable(value)

    def label(self, value: Any) -> str:
        """A label as text: whole numbers and booleans are taken too."""
        if isinstance(value, (bool, int)):
            return str(value)
        if not isinstance(value, str) or not value.strip():
            raise self.error(Errors.J214.format(label=value))
        return self.encodable(value)

    def encodable(self, value: str) -> str:
        """The same text, if it is text: JSON can hold halves of surrogate pairs."""
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise self.error(Errors.J215.format(value=value, position=error.start)) from None
        return value


def _names(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _names(inner, f"{prefix}{key}.")
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from _names(value[0], f"{prefix}0.")
    else:
        yield prefix.rstrip(".") or '""'


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read a UTF-8 text file, plain or packed (.gz, .xz). A byte order mark is removed, line ends
    are kept.

    path (Path): The file.
    YIELDS (tuple[int, str]): The line's number, from 1, and the line.
    """
    check_file(path)
    number = 0
    try:
        with OPENERS.get(path.suffix, open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                yield number, _decode(line, path, number)
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise DataError(Errors.J216.format(reason=error), path=path, line=number + 1) from error
    if not number:
        raise DataError(Errors.J202, path=path)


def check_file(path: Path) -> None:
    """Refuse a file that isn't there, or has nothing in it."""
    if not path.exists():
        raise DataError(Errors.J201, path=path)
    if path.is_file() and not path.stat().st_size:
        raise DataError(Errors.J202, path=path)


def _decode(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte, guess = f"0x{error.object[error.start]:02x}", guess_encoding(line)
        raise DataError(
            Errors.J203.format(byte=byte, position=error.start, guess=guess), path=path, line=number
        ) from None


def guess_encoding(data: bytes) -> str:
    """Which of the usual encodings of Japanese these bytes are in, given that they aren't UTF-8."""
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "UTF-16"

    def plausible(encoding: str) -> int:
        text = data.decode(encoding, "replace")
        # Either one, read as the other, turns into half-width katakana and undecodable bytes.
        return len(re.findall("[ぁ-んァ-ヶ一-龠、。]", text)) - len(re.findall("[ｦ-ﾟ\ufffd]", text))

    return max(("CP932", "EUC-JP"), key=plausible)


def read_rows(path: Path) -> Iterator[Row]:
    """Read records: .csv and .tsv with a header, a .json array of objects, or else JSONL; packed
    (.gz, .xz) or not.

    path (Path): The file.
    YIELDS (Row): The records, blank lines left out.
    """
    kind = Path(path.stem if path.suffix in OPENERS else path).suffix.lower()
    records = {".csv": _read_table, ".tsv": _read_table, ".json": _read_array}.get(
        kind, _read_jsonl
    )(path)
    for line, fields in tqdm(records, desc=path.name, unit=" rows", delay=2, disable=None):
        if not isinstance(fields, dict):
            raise DataError(Errors.J205.format(kind=type(fields).__name__), path=path, line=line)
        yield Row(fields, path, line)


def _read_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in read_lines(path):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise DataError(Errors.J204.format(reason=error), path=path, line=number) from None


def _read_array(path: Path) -> Iterator[tuple[int, Any]]:
    text = "".join(line for _, line in read_lines(path))
    if not text.lstrip().startswith("["):
        yield from _read_jsonl(path)
        return
    # One element after the other, where json.loads would not tell their lines.
    decoder, line, counted = json.JSONDecoder(), 1, 0
    position = _past_space(text, text.index("[") + 1)
    try:
        while text[position : position + 1] != "]":
            value, end = decoder.raw_decode(text, position)
            line += text.count("\n", counted, position)
            counted = position
            yield line, value
            position = _past_space(text, end)
            if text[position : position + 1] == ",":
                position = _past_space(text, position + 1)
            elif text[position : position + 1] != "]":
                raise json.JSONDecodeError("Expecting ',' or ']'", text, position)
        if text[position + 1 :].strip():
            raise json.JSONDecodeError("Extra data", text, position + 1)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(
            Errors.J204.format(reason=error), path=path, line=getattr(error, "lineno", line)
        ) from None


def _past_space(text: str, position: int) -> int:
    while text[position : position + 1].isspace():
        position += 1
    return position


def _read_table(path: Path) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(2**31 - 1)
    delimiter = "\t" if ".tsv" in path.name.lower() else ","
    reader, line = (
        csv.reader((line for _, line in read_lines(path)), delimiter=delimiter, strict=True),
        1,
    )
    try:
        header = next(reader, [])
        if repeated := [name for name, count in Counter(header).items() if count > 1]:
            raise DataError(
                Errors.J209.format(reason=f"its header names {repeated[0]!r} twice."),
                path=path,
                line=1,
            )
        line = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                raise DataError(
                    Errors.J208.format(found=len(cells), expected=len(header), header=header),
                    path=path,
                    line=line,
                )
            if cells:
                yield line, dict(zip(header, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(Errors.J209.format(reason=error), path=path, line=line) from None


# --- Docs -----------------------------------------------------------------------------------------


def find_docbins(path: Path) -> list[Path]:
    """RETURNS (list[Path]):

    The file, or all .spacy files in the folder. RAISES: DataError J226 if there is none.
    """
    files = sorted(path.rglob("*.spacy")) if path.is_dir() else [path]
    if not files:
        raise DataError(Errors.J226, path=path)
    return files


def read_docbin(path: Path, vocab: Vocab) -> list[Doc]:
    """RETURNS (list[Doc]):

    The documents of a DocBin. RAISES: DataError J201, J202, J224 for a file that is missing, empty
    or damaged.
    """
    check_file(path)
    try:
        return list(DocBin().from_disk(path).get_docs(vocab))
    except OSError:
        raise
    except (
        Exception
    ) as error:  # zlib, msgpack, numpy and spaCy each have their own for bytes that make no sense
        raise DataError(
            Errors.J224.format(reason=f"{type(error).__name__}: {error}"), path=path
        ) from error


def japanese_tokenizer(split_mode: str = "A") -> SudachiTokenizer:
    """A tokenizer for words alone, without loading the plugins that a pipeline loads."""
    return SudachiTokenizer(create_vocab("ja", Japanese.Defaults), split_mode, attributes="words")


def _tokens_around(text: str, start: int, end: int, starts: list[int], ends: list[int]) -> str:
    """The text of the tokens that a span starts and ends in."""
    first = starts[bisect_right(starts, start) - 1]
    last = [*ends, len(text)][bisect_left(ends, end)]
    return text[first:last]


def make_doc(
    tokenizer: SudachiTokenizer, text: str, entities: Sequence[Entity] | None = None
) -> Doc:
    """Tokenise a text, cutting the tokens in which an entity starts or ends, so that every entity
    is kept.

    tokenizer (SudachiTokenizer): The pipeline's tokenizer.
    text (str): The text; the Doc's text is the same to the character.
    entities (Sequence[Entity] | None): Entities that don't overlap. None leaves the Doc's entities
        unset, not empty.
    RETURNS (Doc): The Doc; user_data["cut"] tells the entities for which tokens were cut, with the
        tokens as they were.
    """
    tokens = tokenizer(text)
    starts = [token.idx for token in tokens]
    ends = [token.idx + len(token) for token in tokens]
    entity_starts = {start for start, _, _ in entities or ()}
    entity_ends = {end for _, end, _ in entities or ()}
    spaced = set(ends) - set(starts)
    words: list[str] = []
    spaces: list[bool] = []
    for start, end in pairwise(sorted({*starts, *ends, *entity_starts, *entity_ends, len(text)})):
        # What lies between two tokens is one space, a part of the first; a token of its own where
        # an entity takes it in.
        if start in spaced and start not in entity_starts and end not in entity_ends:
            spaces[-1] = True
        else:
            words.append(text[start:end])
            spaces.append(False)
    doc = Doc(tokenizer.vocab, words=words, spaces=spaces)
    if entities is not None:
        doc.set_ents([doc.char_span(start, end, label) for start, end, label in entities])
        torn = (entity_starts - set(starts)) | (entity_ends - set(ends))
        doc.user_data["cut"] = [
            f"{text[start:end]} in {_tokens_around(text, start, end, starts, ends)}"
            for start, end, _ in entities
            if start in torn or end in torn
        ]
    return doc


# --- Splits ---------------------------------------------------------------------------------------


def read_splits(
    read: Callable[[Path], Iterable[Doc]],
    source: Path | None,
    given: dict[str, Path | None],
    *,
    ratio: str,
    seed: int,
    by_field: bool = False,
) -> Splits:
    """Read the Docs of each split, from a file each or shared out from one file.

    read (Callable[[Path], Iterable[Doc]]): Reads one file.
    source (Path | None): The one file, or
    given (dict[str, Path | None]): the file of each split.
    ratio (str): Percentages of train, dev and test: "80/10/10".
    seed (int): Seed of the shuffle.
    by_field (bool): Each Doc of the one file tells its split, in user_data["split"].
    RETURNS (Splits): The Docs by split.
    """
    files = {name: path for name, path in given.items() if path is not None}
    if (source is None) == (not files):
        raise DataError(Errors.J221)
    if source is None:
        splits = {name: list(read(path)) for name, path in files.items()}
    elif by_field:
        splits = {name: [] for name in SPLITS}
        for doc in read(source):
            splits[doc.user_data["split"]].append(doc)
        splits = {name: docs for name, docs in splits.items() if docs}
    else:
        splits = shuffled(list(read(source)), ratio, seed)
    for name, docs in splits.items():
        if not docs:
            raise DataError(Errors.J219.format(name=name), path=source or files[name])
    if not any(labels_of(doc) for docs in splits.values() for doc in docs):
        raise DataError(Errors.J217, path=source or next(iter(files.values())))
    return splits


def shuffled(docs: list[Doc], ratio: str, seed: int) -> Splits:
    """Shuffle and share out: the first so many per cent for train, the next for dev, the rest for
    test. Borders are rounded down.

    With 80/10/10 and seed 42 this is the split that the published results on Stockmark's corpus
    use."""
    shares = (
        [int(share) for share in re.findall(r"\d+", ratio)]
        if re.fullmatch(r"\d+/\d+/\d+", ratio)
        else []
    )
    if sum(shares) != 100:
        raise DataError(Errors.J218.format(ratio=ratio))
    docs = docs.copy()
    random.Random(seed).shuffle(docs)
    borders = [len(docs) * sum(shares[:n]) // 100 for n in range(4)]
    return {
        name: docs[start:end]
        for name, share, (start, end) in zip(SPLITS, shares, pairwise(borders), strict=True)
        if share
    }


def split_of(row: Row, name: str | None) -> dict[str, str]:
    """The user_data that tells `read_splits` to which split a record belongs."""
    if name is None:
        return {}
    value = row.get(name)
    split = (
        {"valid": "dev", "validation": "dev", "val": "dev"}.get(value, value)
        if isinstance(value, str)
        else value
    )
    if split not in SPLITS:
        raise row.error(Errors.J220.format(field=name, value=value))
    return {"split": split}


# --- Writing and counting -------------------------------------------------------------------------


def write_splits(out: Path, splits: Splits) -> None:
    """Write <out>/<split>.spacy: tokens, sentence starts, entities and categories."""
    with replacing(*(out / f"{name}.spacy" for name in splits)) as parts:
        for part, docs in zip(parts, splits.values(), strict=True):
            DocBin(attrs=["ENT_IOB", "ENT_TYPE", "SENT_START"], docs=docs).to_disk(part)


def labels_of(doc: Doc) -> list[str]:
    """The labels of a Doc's entities and the categories that apply to it."""
    return [entity.label_ for entity in doc.ents] + [
        label for label, value in doc.cats.items() if value
    ]


def report(splits: Splits, notes: Notes) -> None:
    """Show on stdout what each split holds, and on stderr, with a count, what one should know about
    it.
    """
    labels = {
        name: Counter(label for doc in docs for label in labels_of(doc))
        for name, docs in splits.items()
    }
    cut = {
        name: [example for doc in docs for example in doc.user_data.get("cut", ())]
        for name, docs in splits.items()
    }
    rows: dict[str, list[int]] = {
        "documents": [len(docs) for docs in splits.values()],
        "tokens": [sum(map(len, docs)) for docs in splits.values()],
        "entities": [sum(len(doc.ents) for doc in docs) for docs in splits.values()],
        "entities whose tokens were cut": [len(examples) for examples in cut.values()],
    }
    table = Table("", *splits)
    for title, counts in rows.items():
        if any(counts):
            table.add_row(title, *(f"{count:,}" for count in counts))
    table.add_section()
    for label, _ in sum(labels.values(), Counter[str]()).most_common():
        table.add_row(label, *(f"{found[label]:,}" for found in labels.values()))
    # Where there is no terminal, rich would take it for 80 columns wide.
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(table)
    if examples := [example for found in cut.values() for example in found][:5]:
        console.print("Cut, for example:", "; ".join(examples))
    for message in [
        *(note.format(count=count) for note, count in notes.items() if count),
        *_across(splits, labels),
    ]:
        print(message, file=sys.stderr)


def _across(splits: Splits, labels: dict[str, Counter[str]]) -> Iterator[str]:
    unseen = {label for found in labels.values() for label in found} - set(labels.get("train", ()))
    if "train" in splits and unseen:
        yield Warnings.JW201.format(count=len(unseen), labels=", ".join(sorted(unseen)))
    texts = [{doc.text for doc in docs} for docs in splits.values()]
    if repeated := sum(map(len, texts)) - len(set().union(*texts)):
        yield Warnings.JW202.format(count=repeated)
