"""Text to Docs, ours and `spacy.ja.JapaneseTokenizer`: characters a second, and memory over
millions of tokens of real text.

The table has memory at a million tokens. `python -m tests.benchmarks.tokenizer` prints the whole
curve, up to ten million (Linux only)."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import spacy
from spacy.lang.ja import JapaneseTokenizer
from spacy.language import Language

from spacy_jbert.tokenizer.sudachi import SudachiTokenizer

from .measure import ROOT, Row, Settings, compare, race, real_lines

CHARACTERS = 100_000
MILLIONS = (1, 2, 5, 10)
TOKENIZERS = ("ours", "words", "stock", "ours in zones", "stock in zones")
# A memory zone for so many texts.
_ZONE = 1000


class Point(NamedTuple):
    """Memory after so many tokens, in MB above that at the start, without the mapped dictionary;
    and what the vocabulary holds then.
    """

    tokens: int
    megabytes: float
    strings: int
    lexemes: int


def run(settings: Settings) -> Iterator[Row]:
    """RETURNS (Iterator[Row]): Speed in the split modes, and memory."""
    lines = real_lines(CHARACTERS)
    characters = sum(map(len, lines))
    texts = {
        "lines": lines,
        "texts of 4,000 characters": [
            "\n".join(lines)[at : at + 4000] for at in range(0, characters, 4000)
        ],
    }
    for kind, some in texts.items():
        for split_mode in ("A", "C") if kind == "lines" else ("A",):
            stock = JapaneseTokenizer(spacy.blank("ja").vocab, split_mode)
            for attributes, goal in (("all", 4.0), ("words", 6.0)):
                ours = SudachiTokenizer(spacy.blank("ja").vocab, split_mode, attributes=attributes)
                yield race(
                    f"tokenizer, {kind}, mode {split_mode}, {attributes}",
                    work=characters,
                    unit="characters/s",
                    ours=lambda ours=ours, some=some: _tokenize(ours, some),
                    stock=lambda stock=stock, some=some: _tokenize(stock, some),
                    settings=settings,
                    goal=goal if split_mode == "A" else None,
                )
    pairs = [(curve("ours", [1_000_000])[0].megabytes, curve("stock", [1_000_000])[0].megabytes)]
    yield compare("tokenizer, memory at a million tokens", "MB", pairs, less_is_better=True)


def _tokenize(tokenizer: Any, texts: Iterable[str]) -> None:
    for text in texts:
        tokenizer(text)


def curve(name: str, tokens: list[int]) -> list[Point]:
    """Run one of the tokenizers in a process of its own.

    name (str): One of TOKENIZERS.
    tokens (list[int]): When to look at the memory.
    """
    command = [sys.executable, "-m", "tests.benchmarks.tokenizer", name, *map(str, tokens)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return [Point(*point) for point in json.loads(printed)]


def _measure(name: str, tokens: list[int]) -> list[Point]:
    nlp = spacy.blank("ja")
    kind = name.split()[0]
    if kind == "stock":
        nlp.tokenizer = JapaneseTokenizer(nlp.vocab, "A")
    else:
        nlp.tokenizer = SudachiTokenizer(
            nlp.vocab, "A", attributes="words" if kind == "words" else "all"
        )
    # 1.6 characters a token; a margin in front of the last look.
    lines = real_lines(2 * max(tokens))
    nlp("最初の文。")
    base = _megabytes()
    points: list[Point] = []
    done = 0
    for at in range(0, len(lines), _ZONE):
        done += _count(nlp, lines[at : at + _ZONE], zone=name.endswith("zones"))
        while len(points) < len(tokens) and done >= tokens[len(points)]:
            gc.collect()
            points.append(Point(done, _megabytes() - base, len(nlp.vocab.strings), len(nlp.vocab)))
    if len(points) < len(tokens):
        raise ValueError(f"There are {done} tokens of text, not {max(tokens)}.")
    return points


def _count(nlp: Language, texts: list[str], *, zone: bool) -> int:
    if not zone:
        return sum(len(nlp.tokenizer(text)) for text in texts)
    with nlp.memory_zone():
        return sum(len(nlp.tokenizer(text)) for text in texts)


def _megabytes() -> float:
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    # Pages of mapped files count as shared.
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_measure(sys.argv[1], [int(tokens) for tokens in sys.argv[2:]])))
    else:
        for tokenizer in TOKENIZERS:
            for point in curve(tokenizer, [million * 1_000_000 for million in MILLIONS]):
                held = f"{point.strings:9,} strings {point.lexemes:9,} lexemes"
                print(
                    f"{tokenizer:15} {point.tokens:12,} tokens {point.megabytes:8.1f} MB {held}",
                    flush=True,
                )
