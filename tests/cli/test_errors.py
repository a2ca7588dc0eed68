"""`python -m spacy jbert errors`: the mistakes of a pipeline on the screen, as a page, for
machines.
"""

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
from spacy.cli import app
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
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


@pytest.mark.parametrize("target", [".", "pipeline", "pipeline/meta.json/page.html", "/proc/p/p"])
def test_a_page_that_cannot_be_written(
    target: str, run: Callable[..., Result], tmp_path: Path
) -> None:
    done = run("--html", str(tmp_path / target))
    assert (done.exit_code, "[J095]" in done.output) == (1, True), done.output
    assert isinstance(done.exception, SystemExit)
    assert spacy.load(tmp_path / "pipeline")


def test_a_full_disk(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(path: Path, *args: object, **settings: object) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "no space", str(path))

    (tmp_path / "page.html").write_text("old", encoding="utf-8")
    monkeypatch.setattr(Path, "write_text", fill)
    done = run("--html", str(tmp_path / "page.html"))
    assert (done.exit_code, "[J095]" in done.output) == (1, True), done.output
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "old"
    assert not list(tmp_path.glob("*.part"))


def test_a_full_disk_behind_the_output(checkpoint: Callable) -> None:
    command = [sys.executable, "-m", "spacy", "jbert", "pieces", "猫", "--json", "--model"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, str(checkpoint("bert-fast"))], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert "[J095] 'standard output'" in done.stderr
    assert "Traceback" not in done.stderr


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
    assert "田中さんは昨日" in page
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


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., Result]:
    """A pipeline that knows 田中 and its categories A and B, on documents of one's own."""
    nlp = spacy.blank("ja")
    ruler = nlp.add_pipe("entity_ruler")
    for name, factory in (("textcat", "textcat"), ("textcat_multilabel", "textcat_multilabel")):
        config = {"model": {"@architectures": "spacy.TextCatBOW.v3", "nO": None}}
        config["model"] |= {"exclusive_classes": factory == "textcat"}
        config["model"] |= {"ngram_size": 1, "no_output_layer": False, "length": 64}
        nlp.add_pipe(factory, name=name, config=config)

    def invoke(
        docs: list[Doc], *options: str, without: tuple[str, ...] = (), charset: str = "utf-8"
    ) -> Result:
        kept = [name for name in nlp.pipe_names if name not in without]
        if "textcat" in kept or "textcat_multilabel" in kept:
            gold = nlp.make_doc("田中")
            gold.cats = {"A": 1.0, "B": 0.0}
            nlp.initialize(lambda: [Example(nlp.make_doc("田中"), gold)])
        ruler.clear()
        ruler.add_patterns([{"label": "PERSON", "pattern": "田中"}])
        nlp.to_disk(tmp_path / "model", exclude=list(without))
        config = spacy.util.load_config(tmp_path / "model" / "config.cfg")
        config["nlp"]["pipeline"] = kept
        config["components"] = {name: config["components"][name] for name in kept}
        config.to_disk(tmp_path / "model" / "config.cfg")
        DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "own.spacy")
        command = ["jbert", "errors", str(tmp_path / "model"), str(tmp_path / "own.spacy")]
        return CliRunner(charset=charset).invoke(app, [*command, *options])

    return invoke


def annotated(
    japanese: Language, text: str, ents: list[tuple[int, int, str]] | None = None, **cats: float
) -> Doc:
    doc = japanese.make_doc(text)
    if ents is not None:
        doc.set_ents([doc.char_span(start, end, label=label) for start, end, label in ents])
    doc.cats = cats
    return doc


BOTH = ("textcat", "textcat_multilabel")


@pytest.mark.parametrize("json_", [(), ("--json",), ("--html", "page.html")])
@pytest.mark.parametrize("ents", [None, []])
def test_nothing_annotated_is_not_perfect(
    ents: list | None,
    json_: tuple[str, ...],
    judge: Callable[..., Result],
    japanese: Language,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for docs in ([annotated(japanese, "猫です。", ents)] * 2, []):
        for without in (BOTH, (), ("entity_ruler", "textcat")):
            result = judge(docs, *json_, without=without)
            assert result.exit_code == 1, result.output
            assert "[J311]" in result.stderr
            assert not result.stdout
    assert not (tmp_path / "page.html").exists()


def test_a_pipeline_that_finds_nothing(judge: Callable[..., Result], japanese: Language) -> None:
    doc = annotated(japanese, "田中です。", [(0, 2, "PERSON")])
    result = judge([doc], without=("entity_ruler", *BOTH))
    assert (result.exit_code, "[J310]" in result.stderr) == (1, True)


def test_labels_of_another_world(judge: Callable[..., Result], japanese: Language) -> None:
    named = annotated(japanese, "田中です。", [(0, 2, "人名")])
    result = judge([named], without=BOTH)
    assert (result.exit_code, "[J312]" in result.stderr) == (1, True)
    for without in (("entity_ruler", "textcat"), ("entity_ruler", "textcat_multilabel")):
        result = judge([annotated(japanese, "田中です。", None, C=1.0)], without=without)
        assert (result.exit_code, "[J312]" in result.stderr) == (1, True)


@pytest.mark.parametrize("kept", BOTH)
def test_one_label_of_another_world(
    kept: str, judge: Callable[..., Result], japanese: Language
) -> None:
    docs = [annotated(japanese, "猫。", None, A=1.0), annotated(japanese, "犬。", None, C=1.0)]
    without = ("entity_ruler", *(name for name in BOTH if name != kept))
    result = judge(docs, "--json", without=without)
    assert (result.exit_code, "[JW302]" in result.stderr) == (0, True)
    missed = [m for m in json.loads(result.stdout) if m["gold"] and m["gold"]["label"] == "C"]
    assert [mistake["kind"] for mistake in missed] == ["missed class"]


def test_one_kind_without_annotation(judge: Callable[..., Result], japanese: Language) -> None:
    result = judge([annotated(japanese, "田中。", [(0, 2, "PERSON")])], without=("textcat",))
    assert not result.exception, result.stderr
    assert (result.exit_code, "[JW301]" in result.stderr) == (0, True)


def test_a_label_that_is_nowhere(run: Callable[..., Result]) -> None:
    result = run("--label", "PERSNO")
    assert (result.exit_code, "[J313]" in result.stderr) == (1, True)


def test_nothing_is_cut_off(judge: Callable[..., Result], japanese: Language) -> None:
    name = "".join(chr(ord("一") + 7 * i) for i in range(200))
    doc = annotated(japanese, f"{name}が、\n\x1b[2J来た。")
    doc.set_ents(
        [doc.char_span(0, 200, label="とても長い名前のラベル" * 4, alignment_mode="expand")]
    )
    known = annotated(japanese, "田中", [(0, 2, "PERSON")])
    shown = judge([doc, known], without=BOTH)
    assert shown.exit_code == 0, shown.output
    assert "\x1b[2J" not in shown.stdout
    rows = [line.split("│")[1:-1] for line in shown.stdout.splitlines() if line.startswith("│")]
    texts = "".join(row[1].strip() for row in rows if len(row) == 5)
    assert name in texts
    sides = "".join(row[2].strip() for row in rows if len(row) == 5)
    assert "とても長い名前のラベル" * 4 in sides


def test_the_page_escapes(judge: Callable[..., Result], japanese: Language, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>&{}"
    doc = annotated(japanese, f"{evil}と田中")
    start = len(evil) + 1
    doc.set_ents([doc.char_span(start, start + 2, label=f'"{evil}')])
    known = annotated(japanese, "田中", [(0, 2, "PERSON")])
    judge([doc, known], "--html", str(tmp_path / "page.html"), without=BOTH)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;{}" in page


@pytest.mark.parametrize("encoding", ["cp932", "ascii", "utf-8"])
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_terminals_of_other_encodings(
    encoding: str, options: tuple[str, ...], judge: Callable[..., Result], japanese: Language
) -> None:
    doc = annotated(japanese, "鷗外と田中\u2764", [(0, 2, "PERSON")])
    result = judge([doc], *options, without=BOTH, charset=encoding)
    assert result.exit_code == 0, result.exception
    if options:
        (mistake,) = [m for m in json.loads(result.stdout) if m["gold"]]
        assert mistake["text"] == doc.text
