"""How soon surges are found in a labelled stream, and how often there is a false alarm: with gold
companies and polarities, and with those of a pipeline; at several thresholds.

A surge is found by the first alert of its company from its begin to a half-life after its end. The
delay is counted from the begin: in hours, and in negative items of this company (the one that
raises the alert included). Any other alert is a false alarm.
"""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import spacy
import typer
from rich.console import Console
from rich.table import Table
from spacy.language import Language
from tqdm import tqdm

from spacy_jbert.corpora.readers import read_rows
from spacy_jbert.corpora.values import seconds_since_1970
from spacy_jbert.pipeline.companies import EXTENSION
from spacy_jbert.streams.surges import DAY, HOUR, Surges, SurgeSettings
from spacy_jbert.terminal import run


class Event(NamedTuple):
    """A news item. codes (tuple): Of its companies. bad (bool): Whether it is negative."""

    time: float
    codes: tuple[str, ...]
    bad: bool


class Planted(NamedTuple):
    """A surge. begin, end (float): Seconds since 1970."""

    company: str
    begin: float
    end: float


class Outcome(NamedTuple):
    """hours, items: The delay of each surge that was found. false: Alarms without a surge."""

    hours: list[float]
    items: list[int]
    false: int


def main(
    stream: Path,
    surges: Path,
    model: Annotated[str | None, typer.Option(help="A pipeline, to predict with")] = None,
    table: Annotated[Path | None, typer.Option(help="A table instead of the pipeline's")] = None,
    thresholds: str = "2,3,4,5,6,8",
    half_life: float = 12.0,
    memory: float = 30.0,
    usual: float = 0.5,
    negative: str = "negative",
    threshold: float = 0.5,
) -> None:
    """Print a table of delays and false alarms."""
    rows = list(read_rows(stream))
    times = [seconds_since_1970(row.text("time")) for row in rows]
    gold = [
        Event(time, (row.get("gold.company"),), row.get("gold.polarity") == "negative")
        for time, row in zip(times, rows, strict=True)
    ]
    planted = [
        Planted(
            row.text("company"),
            seconds_since_1970(row.text("begin")),
            seconds_since_1970(row.text("end")),
        )
        for row in read_rows(surges)
    ]
    sources = {"gold": gold}
    if model is not None:
        nlp = spacy.load(model)
        if table is not None:
            nlp.get_pipe("companies").initialize(table=table)
        texts = [row.text("text") for row in rows]
        sources["predicted"] = predicted(nlp, texts, times, negative, threshold)
        tell_quality(gold, sources["predicted"])
    shown = Table("polarity, companies", "on", "found", "hours", "items", "false alarms a day")
    for name, events in sources.items():
        for on in (float(value) for value in thresholds.split(",")):
            settings = SurgeSettings(half_life, memory, usual, on=on, off=on / 3)
            outcome = measure(events, gold, planted, settings)
            days = (times[-1] - times[0]) / DAY
            found = f"{len(outcome.hours)} of {len(planted)}"
            delay = [_median(outcome.hours), _median(outcome.items)]
            shown.add_row(name, f"{on:g}", found, *delay, f"{outcome.false / days:.3f}")
    Console(highlight=False, width=100).print(shown)


def predicted(
    nlp: Language, texts: Sequence[str], times: Iterable[float], negative: str, threshold: float
) -> list[Event]:
    """RETURNS (list[Event]): What a pipeline makes of the texts."""
    distinct = list(dict.fromkeys(texts))
    said: dict[str, tuple[tuple[str, ...], bool]] = {}
    for doc in tqdm(nlp.pipe(distinct), total=len(distinct), delay=2, unit=" texts"):
        codes = {codes[0] for _, _, codes in doc._.get(EXTENSION) if len(codes) == 1}
        said[doc.text] = (tuple(sorted(codes)), doc.cats[negative] >= threshold)
    return [Event(time, *said[text]) for time, text in zip(times, texts, strict=True)]


def tell_quality(gold: Sequence[Event], said: Sequence[Event]) -> None:
    """Print how many items have the right company, and precision and recall of negative ones."""
    pairs = list(zip(gold, said, strict=True))
    linked = sum(true.codes == found.codes for true, found in pairs)
    wrong = sum(not set(found.codes) <= set(true.codes) for true, found in pairs)
    both = sum(true.bad and found.bad for true, found in pairs)
    true_bad, found_bad = sum(e.bad for e in gold), sum(e.bad for e in said)
    print(f"companies: {linked / len(pairs):.1%} right, {wrong / len(pairs):.1%} of another one")
    print(f"negative: precision {both / max(found_bad, 1):.1%}, recall {both / true_bad:.1%}")


def measure(
    events: Iterable[Event],
    gold: Sequence[Event],
    planted: Sequence[Planted],
    settings: SurgeSettings,
) -> Outcome:
    """Run the detector over events.

    gold (Sequence[Event]): What is true, by which items are counted.
    """
    detector = Surges(settings)
    alerts: list[tuple[str, float]] = []
    for event in events:
        changes = detector.advance(event.time)
        for code in event.codes if event.bad else ():
            changes += detector.add(code, event.time)
        alerts += [(change.key, change.time) for change in changes if change.kind == "surge"]
    hours: list[float] = []
    items: list[int] = []
    grace = settings.half_life * HOUR
    explained: set[tuple[str, float]] = set()
    for surge in planted:
        within = [
            (code, time)
            for code, time in alerts
            if code == surge.company and surge.begin <= time <= surge.end + grace
        ]
        explained.update(within)
        if within:
            found = within[0][1]
            hours.append((found - surge.begin) / HOUR)
            items.append(_count(gold, surge, found))
    return Outcome(hours, items, len(set(alerts) - explained))


def _count(gold: Iterable[Event], surge: Planted, until: float) -> int:
    """Negative items of the company from a surge's begin until a time."""
    return sum(e.bad and surge.company in e.codes and surge.begin <= e.time <= until for e in gold)


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f}" if values else "-"


if __name__ == "__main__":
    run(main)
