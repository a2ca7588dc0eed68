"""An index of items and a file of clicks -> a list for each user, as JSON lines."""

import json
from pathlib import Path
from typing import Annotated, Literal

import spacy
import typer
from tqdm import tqdm

from spacy_jbert.cli.output import coded_errors
from spacy_jbert.search.index import Index
from spacy_jbert.search.recommend import Recommender, by_user, read_clicks
from spacy_jbert.storage import replacing
from spacy_jbert.terminal import run


def main(
    model: Annotated[str, typer.Argument(help="The pipeline that made the index")],
    items: Annotated[Path, typer.Argument(help="The index")],
    clicks: Annotated[Path, typer.Argument(help="Records with user, item, time")],
    out: Annotated[Path, typer.Option(help="JSON lines to write")],
    n: Annotated[int, typer.Option(help="Items of a list", min=1)] = 10,
    by: Annotated[
        Literal["vectors", "words"], typer.Option(help="What likeness goes by")
    ] = "vectors",
    half_life: Annotated[float, typer.Option(help="Days: then a click counts half")] = 30.0,
    session: Annotated[
        float | None, typer.Option(help="Only the last visit, which so many hours end")
    ] = None,
    diversity: Annotated[float, typer.Option(help="0: the nearest; up to 1")] = 0.3,
) -> None:
    """Recommend items to everybody who clicked."""
    with coded_errors(), replacing(out) as (new,):
        recommender = Recommender(
            Index.load(items, spacy.load(model)),
            half_life=half_life,
            session=session,
            diversity=diversity,
        )
        users = by_user(read_clicks(clicks))
        with new.open("w", encoding="utf-8") as file:
            for user, theirs in tqdm(users.items(), unit=" users", delay=2):
                found = recommender.recommend(theirs, n, by=by)
                listed = [{"id": hit.id, "score": round(hit.score, 4)} for hit in found]
                file.write(json.dumps({"user": user, "items": listed}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    run(main)
