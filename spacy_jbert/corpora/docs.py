"""Texts with entities to Docs, in which every entity is kept; Docs out of DocBins."""

import math
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import srsly
from spacy.lang.ja import Japanese
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab, create_vocab

from ..errors import DataError, Errors, Warnings
from ..tokenizer.sudachi import SudachiTokenizer
from .lines import check_file
from .values import Notes, read_label, shortened, trimmed

Entity = tuple[int, int, str]
"""Start and end, counted in characters, and label."""

QUESTIONS_KEY = ("._.", "jbert_questions", None, None)
"""Where user data has `doc._.jbert_questions`."""


def find_docbins(path: Path) -> list[Path]:
    """RETURNS (list[Path]): The file, or all .spacy files in the folder.

    RAISES: DataError J226 if there is none.
    """
    files = (
        sorted(file for file in path.rglob("*") if file.suffix.lower() == ".spacy")
        if path.is_dir()
        else [path]
    )
    if not files:
        raise DataError(Errors.J226, path=path)
    return files


def read_docbin(path: Path, vocab: Vocab) -> list[Doc]:
    """RETURNS (list[Doc]): The documents of a DocBin.

    RAISES: DataError J201, J202, J224 for a file that is missing, empty or damaged, J232 for
        categories with other values than 0 to 1.
    """
    check_file(path)
    try:
        raw = path.read_bytes()
        _check_lengths(srsly.msgpack_loads(_unpack(raw)))
        docs = list(DocBin().from_bytes(raw).get_docs(vocab))
        # A string that the file lacks shows when the text is put together.
        _ = [doc.text for doc in docs]
    except OSError:
        raise
    except (
        Exception
    ) as error:  # zlib, msgpack, numpy and spaCy each have their own for bytes that make no sense
        raise DataError(
            Errors.J224.format(reason=f"{type(error).__name__}: {shortened(str(error))}"), path=path
        ) from error
    for number, doc in enumerate(docs, 1):
        for label, value in doc.cats.items():
            number_like = isinstance(value, (int, float)) and math.isfinite(value)
            if not number_like or not 0 <= value <= 1:
                message = Errors.J232.format(label=label, number=number, value=shortened(value))
                raise DataError(message, path=path)
    return docs


def _unpack(raw: bytes) -> bytes:
    # What people write packs to a tenth; a small file made to fill the memory, to a thousandth.
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(raw, 100 * len(raw) + 100_000_000)
    if unpacker.unconsumed_tail:
        raise ValueError("it unpacks to more than a hundred times its size")
    return data


def _check_lengths(parts: Any) -> None:
    """Refuse what spaCy would cut off without a word."""
    lengths = np.frombuffer(parts["lengths"], dtype="int32").astype("int64")
    total = int(lengths.sum())
    if (lengths < 0).any():
        raise ValueError("a document has fewer than 0 tokens")
    if len(parts["spaces"]) != total or len(parts["tokens"]) != 8 * total * len(parts["attrs"]):
        raise ValueError("the lengths of the documents don't add up")
    for name in ("cats", "flags"):
        if name in parts and len(parts[name]) != len(lengths):
            raise ValueError(f"{name} for {len(parts[name])} of {len(lengths)} documents")
    for cats in parts.get("cats", ()):
        if not isinstance(cats, dict) or not all(isinstance(label, str) for label in cats):
            raise ValueError("categories are not labels with their values")


def trim_entities(text: str, entities: Sequence[Entity], notes: Notes) -> list[Entity]:
    """Leave out white space at the ends of entities, and entities that are nothing else. An encoder
    never sees it, so such an entity is learned but can't be predicted.

    notes (Notes): Told how many were changed (JW207) and left out (JW208).
    """
    kept: list[Entity] = []
    for start, end, label in entities:
        first, last = trimmed(text, start, end)
        notes[Warnings.JW208] += first == last
        notes[Warnings.JW207] += first < last and (first, last) != (start, end)
        if first < last:
            kept.append((first, last, label))
    return kept


def clean_annotation(doc: Doc, notes: Notes, path: Path | None = None) -> Doc:
    """Do for a Doc with gold tokens what is done for rows: trim entities and labels, counting it.
    A token that holds white space at the end of an entity is cut.

    RETURNS (Doc): The same Doc.
    RAISES: DataError J214, J215, J229 for labels that can't be used.
    """
    if any(
        trimmed(label, 0, len(label)) != (0, len(label)) or not label.isprintable()
        for label in doc.cats
    ):
        cats: dict[str, float] = {}
        for label, value in doc.cats.items():
            name = read_label(label, notes, path=path)
            # "pos" and "pos " are one: it applies if either does.
            cats[name] = max(value, cats.get(name, 0.0))
        doc.cats = cats
    old = [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]
    new = trim_entities(doc.text, old, notes)
    new = [(start, end, read_label(label, notes, path=path)) for start, end, label in new]
    if new == old:
        return doc
    borders = {border for start, end, _ in new for border in (start, end)}
    with doc.retokenize() as retokenizer:
        for token in doc:
            inside = sorted(
                border - token.idx
                for border in borders
                if token.idx < border < token.idx + len(token)
            )
            if inside:
                orths = [token.text[start:end] for start, end in pairwise([0, *inside, len(token)])]
                retokenizer.split(token, orths, heads=[(token, 0)] * len(orths))
    # What was an entity and is none any more is outside; unset and blocked tokens stay so.
    spans = [doc.char_span(start, end, label) for start, end, label in new]
    taken = {token.i for span in spans for token in span}
    left = [doc[token.i : token.i + 1] for token in doc if token.ent_type and token.i not in taken]
    doc.set_ents(spans, outside=left, default="unmodified")
    return doc


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


def labels_of(doc: Doc) -> list[str]:
    """The labels of a Doc's entities and the categories that apply to it."""
    return [entity.label_ for entity in doc.ents] + [
        label for label, value in doc.cats.items() if value
    ]
