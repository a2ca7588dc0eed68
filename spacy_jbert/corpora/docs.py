"""Texts with entities to Docs, in which every entity is kept; Docs out of DocBins."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from spacy.lang.ja import Japanese
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab, create_vocab

from ..errors import DataError, Errors
from ..tokenizer.sudachi import SudachiTokenizer
from .readers import check_file

Entity = tuple[int, int, str]
"""Start and end, counted in characters, and label."""


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


def labels_of(doc: Doc) -> list[str]:
    """The labels of a Doc's entities and the categories that apply to it."""
    return [entity.label_ for entity in doc.ents] + [
        label for label, value in doc.cats.items() if value
    ]
