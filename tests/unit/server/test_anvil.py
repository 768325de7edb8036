"""Counts that a parent keeps for its workers: as exact as in one process, whoever dies when."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.limits import Connections, Failures, Peer, Refused, Streak
from net.metrics import MAIL_REFUSED, Metrics
from net.rates import Rates, Taken
from server.anvil import Book, Line
from server.counters import Counters

ANN = Peer("192.0.2.1", 4000)
BOB = Peer("2001:db8::2", 4001)
TOTAL = 3
WAIT_S = 20


def counters(total: int = TOTAL, per_client: int | None = None) -> Counters:
    def limiter() -> Connections:
        return Connections(total=total, per_client=per_client, per_minute=1000, clock=lambda: 1000)

    return Counters(
        smtp=limiter(),
        pop3=limiter(),
        pop3_strangers=limiter(),
        refuser=limiter(),
        http=limiter(),
        sign_ins=Failures(clock=lambda: 1000),
        rates=Rates({"auth": 2}, clock=lambda: 1000),
        metrics=Metrics(),
    )


class Desk:
    """The parent's own part."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, text: str) -> None:
        self.heard.append(text)

    def count(self) -> int:
        return len(self.heard)


@dataclass
class Parent:
    kept: Counters = field(default_factory=counters)
    desk: Desk = field(default_factory=Desk)

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[tuple[socket.socket, asyncio.Task[None]]]:
        """A worker's end of a line, and the parent's attendance on it."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        attending = asyncio.create_task(Book(self.kept, self.desk).attend(ours))
        try:
            yield theirs, attending
        finally:
            theirs.close()
            await asyncio.wait([attending], timeout=WAIT_S)
            assert attending.done()

    @asynccontextmanager
    async def worker(self, hung_up: Callable[[], None] = lambda: None) -> AsyncIterator[Line]:
        async with self.raw() as (theirs, attending):
            line = await Line.open(theirs, hung_up=hung_up)
            try:
                yield line
            finally:
                await line.close()
            await attending


async def test_what_one_worker_lets_in_counts_for_the_other() -> None:
    parent = Parent()
    async with parent.worker() as one, parent.worker() as other:
        first, second = one.counters(), other.counters()
        assert [await first.pop3.admit(ANN), await second.pop3.admit(BOB)] == [None, None]
        assert await first.pop3.admit(BOB) is None
        assert await second.pop3.admit(ANN) == Refused("too many connections", 10)
        assert await second.smtp.admit(ANN) is None  # each listener has its own
        first.pop3.release(ANN)
        assert await first.pop3.admit(BOB) is None
        assert await second.pop3.admit(BOB) is not None


async def test_who_comes_again_and_again_is_known_over_all_workers() -> None:
    parent = Parent()
    async with parent.worker() as one, parent.worker() as other:
        await one.counters().smtp.admit(ANN)
        await other.counters().smtp.admit(ANN)
        assert await one.counters().smtp.streak() == Streak(ANN.ip, 2, 0)


async def test_a_refusal_is_told_as_it_was_made() -> None:
    parent = Parent()
    limiter = Connections(total=9, per_minute=1, clock=lambda: 1000)
    parent.kept = replace(parent.kept, http=limiter)
    async with parent.worker() as line:
        asked = line.counters().http
        assert await asked.admit(ANN) is None
        told = Refused("too many new connections from your address", 60)
        assert await asked.admit(ANN) == told
        assert await asked.admit(ANN) == Refused(told.reason, 60, silent=True)


async def test_rates_are_those_of_all_workers_together() -> None:
    parent = Parent()
    async with parent.worker() as first, parent.worker() as second:
        one, other = first.counters().rates, second.counters().rates
        assert await one.take("auth", "192.0.2.1") == Taken(2, 1, 900, 0)
        assert await other.take("auth", "192.0.2.1") == Taken(2, 0, 900, 0)
        assert await one.take("auth", "192.0.2.1") == Taken(2, 0, 900, 900)
        assert await one.take("none such", "192.0.2.1") is None
        await other.give_back("auth", "192.0.2.1")
        assert await one.look("auth", "192.0.2.1") == Taken(2, 1, 900, 0)
        await other.clear("192.0.2.1")
        assert await one.look("auth", "192.0.2.1") == Taken(2, 2, 900, 0)


async def test_what_workers_count_is_counted_together() -> None:
    parent = Parent()
    async with parent.worker() as first, parent.worker() as second:
        for line in (first, second, second):
            line.counters().metrics.add(MAIL_REFUSED, "OverQuota", by=2)
        found = await second.counters().metrics.read()
        while ("restante_mail_refused_total", "OverQuota", 6) not in found:
            found = await second.counters().metrics.read()
        assert await first.counters().smtp.admit(ANN) is None
        assert await second.counters().smtp.count() == 1


async def test_a_worker_that_ends_gives_back_all_it_held() -> None:
    parent = Parent()
    async with parent.worker() as line:
        counted = line.counters()
        for limiter in (counted.smtp, counted.pop3, counted.pop3, counted.pop3):
            assert await limiter.admit(ANN) is None
        counted.pop3.release(ANN)
    assert open_connections(parent.kept) == {"smtp": 0, "pop3": 0}


async def test_a_worker_that_dies_in_a_word_gives_back_all_it_held() -> None:
    parent = Parent()
    async with parent.raw() as (worker, attending):
        asked = b'{"ask": ["smtp", "admit", ["192.0.2.1", 4000]]}\n'
        worker.send(asked + asked + b'{"tell": ["smtp", "rel')
        worker.close()  # with answers that it has not read
        await asyncio.wait_for(attending, WAIT_S)
    assert open_connections(parent.kept) == {"smtp": 0, "pop3": 0}


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b'{"tell": ["smtp", "release", ["192.0.2.1", 4000]]}\n',  # which it does not hold
        b'{"tell": ["imap", "admit", ["192.0.2.1", 4000]]}\n',
        b'{"ask": ["smtp", "admit", ["192.0.2.1"]]}\n',
        b"x" * 200_000,
    ],
)
async def test_a_line_without_sense_ends_that_worker_alone(line: bytes) -> None:
    parent = Parent()
    async with parent.worker() as good:
        asked = good.counters().smtp
        async with parent.raw() as (bad, attending):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(bad, b'{"ask": ["smtp", "admit", ["192.0.2.1", 4]]}\n')
            assert await loop.sock_recv(bad, 100) == b"null\n"
            sending = asyncio.create_task(loop.sock_sendall(bad, line))
            with pytest.raises((ValueError, LookupError, TypeError)):
                await asyncio.wait_for(attending, WAIT_S)
            await asyncio.wait([sending])
            sending.exception()  # it may have been cut off
        assert open_connections(parent.kept)["smtp"] == 0
        assert await asked.admit(BOB) is None


async def test_who_was_let_in_and_has_gone_meanwhile_is_given_back() -> None:
    parent = Parent()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    line = await Line.open(theirs, hung_up=lambda: None)
    asking = asyncio.create_task(line.counters().pop3.admit(ANN))
    asked = asyncio.Event()
    asyncio.get_running_loop().add_reader(ours, asked.set)
    await asyncio.wait_for(asked.wait(), WAIT_S)  # and nobody answers yet
    asyncio.get_running_loop().remove_reader(ours)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    attending = asyncio.create_task(Book(parent.kept, parent.desk).attend(ours))
    assert await line.ask("parent", "count") == 0  # by now the first question was answered
    assert await line.ask("parent", "count") == 0  # and what follows from it is there as well
    assert open_connections(parent.kept)["pop3"] == 0
    await line.close()
    await attending


async def test_a_worker_hears_that_its_parent_has_ended() -> None:
    ours, theirs = socket.socketpair()
    ended = asyncio.Event()
    line = await Line.open(theirs, hung_up=ended.set)
    counted = line.counters()
    asking = asyncio.create_task(counted.http.admit(ANN))
    await asyncio.sleep(0)
    ours.close()
    await asyncio.wait_for(ended.wait(), WAIT_S)
    for question in (asking, counted.http.admit(ANN), counted.sign_ins.next_try("ann", ANN)):
        with pytest.raises(ConnectionError):
            await question
    counted.http.release(ANN)
    await line.close()


async def test_the_parent_itself_is_told_and_asked() -> None:
    parent = Parent()
    async with parent.worker() as line:
        line.tell("parent", "note", "one")
        line.tell("parent", "note", "\udc80 two\n")
        assert await line.ask("parent", "count") == 2
    assert parent.desk.heard == ["one", "\udc80 two\n"]


async def test_failed_sign_ins_delay_on_every_worker() -> None:
    parent = Parent()
    account = "\udc80" + "a" * 100_000  # as much of it as is counted goes over the line
    async with parent.worker() as one, parent.worker() as other:
        first, second = one.counters().sign_ins, other.counters().sign_ins
        for _ in range(3):
            first.add(account, ANN)
        assert await first.next_try(account, ANN) == 2
        assert await second.next_try(account, ANN) == 2
        assert await second.next_try(account, BOB) == 0
        second.forget(account, ANN)
        assert await second.next_try(account, ANN) == 0


async def test_a_worker_that_takes_no_answers_is_not_read() -> None:
    """Its questions wait with it, and neither the parent nor another worker does."""
    parent = Parent()
    async with parent.worker() as good, parent.raw() as (deaf, _):
        for _ in range(200):
            try:
                deaf.send(b'{"ask": ["parent", "count"]}\n' * 1000)
            except BlockingIOError:
                return
            await asyncio.wait_for(good.ask("parent", "count"), WAIT_S)
        pytest.fail("the parent takes questions without end")


PEERS = st.sampled_from([ANN, BOB, Peer("192.0.2.1", 5000), Peer("2001:db8::3", 5000)])
STEPS = st.lists(st.tuples(st.booleans(), st.booleans(), PEERS), max_size=40)


@given(STEPS)
def test_two_workers_count_as_one_process_does(steps: list[tuple[bool, bool, Peer]]) -> None:
    """A step: of which worker, in or out, and who."""

    async def compare() -> None:
        one_process = counters(5, 2).pop3
        parent = Parent(counters(5, 2))
        inside: list[list[Peer]] = [[], []]
        async with parent.worker() as one, parent.worker() as other:
            limiters = [one.counters().pop3, other.counters().pop3]
            for which, comes, peer in steps:
                if comes:
                    refused = await limiters[which].admit(peer)
                    assert refused == await one_process.admit(peer)
                    if refused is None:
                        inside[which].append(peer)
                elif peer in inside[which]:
                    inside[which].remove(peer)
                    limiters[which].release(peer)
                    one_process.release(peer)
                    # A release is not answered, and two lines have no order between them.
                    await (one, other)[which].ask("parent", "count")
        assert open_connections(parent.kept)["pop3"] == 0

    asyncio.run(compare())


def open_connections(kept: Counters) -> dict[str, int]:
    found: dict[str, Any] = {"smtp": kept.smtp, "pop3": kept.pop3}
    return {name: limiter.open for name, limiter in found.items()}
