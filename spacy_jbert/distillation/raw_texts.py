"""Which sentences of raw text a teacher labels: as many as wanted, drawn by chance."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from ..errors import Errors
from ..pretraining.text import Cleaning, Document, Seen, clean, read_documents


def draw_sentences(
    files: Sequence[Path],
    *,
    limit: int,
    min_characters: int,
    max_characters: int,
    text_field: str,
    seed: int,
) -> list[str]:
    """Draw sentences from files of any size; only the drawn ones are in memory.

    files (Sequence[Path]): From `find_files`.
    limit (int): How many; all, where there are fewer.
    min_characters, max_characters (int): Shorter and longer sentences are left out, as are lines
        without a Japanese character, and all but one of the same.
    text_field (str): Where records have their text.
    seed (int): Another one draws others.
    RETURNS (list[str]): In the order of the draw.
    RAISES: ValueError J542 if there is none, and what `read_documents` raises.
    """
    key = seed.to_bytes(8, "little", signed=True)

    def lot(text: str) -> tuple[bytes, str]:
        # A number by chance that depends on nothing but the text and the seed.
        return blake2b(text.encode(), key=key, digest_size=8).digest(), text

    documents = clean(
        read_documents(files, text_field), Cleaning(min_characters=min_characters), Counter()
    )
    sentences = _sentences(documents, min_characters, max_characters)
    shown = tqdm(sentences, desc="Reading raw text", unit=" sentences")
    drawn = heapq.nsmallest(limit, map(lot, shown))
    if not drawn:
        names = ", ".join(str(file) for file in files)
        message = Errors.J542.format(path=names, least=min_characters, most=max_characters)
        raise ValueError(message)
    return [text for _, text in drawn]


def _sentences(documents: Iterable[Document], least: int, most: int) -> Iterator[str]:
    seen = Seen()
    for document in documents:
        for sentence in map(str.strip, chain.from_iterable(document.lines)):
            if least <= len(sentence) <= most and seen.add(sentence):
                yield sentence
