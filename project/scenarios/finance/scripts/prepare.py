"""The sample's texts and the scenario's own sentences -> records that `jbert convert` reads, with
their sentiment. The sentences of the part test are for the stream and the score alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spacy_jbert.corpora.companies import read_companies
from spacy_jbert.corpora.readers import read_rows
from spacy_jbert.storage import replacing
from spacy_jbert.terminal import run

NAMES = 3
"""Companies that each sentence is said of, for names not to tell the sentiment."""
DEV = 8
"""Of the sample, every so many-th text is for development."""


def main(sample: Path, news: Path, companies: Path, out: Path) -> None:
    """Write text, label and split.

    sample (Path): Texts with sentiment.
    news (Path): Sentences with {name}, polarity and split.
    companies (Path): Whose names are put in.
    out (Path): JSONL.
    """
    names = [company.name for company in read_companies(companies)]
    records = [*of_sample(sample), *of_news(news, names)]
    with replacing(out) as [part]:
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        part.write_text("".join(lines), encoding="utf-8")
    print(f"{len(records)} texts")


def of_sample(path: Path) -> Iterator[dict[str, Any]]:
    """YIELDS (dict): The texts of the sample."""
    for number, row in enumerate(read_rows(path)):
        split = "train" if number % DEV else "dev"
        yield {"text": row.text("text"), "label": row.get("sentiment"), "split": split}


def of_news(path: Path, names: list[str]) -> Iterator[dict[str, Any]]:
    """YIELDS (dict): The sentences, with names in turn."""
    for number, row in enumerate(read_rows(path)):
        for turn in range(NAMES):
            name = names[(number * NAMES + turn) % len(names)]
            text = row.text("text").replace("{name}", name)
            yield {"text": text, "label": row.get("polarity"), "split": row.get("split")}


if __name__ == "__main__":
    run(main)
