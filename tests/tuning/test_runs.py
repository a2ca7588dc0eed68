"""Seeds and folds: what they train, what they keep, and what they say against others."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
import srsly
from filelock import FileLock
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from typer.testing import CliRunner

from spacy_jbert.cli.app import app as jbert
from spacy_jbert.errors import DataError
from spacy_jbert.project import shipped
from spacy_jbert.tuning import folds, runs, seeds
from spacy_jbert.tuning.folds import crossvalidate
from spacy_jbert.tuning.runs import Run, Said, compared, evaluated, once, read_runs
from spacy_jbert.tuning.seeds import train_seeds
from spacy_jbert.tuning.summary import show_comparison, spreads


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, ner_examples, japanese: Language) -> Path:
    docs = [eg.reference for eg in ner_examples(japanese)]
    for i, doc in enumerate(docs):
        doc.cats = {"even": float(i % 2 == 0), "odd": float(i % 2)}
    path = tmp_path_factory.mktemp("data") / "data.spacy"
    DocBin(docs=docs).to_disk(path)
    return path


@pytest.fixture(scope="module")
def settings(checkpoint: Callable) -> dict[str, Any]:
    return {
        "paths.encoder": str(checkpoint("bert-fast")),
        "components.transformer.model.overlap": 8,
        "training.max_steps": 2,
        "training.eval_frequency": 2,
    }


def said(text: str, right: int, wrong: int = 0, missed: int = 0) -> Said:
    return Said(text, {"cats": {"a": [right, wrong, missed]}}, [], [], {})


def run_of(*all_said: Said, **scores: float) -> Run:
    return Run(dict(scores), list(all_said))


def test_a_fold_is_trained_and_told(data: Path, settings: dict, tmp_path: Path) -> None:
    overrides = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    words = ["crossval", str(shipped.configs() / "joint.cfg"), str(data), "--k", "3"]
    done = CliRunner().invoke(jbert, [*words, "--out", str(tmp_path / "a"), *overrides])
    assert done.exit_code == 0, done.output
    assert not list((tmp_path / "a").glob(".fold*"))
    scores = srsly.read_json(tmp_path / "a" / "scores.json")
    assert scores["folds"] == 3
    assert {"mean", "sd", "low", "high", "values"} == set(scores["scores"]["ents_f"])
    tested_on = [one.text for run in read_runs(tmp_path / "a") for one in run.said]
    assert len(tested_on) == len(set(tested_on)) == 20
    # Nothing is trained a second time, and the same is no better than itself.
    against = ["--out", str(tmp_path / "a"), "--against", str(tmp_path / "a")]
    again = CliRunner().invoke(jbert, [*words, *against, *overrides])
    assert again.exit_code == 0, again.output
    assert again.output.count("done already") == 3
    comparison = srsly.read_json(tmp_path / "a" / "comparison.json")["scores"]
    assert set(comparison) == {"ents_f", "cats_micro_f", "cats_macro_f"}
    assert comparison["ents_f"]["p_randomisation"] == 1.0


def test_what_is_stopped_goes_on(
    data: Path, settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Any] = []

    def work(config: Path, folder: Path, test: Path, overrides: dict, gpu_id: int) -> Run:
        trained.append(overrides.get("training.seed"))
        assert [*folder.iterdir()] in ([], [folder / "corpus"])
        (folder / "half").touch()
        if len(trained) == 3:
            raise KeyboardInterrupt
        return run_of(said("x", 1), cats_macro_f=len(trained) / 10)

    monkeypatch.setattr(folds, "trained_and_tested", work)
    monkeypatch.setattr(seeds, "trained_and_tested", work)
    config = shipped.configs() / "ner.cfg"

    def fold() -> Any:
        return crossvalidate(config, data, tmp_path / "f", count=3, overrides=settings)

    with pytest.raises(KeyboardInterrupt):
        fold()
    assert not (tmp_path / "f" / "scores.json").exists()
    summary = fold()
    assert len(trained) == 4
    mean, sd, values = summary.scores["cats_macro_f"]
    assert values == [0.1, 0.2, 0.4]
    assert (mean.value, sd) == pytest.approx((0.7 / 3, 0.1528), abs=1e-3)
    # Other settings are other scores, and so is what was damaged.
    crossvalidate(config, data, tmp_path / "f", count=3, overrides={**settings, "x.y": 1})
    assert len(trained) == 7
    for name, content in [("fold-1.json", "{"), ("fold-2.json", "[]"), ("fold-3.jsonl", "{}")]:
        (tmp_path / "f" / name).write_text(content)
    crossvalidate(config, data, tmp_path / "f", count=3, overrides={**settings, "x.y": 1})
    assert len(trained) == 10
    with pytest.raises(DataError, match="J328"):
        crossvalidate(config, data, tmp_path / "g", count=31)

    trained[:] = [None] * 3
    paths = {"paths.train": str(data), "paths.dev": str(data)}
    train_seeds(config, tmp_path / "s", count=2, first=3, overrides={**settings, **paths})
    # More of them later.
    train_seeds(config, tmp_path / "s", count=3, first=3, overrides={**settings, **paths})
    assert trained[3:] == [3, 4, 5]
    train_seeds(config, tmp_path / "s", count=1, first=3, overrides={**settings, **paths})
    summary = srsly.read_json(tmp_path / "s" / "scores.json")
    assert summary["scores"]["cats_macro_f"]["low"] is None


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".seed-1").mkdir()
    (tmp_path / ".seed-1" / "weights").touch()

    def work(folder: Path) -> Run:
        assert not list(folder.iterdir())
        return run_of(said("x", 1))

    run, was_there = once(tmp_path, "seed-1", "these", work)
    assert (run.scores, run.said, was_there) == (*run_of(said("x", 1))[:2], False)
    assert once(tmp_path, "seed-1", "these", work)[1]
    assert not once(tmp_path, "seed-1", "others", work)[1]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["seed-1.json", "seed-1.jsonl"]


def test_two_processes_dont_share_a_folder(data: Path, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(DataError, match="J465"):
        crossvalidate(shipped.configs() / "ner.cfg", data, tmp_path, count=3)


def test_seeds_need_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="J468"):
        train_seeds(shipped.configs() / "ner.cfg", tmp_path)
    paths = {"paths.train": "no.spacy", "paths.dev": "no.spacy"}
    with pytest.raises(DataError, match="J201"):
        train_seeds(shipped.configs() / "ner.cfg", tmp_path, overrides=paths)


def test_counts_are_those_of_the_scores(make_nlp: Callable, ner_examples: Callable) -> None:
    """What significance counts adds up to what spaCy says."""
    nlp = make_nlp([("ner", "jbert_ner", {})], ner_examples)
    examples = ner_examples(nlp)
    sgd = nlp.create_optimizer()
    sgd.learn_rate = 0.01
    for _ in range(6):
        nlp.update(examples, sgd=sgd)
    run = evaluated(nlp, ner_examples(nlp))
    labels = sorted({label for one in run.said for label in one.counts["ents"]})
    counts = runs.counts_array([[one] for one in run.said], "ents", labels).sum(axis=0)
    assert 0 < run.scores["ents_f"] == pytest.approx(runs.MEASURES["ents_f"][1](counts))
    # As JSON and back.
    row = json.loads(json.dumps(run.said[1]._asdict()))
    assert Said(**row).counts == run.said[1].counts


def test_runs_are_compared_by_document(tmp_path: Path) -> None:
    ours = [run_of(said("a", 1), said("a", 0, 1, 1), said("b", 1))] * 2
    theirs = [run_of(said("b", 0, 1, 1), said("a", 1), said("a", 0, 1, 1))]
    found = compared(ours, theirs, tmp_path)
    assert list(found) == ["cats_micro_f", "cats_macro_f"]
    assert found["cats_micro_f"].difference.value == pytest.approx(1 / 3)
    with pytest.raises(DataError, match="J467"):
        compared(ours, [run_of(said("a", 1))], tmp_path)
    with pytest.raises(DataError, match="J466"):
        read_runs(tmp_path)


def test_spreads_are_of_what_all_have() -> None:
    first = {"a": 0.5, "b": {"c": 1.0, "only": 0.0}, "speed": 9.0, "text": "x"}
    second = {"a": 0.7, "b": {"c": 1.0}, "speed": 1.0, "text": "x"}
    found = spreads([first, second])
    assert set(found) == {"a", "b.c"}
    assert (found["a"].mean.value, found["b.c"].sd) == (pytest.approx(0.6), 0.0)


# --- Categories -----------------------------------------------------------------------------------


def classifier(factory: str, labels: str) -> Language:
    nlp = spacy.blank("ja")
    pipe = nlp.add_pipe(factory)
    for label in labels:
        pipe.add_label(label)
    nlp.initialize()
    return nlp


def judged(nlp: Language, golds: list[dict[str, float]]) -> list[Example]:
    examples = []
    for i, cats in enumerate(golds):
        gold = nlp.make_doc(f"{i}番目の猫が{'走る' * (i % 7)}。")
        gold.cats = cats
        examples.append(Example(nlp.make_doc(gold.text), gold))
    return examples


def total(run: Run) -> list[float]:
    labels = sorted({label for one in run.said for label in one.counts["cats"]})
    counts = runs.counts_array([[one] for one in run.said], "cats", labels)
    return counts.sum(axis=(0, 1)).tolist()


@pytest.mark.parametrize("factory", ["textcat", "textcat_multilabel"])
def test_categories_are_counted_as_in_the_scores(factory: str) -> None:
    """Those of documents without any too: every category at 0.0."""
    chance = random.Random(0)
    nlp = classifier(factory, "xyz")
    golds = [{label: float(chance.random() < 0.3) for label in "xyz"} for _ in range(60)]
    assert any(not any(gold.values()) for gold in golds)
    run = evaluated(nlp, judged(nlp, golds))
    counts = runs.counts_array([[one] for one in run.said], "cats", list("xyz")).sum(axis=0)
    for name in ("cats_micro_f", "cats_macro_f"):
        assert run.scores[name] == pytest.approx(runs.MEASURES[name][1](counts))
    assert counts.sum() > 60


@pytest.mark.parametrize("factory", ["textcat", "textcat_multilabel"])
def test_a_label_that_a_pipeline_lacks_is_missed(factory: str) -> None:
    golds = [{label: float(label == "xyz"[i % 3]) for label in "xyz"} for i in range(60)]
    golds += [{"z": 1.0}]
    has, lacks = classifier(factory, "xyz"), classifier(factory, "xy")
    ours, theirs = (evaluated(nlp, judged(nlp, golds)) for nlp in (has, lacks))
    for one, gold in zip(theirs.said, golds, strict=True):
        assert one.counts["cats"].get("z", [0, 0, 0]) == [0, 0, int(gold["z"])]
    right, _, missed = total(theirs)
    # Each annotated label is found or missed, whatever is known.
    assert right + missed == sum(total(ours)[::2]) == 61
    if factory == "textcat":
        sure = {"x": 1.0, "y": 0.0}
        pipes = [pipe for _, pipe in lacks.pipeline]
        assert runs._category_counts({**sure, "z": 0.0}, sure, pipes)["x"] == [1, 0, 0]
        unknown = runs._category_counts({"x": 0.0, "y": 0.0, "z": 1.0}, sure, pipes)
        assert unknown == {"z": [0, 0, 1], "x": [0, 1, 0]}


def test_nothing_is_compared_that_one_side_never_says(tmp_path: Path) -> None:
    nothing = Run({}, [Said("a", {"ents": {"X": [1, 0, 0]}}, [], [], {})])
    other = Run({}, [Said("a", {"ents": {}, "cats": {"a": [1, 0, 0]}}, [], [], {})])
    assert list(compared([nothing], [other], tmp_path)) == ["ents_f"]
    assert list(compared([other], [nothing], tmp_path)) == ["ents_f"]


# --- Which runs -----------------------------------------------------------------------------------


def test_only_the_runs_of_the_summary_are_read(
    data: Path, settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Any] = []

    def work(config: Path, folder: Path, test: Path, overrides: dict, gpu_id: int) -> Run:
        trained.append(overrides)
        if overrides.get("stop"):
            raise KeyboardInterrupt
        return run_of(said("x", 1), which=overrides["training.max_steps"])

    monkeypatch.setattr(folds, "trained_and_tested", work)
    monkeypatch.setattr(seeds, "trained_and_tested", work)
    config, paths = shipped.configs() / "ner.cfg", dict.fromkeys(("paths.train", "paths.dev"))
    given = {**settings, **dict.fromkeys(paths, str(data))}
    train_seeds(config, tmp_path / "s", count=3, overrides=given)
    train_seeds(config, tmp_path / "s", count=1, overrides={**given, "training.max_steps": 9})
    assert [run.scores["which"] for run in read_runs(tmp_path / "s")] == [9]
    crossvalidate(config, data, tmp_path / "f", count=4, overrides=given)
    crossvalidate(config, data, tmp_path / "f", count=3, overrides=given)
    assert (tmp_path / "f" / "fold-4.json").exists()
    assert [run.name for run in read_runs(tmp_path / "f")] == ["fold-1", "fold-2", "fold-3"]
    # One that was begun with something else since.
    train_seeds(config, tmp_path / "s", count=2, overrides=given)
    (tmp_path / "s" / "seed-1.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"J481.*\(seed-1\)"):
        read_runs(tmp_path / "s")
    once(tmp_path / "f", "fold-2", "others", lambda folder: run_of(said("x", 1)))
    with pytest.raises(DataError, match=r"J481.*\(fold-2\)"):
        read_runs(tmp_path / "f")
    srsly.write_json(tmp_path / "f" / "scores.json", {"folds": 3, "scores": {}})
    with pytest.raises(DataError, match="J481"):
        read_runs(tmp_path / "f")


def test_a_path_may_be_written_otherwise(
    data: Path, settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Any] = []

    def work(*_: Any) -> Run:
        trained.append(1)
        # What a training writes is no other setting for the next one.
        (tmp_path / "log").mkdir(exist_ok=True)
        (tmp_path / "log" / "x.jsonl").touch()
        return run_of(said("x", 1))

    monkeypatch.setattr(folds, "trained_and_tested", work)
    monkeypatch.setattr(seeds, "trained_and_tested", work)
    (tmp_path / "sd").mkdir()
    (tmp_path / "sd" / "x.spacy").write_bytes(data.read_bytes())
    (tmp_path / "link").symlink_to("sd")
    monkeypatch.chdir(tmp_path)
    config = shipped.configs() / "ner.cfg"
    ways = ["sd/x.spacy", "./sd/x.spacy", "sd/../sd//x.spacy", "link/x.spacy"]
    for way in [*ways, str(tmp_path / "sd" / "x.spacy")]:
        given = {**settings, "paths.train": way, "paths.dev": way, "corpora.x": "log/x.jsonl"}
        train_seeds(config, tmp_path / "s", count=1, overrides=given)
        crossvalidate(config, data, tmp_path / "f", count=3, overrides=given)
    assert len(trained) == 1 + 3
    given["corpora.x"] = "./log/x.jsonl"
    train_seeds(config, tmp_path / "s", count=1, overrides=given)
    assert len(trained) == 1 + 3
    given["corpora.x"] = "log/y.jsonl"
    train_seeds(config, tmp_path / "s", count=1, overrides=given)
    assert len(trained) == 2 + 3


def test_headings_are_whole(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    one = [run_of(said("a", 1), said("b", 1))]
    show_comparison(compared(one, one, tmp_path), Path("a/rather/long/folder/of/other/runs"))
    out = capsys.readouterr().out
    assert "p (bootstrap)" in out
    assert "p (randomisation)" in out
    assert "a/rather/long/folder/of/other/runs" in out
