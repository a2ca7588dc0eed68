"""Workers on a Ray cluster: an actor with a loaded pipeline in place of each process. Ray starts
them where there is room, starts those again that die, and repeats what they were at.

Ray's own readers and writers (`ray.data`) aren't used: they know no rejected lines, and cut files
into blocks by the size of the cluster, on which batches, and so last digits, would depend."""

import logging
import os
import platform
import signal
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import Errors, Warnings
from .entries import Entry
from .provenance import provenance
from .workers import Annotated, Job, Tag, annotate_batch, kinds

logger = logging.getLogger(__name__)

LOCAL = "local"
"""The address that stands for a Ray of this machine's, which ends with the run."""
# How often an actor that died is started again, and what it was at repeated. One that a text kills
# dies each time.
_RESTARTS = 3
# While an actor computes, its next batch travels.
_BATCHES_AN_ACTOR = 2
_PATIENCE = 30.0


class RayWorkers:
    """Actors for one job: as `Workers`, on a cluster.

    job (Job): What they do.
    count (int): How many there are. Those that the cluster has no room for don't take part until it
        has.
    address (str): Of the cluster: `auto`, HOST:PORT, ray://HOST:PORT, or `local`.
    made_by (dict[str, Any]): The `provenance` here; the nodes' must be the same.
    RAISES: ImportError J469 without Ray, ValueError J489 if the cluster can't be reached, or this
        process is connected to another.
    """

    def __init__(self, job: Job, count: int, address: str, made_by: dict[str, Any]) -> None:
        if Path(job.model).exists():
            job = job._replace(model=str(Path(job.model).absolute()))
        self.job, self.count = job, count
        self.ray = _ray()
        self._owned = not self.ray.is_initialized()
        if self._owned:
            _connect(self.ray, address, job.threads * count)
        elif address not in ("auto", connected := self.ray.get_runtime_context().gcs_address):
            reason = f"this process is connected to {connected} already"
            raise ValueError(Errors.J489.format(address=address, reason=reason))
        # On a GPU of its own, which it knows by the number 0.
        n_gpus = int(job.gpu_id >= 0)
        job = job._replace(gpu_id=n_gpus - 1)
        self._wanted = {"CPU": job.threads, "GPU": n_gpus}
        actor = self.ray.remote(
            num_cpus=job.threads,
            num_gpus=n_gpus,
            max_restarts=_RESTARTS,
            max_task_retries=_RESTARTS,
        )(_Actor)
        self.actors = [actor.remote(job, made_by) for _ in range(count)]
        # What hasn't been answered, by whom. An actor that hasn't begun gets no batch: the cluster
        # may have no room for it.
        self._beginning = {actor.kinds.remote(): actor for actor in self.actors}
        self._busy: dict[Any, Any] = {}
        self._free: deque[Any] = deque()
        self._kinds: list[str] | None = None

    def kinds(self) -> list[str]:
        """RETURNS (list[str]): What the pipeline annotates.

        RAISES: What loading it raises; ValueError J490 for a node that has other things installed,
            J492 for one that has no spacy-jbert.
        """
        while self._kinds is None:
            self._wait()
        return self._kinds

    def annotate(
        self, batches: Iterable[tuple[Tag, list[Entry]]]
    ) -> Iterator[tuple[Tag, Annotated]]:
        """YIELDS (tuple): What came of each batch, in their order. Few are in memory at a time.

        RAISES: ChildProcessError J457 if an actor dies again and again, and what its pipeline
            raises.
        """
        running: deque[tuple[Tag, Any]] = deque()
        for tag, batch in batches:
            while not self._free:
                self._wait()
            actor = self._free.popleft()
            result = actor.annotate.remote(batch)
            self._busy[result] = actor
            running.append((tag, result))
            # Reading is faster: it must not run away.
            if len(running) > 2 * _BATCHES_AN_ACTOR * self.count:
                first, result = running.popleft()
                yield first, self._get(result)
        for first, result in running:
            yield first, self._get(result)

    def _wait(self) -> None:
        """Wait for an answer, and give the actor that it is of back for more."""
        waiting = [*self._busy, *self._beginning]
        done, _ = self.ray.wait(waiting, num_returns=1, timeout=_PATIENCE)
        if not done and not self._busy and self._kinds is None:
            there = self.ray.available_resources()
            wanted, free = (
                ", ".join(f"{of.get(name, 0):g} {name}" for name in self._wanted)
                for of in (self._wanted, there)
            )
            logger.warning(Warnings.JW453.format(seconds=_PATIENCE, wanted=wanted, free=free))
        for result in done:
            if result in self._beginning:
                self._kinds = self._get(result)
                self._free.extend([self._beginning.pop(result)] * _BATCHES_AN_ACTOR)
            else:
                self._free.append(self._busy.pop(result))

    def _get(self, result: Any) -> Any:
        errors = self.ray.exceptions
        try:
            return self.ray.get(result)
        except errors.RayTaskError as error:
            # What can't be pickled has no cause here.
            raise error.cause or error from None
        except (errors.RayActorError, errors.WorkerCrashedError, errors.OutOfMemoryError) as error:
            if getattr(error, "actor_init_failed", False):
                reason = str(error).strip().splitlines()[-1].strip().rstrip(".")
                raise ValueError(Errors.J492.format(reason=reason)) from None
            raise ChildProcessError(Errors.J457) from None

    def __enter__(self) -> "RayWorkers":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._owned:
            # The actors end with it.
            self.ray.shutdown()
            return
        for actor in self.actors:
            self.ray.kill(actor)


class _Actor:
    """In a process of the cluster."""

    def __init__(self, job: Job, made_by: dict[str, Any]) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self.job, self.made_by = job, made_by
        self.same = False

    def kinds(self) -> list[str]:
        """RETURNS (list[str]): What its pipeline annotates. RAISES: ValueError J490."""
        self._require_same()
        return kinds(self.job)

    def annotate(self, batch: list[Entry]) -> Annotated:
        """RETURNS (Annotated): What came of a batch. RAISES: ValueError J490."""
        # Not only at the begin: it may have been started again on another node.
        self._require_same()
        return annotate_batch(self.job, batch)

    def _require_same(self) -> None:
        if self.same:
            return
        here = provenance(self.job.model)
        others = [
            f"{name} {found} instead of {wanted}"
            for part in ("model", "libraries")
            for name, wanted in self.made_by[part].items()
            if (found := here[part].get(name)) != wanted
        ]
        if others:
            raise ValueError(Errors.J490.format(node=platform.node(), others=", ".join(others)))
        self.same = True


def _connect(ray: Any, address: str, cores: int) -> None:
    """RAISES: ValueError J489."""
    # Ray would tell its makers of each use.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings: dict[str, Any] = {"address": address}
    if address == LOCAL:
        # As many actors as asked for, on however many cores.
        settings |= {"num_cpus": cores, "include_dashboard": False}
    with _own_handlers():
        try:
            _knock(address)
            ray.init(log_to_driver=False, logging_level=logging.WARNING, **settings)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise ValueError(Errors.J489.format(address=address, reason=reason)) from None


def _knock(address: str) -> None:
    """Ray goes on trying for minutes where nobody listens. RAISES: OSError."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Ray sets a handler of its own for SIGTERM, which would end a run without a word."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # None: it isn't one of Python's.
        if signal.getsignal(signal.SIGTERM) is not before and before is not None:
            signal.signal(signal.SIGTERM, before)


def _ray() -> Any:
    """RAISES: ImportError J469."""
    try:
        return import_module("ray")
    except ImportError:
        raise ImportError(Errors.J469.format(package="ray", extra="ray")) from None
