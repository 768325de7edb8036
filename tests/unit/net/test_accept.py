"""Listeners over real sockets: who is let in, who is told, who is not; PROXY headers; TLS."""

import asyncio
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from time import monotonic
from typing import cast

import pytest
from structlog.testing import capture_logs

from net.accept import TOLD_AT_ONCE, Listener, Tls, Visit
from net.limits import Connections, Network
from net.listen import Endpoint, bind
from net.tls import Certificate, make_self_signed

WAIT_S = 20
LOOPBACK = (ip_network("127.0.0.0/8"),)


class Teller(asyncio.Protocol):
    """Says who it talks to, then what it hears."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        refused = self.visit.refused
        told = f"refused {refused.retry_after_s}" if refused else "hello"
        self.transport.write(f"{told} {self.visit.peer.ip}\n".encode())
        if refused:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.visit.leave()


@dataclass
class Place:
    port: int
    connections: Connections
    opened: list[asyncio.StreamWriter] = field(default_factory=list)

    async def say(self, octets: bytes, *, context: ssl.SSLContext | None = None) -> bytes:
        """The first line that is heard after `octets`; nothing if there is none."""
        return await self.hear(*await self.connect(octets, context=context))

    async def connect(
        self, octets: bytes, *, context: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(WAIT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            self.opened.append(writer)
            writer.write(octets)
            if context:
                await writer.start_tls(context)
            return reader, writer

    async def hear(self, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> bytes:
        async with asyncio.timeout(WAIT_S):
            try:
                return await reader.readline()
            except ConnectionError:
                return b""


@asynccontextmanager
async def listening(
    connections: Connections | None = None,
    *,
    tls: Tls | None = None,
    proxies: tuple[Network, ...] = (),
) -> AsyncIterator[Place]:
    connections = connections or Connections(total=100, clock=monotonic)
    listener = Listener(Teller, limiters=[connections], tls=tls, proxies=proxies)
    [bound] = bind([Endpoint("127.0.0.1", 0)])
    place = Place(bound.getsockname()[1], connections)
    listener.start([bound])
    try:
        yield place
    finally:
        listener.close()
        for writer in place.opened:
            writer.transport.abort()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    now = datetime.now(UTC)
    pair = tmp_path / "a.crt", tmp_path / "a.key"
    make_self_signed(*pair, hostname="mx.example.org", now=now)
    return Tls(Certificate(*pair, clock=lambda: now).context())


@pytest.fixture
def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.005)


async def test_a_place_is_held_for_as_long_as_the_connection() -> None:
    async with listening(Connections(total=1, clock=monotonic)) as place:
        reader, writer = await place.connect(b"")
        assert await place.hear(reader, writer) == b"hello 127.0.0.1\n"
        assert await place.say(b"") == b"refused 10 127.0.0.1\n"
        writer.close()
        await settled(lambda: place.connections.open == 0)
        assert await place.say(b"") == b"hello 127.0.0.1\n"


async def test_beyond_twice_the_rate_nothing_is_said() -> None:
    async with listening(Connections(total=100, per_minute=2, clock=lambda: 0.0)) as place:
        said = [await place.say(b"") for _ in range(6)]
    assert said[:2] == [b"hello 127.0.0.1\n"] * 2
    assert said[2:4] == [b"refused 60 127.0.0.1\n"] * 2
    assert said[4:] == [b""] * 2


async def test_tls_from_the_first_octet(tls: Tls, trusting: ssl.SSLContext) -> None:
    async with listening(Connections(total=1, clock=monotonic), tls=tls) as place:
        reader, writer = await place.connect(b"", context=trusting)
        assert await place.hear(reader, writer) == b"hello 127.0.0.1\n"
        writer.write(b"echo\n")
        assert await place.hear(reader, writer) == b"echo\n"
        assert await place.say(b"", context=trusting) == b"refused 10 127.0.0.1\n"


async def test_a_handshake_that_fails_holds_no_place(tls: Tls, trusting: ssl.SSLContext) -> None:
    async with listening(Connections(total=1, clock=monotonic), tls=tls) as place:
        assert not (await place.say(b"GET / HTTP/1.1\r\n\r\n")).startswith(b"hello")
        await settled(lambda: place.connections.open == 0)
        assert await place.say(b"", context=trusting) == b"hello 127.0.0.1\n"


async def test_so_many_at_a_time_are_told_why(tls: Tls) -> None:
    """A handshake that they do not go on with holds such a place; one that was told gives it back.

    Nobody else notices: neither has a place among those who came in.
    """
    connections = Connections(total=0, clock=monotonic)
    async with listening(connections) as place:
        said = [await place.say(b"") for _ in range(TOLD_AT_ONCE + 10)]
    assert set(said) == {b"refused 10 127.0.0.1\n"}
    async with listening(connections, tls=tls) as place:
        for _ in range(TOLD_AT_ONCE):
            await place.connect(b"")
        assert await place.say(b"") == b""
        assert connections.open == 0


V1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 25\r\n"
V2 = bytes.fromhex("0D0A0D0A000D0A515549540A 21 11 000C C0000207 7F000001 0FA0 0019")


@pytest.mark.parametrize("header", [V1, V2])
async def test_the_client_behind_a_trusted_proxy_counts(header: bytes) -> None:
    connections = Connections(total=9, per_client=1, clock=monotonic)
    async with listening(connections, proxies=LOOPBACK) as place:
        reader, writer = await place.connect(header + b"more\n")
        assert await place.hear(reader, writer) == b"hello 192.0.2.7\n"
        assert await place.hear(reader, writer) == b"more\n"
        assert await place.say(header) == b"refused 10 192.0.2.7\n"
        other = header.replace(b"192.0.2.7", b"192.0.2.8").replace(b"\2\7", b"\2\x08")
        assert await place.say(other) == b"hello 192.0.2.8\n"


async def test_a_header_in_single_octets_and_before_tls(tls: Tls, trusting: ssl.SSLContext) -> None:
    async with listening(tls=tls, proxies=LOOPBACK) as place:
        for header in (V1, V2):
            reader, writer = await place.connect(header[:1])
            sock = writer.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for octet in header[1:]:
                writer.write(bytes([octet]))
                await asyncio.sleep(0)
            async with asyncio.timeout(WAIT_S):
                await writer.start_tls(trusting)
            assert await place.hear(reader, writer) == b"hello 192.0.2.7\n"


async def test_who_is_no_trusted_proxy_names_nobody() -> None:
    async with listening(proxies=(ip_network("10.0.0.0/8"),)) as place:
        reader, writer = await place.connect(V1)
        assert await place.hear(reader, writer) == b"hello 127.0.0.1\n"
        assert await place.hear(reader, writer) == V1


@pytest.mark.parametrize("octets", [b"EHLO x\r\n", b"\x16\x03\x01\x02", b"PROXY TCP4 x\r\n"])
async def test_a_proxy_that_says_nothing_of_a_client_is_cut(octets: bytes) -> None:
    async with listening(proxies=LOOPBACK) as place:
        assert await place.say(octets) == b""
        assert place.connections.open == 0


async def test_a_proxys_own_check_is_the_proxys() -> None:
    async with listening(proxies=LOOPBACK) as place:
        assert await place.say(b"PROXY UNKNOWN\r\n") == b"hello 127.0.0.1\n"


async def test_when_descriptors_run_out_it_waits_and_goes_on() -> None:
    async with listening() as place:
        assert await place.say(b"") == b"hello 127.0.0.1\n"
        most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with capture_logs() as log, socket.socket() as late:
            resource.setrlimit(resource.RLIMIT_NOFILE, (late.fileno() + 1, most[1]))
            try:
                late.connect(("127.0.0.1", place.port))  # the kernel's part needs no accept
                await settled(lambda: bool(log))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, most)
            late.setblocking(False)
            async with asyncio.timeout(WAIT_S):
                assert await asyncio.get_running_loop().sock_recv(late, 100) == b"hello 127.0.0.1\n"
        assert [entry["event"] for entry in log] == ["accept.no_room"]
