"""Docs shared out to train, dev and test, written as a DocBin each, and counted."""

import itertools
import random
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table
from spacy.tokens import Doc, DocBin

from ..errors import DataError, Errors, Warnings
from ..storage import replacing
from .docs import labels_of
from .readers import Notes, Row

SPLITS = ("train", "dev", "test")
Splits = dict[str, list[Doc]]


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


def check_folder(path: Path) -> None:
    """Refuse a folder to write to that is, or lies in, a file."""
    for part in (path, *path.parents):
        if part.exists() and not part.is_dir():
            raise DataError(Errors.J233.format(path=part))


def write_splits(out: Path, splits: Splits) -> None:
    """Write <out>/<split>.spacy: tokens, sentence starts, entities and categories. A split that was
    there and isn't among these is set aside as <split>.spacy.old (JW212).
    """
    check_folder(out)
    with replacing(*(out / f"{name}.spacy" for name in splits)) as parts:
        for part, docs in zip(parts, splits.values(), strict=True):
            DocBin(attrs=["ENT_IOB", "ENT_TYPE", "SENT_START"], docs=docs).to_disk(part)
    for stale in (out / f"{name}.spacy" for name in SPLITS if name not in splits):
        if stale.exists():
            # Set aside, as it may be somebody's only copy; so may one of before.
            names = (f"{stale.name}.old{n or ''}" for n in itertools.count())
            kept = stale.rename(next(n for n in map(out.joinpath, names) if not n.exists()))
            print(Warnings.JW212.format(path=stale, new=kept.name), file=sys.stderr)


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
    if pairs := alike(label for found in labels.values() for label in found):
        yield Warnings.JW210.format(labels=", ".join(pairs))
    if different := contradictions(doc for docs in splits.values() for doc in docs):
        examples = "; ".join(
            f"{text[:40]} ({' / '.join(sorted(found))})" for text, found in different[:5]
        )
        yield Warnings.JW211.format(count=len(different), examples=examples)
    texts = [{doc.text for doc in docs} for docs in splits.values()]
    if repeated := sum(map(len, texts)) - len(set().union(*texts)):
        yield Warnings.JW202.format(count=repeated)


def plain(text: str) -> str:
    """RETURNS (str): The text without white space and without what differs in width or case."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def alike(labels: Iterable[str]) -> list[str]:
    """RETURNS (list[str]): Labels that differ only in width, case or white space: "Per / PER"."""
    groups: dict[str, set[str]] = {}
    for label in labels:
        groups.setdefault(plain(label), set()).add(label)
    return [" / ".join(sorted(found)) for found in groups.values() if len(found) > 1]


def contradictions(docs: Iterable[Doc]) -> list[tuple[str, set[str]]]:
    """RETURNS (list): Texts that come with different entities, or with different categories, and
    what they come with."""
    entities: dict[str, set[str]] = {}
    categories: dict[str, set[str]] = {}
    for doc in docs:
        if doc.has_annotation("ENT_IOB"):
            found = (f"{ent.text} {ent.label_} {ent.start_char}" for ent in doc.ents)
            entities.setdefault(doc.text, set()).add(", ".join(found) or "–")
        if doc.cats:
            applying = sorted(label for label, value in doc.cats.items() if value)
            categories.setdefault(doc.text, set()).add(", ".join(applying) or "–")
    return [
        (text, found)
        for by_text in (entities, categories)
        for text, found in by_text.items()
        if len(found) > 1
    ]
