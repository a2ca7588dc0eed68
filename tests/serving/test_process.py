"""The service as a process: many clients, clients that hang up, stopping, a killed worker."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from spacy.language import Language

from spacy_jbert.serving.app import KEY

from .conftest import Client, Service


def check(number: int, found: dict) -> None:
    """An answer belongs to its own text."""
    text = text_of(number)
    assert found["characters"] == len(text)
    named = [entity for entity in found["entities"] if entity["text"].startswith("客")]
    assert [(e["text"], e["start"], e["label"]) for e in named] == [
        (f"客{number}", len(text) - len(f"客{number}です。"), "PERSON")
    ]


def text_of(number: int) -> str:
    return "あ" * (number % 7) + f"、京都から来た客{number}です。"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "environment", "code"),
    [("none", {}, "E050"), ("tiny", {KEY: ""}, "J437"), ("name with blanks", {}, "J435")],
)
def test_several_processes_that_cannot_begin(
    served: Language, tmp_path: Path, model: str, environment: dict[str, str], code: str
) -> None:
    served.to_disk(tmp_path / "tiny")
    served.to_disk(tmp_path / "name with blanks")
    command = [sys.executable, "-m", "spacy", "jbert", "serve", str(tmp_path / model)]
    command += ["--workers", "2", "--port", "0"]
    environment = os.environ | environment
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 1
    assert f"[{code}]" in done.stderr
    assert "Serving on" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_many_clients_and_the_end(serve: Callable[..., Service]) -> None:
    service = serve("--max-wait", "20")

    def visit(client_number: int) -> int:
        client = Client(service.port)
        for i in range(10):
            number = 1000 * client_number + i
            if i % 5 == 4:
                numbers = [number, number + 100, number + 200]
                asked = {"texts": list(map(text_of, numbers))}
                status, found = client.post("/v1/tiny/batch", asked)
                assert status == 200, found
                for one, result in zip(numbers, found["results"], strict=True):
                    check(one, result)
            else:
                status, found = client.post("/v1/tiny/analyze", {"text": text_of(number)})
                assert status == 200, found
                check(number, found)
        return 1

    with ThreadPoolExecutor(64) as clients:
        assert sum(clients.map(visit, range(1, 65))) == 64
    metrics = figures(service)
    assert metrics['jbert_texts_total{model="tiny"}'] == 64 * (8 + 2 * 3)
    assert metrics['jbert_entities_total{label="PERSON",model="tiny"}'] >= 64 * 14
    # Batches were made, and nothing is left.
    assert metrics['jbert_batch_texts_count{model="tiny"}'] < 64 * 14 / 2
    assert metrics['jbert_queue_texts{model="tiny"}'] == 0

    # Clients that hang up before and in the middle of their request, and while they wait.
    body = json.dumps({"texts": [text_of(i) for i in range(200)]}).encode()
    head = b"POST /v1/tiny/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n".encode()
    for sent in (b"", head, head + body[:1000], head + body):
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(sent)
    status, found = Client(service.port).post("/v1/tiny/analyze", {"text": text_of(5)})
    assert status == 200
    check(5, found)

    # What was taken is finished, also when the service is told to stop.
    with ThreadPoolExecutor(8) as clients:
        asked = [
            clients.submit(
                Client(service.port).post,
                "/v1/tiny/batch",
                {"texts": [text_of(i) for i in range(n, n + 100)]},
            )
            for n in range(8)
        ]
        until = time.monotonic() + 60
        while entries(service.log, "/v1/{model}/batch", after=64 * 2) == 0:
            assert time.monotonic() < until
        service.process.send_signal(signal.SIGTERM)
        answers = [one.result() for one in asked]
    for n, (status, found) in enumerate(answers):
        assert status == 200, found
        for i, result in enumerate(found["results"], n):
            check(i, result)
    assert service.process.wait(60) in (0, -signal.SIGTERM)
    with pytest.raises(OSError, match="refused"):
        Client(service.port).post("/v1/tiny/analyze", {"text": "京都"})

    # The log has a line for each request, and none of the texts.
    log = service.log.read_text(encoding="utf-8")
    assert log.isascii()
    assert len({json.loads(line)["request_id"] for line in log.splitlines()}) >= 640
    errors = service.errors.read_text(encoding="utf-8")
    assert "京都" not in errors
    # Whoever hung up is no error.
    assert "Traceback" not in errors
    assert "never retrieved" not in errors


def entries(log: Path, route: str, after: int) -> int:
    """How many more requests of a route than so many were answered."""
    lines = log.read_text().splitlines()
    return sum(json.loads(line)["route"] == route for line in lines[:-1]) - after


def figures(service: Service) -> dict[str, float]:
    lines = service.get("/metrics").decode().splitlines()
    return {
        name: float(value)
        for line in lines
        if not line.startswith("#")
        for name, _, value in [line.rpartition(" ")]
    }


@pytest.mark.slow
def test_a_killed_worker_is_replaced(serve: Callable[..., Service]) -> None:
    service = serve("--workers", "2")
    workers = children(service.process.pid)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    # The other one answers at once, the new one later.
    for number in range(20):
        check(number, ask(service, number))
    until = time.monotonic() + 240
    while not set(children(service.process.pid)) - set(workers):
        assert time.monotonic() < until
        time.sleep(0.2)
    assert figures(service)['jbert_texts_total{model="tiny"}'] == 20


def ask(service: Service, number: int) -> dict:
    """Connections that the killed process had accepted are lost: a client asks again."""
    for _ in range(5):
        try:
            status, found = Client(service.port).post("/v1/tiny/analyze", {"text": text_of(number)})
        except OSError:
            continue
        assert status == 200
        return found
    raise AssertionError("nobody answers")


def children(pid: int) -> list[int]:
    """The processes that serve, which multiprocessing has started beside its own helper."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in found
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
