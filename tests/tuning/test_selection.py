"""Which texts are chosen to be annotated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import srsly
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from typer.testing import CliRunner

from spacy_jbert.cli.app import app as jbert
from spacy_jbert.corpora.exporters import Asked
from spacy_jbert.tuning.selection import (
    Looked,
    category_doubt,
    chosen,
    labels_of,
    look_at,
    tag_doubt,
)

from ..conftest import SENTENCES

WAYS = ["margin", "entropy", "confidence", "diversity", "coreset", "random"]


def joint_examples(ner_examples: Callable) -> Callable[[Language], list[Example]]:
    def make(nlp: Language) -> list[Example]:
        examples = ner_examples(nlp)
        for i, eg in enumerate(examples):
            eg.reference.cats = {"even": float(i % 2 == 0), "odd": float(i % 2)}
        return examples

    return make


@pytest.fixture
def nlp(make_nlp: Callable, ner_examples: Callable) -> Language:
    heads = [("ner", "jbert_ner", {}), ("textcat", "textcat", {})]
    return make_nlp(heads, joint_examples(ner_examples))


def looked(number: int, vector: list[float], **doubt: float) -> Looked:
    asked = Asked(str(number), f"text {number}", None, None, 0.0)
    return Looked(asked, doubt, np.array(vector) / np.linalg.norm(vector))


def test_doubt_is_about_what_is_close() -> None:
    sure, torn = np.array([0.9, 0.05, 0.05]), np.array([0.45, 0.45, 0.1])
    spread = np.array([0.4, 0.3, 0.3])
    for by in ("margin", "entropy", "confidence"):
        assert category_doubt(sure, exclusive=True)[by] < category_doubt(torn, exclusive=True)[by]
    # What the ways differ in: two that compete, or many that are possible.
    assert category_doubt(torn, exclusive=True)["margin"] == 1.0
    assert category_doubt(spread, exclusive=True)["entropy"] > 0.98
    even = category_doubt(np.full(4, 0.25), exclusive=True)
    assert even == {"confidence": 0.75, "margin": 1.0, "entropy": pytest.approx(1.0)}
    # Of labels that don't exclude each other each is a question.
    assert category_doubt(np.array([0.99, 0.5]), exclusive=False)["margin"] == 1.0
    assert category_doubt(np.array([0.99, 0.01]), exclusive=False)["margin"] < 0.05
    assert category_doubt(np.zeros(0), exclusive=False)["entropy"] == 0.0


def test_doubt_of_tags_doesnt_grow_with_length() -> None:
    tags = np.array([[0.6, 0.4], [0.9, 0.1]])
    once, twice = tag_doubt(tags), tag_doubt(np.concatenate([tags, tags]))
    assert once == pytest.approx(twice)
    assert once["margin"] == pytest.approx(0.8)
    assert tag_doubt(np.zeros((0, 5)))["confidence"] == 0.0


def test_marginals_are_those_of_the_crf(nlp: Language, ner_examples: Callable) -> None:
    ner = nlp.get_pipe("ner")
    docs = list(nlp.pipe(["", *SENTENCES[:3], "   "]))
    found = ner.tag_probabilities(docs)
    assert [len(tags) for tags in found] == [len(doc) for doc in docs]
    for tags in found:
        np.testing.assert_allclose(tags.sum(axis=1), 1.0, atol=1e-6)
    # An entity of one token alone is its U tag.
    ner.candidates_key, ner.candidates_threshold = "all", 1e-4
    doc = nlp(SENTENCES[1])
    tags = ner.tag_probabilities([doc])[0]
    group = doc.spans["all"]
    single = [(s, p) for s, p in zip(group, group.attrs["scores"], strict=True) if len(s) == 1]
    assert single
    for span, probability in single:
        u = 4 + 4 * ner.labels.index(span.label_)
        assert tags[span.start, u] == pytest.approx(probability, abs=1e-5)


def test_the_highest_first_and_ties_by_chance() -> None:
    texts = [looked(n, [1.0], margin=doubt) for n, doubt in enumerate([0.1, 0.9, 0.5, 0.5, 0.5])]
    found = chosen(texts, 2, "margin")
    assert (found[0].id, found[0].score) == ("1", 0.9)
    assert {chosen(texts, 2, "margin", seed=seed)[1].id for seed in range(20)} == {"2", "3", "4"}
    assert len(chosen(texts, 99, "margin")) == 5
    assert {one.id for one in chosen(texts, 99, "random")} == {"0", "1", "2", "3", "4"}


@pytest.mark.parametrize("by", ["diversity", "coreset"])
def test_one_of_each_kind(by: str) -> None:
    kinds = np.eye(4)
    texts = [looked(n, (kinds[n % 4] + 1e-3 * n).tolist()) for n in range(40)]
    found = chosen(texts, 4, by, seed=1)
    assert {int(one.id) % 4 for one in found} == {0, 1, 2, 3}
    # Nothing twice, whatever is asked for, and nothing like what is there.
    assert len({one.id for one in chosen([*texts, *texts[:1]], 99, by)}) == 40
    first = chosen(texts, 1, by, annotated=[kinds[0], kinds[1], kinds[3]])
    assert int(first[0].id) % 4 == 2
    same = [looked(n, [1.0, 0.0]) for n in range(5)]
    assert len({one.id for one in chosen(same, 5, by)}) == 5


def test_the_command(nlp: Language, tmp_path: Path, ner_examples: Callable) -> None:
    nlp.to_disk(tmp_path / "model")
    raw = tmp_path / "raw.txt"
    raw.write_text("\n".join(SENTENCES), encoding="utf-8")
    done = DocBin(docs=[eg.reference for eg in ner_examples(nlp)[:5]])
    done.to_disk(tmp_path / "done.spacy")

    def select(*words: object) -> str:
        options = ["--model", tmp_path / "model", "--out", tmp_path / "tasks", *words]
        result = CliRunner().invoke(jbert, ["select", *map(str, [raw, *options])])
        assert result.exit_code == 0, result.output
        return result.output

    for by in WAYS:
        select("--by", by, "--n", 3, "--exclude", tmp_path / "done.spacy")
        tasks = list(srsly.read_jsonl(tmp_path / "tasks"))
        assert len({task["text"] for task in tasks} & set(SENTENCES[5:])) == 3
        assert {"id", "text", "score", "entities", "label", "confidence"} == set(tasks[0])
        scores = [task["score"] for task in tasks]
        assert by == "diversity" or scores == sorted(scores, reverse=True)
    said = select("--n", 30)
    assert "JW466" in said
    assert "20 of 20" in said


def corrected(tool: str, task: dict[str, Any], number: int) -> tuple[dict[str, Any], list, str]:
    """A task as its tool exports it when an annotator has put one entity, with a relation to
    itself, and the other category in the place of what was found: in the shape that the tool's
    documentation publishes.

    RETURNS: The record, its entities, its category.
    """
    text = task["data"]["text"] if tool == "label-studio" else task["text"]
    span, category = [0, len(text) - 1, "LOC"], "even" if number % 2 else "odd"
    start, end, label = span
    if tool == "label-studio":
        region = {"from_name": "label", "to_name": "text", "origin": "manual"}
        value = {"start": start, "end": end, "text": text[start:end], "labels": [label]}
        choice = {"from_name": "category", "to_name": "text", "origin": "prediction"}
        relation = {"from_id": "Dx_aB91ISN", "to_id": "Dx_aB91ISN", "type": "relation"}
        result = [
            {**region, "id": "Dx_aB91ISN", "type": "labels", "value": value},
            {**choice, "id": "u3", "type": "choices", "value": {"choices": [category]}},
            {**relation, "direction": "right", "labels": []},
        ]
        annotation = {
            **{"id": 1001 + number, "completed_by": {"id": 10, "email": "x@example.org"}},
            **{"result": result, "was_cancelled": False, "ground_truth": False, "lead_time": 12.5},
            **{"created_at": "2026-03-09T22:16:08.728353Z", "result_count": 3, "task": number},
            **{"prediction": task["predictions"][0], "draft_created_at": None, "project": 83},
        }
        skipped = {**annotation, "id": 1, "result": [], "was_cancelled": True}
        beside = {
            **{"id": number, "inner_id": number, "project": 83, "meta": {}, "drafts": []},
            **{"file_upload": "1-tasks.json", "total_annotations": 1, "cancelled_annotations": 1},
            **{"predictions": [17], "comment_authors": [], "updated_by": 1},
        }
        done = {**beside, "data": task["data"], "annotations": [skipped, annotation]}
        return done, [span], category
    if tool == "prodigy":
        tokens = {"token_start": 0, "token_end": len(task["tokens"]) - 2}
        done = {
            **task,
            **{"spans": [{"start": start, "end": end, "label": label, **tokens}]},
            **{"accept": [category], "answer": "accept", "_is_binary": False},
            **{"_input_hash": number, "_task_hash": 100 + number, "_view_id": "blocks"},
            **{"_timestamp": 1770000000 + number, "_annotator_id": "a", "_session_id": "s-a"},
            **{"relations": [{"head": 0, "child": 0, "label": "X", "head_span": {}}]},
        }
        return done, [span], category
    if tool == "doccano":
        beside = {name: task[name] for name in ("record_id", "score")}
        relations = [{"id": 3, "from_id": 1, "to_id": 1, "type": "x"}]
        done = {"id": number, "text": text, **beside, "entities": [span], "cats": [category]}
        return {**done, "relations": relations, "Comments": ["?"]}, [span], category
    return {**task, "entities": [span], "label": category, "relations": [{}]}, [span], category


@pytest.mark.parametrize("tool", ["label-studio", "prodigy", "doccano", "jsonl"])
def test_the_finished_work_comes_back(tool: str, nlp: Language, tmp_path: Path) -> None:
    """Both ways by the commands, as a stranger does it."""
    nlp.to_disk(tmp_path / "model")
    (tmp_path / "raw.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    tasks = tmp_path / ("tasks.json" if tool == "label-studio" else "tasks.jsonl")
    words = ["select", tmp_path / "raw.txt", "--model", tmp_path / "model", "--n", 6]
    chosen = CliRunner().invoke(jbert, [*map(str, [*words, "--to", tool, "--out", tasks])])
    assert chosen.exit_code == 0, chosen.output
    read = srsly.read_json if tool == "label-studio" else srsly.read_jsonl
    done = [corrected(tool, task, number) for number, task in enumerate(read(tasks), 1)]
    assert len(done) == 6
    export = tmp_path / f"export{tasks.suffix}"
    write = srsly.write_json if tool == "label-studio" else srsly.write_jsonl
    write(export, [record for record, _, _ in done])
    words = ["convert", export, "--task", "joint", "--out", tmp_path / "corpus"]
    converted = CliRunner().invoke(jbert, [*map(str, [*words, "--split", "100/0/0"])])
    assert converted.exit_code == 0, converted.output
    if tool != "jsonl":
        assert "[JW250] 6 " in converted.output
    docs = DocBin().from_disk(tmp_path / "corpus" / "train.spacy").get_docs(nlp.vocab)
    found = {
        doc.text: (
            [[ent.start_char, ent.end_char, ent.label_] for ent in doc.ents],
            max(doc.cats, key=doc.cats.__getitem__),
        )
        for doc in docs
    }
    assert sorted(found.values()) == sorted((spans, category) for _, spans, category in done)
    assert set(found) <= set(SENTENCES)


def test_a_pipeline_has_to_know_something(tmp_path: Path) -> None:
    nlp = spacy.blank("ja")
    for by in ("margin", "coreset"):
        with pytest.raises(ValueError, match="J477"):
            list(look_at(nlp, [("a", "東京")], by))


@pytest.mark.parametrize("classifier", [False, True])
def test_whatever_finds_entities(classifier: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Components of others have no confidence, and are looked at all the same."""
    nlp = spacy.blank("ja")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "地名", "pattern": "東京"}])
    nlp.add_pipe("jbert_threshold")
    if classifier:
        textcat = nlp.add_pipe("textcat")
        for label in ("a", "b"):
            textcat.add_label(label)
        nlp.initialize()
        ruler.add_patterns([{"label": "地名", "pattern": "東京"}])
    texts = [("1", "東京へ行く。"), ("2", "猫。")]
    first, second = look_at(nlp, texts, "random")
    assert first.asked.entities == [((0, 2, "地名"), None)]
    assert second.asked.entities == []
    assert labels_of(nlp, "x").entities == ["地名"]
    assert "JW471" not in caplog.text
    if classifier:
        assert [one.doubt["margin"] > 0 for one in look_at(nlp, texts, "margin")] == [True, True]
        assert "entity_ruler" in caplog.text.partition("JW471")[2]
    else:
        with pytest.raises(ValueError, match="J477"):
            list(look_at(nlp, texts, "margin"))


def test_stock_ner_gives_tasks(tmp_path: Path, ner_examples: Callable) -> None:
    nlp = spacy.blank("ja")
    nlp.add_pipe("ner")
    examples = ner_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(30):
        nlp.update(examples, sgd=optimizer)
    nlp.to_disk(tmp_path / "model")
    raw = tmp_path / "raw.txt"
    raw.write_text("\n".join(SENTENCES), encoding="utf-8")
    words = ["select", raw, "--model", tmp_path / "model", "--by", "random", "--to", "label-studio"]
    wrong = CliRunner().invoke(jbert, [*map(str, [*words, "--out", tmp_path / "tasks.xml"])])
    assert (wrong.exit_code, "J483" in wrong.output) == (1, True)
    assert not (tmp_path / "tasks.xml").exists()
    done = CliRunner().invoke(jbert, [*map(str, [*words, "--out", tmp_path / "tasks.json"])])
    assert done.exit_code == 0, done.output
    tasks = srsly.read_json(tmp_path / "tasks.json")
    assert any(task["predictions"][0]["result"] for task in tasks)
    interface = (tmp_path / "tasks.xml").read_text(encoding="utf-8")
    assert all(f'value="{label}"' in interface for label in nlp.get_pipe("ner").labels)
