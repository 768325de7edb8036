"""Counts of requests that several machines share, in Redis.

IN        the URL of a Redis; the counts of this machine, to fall back on
OUT       a `RateCounts`
MAY       connect to that Redis; log a line when it goes away, and one when it is back
NEVER     let a request wait for it longer than TIMEOUT_S; let everybody through, or nobody,
          because it is gone: this machine counts alone then
FAILS     BadUrl, when it is made
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import structlog
from limits.aio.storage import RedisStorage
from limits.errors import ConfigurationError

from net.limits import Clock
from net.rates import RateCounts, Rates, Taken, Windows

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")

TIMEOUT_S = 0.5
AWAY_S = 5  # after a fault it is left alone for so long
_URL = re.compile(r"(redis|rediss|unix)://\S+")

log = structlog.get_logger()


class BadUrl(Exception):
    """It cannot be used; the text says why, without what may be secret in it."""


class SharedTable(RedisStorage, Windows):
    """As net.rates.Table. Redis forgets a key when its window is over."""

    async def forget_last(self, key: str) -> None:
        # The newest is the first of its list.
        await self._redis.lpop(self.bridge.prefixed_key(key))

    async def close(self) -> None:
        await self._redis.aclose()

    @property
    def _redis(self) -> Redis:
        return self.bridge.storage  # type: ignore[attr-defined, no-any-return]


class SharedRates:
    """`local`: who counts while Redis does not. `clock`: monotonic seconds."""

    def __init__(
        self,
        url: str,
        limits: Mapping[str, int],
        local: RateCounts,
        *,
        clock: Clock = time.monotonic,
        away_s: float = AWAY_S,
    ) -> None:
        if not _URL.fullmatch(url):
            raise BadUrl("it is not redis://, rediss:// or unix:// with a place behind it")
        self._table = _table(url)
        own = self._table.base_exceptions
        own = own if isinstance(own, tuple) else (own,)
        self._faults: tuple[type[Exception], ...] = (OSError, *own)
        # The machines have their wall clocks in common.
        self._shared = Rates(limits, clock=time.time, table=self._table)
        self._local = local
        self._clock = clock
        self._away_s = away_s
        self._away_until: float | None = None

    async def take(self, kind: str, key: str) -> Taken | None:
        return await self._ask(lambda counts: counts.take(kind, key))

    async def give_back(self, kind: str, key: str) -> None:
        await self._ask(lambda counts: counts.give_back(kind, key))

    async def look(self, kind: str, key: str) -> Taken | None:
        return await self._ask(lambda counts: counts.look(kind, key))

    async def clear(self, key: str) -> None:
        await self._local.clear(key)
        await self._ask(lambda counts: counts.clear(key))

    async def close(self) -> None:
        await self._table.close()

    async def _ask(self, question: Callable[[RateCounts], Awaitable[T]]) -> T:
        if self._away_until is not None and self._clock() < self._away_until:
            return await question(self._local)
        try:
            answer = await question(self._shared)
        except self._faults as error:
            if self._away_until is None:
                log.error("rates.redis_gone", why=type(error).__name__)
            self._away_until = self._clock() + self._away_s
            return await question(self._local)
        if self._away_until is not None:
            log.info("rates.redis_back")
            self._away_until = None
        return answer


def _table(url: str) -> SharedTable:
    try:
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        options = {
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": TIMEOUT_S,
            # Once, for a connection that Redis has closed since it was used last.
            "retry": Retry(NoBackoff(), 1),
        }
        # `limits` knows a socket by another scheme.
        scheme, _, place = url.partition("://")
        scheme = "redis+unix" if scheme == "unix" else scheme
        return SharedTable(
            f"async+{scheme}://{place}",
            implementation="redispy",
            key_prefix="restante",
            **options,  # type: ignore[arg-type]
        )
    except (ImportError, ConfigurationError) as error:
        raise BadUrl("the package redis is missing: install restante[redis]") from error
    except ValueError as error:
        raise BadUrl("it is not a URL of Redis") from error
