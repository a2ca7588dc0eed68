"""Files in the shape that each annotation tool publishes."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from spacy_jbert.corpora.importers import Named, read_brat, read_export
from spacy_jbert.errors import DataError, Warnings

TEXT = "𠮷野家は東京都の会社。"


def read(tmp_path: Path, *records: Any, array: bool = False) -> tuple[list[tuple], Counter[str]]:
    path = tmp_path / ("export.json" if array else "export.jsonl")
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text(f"[{','.join(lines)}]" if array else "\n".join(lines), encoding="utf-8")
    notes: Counter[str] = Counter()
    return [(a.text, a.entities, a.labels) for a in read_export(path, notes)], +notes


@pytest.mark.parametrize(
    "record",
    [
        {"id": 1, "text": TEXT, "label": [[0, 3, "組織"], [4, 7, "地名"]]},
        {"id": 1, "text": TEXT, "labels": [[0, 3, "組織"], [4, 7, "地名"]], "Comments": []},
        {"id": 1, "data": TEXT, "label": [[0, 3, "組織"], [4, 7, "地名"]]},
        {
            "id": 1,
            "text": TEXT,
            "entities": [
                {"id": 8, "label": "組織", "start_offset": 0, "end_offset": 3},
                {"id": 9, "label": "地名", "start_offset": 4, "end_offset": 7},
            ],
            "relations": [{"id": 1, "from_id": 8, "to_id": 9, "type": "所在"}],
            "Comments": [],
        },
    ],
)
def test_doccano_spans(record: dict, tmp_path: Path) -> None:
    found, notes = read(tmp_path, record)
    assert found == [(TEXT, [(0, 3, "組織"), (4, 7, "地名")], [])]
    assert notes == ({Warnings.JW250: 1} if "relations" in record else {})


def test_doccano_categories(tmp_path: Path) -> None:
    records = [{"id": i, "text": TEXT, "label": label} for i, label in enumerate((["a"], "b", []))]
    assert [labels for _, _, labels in read(tmp_path, *records)[0]] == [["a"], ["b"], []]


def region(start: int, end: int, text: str, label: str) -> dict:
    return {
        "value": {"start": start, "end": end, "text": text, "labels": [label]},
        "id": "x",
        "from_name": "label",
        "to_name": "text",
        "type": "labels",
        "origin": "manual",
    }


@pytest.mark.parametrize("shift", [0, 1], ids=["code points", "UTF-16 units"])
def test_label_studio(shift: int, tmp_path: Path) -> None:
    choice = {"value": {"choices": ["外食"]}, "from_name": "topic", "type": "choices"}
    relation = {"from_id": "x", "to_id": "y", "type": "relation", "direction": "right"}
    regions = [
        region(0, 3 + shift, "𠮷野家", "組織"),
        region(4 + shift, 7 + shift, "東京都", "地名"),
    ]
    older = {"result": [], "was_cancelled": False, "created_at": "2023-01-01", "completed_by": 2}
    newer = {
        "result": [*regions, choice, relation],
        "was_cancelled": False,
        "created_at": "2023-01-02",
        "completed_by": 1,
    }
    skipped = {"result": [], "was_cancelled": True, "created_at": "2023-01-03"}
    task = {"id": 1, "data": {"text": TEXT, "id": "r1"}, "annotations": [newer, older, skipped]}
    unfinished = {"id": 2, "data": {"text": TEXT}, "annotations": [skipped], "predictions": []}
    found, notes = read(tmp_path, task, unfinished, array=True)
    assert found == [(TEXT, [(0, 3, "組織"), (4, 7, "地名")], ["外食"])]
    assert notes == {Warnings.JW250: 1, Warnings.JW251: 1, Warnings.JW252: 1}


def test_label_studio_min(tmp_path: Path) -> None:
    spans = [{"start": 0, "end": 3, "text": "𠮷野家", "labels": ["組織"]}]
    meta = {"annotator": 1, "annotation_id": 2, "created_at": "2023", "lead_time": 1.2, "id": 3}
    one = {"text": TEXT, "label": spans, "sentiment": "positive", **meta}
    many = {"text": TEXT, "sentiment": {"choices": ["a", "b"]}, **meta}
    found, _ = read(tmp_path, one, many, array=True)
    assert found == [(TEXT, [(0, 3, "組織")], ["positive"]), (TEXT, [], ["a", "b"])]


def test_prodigy(tmp_path: Path) -> None:
    spans = [{"start": 0, "end": 3, "token_start": 0, "token_end": 1, "label": "組織"}]

    def task(number: int, view: str = "ner_manual", answer: str = "accept", **fields: Any) -> dict:
        hashes = {"_input_hash": number, "_task_hash": -number, "_session_id": None}
        return {"text": TEXT, "answer": answer, "_view_id": view, **hashes, **fields}

    accepted = task(1, tokens=[], spans=spans)
    rejected = task(2, answer="reject", spans=spans)
    ignored = task(3, answer="ignore", spans=[])
    binary = task(4, "classification", label="外食")
    options = [{"id": "a", "text": "A"}, {"id": "b", "text": "B"}]
    choice = task(5, "choice", options=options, accept=["a", "b"])
    found, notes = read(tmp_path, accepted, rejected, ignored, binary, choice)
    assert found == [
        (TEXT, [(0, 3, "組織")], None),
        (TEXT, None, ["外食"]),
        (TEXT, None, ["a", "b"]),
    ]
    assert notes == {Warnings.JW251: 2}


def test_brat(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text(TEXT + "\n次の行。\n", encoding="utf-8")
    (tmp_path / "deep" / "a.ann").write_text(
        "T1\t組織 0 3\t𠮷野家\nT2\t地名 4 5;6 7\t東 都\nR1\t所在 Arg1:T1 Arg2:T2\nA1\t確か T1\n",
        encoding="utf-8",
    )
    (tmp_path / "b.txt").write_text("何もない。", encoding="utf-8")
    (tmp_path / "b.ann").touch()
    notes: Counter[str] = Counter()
    found = {a.row.path.name: a.entities for a in read_brat(tmp_path, notes)}
    assert found == {"a.txt": [(0, 3, "組織"), (4, 7, "地名")], "b.txt": []}
    assert +notes == {Warnings.JW250: 2, Warnings.JW254: 1}


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"text": TEXT, "label": [[0, 99, "組織"]]}, "J211"),
        ({"text": TEXT, "label": [[3, 3, "組織"]]}, "J211"),
        ({"text": TEXT, "label": [[0.0, 3, "組織"]]}, "J211"),
        ({"text": TEXT, "label": [[0, 3, " "]]}, "J214"),
        (
            {"data": {"text": TEXT}, "annotations": [{"result": [region(0, 3, "東京都", "x")]}]},
            "J212",
        ),
        ({"data": {"n": 1}, "annotations": [{"result": []}]}, "J206"),
        ({"text": TEXT, "spans": [], "answer": "perhaps"}, "J207"),
        ({"sentence": TEXT}, "J250"),
    ],
)
def test_what_can_not_be_used_is_refused(record: dict, code: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=code):
        read(tmp_path, record)


def test_brat_refuses_lines_that_make_no_sense(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    for line, code in (("T1\t組織\t𠮷野家", "J252"), ("T1\t組織 0 3\t東京都", "J212")):
        (tmp_path / "a.ann").write_text(line, encoding="utf-8")
        with pytest.raises(DataError, match=code):
            list(read_brat(tmp_path, Counter()))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="J251"):
        list(read_brat(tmp_path / "empty", Counter()))


def test_a_single_value_is_not_cut_into_characters(tmp_path: Path) -> None:
    one = region(0, 3, "𠮷野家", "x")
    one["value"]["labels"] = "組織"
    choice = {"value": {"choices": "外食"}, "type": "choices"}
    task = {"data": {"text": TEXT}, "annotations": [{"result": [one, choice]}]}
    assert read(tmp_path, task)[0] == [(TEXT, [(0, 3, "組織")], ["外食"])]
    prodigy = {"text": TEXT, "accept": "外食", "answer": "accept"}
    assert read(tmp_path, prodigy)[0] == [(TEXT, [], ["外食"])]


def test_doccano_of_before(tmp_path: Path) -> None:
    old = {"label": 1, "start_offset": 0, "end_offset": 3, "user": 1}
    record = {"text": TEXT, "annotations": [old], "annotator": "a"}
    assert read(tmp_path, record)[0] == [(TEXT, [(0, 3, "1")], [])]


@pytest.mark.parametrize(
    "record",
    [
        {"text": TEXT, "label": [0, 2, "人名"]},
        {"text": TEXT, "label": {"a": 1}},
        {"text": TEXT, "label": [], "relations": {"a": 1}},
        {"text": TEXT, "spans": [[0, 2, "X"]]},
        {"text": TEXT, "spans": "abc"},
        {"text": TEXT, "accept": {"a": 1}, "answer": "accept"},
        {"data": {"text": TEXT}, "annotations": [17]},
        {"data": {"text": TEXT}, "annotations": [{"result": "x"}]},
        {"data": {"text": TEXT}, "annotations": [{"result": [{"value": [1]}]}]},
        {"text": TEXT, "label": [{"start": 0, "end": 2, "labels": ["x"]}, 3], "annotation_id": 1},
    ],
)
def test_odd_shapes_are_coded(record: dict, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="J207"):
        read(tmp_path, record)


def test_a_tool_that_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="J253"):
        list(read_export(tmp_path / "a.jsonl", Counter(), "Doccano"))


def answered(label: str | None = None, **fields: Any) -> dict:
    asked = {} if label is None else {"label": label}
    return {"text": TEXT, "_input_hash": 1, "answer": "accept", **asked, **fields}


def test_of_two_prodigy_sessions_the_latest_counts(tmp_path: Path) -> None:
    def span(label: str) -> list[dict]:
        return [{"start": 0, "end": 3, "label": label}]

    records = [
        answered(spans=span("新"), _view_id="ner_manual", _timestamp=200, _session_id="b"),
        answered(spans=span("古"), _view_id="ner_manual", _timestamp=100, _session_id="a"),
        answered(_view_id="ner_manual", _timestamp=300, answer="ignore"),
        {"text": "別", "_input_hash": 2, "spans": [], "_view_id": "ner_manual"},
    ]
    found, notes = read(tmp_path, *records)
    assert [(text, entities) for text, entities, _ in found] == [(TEXT, [(0, 3, "新")]), ("別", [])]
    assert notes[Warnings.JW252] == 2
    # Without times the last in the file is the latest.
    found, _ = read(tmp_path, *(answered(spans=span(label)) for label in ("古", "新")))
    assert [entities for _, entities, _ in found] == [[(0, 3, "新")]]


def test_spans_that_were_accepted_one_by_one_are_of_one_text(tmp_path: Path) -> None:
    records = [
        answered(_view_id="ner", answer=answer, spans=[{"start": start, "end": end, "label": "X"}])
        for start, end, answer in ((0, 3, "accept"), (4, 7, "accept"), (8, 10, "reject"))
    ]
    found, _ = read(tmp_path, *records)
    assert found == [(TEXT, [(0, 3, "X"), (4, 7, "X")], None)]


def test_questions_about_one_text_are_one_record(tmp_path: Path) -> None:
    pattern = [{"start": 0, "end": 3, "label": "政治", "pattern": 4}]
    records = [
        answered("政治", spans=pattern, _view_id="classification"),
        answered("経済", _view_id="classification"),
        answered("運動", _view_id="classification", answer="reject"),
        answered(spans=[{"start": 4, "end": 7, "label": "地名"}], _view_id="ner_manual"),
    ]
    found, notes = read(tmp_path, *records)
    assert found == [(TEXT, [(4, 7, "地名")], ["政治", "経済"])]
    assert notes == {Warnings.JW251: 1}


MIN = {"annotator": 1, "annotation_id": 2, "created_at": "2023", "updated_at": "2023"}


@pytest.mark.parametrize(
    ("fields", "named", "labels"),
    [
        ({"topic": "元の分類", "text": TEXT, "id": 1, "評価": "良い", **MIN}, None, ["良い"]),
        ({"topic": "元の分類", "text": TEXT, "id": 1, **MIN}, None, []),
        ({"topic": "元の分類", "text": TEXT, "id": 1, "label": "良い", "x": "y", **MIN}, None, ["良い"]),
        ({"text": TEXT, "id": 1, "a": "良い", "b": "速い", **MIN}, "b", ["速い"]),
        ({"text": TEXT, "id": 1, "a": {"choices": ["x", "y"]}, **MIN}, None, ["x", "y"]),
        ({"text": TEXT, "id": 1, "a": [{"choices": ["x"]}, {"choices": ["y"]}], **MIN}, None, ["x", "y"]),
        ({"text": TEXT, "id": 1, "a": [{"who": "x"}], "b": "良い", **MIN}, None, ["良い"]),
    ],
)  # fmt: skip
def test_json_min_is_read_by_shape_and_by_name(
    tmp_path: Path, fields: dict, named: str | None, labels: list[str]
) -> None:
    path = tmp_path / "min.json"
    path.write_text(json.dumps([fields], ensure_ascii=False), encoding="utf-8")
    (found,) = read_export(path, Counter(), named=Named(label=named))
    assert (found.text, found.labels) == (TEXT, labels)


def test_one_of_several_questions_of_label_studio(tmp_path: Path) -> None:
    results = [
        {"from_name": name, "type": "choices", "value": {"choices": [choice]}}
        for name, choice in (("評価", "良い"), ("話題", "旅"))
    ]
    task = {"data": {"本文": TEXT, "url": "x"}, "annotations": [{"result": results}]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps([task], ensure_ascii=False), encoding="utf-8")
    (found,) = read_export(path, Counter(), named=Named(text="本文", label="話題"))
    assert (found.text, found.labels) == (TEXT, ["旅"])


def test_brat_counts_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8-sig")
    for shift in (0, 1):
        entity = f"T1\t組織 {shift} {3 + shift}\t{TEXT[:3]}\n"
        (tmp_path / "a.ann").write_text(entity, encoding="utf-8")
        (found,) = read_brat(tmp_path, Counter())
        assert (found.text, found.entities) == (TEXT, [(0, 3, "組織")])


def test_stretches_of_brat_are_checked(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    for held, fits in ((f"{TEXT[:2]} {TEXT[4:6]}", True), (TEXT[:6], False)):
        (tmp_path / "a.ann").write_text(f"T1\tX 0 2;4 6\t{held}\n", encoding="utf-8")
        if fits:
            (found,) = read_brat(tmp_path, Counter())
            assert found.entities == [(0, 6, "X")]
        else:
            with pytest.raises(DataError, match="J212"):
                list(read_brat(tmp_path, Counter()))
