"""Indexes: what is found, what they keep, whose they are."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import spacy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from spacy.language import Language
from typer.testing import CliRunner

from spacy_jbert.cli.app import app
from spacy_jbert.errors import DataError
from spacy_jbert.search import nearest as nearest_module
from spacy_jbert.search.entries import read_entries
from spacy_jbert.search.index import Entry, Index
from spacy_jbert.search.nearest import nearest
from spacy_jbert.search.words import Terms, read_stop_words

from ..conftest import SENTENCES

QUESTIONS = [
    "駅から近い部屋はありますか。",
    "朝食は何時からですか。",
    "駐車場は無料で使えますか。",
    "禁煙の部屋はありますか。",
    "犬を連れて泊まれますか。",
]


def make(folder: Path, **vectors: Any) -> Language:
    torch.manual_seed(0)
    nlp = spacy.blank(
        "ja", config={"nlp": {"tokenizer": {"@tokenizers": "spacy-jbert.SudachiTokenizer.v1"}}}
    )
    setter = {"@annotation_setters": "spacy-jbert.doc_vectors.v1", **vectors}
    nlp.add_pipe("jbert_transformer", name="transformer", config={"set_extra_annotations": setter})
    loader = {"@misc": "spacy-jbert.HFEncoder.v1", "name": str(folder)}
    nlp.config["initialize"]["components"]["transformer"] = {"encoder": loader}
    nlp.initialize()
    return nlp


@pytest.fixture(scope="module")
def nlp(checkpoint: Callable[[str], Path]) -> Language:
    return make(checkpoint("bert-fast"))


@pytest.fixture(scope="module")
def index(nlp: Language) -> Index:
    return Index.build(nlp, [Entry(f"q{i}", text, {"i": i}) for i, text in enumerate(QUESTIONS)])


def test_texts_find_themselves(index: Index) -> None:
    for by in ("vectors", "words", "hybrid"):
        for i, hits in enumerate(index.search_many(QUESTIONS, 3, by=by)):
            assert (hits[0].id, hits[0].text, hits[0].meta) == (f"q{i}", QUESTIONS[i], {"i": i})
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert index.search(QUESTIONS[0], by="vectors")[0].score == pytest.approx(1.0, abs=1e-5)


def test_words_are_normalised(index: Index) -> None:
    """附属 is 付属; particles and verbs such as ある find nothing."""
    assert [hit.id for hit in index.search("パーキングと駐車場", by="words")] == ["q2"]
    assert index.search("ありますか", by="words") == []
    assert index.search("でもスキーは", by="words") == []
    assert len(index.search("でもスキーは", 3)) == 3


def test_terms(nlp: Language) -> None:
    doc = nlp.make_doc("ＰＹＴＨＯＮの附属サーバ。")
    assert Terms()(doc) == ["python", "付属", "サーバー"]
    assert "の" in Terms([])(doc)
    assert Terms(["附属", "Python", "の"])(doc) == ["サーバー"]


def test_stop_words(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("ホテル\n\n部屋\n", encoding="utf-8")
    assert read_stop_words(str(tmp_path / "words.txt")) == ["ホテル", "部屋"]
    assert read_stop_words("none") == []
    assert read_stop_words("default") is None


def test_the_weight_goes_from_words_to_vectors(index: Index) -> None:
    query = "朝食の時間"
    for weight, by in ((0.0, "words"), (1.0, "vectors")):
        best = index.search(query, 1, by="hybrid", weight=weight)[0]
        assert best.id == index.search(query, 1, by=by)[0].id


def test_neighbours(index: Index) -> None:
    hits = index.like(0, 2)
    assert len(hits) == 2
    assert "q0" not in [hit.id for hit in hits]
    mean = np.stack([index.vector(0) * 3, index.vector(0)]).mean(axis=0)
    assert index.nearest(mean[None], 1)[0][0].id == "q0"


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_nearest_is_what_a_full_sort_gives(seed: int, count: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, (count, 4)).astype(np.float32)
    queries = rng.integers(-1, 2, (3, 4)).astype(np.float32)
    before, nearest_module._BLOCK = nearest_module._BLOCK, 7
    try:
        rows, cosines = nearest(queries, vectors, n)
    finally:
        nearest_module._BLOCK = before
    expected = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :n]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(cosines, np.take_along_axis(queries @ vectors.T, rows, axis=1))


def test_a_graph_finds_the_same(
    nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = Index.build(nlp, SENTENCES)
    monkeypatch.setattr(nearest_module, "EXACT_MOST", 10)
    graph = Index.build(nlp, SENTENCES, tmp_path / "index")
    assert graph._graph is not None
    for ours, theirs in zip(
        graph.search_many(QUESTIONS, 3, by="vectors"),
        exact.search_many(QUESTIONS, 3, by="vectors"),
        strict=True,
    ):
        assert [hit.id for hit in ours] == [hit.id for hit in theirs]


def test_added_texts_are_as_if_they_had_been_there(nlp: Language, tmp_path: Path) -> None:
    whole = Index.build(nlp, QUESTIONS)
    grown = Index.build(nlp, QUESTIONS[:2], tmp_path / "index", batch_size=1)
    assert grown.add(QUESTIONS[2:]) == 3
    for one in (grown, Index.load(tmp_path / "index", nlp)):
        for by in ("vectors", "words", "hybrid"):
            for ours, theirs in zip(
                one.search_many(QUESTIONS, by=by), whole.search_many(QUESTIONS, by=by), strict=True
            ):
                assert [hit.id for hit in ours] == [hit.id for hit in theirs]
                scores = [hit.score for hit in theirs]
                np.testing.assert_allclose([hit.score for hit in ours], scores, atol=1e-5)


def test_whose_it_is(nlp: Language, checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    Index.build(nlp, QUESTIONS, tmp_path / "index")
    nlp.to_disk(tmp_path / "nlp")
    assert len(Index.load(tmp_path / "index", spacy.load(tmp_path / "nlp"))) == 5
    for other in (
        make(checkpoint("electra")),
        make(checkpoint("bert-fast"), pooling="cls"),
        make(checkpoint("bert-fast"), prefix="東京"),
    ):
        with pytest.raises(DataError, match="J512"):
            Index.load(tmp_path / "index", other)


def test_texts_are_read_with_another_prefix(
    checkpoint: Callable[[str], Path], nlp: Language
) -> None:
    other = make(checkpoint("bert-fast"), index_prefix="東京")
    plain, prefixed = (Index.build(of, QUESTIONS, words=False) for of in (nlp, other))
    assert not np.allclose(plain.vector(0), prefixed.vector(0), atol=1e-3)
    np.testing.assert_allclose(nlp("犬").vector, other("犬").vector, atol=1e-6)


def test_a_failure_leaves_the_old_index(nlp: Language, tmp_path: Path) -> None:
    index = Index.build(nlp, QUESTIONS[:2], tmp_path / "index")

    def broken() -> Iterator[str]:
        yield QUESTIONS[2]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        index.add(broken())
    assert len(Index.load(tmp_path / "index", nlp)) == 2
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["index"]


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ([], "J514"),
        (["一", " "], "J513"),
        ([Entry("a", "一"), Entry("a", "二")], "J513"),
        ([None], "J513"),
        (["一", "あ" * 1_000_001], "J513"),
    ],
)
def test_texts_that_cannot_be_indexed(texts: list[Any], code: str, nlp: Language) -> None:
    with pytest.raises(ValueError, match=code):
        Index.build(nlp, texts)


@pytest.mark.parametrize(
    ("query", "settings_"),
    [
        ("", {}),
        (None, {}),
        ("犬", {"n": 0}),
        ("犬", {"n": 2.5}),
        ("犬", {"by": "magic"}),
        ("犬", {"weight": 2.0}),
    ],
)
def test_searches_that_cannot_be(query: str, settings_: dict[str, Any], index: Index) -> None:
    with pytest.raises(ValueError, match="J515"):
        index.search(query, **settings_)


def test_numbers_of_numpy(index: Index) -> None:
    assert index.search("犬", np.int64(2)) == index.search("犬", 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("vectors", [np.ones(3), np.ones((1, 3)), np.full((1, 1), np.nan)])
def test_vectors_that_cannot_be_looked_for(vectors: Any, index: Index) -> None:
    if np.isnan(vectors).any():
        vectors = np.full((1, len(index.vector(0))), np.nan)
    with pytest.raises(ValueError, match="J515"):
        index.nearest(vectors)


def test_documents_without_vectors(index: Index) -> None:
    with pytest.raises(ValueError, match="J509"):
        index.search_docs([spacy.blank("ja")("犬")])


def test_an_open_index_is_that_which_was_opened(nlp: Language, tmp_path: Path) -> None:
    before = Index.build(nlp, QUESTIONS, tmp_path / "index")
    query = "朝食"
    expected = {by: before.search(query, by=by) for by in ("words", "hybrid")}
    opened = Index.load(tmp_path / "index", nlp)
    Index.build(nlp, [f"{i}番の猫と暮らす。" for i in range(9)], tmp_path / "index")
    for by, hits in expected.items():
        assert opened.search(query, by=by) == hits  # type: ignore[arg-type]


def test_without_words(nlp: Language) -> None:
    index = Index.build(nlp, QUESTIONS, words=False)
    assert index.search(QUESTIONS[1], 1)[0].id == "1"
    with pytest.raises(ValueError, match="J515"):
        index.search("犬", by="words")


def test_a_text_without_any_term(nlp: Language) -> None:
    index = Index.build(nlp, ["。", "の"])
    assert index.search("。", by="words") == []
    assert len(index.search("。")) == 2


def test_damage(nlp: Language, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    Index.build(nlp, QUESTIONS, folder)
    for name in ("vectors.f32", "entries.jsonl", "terms.json", "index.json"):
        damaged = tmp_path / name
        shutil.copytree(folder, damaged)
        content = (damaged / name).read_bytes()
        (damaged / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match="J511"):
            Index.load(damaged, nlp)
    with pytest.raises(DataError, match="J511"):
        Index.load(tmp_path / "nothing", nlp)


def test_a_pipeline_without_vectors() -> None:
    with pytest.raises(ValueError, match="J510"):
        Index.build(spacy.blank("ja"), QUESTIONS)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("一\n\n二\n", encoding="utf-8")
    record = {"name": "x", "question": "三", "answer": "四"}
    (tmp_path / "b.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    (tmp_path / "c.csv").write_text("question,url\n五,http\n", encoding="cp932")
    entries = list(read_entries([tmp_path / "a.txt"]))
    assert [(entry.id, entry.text) for entry in entries] == [("a.txt:1", "一"), ("a.txt:3", "二")]
    (entry,) = read_entries([tmp_path / "b.jsonl"], text_field="question", id_field="name")
    assert entry == Entry("x", "三", {"answer": "四"})
    (entry,) = read_entries([tmp_path / "c.csv"], text_field="question", encoding="cp932")
    assert entry == Entry("c.csv:2", "五", {"url": "http"})
    with pytest.raises(DataError, match="J206"):
        list(read_entries([tmp_path / "b.jsonl"]))


def test_commands(nlp: Language, tmp_path: Path) -> None:
    nlp.to_disk(tmp_path / "nlp")
    lines = [json.dumps({"id": f"q{i}", "text": t}) for i, t in enumerate(QUESTIONS)]
    (tmp_path / "faq.jsonl").write_text("\n".join(lines), encoding="utf-8")
    model = ["--model", str(tmp_path / "nlp")]
    out = tmp_path / "faq.index"
    run = CliRunner().invoke
    done = run(app, ["index", str(tmp_path / "faq.jsonl"), *model, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "5 texts" in done.stdout
    (tmp_path / "more.txt").write_text("スキー場はありますか。", encoding="utf-8")
    done = run(app, ["index", str(tmp_path / "more.txt"), *model, "--out", str(out), "--add"])
    assert "6 texts" in done.stdout
    done = run(app, ["search", str(out), QUESTIONS[1], *model, "-n", "1", "--json"])
    assert json.loads(done.stdout)["hits"][0]["id"] == "q1"
    done = run(app, ["search", str(out), *model, "--by", "words"], input="スキー場\n朝食\n")
    assert "more.txt:1" in done.stdout
    assert "q1" in done.stdout
    done = run(app, ["search", str(tmp_path / "nlp"), "犬", *model])
    assert done.exit_code == 1
    assert "J511" in done.stderr


def test_what_is_no_index_is_never_replaced(nlp: Language, tmp_path: Path) -> None:
    folder, file = tmp_path / "thesis", tmp_path / "notes.txt"
    folder.mkdir()
    (folder / "chapter.txt").write_text("x")
    file.write_text("y")
    for target in (folder, file):
        with pytest.raises(FileExistsError, match="J519"):
            Index.build(nlp, QUESTIONS, target)
    assert (folder / "chapter.txt").read_text() == "x"
    assert file.read_text() == "y"
    (tmp_path / "empty").mkdir()
    Index.build(nlp, QUESTIONS, tmp_path / "empty")
    assert len(Index.build(nlp, QUESTIONS[:2], tmp_path / "empty")) == 2
    assert not list(tmp_path.glob(".*.new"))


def test_two_that_add_to_one_index_lose_nothing(nlp: Language, tmp_path: Path) -> None:
    path = tmp_path / "faq"
    Index.build(nlp, [Entry("a", QUESTIONS[0])], path)
    one, other = Index.load(path, nlp), Index.load(path, nlp)
    assert one.add([Entry("b", QUESTIONS[1]), Entry("c", QUESTIONS[2])]) == 2
    assert other.add([Entry("d", QUESTIONS[3])]) == 1
    with pytest.raises(ValueError, match="J513"):
        one.add([Entry("d", QUESTIONS[4])])
    for index in (other, Index.load(path, nlp)):
        assert list(index.ids()) == ["a", "b", "c", "d"]
        for by in ("vectors", "words"):
            for row, text in enumerate(QUESTIONS[:4]):
                assert index.search(text, 1, by=by)[0].id == "abcd"[row]
    # Somebody else makes another one in its place.
    Index.build(nlp, [Entry("a", QUESTIONS[0])], path, words=False)
    assert one.add([Entry("b", QUESTIONS[1])]) == 1
    assert not one.words
    assert list(Index.load(path, nlp).ids()) == ["a", "b"]


def test_texts_without_a_name_get_one_that_is_free(nlp: Language) -> None:
    index = Index.build(nlp, [Entry("1", QUESTIONS[0]), *QUESTIONS[1:4]])
    assert list(index.ids()) == ["1", "2", "3", "4"]
    with pytest.raises(IndexError):
        index[-1]
    with pytest.raises(IndexError):
        index.like(4)
    assert len(index.search_many(iter(QUESTIONS[:2]))) == 2
    assert index.search("でもスキーは", weight=0.0) == []


def test_files_of_one_name_in_several_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(f"{name}の文\n\u200b\n", encoding="utf-8")
        (tmp_path / name / "y.jsonl").write_text('{"text": "文", "n": 3}\n', encoding="utf-8")
    ids = [entry.id for entry in read_entries([tmp_path])]
    assert ids == ["a/x.txt:1", "a/y.jsonl:1", "b/x.txt:1", "b/y.jsonl:1"]
    (entry,) = read_entries([tmp_path / "a/y.jsonl"], id_field="n")
    assert entry.id == "3"
    (tmp_path / "null.jsonl").write_text('{"text": "文", "n": null}\n', encoding="utf-8")
    with pytest.raises(DataError, match="J207"):
        list(read_entries([tmp_path / "null.jsonl"], id_field="n"))


def test_what_json_has_no_word_for(nlp: Language, tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "text": QUESTIONS[:2],
            "when": [datetime(2026, 1, 2), datetime(2026, 1, 3)],
            "price": [float("nan"), 2.5],
            "picture": [b"\xff", b""],
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    index = Index.build(nlp, read_entries([tmp_path / "a.parquet"]), tmp_path / "index")
    meta = {"when": "2026-01-02 00:00:00", "price": None, "picture": "/w=="}
    assert index[0].meta == meta
    Index.build(nlp, [Entry("a", "半分の文字", {"note": "\ud800"})], tmp_path / "half")
    assert Index.load(tmp_path / "half", nlp)[0].meta == {"note": "\ud800"}


def test_queries_that_are_no_utf_8(
    nlp: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp.to_disk(tmp_path / "pipe")
    Index.build(nlp, QUESTIONS, tmp_path / "faq")
    words = [sys.executable, "-m", "spacy", "jbert", "search"]
    words += [str(tmp_path / "faq"), "--model", str(tmp_path / "pipe")]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(words, input=b"\x8eR\n", capture_output=True, env=environment)
    assert done.returncode == 1
    assert b"[J203]" in done.stderr
    assert b"Traceback" not in done.stderr
