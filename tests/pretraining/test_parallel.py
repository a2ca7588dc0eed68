import multiprocessing
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from spacy_jbert.pretraining import parallel
from spacy_jbert.pretraining.parallel import Part, in_processes, parts
from spacy_jbert.pretraining.text import Document

DOCUMENTS = [Document(number, [["あ" * 10, "い" * number]]) for number in range(20)]


def process_of(part: Part) -> tuple[int, int]:
    return part[0], os.getpid()


def nap(part: Part) -> None:
    Path(os.environ["STARTED"]).touch()
    time.sleep(600)


def test_parts_are_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_PART", 60)
    divided = list(parts(DOCUMENTS))
    assert [document for _, part in divided for document in part] == DOCUMENTS
    assert [number for number, _ in divided] == list(range(len(divided)))
    assert all(60 <= parallel.characters(part) < 60 + 30 for _, part in divided[:-1])
    assert list(parts(iter(DOCUMENTS))) == divided


def test_one_part_needs_no_process() -> None:
    assert list(in_processes(process_of, parts(DOCUMENTS), 4)) == [(0, os.getpid())]


@pytest.mark.slow
def test_results_come_in_order_and_reading_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_PART", 30)
    read = 0

    def stream() -> object:
        nonlocal read
        for part in parts(DOCUMENTS):
            read += 1
            yield part

    numbers, processes = [], set()
    for number, process in in_processes(process_of, stream(), 2):  # type: ignore[arg-type]
        numbers.append(number)
        processes.add(process)
        assert read <= number + 2 * 2 + 1
    assert numbers == list(range(read))
    assert os.getpid() not in processes


@pytest.mark.slow
def test_processes_end_with_the_one_that_began_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "_PART", 30)
    monkeypatch.setenv("STARTED", str(tmp_path / "started"))
    parent = multiprocessing.get_context("fork").Process(
        target=lambda: list(in_processes(nap, parts(DOCUMENTS), 1))
    )
    parent.start()
    until = time.monotonic() + 120
    while not (tmp_path / "started").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    os.kill(parent.pid or 0, signal.SIGKILL)
    parent.join()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
