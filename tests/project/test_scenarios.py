"""The scenarios as a user runs them: the workflow `all`, with the package and the pipelines it makes
as wheels, and what was trained moved away."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from .. import hour

ROOT = Path(__file__).parents[2]
PARTS = ["configs", "project/assets/sample", "project/assets/jbert-mini"]

# Two to three minutes of one core each; a machine that is full takes ten times as long.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def run_all(python: Path, to: Path, name: str, **settings: object) -> Path:
    """Run a scenario in a copy of what a checkout has beside the package, from its own folder, and
    install the wheel that it made.

    RETURNS (Path): The scenario's folder.
    """
    for part in (*PARTS, f"project/scenarios/{name}"):
        shutil.copytree(ROOT / part, to / part, ignore=_left_behind)
    folder = to / "project" / "scenarios" / name
    words = [word for key, value in settings.items() for word in (f"--vars.{key}", value)]
    hour.run(python, "-m", "spacy", "project", "run", "all", ".", *words, cwd=folder)
    (wheel,) = folder.glob("packages/*/dist/*.whl")
    hour.run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=to)
    return folder


def _left_behind(folder: str, names: list[str]) -> list[str]:
    """What earlier runs in this checkout left."""
    made = {"corpus", "training", "metrics", "packages", "answers", "lists", "project.lock"}
    return [name for name in names if name in made or name == "__pycache__"]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_support(wheel_python: Path, tmp_path: Path) -> None:
    # Of 20 steps nothing can be asked.
    folder = run_all(wheel_python, tmp_path, "support", steps=20, precision=0.05)
    replies = lines(folder / "answers/queries.jsonl")
    assert len(replies) == 360
    for reply in replies:
        assert len({candidate["answer"] for candidate in reply["faq"]}) == 5
        assert 0.0 <= reply["confidence"] <= 1.0
        for slot in reply["slots"]:
            assert reply["text"][slot["start"] : slot["end"]] == slot["text"]
    # What else the records had.
    assert {"split", "intent", "faq"} <= set(replies[0])
    figures = json.loads((folder / "metrics/support.json").read_text(encoding="utf-8"))
    assert figures["queries"] == 72
    assert figures["faq"]["words"]["recall@5"] > 0.4
    # The installed wheel searches the index that the folder's pipeline made, and says the same.
    shutil.rmtree(folder / "training/support")
    shutil.rmtree(folder / "training/joint")
    options = ["--faq", "training/faq", "--by", "hybrid", "--out", "again.jsonl"]
    program = ["scripts/answer.py", "ja_jbert_support", "data/queries.jsonl", *options]
    hour.run(wheel_python, *program, cwd=folder)
    assert lines(folder / "again.jsonl") == replies


def test_recommendation(wheel_python: Path, tmp_path: Path) -> None:
    folder = run_all(wheel_python, tmp_path, "recommendation", users=40, steps=4)
    items = {item["id"] for item in lines(folder / "data/items.jsonl")}
    clicked: dict[str, set[str]] = {}
    for click in lines(folder / "corpus/before.jsonl"):
        clicked.setdefault(click["user"], set()).add(click["item"])
    users = lines(folder / "lists/users.jsonl")
    assert {user["user"] for user in users} == set(clicked)
    for user in users:
        ids = [item["id"] for item in user["items"]]
        assert len(ids) == len(set(ids)) == 10
        assert set(ids) <= items - clicked[user["user"]]
    figures = json.loads((folder / "metrics/recommendation.json").read_text(encoding="utf-8"))
    for way in ("popularity", "BM25, the last 5 clicks", "vectors, half-life 30 days"):
        assert set(figures[way]) == {"all", "warm", "cold"}
        assert 0.0 <= figures[way]["cold"]["nDCG@10"] <= 1.0
    alike = [of["cosine of items"] for of in figures["diversity"].values()]
    assert alike == sorted(alike, reverse=True)
    # Nobody has clicked on the last items, and some lists have them.
    known = set().union(*clicked.values())
    assert any(item["id"] not in known for user in users for item in user["items"])
    shutil.rmtree(folder / "training/items")
    program = ["scripts/recommend.py", "ja_jbert_items", "training/index", "corpus/before.jsonl"]
    options = ["--out", "again.jsonl", "--half-life", 30, "--diversity", 0.3]
    hour.run(wheel_python, *program, *options, cwd=folder)
    assert lines(folder / "again.jsonl") == users
