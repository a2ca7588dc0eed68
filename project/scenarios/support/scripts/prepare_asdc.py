"""ASDC's one-turn queries -> the files of this scenario, so that it can be measured on them.

The topic is the intent. Of each topic, some queries of the training part, drawn by chance, are the
FAQ entries: phrasings of one question, whose answer is the topic's name. No entry's text is that of
a test query.
"""

import random
from pathlib import Path
from typing import Annotated

import srsly
import typer

from spacy_jbert.corpora.readers import read_rows
from spacy_jbert.storage import replacing
from spacy_jbert.terminal import run


def main(
    source: Annotated[Path, typer.Argument(help="topic.L1.1turn… or topic.L2.misc.1turn…")],
    out: Path,
    per_topic: Annotated[int, typer.Option(help="FAQ entries of each topic", min=1)] = 20,
    several: Annotated[
        bool, typer.Option(help="Of L2: :: is a step of one topic, not between several")
    ] = False,
    seed: int = 0,
) -> None:
    """Write queries.jsonl and faq.jsonl to the folder `out`."""
    queries = [
        {
            "text": row.text("utterances.0.text"),
            "intent": row.text("meta.topic"),
            "split": row.text("purpose"),
        }
        for row in read_rows(source)
        if several or "::" not in row.text("meta.topic")
    ]
    asked = {query["text"] for query in queries if query["split"] == "test"}
    phrasings: dict[str, list[str]] = {}
    for query in queries:
        if query["split"] == "train" and query["text"] not in asked:
            phrasings.setdefault(query["intent"], []).append(query["text"])
    chance = random.Random(seed)
    faq = []
    for number, topic in enumerate(sorted(phrasings)):
        different = sorted(set(phrasings[topic]))
        for k, text in enumerate(chance.sample(different, min(per_topic, len(different)))):
            faq.append({"id": f"{number}-{k}", "question": text, "answer": topic})
    entry = {topic: f"{number}-0" for number, topic in enumerate(sorted(phrasings))}
    for query in queries:
        query["faq"] = entry[query["intent"]]
    with replacing(out / "queries.jsonl", out / "faq.jsonl") as (first, second):
        srsly.write_jsonl(first, queries)
        srsly.write_jsonl(second, faq)
    print(f"{len(queries):,} queries, {len(asked):,} different ones to test; {len(faq):,} entries")


if __name__ == "__main__":
    run(main)
