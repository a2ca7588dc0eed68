"""Likely wrong labels, from the data to what is printed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import srsly
from spacy.language import Language
from spacy.tokens import DocBin
from typer.testing import CliRunner

from spacy_jbert.cli.app import app as jbert
from spacy_jbert.corpora.doctor import recorded
from spacy_jbert.errors import DataError
from spacy_jbert.project import shipped
from spacy_jbert.tuning import suspects
from spacy_jbert.tuning.runs import Run, Said, text_digest
from spacy_jbert.tuning.suspects import find_suspects


def doctor(*words: object) -> Any:
    return CliRunner().invoke(jbert, ["doctor", *map(str, words)])


def test_a_wrong_label_is_told_with_its_record(
    japanese: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = []
    for n in range(20):
        doc = japanese.make_doc(f"{n}番の東京です。")
        doc.set_ents([doc.char_span(len(doc.text) - 5, len(doc.text) - 3, label="地名")])
        doc.cats = {"a": float(n % 2), "b": float(not n % 2)}
        doc.user_data["id"] = f"r{n}"
        docs.append(doc)
    docs[3].cats = {"a": 0.0, "b": 1.0}
    docs[4].set_ents([])

    def fold_runs(config: Path, given: Any, out: Path, **settings: Any) -> list[Run]:
        name = "components.ner.candidates_key"
        assert settings["overrides"][name]
        said = [
            Said(
                text_digest(doc.text),
                {"ents": {}, "cats": {}},
                [(len(doc.text) - 5, len(doc.text) - 3, "地名", 0.9)],
                [],
                {"a": 0.9 if n % 2 else 0.1, "b": 0.1 if n % 2 else 0.9},
            )
            for n, doc in enumerate(given)
        ]
        return [Run({}, said[10:]), Run({}, said[:10])]

    monkeypatch.setattr(suspects, "fold_runs", fold_runs)
    found = find_suspects(
        shipped.configs() / "joint.cfg", recorded({"train": docs}), tmp_path / "out"
    )
    assert {(*one.records[0], one.what, one.detail) for one in found} == {
        ("train", "r3", docs[3].text, "annotated b, the model says a"),
        ("train", "r4", "東京", "annotated –, the model says 地名"),
    }
    monkeypatch.setattr(
        suspects, "fold_runs", lambda *_, **__: [Run({}, [Said(text_digest("x"), {}, [], [], {})])]
    )
    with pytest.raises(DataError, match="J479"):
        find_suspects(
            shipped.configs() / "ner.cfg",
            recorded({"train": [japanese.make_doc("x")]}),
            tmp_path / "out",
        )


def test_the_command(
    checkpoint: Callable, ner_examples: Callable, japanese: Language, tmp_path: Path
) -> None:
    docs = [eg.reference for eg in ner_examples(japanese)]
    for i, doc in enumerate(docs):
        doc.cats = {"even": float(i % 2 == 0), "odd": float(i % 2)}
    (tmp_path / "data").mkdir()
    DocBin(docs=docs).to_disk(tmp_path / "data" / "train.spacy")
    DocBin(docs=docs[:1]).to_disk(tmp_path / "data" / "dev.spacy")
    said = doctor(tmp_path / "data")
    assert said.exit_code == 0, said.output
    assert "in several parts: 1" in said.output
    assert "dev 1, train 1" in said.output
    overrides = {
        "paths.encoder": checkpoint("bert-fast"),
        "components.transformer.model.overlap": 8,
        "training.max_steps": 1,
        "training.eval_frequency": 1,
    }
    words = ["--config", shipped.configs() / "joint.cfg", "--out", tmp_path / "out", "--k", 3]
    words += [word for name, value in overrides.items() for word in (f"--{name}", value)]
    done = doctor(tmp_path / "data", *words, "--json")
    assert done.exit_code == 0, done.output
    assert {one["kind"] for one in json.loads(done.stdout)} >= {"leak"}
    again = doctor(tmp_path / "data", *words)
    assert again.output.count("done already") == 3, again.output


def test_records_of_a_file(tmp_path: Path) -> None:
    rows = [
        {"id": n, "本文": f"{n % 4}番です。", "分類": label} for n, label in enumerate("aabbaabc")
    ]
    path = tmp_path / "x.jsonl"
    srsly.write_jsonl(path, rows)
    fields = ["--text-field", "本文", "--label-field", "分類", "--task", "textcat"]
    found = json.loads(doctor(path, *fields, "--json").stdout)
    leaks = json.loads(
        doctor(path, "--also", shutil.copy(path, tmp_path / "y.jsonl"), *fields, "--json").stdout
    )
    assert sum(one["kind"] == "leak" for one in leaks) == 4
    (contradiction,) = [one for one in found if one["kind"] == "contradiction"]
    assert contradiction["records"] == [{"part": "x", "id": "3"}, {"part": "x", "id": "7"}]
    assert contradiction["detail"] == "b ×1 / c ×1"


def test_what_it_cant_look_at(tmp_path: Path, japanese: Language) -> None:
    DocBin(docs=[japanese.make_doc("東京")]).to_disk(tmp_path / "x.spacy")
    assert "J476" in doctor(tmp_path / "x.spacy").output
    assert doctor(tmp_path / "x.spacy", "--out", tmp_path).exit_code == 2
    (tmp_path / "y.spacy").write_bytes(b"x")
    assert "J224" in doctor(tmp_path / "y.spacy").output
