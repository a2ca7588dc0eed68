"""Loggers of trainings, in a chain, and what they leave."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import srsly
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config

from spacy_jbert.evaluation.facts import find_log, learning_curve
from spacy_jbert.project import shipped
from spacy_jbert.tracking import (
    git_state,
    mlflow_logger,
    mlflow_name,
    numbers,
    record_logger,
    tensorboard_logger,
)


@pytest.fixture
def trained(
    checkpoint: Callable, ner_examples: Callable, japanese: Language, tmp_path: Path
) -> Callable[..., None]:
    DocBin(docs=[eg.reference for eg in ner_examples(japanese)]).to_disk(tmp_path / "x.spacy")

    def train_with(*loggers: dict[str, Any]) -> None:
        overrides = {
            **{f"paths.{name}": str(tmp_path / "x.spacy") for name in ("train", "dev")},
            "paths.encoder": str(checkpoint("bert-fast")),
            "components.transformer.model.overlap": 8,
            "training.max_steps": 2,
            "training.eval_frequency": 2,
        }
        config = load_config(shipped.configs() / "ner.cfg", overrides=overrides)
        chain = {f"logger{number}": one for number, one in enumerate(loggers, 1)}
        config["training"]["logger"] = {"@loggers": "spacy.ChainLogger.v1", **chain}
        train(init_nlp(config))

    return train_with


@pytest.fixture(autouse=True)
def apart() -> Iterator[None]:
    """W&B and MLflow keep where they write for the life of a process, also from tests of others."""
    forget()
    yield
    forget()


def forget() -> None:
    if (wandb := sys.modules.get("wandb")) is not None:
        wandb.teardown()
    if (mlflow := sys.modules.get("mlflow")) is not None:
        mlflow.set_tracking_uri(None)
        os.environ.pop("MLFLOW_TRACKING_URI", None)


def test_all_of_them_in_a_chain(
    trained: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.html").touch()
    trained(
        {"@loggers": "spacy.ConsoleLogger.v3", "output_file": str(tmp_path / "log.jsonl")},
        {"@loggers": "spacy-jbert.TensorBoardLogger.v1", "path": str(tmp_path / "tb")},
        {"@loggers": "spacy-jbert.MLflowLogger.v1", "artefacts": ["report.html"]},
        {"@loggers": "spacy.WandbLogger.v5", "project_name": "one"},
        {"@loggers": "spacy-jbert.RecordLogger.v1", "path": str(tmp_path / "run.json")},
    )
    assert [line["step"] for line in srsly.read_jsonl(tmp_path / "log.jsonl")] == [0, 2]
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    (run,) = mlflow.search_runs(experiment_names=["spacy-jbert"], output_format="list")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "score/ents_f")
    assert [metric.step for metric in history] == [0, 2]
    assert run.data.params["training.max_steps"] == "2"
    artefacts = mlflow.artifacts.list_artifacts(run_id=run.info.run_id)
    assert [file.path for file in artefacts] == ["config.cfg", "report.html", "run.json"]


def test_what_tensorboard_shows(trained: Callable, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained({"@loggers": "spacy-jbert.TensorBoardLogger.v1", "path": str(tmp_path / "tb")})
    (folder,) = (tmp_path / "tb").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Scalars("score/ents_f")] == [0, 2]
    assert {"score/score", "loss/ner"} <= set(events.Tags()["scalars"])


def test_what_the_record_says(trained: Callable, tmp_path: Path) -> None:
    trained({"@loggers": "spacy-jbert.RecordLogger.v1", "path": str(tmp_path / "a" / "run.json")})
    record = srsly.read_json(tmp_path / "a" / "run.json")
    assert [one["step"] for one in record["evaluations"]] == [0, 2]
    assert "ents_f" in record["evaluations"][1]["scores"]
    assert "[training.optimizer]" in record["config"]
    assert record["packages"]["spacy"].startswith("3.")


def test_every_training_leaves_a_curve(
    checkpoint: Callable, ner_examples: Callable, japanese: Language, tmp_path: Path
) -> None:
    """The configs that come along write a record beside the pipeline, anew each time."""
    DocBin(docs=[eg.reference for eg in ner_examples(japanese)]).to_disk(tmp_path / "x.spacy")
    (tmp_path / "out").mkdir()
    for steps in (4, 2):
        overrides = {
            **{f"paths.{name}": str(tmp_path / "x.spacy") for name in ("train", "dev")},
            "paths.encoder": str(checkpoint("bert-fast")),
            "components.transformer.model.overlap": 8,
            "training.max_steps": steps,
            "training.eval_frequency": 2,
        }
        nlp = init_nlp(load_config(shipped.configs() / "ner.cfg", overrides=overrides))
        table = io.StringIO()
        train(nlp, tmp_path / "out", stdout=table)
        assert "ENTS_F" in table.getvalue()
        found = find_log(tmp_path / "out" / "model-best")
        assert found == tmp_path / "out" / "run.json"
        assert [one["step"] for one in learning_curve(found)] == [*range(0, steps + 1, 2)]
    assert find_log(tmp_path / "ja_package") is None


@pytest.mark.parametrize("name", ["ner", "textcat", "joint", "gpu"])
def test_the_configs_that_train_log(name: str) -> None:
    logger = load_config(shipped.configs() / f"{name}.cfg")["training"]["logger"]
    assert logger["@loggers"] == "spacy-jbert.RecordLogger.v1"
    assert logger["console"]


def test_numbers_of_labels() -> None:
    scores = {"f": 0.5, "none": None, "by": {"地名": {"f": 1.0}}}
    assert dict(numbers(scores, nested=False)) == {"f": 0.5}
    assert dict(numbers(scores, nested=True)) == {"f": 0.5, "by/地名/f": 1.0}


def test_the_state_of_git(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    names = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], [*names, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    (tmp_path / "新.txt").touch()
    state = git_state(tmp_path)
    assert state is not None
    assert len(state["commit"]) == 40
    assert state["changed"] == ["新.txt"]


def test_without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="J469"):
        tensorboard_logger("x")


def committed(folder: Path, *files: str) -> None:
    names = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for file in files:
        (folder / file).write_text(f"{file} is long enough to be known again\n" * 9)
    for words in (["init", "-q"], ["add", "."], [*names, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


def test_names_of_files_as_they_are(tmp_path: Path) -> None:
    committed(tmp_path, "before.txt", "x.txt")
    subprocess.run(["git", "mv", "before.txt", "after that.txt"], cwd=tmp_path, check=True)
    (tmp_path / "x.txt").write_text("other")
    (tmp_path / 'a "b" -> c\n.txt').touch()
    state = git_state(tmp_path)
    assert state is not None
    assert sorted(state["changed"]) == ['a "b" -> c\n.txt', "after that.txt", "x.txt"]


@pytest.mark.skipif(sys.platform != "linux", reason="names are text on other systems")
def test_names_that_are_no_utf_8(
    tmp_path: Path, japanese: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed(tmp_path, "x.txt")
    for name in ("表.csv".encode("cp932"), "日.csv".encode("euc-jp")):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", os.fsdecode("表.csv".encode("cp932"))])
    record_logger(str(tmp_path / "run.json"))(japanese)
    record = json.loads((tmp_path / "run.json").read_bytes().decode())
    assert {r"\x95\.csv", r"\xc6\xfc.csv"} <= set(record["git"]["changed"])


def test_names_for_mlflow() -> None:
    validation = pytest.importorskip("mlflow.utils.validation")
    awkward = [
        "A&B",
        "A|B",
        "A_B",
        "a:b",
        "a//b",
        "a/b/",
        "..",
        ".",
        "",
        "地名",
        "地 名",
        "x" * 300,
    ]
    awkward += ["x" * 301, "𠮷", "人名", "/a", "a/../b", "100%", "é", "e\u0301"]
    for start in ("", "score/ents_per_type/"):
        names = [mlflow_name(f"{start}{label}/f" if start else label) for label in awkward]
        assert len(set(names)) == len(awkward)
        for name in names:
            validation._validate_metric(name, 0.5, 0, 0)
    assert mlflow_name("score/ents_per_type/地名/f") == "score/ents_per_type/地名/f"


def test_mlflow_has_each_label(
    tmp_path: Path,
    japanese: Language,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)
    begin = mlflow_logger(f"sqlite:///{tmp_path / 'x.db'}", model=True, per_label=True)
    log, end = begin(japanese)
    labels = {"人名": {"f": 0.1}, "地名": {"f": 0.9}, "日/付": {"f": 0.5}, "日?付": {"f": 0.4}}
    scores = {"ents_per_type": labels}
    info = {"losses": {}, "other_scores": scores, "score": 1.0, "step": 1, "epoch": 0}
    # Nothing was saved there.
    log({**info, "output_path": str(tmp_path / "out" / "model-last")})
    run = mlflow.active_run().info.run_id
    end()
    assert "JW469" in caplog.text
    assert mlflow.active_run() is None
    found = {
        name: value
        for name, value in mlflow.get_run(run).data.metrics.items()
        if "ents_per_type" in name
    }
    assert sorted(found.values()) == [0.1, 0.4, 0.5, 0.9]
    assert found["score/ents_per_type/地名/f"] == 0.9
