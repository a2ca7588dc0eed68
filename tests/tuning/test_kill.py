"""What was killed goes on by the same command, to the same result: real processes, real signals, at
moments drawn by chance."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import srsly
from optuna.trial import TrialState
from spacy.language import Language
from spacy.tokens import DocBin

from spacy_jbert.project import shipped
from spacy_jbert.tuning.search import open_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
# Nobody waits longer for a part to be done.
PATIENCE = 600.0
SPACE = """
[space]
training.dropout = {"low": 0.0, "high": 0.3}
training.batcher.size = [100, 300]
training.optimizer.L2 = {"low": 0.001, "high": 0.1, "log": true}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, ner_examples, japanese: Language) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.spacy"
    DocBin(docs=[eg.reference for eg in ner_examples(japanese)]).to_disk(path)
    return path


@pytest.fixture(scope="module")
def settings(data: Path, checkpoint: Callable) -> list[str]:
    given = {
        "paths.encoder": checkpoint("bert-fast"),
        "components.transformer.model.overlap": 8,
        "training.max_steps": 6,
        "training.eval_frequency": 2,
        "training.optimizer.learn_rate.initial_rate": 0.01,
        "training.optimizer.learn_rate.warmup_steps": 1,
    }
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def start(words: list[str], out: Path) -> subprocess.Popen[str]:
    # A shell lets what it runs in the background ignore Ctrl-C, and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with out.open("a", encoding="utf-8") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "spacy", "jbert", *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )


def run(words: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "spacy", "jbert", *words],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def killed(words: list[str], parts: Callable[[], int], log: Path) -> None:
    """Begin a command three times and end it by another signal each time: at a moment by chance
    after one more part was done, the first time before any was.

    parts (Callable): How many are done.
    """
    moment = random.Random(repr(words[0]))
    for number, kind in enumerate(SIGNALS):
        before = parts()
        process = start(words, log)
        try:
            end = time.monotonic() + PATIENCE
            begun = Path(words[words.index("--study" if "--study" in words else "--out") + 1])
            while parts() == before if number else not begun.exists():
                assert process.poll() is None, log.read_text(encoding="utf-8")
                assert time.monotonic() < end
                time.sleep(0.05)
            time.sleep(moment.uniform(0.0, 0.5))
            assert end_by(process, kind) != 0, (
                "it was done before it was killed: give it more parts"
            )
        finally:
            process.kill()


def end_by(process: subprocess.Popen[str], kind: signal.Signals) -> int:
    """RETURNS (int): Its exit status. Python loses a Ctrl-C that falls into a `__del__`: whoever
    pressed it presses it again.
    """
    for _ in range(int(PATIENCE)):
        process.send_signal(kind)
        try:
            return process.wait(1)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"{kind.name} doesn't end it")


def compared(folder: Path, name: str) -> list[tuple[str, Any]]:
    """What the runs of a folder said and scored; but for how fast."""
    found: list[tuple[str, Any]] = [
        (file.name, file.read_text(encoding="utf-8"))
        for file in sorted(folder.glob(f"{name}-*.jsonl"))
    ]
    for file in sorted(folder.glob(f"{name}-*.json")):
        content = srsly.read_json(file)
        found.append((file.name, {**content["scores"], "speed": 0, "of": content["of"]}))
    return found


@pytest.mark.parametrize("command", ["seeds", "crossval", "doctor"])
def test_runs(command: str, data: Path, settings: list[str], tmp_path: Path) -> None:
    config = str(shipped.configs() / "ner.cfg")
    paths = [f"--paths.{name}={data}" for name in ("train", "dev")]
    words, name = {
        "seeds": (["seeds", config, "--n", "5", *paths], "seed"),
        "crossval": (["crossval", config, str(data), "--k", "5"], "fold"),
        "doctor": (["doctor", str(data), "--config", config, "--k", "5", "--json"], "fold"),
    }[command]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"

    def done() -> dict[str, int]:
        return {file.name: file.stat().st_mtime_ns for file in stopped.glob(f"{name}-*.json")}

    again = [*words, "--out", str(stopped), *settings]
    killed(again, lambda: len(done()), tmp_path / "log.txt")
    before = done()
    assert 2 <= len(before) < 5
    said = run(again)
    assert len(done()) == 5
    # What was finished stays as it was.
    assert before.items() <= done().items()
    # Nothing half done is left over.
    assert not [path for path in stopped.iterdir() if path.is_dir()]
    assert said == run(again) or command != "doctor"
    once = run([*words, "--out", str(whole), *settings])
    assert compared(stopped, name) == compared(whole, name)
    if command == "doctor":
        assert json.loads(said) == json.loads(once)
    else:
        scores = (srsly.read_json(folder / "scores.json") for folder in (stopped, whole))
        assert next(scores) == next(scores)


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_search(storage: Any, data: Path, settings: list[str], tmp_path: Path) -> None:
    space = tmp_path / "space.cfg"
    space.write_text(SPACE)
    words = ["tune", str(shipped.configs() / "ner.cfg"), "--space", str(space), "--trials", "12"]
    words += ["--storage", storage, *(f"--paths.{name}={data}" for name in ("train", "dev"))]
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    ended = (TrialState.COMPLETE, TrialState.PRUNED)

    def trials(folder: Path) -> list[tuple]:
        return [
            (trial.state.name, trial.params, trial.value, trial.intermediate_values)
            for trial in open_study(folder, storage).get_trials(states=ended)
        ]

    log = tmp_path / "log.txt"
    log.touch()

    def parts() -> int:
        return len(re.findall(r"^Trial \d+: ", log.read_text(encoding="utf-8"), re.MULTILINE))

    killed([*words, "--study", str(stopped), *settings], parts, log)
    before = trials(stopped)
    run([*words, "--study", str(stopped), *settings])
    assert 2 <= len(before) < len(trials(stopped)) == 12
    assert trials(stopped)[: len(before)] == before
    run([*words, "--study", str(whole), *settings])
    assert trials(stopped) == trials(whole)
    best, other = ((folder / "best.cfg").read_text() for folder in (stopped, whole))
    assert best == other
    assert (stopped / "study.html").exists()
