"""Incoming queries -> JSON lines: intent or none, slots, FAQ candidates.

A record has `text`; what else it has (an id, a time) stands in the answer too, but for what the
answer has of its own.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import spacy
import typer
from tqdm import tqdm

from spacy_jbert.cli.output import coded_errors
from spacy_jbert.corpora.readers import read_rows
from spacy_jbert.corpora.values import json_line
from spacy_jbert.search.index import Index
from spacy_jbert.search.support import Desk, Reply, read_query
from spacy_jbert.storage import replacing
from spacy_jbert.terminal import run


def main(
    model: Annotated[str, typer.Argument(help="A pipeline: installed, or a folder")],
    queries: Annotated[Path, typer.Argument(help="JSONL, CSV, TSV, Excel, Parquet with `text`")],
    out: Annotated[Path, typer.Option(help="JSON lines to write")],
    faq: Annotated[Path | None, typer.Option(help="An index of FAQ entries")] = None,
    by: Annotated[
        Literal["vectors", "words", "hybrid"] | None, typer.Option(help="What FAQ search goes by")
    ] = None,
    n: Annotated[int, typer.Option(help="How many FAQ entries", min=1)] = 5,
) -> None:
    """Answer queries."""
    with coded_errors(), replacing(out) as (new,):
        nlp = spacy.load(model)
        desk = Desk(nlp, None if faq is None else Index.load(faq, nlp), n=n, by=by)
        rows = ((read_query(row, nlp.max_length), row.fields) for row in read_rows(queries))
        pairs = nlp.pipe(rows, as_tuples=True)
        with new.open("wb") as file:
            for doc, fields in tqdm(pairs, unit=" queries", delay=2):
                file.write(json_line(fields | record(desk.reply(doc))))


def record(reply: Reply) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): A reply as JSON has it."""
    return {
        "text": reply.text,
        "intent": reply.intent,
        "confidence": round(reply.confidence, 4),
        "slots": [slot._asdict() for slot in reply.slots],
        "faq": [candidate._asdict() for candidate in reply.faq],
    }


if __name__ == "__main__":
    run(main)
