"""Tasks for annotation tools, finished as each tool exports them, and read back."""

import json
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import srsly
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_jbert.corpora.exporters import Asked, Labels, labelling_interface, write_tasks
from spacy_jbert.corpora.importers import read_export
from spacy_jbert.corpora.raw import different, read_texts
from spacy_jbert.corpora.records import convert_records
from spacy_jbert.errors import DataError, Warnings

TEXT = "𠮷野家は東京都の会社。"
ENTITIES = [(0, 3, "組織"), (4, 7, "地名")]
LABELS = Labels(["組織", "地名"], ["外食", '"&<'], exclusive=True, model="ja_x")
TOKENS = [(0, 3), (3, 4), (4, 7), (7, 8), (8, 10), (10, 11)]


def asked(*, entities: bool = True, categories: bool = True) -> Asked:
    return Asked(
        id="r1",
        text=TEXT,
        entities=[(ENTITIES[0], 0.9), (ENTITIES[1], None)] if entities else None,
        categories=[("外食", 0.7)] if categories else None,
        score=0.5,
        tokens=TOKENS,
    )


def finished(tool: str, task: dict[str, Any]) -> dict[str, Any]:
    """What the tool exports once an annotator has accepted the task as it is."""
    if tool == "label-studio":
        (prediction,) = task["predictions"]
        relation = {"from_id": "e0", "to_id": "e1", "type": "relation", "direction": "right"}
        annotation = {
            "id": 11,
            "completed_by": 1,
            "result": [*({**region, "origin": "prediction"} for region in prediction["result"])],
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": "2026-01-01T00:00:00.000000Z",
        }
        annotation["result"].append(relation)
        return {**task, "id": 1, "annotations": [annotation], "predictions": [prediction["score"]]}
    if tool == "prodigy":
        hashes = {"_input_hash": 1, "_task_hash": 2, "_session_id": "x", "answer": "accept"}
        return {**task, **hashes, "relations": [{"head": 0, "child": 1, "label": "所在"}]}
    if tool == "doccano":
        return {**task, "id": 1, "Comments": [], "relations": [{"from_id": 1, "to_id": 2}]}
    return task


def written(tool: str, path: Path, *tasks: Asked) -> list[dict[str, Any]]:
    write_tasks(tasks, LABELS, tool, path)
    return list(srsly.read_json(path) if tool == "label-studio" else srsly.read_jsonl(path))


@pytest.mark.parametrize("tool", ["label-studio", "prodigy", "doccano"])
@pytest.mark.parametrize(
    ("entities", "categories"), [(True, True), (True, False), (False, True)], ids=str
)
def test_what_is_written_comes_back(
    tool: str, entities: bool, categories: bool, tmp_path: Path
) -> None:
    (task,) = written(tool, tmp_path / "tasks", asked(entities=entities, categories=categories))
    path = tmp_path / "export.json"
    srsly.write_json(path, [finished(tool, task)])
    notes: Counter[str] = Counter()
    (found,) = read_export(path, notes, tool)
    assert found.text == TEXT
    assert (found.entities or []) == (ENTITIES if entities else [])
    assert (found.labels or []) == (["外食"] if categories else [])
    assert notes[Warnings.JW250] == 1


@pytest.mark.parametrize("tool", ["label-studio", "prodigy", "doccano", "jsonl"])
@pytest.mark.parametrize("task", ["ner", "textcat"])
def test_the_finished_work_is_converted(tool: str, task: str, tmp_path: Path) -> None:
    is_ner = task == "ner"
    tasks = written(tool, tmp_path / "tasks", asked(entities=is_ner, categories=not is_ner))
    path = tmp_path / ("export.json" if tool == "label-studio" else "export.jsonl")
    done = [finished(tool, one) for one in tasks]
    text = "\n".join(json.dumps(one, ensure_ascii=False) for one in done)
    path.write_text(json.dumps(done) if tool == "label-studio" else text, encoding="utf-8")
    convert_records(path, out=tmp_path / "out", task=task, split="100/0/0")
    (doc,) = DocBin().from_disk(tmp_path / "out" / "train.spacy").get_docs(Vocab())
    assert doc.text == TEXT
    spans = [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]
    assert (spans, doc.cats) == ((ENTITIES, {}) if is_ner else ([], {"外食": 1.0}))


def test_prodigy_is_told_the_tokens(tmp_path: Path) -> None:
    (task,) = written("prodigy", tmp_path / "tasks.jsonl", asked())
    assert [task["text"][token["start"] : token["end"]] for token in task["tokens"]] == [
        token["text"] for token in task["tokens"]
    ]
    assert [(span["token_start"], span["token_end"]) for span in task["spans"]] == [(0, 0), (2, 2)]
    assert [option["id"] for option in task["options"]] == LABELS.categories


def test_label_studio_is_told_the_labels(tmp_path: Path) -> None:
    done = write_tasks([asked()], LABELS, "label-studio", tmp_path / "tasks.json")
    (interface,) = done.beside
    root = ElementTree.parse(interface).getroot()
    assert [item.get("value") for item in root.iter("Choice")] == LABELS.categories
    assert [item.get("value") for item in root.iter("Label")] == LABELS.entities
    assert "Choices" not in labelling_interface(Labels(entities=["a"]))


def test_several_categories(tmp_path: Path) -> None:
    several = Labels(None, ["a", "b"], exclusive=False)
    one = Asked("r", TEXT, None, [("a", 0.9), ("b", 0.8)], 0.1)
    write_tasks([one], several, "jsonl", tmp_path / "x.jsonl")
    assert next(srsly.read_jsonl(tmp_path / "x.jsonl"))["label"] == ["a", "b"]


def test_texts_are_read_once(tmp_path: Path) -> None:
    lines = tmp_path / "raw.txt"
    lines.write_text("東京。\n\n東京。\nトウキョウ\nﾄｳｷｮｳ\n大阪。\n", encoding="utf-8")
    texts = list(read_texts(lines))
    assert texts[1] == ("raw.txt:3", "東京。")
    assert [name for name, _ in different(texts, ["大 阪。"], lines)] == ["raw.txt:1", "raw.txt:4"]
    with pytest.raises(DataError, match="J478"):
        different(texts, [text for _, text in texts], lines)
    records = tmp_path / "raw.jsonl"
    rows = [{"id": 7, "body": "東京"}, {"id": "", "body": "大阪"}, {"id": "\ud800", "body": "奈良"}]
    records.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    names = [name for name, _ in read_texts(records, text_field="body")]
    assert names == ["7", "raw.jsonl:2", "\\ud800"]
    with pytest.raises(DataError, match="J206"):
        list(read_texts(records))


@pytest.mark.parametrize("name", ["tasks.xml", "tasks.XML"])
def test_tasks_and_interface_are_two_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"J483.*tasks\.json"):
        write_tasks([asked()], LABELS, "label-studio", tmp_path / name)
    assert not list(tmp_path.iterdir())
    write_tasks([asked()], LABELS, "jsonl", tmp_path / name)
    assert (tmp_path / name).exists()
