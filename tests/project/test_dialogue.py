"""Intents and slots of ASDC's queries: project/scripts/make_dialogue.py, learned by configs/joint.cfg."""

import json
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.cli.train import train
from spacy.training import Corpus

from spacy_jbert.errors import DataError

from ..conftest import SHARED
from ..seq2seq.conftest import script

ROOT = Path(__file__).parents[2]
QUERIES = SHARED / "corpora/asdc/topic.L1.1turn.VanillaUtterances.jsonl"


def query(text: str, topic: str = "部屋", split: str = "train") -> str:
    record: dict[str, Any] = {
        "utterances": [{"text": text}],
        "meta": {"topic": topic},
        "purpose": split,
    }
    return json.dumps(record, ensure_ascii=False) + "\n"


def test_slots_are_found_where_they_stand(tmp_path: Path) -> None:
    source, out = tmp_path / "queries.jsonl", tmp_path / "out.jsonl"
    source.write_text(
        query("大人2人、1泊2日で1万円以内の部屋")
        + query("徒歩5分以内で24時まで露天風呂に入りたい", "風呂", "test")
        + query("何人前ですか、1時間いくら")
        + query("景色と部屋", "景色::部屋"),
        encoding="utf-8",
    )
    script("make_dialogue").main(source, out)
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    found = [[(r["text"][a:b], label) for a, b, label in r["entities"]] for r in records]
    assert found == [
        [("大人2人", "人数"), ("1泊2日", "泊数"), ("1万円以内", "金額")],
        [("徒歩5分以内", "移動"), ("24時", "時刻"), ("露天風呂", "風呂")],
        [],
    ]
    assert [(r["intent"], r["split"]) for r in records[:2]] == [("部屋", "train"), ("風呂", "test")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"utterances": []}\n', "line 1.*J206"),
        (query("文", "a::b"), "J557"),
        ("{\n", "line 1.*J20"),
    ],
)
def test_other_files_are_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        script("make_dialogue").main(tmp_path / "queries.jsonl", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.slow
@pytest.mark.shared
def test_intents_and_slots_are_learned_together(tmp_path: Path) -> None:
    if not QUERIES.is_file():
        pytest.skip("../shared/corpora/asdc is not here")
    from spacy_jbert.corpora.records import convert_records

    script("make_dialogue").main(QUERIES, tmp_path / "queries.jsonl")
    lines = (tmp_path / "queries.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    with_slots = [line for line in lines if '"entities": []' not in line][:1200]
    (tmp_path / "some.jsonl").write_text("".join(with_slots), encoding="utf-8")
    convert_records(
        tmp_path / "some.jsonl",
        out=tmp_path / "corpus",
        task="joint",
        label_field="intent",
        split_field="split",
    )
    train(
        ROOT / "configs/joint.cfg",
        tmp_path / "out",
        overrides={
            "paths.train": str(tmp_path / "corpus/train.spacy"),
            "paths.dev": str(tmp_path / "corpus/dev.spacy"),
            "paths.encoder": str(ROOT / "project/assets/jbert-mini"),
            "training.max_steps": 120,
            "training.eval_frequency": 120,
            "training.optimizer.learn_rate.initial_rate": 1e-3,
        },
    )
    nlp = spacy.load(tmp_path / "out/model-best")
    scores = nlp.evaluate(list(Corpus(tmp_path / "corpus/test.spacy")(nlp)))
    assert scores["ents_f"] > 0.7
    assert scores["cats_micro_f"] > 0.5
    doc = nlp("大人2人で1万円以内の部屋はありますか")
    assert {ent.label_ for ent in doc.ents} == {"人数", "金額"}
