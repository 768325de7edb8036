"""The one writer thread: whatever queued during the last commit is the next batch.

A job is a function of a connection. It raises a Failure only before its first write, and it is
safe to run again after it has run: its keys are made by the caller.

    idle      -> a job arrives -> filling
    filling   takes what is queued, at most BATCH_JOBS or BATCH_OCTETS; waits for no timer
    running   one transaction; after the commit every waiting caller is answered
    splitting a batch that failed was rolled back; its jobs run one by one, so that a poisonous
              one fails alone
    draining  no new jobs; the queue is emptied, then the thread ends
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from mail.errors import Failure, StorageBusy
from store.database import failure_of

T = TypeVar("T")

BATCH_JOBS = 64
BATCH_OCTETS = 8 * 1024 * 1024
ALONE_OCTETS = 4 * 1024 * 1024  # a job above this goes alone
QUEUE_JOBS = 1000
QUEUE_OCTETS = 64 * 1024 * 1024
QUEUE_WAIT_S = 30
TRIES = 3
PAUSE_S = (0.005, 0.05)  # before another try, at random between these


class _Job:
    __slots__ = ("error", "future", "octets", "queued", "result", "work")

    def __init__(
        self, work: Callable[[Connection], Any], octets: int, future: asyncio.Future[Any]
    ) -> None:
        self.work = work
        self.octets = octets
        self.future = future
        self.queued = time.monotonic()
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    """Owns the only connection that writes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: deque[_Job] = deque()
        self._queued_octets = 0
        self._draining = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="store-write", daemon=True)
        self._thread.start()

    async def run(
        self, work: Callable[[Connection], T], *, octets: int = 0, frees: bool = False
    ) -> T:
        """Runs `work` in a transaction and returns its result after the commit.

        `octets` is what it writes, roughly. A job that `frees` space or ends a session may use
        the last quarter of the queue. Raises StorageBusy at once when the queue is full, and
        whatever Failure `work` raises. A caller that is cancelled withdraws nothing.
        """
        share = 1.0 if frees else 0.75
        job = _Job(work, octets, asyncio.get_running_loop().create_future())
        with self._changed:
            full = (
                len(self._queue) >= QUEUE_JOBS * share
                or self._queued_octets + octets > QUEUE_OCTETS * share
            )
            # A lone job larger than the queue's octets must still get through.
            if self._draining or (full and self._queue):
                raise StorageBusy("the mail store is busy")
            self._queue.append(job)
            self._queued_octets += octets
            self._changed.notify()
        result: T = await job.future
        return result

    def close(self) -> None:
        """Empties the queue, then ends the thread."""
        with self._changed:
            self._draining = True
            self._changed.notify()
        self._thread.join()

    def _serve(self) -> None:
        while batch := self._fill():
            self._run(batch)
            if len(batch) > 1 and any(_unexpected(job) for job in batch):
                for job in batch:  # splitting
                    self._run_alone(job)
            elif _unexpected(batch[0]):
                self._run_alone(batch[0])
            self._answer(batch)

    def _fill(self) -> list[_Job]:
        """Waits for jobs and takes a batch; empty when draining has come to its end."""
        with self._changed:
            while not self._queue and not self._draining:
                self._changed.wait()
            batch: list[_Job] = []
            octets = 0
            while self._queue and len(batch) < BATCH_JOBS:
                job = self._queue[0]
                if batch and (job.octets > ALONE_OCTETS or octets + job.octets > BATCH_OCTETS):
                    break
                batch.append(self._queue.popleft())
                octets += job.octets
                if job.octets > ALONE_OCTETS:
                    break
            self._queued_octets -= octets
            return batch

    def _run(self, batch: list[_Job]) -> None:
        """One transaction. If it fails every job bears the error."""
        try:
            with self._engine.begin() as connection:
                for job in batch:
                    self._run_job(job, connection)
        except Exception as error:  # noqa: BLE001 - any fault is answered, none ends the thread
            for job in batch:
                job.error = error

    def _run_job(self, job: _Job, connection: Connection) -> None:
        job.error = None
        if time.monotonic() - job.queued > QUEUE_WAIT_S:
            job.error = StorageBusy("the mail store is busy")
            return
        try:
            job.result = job.work(connection)
        except Failure as failure:
            job.error = failure  # raised before its first write: the others go on

    def _run_alone(self, job: _Job) -> None:
        for left in range(TRIES - 1, -1, -1):
            self._run([job])
            failure = failure_of(job.error) if isinstance(job.error, DBAPIError) else None
            if failure is None:
                return
            # What went wrong may sit in the connection: the next try opens a new one.
            self._engine.dispose()
            if left:
                time.sleep(random.uniform(*PAUSE_S))  # noqa: S311 - jitter
            else:
                job.error = failure

    def _answer(self, batch: list[_Job]) -> None:
        """One wake-up per event loop, however many callers wait."""
        by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
        for job in batch:
            by_loop.setdefault(job.future.get_loop(), []).append(job)
        for loop, jobs in by_loop.items():
            try:
                loop.call_soon_threadsafe(_settle, jobs)
            except RuntimeError:
                continue  # that loop is closed: nobody waits there any more


def _unexpected(job: _Job) -> bool:
    return job.error is not None and not isinstance(job.error, Failure)


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue  # its caller was cancelled
        if isinstance(job.error, StopIteration):
            # A future refuses to carry one, and then the jobs behind it would never be answered.
            job.error = RuntimeError(f"a job raised {job.error!r}")
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
