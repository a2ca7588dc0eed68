"""Labelled sentences -> a labelled stream of news, with surges of bad news planted in it.

Each company has news that come by chance, at a rate of its own share of negative ones; during a
surge more negative ones come. Names are written as the press does: with 株式会社, ㈱ or neither,
before or behind, in full or half width. Sentences are real ones of chABSA's test part
(project/corpus/chabsa/polarity.jsonl), each of its own company, or the scenario's own.
"""

import random
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import srsly
import typer

from spacy_jbert.corpora.companies import FORMS, Company, read_companies
from spacy_jbert.corpora.readers import Row, read_rows
from spacy_jbert.errors import DataError, Errors
from spacy_jbert.storage import replacing
from spacy_jbert.terminal import run

BEGIN = datetime(2026, 1, 5, tzinfo=timezone(timedelta(hours=9)))
WARM_UP = 10.0
"""Days without a surge at the beginning, and at least between two of a company."""


class Sentence(NamedTuple):
    """company (str): The code of its own company; empty if it can be said of any."""

    text: str
    polarity: str
    company: str


@dataclass(frozen=True)
class Surge:
    """Planted. begin, end (float): Days. items (int): Negative ones that come on top."""

    company: str
    begin: float
    end: float
    items: int


class Item(NamedTuple):
    """A news item to come. time (float): Days. surge (bool): Whether it comes with one."""

    time: float
    company: str
    polarity: str
    surge: bool


def main(
    sentences: Path,
    out: Path,
    companies: Annotated[
        Path | None, typer.Option(help="A table; else it is made of the sentences' companies")
    ] = None,
    days: float = 90.0,
    rate: Annotated[float, typer.Option(help="News a day and company")] = 2.0,
    negative: Annotated[float, typer.Option(help="Share of negative ones")] = 0.25,
    surges: Annotated[int, typer.Option(help="Surges to plant")] = 40,
    size: Annotated[str, typer.Option(help="Negative items of a surge, from-to")] = "6-12",
    hours: Annotated[float, typer.Option(help="Length of a surge")] = 24.0,
    seed: int = 42,
) -> None:
    """Write stream.jsonl, surges.jsonl and companies.jsonl to the folder `out`."""
    rows = [row for row in read_rows(sentences) if row.get("split") == "test"]
    pool = [sentence_of(row) for row in rows]
    table = read_companies(companies) if companies is not None else companies_of(rows)
    chance = random.Random(seed)
    least, most = (int(bound) for bound in size.split("-"))
    planted = plant(table, chance, surges=surges, days=days, hours=hours, size=(least, most))
    items = timeline(table, planted, chance, days=days, rate=rate, negative=negative)
    records = [news(n, item, table, pool, chance) for n, item in enumerate(items)]
    targets = [out / name for name in ("stream.jsonl", "surges.jsonl", "companies.jsonl")]
    with replacing(*targets) as (stream, gold, names):
        srsly.write_jsonl(stream, records)
        srsly.write_jsonl(gold, (asdict(surge) | times(surge) for surge in planted))
        aliases = (asdict(company) | {"aliases": ";".join(company.aliases)} for company in table)
        srsly.write_jsonl(names, aliases)
    print(f"{len(records):,} items of {len(table)} companies in {days:g} days, {surges} surges")


def sentence_of(row: Row) -> Sentence:
    """RETURNS (Sentence): Of chABSA, or the scenario's own with {name}."""
    own = "{name}" in row.text("text")
    polarity = row.get("polarity" if own else "label")
    return Sentence(row.text("text"), polarity, "" if own else row.get("company"))


def companies_of(rows: Iterable[Row]) -> list[Company]:
    """RETURNS (list[Company]): Those that chABSA's records name; codes are EDINET's."""
    found = {row.get("company"): (row.get("name"), row.get("sector")) for row in rows}
    return [Company(code, name, sector) for code, (name, sector) in sorted(found.items())]


def plant(
    table: Sequence[Company],
    chance: random.Random,
    *,
    surges: int,
    days: float,
    hours: float,
    size: tuple[int, int],
) -> list[Surge]:
    """RETURNS (list[Surge]): Surges at random, none of a company soon after another of it."""
    found: list[Surge] = []
    for _ in range(1000 * surges):
        if len(found) == surges:
            break
        company = chance.choice(table).code
        begin = chance.uniform(WARM_UP, days - hours / 24 - 1)
        others = [surge for surge in found if surge.company == company]
        if all(abs(surge.begin - begin) >= WARM_UP for surge in others):
            found.append(Surge(company, begin, begin + hours / 24, chance.randint(*size)))
    if len(found) < surges:
        raise DataError(Errors.J576.format(count=surges, days=days))
    return sorted(found, key=lambda surge: surge.begin)


def timeline(
    table: Sequence[Company],
    planted: Iterable[Surge],
    chance: random.Random,
    *,
    days: float,
    rate: float,
    negative: float,
) -> list[Item]:
    """RETURNS (list[Item]): What comes by chance and with surges, by time."""
    items: list[Item] = []
    for company in table:
        time = chance.expovariate(rate)
        while time < days:
            bad = chance.random() < negative
            polarity = "negative" if bad else chance.choices(["positive", "neutral"], [9, 1])[0]
            items.append(Item(time, company.code, polarity, False))
            time += chance.expovariate(rate)
    for surge in planted:
        for _ in range(surge.items):
            time = chance.uniform(surge.begin, surge.end)
            items.append(Item(time, surge.company, "negative", True))
    return sorted(items)


def news(
    number: int,
    item: Item,
    table: Sequence[Company],
    pool: Sequence[Sentence],
    chance: random.Random,
) -> dict[str, Any]:
    """RETURNS (dict): An item as a line of the stream, with what is true of it under `gold`."""
    company = next(company for company in table if company.code == item.company)
    fitting = [s for s in pool if s.polarity == item.polarity and s.company in ("", item.company)]
    # Not every company has a sentence of every polarity.
    among = fitting or [s for s in pool if s.polarity == item.polarity]
    sentence = chance.choice(among)
    name = written(company, chance)
    if sentence.company:
        text = f"【{name}】{sentence.text}"
    else:
        text = sentence.text.replace("{name}", name)
    gold = {"company": item.company, "polarity": item.polarity, "surge": item.surge}
    return {"id": f"n{number}", "time": moment(item.time), "text": text, "gold": gold}


def written(company: Company, chance: random.Random) -> str:
    """RETURNS (str): A company's name in one of the ways in which people write it."""
    name = unicodedata.normalize("NFKC", company.name)
    for form in FORMS:
        name = name.removeprefix(form).removesuffix(form)
    name = chance.choice([name, name, *company.aliases])
    widths: list[Callable[[str], str]] = [str, str, full_width, half_width]
    name = chance.choice(widths)(name)
    patterns = [
        "{}",
        "{}",
        "株式会社{}",
        "{}株式会社",
        "㈱{}",
        "{}㈱",
        "(株){}",
        "{}（株）",
        "㈱ {}",
    ]
    return chance.choice(patterns).format(name)


def full_width(text: str) -> str:
    """RETURNS (str): ASCII in full width."""
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def half_width(text: str) -> str:
    """RETURNS (str): Katakana in half width."""
    narrow = {unicodedata.normalize("NFKC", chr(code)): chr(code) for code in range(0xFF66, 0xFF9E)}
    marks = {"\u3099": "\uff9e", "\u309a": "\uff9f"}
    parts = unicodedata.normalize("NFD", text)
    katakana = (narrow | marks).get
    changed = "".join(katakana(char, char) for char in parts)
    # Marks behind what has no half width are composed again.
    return unicodedata.normalize("NFC", changed)


def moment(days: float) -> str:
    """RETURNS (str): Days of the timeline as ISO 8601."""
    return (BEGIN + timedelta(days=days)).isoformat(timespec="seconds")


def times(surge: Surge) -> dict[str, str]:
    """RETURNS (dict): Begin and end of a surge as ISO 8601."""
    return {"begin": moment(surge.begin), "end": moment(surge.end)}


if __name__ == "__main__":
    run(main)
