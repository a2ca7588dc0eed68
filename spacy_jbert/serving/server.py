"""A process, or several, that serve pipelines until they are told to stop."""

import json
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import spacy
import torch
import uvicorn
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess

from ..errors import Errors, Warnings
from .app import KEY, build
from .limits import Limits
from .pipelines import load

# Tells the processes of one service what to serve.
_SERVICE = "SPACY_JBERT_SERVICE"
_METRICS = "PROMETHEUS_MULTIPROC_DIR"

_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "%(message)s"},
        "timed": {"format": "%(asctime)s %(levelname)s %(message)s"},
    },
    "handlers": {
        "access": {
            "class": "logging.StreamHandler",
            "formatter": "plain",
            "stream": "ext://sys.stdout",
        },
        "server": {"class": "logging.StreamHandler", "formatter": "timed"},
    },
    "loggers": {
        "uvicorn": {"handlers": ["server"], "level": "INFO", "propagate": False},
        "spacy_jbert.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}


@dataclass(frozen=True)
class Service:
    """What each process of a service serves, and how.

    models (Sequence[str]): See `pipelines.load`.
    limits (Limits): What it may be asked for.
    threshold (float): See `app.build`.
    threads (int | None): Of torch, in each process; None for torch's own choice.
    gpu_id (int): A GPU, or -1 for the CPU.
    """

    models: Sequence[str]
    limits: Limits
    threshold: float = 0.5
    threads: int | None = None
    gpu_id: int = -1

    def app(self, key: str | None = None) -> FastAPI:
        """Load the pipelines.

        key (str | None): See `app.build`; None for that of this process's environment.
        RETURNS (FastAPI): The application of this process.
        RAISES: ValueError J435, J437; what `spacy.load` raises.
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.gpu_id >= 0:
            spacy.require_gpu(self.gpu_id)
        key = os.environ.get(KEY) if key is None else key
        return build(load(self.models), self.limits, key=key, threshold=self.threshold)


def run(service: Service, host: str, port: int, *, workers: int = 1) -> None:
    """Serve until SIGTERM or SIGINT; then finish what was taken.

    host, port: Where to listen; port 0 for one that is free.
    workers (int): Processes, each with its own pipelines. One that dies is replaced.
    RAISES: ValueError J436 if nobody can listen there; as `Service.app`.
    """
    listening = _listen(host, port)
    host_in_address = f"[{host}]" if ":" in host else host
    address = f"http://{host_in_address}:{listening.getsockname()[1]}"
    if host not in ("127.0.0.1", "::1", "localhost") and KEY not in os.environ:
        print(Warnings.JW435.format(host=host, variable=KEY), file=sys.stderr)
    if workers == 1:
        app = service.app()
        print(f"Serving on {address}", file=sys.stderr, flush=True)
        uvicorn.Server(_config(app, service.limits)).run(sockets=[listening])
        return
    # A process that can't begin would be begun again for ever.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(_try, service).result()
    with tempfile.TemporaryDirectory(prefix="jbert-metrics-") as folder:
        os.environ[_METRICS] = folder
        os.environ[_SERVICE] = json.dumps(asdict(service))
        print(f"Serving on {address}", file=sys.stderr, flush=True)
        config = _config(f"{__name__}:app_of_process", service.limits, workers)
        Multiprocess(config, [listening]).run()


def _try(service: Service) -> None:
    service.app()


def app_of_process() -> FastAPI:
    """RETURNS (FastAPI): What one of several processes serves."""
    given = json.loads(os.environ[_SERVICE])
    for file in Path(os.environ[_METRICS]).glob("gauge_live*_*.db"):
        # Of a process that was killed.
        pid = int(file.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
    return Service(**given | {"limits": Limits(**given["limits"])}).app()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(Errors.J436.format(host=host, port=port, reason=reason)) from None
    # Processes that are started inherit it.
    listening.set_inheritable(True)
    return listening


def _config(app: FastAPI | str, limits: Limits, workers: int = 1) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        log_config=_LOGGING,
        access_log=False,
        server_header=False,
        # Whatever stands in X-Forwarded-For is a client's word.
        proxy_headers=False,
        ws="none",
        # The same, whatever else is installed: Ray brings another along.
        loop="asyncio",
        timeout_graceful_shutdown=int(limits.seconds) + 1,
        # Loading a pipeline may keep a process from answering.
        timeout_worker_healthcheck=60,
    )
