"""Items and clicks -> clicks to know people by, later ones to measure on, and pairs of texts to
tune an encoder with: what one user clicked on in one visit belongs together."""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import srsly
import typer

from spacy_jbert.cli.output import coded_errors
from spacy_jbert.corpora.readers import read_rows
from spacy_jbert.errors import DataError, Errors
from spacy_jbert.search.recommend import Click, read_clicks
from spacy_jbert.storage import replacing
from spacy_jbert.terminal import run


def main(
    items: Path,
    clicks: Path,
    out: Path,
    share: Annotated[float, typer.Option(help="Of the time that comes before", min=0, max=1)] = 0.8,
    visit: Annotated[float, typer.Option(help="Hours that end a visit", min=0)] = 0.5,
) -> None:
    """Write before.jsonl, after.jsonl and pairs.jsonl to the folder `out`."""
    with coded_errors():
        texts = {row.name("id"): row.text("text") for row in read_rows(items)}
        known = [click for click in read_clicks(clicks) if click.item in texts]
        if not known:
            raise DataError(Errors.J589.format(items=items), path=clicks)
        begin, end = known[0].time, known[-1].time
        split = begin + share * (end - begin)
        before = [click for click in known if click.time < split]
        after = [click for click in known if click.time >= split]
        pairs = [
            {"first": texts[one.item], "second": texts[other.item]}
            for one, other in together(before, visit * 3600)
        ]
        targets = [out / name for name in ("before.jsonl", "after.jsonl", "pairs.jsonl")]
        with replacing(*targets) as parts:
            for part, records in zip(parts, (dicts(before), dicts(after), pairs), strict=True):
                srsly.write_jsonl(part, records)
    print(f"{len(before):,} clicks before, {len(after):,} after, {len(pairs):,} pairs")


def together(clicks: Iterable[Click], longest: float) -> Iterable[tuple[Click, Click]]:
    """YIELDS (tuple[Click, Click]): Clicks of one user that follow each other within a time in
    seconds.
    """
    for one, other in pairwise(sorted(clicks, key=lambda click: (click.user, click.time))):
        if one.user == other.user and other.time - one.time <= longest and one.item != other.item:
            yield one, other


def dicts(clicks: Iterable[Click]) -> list[dict[str, Any]]:
    """RETURNS (list[dict]): Clicks as JSON has them."""
    return [click._asdict() for click in clicks]


if __name__ == "__main__":
    run(main)
