"""The scripts of the scenarios, on what a workflow doesn't give them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import spacy
import typer
from spacy.language import Language
from spacy.training import Example

from spacy_jbert.search.index import Entry, Index

from ..conftest import SENTENCES
from ..search.test_index import make
from .test_chabsa import script

SCENARIOS = "project/scenarios"
answering = script(f"{SCENARIOS}/support/scripts/answer.py")
measuring_support = script(f"{SCENARIOS}/support/scripts/measure.py")
measuring = script(f"{SCENARIOS}/recommendation/scripts/measure.py")


@pytest.fixture(scope="module")
def nlp(checkpoint: Callable[[str], Path]) -> Language:
    return make(checkpoint("bert-fast"))


def clicks(path: Path, **items: Sequence[str]) -> Path:
    """Of each user, in order."""
    lines = [
        {"user": user, "item": item, "time": 1e9 + n}
        for user, theirs in items.items()
        for n, item in enumerate(theirs)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def measured(nlp: Language, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    Index.build(nlp, [Entry(f"i{n}", SENTENCES[n]) for n in range(3)], tmp_path / "index")
    nlp.to_disk(tmp_path / "pipe")

    def measure(**items: Sequence[str]) -> dict[str, Any]:
        before = clicks(tmp_path / "before.jsonl", **items)
        after = clicks(tmp_path / "after.jsonl", **{user: ["i1"] for user in items})
        out = tmp_path / "figures.json"
        measuring.main(str(tmp_path / "pipe"), tmp_path / "index", before, after, out)
        text = out.read_text(encoding="utf-8")
        assert "NaN" not in text
        return json.loads(text)["diversity"]

    return measure


@pytest.mark.parametrize("seen", [["i0", "i1", "i2"], ["i0", "i1"]])
def test_lists_too_short_for_diversity(
    measured: Callable[..., dict[str, Any]], seen: list[str]
) -> None:
    """Of nobody else there are no figures; those of others stay as they are without them."""
    for figures in measured(u=seen).values():
        assert figures == {"nDCG@10": None, "cosine of items": None, "topics": None}
    assert measured(u=seen, v=["i0"]) == measured(v=["i0"])


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    nlp = spacy.blank("xx")
    cats = {"a": 1.0, "b": 0.0}
    examples = [Example.from_dict(nlp.make_doc("w"), {"cats": cats})]
    nlp.add_pipe("textcat").initialize(lambda: examples, nlp=nlp)
    nlp.to_disk(tmp_path / "pipe")
    return tmp_path / "pipe"


def fails(capsys: pytest.CaptureFixture, call: Callable[[], None]) -> str:
    with pytest.raises(typer.Exit):
        call()
    return capsys.readouterr().err


def test_queries_that_no_pipeline_reads_are_named(
    desk: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    queries, out = tmp_path / "queries.jsonl", tmp_path / "out.jsonl"

    def write(*texts: str) -> None:
        records = ({"text": text, "split": "test", "intent": "a"} for text in texts)
        lines = "".join(json.dumps(record) + "\n" for record in records)
        queries.write_text(lines, encoding="utf-8")

    def answer() -> None:
        answering.main(str(desk), queries, out, None, None)

    for text, code in (("a" * 1_000_001, "J591"), (" ", "J587")):
        write("first", text, "last")
        assert f"{queries}, line 2: [{code}]" in fails(capsys, answer)
        assert not out.exists()
        said = fails(capsys, lambda: measuring_support.main(str(desk), queries))
        assert f"{queries}, line 2: [{code}]" in said
    write("first", "last")
    answer()
    assert len(out.read_text(encoding="utf-8").splitlines()) == 2
