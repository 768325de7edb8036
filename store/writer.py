"""The one writer thread: whatever queued during the last commit is the next batch.

A job is a function of a connection. It is safe to run again after it has run: its keys are made by
the caller. A Failure that it raises is its own outcome and leaves the rest of the batch alone, so
it is raised before the first write, or after what was written has been taken back.

    idle          -> a job arrives -> filling
    filling       takes what is queued, at most BATCH_JOBS or BATCH_OCTETS; waits for no timer
    running       one transaction; after the commit every waiting caller is answered
    waiting       in conflict with another writer, or the database is away: nothing of it is kept,
                  and again after a pause
    splitting     rolled back; its jobs run one by one, so that a poisonous one fails alone
    reconnecting  the connection was lost inside COMMIT: on a new one each job first asks whether
                  it took place, and runs if it did not
    sick          the database cannot write: mail is refused at once, a probe is written now and
                  then; only jobs that free space are tried
    draining      no new jobs; the queue is emptied, then the thread ends

Whatever the thread is busy with, a job that has waited long enough in the queue is taken out of it.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from mail.errors import Failure, OutcomeUnknown, StorageBusy
from store.changed import TOUCHED
from store.database import Database, failure_of, probe
from store.engines import Trouble
from store.space import Space

T = TypeVar("T")
Work = Callable[[Connection], T]

BATCH_JOBS = 64
BATCH_OCTETS = 8 * 1024 * 1024
ALONE_OCTETS = 4 * 1024 * 1024  # a job above this goes alone
QUEUE_JOBS = 1000
QUEUE_OCTETS = 64 * 1024 * 1024
BATCH_TRIES, ALONE_TRIES = 6, 3
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.5
PROBE_S = 5


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a caller is left waiting."""

    queue_s: float = 30  # for its turn, or for a database that is away
    reconnect_s: float = 300  # for what became of its COMMIT; then that stays unknown


Together = Callable[[Connection, list[Any]], list[Any]]
Landed = Callable[[Connection], Any]
"""Whether a job took place in an earlier try: its result then, else None."""


class _Job:
    __slots__ = (
        *("error", "frees", "future", "landed", "octets", "queued"),
        *("result", "subject", "together", "work"),
    )

    def __init__(
        self,
        work: Work[Any],
        octets: int,
        *,
        frees: bool,
        landed: Landed | None,
        future: asyncio.Future[Any],
    ) -> None:
        self.work = work
        self.together: Together | None = None
        self.subject: Any = None
        self.octets = octets
        self.frees = frees
        self.landed = landed
        self.future = future
        self.queued = time.monotonic()
        self.result: Any = None
        self.error: Exception | None = None


class Writer:
    """Owns the only connection that writes. `space`: where the database is a file."""

    def __init__(
        self, database: Database, space: Space | None, *, patience: Patience = Patience()
    ) -> None:
        self._database = database
        self._patience = patience
        self._engine = database.writer
        self.space = space
        self._queue: deque[_Job] = deque()
        self._queued_octets = 0
        self._draining = False
        self._sick: Failure | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="store-write", daemon=True)
        self._thread.start()

    async def run(
        self,
        work: Work[T],
        *,
        octets: int = 0,
        frees: bool = False,
        landed: Landed | None = None,
    ) -> T:
        """Runs `work` in a transaction and returns its result after the commit.

        `octets` is what it writes, roughly. A job that `frees` space or ends a session may use the
        last quarter of the queue, is tried while the database is sick, and is never too late.
        Raises StorageBusy at once when the queue is full, and when its turn does not come;
        OutcomeUnknown; and whatever Failure `work` raises. A caller that is cancelled withdraws
        nothing.
        """
        future = asyncio.get_running_loop().create_future()
        job = _Job(work, octets, frees=frees, landed=landed, future=future)
        result: T = await self._queued(job)
        return result

    async def run_with_others(
        self, together: Together, subject: Any, *, octets: int, landed: Landed
    ) -> Any:
        """As `run`, for jobs of one kind: neighbours in a batch are done by one call.

        `together` takes a connection and their subjects, and gives each a result or a Failure.
        """

        def alone(connection: Connection) -> Any:
            [outcome] = together(connection, [subject])
            if isinstance(outcome, Failure):
                raise outcome
            return outcome

        future = asyncio.get_running_loop().create_future()
        job = _Job(alone, octets, frees=False, landed=landed, future=future)
        job.together, job.subject = together, subject
        return await self._queued(job)

    async def _queued(self, job: _Job) -> Any:
        share = 1.0 if job.frees else 0.75
        octets, frees = job.octets, job.frees
        with self._changed:
            if self._sick and not frees:
                raise self._sick
            full = (
                len(self._queue) >= QUEUE_JOBS * share
                or self._queued_octets + octets > QUEUE_OCTETS * share
            )
            # A lone job larger than the queue's octets must still get through.
            if self._draining or (full and self._queue):
                raise _busy()
            self._queue.append(job)
            self._queued_octets += octets
            self._changed.notify()
        if frees:
            return await job.future
        loop = job.future.get_loop()
        timer = loop.call_later(self._patience.queue_s, self._withdraw, job)
        try:
            return await job.future
        finally:
            timer.cancel()

    def _withdraw(self, job: _Job) -> None:
        """Too late, if its turn has not come."""
        with self._changed:
            if job not in self._queue:
                return
            self._queue.remove(job)
            self._queued_octets -= job.octets
        job.error = _busy()
        _settle([job])

    @property
    def is_well(self) -> bool:
        return self._sick is None and not self._draining

    @property
    def queued(self) -> int:
        return len(self._queue)

    def close(self) -> None:
        """Empties the queue, then ends the thread."""
        with self._changed:
            self._draining = True
            self._changed.notify()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            batch = self._fill()
            if batch:
                self._perform(batch)
                self._answer(batch)
            elif self._draining:
                return
            else:
                self._recover()

    def _fill(self) -> list[_Job]:
        """Waits for jobs and takes a batch; empty to end, and now and then while sick."""
        with self._changed:
            while not self._queue and not self._draining:
                if not self._changed.wait(PROBE_S if self._sick else None):
                    return []
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

    def _perform(self, batch: list[_Job]) -> None:
        trouble = self._run_patiently(batch, BATCH_TRIES)
        if trouble is None:
            return
        if trouble is Trouble.LOST:
            self._settle_lost(batch)
        elif trouble is Trouble.AWAY:
            pass  # it is so for each of them
        elif len(batch) > 1 or trouble in (Trouble.FULL, Trouble.SICK):
            for job in batch:  # splitting
                if self._run_patiently([job], ALONE_TRIES) is Trouble.LOST:
                    self._settle_lost([job])
        for job in batch:
            if isinstance(job.error, DBAPIError):
                trouble = self._database.backend.trouble(job.error)
                failure = failure_of(trouble, job.error)
                job.error = failure or job.error
                if trouble in (Trouble.FULL, Trouble.SICK):
                    self._fall_sick(failure)

    def _run_patiently(self, batch: list[_Job], tries: int) -> Trouble | None:
        """Runs a batch until it is committed or it is no use; None once it is committed."""
        pause = SHORTEST_PAUSE_S
        deadline = batch[0].queued + self._patience.queue_s
        while True:
            trouble = self._run(batch)
            tries -= 1
            match trouble:
                case Trouble.SICK | Trouble.FULL:
                    # What went wrong may sit in the connection: the next try opens a new one.
                    self._engine.dispose()
                    if self.space:
                        self.space.release()
                    return trouble
                case Trouble.AGAIN if tries > 0:
                    pass
                case Trouble.AWAY if time.monotonic() < deadline and not self._draining:
                    pass
                case _:
                    return trouble
            pause = _pause(pause)

    def _run(self, batch: list[_Job]) -> Trouble | None:
        """One transaction of the jobs that are not too late; None once it is committed.

        If it fails each of them bears the error.
        """
        late = time.monotonic() - self._patience.queue_s
        for job in batch:
            job.error = _busy() if job.queued < late and not job.frees else None
        batch = [job for job in batch if not job.error]
        if not batch:
            return None
        committing = False
        touched: set[int] = set()
        try:
            with self._engine.begin() as connection:
                connection.info[TOUCHED] = touched
                for together, jobs in groupby(batch, key=_kind):
                    _run_jobs(together, list(jobs), connection)
                committing = True
        except Exception as error:  # noqa: BLE001 - any fault is answered, none ends the thread
            for job in batch:
                job.error = _bearable(error)
            if not isinstance(error, DBAPIError):
                return Trouble.OURS
            trouble = self._database.backend.trouble(error)
            return Trouble.AWAY if trouble is Trouble.LOST and not committing else trouble
        finally:  # whatever became of it: before anybody is answered
            self._database.changed.add(touched)
        return None

    def _settle_lost(self, batch: list[_Job]) -> None:
        """Reconnecting: each job alone, until it is known what became of it."""
        deadline = time.monotonic() + self._patience.reconnect_s
        for job in batch:
            pause = SHORTEST_PAUSE_S
            while not self._settle_one(job):
                if time.monotonic() > deadline or self._draining:
                    job.error = OutcomeUnknown("the outcome is not known")
                    break
                pause = _pause(pause)

    def _settle_one(self, job: _Job) -> bool:
        """Whether it is known now what became of the job."""

        def once_more(connection: Connection) -> Any:
            found = job.landed(connection) if job.landed else None
            return job.work(connection) if found is None else found

        again = _Job(once_more, job.octets, frees=True, landed=None, future=job.future)
        before, trouble = job.error, self._run([again])
        job.result, job.error = again.result, again.error
        if isinstance(job.error, IntegrityError) and job.landed:
            # An earlier try may just have been committed: ask again. If that is not what has the
            # key, it is something else.
            return isinstance(before, IntegrityError)
        return trouble not in (Trouble.LOST, Trouble.AWAY, Trouble.AGAIN)

    def _fall_sick(self, failure: Failure | None) -> None:
        with self._changed:
            self._sick = failure

    def _recover(self) -> None:
        """While sick: a small write; if it is committed and there is room, mail is taken again."""
        try:
            with self._engine.begin() as connection:
                probe(connection)
            if self.space:
                self.space.replenish()
                if self.space.short():
                    return
        except Exception:  # noqa: BLE001 - still sick; the thread must live to find out when not
            self._engine.dispose()
            return
        with self._changed:
            self._sick = None

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


def _run_jobs(together: Together | None, jobs: list[_Job], connection: Connection) -> None:
    """Neighbours of one kind."""
    if together:
        outcomes = together(connection, [job.subject for job in jobs])
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.error = outcome if isinstance(outcome, Failure) else None
            job.result = None if job.error else outcome
        return
    for job in jobs:
        try:
            job.result = job.work(connection)
        except Failure as failure:
            job.error = failure


def _pause(longest: float) -> float:
    """Between two tries; returns the longest that the next one may be."""
    time.sleep(random.uniform(0, longest))  # noqa: S311 - jitter
    return min(2 * longest, LONGEST_PAUSE_S)


def _busy() -> StorageBusy:
    return StorageBusy("the mail store is busy")


def _kind(job: _Job) -> Together | None:
    return job.together


def _bearable(error: Exception) -> Exception:
    """A future refuses to carry a StopIteration, and the jobs behind it would never be answered."""
    if isinstance(error, StopIteration):
        return RuntimeError(f"a job raised {error!r}")
    return error


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue  # its caller was cancelled
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
