"""What was measured over the last day: kept in memory, and begun anew with the process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from api.call import Sample
from mail.errors import Failure
from net.metrics import MAIL_KEPT
from server.counters import Counters
from store.store import Store

EVERY_S = 300
SAMPLES = 24 * 3600 // EVERY_S


class History:
    """Started and stopped once, in one event loop."""

    def __init__(self, store: Store, counters: Counters, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._counters = counters
        self._clock = clock
        self._kept: int | None = None
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        if self._task:
            self._task.cancel()

    def samples(self) -> Sequence[Sample]:
        return tuple(self._samples)

    def add(self, sample: Sample) -> None:
        self._samples.append(sample)

    async def _run(self) -> None:
        while True:
            with suppress(Failure):  # a sample that is not there is a gap, no more
                self.add(await self._measure())
            await asyncio.sleep(EVERY_S)

    async def _measure(self) -> Sample:
        counters = self._counters
        counts = await counters.metrics.read()
        kept = sum(number for name, _, number in counts if name == MAIL_KEPT.name)
        before, self._kept = self._kept, kept
        limiters = (counters.smtp, counters.pop3, counters.http)
        return Sample(
            self._clock(),
            kept=kept - (kept if before is None else before),
            stored_octets=(await self._store.size()).stored,
            connections=sum([await each.count() for each in limiters]),
        )
