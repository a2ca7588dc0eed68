"""Pipelines that answer questions, at work: over HTTP, and in bulk."""

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import spacy
from fastapi.testclient import TestClient
from spacy.language import Language
from spacy.tokens import DocBin

from spacy_jbert.errors import DataError
from spacy_jbert.serving.app import build
from spacy_jbert.serving.bulk import annotate
from spacy_jbert.serving.limits import Limits
from spacy_jbert.serving.pipelines import Pipeline

from ..pipeline.asked import ASKED, examples, make, train

TEXT, QUESTION, ANSWER = ASKED[0]


@pytest.fixture(scope="module")
def trained(checkpoint: Callable) -> Language:
    nlp = make(checkpoint("bert-fast"))
    train(nlp, examples(nlp), 60)
    return nlp


@pytest.fixture
def client(trained: Language) -> Iterator[TestClient]:
    rules = spacy.blank("ja")
    pipelines = [Pipeline("qa", trained), Pipeline("rules", rules)]
    with TestClient(build(pipelines, Limits(texts=4, text=100))) as one:
        yield one


def said(trained: Language, text: str, *questions: str) -> list[dict[str, Any]]:
    """What the component says in this process, as JSON."""
    found = trained.get_pipe("qa").answer([(trained.make_doc(text), of) for of in questions])
    return [
        {
            "question": of.question,
            "answers": [one._asdict() | {"score": round(one.score, 6)} for one in of.answers],
            "no_answer": round(of.no_answer, 6),
        }
        for of in found
    ]


def test_an_answer(client: TestClient, trained: Language) -> None:
    questions = [QUESTION, "いくらですか。"]
    asked = {"text": TEXT, "questions": questions}
    found = client.post("/v1/qa/analyze", json=asked).json()
    assert found["answers"] == said(trained, TEXT, *questions)
    assert found["answers"][0]["answers"][0]["text"] == ANSWER
    assert "answers" not in client.post("/v1/qa/analyze", json={"text": TEXT}).json()
    about = {one["name"]: one for one in client.get("/models").json()["models"]}
    assert about["qa"]["answers_questions"]
    assert not about["rules"]["answers_questions"]
    metrics = client.get("/metrics").text
    assert 'jbert_questions_total{answered="true",model="qa"}' in metrics
    assert 'jbert_confidence_count{kind="answer",model="qa"}' in metrics


def test_each_gets_the_answer_to_its_own_question(client: TestClient, trained: Language) -> None:
    def ask(number: int) -> bool:
        text, question, _ = ASKED[number % len(ASKED)]
        asked = {"text": text, "questions": [question]}
        return client.post("/v1/qa/analyze", json=asked).json()["answers"] == expected[question]

    expected = {question: said(trained, text, question) for text, question, _ in ASKED}
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(48)))
    several = {"texts": [text for text, _, _ in ASKED[:4]], "questions": [QUESTION]}
    results = client.post("/v1/qa/batch", json=several).json()["results"]
    assert [one["answers"] for one in results] == [
        said(trained, text, QUESTION) for text in several["texts"]
    ]


@pytest.mark.parametrize(
    ("model", "asked", "code"),
    [
        ("rules", {"text": TEXT, "questions": [QUESTION]}, "J438"),
        ("qa", {"text": TEXT, "questions": ["　"]}, "J441"),
        ("qa", {"text": TEXT, "questions": QUESTION}, "J441"),
        ("qa", {"text": TEXT, "questions": ["\ud800"]}, "J441"),
        ("qa", {"text": TEXT, "questions": [QUESTION] * 5}, "J443"),
        ("qa", {"text": TEXT, "questions": ["？" * 101]}, "J442"),
    ],
)
def test_what_can_not_be_asked(client: TestClient, model: str, asked: Any, code: str) -> None:
    body = json.dumps(asked)
    headers = {"Content-Type": "application/json"}
    answer = client.post(f"/v1/{model}/analyze", content=body, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == code


def test_a_question_is_not_logged(
    client: TestClient, trained: Language, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    long = "どこで見学しましたか。" * 9
    assert client.post("/v1/qa/analyze", json={"text": TEXT, "questions": [long]}).is_success
    assert "[JW520]" in caplog.text
    assert "見学" not in caplog.text


@pytest.fixture
def model(trained: Language, tmp_path: Path) -> str:
    trained.to_disk(tmp_path / "model")
    return str(tmp_path / "model")


def test_in_bulk(trained: Language, model: str, tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    rows = [
        {"text": TEXT, "ask": QUESTION},
        {"text": ASKED[1][0], "ask": [ASKED[1][1], QUESTION]},
        {"text": TEXT, "ask": 3},
    ]
    records.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked = {"questions": ("いくらですか。",), "question_field": "ask"}
    annotate([records], model=model, out=tmp_path / "jsonl", **asked)  # type: ignore[arg-type]
    lines = (tmp_path / "jsonl" / "part-00000.jsonl").read_text("utf-8").splitlines()
    first, second = (json.loads(line)["answers"] for line in lines)
    assert first == said(trained, TEXT, QUESTION, "いくらですか。")
    assert second == said(trained, ASKED[1][0], ASKED[1][1], QUESTION, "いくらですか。")
    (rejected,) = (tmp_path / "jsonl" / "rejected.jsonl").read_text("utf-8").splitlines()
    assert json.loads(rejected)["line"] == 3
    assert "[J207]" in rejected
    parquet = pytest.importorskip("pyarrow.parquet")
    annotate([records], model=model, out=tmp_path / "parquet", format="parquet", **asked)  # type: ignore[arg-type]
    table = parquet.read_table(tmp_path / "parquet" / "part-00000.parquet")
    assert [row["answers"] for row in table.to_pylist()] == [first, second]
    # Questions that a DocBin brings along are answered, too.
    annotate([records], model=model, out=tmp_path / "spacy", format="spacy", **asked)  # type: ignore[arg-type]
    annotate([tmp_path / "spacy" / "part-00000.spacy"], model=model, out=tmp_path / "again")
    lines = (tmp_path / "again" / "part-00000.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["answers"] for line in lines] == [first, second]
    # What is asked besides comes after them, and nothing is asked twice.
    more = ("いくらですか。", "いつですか。")
    source = tmp_path / "spacy" / "part-00000.spacy"
    annotate([source], model=model, out=tmp_path / "more", questions=more)
    lines = (tmp_path / "more" / "part-00000.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[0])["answers"] == said(trained, TEXT, QUESTION, *more)
    docs = DocBin().from_disk(tmp_path / "spacy" / "part-00000.spacy").get_docs(trained.vocab)
    assert [of["question"] for of in next(iter(docs))._.jbert_answers] == [
        QUESTION,
        "いくらですか。",
    ]


def test_who_answers_nothing_is_asked_nothing_in_bulk(tmp_path: Path, model: str) -> None:
    (tmp_path / "in.txt").write_text(TEXT, encoding="utf-8")
    spacy.blank("ja").to_disk(tmp_path / "blank")
    inputs, out = [tmp_path / "in.txt"], tmp_path / "out"
    with pytest.raises(ValueError, match=r"\[J438\]"):
        annotate(inputs, model=str(tmp_path / "blank"), out=out, questions=(QUESTION,))
    with pytest.raises(ValueError, match=r"\[J525\]"):
        annotate(inputs, model=model, out=out, questions=(" ",))
    with pytest.raises(DataError, match=r"\[J206\]"):
        annotate(inputs, model=model, out=out, question_field="ask")
    assert not list(out.glob("part-*"))
