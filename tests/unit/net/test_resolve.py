"""The DNS client: what it remembers and for how long, what it believes, what it gives up."""

import socket
from collections.abc import Iterator

import pytest

from net import resolve
from net.listen import Endpoint
from net.resolve import NO_SUCH_NAME, Answer, NoAnswer, Resolver
from tests.nameserver import BROKEN, Nameserver, nameserver, quoted


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[Nameserver]:
    with nameserver() as found:
        yield found


async def test_each_kind_of_record(server: Nameserver) -> None:
    server.zone = {
        "a.test": [
            ("A", "192.0.2.1"),
            ("AAAA", "2001:db8::1"),
            ("MX", "10 mx.test."),
            ("TXT", quoted("one ", "record")),
            ("NS", "ns.test."),
        ],
        "1.2.0.192.in-addr.arpa": [("PTR", "a.test.")],
        "alias.test": [("CNAME", "a.test.")],
    }
    resolver = Resolver([server.endpoint])
    assert (await resolver.ask("a.test", "A")).texts == ("192.0.2.1",)
    assert (await resolver.ask("A.Test.", "AAAA")).texts == ("2001:db8::1",)
    assert (await resolver.ask("a.test", "MX")).texts == ("mx.test",)
    assert (await resolver.ask("a.test", "NS")).texts == ("ns.test",)
    assert (await resolver.ask("a.test", "TXT")).records == (b"one record",)
    assert (await resolver.ask("1.2.0.192.in-addr.arpa", "PTR")).texts == ("a.test",)
    assert (await resolver.ask("alias.test", "A")).texts == ("192.0.2.1",)
    assert await resolver.ask("a.test", "PTR") == Answer()
    assert await resolver.ask("other.test", "A") == NO_SUCH_NAME


@pytest.mark.parametrize("name", ["a..test", f"{'a' * 64}.test", ".".join(["abc"] * 70), "ä.test"])
async def test_what_cannot_be_a_name_is_not_asked(server: Nameserver, name: str) -> None:
    assert await Resolver([server.endpoint]).ask(name, "A") == NO_SUCH_NAME
    assert not server.asked


async def test_an_answer_is_remembered_as_long_as_it_says(server: Nameserver) -> None:
    clock = Clock()
    resolver = Resolver([server.endpoint], clock=clock)
    server.zone, server.ttl = {"a.test": [("A", "192.0.2.1")]}, 60
    for clock.now, asked in ((0, 1), (59, 1), (61, 2), (100, 2)):
        assert (await resolver.ask("a.test", "A")).records
        assert len(server.asked) == asked
    server.ttl = 0  # not at all
    for asked in (3, 4):
        await resolver.ask("b.test", "A")
        assert len(server.asked) == asked
    server.ttl = 10**6
    await resolver.ask("c.test", "A")
    clock.now += resolve.LONGEST_S + 1
    await resolver.ask("c.test", "A")
    assert server.asked.count(("c.test", "A")) == 2


async def test_the_memory_is_bounded_and_keeps_what_is_used(server: Nameserver) -> None:
    resolver = Resolver([server.endpoint], remembered=10)
    server.ttl = 3600
    await resolver.ask("first.test", "A")
    for number in range(9):
        await resolver.ask(f"n{number}.test", "A")
    await resolver.ask("first.test", "A")
    assert server.asked.count(("first.test", "A")) == 1
    await resolver.ask("one-more.test", "A")
    await resolver.ask("n0.test", "A")  # the one that was not used for the longest time
    assert server.asked.count(("n0.test", "A")) == 2
    assert server.asked.count(("first.test", "A")) == 1


async def test_a_failure_is_told_and_not_remembered(server: Nameserver) -> None:
    resolver = Resolver([server.endpoint])
    server.zone, server.ttl = {"a.test": BROKEN}, 3600
    with pytest.raises(NoAnswer):
        await resolver.ask("a.test", "A")
    server.zone = {"a.test": [("A", "192.0.2.1")]}
    assert (await resolver.ask("a.test", "A")).records


async def test_the_next_server_is_asked_when_one_is_not_there(server: Nameserver) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = Endpoint("127.0.0.1", nobody.getsockname()[1])
    server.zone = {"a.test": [("A", "192.0.2.1")]}
    assert (await Resolver([gone, server.endpoint]).ask("a.test", "A")).records
    with pytest.raises(NoAnswer):
        await Resolver([gone]).ask("a.test", "A")
