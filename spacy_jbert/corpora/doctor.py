"""What is wrong with annotated documents, as far as they themselves can tell: contradictions, leaks
between parts, rare labels, and strings that are annotated now so, now otherwise."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from spacy.tokens import Doc

from . import splits
from .docs import labels_of
from .splits import plain

# A label with fewer examples can hardly be learned.
RARE = 5
# Of a string that is annotated so often, and in such a share of its places, the others are missed.
_OFTEN, _MOSTLY = 3, 0.75
# No string is looked for that is shorter, or longer, in characters.
_SHORTEST, _LONGEST = 2, 24


class Record(NamedTuple):
    """A document, and where it is from.

    part (str): The file's name: "train".
    id (str): The record's, or else the document's number in the file, from 1.
    """

    part: str
    id: str
    doc: Doc


class Finding(NamedTuple):
    """Something to look at.

    kind (str): A name in KINDS.
    what (str): The text, string or label that it is about.
    detail (str): What is wrong with it.
    records (list[tuple[str, str]]): Part and id of each document concerned.
    score (float | None): Of likely wrong labels: the lower, the likelier.
    """

    kind: str
    what: str
    detail: str
    records: list[tuple[str, str]]
    score: float | None = None


KINDS = {
    "contradiction": "The same text with different annotation",
    "leak": "The same text, or group, in several parts",
    "rare label": f"Labels with fewer than {RARE} examples, or with none in the training part",
    "borders": "The same string with different borders",
    "not annotated": "Strings that are mostly annotated, and here aren't",
    "wrong label": "Labels that a model, trained on the other documents, takes for wrong",
}


def examine(parts: Mapping[str, Sequence[Doc]]) -> list[Finding]:
    """Look for all that needs no model.

    parts (Mapping[str, Sequence[Doc]]): The documents by the name of their part.
    RETURNS (list[Finding]): By kind, what concerns most documents first.
    """
    records = recorded(parts)
    found = [
        *contradictions(records),
        *leaks(records),
        *rare_labels(records),
        *different_borders(records),
        *not_annotated(records),
    ]
    return sorted(found, key=lambda one: (list(KINDS).index(one.kind), -len(one.records)))


def recorded(parts: Mapping[str, Sequence[Doc]]) -> list[Record]:
    """RETURNS (list[Record]): The documents of all parts, one after the other."""
    return [
        Record(part, str(doc.user_data.get("id", number)), doc)
        for part, docs in parts.items()
        for number, doc in enumerate(docs, 1)
    ]


def contradictions(records: Sequence[Record]) -> Iterator[Finding]:
    """Texts that are the same but for width, case and white space, with different entities, or
    different categories."""
    for text, annotations, places in splits.contradictions(record.doc for record in records):
        detail = " / ".join(f"{name} ×{count}" for name, count in annotations.items())
        yield Finding("contradiction", text, detail, _where(records[i] for i in places))


def leaks(records: Sequence[Record]) -> Iterator[Finding]:
    """Texts, and groups, that are in more than one part: results on them will be too good."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if "group" in record.doc.user_data:
            groups[f"group {record.doc.user_data['group']}"].append(record)
    texts = {same[0].doc.text: same for same in by_text(records).values()}
    for what, same in chain(texts.items(), groups.items()):
        if len(parts := Counter(record.part for record in same)) > 1:
            detail = ", ".join(f"{part} ×{count}" for part, count in parts.items())
            yield Finding("leak", what, detail, _where(same))


def rare_labels(records: Sequence[Record]) -> Iterator[Finding]:
    """Labels with too few examples to be learned."""
    of_label: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        for label in labels_of(record.doc):
            of_label[label].append(record)
    is_split = any(record.part == "train" for record in records)
    for label, having in of_label.items():
        in_train = sum(record.part == "train" for record in having)
        if len(having) < RARE:
            yield Finding("rare label", label, f"{len(having)} examples", _where(having))
        elif is_split and not in_train:
            detail = f"{len(having)} examples, none in train"
            yield Finding("rare label", label, detail, _where(having))


def different_borders(records: Sequence[Record]) -> Iterator[Finding]:
    """Strings that are an entity as a whole in one place, and of which only a part is one of the
    same label in another: 東京都 here, 東京 there, where 都 follows."""
    wholes: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        for ent in record.doc.ents:
            wholes[ent.text, ent.label_].append(record)
    cut: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        text = record.doc.text
        for ent in record.doc.ents:
            for start, end in _around(ent.start_char, ent.end_char, len(text)):
                if (text[start:end], ent.label_) in wholes:
                    cut[text[start:end], ent.text, ent.label_].append(record)
    for (whole, part, label), having in cut.items():
        others = wholes[whole, label]
        detail = f"{label}: the whole ×{len(others)}, only {part} ×{len(having)}"
        yield Finding("borders", whole, detail, _where([*having, *others]))


def not_annotated(records: Sequence[Record]) -> Iterator[Finding]:
    """Strings that are an entity nearly wherever they occur, and in a few places are part of
    none."""
    annotated = Counter(
        ent.text
        for record in records
        for ent in record.doc.ents
        if _SHORTEST <= len(ent.text) <= _LONGEST
    )
    often = {text for text, count in annotated.items() if count >= _OFTEN}
    lengths = sorted({len(text) for text in often})
    free: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if not record.doc.has_annotation("ENT_IOB"):
            continue
        text = record.doc.text
        taken = {
            i
            for token in record.doc
            if token.ent_iob != 2
            for i in range(token.idx, token.idx + len(token))
        }
        for start in range(len(text)):
            for length in lengths:
                end = start + length
                string = text[start:end]
                if string not in often or not taken.isdisjoint(range(start, end)):
                    continue
                # One that is cut out of a longer word is another word.
                if record.doc.char_span(start, end) is not None:
                    free[string].append(record)
    for string, having in free.items():
        count = annotated[string]
        if count / (count + len(having)) >= _MOSTLY:
            detail = f"annotated ×{count}, not annotated ×{len(having)}"
            yield Finding("not annotated", string, detail, _where(having))


def _around(start: int, end: int, length: int) -> Iterator[tuple[int, int]]:
    """Longer stretches with the same one in them."""
    for first in range(max(0, end - _LONGEST), start + 1):
        for last in range(end, min(length, first + _LONGEST) + 1):
            if (first, last) != (start, end):
                yield first, last


def by_text(records: Iterable[Record]) -> dict[str, list[Record]]:
    """RETURNS (dict): The records of each text, but for width, case and white space."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[plain(record.doc.text)].append(record)
    return found


def _where(records: Iterable[Record]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((record.part, record.id) for record in records))
