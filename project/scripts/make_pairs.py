"""Pairs to try train_seq2seq.py on: dates in Japanese eras, or the headlines of articles.

python project/scripts/make_pairs.py dates OUT
python project/scripts/make_pairs.py headlines OUT TEXT [TEXT ...]

OUT gets train.tsv, dev.tsv and test.tsv. TEXT is raw text as for pretraining, in which the
first line of an article is its headline."""

import csv
import datetime
import random
from pathlib import Path
from typing import Annotated, Literal

import typer

from spacy_jbert.errors import DataError, Errors
from spacy_jbert.pretraining.text import find_files, read_documents
from spacy_jbert.seq2seq.pairs import Pair
from spacy_jbert.storage import replacing
from spacy_jbert.terminal import run

# The first day of each era from which on Japan counts days as others do.
_ERAS = [
    ("令和", datetime.date(2019, 5, 1)),
    ("平成", datetime.date(1989, 1, 8)),
    ("昭和", datetime.date(1926, 12, 25)),
    ("大正", datetime.date(1912, 7, 30)),
    ("明治", datetime.date(1873, 1, 1)),
]
_LAST = datetime.date(2030, 12, 31)
# Of 明治: years count from 1868.
_FIRST_YEARS = {"明治": 1868}
_DIGITS = "〇一二三四五六七八九"
_FRAMES = [
    "{}",
    "{}に開業した。",
    "{}生まれ。",
    "発行日は{}です。",
    "{}付けの書類",
    "{}、東京で開かれた。",
]
# Characters of an article's beginning, which its headline is made of.
_LEAD = 150


def main(
    what: Annotated[Literal["dates", "headlines"], typer.Argument()],
    out: Annotated[Path, typer.Argument(help="Folder for train.tsv, dev.tsv, test.tsv")],
    texts: Annotated[list[str] | None, typer.Argument(help="Raw text, for headlines")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    most: Annotated[int, typer.Option(min=10, help="Pairs in all")] = 8000,
) -> None:
    chance = random.Random(seed)
    pairs = dates(chance, most) if what == "dates" else headlines(texts or [], most)
    if len(pairs) < 10:
        raise DataError(Errors.J557.format(needed="texts for at least 10 pairs"), path=out)
    chance.shuffle(pairs)
    tenth = len(pairs) // 10
    parts = {"test": pairs[:tenth], "dev": pairs[tenth : 2 * tenth], "train": pairs[2 * tenth :]}
    for name, part in parts.items():
        with replacing(out / f"{name}.tsv") as (file,), file.open("w", encoding="utf-8") as stream:
            writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
            writer.writerows([Pair._fields, *part])
    print(", ".join(f"{name} {len(part):,}" for name, part in parts.items()))


def dates(chance: random.Random, most: int) -> list[Pair]:
    """RETURNS (list[Pair]): Different days, in the words of their era and in digits."""
    first = _ERAS[-1][1]
    days = chance.sample(range((_LAST - first).days), most)
    return [_date(first + datetime.timedelta(day), chance.choice(_FRAMES)) for day in days]


def _date(day: datetime.date, frame: str) -> Pair:
    era, start = next(of for of in _ERAS if of[1] <= day)
    year = day.year - _FIRST_YEARS.get(era, start.year) + 1
    spoken = "元" if year == 1 else kanji(year)
    source = f"{era}{spoken}年{kanji(day.month)}月{kanji(day.day)}日"
    return Pair(frame.format(source), f"{day.year}年{day.month}月{day.day}日")


def kanji(number: int) -> str:
    """RETURNS (str): A number from 1 to 99 in Chinese characters."""
    tens, ones = divmod(number, 10)
    begun = "" if not tens else "十" if tens == 1 else f"{_DIGITS[tens]}十"
    return begun + (_DIGITS[ones] if ones else "")


def headlines(texts: list[str], most: int) -> list[Pair]:
    """RETURNS (list[Pair]): The beginning of each article, and its headline."""
    pairs = []
    for headline, *body in read_documents(find_files(texts)):
        lead = "".join(map(str.strip, body))[:_LEAD]
        if len(lead) == _LEAD and 5 <= len(headline.strip()) <= 40:
            pairs.append(Pair(lead, headline.strip()))
    return pairs[:most]


if __name__ == "__main__":
    run(main)
