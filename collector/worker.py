"""When collectors run: each in its time, a few at once, in one process of all that serve."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import structlog

from collector.fetch import Run, Tools
from mail.errors import (
    Failure,
    LeaseLost,
    OverQuota,
    StorageFull,
    UpstreamLogin,
)
from store.collectors import Outcome
from store.leases import Lease
from store.records import Collector, CollectorRun, CollectorState

ROLE = "collector"
AT_ONCE = 4
LOOK_S = 1.0
LEASE_S = 20.0  # between two tries to get the role
LONGEST_S = 6 * 3600
REFUSED_MOST = 3  # logins, then it is left to the user
JITTER = 0.1

log = structlog.get_logger()


class Worker:
    """Run by `start` until `stop`. Any process may have one; that with the role works."""

    def __init__(self, tools: Tools, *, role_every_s: float = LEASE_S) -> None:
        self._tools = tools
        self._role_every_s = role_every_s
        self._lease: Lease | None = None
        self._try_at = 0.0
        self._asked = asyncio.Event()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._tools.store.collectors.asked = self._asked.set
        self._serving = asyncio.create_task(self._serve(), name="collector")

    async def stop(self) -> None:
        """Runs are cut: what is committed is here, what is not is fetched by the next."""
        if self._serving:
            tasks = [self._serving, *self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _serve(self) -> None:
        while True:
            self._asked.clear()
            await self._attempt(self._look(), None)
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._asked.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        lease = await self._role()
        free = AT_ONCE - len(self._running)
        if lease is None or not free:
            return
        # Taken before the read: a run that ends during it is still due in what was read.
        busy = frozenset(self._running)
        due = await self._tools.store.collectors.due(AT_ONCE + len(busy))
        for source in [each for each in due if each.id not in busy][:free]:
            task = asyncio.create_task(self._attempt(self._run(lease, source), source))
            self._running[source.id] = task
            task.add_done_callback(partial(self._ended, source.id))

    def _ended(self, key: int, _task: asyncio.Task[None]) -> None:
        del self._running[key]
        self._asked.set()

    async def _role(self) -> Lease | None:
        now = asyncio.get_running_loop().time()
        if self._lease is None and now >= self._try_at:
            self._try_at = now + self._role_every_s
            self._lease = await self._tools.store.leases.take(ROLE)
        return self._lease

    async def _attempt(self, work: Awaitable[None], source: Collector | None) -> None:
        """The top of a look, or of a run that could not even say how it ended."""
        key = source.id if source else None
        try:
            await work
        except LeaseLost:
            self._lease = None
        except Failure as failure:
            log.warning("collector.put_off", collector=key, why=failure.public)
        except Exception:  # the top of a run: the next one may succeed
            log.exception("collector.fault", collector=key)

    async def _run(self, lease: Lease, source: Collector) -> None:
        run = Run(self._tools, lease, source, delay_s=source.delay_s)
        failure: Exception | None = None
        try:
            await run.run()
        except LeaseLost:
            raise
        except Failure as expected:
            failure = expected
        except Exception as fault:  # of ours: temporary, and told without detail
            log.exception("collector.fault", collector=source.id)
            failure = fault
        error = _sentence(failure) if failure else run.note
        harvest = replace(
            run.harvest,
            error="It was cancelled." if run.cancelled else error,
            problem=type(failure).__name__ if failure else None,
        )
        outcome = self._outcome(run, failure, error)
        await self._tools.store.collectors.finish(lease, source, outcome, harvest)
        log.info(
            "collector.end",
            collector=source.id,
            host=source.host,
            new=harvest.new,
            seen=harvest.seen,
            octets=harvest.octets,
            why=type(failure).__name__ if failure else "done",
        )

    def _outcome(self, run: Run, failure: Exception | None, error: str | None) -> Outcome:
        source, now, harvest = run.source, self._tools.clock(), run.harvest
        refused = isinstance(failure, UpstreamLogin) and bool(failure.facts.get("refused"))
        fails = source.fails + 1 if failure else 0
        refusals = source.refused + 1 if refused else source.refused if failure else 0
        if not failure:
            state = CollectorState.OK
        elif refusals >= REFUSED_MOST:
            state = CollectorState.STOPPED
        else:
            state = CollectorState.FAILING
        pause = pause_s(source.every_s, fails, run.delay_s)
        return Outcome(
            run=CollectorRun(now, harvest.new, harvest.seen, harvest.octets, error),
            state=state,
            fails=min(fails, 1000),
            refused=min(refusals, 1000),
            delay_s=run.delay_s,
            next_at=now + timedelta(seconds=run.delay_s if run.more else pause),
        )


def pause_s(every_s: int, fails: int, delay_s: int) -> float:
    """Until the next run: longer after each failure; never less than was asked for.

    The jitter is on top, so that collectors do not march in step.
    """
    backed_off = min(every_s << min(fails, 16), max(LONGEST_S, every_s))
    return max(backed_off, delay_s) * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311 - jitter


def _sentence(failure: Exception) -> str:
    match failure:
        case UpstreamLogin(public=words):
            return f"The provider refused the login: {words.rstrip('.')}."
        case OverQuota():
            return "The mailbox here is full."
        case StorageFull():
            return "There is no room for more mail here."
        case Failure(public=text):
            return f"{text[:1].upper()}{text[1:].rstrip('.')}."
        case _:
            return "A fault of this server; it is tried again."
