"""`python -m spacy jbert report`: the page, the short form, two pipelines, the model card."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
from spacy.cli import app
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from typer.testing import CliRunner, Result

import spacy_jbert.cli.app  # noqa: F401  (adds its commands to spaCy's)
from spacy_jbert.corpora.docs import read_docbin
from spacy_jbert.corpora.records import convert_records

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>\"&'{{ 7*7 }}</style>"


def pipeline(folder: Path, **patterns: str) -> None:
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": label, "pattern": text} for text, label in patterns.items()])
    nlp.to_disk(folder)


@pytest.fixture
def run(
    tmp_path: Path, ner_examples: Callable, japanese: Language, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """A pipeline that knows few names, one that knows more, and sentences with names."""
    monkeypatch.chdir(tmp_path)
    pipeline(tmp_path / "few", 田中="GPE", 猫="PERSON", 東京="GPE")
    pipeline(tmp_path / "more", 田中="PERSON", 東京="GPE", 大阪="GPE")
    (tmp_path / "data").mkdir()
    docs = [eg.reference for eg in ner_examples(japanese)]
    write(docs, tmp_path / "data/test.spacy")
    write(docs[:7], tmp_path / "data/train.spacy")

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(app, ["jbert", "report", *words])

    return invoke


def write(docs: list[Doc], path: Path) -> None:
    DocBin(docs=docs, store_user_data=True).to_disk(path)


def data_of(page: Path) -> dict:
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>',
        page.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert found
    return json.loads(found[1])


def test_the_short_form(run: Callable[..., Result]) -> None:
    done = run("few", "data/test.spacy")
    assert done.exit_code == 0, done.output
    for word in ("entities F", "precision", "missed", "invented", "lowest F", "GPE"):
        assert word in done.stdout
    figures = json.loads(run("few", "data/test.spacy", "--json").stdout)
    nlp = figures[0]
    assert nlp["tasks"][0]["name"] == "entities"
    value, low, high = nlp["tasks"][0]["headline"]["f"]
    assert low <= value <= high
    assert nlp["parts"]["train"]["documents"] == 7


def test_the_page_and_its_records(run: Callable[..., Result], tmp_path: Path) -> None:
    out = tmp_path / "reports/report.html"
    done = run("few", "data/test.spacy", "--out", str(out))
    assert done.exit_code == 0, done.output
    page, data = out.read_text(encoding="utf-8"), data_of(out)
    assert "田中" in page
    assert "\\u7530" not in page
    # Nothing is fetched.
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert "default-src &#39;none&#39;" in page
    # The duplicates of the training part are named.
    assert "train / test: 7" in page
    sure = [mistake[4] or -1 for mistake in data["mistakes"]]
    assert sure == sorted(sure, reverse=True)
    # The page's records are what `jbert convert` reads, with the annotation as it was.
    records = tmp_path / "mistakes.jsonl"
    lines = [json.dumps(record, ensure_ascii=False) for record in data["records"].values()]
    records.write_text("\n".join(lines) + "\n", encoding="utf-8")
    convert_records(records, out=tmp_path / "again", task="ner", split="100/0/0")
    gold = {
        doc.text: [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]
        for doc in read_docbin(tmp_path / "data/test.spacy", spacy.blank("ja").vocab)
    }
    again = read_docbin(tmp_path / "again/train.spacy", spacy.blank("ja").vocab)
    assert len(again) == len(data["records"]) > 5
    for doc in again:
        ents = [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]
        assert ents == gold[doc.text]


def test_two_pipelines(run: Callable[..., Result], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    done = run("few", "more", "data/test.spacy", "--out", str(out), "--lang", "ja")
    assert done.exit_code == 0, done.output
    assert "B − A" in done.stdout
    data = data_of(out)
    assert '<html lang="ja" data-lang="ja">' in out.read_text(encoding="utf-8")
    wrong = {data["records"][number]["text"]: whose for number, whose in data["wrong"].items()}
    assert next(whose for text, whose in wrong.items() if "猫である" in text) == "A"
    assert "大阪" in next(text for text, whose in wrong.items() if whose == "AB" and "山田" in text)
    tanaka = [m for m in data["mistakes"] if "田中" in data["records"][str(m[0])]["text"]]
    assert {whose for *_, whose, _ in tanaka} == {"A"}
    # What was found would be of one of the two.
    assert not any("found_entities" in record for record in data["records"].values())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("few", "few", "more", "data/test.spacy"), "J410"),
        (("few", "data/test.spacy", "--out", "."), "J095"),
        (("few", "data/test.spacy", "--card", "few/meta.json/x"), "J095"),
    ],
)
def test_what_cannot_be(
    words: tuple[str, ...], code: str, run: Callable[..., Result], tmp_path: Path
) -> None:
    done = run(*words)
    assert (done.exit_code, f"[{code}]" in done.output) == (1, True), done.output
    assert spacy.load(tmp_path / "few")


def test_nothing_in_common(run: Callable[..., Result], tmp_path: Path) -> None:
    nlp = spacy.blank("ja")
    nlp.add_pipe("textcat").add_label("A")
    nlp.get_pipe("textcat").add_label("B")
    nlp.initialize()
    nlp.to_disk(tmp_path / "topics")
    docs = read_docbin(tmp_path / "data/test.spacy", nlp.vocab)
    for doc in docs:
        doc.cats = {"A": 1.0, "B": 0.0}
    write(docs, tmp_path / "data/test.spacy")
    done = run("few", "topics", "data/test.spacy")
    assert (done.exit_code, "[J411]" in done.output) == (1, True), done.output
    done = run("topics", "data/test.spacy", "--out", str(tmp_path / "topics.html"))
    assert done.exit_code == 0, done.output
    assert "textcat accuracy" in done.stdout


def test_texts_and_labels_are_somebody_elses(
    run: Callable[..., Result], japanese: Language, tmp_path: Path
) -> None:
    doc = japanese.make_doc(f"{EVIL}と田中")
    start = len(EVIL) + 1
    doc.set_ents([doc.char_span(start, start + 2, label=EVIL)])
    known = japanese.make_doc("東京")
    known.set_ents([known.char_span(0, 2, label="GPE")])
    write([doc, known], tmp_path / "data/test.spacy")
    out = tmp_path / "report.html"
    done = run("few", "data/test.spacy", "--out", str(out))
    assert done.exit_code == 0, done.output
    page = out.read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "49" not in re.sub(r"[\d.]+%?", "", page)
    assert page.count("</script>") == 2
    assert page.count("</style>") == 1
    data = data_of(out)
    assert any(mistake[2] and mistake[2][0] == EVIL for mistake in data["mistakes"])


def test_the_card(run: Callable[..., Result], tmp_path: Path) -> None:
    meta = {"description": "Names", "license": "CC0", "notes": "By hand."}
    meta["sources"] = [{"name": "夜|の<b>森", "license": "CC BY 4.0"}]
    (tmp_path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    card = tmp_path / "reports/card.json"
    for _ in range(2):  # its own output may be its next input
        done = run("more", "data/test.spacy", "--card", str(card), "--meta", "meta.json")
        assert done.exit_code == 0, done.output
        (tmp_path / "meta.json").write_bytes(card.read_bytes())
    written = json.loads(card.read_text(encoding="utf-8"))
    assert (written["description"], written["license"]) == ("Names", "CC0")
    notes = written["notes"]
    assert notes.startswith("By hand.\n\n## Model card")
    assert notes.count("## Model card") == 1
    assert "夜\\|の\\<b\\>森 (CC BY 4.0)" in notes
    assert "| train | 7 |" in notes
    assert "7 texts are in both train and test" in notes
    low, high = written["performance"]["ents_f_interval"]
    assert low <= written["performance"]["ents_f"] <= high
    assert (
        f"{100 * written['performance']['ents_f']:.1f} | ({100 * low:.1f}–{100 * high:.1f})"
        in notes
    )


def test_what_the_card_doesnt_know(run: Callable[..., Result], tmp_path: Path) -> None:
    """As `jbert init` leaves its meta.json, until somebody fills it in."""
    empty = {"name": "data.csv", "url": "", "author": "", "license": ""}
    meta = {"description": "", "author": "", "license": "", "sources": [empty]}
    (tmp_path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    done = run("few", "data/test.spacy", "--card", "card.json", "--meta", "meta.json")
    assert done.exit_code == 0, done.output
    notes = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))["notes"]
    assert "- data.csv (licence not stated)" in notes
    assert "- Author of this pipeline: not stated" in notes
    assert "- Licence of this pipeline: not stated" in notes
    meta |= {"license": "CC BY 4.0", "author": "山田"}
    (tmp_path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    assert run("few", "data/test.spacy", "--card", "card.json", "--meta", "meta.json")
    notes = json.loads((tmp_path / "card.json").read_text(encoding="utf-8"))["notes"]
    assert "- Author of this pipeline: 山田" in notes
    assert "- Licence of this pipeline: CC BY 4.0" in notes


def test_the_learning_curve(run: Callable[..., Result], tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 0, "score": 0.0}\n{"step": 9, "score": 0.5}\n{"st', encoding="utf-8")
    out = tmp_path / "report.html"
    assert run("few", "data/test.spacy", "--out", str(out)).exit_code == 0
    assert 'id="curve"' in out.read_text(encoding="utf-8")
    log.write_text("[]\n", encoding="utf-8")
    done = run("few", "data/test.spacy", "--out", str(out))
    assert done.exit_code == 0
    assert 'id="curve"' not in out.read_text(encoding="utf-8")


@pytest.mark.usefixtures("run")
def test_threshold_commands() -> None:
    def threshold(*words: str) -> Result:
        return CliRunner().invoke(app, ["jbert", "threshold", *words])

    done = threshold("few", "data/test.spacy")
    assert (done.exit_code, "[J413]" in done.output) == (1, True), done.output
    done = threshold("few", "data/test.spacy", "--label", "NO")
    assert (done.exit_code, "[J313]" in done.output) == (1, True), done.output
    done = threshold("ja_no_such_package", "data/test.spacy")
    assert (done.exit_code, "[J414]" in done.output) == (1, True), done.output
    assert threshold("few", "data/test.spacy", "--off", "--out", "new").exit_code == 0
    assert spacy.load("new").pipe_names == ["entity_ruler"]
