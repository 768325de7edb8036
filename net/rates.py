"""Requests of a class in any 15 minutes, of one client or one browser session.

The window moves: no stretch of that length has more than the limit. What is refused is not counted.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import MovingWindowSupport, Storage
from limits.aio.strategies import MovingWindowRateLimiter

from net.limits import TABLE_KEYS, Clock

WINDOW_S = 900
TABLE_ENTRIES = 1_000_000  # requests remembered at once, four octets each


class Taken(NamedTuple):
    """What is left of a limit for somebody, and when some of it comes back.

    `wait_s` 0: there was some for this request; else the seconds until there is.
    """

    limit: int
    left: int
    reset_s: int
    wait_s: int


class RateCounts(Protocol):
    """`Rates`, in this process or in the one that has all of them.

    `kind` is a class of requests; one without a limit gives None.
    """

    async def take(self, kind: str, key: str) -> Taken | None: ...

    async def give_back(self, kind: str, key: str) -> None:
        """What was taken last."""

    async def look(self, kind: str, key: str) -> Taken | None:
        """As `take`, and nothing is counted."""

    async def clear(self, key: str) -> None:
        """Forgets what this key has taken, in every class."""


class Windows(Storage, MovingWindowSupport):
    """A storage for the limits library that can take back what was counted last."""

    @abstractmethod
    async def forget_last(self, key: str) -> None: ...


class Table(Windows):
    """In this process, with a bound, and with no timer."""

    STORAGE_SCHEME = None

    def __init__(self, *, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._began = clock() - 1
        # Per key, oldest first: the second in which each request came, rounded up.
        self._taken: OrderedDict[str, array[int]] = OrderedDict()
        self._entries = 0

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        assert amount == 1
        taken = self._recent(key, expiry)
        if len(taken) >= limit:
            return False
        taken.append(self._now())
        self._entries += 1
        self._taken[key] = taken
        self._taken.move_to_end(key)
        while len(self._taken) > TABLE_KEYS or self._entries > TABLE_ENTRIES:
            self._entries -= len(self._taken.popitem(last=False)[1])
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        taken = self._recent(key, expiry)
        return (taken[0] + self._began if taken else self._clock()), len(taken)

    async def forget_last(self, key: str) -> None:
        taken = self._taken.get(key)
        if taken:
            taken.pop()
            self._entries -= 1

    async def clear(self, key: str) -> None:
        self._entries -= len(self._taken.pop(key, ()))

    def _now(self) -> int:
        return math.ceil(self._clock() - self._began)

    def _recent(self, key: str, expiry: int) -> array[int]:
        taken = self._taken.get(key, array("I"))
        over = bisect_right(taken, self._clock() - self._began - expiry)
        if over:
            del taken[:over]
            self._entries -= over
        return taken

    # What the library asks of a storage for its other strategies.

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        raise NotImplementedError

    async def get(self, key: str) -> int:
        raise NotImplementedError

    async def get_expiry(self, key: str) -> float:
        raise NotImplementedError

    async def check(self) -> bool:
        return True

    async def reset(self) -> int | None:
        raise NotImplementedError


class Rates:
    """Counts in this process, or in another `table`. `limits`: of each class, 0 for none."""

    def __init__(
        self, limits: Mapping[str, int], *, clock: Clock, table: Windows | None = None
    ) -> None:
        self._limits = {
            kind: RateLimitItemPerSecond(most, WINDOW_S, kind)
            for kind, most in limits.items()
            if most
        }
        self._clock = clock
        self._table = table or Table(clock=clock)
        self._window = MovingWindowRateLimiter(self._table)

    async def take(self, kind: str, key: str) -> Taken | None:
        item = self._limits.get(kind)
        if item is None:
            return None
        counted = await self._window.hit(item, key)
        return await self._state(item, key, counted=counted)

    async def look(self, kind: str, key: str) -> Taken | None:
        item = self._limits.get(kind)
        return await self._state(item, key, counted=True) if item else None

    async def give_back(self, kind: str, key: str) -> None:
        if item := self._limits.get(kind):
            await self._table.forget_last(item.key_for(key))

    async def clear(self, key: str) -> None:
        for item in self._limits.values():
            await self._window.clear(item, key)

    async def _state(self, item: RateLimitItem, key: str, *, counted: bool) -> Taken:
        found = await self._window.get_window_stats(item, key)
        back_s = max(1, math.ceil(found.reset_time - self._clock()))
        return Taken(item.amount, max(0, found.remaining), back_s, 0 if counted else back_s)
