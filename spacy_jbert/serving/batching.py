"""Texts that arrive together become one batch."""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

from ..errors import Errors
from .refusals import Refusal

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class _Waiting(NamedTuple, Generic[Job, Answer]):
    job: Job
    answer: asyncio.Future[Answer]


class Batcher(Generic[Job, Answer]):
    """A queue in front of a function that does many jobs in less time than one by one.

    The function runs in one thread of its own, so it is never called twice at a time. While it is
    busy the next batch gathers. A job whose future is cancelled before its turn is left out.

    work (Callable): Takes jobs, gives as many answers in the same order.
    size (int): The most jobs at once.
    wait (float): Seconds that the first job of a batch waits for others.
    capacity (int): Jobs that may wait.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Job]], Sequence[Answer]],
        *,
        size: int,
        wait: float,
        capacity: int,
    ) -> None:
        self.work = work
        self.size = size
        self.wait = wait
        self.capacity = capacity
        self._queue: asyncio.Queue[_Waiting[Job, Answer] | None] = asyncio.Queue()
        # A GPU that was asked for is known to the context alone.
        self._context = contextvars.copy_context()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pipeline")
        self._loop: asyncio.Task[None] | None = None
        self._closing = False

    def __len__(self) -> int:
        """RETURNS (int): Jobs that wait."""
        return self._queue.qsize()

    def start(self) -> None:
        """Begin to work, in the running event loop."""
        self._loop = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Take nothing more, and finish what was taken."""
        self._closing = True
        self._queue.put_nowait(None)
        if self._loop is not None:
            await self._loop
        self._thread.shutdown()

    @property
    def working(self) -> bool:
        """RETURNS (bool): Whether jobs are taken."""
        return self._loop is not None and not self._loop.done() and not self._closing

    def submit(self, jobs: Sequence[Job]) -> list[asyncio.Future[Answer]]:
        """Put jobs into the queue, all or none.

        RETURNS (list[Future]): Of each its answer; whoever doesn't want it any more cancels it.
        RAISES: Refusal J446 (503) while closing, J444 (429) if there is no room.
        """
        if not self.working:
            raise Refusal(503, Errors.J446, retry=5)
        if len(self) + len(jobs) > self.capacity:
            self._forget_cancelled()
        if len(self) + len(jobs) > self.capacity:
            raise Refusal(429, Errors.J444.format(waiting=len(self), most=self.capacity), retry=1)
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(job, loop.create_future()) for job in jobs]
        for one in waiting:
            self._queue.put_nowait(one)
        return [one.answer for one in waiting]

    def _forget_cancelled(self) -> None:
        for _ in range(len(self)):
            one = self._queue.get_nowait()
            if one is None or not one.answer.done():
                self._queue.put_nowait(one)

    async def _run(self) -> None:
        while batch := await self._gather():
            wanted = [one for one in batch if not one.answer.done()]
            if wanted:
                await self._do(wanted)

    async def _gather(self) -> list[_Waiting[Job, Answer]]:
        """RETURNS (list): Nothing once there is nothing more to come."""
        first = await self._queue.get()
        if first is None:
            return []
        batch = [first]
        until = asyncio.get_running_loop().time() + self.wait
        while len(batch) < self.size:
            if self._queue.empty():
                try:
                    async with asyncio.timeout_at(until):
                        one = await self._queue.get()
                except TimeoutError:
                    break
            else:
                one = self._queue.get_nowait()
            if one is None:
                # The end comes after this batch.
                self._queue.put_nowait(None)
                break
            batch.append(one)
        return batch

    async def _do(self, batch: Sequence[_Waiting[Job, Answer]]) -> None:
        loop = asyncio.get_running_loop()
        jobs = [one.job for one in batch]
        try:
            answers = await loop.run_in_executor(self._thread, self._context.run, self.work, jobs)
        except Exception as error:
            # Whoever waits gets to know, and the next batch isn't hurt.
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(error)
        else:
            for one, answer in zip(batch, answers, strict=True):
                if not one.answer.done():
                    one.answer.set_result(answer)
