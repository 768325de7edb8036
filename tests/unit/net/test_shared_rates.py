"""Counts that machines share in a Redis, and what becomes of them when it is gone."""

import signal
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from structlog.testing import capture_logs

from net.rates import WINDOW_S, Rates
from net.shared_rates import BadUrl, SharedRates
from tests.redis import Redis
from tests.redis import redis as started

LIMITS = {"auth": 3, "page": 0}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def redis(needs: Callable[[str], str]) -> Iterator[Redis]:
    with started(needs) as found:
        yield found


class Machines:
    """Some of one service, each with counts of its own besides."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.all = [
            SharedRates(url, LIMITS, Rates(LIMITS, clock=self.clock), clock=self.clock)
            for _ in range(2)
        ]


@pytest.fixture
async def machines(redis: Redis) -> AsyncIterator[Machines]:
    found = Machines(redis.url)
    yield found
    for machine in found.all:
        await machine.close()


async def taken(rates: SharedRates, key: str = "192.0.2.1") -> tuple[int, bool]:
    """What is left, and whether it was let through."""
    found = await rates.take("auth", key)
    assert found
    assert found.limit == 3
    assert 0 < found.reset_s <= WINDOW_S
    return found.left, found.wait_s == 0


async def test_machines_count_together(machines: Machines) -> None:
    one, two = machines.all
    assert [await taken(each) for each in (one, two, one)] == [(2, True), (1, True), (0, True)]
    assert await taken(two) == (0, False)
    assert await taken(one) == (0, False)
    assert await taken(two, "192.0.2.2") == (2, True)
    assert await one.take("page", "x") is None
    await two.give_back("auth", "192.0.2.1")
    seen = await one.look("auth", "192.0.2.1")
    assert seen
    assert seen.left == 1
    await one.clear("192.0.2.1")
    assert await taken(two) == (2, True)


async def test_without_redis_each_machine_counts_alone(redis: Redis, machines: Machines) -> None:
    one, two = machines.all
    for _ in range(3):
        await taken(one)
    redis.stop()
    with capture_logs() as logged:
        # Nobody is shut out by our fault, and nobody gets more than one machine gives.
        assert [await taken(one) for _ in range(4)] == [(2, True), (1, True), (0, True), (0, False)]
        machines.clock.now += 60  # it is tried again, in vain
        assert await taken(one) == (0, False)
        assert await taken(two) == (2, True)
    assert [each["event"] for each in logged] == ["rates.redis_gone"] * 2  # each machine's
    redis.start()
    assert await taken(one) == (0, False)  # it is left alone for a while
    machines.clock.now += 60
    with capture_logs() as logged:
        assert [await taken(one), await taken(two)] == [(2, True), (1, True)]
    assert [each["event"] for each in logged] == ["rates.redis_back"] * 2


async def test_a_redis_that_does_not_answer_is_not_waited_for(
    redis: Redis, machines: Machines
) -> None:
    assert redis.process
    redis.process.send_signal(signal.SIGSTOP)
    try:
        assert await taken(machines.all[0]) == (2, True)
    finally:
        redis.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("url", ["", "http://localhost", "redis://", "localhost:6379"])
def test_what_is_no_url_is_told(url: str) -> None:
    with pytest.raises(BadUrl):
        SharedRates(url, LIMITS, Rates(LIMITS, clock=Clock()))
