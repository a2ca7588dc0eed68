"""Work on a stream of documents, in several processes and little memory."""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import current_process, get_context, parent_process
from typing import Any, TypeVar

from ..errors import Errors, Warnings
from .text import Document

logger = logging.getLogger(__name__)

# Characters of a part: a few seconds of work.
_PART = 2**20
# A process is replaced after so many parts: spaCy's vocabulary keeps every word it has ever seen.
_PARTS_A_PROCESS = 32

Part = tuple[int, list[Document]]
"""Number and documents."""
Result = TypeVar("Result")


def cores() -> int:
    """RETURNS (int): The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def characters(documents: list[Document]) -> int:
    """RETURNS (int): How many there are in the documents."""
    return sum(
        len(sentence) for document in documents for line in document.lines for sentence in line
    )


def parts(documents: Iterable[Document]) -> Iterator[Part]:
    """Divide a stream of documents into parts of about a million characters, always the same."""
    number, part, room = 0, list[Document](), _PART
    for document in documents:
        part.append(document)
        room -= characters([document])
        if room <= 0:
            yield number, part
            number, part, room = number + 1, [], _PART
    if part:
        yield number, part


def in_processes(
    work: Callable[[Part], Result], stream: Iterable[Part], workers: int
) -> Iterator[Result]:
    """Call a function for each part, in other processes if there are several parts. Few parts are
    in memory at a time. If the processes break down, this one does what is left, with JW136.

    work (Callable): Is pickled, once for each process.
    workers (int): Processes.
    YIELDS: The results, in the order of the parts.
    """
    stream = iter(stream)
    some = list(islice(stream, 2))
    if len(some) < 2:
        yield from map(work, some)
        return
    # Spawned, not forked: torch and tokenizers have threads by now, and only spawned processes can
    # be replaced on the way.
    pool = ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=_begin,
        initargs=(work,),
        max_tasks_per_child=_PARTS_A_PROCESS,
    )
    rest = chain(some, stream)
    left: deque[Part] = deque()  # begun, and the result not handed out
    running: deque[Future[Result]] = deque()
    try:
        with pool:
            for part in rest:
                left.append(part)
                running.append(pool.submit(_call, part))
                if len(running) > 2 * workers:  # reading is faster: it must not run away
                    result = running.popleft().result()
                    left.popleft()
                    yield result
            while running:
                result = running.popleft().result()
                left.popleft()
                yield result
    except BrokenProcessPool:
        logger.warning(Warnings.JW136)
        yield from map(work, chain(left, rest))


def refuse_helpers() -> None:
    """RAISES: RuntimeError J137 in a process that is only just being started, and runs the main
    script again for want of a guard: it would begin all the work anew, or wait for its parent.
    """
    # What multiprocessing itself goes by, when it refuses to start processes there.
    if getattr(current_process(), "_inheriting", False):
        raise RuntimeError(Errors.J137)


_work: Callable[[Part], Any]  # of a process of the pool


def _begin(work: Callable[[Part], Any]) -> None:
    global _work
    _work = work
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there is a process for each core already
    end_with_parent()


def end_with_parent() -> None:
    """Let this process end when its parent does: one that is killed can't end its processes, and
    they would wait for work for ever.
    """
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_wait_for, args=(parent,), daemon=True).start()


def _wait_for(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _call(part: Part) -> Any:
    return _work(part)
