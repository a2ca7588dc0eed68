"""The service under load: batches against one call a request in the same framework, on loopback.

Each answer is compared with its own text. Clients are another process than the service."""

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import srsly
from tqdm import tqdm

from .measure import ROOT, SAMPLE, Row, Settings, compare
from .pipelines import OURS, build

WARM_UP = 10.0
CLIENTS = (1, 8, 64)
_numbers = count()


def run(settings: Settings) -> Iterator[Row]:
    """Requests a second, and the 50th and 99th percentile of an answer's time."""
    encoder = settings.encoder or ROOT / "project" / "assets" / "jbert-mini"
    texts = [row["text"] for row in srsly.read_jsonl(SAMPLE)]
    spawning = multiprocessing.get_context("spawn")
    ports: Any = spawning.Queue()
    service = spawning.Process(target=_serve, args=(encoder, ports), daemon=True)
    service.start()
    ours, stock = ports.get(timeout=600)
    try:
        for clients in CLIENTS:
            measured: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
            for i in tqdm(range(settings.repeats + 1), desc=f"{clients} clients", leave=False):
                order = (ours, stock) if i % 2 == 0 else (stock, ours)
                # The first ones warm up.
                seconds = settings.seconds if i else min(WARM_UP, settings.seconds)
                found = {port: asyncio.run(_load(port, clients, texts, seconds)) for port in order}
                if i:
                    measured.append((found[ours], found[stock]))
            for at, (what, unit) in enumerate(
                (("requests", "requests/s"), ("median", "ms"), ("p99", "ms"))
            ):
                yield compare(
                    f"service, {clients} clients: {what}",
                    unit,
                    [(a[at], b[at]) for a, b in measured],
                    goal=2.0 if (clients, what) == (64, "requests") else None,
                    less_is_better=unit == "ms",
                )
    finally:
        service.kill()


async def _load(
    port: int, clients: int, texts: list[str], seconds: float
) -> tuple[float, float, float]:
    import aiohttp

    times: list[float] = []
    until = time.perf_counter() + seconds

    async def visit(session: aiohttp.ClientSession) -> None:
        while (began := time.perf_counter()) < until:
            number = next(_numbers)
            text = f"{texts[number % len(texts)]}客{number}"
            async with session.post("/v1/ner/analyze", json={"text": text}) as answer:
                found = await answer.json()
            assert answer.status == 200, found
            assert found["characters"] == len(text)
            assert all(text[e["start"] : e["end"]] == e["text"] for e in found["entities"])
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        await asyncio.gather(*(visit(session) for _ in range(clients)))
    rate = len(times) / (time.perf_counter() - began)
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return rate, 1000 * cuts[49], 1000 * cuts[98]


def _serve(encoder: Path, ports: Any) -> None:
    import threading

    import torch
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    from spacy_jbert.corpora.docs import make_doc
    from spacy_jbert.serving import app
    from spacy_jbert.serving.answers import Job, analysis
    from spacy_jbert.serving.limits import Limits
    from spacy_jbert.serving.pipelines import Pipeline

    torch.set_num_threads(1)

    def examples(nlp: Any) -> list[Any]:
        from spacy.training import Example

        rows = list(srsly.read_jsonl(SAMPLE))[:100]
        return [
            Example(nlp.make_doc(row["text"]), make_doc(nlp.tokenizer, row["text"], found))
            for row in rows
            for found in [[tuple(entity) for entity in row["entities"]]]
        ]

    pipelines = [build(OURS, encoder, examples)[0] for _ in range(2)]
    # As ours: nothing is told to OpenTelemetry, which takes time.
    plain = FastAPI(telemetry=app._SILENT)  # type: ignore[arg-type]

    class Asked(BaseModel):
        text: str

    @plain.post("/v1/ner/analyze")
    def analyze(asked: Asked) -> dict[str, Any]:
        return analysis(pipelines[1], pipelines[1](asked.text), Job(asked.text))

    apps = (app.build([Pipeline("ner", pipelines[0])], Limits()), plain)
    servers = [
        uvicorn.Server(uvicorn.Config(one, port=0, log_level="error", access_log=False))
        for one in apps
    ]
    for server in servers:
        threading.Thread(target=server.run, daemon=True).start()
    while not all(server.started for server in servers):
        time.sleep(0.1)
    ports.put([server.servers[0].sockets[0].getsockname()[1] for server in servers])
    threading.Event().wait()
