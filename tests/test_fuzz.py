"""Texts that nobody writes, by the thousand: what the tokenizer promises holds for each."""

import random
import re
import sys
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import spacy
from spacy.lang.ja import JapaneseTokenizer
from spacy.tokens import Doc

from spacy_jbert.tokenizer.sudachi import SudachiTokenizer

LENGTH = 100_000
# A stretch begins anew where the half of the one before it ends, and Sudachi refuses stretches that
# are too long for it: 98,298 characters, 49,149 ...
MOST_WORK = 2 * LENGTH + 4 * 49_149


@cache
def categories() -> dict[str, list[str]]:
    """The characters of each of Unicode's general categories, but for halves of pairs, which are in
    no text.
    """
    found: dict[str, list[str]] = {}
    for character in map(chr, range(sys.maxunicode + 1)):
        found.setdefault(unicodedata.category(character), []).append(character)
    del found["Cs"]
    return found


class CountingSudachi:
    """Sudachi, and how many characters it was given."""

    def __init__(self, sudachi: Any) -> None:
        self._sudachi = sudachi
        self.given = 0

    def tokenize(self, text: str) -> Any:
        self.given += len(text)
        return self._sudachi.tokenize(text)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Cut a text into surfaces, and tell how many characters Sudachi was given for it."""
    tokenizer = SudachiTokenizer(spacy.blank("ja").vocab, attributes="words")
    sudachi = CountingSudachi(tokenizer._sudachi())
    monkeypatch.setattr(tokenizer, "_sudachi", lambda: sudachi)

    def measure(text: str) -> int:
        sudachi.given = 0
        surfaces = [surface for found, _ in tokenizer._stretches(text) for surface in found]
        assert "".join(surfaces) == text
        return sudachi.given

    return measure


@pytest.mark.parametrize("character", ["(", "（", "{", "「", "!", "あ", "ﷺ", "㍻", "\u3099", " "])
def test_work_is_bounded_on_runs(character: str, work: Callable[[str], int]) -> None:
    assert work(character * LENGTH) <= MOST_WORK


# Sudachi makes one token of all but the first character; that one ends a sentence.
@pytest.mark.parametrize("unit", ["!(", "(!", "（{", "。)", ")。", "()", "[{", "?\u3099", "\n("])
def test_work_is_bounded_on_runs_of_pairs(unit: str, work: Callable[[str], int]) -> None:
    assert work((unit * LENGTH)[:LENGTH]) <= MOST_WORK


@pytest.mark.parametrize("category", sorted(categories()))
def test_work_is_bounded_on_runs_of_each_category(
    category: str, work: Callable[[str], int]
) -> None:
    chosen = random.Random(category)
    for character in {chosen.choice(categories()[category]) for _ in range(3)}:
        assert work(character * LENGTH) <= MOST_WORK, ascii(character)


@pytest.mark.slow
@pytest.mark.parametrize("category", sorted(categories()))
def test_work_is_bounded_on_runs_of_pairs_of_categories(
    category: str, work: Callable[[str], int]
) -> None:
    chosen = random.Random(category)
    for other in categories().values():
        unit = chosen.choice(categories()[category]) + chosen.choice(other)
        assert work(unit * (LENGTH // 2)) <= MOST_WORK, ascii(unit)


def random_texts(count: int, seed: int) -> list[str]:
    """Texts of up to 120 characters: each is of a few categories, and of Japanese."""
    chosen = random.Random(seed)
    usual = [list(map(chr, range(0x3041, 0x30FF))), list("東京都国家公務員はが。、（）()１２ 3\n")]
    texts = []
    for _ in range(count):
        pools = [*chosen.sample(list(categories().values()), 3), *usual]
        length = chosen.randrange(120)
        texts.append("".join(chosen.choice(chosen.choice(pools)) for _ in range(length)))
    return texts


def facts(doc: Doc) -> list[tuple[Any, ...]]:
    return [
        (t.text_with_ws, t.tag_, t.pos_, t.lemma_, t.norm_, str(t.morph), t.is_sent_start)
        for t in doc
    ]


@pytest.mark.slow
@pytest.mark.parametrize("split_mode", ["A", "C"])
def test_random_texts(split_mode: str) -> None:
    """The text to the character, and spaCy's own Doc wherever spaCy's own can make one."""
    ours = SudachiTokenizer(spacy.blank("ja").vocab, split_mode)
    stock = JapaneseTokenizer(spacy.blank("ja").vocab, split_mode)
    compared = 0
    for text in random_texts(10_000, seed=sum(map(ord, split_mode))):
        doc = ours(text)
        assert doc.text == text
        try:
            expected = stock(text)
        except ValueError:
            continue
        assert facts(doc) == facts(expected), ascii(text)
        assert doc.user_data == expected.user_data, ascii(text)
        compared += 1
    assert compared > 9000


@pytest.mark.parametrize(
    "unit", ["1,9", "12 34", "一年九", "⅑", "↉", "⒇4", "㉕-", "0.5\t", "１：２"]
)
def test_few_numbers_at_once(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sudachi joins numbers in a time that goes with the square of how many there are."""
    tokenizer = SudachiTokenizer(spacy.blank("ja").vocab, attributes="words")
    sudachi = tokenizer._sudachi()
    numbers: list[int] = []

    class Counting:
        def tokenize(self, text: str) -> Any:
            numbers.append(len(re.findall(r"\d+|[^\W\d]+|[⅑↉⒇㉕]", text)))
            return sudachi.tokenize(text)

    monkeypatch.setattr(tokenizer, "_sudachi", Counting)
    text = (unit * LENGTH)[:LENGTH]
    assert tokenizer(text).text == text
    assert max(numbers) <= 2 * 1024 + 2  # of 一年九 every second is a number
