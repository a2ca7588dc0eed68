"""Docs shared out to train, dev and test, written as a DocBin each, and counted."""

import itertools
import random
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import srsly
from rich.console import Console
from rich.table import Table
from spacy.tokens import Doc, DocBin

from ..errors import DataError, Errors, Warnings
from ..storage import replacing
from .docs import QUESTIONS_KEY, labels_of
from .readers import Row, Shuffle
from .values import Notes

SPLITS = ("train", "dev", "test")
Splits = dict[str, list[Doc]]


def read_splits(
    read: Callable[[Path], Iterable[Doc]],
    source: Path | None,
    given: dict[str, Path | None],
    *,
    ratio: str,
    seed: int,
    shuffle: Shuffle = "stratified",
    by_field: bool = False,
) -> Splits:
    """Read the Docs of each split, from a file each or shared out from one file.

    read (Callable[[Path], Iterable[Doc]]): Reads one file.
    source (Path | None): The one file, or
    given (dict[str, Path | None]): the file of each split.
    ratio (str): Percentages of train, dev and test: "80/10/10".
    seed, shuffle: Of `shared_out`.
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
        splits = shared_out(list(read(source)), ratio, seed, shuffle)
    for name, docs in splits.items():
        if not docs:
            raise DataError(Errors.J219.format(name=name), path=source or files[name])
    if not any(labels_of(doc) for docs in splits.values() for doc in docs):
        raise DataError(Errors.J217, path=source or next(iter(files.values())))
    return splits


def shared_out(docs: list[Doc], ratio: str, seed: int, shuffle: Shuffle = "stratified") -> Splits:
    """Share Docs out to train, dev and test.

    docs (list[Doc]): All of them; user_data["group"], if there is one, keeps Docs together.
    ratio (str): Percentages of train, dev and test: "80/10/10".
    seed (int): Of the shuffle; the same one gives the same splits.
    shuffle (str): "stratified" gives each split its share of each label, one example of it at
        least, and never one text or one group to two splits. "plain" knows nothing of either: with
        80/10/10 and seed 42 it is the split that the published results on Stockmark's corpus use.
    RETURNS (Splits): The Docs by split, those with a share of 0 left out.
    RAISES: DataError J218 for another ratio.
    """
    shares = percentages(ratio)
    if shuffle == "stratified":
        parts = stratified(docs, [share / 100 for share in shares], seed)
    else:
        docs = docs.copy()
        random.Random(seed).shuffle(docs)
        # Rounded down.
        borders = [len(docs) * sum(shares[:n]) // 100 for n in range(4)]
        parts = [docs[start:end] for start, end in pairwise(borders)]
    return {name: part for name, share, part in zip(SPLITS, shares, parts, strict=True) if share}


def percentages(ratio: str) -> list[int]:
    """RETURNS (list[int]): The shares of "80/10/10". RAISES: DataError J218."""
    found = re.fullmatch(r"(\d{1,3})/(\d{1,3})/(\d{1,3})", ratio)
    shares = [int(share) for share in found.groups()] if found else []
    if sum(shares) != 100:
        raise DataError(Errors.J218.format(ratio=ratio))
    return shares


def folds(docs: list[Doc], count: int, seed: int) -> list[Splits]:
    """Divide Docs for cross-validation, with the guarantees of `stratified`.

    count (int): How many folds; each is once the one that is tested on, and another the one that
        tells when to stop.
    RETURNS (list[Splits]): For each fold train, dev and test; all Docs are tested on once.
    """
    parts = stratified(docs, [1 / count] * count, seed)
    found: list[Splits] = []
    for number in range(count):
        dev = (number + 1) % count
        rest = [part for n, part in enumerate(parts) if n not in (number, dev)]
        train = [doc for part in rest for doc in part]
        found.append({"train": train, "dev": parts[dev], "test": parts[number]})
    return found


def stratified(docs: list[Doc], shares: list[float], seed: int) -> list[list[Doc]]:
    """Share Docs out so that each part has its share of each label: iterative stratification, the
    rarest label first (Sechidis et al. 2011, "On the stratification of multi-label data").

    Docs with the same text, or of the same group, count as one that can't be divided.

    shares (list[float]): How much of the Docs each part is to have, adding up to 1.
    RETURNS (list[list[Doc]]): The parts, each in the order that the Docs had.
    """
    units = [Unit(members, docs) for members in inseparable(docs)]
    random.Random(seed).shuffle(units)
    demand = Demand(units, shares)
    waiting: dict[str, list[Unit]] = {}
    for unit in units:
        for label in unit.labels:
            waiting.setdefault(label, []).append(unit)
    chosen: dict[int, int] = {}
    counts = {label: sum(unit.labels[label] for unit in found) for label, found in waiting.items()}
    while counts:
        label = min(counts, key=lambda name: (counts[name], name))
        left = [unit for unit in waiting[label] if unit.first not in chosen]
        # What is large first, as little can be made up for it.
        left.sort(key=lambda unit: -unit.labels[label])
        for number, unit in enumerate(left):
            chosen[unit.first] = demand.meet(unit, label, left=len(left) - number)
            for name, count in unit.labels.items():
                if name in counts:
                    counts[name] -= count
        del counts[label]
    for unit in units:
        if unit.first not in chosen:
            chosen[unit.first] = demand.meet(unit, None)
    parts: list[list[int]] = [[] for _ in shares]
    for unit in units:
        parts[chosen[unit.first]] += unit.members
    return [[docs[index] for index in sorted(part)] for part in parts]


class Unit:
    """Docs that stay together: their indices, and how many of them have each label."""

    def __init__(self, members: list[int], docs: list[Doc]) -> None:
        self.members = members
        self.first = members[0]
        self.labels = Counter(label for n in members for label in set(labels_of(docs[n])))


class Demand:
    """How many Docs, and how many with each label, each part still wants."""

    def __init__(self, units: list[Unit], shares: list[float]) -> None:
        total = sum(len(unit.members) for unit in units)
        self.parts = [part for part, share in enumerate(shares) if share > 0]
        self.docs = [total * share for share in shares]
        self.labels: dict[str, list[float]] = {}
        self.have: set[tuple[int, str | None]] = set()
        counts = Counter[str]()
        for unit in units:
            counts.update(unit.labels)
        for label, count in counts.items():
            wanted = [count * share for share in shares]
            if count >= len(self.parts):
                # One at least; the largest part gives what that takes.
                wanted = [max(want, 1.0) if want else 0.0 for want in wanted]
                largest = shares.index(max(shares))
                wanted[largest] = max(1.0, wanted[largest] - (sum(wanted) - count))
            self.labels[label] = wanted

    def meet(self, unit: Unit, label: str | None, left: int = 0) -> int:
        """Give a unit to the part that wants its label most, or else Docs.

        left (int): How many units with the label there are yet. They go to the parts that have none
            when they are just enough for these.
        RETURNS (int): The part.
        """
        of_label = self.labels[label] if label is not None else self.docs
        lacking = [part for part in self.parts if (part, label) not in self.have]
        among = lacking if lacking and left and left <= len(lacking) else self.parts
        part = max(among, key=lambda part: (of_label[part], self.docs[part], -part))
        self.docs[part] -= len(unit.members)
        for name, count in unit.labels.items():
            self.labels[name][part] -= count
            self.have.add((part, name))
        return part


def inseparable(docs: list[Doc]) -> list[list[int]]:
    """RETURNS (list[list[int]]): The indices of the Docs that share a text or a group, directly or
    by way of others."""
    parent = list(range(len(docs)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    seen: dict[tuple[str, str], int] = {}
    for index, doc in enumerate(docs):
        keys = [("text", doc.text.strip())]
        if "group" in doc.user_data:
            keys.append(("group", doc.user_data["group"]))
        for key in keys:
            other = seen.setdefault(key, index)
            parent[root(index)] = root(other)
    members: dict[int, list[int]] = {}
    for index in range(len(docs)):
        members.setdefault(root(index), []).append(index)
    return list(members.values())


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
        # A link to nothing doesn't exist, and yet is in the way.
        if (part.exists() or part.is_symlink()) and not part.is_dir():
            raise DataError(Errors.J233.format(path=part))


def check_sources(targets: Iterable[Path], sources: Iterable[Path | None]) -> None:
    """Refuse to write over what was read. RAISES: DataError J260."""
    read = {source.resolve() for source in sources if source is not None}
    for target in targets:
        if target.resolve() in read:
            raise DataError(Errors.J260.format(path=target))


def cannot_write(path: Path, error: OSError) -> DataError:
    """RETURNS (DataError): J261, of a full disk or a folder that may not be written to."""
    return DataError(Errors.J261.format(path=path, done="written", reason=error.strerror or error))


def write_splits(out: Path, splits: Splits, *, sources: Sequence[Path | None] = ()) -> None:
    """Write <out>/<split>.spacy: tokens, sentence starts, entities and categories, and by which id
    and group the records go. A split that was there and isn't among these is set aside as
    <split>.spacy.old (JW212).

    sources (Sequence[Path | None]): Files that were read, and may not be replaced.
    RAISES: DataError J233, J260, J261.
    """
    check_folder(out)
    targets = [out / f"{name}.spacy" for name in splits]
    check_sources(targets, sources)
    try:
        with replacing(*targets) as parts:
            for part, docs in zip(parts, splits.values(), strict=True):
                _docbin(docs).to_disk(part)
    except OSError as error:
        raise cannot_write(out, error) from error
    for stale in (out / f"{name}.spacy" for name in SPLITS if name not in splits):
        if stale.exists():
            # Set aside, as it may be somebody's only copy; so may one of before.
            names = (f"{stale.name}.old{n or ''}" for n in itertools.count())
            kept = stale.rename(next(n for n in map(out.joinpath, names) if not n.exists()))
            print(Warnings.JW212.format(path=stale, new=kept.name), file=sys.stderr)


def _docbin(docs: list[Doc]) -> DocBin:
    """With which record and group each document is of, its questions, and nothing else that it
    carries."""
    docbin = DocBin(attrs=["ENT_IOB", "ENT_TYPE", "SENT_START"], docs=docs)
    docbin.store_user_data = True
    for doc in docs:
        names = ("id", "group", QUESTIONS_KEY)
        kept = {name: doc.user_data[name] for name in names if name in doc.user_data}
        docbin.user_data.append(srsly.msgpack_dumps(kept))
    return docbin


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
    for name in splits:
        if name != "train" and (missing := set(labels.get("train", ())) - set(labels[name])):
            yield Warnings.JW255.format(part=name, labels=", ".join(sorted(missing)))
    if pairs := alike(label for found in labels.values() for label in found):
        yield Warnings.JW210.format(labels=", ".join(pairs))
    if different := contradictions(doc for docs in splits.values() for doc in docs):
        examples = "; ".join(
            f"{one.text[:40]} ({' / '.join(sorted(one.annotations))})" for one in different[:5]
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


class Contradiction(NamedTuple):
    """A text that comes with different entities, or with different categories.

    text (str): As it stands where it comes first.
    annotations (Counter[str]): What it comes with, and how often; "–" for nothing.
    places (list[int]): The numbers of the documents that are annotated so or so.
    """

    text: str
    annotations: Counter[str]
    places: list[int]


def contradictions(docs: Iterable[Doc]) -> list[Contradiction]:
    """RETURNS (list[Contradiction]): Texts that are the same but for width, case and white space,
    with different annotation."""
    entities: dict[str, list[tuple[int, Doc, tuple]]] = {}
    categories: dict[str, list[tuple[int, Doc, tuple]]] = {}
    for number, doc in enumerate(docs):
        key = plain(doc.text)
        if doc.has_annotation("ENT_IOB"):
            entities.setdefault(key, []).append((number, doc, _entities(doc)))
        if doc.cats:
            applying = sorted(label for label, value in doc.cats.items() if value)
            categories.setdefault(key, []).append((number, doc, tuple((x,) for x in applying)))
    groups = [*entities.values(), *categories.values()]
    return [
        Contradiction(
            group[0][1].text, _counted(one[2] for one in group), [one[0] for one in group]
        )
        for group in groups
        if len({one[2] for one in group}) > 1
    ]


def _entities(doc: Doc) -> tuple[tuple[str, str, int], ...]:
    """The entities of a document by what doesn't differ with width, case and white space."""
    return tuple(
        (plain(ent.text), ent.label_, len(plain(doc.text[: ent.start_char]))) for ent in doc.ents
    )


def _counted(annotations: Iterable[tuple]) -> Counter[str]:
    """How often each annotation comes, as people read it: with places only where they make the
    difference."""
    counts = Counter(annotations)
    for parts in (2, 3):
        names = [", ".join(" ".join(map(str, one[:parts])) for one in of) or "–" for of in counts]
        if len(set(names)) == len(names):
            break
    return Counter(dict(zip(names, counts.values(), strict=True)))
