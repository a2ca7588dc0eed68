"""Texts that have topics -> items and clicks as a site would have them. They are made, not real.

Each user has three topics at a time, one of which is replaced now and then. A visit is about one of
them: some items of it that are published by then, popular ones more often. Some clicks are on
popular items of any topic. The last items are published so late that hardly anybody could click on
them before. Neither words nor vectors have a part in it.

Sources: records with `text` and `topic`, or JaQuAD (a file or a folder): its paragraphs are the
items, the articles that they are of the topics.
"""

import json
import random
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import Annotated, NamedTuple

import srsly
import typer

from spacy_jbert.corpora.readers import read_rows
from spacy_jbert.errors import DataError, Errors
from spacy_jbert.storage import replacing
from spacy_jbert.terminal import run

DAY = 86_400
BEGIN = 1_767_225_600
"""2026-01-01, UTC."""
INTERESTS = (0.6, 0.3, 0.1)
LATE = 0.1
"""The share of items that are published in the last fifth of the time."""
STRAY = 0.15
"""The share of clicks on any topic."""
DRIFT = 0.1
"""How often a visit begins with a new interest."""


class Item(NamedTuple):
    """published (float): Days from the beginning. appeal (float): How popular it is."""

    id: str
    text: str
    topic: str
    published: float
    appeal: float


def main(
    source: Path,
    out: Path,
    topic_field: str = "topic",
    users: int = 1000,
    days: int = 60,
    visits: Annotated[int, typer.Option(help="Of a user, on average")] = 12,
    longest: Annotated[int, typer.Option(help="Characters of an item's text")] = 200,
    seed: int = 0,
) -> None:
    """Write items.jsonl and clicks.jsonl to the folder `out`."""
    chance = random.Random(seed)
    found = of_jaquad(source) if is_jaquad(source) else of_records(source, topic_field)
    texts = [(text[:longest], topic) for text, topic in found]
    chance.shuffle(texts)
    items = [
        Item(f"i{n}", text, topic, _published(chance, days), chance.lognormvariate(0.0, 1.0))
        for n, (text, topic) in enumerate(texts)
    ]
    clicks: list[tuple[float, str, str]] = []
    by_topic: dict[str, list[Item]] = {}
    for item in items:
        by_topic.setdefault(item.topic, []).append(item)
    if len(by_topic) < len(INTERESTS):
        raise DataError(Errors.J588.format(found=len(by_topic), least=len(INTERESTS)), path=source)
    for n in range(users):
        clicks += [
            (time, f"u{n}", item) for time, item in _user(chance, items, by_topic, days, visits)
        ]
    with replacing(out / "items.jsonl", out / "clicks.jsonl") as (first, second):
        srsly.write_jsonl(first, ({"id": i.id, "text": i.text, "topic": i.topic} for i in items))
        fields = ("time", "user", "item")
        srsly.write_jsonl(
            second, (dict(zip(fields, click, strict=True)) for click in sorted(clicks))
        )
    print(
        f"{len(items):,} items of {len(by_topic)} topics, {len(clicks):,} clicks of {users} users"
    )


def is_jaquad(source: Path) -> bool:
    """RETURNS (bool): Whether a source is JaQuAD's: a folder, or one of its files."""
    return source.is_dir() or source.suffix == ".json"


def of_jaquad(source: Path) -> Iterable[tuple[str, str]]:
    """YIELDS (tuple[str, str]): Paragraphs, and the titles of their articles."""
    for path in sorted(source.glob("*.json")) if source.is_dir() else [source]:
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                yield paragraph["context"], article["title"]


def of_records(source: Path, topic_field: str) -> Iterable[tuple[str, str]]:
    """YIELDS (tuple[str, str]): Texts and topics."""
    for row in read_rows(source):
        yield row.text("text"), row.text(topic_field)


def _published(chance: random.Random, days: int) -> float:
    return chance.uniform(0.8, 1.0) * days if chance.random() < LATE else 0.0


def _user(
    chance: random.Random,
    items: list[Item],
    by_topic: dict[str, list[Item]],
    days: int,
    visits: int,
) -> Iterable[tuple[float, str]]:
    """YIELDS (tuple[float, str]): The times (seconds since 1970) and items of a user's clicks."""
    topics = sorted(by_topic)
    interests = chance.sample(topics, len(INTERESTS))
    seen: set[str] = set()
    for day in accumulate(chance.expovariate(visits / days) for _ in range(3 * visits)):
        if day >= days:
            break
        if chance.random() < DRIFT:
            interests[chance.randrange(len(interests))] = chance.choice(topics)
        (topic,) = chance.choices(interests, INTERESTS)
        for click in range(chance.randint(1, 4)):
            among = items if chance.random() < STRAY else by_topic[topic]
            left = [item for item in among if item.published <= day and item.id not in seen]
            if not left:
                continue
            (item,) = chance.choices(left, [item.appeal for item in left])
            seen.add(item.id)
            yield BEGIN + round(day * DAY) + 60 * click, item.id


if __name__ == "__main__":
    run(main)
