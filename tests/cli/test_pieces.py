"""`python -m spacy jbert`: what people see, and what machines read."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
from rich.cells import cell_len
from spacy.cli import app
from typer.testing import CliRunner, Result

import spacy_jbert.cli.app  # noqa: F401  (adds its commands to spaCy's)

from ..conftest import FAMILIES, SENTENCES

TEXT = "東京タワー と㍿ニホン、鷗。"


def run(*arguments: str, input: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["jbert", *arguments], input=input, env={"COLUMNS": "100"})


def pieces(text: str, model: Path | str, *options: str) -> dict:
    result = run("pieces", text, "--model", str(model), "--json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("family", FAMILIES)
def test_json_of_a_checkpoint(
    family: str, checkpoint: Callable[[str], Path], tokenizers: Callable
) -> None:
    seen = pieces(TEXT, checkpoint(family))
    assert seen["words"] == "native"
    assert [piece["id"] for piece in seen["pieces"]] == tokenizers(family)(
        TEXT, add_special_tokens=False
    )["input_ids"]
    assert [token["text"] for token in seen["tokens"]] == [
        token.text for token in spacy.blank("ja")(TEXT)
    ]
    for part in seen["tokens"] + seen["pieces"]:
        assert TEXT[part["start"] : part["end"]] == part["text"]
    for token in seen["tokens"]:
        overlapping = [
            i
            for i, piece in enumerate(seen["pieces"])
            if piece["start"] < token["end"] and token["start"] < piece["end"]
        ]
        assert token["pieces"] == overlapping
    assert [window["end"] for window in seen["windows"]] == [len(seen["pieces"])]


def test_words_can_be_chosen(checkpoint: Callable[[str], Path]) -> None:
    seen = pieces("東京タワー", checkpoint("mecab-unidic"), "--words", "doc")
    assert seen["words"] == "doc"
    assert seen["why"] == "asked for with --words"
    assert "mecab" in pieces("東京タワー", checkpoint("mecab-unidic"), "--words", "auto")["why"]


def test_a_pipeline_says_for_itself(make_nlp: Callable, tmp_path: Path) -> None:
    nlp = make_nlp(words="doc", window=20)
    nlp.add_pipe("sentencizer", first=True, config={"punct_chars": ["。"]})
    nlp.to_disk(tmp_path / "pipeline")
    text = "".join(SENTENCES[:4])
    seen = pieces(text, tmp_path / "pipeline")
    assert (seen["words"], seen["why"], seen["max_pieces"]) == ("doc", "set in the config", 20)
    doc = nlp(text)
    assert (
        sum(len(w["before"]) + w["end"] - w["start"] + len(w["behind"]) for w in seen["windows"])
        == doc._.trf_data.wordpieces.lengths[0]
    )
    borders = [0, *(window["end"] for window in seen["windows"])]
    assert [window["start"] for window in seen["windows"]] == borders[:-1]
    assert borders[-1] == len(seen["pieces"])
    assert all(
        window["before"] == ["[CLS]"] and window["behind"] == ["[SEP]"]
        for window in seen["windows"]
    )
    table = run("pieces", text, "--model", str(tmp_path / "pipeline")).stdout
    assert f"{len(seen['windows'])} windows of at most 20 pieces" in table
    assert table.count("[CLS]") == len(seen["windows"]) > 1


def test_an_encoder_inside_another_component(
    make_nlp: Callable, ner_examples: Callable, tmp_path: Path
) -> None:
    nlp = make_nlp([("ner", "jbert_ner", {})], ner_examples)
    nlp.replace_listeners("transformer", "ner", ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    nlp.to_disk(tmp_path / "pipeline")
    assert [piece["text"] for piece in pieces("東京 。", tmp_path / "pipeline")["pieces"]] == [
        "東",
        "京",
        "。",
    ]


def test_the_table(checkpoint: Callable[[str], Path]) -> None:
    result = run("pieces", "㍿東京  鷗外\u3000。\n", "--model", str(checkpoint("mecab-unidic")))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    rows = [line for line in lines if line.startswith(("│", "┃"))]
    # Full-width characters take two columns: borders stand below each other.
    borders = {
        tuple(cell_len(row[:i]) for i, char in enumerate(row) if char in "│┃") for row in rows
    }
    assert len(borders) == 1
    cells = [[cell.strip() for cell in row.strip("│┃").split("│")] for row in rows[1:]]
    assert cells[0][:2] == ["", "[CLS]"]
    assert [cells[1][i] for i in (0, 1, 3, 4)] == ["㍿", "株", "0–1", "㍿"]
    assert any(row[0] == "␣" and row[1] == "" for row in cells)
    assert any(row[0].startswith("\\u3000") for row in cells)
    assert [row[4] for row in cells if row[1] == "[UNK]"]
    assert any("unknown: " in line and "鷗" in line for line in lines)
    assert any(line.startswith("words = native: BertJapaneseTokenizer") for line in lines)


def test_unknown_pieces_stand_out(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from spacy_jbert.cli.pieces import load, look, show

    table = show(look(load(str(checkpoint("mecab-unidic"))), "東京の鷗")).renderables[0]
    styles = {str(text): str(text.style) for text in table.columns[1].cells}
    assert "red" in styles["[UNK]"]
    assert "red" not in styles["の"]


def test_white_space_alone(checkpoint: Callable[[str], Path]) -> None:
    seen = pieces(" \u3000", checkpoint("bert-fast"))
    assert seen["pieces"] == []
    assert seen["tokens"]
    assert "␣" in run("pieces", " \u3000", "--model", str(checkpoint("bert-fast"))).stdout


def test_stdin(checkpoint: Callable[[str], Path]) -> None:
    result = run(
        "pieces", "-", "--model", str(checkpoint("bert-fast")), "--json", input="東京\n大阪\n"
    )
    assert [token["text"] for token in json.loads(result.stdout)["tokens"]] == [
        "東京",
        "\n",
        "大阪",
    ]


def test_a_text_longer_than_sudachi_takes(checkpoint: Callable[[str], Path]) -> None:
    text = SENTENCES[1] * 1000
    result = run("pieces", "-", "--model", str(checkpoint("bert-fast")), "--json", input=text)
    seen = json.loads(result.stdout)
    assert seen["tokens"][-1]["end"] == seen["pieces"][-1]["end"] == len(text)
    assert seen["windows"][-1]["end"] == len(seen["pieces"])


@pytest.mark.parametrize(
    ("text", "model", "code", "input"),
    [
        ("東京", "no/such/folder", "J030", None),
        ("東京", "no_such_package", "J030", None),
        ("東京", "{bare}", "J031", None),
        ("東京", "{empty}", "J001", None),
        ("東京", "{incomplete}", "J003", None),
        ("", "{checkpoint}", "J032", None),
        ("-", "{checkpoint}", "J032", ""),
        ("-", "{checkpoint}", "J033", "東京".encode("cp932")),
    ],
)
def test_mistakes_of_users_have_a_code_and_no_traceback(
    text: str,
    model: str,
    code: str,
    input: str | bytes | None,
    checkpoint: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    bare = spacy.blank("ja")
    bare.to_disk(tmp_path / "bare")
    bare.add_pipe("jbert_transformer")
    bare.to_disk(tmp_path / "empty")
    (tmp_path / "incomplete").mkdir()
    (tmp_path / "incomplete" / "config.json").write_text("{}", encoding="utf-8")
    folders = {name: tmp_path / name for name in ("bare", "empty", "incomplete")}
    result = run(
        "pieces",
        text,
        "--model",
        model.format(checkpoint=checkpoint("bert-fast"), **folders),
        input=input,
    )
    assert result.exit_code == 1
    assert result.stderr.startswith(f"[{code}] ")
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_spacy_finds_the_commands(checkpoint: Callable[[str], Path]) -> None:
    command = [
        sys.executable,
        "-m",
        "spacy",
        "jbert",
        "pieces",
        "東京",
        "--model",
        str(checkpoint("bert-fast")),
        "--json",
    ]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert [piece["text"] for piece in json.loads(result.stdout)["pieces"]] == ["東", "京"]


def test_spacys_other_commands_are_not_kept_waiting() -> None:
    code = "import sys, spacy.cli, spacy_jbert.cli.app; print('transformers' in sys.modules, 'sudachipy' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert result.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("encoding", ["cp932", "ascii"])
def test_terminals_of_other_encodings(encoding: str, checkpoint: Callable[[str], Path]) -> None:
    """What they can't show is replaced, or escaped in JSON."""
    command = ["jbert", "pieces", "鷗❤ｶﾞ㍿", "--model", str(checkpoint("bert-fast"))]
    runner = CliRunner(charset=encoding)
    table = runner.invoke(app, command)
    assert table.exit_code == 0, table.exception
    shown = runner.invoke(app, [*command, "--json"])
    assert shown.exit_code == 0, shown.exception
    assert "".join(piece["text"] for piece in json.loads(shown.stdout)["pieces"]) == "鷗❤ｶﾞ㍿"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("東京都".encode()[:-1], "J315"),
        ("東京都".encode()[:-2], "J315"),
        ("東京都".encode()[1:], "J315"),
        ("東京都".encode()[2:-1], "J315"),
        ("東京都へ行く。".encode("cp932"), "J033"),
        ("東京都へ行く。".encode("euc-jp"), "J033"),
        ("東京都".encode()[:-1] + "へ".encode(), "J033"),
        ("東京".encode("utf-16"), "J033"),
    ],
)
def test_what_is_no_whole_utf_8(data: bytes, code: str, checkpoint: Callable[[str], Path]) -> None:
    result = run("pieces", "-", "--model", str(checkpoint("bert-fast")), input=data)
    assert result.exit_code == 1
    assert f"[{code}]" in result.stderr
