"""Processes that end at any moment: what they leave is gone on with, and never taken for more than
it is."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language

from spacy_jbert.encoder.checkpoint import Encoder
from spacy_jbert.pretraining import parallel
from spacy_jbert.pretraining import run as run_module
from spacy_jbert.pretraining.callback import pretrain_mlm
from spacy_jbert.pretraining.parallel import Part, in_processes, parts
from spacy_jbert.pretraining.text import Document

SETTINGS: dict[str, Any] = {
    "max_steps": 12,
    "batch_size": 512,
    "validation_fraction": 0.2,
    "device": "cpu",
    "logging_steps": 1,
    "eval_steps": 6,
    "save_steps": 1,
    "preprocessing_workers": 1,
}
Weights = dict[str, torch.Tensor]
Run = Callable[..., Weights]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a forked process, so that both take as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(encoder: Encoder, text: Path) -> Run:
    """Pretrain from the same first weights; the result."""
    nlp: Language = spacy.blank("ja")
    nlp.add_pipe("jbert_transformer", name="transformer").encoder = encoder
    nlp.config["initialize"]["components"]["transformer"] = {
        "encoder": {"@misc": "spacy-jbert.NewEncoder.v1", "seed": 0}
    }
    start = {name: weight.clone() for name, weight in encoder.model.state_dict().items()}

    def pretrain(folder: Path, **more: Any) -> Weights:
        encoder.model.load_state_dict(start)
        pretrain_mlm(str(text), str(folder), **SETTINGS | more)(nlp)
        return {name: weight.clone() for name, weight in encoder.model.state_dict().items()}

    return pretrain


def same(first: Weights, second: Weights) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def killed(
    work: Callable[[], Any], seconds: float, begun: Callable[[], bool] = lambda: True
) -> bool:
    """Do the work in a process that is killed so long after it has begun.

    RETURNS (bool): It wasn't done yet.
    """
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    while process.is_alive() and not begun():
        time.sleep(0.001)
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def last_step(folder: Path) -> int:
    """RETURNS (int): Of the last checkpoint, whole or not; 0: there is none."""
    saved = folder.glob("runs/*/checkpoint-*")
    return max((int(path.name.rpartition("-")[2]) for path in saved), default=0)


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_gives_the_same_bits(
    run: Run, tmp_path: Path
) -> None:
    whole = run(tmp_path / "whole", max_steps=40)
    chance = random.Random(0)
    kills = 0
    for _ in range(5):
        before = last_step(tmp_path / "parts")
        kills += killed(
            lambda: run(tmp_path / "parts", max_steps=40),
            chance.uniform(0.0, 0.05),
            begun=lambda before=before: last_step(tmp_path / "parts") > before,
        )
    assert kills >= 2
    assert same(run(tmp_path / "parts", max_steps=40), whole)
    saved = Encoder.load(tmp_path / "parts" / "encoder").model.state_dict()
    assert same(whole, dict(saved))


@pytest.mark.slow
def test_a_killed_second_run_never_passes_for_the_first(run: Run, tmp_path: Path) -> None:
    begun = time.monotonic()
    first = run(tmp_path)
    seconds = time.monotonic() - begun
    chance = random.Random(1)
    for seed in range(1, 5):
        killed(lambda seed=seed: run(tmp_path, seed=seed), chance.uniform(0.2, 1) * seconds)
        assert same(run(tmp_path), first)


def test_killed_between_the_encoder_and_its_figures(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = run(tmp_path, max_steps=2)

    def second() -> None:
        with pytest.MonkeyPatch.context() as patch:
            kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
            patch.setattr(run_module, "replacing", kill)
            run(tmp_path, max_steps=2, seed=1)

    assert killed(second, 100)
    assert same(run(tmp_path, max_steps=2), first)
    assert "[JW135]" in caplog.text


def end(part: Part) -> tuple[int, int]:
    """Ends any process but the first at its second part."""
    if part[0] >= 1 and multiprocessing.parent_process():
        os._exit(1)
    return part[0], os.getpid()


@pytest.mark.slow
def test_when_helpers_end_the_first_process_does_what_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(parallel, "_PART", 30)
    documents = [
        Document(0, [[f"{number}番目の新しい文書はこれです。"] * 2]) for number in range(9)
    ]
    results = list(in_processes(end, parts(documents), 2))
    assert [number for number, _ in results] == list(range(9))
    assert results[-1][1] == os.getpid()
    assert "[JW136]" in caplog.text


SCRIPT = """
import spacy
from spacy_jbert.encoder.loaders import new_encoder
from spacy_jbert.pretraining import parallel
from spacy_jbert.pretraining.callback import pretrain_mlm
from spacy_jbert.pretraining.vocabulary import trained_vocabulary

parallel._PART = 300
nlp = spacy.blank("ja")
pipe = nlp.add_pipe("jbert_transformer", name="transformer")
vocabulary = trained_vocabulary({text!r}, size=512, folder={vocabulary!r}, workers=2)
pipe.encoder = new_encoder(vocabulary, layers=1, width=32, heads=2, max_pieces=64)(nlp)
pretrain_mlm({text!r}, {output!r}, max_steps=1, device="cpu", preprocessing_workers=2)(nlp)
print("done")
"""


@pytest.mark.slow
def test_a_script_without_a_guard(text: Path, tmp_path: Path) -> None:
    """Its helpers run it again: they must neither wait for their parent nor begin its work."""
    script = tmp_path / "script.py"
    vocabulary, output = str(tmp_path / "vocabulary"), str(tmp_path / "output")
    script.write_text(
        SCRIPT.format(text=str(text), vocabulary=vocabulary, output=output), encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("done") == 1
    assert "[JW136]" in done.stderr
    assert "[J137]" in done.stderr
    assert (tmp_path / "output" / "metrics.json").exists()
