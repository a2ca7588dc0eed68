"""`python -m spacy jbert errors`:

the mistakes of a pipeline on the screen, as a page, for machines.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
from spacy.cli import app
from spacy.language import Language
from spacy.tokens import DocBin
from typer.testing import CliRunner, Result

import spacy_jbert.cli.app  # noqa: F401  (adds its commands to spaCy's)


@pytest.fixture
def run(tmp_path: Path, ner_examples: Callable, japanese: Language) -> Callable[..., Result]:
    """A pipeline that takes 田中 for a place and 猫 for a person and knows no other name, on sentences
    with names.
    """
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    nlp.add_pipe("entity_ruler").add_patterns(
        [{"label": "GPE", "pattern": "田中"}, {"label": "PERSON", "pattern": "猫"}]
    )
    nlp.to_disk(tmp_path / "pipeline")
    (tmp_path / "data").mkdir()
    DocBin(docs=[eg.reference for eg in ner_examples(japanese)]).to_disk(
        tmp_path / "data" / "test.spacy"
    )

    def invoke(*options: str) -> Result:
        command = [
            "jbert",
            "errors",
            str(tmp_path / "pipeline"),
            str(tmp_path / "data" / "test.spacy"),
            *options,
        ]
        return CliRunner().invoke(app, command)

    return invoke


def test_on_the_screen(run: Callable[..., Result]) -> None:
    shown = run("--limit", "3")
    assert shown.exit_code == 0, shown.output
    for kind in ("wrong type", "invented", "missed"):
        assert kind in shown.stdout
    assert "more: --limit" in shown.stdout
    assert "田中さんは昨日" in shown.stdout


def test_for_machines(run: Callable[..., Result]) -> None:
    everything = json.loads(run("--json").stdout)
    # Each name of the sentences but none twice, and 猫.
    assert {mistake["kind"] for mistake in everything} == {"wrong type", "invented", "missed"}
    wrong = next(mistake for mistake in everything if mistake["kind"] == "wrong type")
    assert (wrong["gold"]["label"], wrong["predicted"]["label"]) == ("PERSON", "GPE")
    assert wrong["text"][wrong["gold"]["start"] : wrong["gold"]["end"]] == "田中"
    persons = json.loads(run("--json", "--label", "PERSON").stdout)
    assert persons == [mistake for mistake in everything if "PERSON" in json.dumps(mistake)]
    assert 0 < len(persons) < len(everything)
    assert json.loads(run("--json", "--limit", "2").stdout) == everything[:2]


def test_as_a_page(run: Callable[..., Result], tmp_path: Path) -> None:
    done = run("--html", str(tmp_path / "reports" / "page.html"), "--label", "GPE")
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "reports").iterdir()) == [tmp_path / "reports" / "page.html"]
    page = (tmp_path / "reports" / "page.html").read_text(encoding="utf-8")
    assert "<mark>田中</mark>さんは昨日" in page
    assert "佐藤" not in page


def test_data_that_can_not_be_read(run: Callable[..., Result], tmp_path: Path) -> None:
    """A code and the file's name, no traceback."""
    data = tmp_path / "data" / "test.spacy"
    data.write_bytes(data.read_bytes()[:-20])
    assert (broken := run()).exit_code == 1
    assert "[J224]" in broken.stderr
    assert str(data) in broken.stderr
    command = ["jbert", "errors", str(tmp_path / "pipeline"), str(tmp_path / "pipeline")]
    assert "[J226]" in CliRunner().invoke(app, command).stderr
