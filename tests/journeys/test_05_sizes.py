"""LIST's size is the number of octets RETR sends (RFC 1939 section 11), whatever came in.

Octets on the wire are counted by hand: no client library may mend anything in between.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake.deliver import Arrival, deliver
from intake.recipients import resolve
from mail.address import Address
from mail.lines import canonical
from server.parts import utc_now
from tests.kit import PASSWORD, Live, body_of, live_server, trusting

ANN = "ann@example.test"
HEADER = b"Subject: odd\r\n"

PIECES = st.sampled_from(
    [
        b"\r",
        b"\n",
        b"\r\n",
        b".",
        b"..",
        b"\r\n.",
        b"\n.\n",
        b"\r.\r",
        b"\0",
        b"text",
        b" ",
        b"\xff",
    ]
)
ODD = st.lists(PIECES, max_size=30).map(b"".join)
MESSAGES = st.lists(
    st.one_of(st.just(b""), ODD, ODD.map(lambda body: HEADER + b"\r\n" + body)), max_size=4
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_server(tmp_path_factory.mktemp("sizes")) as live:
        live.add_user("ann", ANN)
        yield live


@contextmanager
def signed_in(live: Live) -> Iterator[BinaryIO]:
    """A POP3 session as a plain stream of octets."""
    address = (live.pop3.host, live.pop3.port)
    with (
        socket.create_connection(address, 60) as plain,
        trusting().wrap_socket(plain) as encrypted,
        encrypted.makefile("rwb") as opened,
    ):
        stream = cast("BinaryIO", opened)
        assert stream.readline().startswith(b"+OK")
        for command in (f"USER {ANN}", f"PASS {PASSWORD}"):
            assert answer(stream, command).startswith(b"+OK")
        yield stream
        assert answer(stream, "QUIT").startswith(b"+OK")


def answer(stream: BinaryIO, command: str) -> bytes:
    stream.write(command.encode() + b"\r\n")
    stream.flush()
    return stream.readline()


def listing(stream: BinaryIO) -> list[tuple[int, int]]:
    assert answer(stream, "LIST").startswith(b"+OK")
    found = []
    while (line := stream.readline()) != b".\r\n":
        number, size = map(int, line.split())
        found.append((number, size))
    return found


def retrieve(stream: BinaryIO, number: int, size: int) -> bytes:
    """The octets of a message; exactly `size` of them, dots undone, then the dot line."""
    assert answer(stream, f"RETR {number}").startswith(b"+OK")
    octets = b""
    while (line := stream.readline()) != b".\r\n":
        assert line.endswith(b"\r\n"), line
        assert b"\r" not in line[:-2], line
        octets += line[1:] if line.startswith(b".") else line
    assert len(octets) == size
    return octets


def naive_canonical(octets: bytes) -> bytes:
    """Octet by octet: every CR, LF or CRLF is one line end, and the last line has one."""
    out = b""
    at = 0
    while at < len(octets):
        if octets[at : at + 2] == b"\r\n":
            out, at = out + b"\r\n", at + 2
        elif octets[at : at + 1] in (b"\r", b"\n"):
            out, at = out + b"\r\n", at + 1
        else:
            out, at = out + octets[at : at + 1], at + 1
    return out + (b"" if not out or out.endswith(b"\r\n") else b"\r\n")


def bring_in(live: Live, content: bytes) -> None:
    """The way of a message that comes by no listener of ours: from another server, a file."""
    recipient = live.run(resolve(Address.parse(ANN), live.store))
    arrival = Arrival(
        peer_ip="192.0.2.7",
        helo="example.net",
        protocol="ESMTP",
        cipher=None,
        sender=None,
        recipients=(recipient,),
        content=canonical(content),
    )
    live.run(deliver(arrival, live.store, hostname="mail.example.test", clock=utc_now))


@given(messages=MESSAGES)
def test_of_any_octets(live: Live, messages: list[bytes]) -> None:
    for content in messages:
        bring_in(live, content)
    _check(live, messages)


@given(messages=st.lists(ODD.map(lambda body: HEADER + b"\r\n" + body + b"\r\n"), max_size=4))
def test_of_any_octets_that_came_by_smtp(live: Live, messages: list[bytes]) -> None:
    for content in messages:
        live.send(content, ANN)
    _check(live, messages)


def _check(live: Live, messages: list[bytes]) -> None:
    with signed_in(live) as stream:
        listed = listing(stream)
        stored = [retrieve(stream, number, size) for number, size in listed]
        for number, _ in listed:
            assert answer(stream, f"DELE {number}").startswith(b"+OK")
    assert sorted(map(body_of, stored)) == sorted(map(naive_canonical, messages))
