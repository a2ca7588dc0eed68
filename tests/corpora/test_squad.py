"""`jbert convert --task qa`: SQuAD's format, what hubs make of it, and what is wrong with either."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.tokens import Doc, DocBin

from spacy_jbert.corpora.squad import convert_squad
from spacy_jbert.errors import DataError

CONTEXT = "東大寺は奈良にある。奈良の大仏は高さ約15メートルである。"


def squad(*qas: dict[str, Any], context: str = CONTEXT, title: str = "東大寺") -> dict[str, Any]:
    article = {"title": title, "paragraphs": [{"context": context, "qas": list(qas)}]}
    return {"version": "1", "data": [article]}


def qa(text: str = "約15メートル", start: int = 18, **other: Any) -> dict[str, Any]:
    answers = [{"text": text, "answer_start": start}]
    return {"id": "a", "question": "高さは？", "answers": answers, **other}


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., list[Doc]]:
    def run(content: Any, name: str = "data.json", **options: Any) -> list[Doc]:
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        (tmp_path / name).write_text(text, encoding="utf-8")
        convert_squad(train=tmp_path / name, out=tmp_path / "out", **options)
        vocab = spacy.blank("ja").vocab
        return list(DocBin().from_disk(tmp_path / "out" / "train.spacy").get_docs(vocab))

    return run


def answers(doc: Doc) -> list[list[str]]:
    found = doc.user_data["._.", "jbert_questions", None, None]
    return [[doc.text[start:end] for start, end in of["answers"]] for of in found]


def test_a_document_a_text_with_its_questions(convert: Callable) -> None:
    two = squad(qa(), qa("東大寺", 0, id="b"))
    (doc,) = convert(two)
    assert doc.text == CONTEXT
    assert answers(doc) == [["約15メートル"], ["東大寺"]]
    assert doc.user_data["group"] == "東大寺"


def test_what_has_no_answer(convert: Callable) -> None:
    impossible = qa(is_impossible=True)
    empty = {"question": "誰が？", "answers": []}
    hub = {"question": "いつ？", "answers": {"text": [], "answer_start": []}}
    (doc,) = convert(squad(qa(), impossible, empty, hub, {"question": "なぜ？"}))
    assert answers(doc) == [["約15メートル"], [], [], [], []]
    (doc,) = convert(squad({"question": "誰が？", "answers": [{"text": "", "answer_start": -1}]}))
    assert answers(doc) == [[]]


def test_places_that_overlap_are_several(convert: Callable, capsys: pytest.CaptureFixture) -> None:
    content = json.dumps(squad(qa("あいあ", 3), qa("いあと", 0)), ensure_ascii=False)
    (doc,) = convert(content.replace(CONTEXT, "あいあいあと"))
    assert answers(doc) == [["いあと"]]
    told = capsys.readouterr().err
    assert "[JW521]" in told
    assert "[JW523]" in told


def test_wrong_places_are_mended_where_there_is_one(
    convert: Callable, capsys: pytest.CaptureFixture
) -> None:
    (doc,) = convert(
        squad(
            qa(start=3),
            qa("奈良", 1),
            qa("京都", 2),
            qa(" 東大寺", 0),
            qa("大仏は ", 14),
            qa(start=-1),
        )
    )
    assert answers(doc) == [["約15メートル"], ["約15メートル"]]
    told = capsys.readouterr().err
    assert "[JW521]" in told
    assert told.count("4 answers") == 1  # JW523
    assert "[JW525]" in told


def test_white_space_at_the_ends_is_left_out(convert: Callable) -> None:
    (doc,) = convert(squad(qa(" 奈良\n", 1), context="は 奈良\nだ"))
    assert answers(doc) == [["奈良"]]


def test_flat_records_and_folders(convert: Callable, tmp_path: Path) -> None:
    flat = {"context": CONTEXT, "answers": {"text": ["奈良"], "answer_start": [4]}}
    lines = [{**flat, "question": "どこ？"}, {**flat, "question": "何県？"}]
    rows = "\n".join(json.dumps(line) for line in lines)
    (doc,) = convert(rows, "data.jsonl")
    assert answers(doc) == [["奈良"], ["奈良"]]
    folder = tmp_path / "parts"
    folder.mkdir()
    for i in range(10):
        context = f"これは{i}番目の話。"
        content = squad(qa(f"{i}番目", 3), context=context, title=f"話{i // 2}")
        (folder / f"{i}.json").write_text(json.dumps(content), encoding="utf-8")
    convert_squad(folder, out=tmp_path / "split", split="60/20/20")
    vocab = spacy.blank("ja").vocab
    titles = [
        {doc.user_data["group"] for doc in DocBin().from_disk(file).get_docs(vocab)}
        for file in sorted((tmp_path / "split").glob("*.spacy"))
    ]
    assert len(titles) == 3
    assert sum(map(len, titles)) == len(set().union(*titles)) == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"\[J204\]"),
        ('{"data": [\n\n{"a" 1}]}', r"line 3.*\[J204\]"),
        ("[]", r"\[J521\].*data is missing"),
        ({"data": 3}, r"\[J521\].*data is 3"),
        ({"data": [{}]}, r"\[J521\].*data\[0\].paragraphs is missing"),
        ({"data": [3]}, r"\[J521\].*data\[0\] is 3"),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, r"\[J521\].*context: it is missing"),
        ({"data": [{"paragraphs": [{"context": 3, "qas": []}]}]}, r"\[J521\].*context: it is 3"),
        ({"data": [{"paragraphs": [{"context": "あ"}]}]}, r"\[J521\].*qas is missing"),
        (squad({"answers": []}), r"\[J521\].*qas\[0\] has no good question"),
        (squad({"question": " ", "answers": []}), r"\[J521\].*empty question"),
        (squad(qa(answers=3)), r"\[J521\].*answers is 3"),
        (squad(qa(answers=[{"text": "奈良"}])), r"\[J521\].*answers\[0\] has no good answer_start"),
        (squad(qa(answers=[{"text": "奈良", "answer_start": True}])), r"\[J521\].*True"),
        (squad(qa(answers={"text": ["奈良"]})), r"\[J521\].*as many text"),
        (squad(qa(is_impossible="no")), r"\[J521\].*is_impossible"),
        (squad(), r"\[J522\].*there are none"),
        (squad(qa("京都", 0)), r"\[J522\].*no answer is in its text"),
        (squad(qa(), context="\ud800" + CONTEXT), r"\[J215\]"),
        (squad({"question": "\ud800", "answers": []}), r"\[J215\]"),
        ("", r"\[J202\]"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_written(
    convert: Callable, tmp_path: Path, content: Any, message: str
) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(DataError, match=rf"(?s)data\.json.*{message}|{message}"):
        convert(text)
    assert not (tmp_path / "out").exists()


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\[J201\]"):
        convert_squad(tmp_path / "nowhere.json", out=tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"\[J201\]"):
        convert_squad(tmp_path / "empty", out=tmp_path / "out")
    with pytest.raises(DataError, match=r"\[J221\]"):
        convert_squad(out=tmp_path / "out")
    latin = tmp_path / "latin.json"
    latin.write_bytes('{"data": "奈良"}'.encode("cp932"))
    with pytest.raises(DataError, match=r"\[J2(03|28)\]"):
        convert_squad(latin, out=tmp_path / "out")
