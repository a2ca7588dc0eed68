"""Shards and the manifest: whole, or told what isn't."""

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from spacy_jbert.serving.manifest import Done, Manifest, alone_in
from spacy_jbert.serving.shards import OTHERS, Columns, json_line, writing

RUN = {"model": "a", "settings": {"format": "jsonl"}}


def document(**fields: Any) -> dict[str, Any]:
    found = {"start": 0, "end": 2, "text": "東京", "label": "GPE", "confidence": 0.5}
    return {**fields, "entities": [found], "categories": [{"label": "a", "score": 1.0}]}


def test_parquet_keeps_what_does_not_fit(tmp_path: Path) -> None:
    kinds = ["entities", "categories"]
    columns = Columns(kinds, "")
    first = [document(id=1, day=datetime.date(2024, 3, 1), text="あ", none=None)]
    second = [
        document(id="二", text="い", new=[1, {"a": None}]),
        document(id=2**70, text=None, none="x", day=None),
    ]
    with writing(tmp_path / "part-00000.parquet", columns) as writer:
        writer.add(first)
    # As when a run goes on.
    columns = Columns(kinds, "")
    columns.read(tmp_path / "part-00000.parquet")
    with writing(tmp_path / "part-00001.parquet", columns) as writer:
        writer.add(second)
    one, two = (pyarrow.parquet.read_table(tmp_path / f"part-0000{i}.parquet") for i in range(2))
    assert one.schema == two.schema
    assert one.to_pylist() == [first[0] | {OTHERS: None}]
    rows = two.to_pylist()
    assert [row["id"] for row in rows] == [None, None]
    assert json.loads(rows[0][OTHERS]) == {"id": "二", "new": [1, {"a": None}]}
    assert json.loads(rows[1][OTHERS]) == {"id": 2**70}
    assert rows[1]["none"] == "x"
    assert rows[0]["entities"] == second[0]["entities"]


@pytest.mark.parametrize(
    "values",
    [
        [["a"], []],
        [[{"a": [1]}], None],
        [{"a": {"b": ["c"]}}, {"a": None}],
        [datetime.datetime(2024, 3, 1, 12), None],
        [datetime.timedelta(seconds=1), None],
        [b"a", b""],
        [1.5, float("nan")],
        [True, None],
        [{}, {}],
        [{"a": {}}, None],
        [2**64 - 1, 1],
        ["\ud83d", "a"],
        [1, "a"],
        [None, None],
    ],
)
def test_a_run_that_goes_on_writes_the_same_bytes(tmp_path: Path, values: list[Any]) -> None:
    documents = [document(text="あ", x=value, **{"\ud83d": 1}) for value in values]
    columns = Columns(["entities", "categories"], "")
    for number in (0, 1):
        with writing(tmp_path / f"part-0000{number}.parquet", columns) as writer:
            writer.add(documents)
    again = Columns(["entities", "categories"], "")
    again.read(tmp_path / "part-00000.parquet")
    with writing(tmp_path / "again.parquet", again) as writer:
        writer.add(documents)
    assert (tmp_path / "again.parquet").read_bytes() == (
        tmp_path / "part-00001.parquet"
    ).read_bytes()
    rows = pyarrow.parquet.read_table(tmp_path / "again.parquet").to_pylist()
    for row, value in zip(rows, values, strict=True):
        others = json.loads(row[OTHERS])
        found = others.get("x", row["x"])
        assert found == value or (found != found and value != value)
        assert others["\ud83d"] == 1


def test_the_first_documents_may_come_late(tmp_path: Path) -> None:
    columns = Columns(["entities", "categories"], "")
    with writing(tmp_path / "part-00000.parquet", columns) as writer:
        for part in ([], [document(text="あ")], [], [document(text="い")]):
            writer.add(part)
    rows = pyarrow.parquet.read_table(tmp_path / "part-00000.parquet").to_pylist()
    assert [row["text"] for row in rows] == ["あ", "い"]


def test_a_shard_without_documents(tmp_path: Path) -> None:
    columns = Columns(["entities"], "")
    path = tmp_path / "part-00000.parquet"
    with writing(path, columns):
        pass
    assert pyarrow.parquet.read_table(path).num_rows == 0
    columns.read(path)
    assert columns.fields is None


def test_a_line_of_json_is_json() -> None:
    line = json_line({"a": float("nan"), "b": [float("inf"), 1.5], "c": datetime.date(2024, 3, 1)})
    assert json.loads(line) == {"a": None, "b": [None, 1.5], "c": "2024-03-01"}
    assert json_line({"picture": b"\xff\x00"}) == b'{"picture": "/wA="}\n'
    assert json_line({"地名": "東京"}) == '{"地名": "東京"}\n'.encode()


def test_a_shard_that_fails_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "part-00000.jsonl"
    with pytest.raises(AssertionError), writing(path, None) as writer:
        writer.add([])
    assert list(tmp_path.iterdir()) == []


def begun(folder: Path) -> Manifest:
    """A manifest with one shard, and a rejected entry."""
    manifest = Manifest(folder, RUN)
    (folder / "part-00000.jsonl").write_bytes(b"{}\n")
    manifest.reject(b"{1}\n")
    manifest.add(shard="part-00000.jsonl", entries=3, documents=2, file=0, number=3, bytes=3)
    return manifest


def test_a_manifest_goes_on_behind_its_last_whole_line(tmp_path: Path) -> None:
    manifest = begun(tmp_path)
    whole = manifest.path.read_bytes()
    manifest.reject(b"{of the shard that was killed}\n")
    with manifest.path.open("ab") as file:
        file.write(b'{"shard": "part-00001.jsonl", "ent')
    again = Manifest(tmp_path, RUN)
    assert again.done == Done(1, 3, 2, 0, 3)
    assert again.done.rejected == 1
    assert again.path.read_bytes() == whole
    assert again.rejected.read_bytes() == b"{1}\n"
    again.finish()
    assert Manifest(tmp_path, RUN).done.finished


def test_a_manifest_of_something_else_is_refused(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(ValueError, match=r"J455.*model, settings"):
        Manifest(tmp_path, {"model": "b", "settings": {}})
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("")
    with pytest.raises(ValueError, match=r"J454.*mine.txt"):
        Manifest(other, RUN)


@pytest.mark.parametrize("name", ["part-00000.jsonl", "rejected.jsonl", "manifest.jsonl"])
def test_what_is_missing_or_changed_is_told(tmp_path: Path, name: str) -> None:
    begun(tmp_path)
    (tmp_path / name).write_bytes(b"\n" if name.startswith("manifest") else b"")
    with pytest.raises(ValueError, match=rf"J456.*{name}"):
        Manifest(tmp_path, RUN)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    first, second, third = (alone_in(tmp_path / "out") for _ in range(3))
    with first, pytest.raises(ValueError, match="J453"), second:
        raise AssertionError
    with third:
        assert (tmp_path / "out" / "lock").exists()
