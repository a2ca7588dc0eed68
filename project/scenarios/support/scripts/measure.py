"""What a pipeline makes of queries whose intent and FAQ entry are known.

Prints, of intents, how many are right at each share that is answered, and what the pipeline's own
threshold keeps; of queries about anything else, how many are rejected; of FAQ search, how often an
entry with the right answer is the first, or among five of different answers.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from spacy.language import Language
from spacy.tokens import Doc
from tqdm import tqdm

from spacy_jbert.cli.output import coded_errors
from spacy_jbert.corpora.readers import Row, read_rows
from spacy_jbert.errors import DataError, Errors
from spacy_jbert.evaluation import coverage
from spacy_jbert.search.index import By, Index
from spacy_jbert.search.support import Desk, one_an_answer, read_query
from spacy_jbert.storage import replacing
from spacy_jbert.terminal import run

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
WAYS: tuple[By, ...] = ("vectors", "words", "hybrid")
FIRST = 5
"""So many candidates are looked at."""
DEPTH = 50


def main(
    model: Annotated[str, typer.Argument(help="A pipeline: installed, or a folder")],
    queries: Annotated[Path, typer.Argument(help="Records with text, split, intent, faq")],
    faq: Annotated[Path | None, typer.Option(help="An index of FAQ entries")] = None,
    others: Annotated[
        Path | None, typer.Option(help="Records with text that have no intent of these")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A JSON file for the figures")] = None,
) -> None:
    """Measure on the test part."""
    with coded_errors():
        nlp = spacy.load(model)
        rows = [row for row in read_rows(queries) if row.get("split") == "test"]
        if not rows:
            raise DataError(Errors.J590, path=queries)
        texts = [read_query(row, nlp.max_length) for row in rows]
        docs = list(tqdm(nlp.pipe(texts), total=len(rows), delay=2))
        figures: dict[str, Any] = {"queries": len(rows)}
        if any(doc.cats for doc in docs):
            figures |= intents(Desk(nlp), docs, [row.get("intent") for row in rows])
            if others is not None:
                figures["others rejected"] = rejected(nlp, others)
        if faq is not None:
            figures["faq"] = search(Index.load(faq, nlp), rows, docs)
        text = json.dumps(figures, ensure_ascii=False, indent=2)
        print(text)
        if out is not None:
            with replacing(out) as (new,):
                new.write_text(text + "\n", encoding="utf-8")


def intents(desk: Desk, docs: Sequence[Doc], gold: Sequence[str]) -> dict[str, Any]:
    """RETURNS (dict): Accuracy at coverage; what the threshold keeps, and how much is right."""
    replies = [desk.reply(doc) for doc in docs]
    right = [max(d.cats, key=d.cats.__getitem__) == g for d, g in zip(docs, gold, strict=True)]
    sure = [reply.confidence for reply in replies]
    points = coverage.curve(sure, right)
    said = [i for i, reply in enumerate(replies) if reply.intent is not None]
    return {
        "accuracy at coverage": {
            share: round(next(p for p in points if p.coverage >= share - 1e-9).accuracy, 4)
            for share in SHARES
        },
        "kept by the threshold": round(len(said) / len(docs), 4),
        "right of these": round(sum(right[i] for i in said) / max(len(said), 1), 4),
    }


def rejected(nlp: Language, others: Path) -> float:
    """RETURNS (float): The share that gets no intent."""
    texts = [read_query(row, nlp.max_length) for row in read_rows(others)]
    replies = list(Desk(nlp).replies(texts))
    return round(sum(reply.intent is None for reply in replies) / len(replies), 4)


def search(index: Index, rows: Sequence[Row], docs: Sequence[Doc]) -> dict[str, dict[str, float]]:
    """RETURNS (dict): Of each way to search, the share of queries whose answer is first, and the
    share of those that have it among five.
    """
    answers = {entry.id: entry.meta["answer"] for entry in (index[i] for i in range(len(index)))}
    gold = []
    for row in rows:
        entry = row.name("faq")
        if entry not in answers:
            raise row.error(Errors.J581.format(item=entry))
        gold.append(answers[entry])
    figures: dict[str, dict[str, float]] = {}
    for by in WAYS:
        found = index.search_docs(docs, DEPTH, by=by)
        ranked = [[hit.meta["answer"] for hit in one_an_answer(hits)[:FIRST]] for hits in found]
        pairs = list(zip(gold, ranked, strict=True))
        figures[by] = {
            "first": round(sum(answer in r[:1] for answer, r in pairs) / len(pairs), 4),
            f"recall@{FIRST}": round(sum(answer in r for answer, r in pairs) / len(pairs), 4),
        }
    return figures


if __name__ == "__main__":
    run(main)
