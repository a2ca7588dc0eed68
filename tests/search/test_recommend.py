"""From clicks to lists: whose vectors count, how much, and what comes out."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from spacy.language import Language

from spacy_jbert.errors import DataError
from spacy_jbert.models.diversity import choose_diverse
from spacy_jbert.search.index import Entry, Index
from spacy_jbert.search.recommend import DAY, Click, Recommender, read_clicks

from ..conftest import SENTENCES
from ..project.test_project import ROOT
from .test_index import make


@pytest.fixture(scope="module")
def nlp(checkpoint: Callable[[str], Path]) -> Language:
    return make(checkpoint("bert-fast"))


@pytest.fixture(scope="module")
def index(nlp: Language) -> Index:
    return Index.build(nlp, [Entry(f"i{n}", text) for n, text in enumerate(SENTENCES)])


def clicks(*items: str, apart: float = 60.0) -> list[Click]:
    """Of one user, the first one first."""
    return [Click("u", item, n * apart) for n, item in enumerate(items)]


def test_a_list_has_what_is_near_and_was_not_clicked_on(index: Index) -> None:
    recommender = Recommender(index)
    hits = recommender.recommend(clicks("i3"), 5)
    assert [hit.id for hit in hits] == [hit.id for hit in index.like(3, 5)]
    hits = recommender.recommend(clicks("i3", "i4", "i5"), len(index))
    assert {hit.id for hit in hits} == {f"i{n}" for n in range(len(index))} - {"i3", "i4", "i5"}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_what_nobody_has_clicked_on_is_found(nlp: Language) -> None:
    """A new item with the words of one that somebody liked comes first."""
    index = Index.build(nlp, [Entry(f"i{n}", text) for n, text in enumerate(SENTENCES)])
    index.add([Entry("new", SENTENCES[3].replace("大阪", "京都"))])
    assert Recommender(index).recommend(clicks("i3"), 1)[0].id == "new"
    assert Recommender(index).recommend(clicks("i3"), 1, by="words")[0].id == "new"


def test_recent_clicks_count_more(index: Index) -> None:
    old, new = index.vector(0), index.vector(1)
    profile = Recommender(index, half_life=1.0).profile(clicks("i0", "i1", apart=2 * DAY))
    np.testing.assert_allclose(profile, (new + old / 4) / 1.25, atol=1e-6)
    profile = Recommender(index, half_life=1e9).profile(clicks("i0", "i1", apart=2 * DAY))
    np.testing.assert_allclose(profile, (new + old) / 2, atol=1e-6)
    profile = Recommender(index, recent=1).profile(clicks("i0", "i1"))
    np.testing.assert_allclose(profile, new, atol=1e-6)


def test_a_session_ends_with_a_pause(index: Index) -> None:
    theirs = [Click("u", "i0", 0.0), Click("u", "i1", 7200.0), Click("u", "i2", 7300.0)]
    profile = Recommender(index, session=0.5, half_life=1e9).profile(theirs[::-1])
    np.testing.assert_allclose(profile, (index.vector(1) + index.vector(2)) / 2, atol=1e-4)
    # What was seen in earlier sessions isn't recommended all the same.
    hits = Recommender(index, session=0.5).recommend(theirs, len(index))
    assert not {"i0", "i1", "i2"} & {hit.id for hit in hits}


def test_clicks_on_what_is_gone_do_not_count(index: Index) -> None:
    recommender = Recommender(index)
    assert recommender.recommend(clicks("gone"), 5) == []
    assert recommender.recommend([], 5) == []
    assert not recommender.profile([]).any()
    both = recommender.recommend(clicks("i3", "gone"), 5)
    assert [hit.id for hit in both] == [hit.id for hit in recommender.recommend(clicks("i3"), 5)]


def test_search_by_words_leaves_the_pipeline_as_it_was(index: Index) -> None:
    before = index.nlp.pipe_names
    # 料理は美味しい…, …ラーメンは安くて美味しい…
    assert Recommender(index).recommend(clicks("i7"), 5, by="words")[0].id == "i18"
    assert index.nlp.pipe_names == before


def test_similar_items(index: Index) -> None:
    assert [hit.id for hit in Recommender(index).similar("i2", 3)] == [
        hit.id for hit in index.like(2, 3)
    ]
    with pytest.raises(ValueError, match="J581"):
        Recommender(index).similar("gone")


def test_a_diverse_list_has_items_less_alike(index: Index) -> None:
    def alike(diversity: float) -> float:
        found = Recommender(index, diversity=diversity).recommend(clicks("i0"), 4)
        assert len(found) == 4
        vectors = np.stack([index.vector(int(hit.id[1:])) for hit in found])
        return float((vectors @ vectors.T)[np.triu_indices(4, 1)].mean())

    assert alike(0.9) < alike(0.0)


@pytest.mark.parametrize(
    "settings", [{"half_life": 0}, {"session": -1.0}, {"recent": 0}, {"diversity": 1.5}]
)
def test_settings_that_make_no_sense(index: Index, settings: dict) -> None:
    with pytest.raises(ValueError, match="J580"):
        Recommender(index, **settings)


def chosen(relevance: np.ndarray, vectors: np.ndarray, n: int, diversity: float) -> list[int]:
    return choose_diverse(relevance, lambda i: vectors @ vectors[i], n, diversity)


def test_what_cannot_be_asked(index: Index) -> None:
    clicks = [Click("u", next(index.ids()), float("nan"))]
    with pytest.raises(ValueError, match="J580"):
        Recommender(index).recommend(clicks)
    with pytest.raises(ValueError, match="J580"):
        Recommender(index).recommend([], by="hybrid")  # type: ignore[arg-type]


def test_mmr_by_hand() -> None:
    """Carbonell & Goldstein's formula: of two that are one, the second is passed over."""
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    relevance = np.array([0.9, 0.8, 0.5], dtype=np.float32)
    assert chosen(relevance, vectors, 3, 0.0) == [0, 1, 2]
    # 0.5 · 0.8 − 0.5 · 1 < 0.5 · 0.5 − 0.5 · 0
    assert chosen(relevance, vectors, 2, 0.5) == [0, 2]
    assert chosen(relevance, vectors, 9, 0.5) == [0, 2, 1]
    assert chosen(np.zeros(0, np.float32), np.zeros((0, 2), np.float32), 3, 0.3) == []


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12), st.integers(1, 15), st.data())
def test_mmr_chooses_each_once(scores: list[float], n: int, data: st.DataObject) -> None:
    """The most relevant one comes first; the order is one of the candidates, whatever counts."""
    angles = data.draw(st.lists(st.floats(0, 6.3), min_size=len(scores), max_size=len(scores)))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    relevance = np.array(scores, dtype=np.float32)
    found = chosen(relevance, vectors, n, data.draw(st.floats(0, 0.9)))
    assert len(found) == len(set(found)) == min(n, len(scores))
    assert relevance[found[0]] == relevance.max()


def test_the_smallest_relevance_counts() -> None:
    relevance = np.array([0.0, 1e-45], dtype=np.float32)
    assert chosen(relevance, np.eye(2, dtype=np.float32), 1, 0.9) == [1]


def test_clicks_are_read_and_sorted(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text(
        "user,item,time\nb,i1,2026-01-02T00:00:00+00:00\na,i2,2026-01-01\nc,i3,1767225601\n",
        encoding="utf-8",
    )
    assert read_clicks(path) == [
        Click("a", "i2", 1767225600.0 - 9 * 3600),
        Click("c", "i3", 1767225601.0),
        Click("b", "i1", 1767312000.0),
    ]


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ('{"user": "", "item": "i", "time": 1}', "J582"),
        ('{"user": "u", "item": " ", "time": 1}', "J582"),
        ('{"user": "u", "item": null, "time": 1}', "J207"),
        ('{"user": "u", "item": "i", "time": "gestern"}', "J583"),
        ('{"user": "u", "item": "i", "time": true}', "J583"),
        ('{"user": "u", "item": "i", "time": "NaN"}', "J583"),
        ('{"user": "u", "item": "i", "time": null}', "J583"),
        ('{"user": "u", "item": "i"}', "J206"),
        ('{"user": ', "J20"),
    ],
)
def test_broken_clicks(tmp_path: Path, record: str, code: str) -> None:
    path = tmp_path / "clicks.jsonl"
    path.write_text('{"user": 7, "item": 8, "time": 1}\n' + record + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=code) as raised:
        read_clicks(path)
    assert "line 2" in str(raised.value)


def test_no_clicks(tmp_path: Path) -> None:
    path = tmp_path / "clicks.jsonl"
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="J584"):
        read_clicks(path)


def test_items_that_are_added_later(nlp: Language) -> None:
    index = Index.build(nlp, [Entry(f"i{n}", text) for n, text in enumerate(SENTENCES)])
    recommender = Recommender(index, diversity=0.3)
    assert recommender.recommend(clicks("new")) == []
    index.add([Entry("new", SENTENCES[3].replace("大阪", "京都"))])
    assert "new" in [hit.id for hit in recommender.recommend(clicks("i3"), 5)]
    assert "new" not in [hit.id for hit in recommender.recommend(clicks("new"), len(index))]
    assert recommender.similar("new", 1)[0].id == "i3"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("20260105", 1767538800.0),
        ("2026-01-05T00:00:00+09:00", 1767538800.0),
        ("1767538800", 1767538800.0),
        ("1767538800.5", 1767538800.5),
        (1767538800, 1767538800.0),
        ("2026", None),
        ("1_0", None),
        (1767538800000, None),
        ("1767538800000", None),
        (1e300, None),
        (-1, None),
        (True, None),
        (None, None),
    ],
)
def test_times_of_clicks(written: object, seconds: float | None, tmp_path: Path) -> None:
    path = tmp_path / "clicks.jsonl"
    path.write_text(json.dumps({"user": 1, "item": "a", "time": written}), encoding="utf-8")
    if seconds is None:
        with pytest.raises(DataError, match="J583"):
            read_clicks(path)
    else:
        assert read_clicks(path) == [Click("1", "a", seconds)]


def test_times_of_tables(tmp_path: Path) -> None:
    times = [datetime(2026, 1, 5), datetime(2026, 1, 5, tzinfo=UTC)]
    columns = {"user": ["u", "u"], "item": [1, 2]}
    for i, when in enumerate(times):
        table = pyarrow.table({**columns, "time": [when, when]})
        parquet.write_table(table, tmp_path / f"{i}.parquet")
    found = [read_clicks(tmp_path / f"{i}.parquet")[0].time for i in range(2)]
    assert found == [1767538800.0, 1767538800.0 + 9 * 3600]


def test_settings_that_cannot_be(index: Index) -> None:
    with pytest.raises(ValueError, match="J580"):
        Recommender(index, recent=2.5)  # type: ignore[arg-type]
    for n in (0, -1, 1.5):
        with pytest.raises(ValueError, match="J580"):
            Recommender(index).recommend(clicks("i3"), n)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="J580"):
            Recommender(index).similar("i3", n)  # type: ignore[arg-type]


def test_scripts_say_what_is_wrong(nlp: Language, tmp_path: Path) -> None:
    scripts = ROOT / "project" / "scenarios"

    def fails(code: str, script: str, *words: Path | str) -> None:
        command = [sys.executable, str(scripts / script), *map(str, words)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 1, done.stderr
        assert f"[{code}]" in done.stderr
        assert "Traceback" not in done.stderr

    items, clicked = tmp_path / "items.jsonl", tmp_path / "clicks.jsonl"
    items.write_text(json.dumps({"id": 1, "text": SENTENCES[0]}), encoding="utf-8")
    clicked.write_text(json.dumps({"user": "u", "item": 2, "time": 1767538800}), encoding="utf-8")
    nlp.to_disk(tmp_path / "pipe")
    Index.build(nlp, [Entry("1", SENTENCES[0], {"answer": "x"})], tmp_path / "index")
    fails("J589", "recommendation/scripts/prepare.py", items, clicked, tmp_path / "out")
    pair = clicked, clicked
    arguments = tmp_path / "pipe", tmp_path / "index", *pair
    fails("J589", "recommendation/scripts/measure.py", *arguments)
    queries = tmp_path / "queries.jsonl"
    measure = "support/scripts/measure.py"
    query = {"text": SENTENCES[1], "split": "train", "intent": "a", "faq": 7}
    queries.write_text(json.dumps(query), encoding="utf-8")
    fails("J590", measure, tmp_path / "pipe", queries)
    queries.write_text(json.dumps(query | {"split": "test"}), encoding="utf-8")
    fails("J581", measure, tmp_path / "pipe", queries, "--faq", tmp_path / "index")
