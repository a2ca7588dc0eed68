"""What can't be annotated reaches the error handler alone; devices that aren't there; windows."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from spacy.tokens import Doc

from ..conftest import SENTENCES, listener
from .conftest import MakeNLP, tagged, tagger, transformer, vectors

BAD = "爆弾"
CPU_ALLOCATOR = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


@pytest.fixture
def nlp(make_nlp: MakeNLP, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A pipeline that fails over every batch with one text in it."""
    nlp = make_nlp([tagger(listener())], tagged)
    pipe = transformer(nlp)
    launch = pipe._launch

    def fail(docs: list[Doc]) -> Any:
        if any(BAD in doc.text for doc in docs):
            raise failure[0]
        return launch(docs)

    failure: list[Exception] = [RuntimeError("broken")]
    nlp.failure = failure
    # What `predict` and `pipe` begin with.
    monkeypatch.setattr(pipe, "_launch", fail)
    return nlp


TEXTS = [*SENTENCES[:3], BAD, *SENTENCES[3:5], BAD + "だ"]


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_one_bad_text_ends_nothing(nlp: Any, batch_size: int) -> None:
    failed: list[str] = []
    nlp.set_error_handler(lambda name, pipe, docs, error: failed.extend(d.text for d in docs))
    docs = list(nlp.pipe(TEXTS, batch_size=batch_size))
    assert [doc.text for doc in docs] == [text for text in TEXTS if BAD not in text]
    assert failed == [BAD, BAD + "だ"]
    assert all(vectors(doc).any() for doc in docs)


def test_without_a_handler_the_error_is_raised(nlp: Any) -> None:
    with pytest.raises(RuntimeError, match="broken"):
        list(nlp.pipe(TEXTS))


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError(CPU_ALLOCATOR)],
)
def test_out_of_memory_is_coded(nlp: Any, error: Exception) -> None:
    nlp.failure[0] = error
    with pytest.raises(MemoryError, match="J084"):
        list(nlp.pipe(TEXTS))


@pytest.mark.parametrize("device", ["cuda:0", "cuda", "cuda:7", "mps"])
def test_a_device_that_is_not_there(
    device: str, make_nlp: MakeNLP, caplog: pytest.LogCaptureFixture
) -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has such a device")
    nlp = make_nlp(device=device)
    assert "JW080" in caplog.text
    assert vectors(nlp(SENTENCES[0])).any()


def test_a_window_without_room_names_itself(make_nlp: MakeNLP) -> None:
    with pytest.raises(ValueError, match="J086"):
        make_nlp(window=2, overlap=0)(SENTENCES[0])


PROGRAM = """
import sys
import torch
torch.set_num_threads(2)
import spacy
nlp = spacy.load(sys.argv[1])
texts = ["東京都へ行く。", "猫が庭で寝ている。"] * 4
list(nlp.pipe(texts))
torch.rand(600, 600) @ torch.rand(600, 600)
print(sum(doc._.trf_data is not None for doc in nlp.pipe(texts, n_process=2, batch_size=2)))
"""


def test_processes_after_threads(make_nlp: MakeNLP, tmp_path: Path) -> None:
    """Children forked after the parent used several threads once waited for ever."""
    make_nlp().to_disk(tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "model")],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.stdout.split() == ["8"], done.stderr
