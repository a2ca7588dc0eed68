"""Bulk annotation: the same bytes whatever happens on the way, and no text lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin

from spacy_jbert.errors import DataError
from spacy_jbert.evaluation.drift import read
from spacy_jbert.serving import bulk, workers
from spacy_jbert.serving.bulk import annotate
from spacy_jbert.serving.entries import Entry, find_inputs
from spacy_jbert.serving.workers import Job

from .conftest import files, records


@Language.component("fails_at_bad", assigns=["doc.ents"])
def fails_at_bad(doc: Doc) -> Doc:
    if "bad" in doc.text:
        raise RuntimeError("this text can't be had")
    return doc


# --- One batch, in this process -----------------------------------------------------------------


def job(format: Any = "jsonl", prefix: str = "") -> Job:
    return Job("m", format, "text", prefix, 1, -1)


def batch(*texts: Any) -> list[Entry]:
    return [Entry("in.jsonl", i, {"text": text}) for i, text in enumerate(texts, 1)]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[dict], list[dict]]]:
    def call(
        nlp: Language, entries: list[Entry], of: Job | None = None
    ) -> tuple[list[dict], list[dict]]:
        monkeypatch.setattr(workers, "_pipeline", lambda job: nlp)
        done = workers.annotate_batch(of or job(), entries)
        lines = done.part.splitlines() if isinstance(done.part, bytes) else []
        assert done.documents == len(lines)
        return list(map(json.loads, lines)), list(map(json.loads, done.rejected.splitlines()))

    return call


def test_a_text_that_fails_does_not_hurt_the_others(run: Callable) -> None:
    nlp = spacy.blank("xx")
    nlp.add_pipe("fails_at_bad")
    nlp.max_length = 10
    entries = batch("a b", "bad", None, "", "long" * 10, 5, "half \ud83d")
    entries.insert(1, Entry("in.jsonl", 99, {}, reason="[J204] broken"))
    found, rejected = run(nlp, entries)
    assert [record["text"] for record in found] == ["a b", ""]
    assert [(entry["line"], entry["reason"][:6]) for entry in rejected] == [
        (99, "[J204]"),
        (2, "Runtim"),
        (3, "[J207]"),
        (5, "[E088]"),
        (6, "[J207]"),
        (7, "[J215]"),
    ]
    with pytest.raises(RuntimeError, match="can't be had"):
        run(nlp, batch("bad", "bad"))


def test_annotation_never_replaces_a_field(run: Callable) -> None:
    nlp = spacy.blank("xx")
    nlp.add_pipe("fails_at_bad")
    entries = [Entry("in.jsonl", 1, {"entities": [1], "text": "a"}), *batch("b")]
    found, rejected = run(nlp, entries)
    assert [record["text"] for record in found] == ["b"]
    assert "[J458]" in rejected[0]["reason"]
    found, rejected = run(nlp, entries, job(prefix="jbert_"))
    assert found[0] == {"entities": [1], "text": "a", "jbert_entities": []}
    assert not rejected


def test_the_record_of_a_doc_is_not_replaced_either(run: Callable, ruler: str) -> None:
    nlp = spacy.load(ruler)
    doc = nlp.make_doc("東京")
    doc.user_data["record"] = {"text": "東京", "entities": [1]}
    entries = [Entry("a.spacy", 1, {}, doc.to_bytes())]
    found, rejected = run(nlp, entries)
    assert not found
    assert "[J458]" in rejected[0]["reason"]
    found, _ = run(nlp, entries, job(prefix="jbert_"))
    assert found[0]["entities"] == [1]


def test_half_a_character_in_another_field(ruler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = spacy.load(ruler)
    monkeypatch.setattr(workers, "_pipeline", lambda job: nlp)
    done = workers.annotate_batch(job("spacy"), [Entry("b", 1, {"text": "東京", "n": ["\ud83d"]})])
    assert isinstance(done.part, bytes)
    (doc,) = DocBin().from_bytes(done.part).get_docs(nlp.vocab)
    assert doc.user_data["record"] == {"text": "東京", "n": ("\\ud83d",)}


def test_docs_keep_what_they_had_and_their_record(
    ruler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = spacy.load(ruler)
    monkeypatch.setattr(workers, "_pipeline", lambda job: nlp)
    doc = nlp.make_doc("東京 の 人")
    doc.cats = {"a": 1.0}
    doc.set_ents([doc.char_span(5, 6, "PERSON")])
    entries = [Entry("a.spacy", 1, {}, doc.to_bytes()), Entry("b", 1, {"n": 3, "text": "東京"})]
    done = workers.annotate_batch(job("spacy"), entries)
    assert isinstance(done.part, bytes)
    one, two = DocBin().from_bytes(done.part).get_docs(nlp.vocab)
    assert [(ent.text, ent.label_) for ent in one.ents] == [("東京", "GPE"), ("人", "PERSON")]
    assert one.cats == {"a": 1.0}
    assert two.user_data["record"] == {"n": 3, "text": "東京"}


def test_the_vocabulary_does_not_grow(ruler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = spacy.load(ruler)
    monkeypatch.setattr(workers, "_pipeline", lambda job: nlp)
    workers.annotate_batch(job(), batch(*(f"w{i}" for i in range(100))))
    before = set(nlp.vocab.strings)
    workers.annotate_batch(job(), batch(*(f"v{i}" for i in range(100))))
    assert set(nlp.vocab.strings) == before


# --- Whole runs ---------------------------------------------------------------------------------


def test_what_can_not_be_run_is_told_before_anything_is_written(tmp_path: Path, ruler: str) -> None:
    source, out = records(tmp_path / "a.jsonl", 3), tmp_path / "out"
    with pytest.raises(ValueError, match="J459"):
        annotate([source], model=str(tmp_path), out=out)
    with pytest.raises(DataError, match="J206"):
        annotate([source], model=ruler, out=out, text_field="body")
    with pytest.raises(ValueError, match="J460"):
        annotate([tmp_path], model=ruler, out=tmp_path / "out")
    # Nothing is left in a folder that is somebody else's.
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "mine").touch()
    with pytest.raises(ValueError, match="J454"):
        annotate([source], model=ruler, out=foreign)
    assert [path.name for path in foreign.iterdir()] == ["mine"]
    assert not list(out.glob("part*"))
    assert {path.name for path in out.iterdir()} == {"lock"}


def test_a_record_that_cannot_be_read_is_no_reason_to_stop_first_or_last(
    tmp_path: Path, ruler: str
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(b"")
    (folder / "b.jsonl").write_text('{broken\n{"text": "東京"}\n{broken\n', encoding="utf-8")
    done = annotate([folder], model=ruler, out=out)
    assert done.documents == 1
    assert (out / "rejected.jsonl").read_text(encoding="utf-8").count("[J204]") == 2
    # If none can be read, the reason is the first's.
    with pytest.raises(DataError, match=r"a\.jsonl.*J202"):
        annotate([folder / "a.jsonl"], model=ruler, out=tmp_path / "other")


def test_a_run_ends_goes_on_and_refuses_others(tmp_path: Path, ruler: str) -> None:
    source, out = records(tmp_path / "a.jsonl", 60), tmp_path / "out"
    done = annotate([source], model=ruler, out=out, shard_size=25, format="parquet")
    assert (done.shards, done.entries, done.documents) == (3, 62, 60)
    before = files(out)
    assert annotate([source], model=ruler, out=out, shard_size=25, format="parquet") == done
    assert files(out) == before
    with source.open("a") as file:
        file.write("\n")
    with pytest.raises(ValueError, match=r"J455.*inputs"):
        annotate([source], model=ruler, out=out, shard_size=25, format="parquet")


def test_a_folder_of_shards_is_read_back(ruler: str, tmp_path: Path) -> None:
    """By `jbert drift` and as input: without what the run tells of itself."""
    source, out = tmp_path / "in.txt", tmp_path / "out"
    source.write_text("東京 へ行く。\n海を見た。\n", encoding="utf-8")
    annotate([source], model=ruler, out=out)
    assert [(doc.text, doc.entities) for doc in read(out)] == [
        ("東京 へ行く。", ["GPE"]),
        ("海を見た。", []),
    ]
    assert find_inputs([out], "auto") == [out / "part-00000.jsonl"]
    # A file of that name alone is somebody's own.
    own = tmp_path / "own" / "manifest.jsonl"
    own.parent.mkdir()
    own.write_text('{"text": "東京"}\n', encoding="utf-8")
    assert find_inputs([own.parent], "auto") == [own]


def command(source: Path, model: str, out: Path, *options: str) -> subprocess.Popen:
    words = f"-m spacy jbert annotate {source} --model {model} --out {out} --shard-size 40"
    return subprocess.Popen(
        [sys.executable, *words.split(), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def finished(out: Path) -> list[str]:
    """The shards that the manifest names."""
    try:
        lines = (out / "manifest.jsonl").read_text(encoding="utf-8").split("\n")[1:-1]
    except FileNotFoundError:
        return []
    return [line["shard"] for line in map(json.loads, lines) if "shard" in line]


def wait_for(process: subprocess.Popen, out: Path, shards: int) -> None:
    while len(finished(out)) < shards and process.poll() is None:
        time.sleep(0.01)


def kill_and_go_on(tmp_path: Path, model: str, kills: int, count: int) -> None:
    source = records(tmp_path / "a.jsonl", count)
    straight, out = tmp_path / "straight", tmp_path / "out"
    assert command(source, model, straight, "--workers", "2").wait() == 0
    choice = random.Random(kills)
    n_shards = len(finished(straight))
    kept: dict[str, int] = {}
    for number in range(kills):
        process = command(source, model, out)
        wait_for(process, out, choice.randint(number * n_shards // (kills + 1), n_shards - 2))
        time.sleep(choice.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        times = {name: (out / name).stat().st_mtime_ns for name in finished(out)}
        assert kept.items() <= times.items()  # no finished shard is written again
        kept = times
    assert command(source, model, out).wait() == 0
    assert kept.items() <= {name: (out / name).stat().st_mtime_ns for name in kept}.items()
    assert files(out) == files(straight)
    assert any(b'"label"' in content for content in files(out).values())


def test_killed_twice_and_with_other_workers_the_bytes_are_the_same(
    tmp_path: Path, model: str
) -> None:
    kill_and_go_on(tmp_path, model, kills=2, count=400)


@pytest.mark.slow
def test_killed_ten_times_the_bytes_are_the_same(tmp_path: Path, model: str) -> None:
    kill_and_go_on(tmp_path, model, kills=10, count=3000)


def test_a_stop_says_how_it_goes_on(tmp_path: Path, ruler: str) -> None:
    source, out = records(tmp_path / "a.jsonl", 150_000), tmp_path / "out"
    process = command(source, ruler, out)
    wait_for(process, out, 1)
    second = command(source, ruler, out)
    assert "[J453]" in second.communicate()[0]
    assert second.returncode == 1
    process.send_signal(signal.SIGTERM)
    shown, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "[JW452]" in shown
    assert "Traceback" not in shown
    assert not list(out.glob("*.part"))


def test_a_worker_that_is_killed_is_told(tmp_path: Path, ruler: str) -> None:
    source, out = records(tmp_path / "a.jsonl", 150_000), tmp_path / "out"
    process = command(source, ruler, out)
    wait_for(process, out, 1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("this system doesn't list the children of a process")
    for pid in map(int, children.read_text().split()):
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    shown, _ = process.communicate()
    assert process.returncode == 1
    assert "[J457]" in shown


def test_nothing_readable_is_an_error(
    tmp_path: Path, ruler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text('{"text": "a"}\n', encoding="utf-8")
    monkeypatch.setattr(bulk, "_check_first", lambda *_: None)
    with pytest.raises(ValueError, match="J461"):
        annotate([source], model=ruler, out=tmp_path / "out", text_field="body")
