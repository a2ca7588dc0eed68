"""Somebody's own meta.json, of which the model card takes things over."""

import json
from pathlib import Path
from typing import Any

import pytest
from spacy.cli import app
from typer.testing import CliRunner

import spacy_jbert.cli.app  # noqa: F401  (adds its commands to spaCy's)
from spacy_jbert.evaluation.card import read_meta

GOOD = {"description": "名前", "sources": ["新聞", {"name": "夜の森", "license": None}]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "isn't JSON"),
        (b"", "isn't JSON"),
        (b"[" * 100_000, "isn't JSON"),
        (json.dumps(GOOD, ensure_ascii=False).encode("cp932"), "isn't UTF-8"),
        (json.dumps(GOOD).encode("utf-16"), "isn't UTF-8"),
        (b'{"notes": "\\ud800"}', "half a character"),
        (b"[]", "isn't an object"),
        (b"null", "isn't an object"),
        (b'{"notes": 3}', "notes isn't text"),
        (b'{"license": ["MIT"]}', "license isn't text"),
        (b'{"sources": {"name": "x"}}', "sources aren't a list"),
        (b'{"sources": ["x", {"url": "y"}]}', "source 2 has no name"),
        (b'{"sources": [{"name": ""}]}', "source 1 has no name"),
        (b'{"sources": [{"name": "x", "license": 3}]}', "source 1"),
        (b'{"sources": [null]}', "source 1"),
    ],
)
def test_what_is_wrong_in_a_meta(content: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "meta.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="J417") as raised:
        read_meta(file)
    assert reason in str(raised.value)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    "meta", [{}, GOOD, {"notes": None, "sources": None}, {"license": "", "sources": []}]
)
def test_what_may_be_in_a_meta(meta: dict[str, Any], mark: bytes, tmp_path: Path) -> None:
    file = tmp_path / "meta.json"
    file.write_bytes(mark + json.dumps(meta, ensure_ascii=False).encode())
    assert read_meta(file) == meta


def test_a_meta_is_read_before_anything_is_measured(tmp_path: Path) -> None:
    """There is no such pipeline, and nobody has looked for it."""
    meta, data = tmp_path / "meta.json", tmp_path / "test.spacy"
    meta.write_text("[]", encoding="utf-8")
    data.touch()
    words = ["no such pipeline", str(data), "--card", str(tmp_path / "card.json")]
    done = CliRunner().invoke(app, ["jbert", "report", *words, "--meta", str(meta)])
    assert (done.exit_code, "[J417]" in done.output) == (1, True), done.output
    assert not (tmp_path / "card.json").exists()
