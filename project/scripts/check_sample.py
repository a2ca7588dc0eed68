"""Check the embedded sample: spans, labels, topics, sentiments, duplicates. Prints what it holds;
exits 1 if anything is wrong.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import typer

from spacy_jbert.terminal import run

LABELS = {"人名", "組織名", "地名", "施設名", "製品名", "イベント名", "日付", "金額"}
TOPICS = {
    "経済・金融",
    "行政・暮らし",
    "旅行・観光",
    "医療・健康",
    "スポーツ",
    "IT・技術",
    "グルメ",
    "商品・サポート",
    "文化・芸能",
    "災害・交通",
}
SENTIMENTS = {"positive", "neutral", "negative"}
FIELDS = {"text", "entities", "topic", "sentiment", "register"}
# No name begins or ends with these.
BORDERS = " 　、。"


def main(path: Path) -> None:
    """Check every record of the sample.

    path (Path): JSONL with text, entities ([start, end, label]), topic, sentiment and register.
    """
    problems: list[str] = []
    counts = {
        "topic": Counter[str](),
        "sentiment": Counter[str](),
        "register": Counter[str](),
        "entities": Counter[str](),
    }
    lines = path.read_text(encoding="utf-8").splitlines()
    texts: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        record = json.loads(line)
        problems += [f"line {number}: {problem}" for problem in _problems(record)]
        if record["text"] in texts:
            problems.append(f"line {number}: the same text as line {texts[record['text']]}")
        texts[record["text"]] = number
        for field in ("topic", "sentiment", "register"):
            counts[field][record[field]] += 1
        counts["entities"].update(label for _, _, label in record["entities"])
    for name, counter in counts.items():
        print(f"{name}: " + ", ".join(f"{value} {count}" for value, count in counter.most_common()))
    print(f"{len(lines)} texts, {sum(map(len, texts)):,} characters")
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise typer.Exit(1)


def _problems(record: dict) -> list[str]:
    if set(record) != FIELDS:
        return [f"fields {sorted(record)}"]
    text, problems = record["text"], []
    if record["topic"] not in TOPICS:
        problems.append(f"topic {record['topic']}")
    if record["sentiment"] not in SENTIMENTS:
        problems.append(f"sentiment {record['sentiment']}")
    last = 0
    for start, end, label in record["entities"]:
        name = text[start:end]
        if not last <= start < end <= len(text):
            problems.append(f"span {start}-{end} overlaps, is empty or out of range")
        if label not in LABELS:
            problems.append(f"label {label}")
        if name and (name[0] in BORDERS or name[-1] in BORDERS):
            problems.append(f"{name!r} begins or ends with punctuation")
        last = end
    return problems


if __name__ == "__main__":
    run(main)
