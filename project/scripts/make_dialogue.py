"""Intents and slots of ASDC's hotel queries, as records for `jbert convert --task joint`.

python project/scripts/make_dialogue.py topic.L1.1turn.VanillaUtterances.jsonl OUT.jsonl

The intent is the topic that people annotated. Slots are found by the patterns below: silver labels,
which show how intents and slots are learned together, not how well slots of people are found."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from spacy_jbert.corpora.readers import Row, read_rows
from spacy_jbert.errors import DataError, Errors
from spacy_jbert.storage import replacing
from spacy_jbert.terminal import run

_NUMBER = "[0-9０-９,，一二三四五六七八九十百千万]+"
_ABOUT = "(?:以[下内上]|前後|くらい|ぐらい|程度|まで|圏内)?"
SLOTS = {
    "人数": rf"(?:大人|子供|子ども)?{_NUMBER}(?:人|名)(?!前|気)",
    "金額": rf"{_NUMBER}円{_ABOUT}",
    "時刻": rf"(?:午前|午後|朝|夜|深夜)?{_NUMBER}時(?!間)(?:半|{_NUMBER}分)?",
    "泊数": rf"{_NUMBER}泊(?:{_NUMBER}日)?",
    "移動": rf"(?:徒歩|車|歩いて)で?{_NUMBER}分{_ABOUT}",
    "食事": "朝食|夕食|昼食|朝ご飯|夕飯|部屋食(?![事っ])|バイキング|ビュッフェ|懐石料理?",
    "風呂": "露天風呂|大浴場|貸切風呂|家族風呂|温泉|サウナ|ジャグジー",
}
_PATTERN = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in SLOTS.items()))


def main(
    source: Annotated[Path, typer.Argument(help="topic.L1.1turn.VanillaUtterances.jsonl")],
    out: Annotated[Path, typer.Argument(help="The JSONL to write")],
) -> None:
    # Those with :: are parts of other topics.
    rows = (row for row in read_rows(source) if "::" not in row.text("meta.topic"))
    records = [record(row) for row in rows]
    if not records:
        raise DataError(Errors.J557.format(needed="queries with a topic"), path=source)
    found = Counter(label for of in records for *_, label in of["entities"])
    with replacing(out) as (part,), part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(of, ensure_ascii=False) + "\n" for of in records)
    shown = ", ".join(f"{label} {count:,}" for label, count in found.most_common())
    print(f"{out}: {len(records):,} queries; slots: {shown}")


def record(row: Row) -> dict[str, Any]:
    """RETURNS (dict[str, Any]): A query with its intent, its slots and its split."""
    text = row.text("utterances.0.text")
    return {
        "text": text,
        "entities": slots(text),
        "intent": row.text("meta.topic"),
        "split": row.text("purpose"),
    }


def slots(text: str) -> list[tuple[int, int, str]]:
    """RETURNS (list[tuple[int, int, str]]): Start, end and name of each slot."""
    return [(*match.span(), str(match.lastgroup)) for match in _PATTERN.finditer(text)]


if __name__ == "__main__":
    run(main)
