"""`jbert drift`: whether two annotated sets are alike."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
from spacy.cli import app
from spacy.language import Language
from spacy.tokens import DocBin
from typer.testing import CliRunner, Result

import spacy_jbert.cli.app  # noqa: F401  (adds its commands to spaCy's)
from spacy_jbert.evaluation.drift import Annotated, compare, read


def documents(
    seed: int, n: int = 300, *, places: float = 0.5, sure: float = 0.8, length: int = 20
) -> list[Annotated]:
    dice = random.Random(seed)
    found = []
    for _ in range(n):
        labels = ["地名" if dice.random() < places else "人名" for _ in range(dice.randrange(4))]
        found.append(
            Annotated(
                "あ" * dice.randrange(length, 2 * length),
                labels,
                [min(1.0, max(0.0, dice.gauss(sure, 0.1))) for _ in labels],
                "旅" if dice.random() < places else "食",
                dice.random(),
                dice.random() * 0.01,
            )
        )
    return found


def drifted(reference: list[Annotated], new: list[Annotated]) -> set[str]:
    return {one.what for one in compare(reference, new, rounds=499) if one.drifted}


def test_the_same_texts_are_alike() -> None:
    found = compare(documents(0), documents(0), rounds=99)
    assert len(found) == 7
    assert all(one.distance == 0 and one.p == 1 and not one.drifted for one in found)


def test_chance_raises_no_alarm() -> None:
    assert not any(drifted(documents(seed), documents(seed + 50)) for seed in range(10))


def test_what_differs_is_named() -> None:
    reference = documents(0)
    assert drifted(reference, documents(1, places=0.8)) == {"entity labels", "categories"}
    assert drifted(reference, documents(1, sure=0.6)) == {"confidence of entities"}
    assert drifted(reference, documents(1, length=60)) == {"characters"}
    strange = documents(1)
    for document in strange:
        document.unknown = 0.2
    assert drifted(reference, strange) == {"unknown pieces"}


def test_a_label_that_is_new() -> None:
    new = documents(1)
    for document in new:
        document.entities = ["組織名" for _ in document.entities]
    (labels,) = [one for one in compare(documents(0), new) if one.what == "entity labels"]
    assert labels.distance == 1
    assert "組織名 0.0% → 100.0%" in labels.note


def test_few_documents_prove_nothing() -> None:
    assert not drifted(documents(0, 3), documents(1, 3, places=1.0))


def write(path: Path, annotated: list[Annotated]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for doc in annotated:
            pairs = zip(doc.entities, doc.confidences, strict=True)
            record = {
                "text": doc.text,
                "entities": [{"label": label, "confidence": sure} for label, sure in pairs],
                "categories": [{"label": doc.category, "score": doc.category_confidence}],
            }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["jbert", "drift", *map(str, arguments)])


def test_exit_status(tmp_path: Path) -> None:
    old = write(tmp_path / "old.jsonl", documents(0))
    same = write(tmp_path / "same.jsonl", documents(1))
    other = write(tmp_path / "other.jsonl", documents(2, places=0.9))
    done = run(old, same)
    assert done.exit_code == 0, done.output
    assert "DRIFT" not in done.output
    done = run(old, other)
    assert done.exit_code == 3, done.output
    assert "DRIFT" in done.output
    done = run(old, other, "--json")
    assert json.loads(done.stdout)["drifted"] is True
    assert run(old, other, "--least", "0.9").exit_code == 0


def test_folders_and_docbins(tmp_path: Path, ner_examples: Callable, japanese: Language) -> None:
    (tmp_path / "shards").mkdir()
    write(tmp_path / "shards" / "0.jsonl", documents(0, 10))
    write(tmp_path / "shards" / "1.jsonl", documents(1, 10))
    (tmp_path / "shards" / "manifest.json").write_text("{}")
    assert len(read(tmp_path / "shards")) == 20
    docs = [eg.reference for eg in ner_examples(japanese)]
    docs[1].user_data["._.", "jbert_score", *span_of(docs[1])] = [docs[1].ents[0].label_, 0.25]
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "docs.spacy")
    found = read(tmp_path / "docs.spacy")
    assert [one.entities for one in found] == [[e.label_ for e in doc.ents] for doc in docs]
    assert found[1].confidences == [0.25]


def span_of(doc: spacy.tokens.Doc) -> tuple[int, int]:
    return doc.ents[0].start_char, doc.ents[0].end_char


def test_unknown_pieces(tmp_path: Path, make_nlp: Callable[..., Language]) -> None:
    make_nlp().to_disk(tmp_path / "tiny")
    known = [Annotated("東京で新しい図書館を見学", ["地名"]) for _ in range(60)]
    strange = [Annotated("鑿鑿鑿鑿鑿鑿鑿鑿鑿鑿鑿鑿", ["地名"]) for _ in range(60)]
    for name, docs in (("known", known), ("strange", strange)):
        with (tmp_path / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for doc in docs:
                record = {"text": doc.text, "entities": [{"label": "地名"}]}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
    files = (tmp_path / "known.jsonl", tmp_path / "strange.jsonl")
    assert run(*files).exit_code == 0
    done = run(*files, "--model", tmp_path / "tiny", "--json")
    assert done.exit_code == 3, done.output
    figures = {one["what"]: one for one in json.loads(done.stdout)["figures"]}
    assert figures["unknown pieces"]["reference"] < 0.5
    assert figures["unknown pieces"]["new"] == 1


def test_nothing_found_any_more_is_the_greatest_drift(tmp_path: Path) -> None:
    good = write(tmp_path / "good.jsonl", documents(0, 200))
    texts = [one.text for one in documents(0, 200)]
    lines = [json.dumps({"text": text, "entities": []}) for text in texts]
    (tmp_path / "empty.jsonl").write_text("\n".join(lines), encoding="utf-8")
    done = run(good, tmp_path / "empty.jsonl")
    assert done.exit_code == 3, done.output
    nlp = spacy.blank("ja")
    docs = [nlp.make_doc(text) for text in texts]
    for doc in docs:
        doc.set_ents([])
    DocBin(docs=docs).to_disk(tmp_path / "empty.spacy")
    assert run(good, tmp_path / "empty.spacy").exit_code == 3


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ('{"text": "あ"}', "J439"),
        ('{"text": "あ", "entities": [5]}', "J207"),
        ('{"text": "あ", "entities": [{"start": 1}]}', "J207"),
        ('{"text": "あ", "entities": 3}', "J207"),
        ('{"text": "あ", "categories": [{"label": "旅", "score": "高"}]}', "J207"),
        ('{"entities": []}', "J206"),
        ("", "J"),
    ],
)
def test_malformed_files(content: str, code: str, tmp_path: Path) -> None:
    good = write(tmp_path / "good.jsonl", documents(0, 5))
    (tmp_path / "bad.jsonl").write_text(content, encoding="utf-8")
    done = run(good, tmp_path / "bad.jsonl")
    assert (done.exit_code, f"[{code}" in done.output) == (1, True), done.output
    assert run(good, tmp_path / "missing.jsonl").exit_code == 1
