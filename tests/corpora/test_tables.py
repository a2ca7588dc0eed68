"""Parquet, Excel, saved datasets and folders of texts."""

from pathlib import Path
from typing import Any

import datasets
import openpyxl
import pyarrow
import pytest
from pyarrow import parquet

from spacy_jbert.corpora.readers import read_rows
from spacy_jbert.errors import DataError


def rows(path: Path, **settings: Any) -> list[dict[str, Any]]:
    return [row.fields for row in read_rows(path, **settings)]


def workbook(path: Path, *cells: list[object]) -> Path:
    book = openpyxl.Workbook()
    for row in cells:
        book.active.append(row)
    book.save(path)
    return path


def test_excel(tmp_path: Path) -> None:
    path = workbook(
        tmp_path / "a.xlsx",
        [],
        ["text", "label", None, "点"],
        ["駅から近い", "立地", None, 5],
        [None, None],
        ["改行\nあり", None, None, 1.5],
        ["短い行"],
    )
    assert rows(path) == [
        {"text": "駅から近い", "label": "立地", "点": "5"},
        {"text": "改行\nあり", "label": "", "点": "1.5"},
        {"text": "短い行", "label": "", "点": ""},
    ]


@pytest.mark.parametrize(
    ("cells", "code"),
    [([["a", "a"], ["x", "y"]], "J209.*twice"), ([["a"], ["x", "y"]], "J208")],
)
def test_odd_sheets_are_refused(tmp_path: Path, cells: list, code: str) -> None:
    with pytest.raises(DataError, match=code):
        rows(workbook(tmp_path / "a.xlsx", *cells))


@pytest.mark.parametrize("name", ["a.xlsx", "a.parquet"])
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 no such thing")
    with pytest.raises(DataError, match="J209"):
        rows(tmp_path / name)


def test_parquet(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["東京", "大阪"], "labels": [["a", "b"], []]})
    parquet.write_table(table, tmp_path / "a.parquet")
    expected = [{"text": "東京", "labels": ["a", "b"]}, {"text": "大阪", "labels": []}]
    assert rows(tmp_path / "a.parquet") == expected


def test_saved_datasets_have_names_for_classes(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["負", "正"])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    data = datasets.Dataset.from_dict({"text": ["良い", "嫌だ"], "label": [1, 0]}, features)
    data.save_to_disk(tmp_path / "one")
    assert rows(tmp_path / "one") == [
        {"text": "良い", "label": "正"},
        {"text": "嫌だ", "label": "負"},
    ]
    datasets.DatasetDict(train=data, validation=data).save_to_disk(tmp_path / "two")
    assert [row["split"] for row in rows(tmp_path / "two")] == ["train"] * 2 + ["validation"] * 2


def test_folders_of_texts(tmp_path: Path) -> None:
    for label, text in (("悪い", "遠い"), ("良い", "駅から近い\n")):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_text(text, encoding="utf-8")
    assert [(row["text"], row["label"]) for row in rows(tmp_path)] == [
        ("遠い", "悪い"),
        ("駅から近い", "良い"),
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="J258"):
        rows(tmp_path / "empty")


def test_another_sheet(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    second = book.create_sheet("二")
    for row in (["text"], ["東京"]):
        second.append(row)
    book.save(tmp_path / "a.xlsx")
    assert rows(tmp_path / "a.xlsx") == []
    assert rows(tmp_path / "a.xlsx", sheet=2) == [{"text": "東京"}]
    with pytest.raises(DataError, match="J209"):
        rows(tmp_path / "a.xlsx", sheet=3)


def test_classes_have_names_wherever_they_stand(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["O", "B-地名", "I-地名"])
    entity = {"start": datasets.Value("int32"), "label": names}
    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "ner_tags": datasets.Sequence(names),
            "spans": [entity],
            "entities": datasets.Sequence(entity),
            "meta": {"kind": names},
        }
    )
    row = {
        "tokens": [["東京", "都"]],
        "ner_tags": [[1, 2]],
        "spans": [[{"start": 0, "label": 1}]],
        "entities": [{"start": [0], "label": [1]}],
        "meta": [{"kind": -1}],
    }
    data = datasets.Dataset.from_dict(row, features)
    data.save_to_disk(tmp_path / "saved")
    data.to_parquet(tmp_path / "a.parquet")
    for path in (tmp_path / "saved", tmp_path / "a.parquet"):
        (found,) = rows(path)
        assert found["ner_tags"] == ["B-地名", "I-地名"]
        assert found["spans"] == [{"start": 0, "label": "B-地名"}]
        assert found["entities"] in (
            {"start": [0], "label": ["B-地名"]},
            [{"start": 0, "label": "B-地名"}],
        )
        assert found["meta"] == {"kind": None}
