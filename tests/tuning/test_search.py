"""Search of settings: what is read, what is tried, and what is done after a kill."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.util import load_config
from typer.testing import CliRunner

from spacy_jbert.cli.app import app as jbert
from spacy_jbert.errors import DataError
from spacy_jbert.project import shipped
from spacy_jbert.tuning import search as searching
from spacy_jbert.tuning.page import importances, write_page
from spacy_jbert.tuning.search import best_score, open_study, search
from spacy_jbert.tuning.space import DEFAULTS, Choice, Range, default_space, read_space, value_of

SPACE = """
[space]
training.dropout = {"low": 0.0, "high": 0.3}
training.batcher.size = [100, 300]
components.ner.model.decoder = ["crf", "softmax"]
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.cfg"
    path.write_text(SPACE)
    return path


@pytest.fixture
def overrides(
    checkpoint: Callable, ner_examples: Callable, japanese: Language, tmp_path: Path
) -> dict[str, Any]:
    docs = [eg.reference for eg in ner_examples(japanese)]
    DocBin(docs=docs).to_disk(tmp_path / "data.spacy")
    return {
        "paths.train": str(tmp_path / "data.spacy"),
        "paths.dev": str(tmp_path / "data.spacy"),
        "paths.encoder": str(checkpoint("bert-fast")),
        "components.transformer.model.overlap": 8,
        "training.max_steps": 4,
        "training.eval_frequency": 2,
    }


NER = shipped.configs() / "ner.cfg"


def scored(monkeypatch: pytest.MonkeyPatch, score: Callable[..., float]) -> list[dict[str, Any]]:
    """Let trials score without any training. RETURNS: The settings of each."""
    tried: list[dict[str, Any]] = []

    def of(config: Path, given: dict, name: str, report: Any = None, gpu_id: int = -1) -> float:
        tried.append(given)
        return score(given, report)

    monkeypatch.setattr(searching, "best_score", of)
    return tried


def test_a_space_is_read(space: Path) -> None:
    assert read_space(space) == {
        "training.dropout": Range(0.0, 0.3, None, False),
        "training.batcher.size": Choice([100, 300]),
        "components.ner.model.decoder": Choice(["crf", "softmax"]),
    }


@pytest.mark.parametrize(
    "line",
    [
        "",
        "a = []",
        "a = [[1]]",
        "a = 3",
        'a = {"low": 1}',
        'a = {"low": 2, "high": 1}',
        'a = {"low": "x", "high": 1}',
        'a = {"low": true, "high": 3}',
        'a = {"low": 0.0, "high": 1.0, "log": true}',
        'a = {"low": 1, "high": 5, "log": 3}',
        'a = {"low": 1, "high": 5, "step": 9}',
        'a = {"low": 1, "high": 5, "scale": 9}',
    ],
)
def test_what_is_no_space(line: str, tmp_path: Path) -> None:
    path = tmp_path / "space.cfg"
    path.write_text(f"[space]\n{line}\n")
    with pytest.raises(DataError, match="J470"):
        read_space(path)
    path.write_text(line or "[other]\na = [1]\n")
    with pytest.raises(DataError, match="J470"):
        read_space(path)


@pytest.mark.parametrize("name", ["ner", "textcat"])
def test_a_space_comes_along(name: str) -> None:
    path = shipped.configs() / f"{name}.cfg"
    config = load_config(path, interpolate=True)
    space = read_space(default_space(config, path))
    for setting, part in space.items():
        # The config as it is can be the first trial.
        assert part.holds(value_of(config, setting, path)), setting
    assert DEFAULTS.is_dir()
    with pytest.raises(DataError, match="J475"):
        default_space({"nlp": {"pipeline": ["tagger"]}}, path)
    with pytest.raises(DataError, match=r"J471.*training\.dropout meant"):
        value_of(config, "training.dropuot", path)


def test_the_config_is_tried_first_and_the_best_is_kept(
    space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = scored(monkeypatch, lambda given, _: given["training.dropout"])
    best = search(NER, space, tmp_path / "s", trials=8, overrides={"paths.train": "here"})
    config = load_config(NER)
    assert tried[0]["training.dropout"] == config["training"]["dropout"]
    assert tried[0]["components.ner.model.decoder"] == "crf"
    assert best.first == config["training"]["dropout"] <= best.score
    assert best.finished == len(tried) == 8
    kept = load_config(tmp_path / "s" / "best.cfg", interpolate=False)
    assert kept["training"]["dropout"] == best.score
    assert kept["paths"]["train"] == "here"
    # Its variables are still variables.
    assert kept["training"]["seed"] == "${system.seed}"
    # A second time nothing is tried; more are.
    search(NER, space, tmp_path / "s", trials=8, overrides={"paths.train": "here"})
    assert len(tried) == 8
    search(NER, space, tmp_path / "s", trials=9, overrides={"paths.train": "here"})
    assert len(tried) == 9
    with pytest.raises(DataError, match="J472"):
        search(NER, space, tmp_path / "s", trials=9)


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_trial_that_was_stopped_is_done_again(
    storage: Any, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(given: dict[str, Any], report: Any) -> float:
        if len(tried) == 2:
            raise KeyboardInterrupt
        return 0.5

    tried = scored(monkeypatch, score)
    with pytest.raises(KeyboardInterrupt):
        search(NER, space, tmp_path / "s", trials=4, storage=storage)
    assert len(tried) == 2
    best = search(NER, space, tmp_path / "s", trials=4)
    assert (best.finished, best.failed) == (4, 1)
    assert tried[1] == tried[2]
    assert not list((tmp_path / "s").glob(".trial*"))
    assert (tmp_path / "s" / searching.FILES[storage]).exists()


def test_a_search_that_was_stopped_tries_the_same(
    space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond what is drawn at first by chance: what is tried then depends on the scores before."""
    stops = iter([3, 3, 9, 14])
    stop = next(stops)

    def score(given: dict[str, Any], report: Any) -> float:
        nonlocal stop
        if given["paths.train"] == "stopped" and len(kept) == stop:
            stop = next(stops, -1)
            raise KeyboardInterrupt
        kept.append({**given, "paths.train": ""})
        return 1.0 - (given["training.dropout"] - 0.2) ** 2

    tried = []
    for name in ("whole", "stopped"):
        kept: list[dict[str, Any]] = []
        scored(monkeypatch, score)
        while len(kept) < 16:
            with suppress(KeyboardInterrupt):
                search(NER, space, tmp_path / name, trials=16, overrides={"paths.train": name})
        tried.append(kept)
    assert tried[0] == tried[1]
    assert len({given["training.dropout"] for given in tried[0]}) == 16


def test_seeds_and_budgets(space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = scored(monkeypatch, lambda given, _: given["training.seed"] / 10)
    best = search(NER, space, tmp_path / "s", trials=1, seeds=3)
    assert [given["training.seed"] for given in tried] == [0, 1, 2]
    assert best.score == pytest.approx(0.1)
    with pytest.raises(DataError, match="J473"):
        search(NER, space, tmp_path / "t", minutes=0.0)


def test_trials_that_fall_behind_are_stopped(
    space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(given: dict[str, Any], report: Any) -> float:
        value = 0.9 if len(tried) <= 4 else 0.1
        for step in (0, 10, 20):
            report(step, value)
        return value

    tried = scored(monkeypatch, score)
    best = search(NER, space, tmp_path / "s", trials=6)
    assert (best.finished, best.pruned) == (4, 2)
    page = tmp_path / "s" / "page.html"
    write_page(open_study(tmp_path / "s", "sqlite"), page, "<b>題")
    text = page.read_text(encoding="utf-8")
    assert "&lt;b&gt;題" in text
    assert text.count("<svg") >= 2
    assert text.count("打ち切り</span>") == 2
    assert 'data-lang="auto"' in text
    # Axes and legends too.
    assert '<tspan class="ja">それまでの最良</tspan>' in text
    # Nothing is fetched from anywhere.
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    scored(monkeypatch, score)
    assert search(NER, space, tmp_path / "n", trials=6, prune=False).pruned == 0


def test_failures(
    space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def score(given: dict[str, Any], report: Any) -> float:
        if len(tried) != 2:
            raise RuntimeError("out of memory")
        return 0.5

    tried = scored(monkeypatch, score)
    with pytest.raises(DataError, match=r"J474.*out of memory"):
        search(NER, space, tmp_path / "s", trials=20)
    assert len(tried) == 5
    assert caplog.text.count("JW468") == 4
    space.write_text('[space]\ntraining.dropout = {"low": 0.2, "high": 0.3}\n')
    scored(monkeypatch, lambda given, _: 0.5)
    assert search(NER, space, tmp_path / "t", trials=2).first is None
    assert "JW465" in caplog.text


def test_without_optuna(space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(DataError, match=r"J469.*spacy-jbert\[tune\]"):
        search(NER, space, tmp_path / "s")


def test_what_matters_is_told(tmp_path: Path) -> None:
    study = open_study(tmp_path, "sqlite")
    assert importances(study, ["a"]) == {}
    floats = optuna.distributions.FloatDistribution(0.0, 1.0)
    for n in range(40):
        params = {"a": (n * 0.37) % 1, "b": (n * 0.61) % 1}
        study.add_trial(
            optuna.trial.create_trial(
                params=params, distributions={"a": floats, "b": floats}, value=params["a"] ** 2
            )
        )
    found = importances(study, ["a", "b", "c"])
    assert list(found) == ["a", "b"]
    assert found["a"] > 0.7


def test_a_trial_is_a_training(overrides: dict[str, Any]) -> None:
    steps: list[int] = []
    score = best_score(NER, overrides, "x", lambda step, score: steps.append(step))
    assert steps == [0, 2, 4]
    assert 0.0 <= score <= 1.0


def test_the_command(overrides: dict[str, Any], space: Path, tmp_path: Path) -> None:
    words = ["tune", str(NER), "--study", str(tmp_path / "s"), "--space", str(space)]
    settings = [word for name, value in overrides.items() for word in (f"--{name}", str(value))]
    done = CliRunner().invoke(jbert, [*words, "--trials", "2", *settings])
    assert done.exit_code == 0, done.output
    assert "Best of 2 trials" in done.output
    assert "<svg" in (tmp_path / "s" / "study.html").read_text(encoding="utf-8")
    best = load_config(tmp_path / "s" / "best.cfg", interpolate=True)
    assert best["paths"]["train"] == overrides["paths.train"]
    assert best["training"]["logger"]["@loggers"] == "spacy-jbert.RecordLogger.v1"


@pytest.mark.slow
def test_a_killed_process_is_noticed(
    overrides: dict[str, Any], space: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "spacy", "jbert", "tune", NER, "--study", tmp_path / "s"]
    words += ["--space", space, "--trials", 3]
    words += [word for name, value in overrides.items() for word in (f"--{name}", value)]
    with subprocess.Popen([*map(str, words)], stdout=subprocess.DEVNULL) as process:
        while not (tmp_path / "s" / ".trial-0.lock").exists():
            assert process.poll() is None
            time.sleep(0.05)
        # It loads the encoder now.
        os.kill(process.pid, signal.SIGKILL)
    study = open_study(tmp_path / "s", "sqlite")
    assert [trial.state for trial in study.get_trials()] == [TrialState.RUNNING]
    best = search(NER, space, tmp_path / "s", trials=2, overrides=overrides)
    assert (best.finished, best.failed) == (2, 1)


def test_a_study_goes_on_by_any_path(
    space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = scored(monkeypatch, lambda given, _: 0.5)
    (tmp_path / "x.spacy").write_text("x")
    monkeypatch.chdir(tmp_path)
    for way in ("x.spacy", "./x.spacy", str(tmp_path / "x.spacy")):
        search(NER, space, tmp_path / "s", trials=2, overrides={"paths.train": way})
    assert len(tried) == 2
    (tmp_path / "x.spacy").write_text("other")
    with pytest.raises(DataError, match="J472"):
        search(NER, space, tmp_path / "s", trials=2, overrides={"paths.train": "x.spacy"})


@pytest.mark.parametrize(
    "line", ['training.dropout = ["x", "y"]', 'training.optimizer.learn_rate.total_steps = ["x"]']
)
def test_a_failure_is_told_in_a_line(
    line: str, overrides: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bad.cfg").write_text(f"[space]\n{line}\n")
    setting = line.split(" ")[0].split(".", 1)[1]
    with pytest.raises(DataError, match="J474") as refusal:
        search(NER, tmp_path / "bad.cfg", tmp_path / "s", trials=9, overrides=overrides)
    message = str(refusal.value)
    assert setting in message
    assert "\n" not in message
    assert " at 0x" not in message + caplog.text
    assert len(message) < 400
