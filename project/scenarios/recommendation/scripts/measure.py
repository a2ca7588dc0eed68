"""Lists made of earlier clicks, measured on later ones: recall@10 and nDCG@10 of popularity, BM25
and vectors, over all items, over warm ones (somebody clicked on them before) and over cold ones.

A user's list has only items of the kind that is measured, and none that the user clicked on before;
wanted is what the user then did click on. Of each kind those users count who clicked on such.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import spacy
import typer
from spacy.language import Language
from tqdm import tqdm

from spacy_jbert.cli.output import coded_errors
from spacy_jbert.errors import DataError, Errors
from spacy_jbert.evaluation.ranking import ndcg_at, recall_at
from spacy_jbert.search.index import Hit, Index
from spacy_jbert.search.recommend import Click, Recommender, by_user, read_clicks
from spacy_jbert.storage import replacing
from spacy_jbert.terminal import run

N = 10
DIVERSITIES = (0.0, 0.3, 0.5, 0.7)
Lists = dict[str, list[str]]
"""For each user all items, the best first."""


def main(
    model: Annotated[str, typer.Argument(help="The pipeline that made the index")],
    items: Annotated[Path, typer.Argument(help="The index")],
    before: Annotated[Path, typer.Argument(help="Clicks to know users by")],
    after: Annotated[Path, typer.Argument(help="Later clicks")],
    out: Annotated[Path | None, typer.Option(help="A JSON file for the figures")] = None,
) -> None:
    """Measure recommendations."""
    with coded_errors():
        nlp = spacy.load(model)
        index = Index.load(items, nlp)
        earlier, later = by_user(read_clicks(before)), by_user(read_clicks(after))
        known = set(index.ids())
        users = [user for user in later if any(c.item in known for c in earlier.get(user, ()))]
        if not users:
            raise DataError(Errors.J589.format(items=items), path=before)
        clicked = {click.item for clicks in earlier.values() for click in clicks}
        warm = [id for id in index.ids() if id in clicked]
        cold = [id for id in index.ids() if id not in clicked]
        figures: dict[str, Any] = {"users": len(users), "warm": len(warm), "cold": len(cold)}
        for name, lists in everybody(index, earlier, users).items():
            figures[name] = {
                kind: scores(lists, earlier, later, among)
                for kind, among in (("all", warm + cold), ("warm", warm), ("cold", cold))
            }
        figures["diversity"] = diversities(index, nlp, earlier, later, users)
        text = json.dumps(figures, ensure_ascii=False, indent=2)
        print(text)
        if out is not None:
            with replacing(out) as (new,):
                new.write_text(text + "\n", encoding="utf-8")


def everybody(
    index: Index, earlier: dict[str, list[Click]], users: Sequence[str]
) -> dict[str, Lists]:
    """RETURNS (dict): Each way's lists."""
    counts = Counter(click.item for clicks in earlier.values() for click in clicks)
    # Of equal ones the order is that of the index, which is by chance.
    popular = sorted(index.ids(), key=lambda id: -counts[id])
    last = Recommender(index, recent=5)
    ways: dict[str, Callable[[list[Click]], list[Hit]]] = {
        "BM25, the last 5 clicks": partial(last.recommend, n=len(index), by="words"),
        "vectors, the last 5 clicks": partial(last.recommend, n=len(index)),
    }
    for name, recommender in (
        ("vectors, all alike", Recommender(index, half_life=1e6)),
        ("vectors, half-life 30 days", Recommender(index, half_life=30.0)),
        ("vectors, half-life 7 days", Recommender(index, half_life=7.0)),
        ("vectors, the last visit", Recommender(index, session=0.5)),
    ):
        ways[name] = partial(recommender.recommend, n=len(index))
    lists: dict[str, Lists] = {"popularity": dict.fromkeys(users, popular)}
    for name, way in ways.items():
        lists[name] = {
            user: [hit.id for hit in way(earlier[user])] for user in tqdm(users, desc=name, delay=2)
        }
    return lists


def scores(
    lists: Lists,
    earlier: dict[str, list[Click]],
    later: dict[str, list[Click]],
    among: Collection[str],
) -> dict[str, Any]:
    """RETURNS (dict): The means over users who want something among these items."""
    allowed = set(among)
    recalls, gains = [], []
    for user, ranked in lists.items():
        seen = {click.item for click in earlier[user]}
        wanted = {click.item for click in later[user] if click.item in allowed} - seen
        if not wanted:
            continue
        listed = [id for id in ranked if id in allowed and id not in seen]
        recalls.append(recall_at(listed, wanted, N))
        gains.append(ndcg_at(listed, wanted, N))
    return {"users": len(recalls), "recall@10": _mean(recalls), "nDCG@10": _mean(gains)}


def diversities(
    index: Index,
    nlp: Language,
    earlier: dict[str, list[Click]],
    later: dict[str, list[Click]],
    users: Sequence[str],
) -> dict[str, dict[str, float | None]]:
    """RETURNS (dict): By diversity: nDCG, how alike a list's items are to each other (the mean
    cosine), and of how many topics they are, where the items have some. The latter two are of
    users whose list has two items or more; None where there is nobody.
    """
    rows = {id: row for row, id in enumerate(index.ids())}
    figures: dict[str, dict[str, float | None]] = {}
    for diversity in DIVERSITIES:
        recommender = Recommender(index, half_life=7.0, diversity=diversity)
        gains, alike, topics = [], [], []
        for user in users:
            found = recommender.recommend(earlier[user], N)
            wanted = {click.item for click in later[user]} - {c.item for c in earlier[user]}
            if wanted:
                gains.append(ndcg_at([hit.id for hit in found], wanted, N))
            if len(found) < 2:
                # They clicked on nearly everything before.
                continue
            vectors = np.stack([index.vector(rows[hit.id]) for hit in found])
            cosines = (vectors @ vectors.T)[np.triu_indices(len(found), 1)]
            alike.append(float(cosines.mean()))
            topics.append(len({hit.meta.get("topic") for hit in found}))
        figures[str(diversity)] = {
            "nDCG@10": _mean(gains) if gains else None,
            "cosine of items": _mean(alike) if alike else None,
            "topics": round(float(np.mean(topics)), 2) if topics else None,
        }
    return figures


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else 0.0


if __name__ == "__main__":
    run(main)
