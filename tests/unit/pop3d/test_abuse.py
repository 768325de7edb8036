"""What a client may cost: malformed input, floods, other protocols, and readers that are slow."""

import asyncio
import os
import re
import socket
import ssl
import tracemalloc
from contextlib import ExitStack

import pytest

from pop3d.server import SESSIONS, Pop3Limits
from tests.dialog import message_octets, wire
from tests.unit.pop3d.listener import SIGN_IN, WAIT_S, Place, Running, running, trusting
from tests.unit.pop3d.test_server import Events, ends

KIB, MIB = 1024, 1024 * 1024

# For a longer look: how large the message is that slow readers fetch.
RETR_MIB = int(os.environ.get("RESTANTE_RETR_MIB", "3"))
READERS = 2 * SESSIONS


@pytest.mark.parametrize(
    "octets",
    [
        b"A" * 100_000,
        b"A" * 100_000 + b"\r\n",
        b"\0" * 300,
        b"\r\n" * 50,
        b"\n" * 300,
        b"\xff\xfe\r\n" * 30,
        b"AUTH PLAIN\r\n" + b"=" * 100_000,
        b"AUTH PLAIN " + b"A" * 300 + b"\r\n",
        b"AUTH PLAIN !\r\n" * 4,
        b"AUTH LOGIN\r\n\xff\r\n" * 4,
        b"USER\r\nUSER a b\r\nPASS\r\n",
        b"RETR 1\r\nDELE 1\r\nQUIT 1\r\n",
        b"STLS\r\n\x16\x03\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"EHLO example.org\r\nMAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\n",
    ],
    ids=lambda octets: repr(octets[:12]),
)
async def test_malformed_input_ends_in_an_error_and_a_close(
    place: Place, events: Events, octets: bytes
) -> None:
    async with running(place) as live:
        client = await live.client()
        client.send(octets)
        said = await client.rest()
        assert said.splitlines()[-1].startswith(b"-ERR")
        assert b"[SYS/TEMP]" not in said
        await live.emptied()
    [end] = ends(events)
    assert end["why"] in ("refusals", "line")
    assert not [event for event in events if event["log_level"] == "error"]


async def test_mistakes_after_the_sign_in_end_the_session_at_the_twentieth(place: Place) -> None:
    await place.fill(10)
    async with running(place) as live:
        client = await live.signed_in()
        client.send(b"DELE 1\r\n" + b"RETR one\r\nSTLS\r\n\0\r\nTOP 1\r\nPASS x\r\n" * 2000)
        assert [line[:4] for line in (await client.rest()).splitlines()] == [
            b"+OK ",
            *[b"-ERR"] * 20,
        ]
    assert await place.sizes() == [10]


async def test_another_protocol_without_tls_is_not_answered(place: Place) -> None:
    async with running(place) as live:
        for octets in (b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", b"CAPA\r\nQUIT\r\n"):
            client = await live.client(in_tls=False, greeting=b"")
            client.send(octets)
            try:
                said = await client.rest()
            except ConnectionError:
                said = b""
            # At most an alert record of TLS (RFC 8446 section 5.1).
            assert said == b"" or said[0] == 21


async def test_http_inside_tls_never_reaches_a_sign_in(place: Place, events: Events) -> None:
    # A browser may be made to post lines that are commands; they come behind a header.
    async with running(place) as live:
        client = await live.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n" + SIGN_IN + b"DELE 1\r\n")
        assert [line[:4] for line in (await client.rest()).splitlines()] == [b"-ERR"] * 3
        await live.emptied()
    assert [end["account"] for end in ends(events)] == [None]


async def test_an_account_has_so_many_sessions_from_one_client(place: Place) -> None:
    await place.fill(10)
    async with running(place) as live:
        clients = [await live.signed_in() for _ in range(SESSIONS)]
        more = await live.client()
        more.send(SIGN_IN)
        assert [line[:4] for line in await more.lines(1)] == [b"+OK "]
        assert re.fullmatch(rb"-ERR \[SYS/TEMP\] .* 10 seconds\r\n", await more.line())
        clients[0].send(b"QUIT\r\n")
        assert (await clients[0].rest()).startswith(b"+OK")
        await more.sign_in()
        # Another client of the same account has its own.
        elsewhere = await asyncio.to_thread(slow_reader, live, "127.0.0.2")
        elsewhere.close()


async def test_pipelined_messages_come_in_few_tls_records(place: Place) -> None:
    await place.fill(41, 20)
    async with running(place) as live:
        raw = bytearray()
        relay = await asyncio.start_server(
            lambda reader, writer: relayed(live, reader, writer, raw), "127.0.0.1", 0
        )
        async with relay:
            port = relay.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting())
            writer.write(SIGN_IN + b"RETR 1\r\nTOP 1 0\r\nRETR 2\r\nUIDL\r\n" * 250 + b"QUIT\r\n")
            said = await asyncio.wait_for(reader.read(), WAIT_S)
            writer.transport.abort()
    group = wire(41, None) + wire(41, 0) + wire(20, None)
    assert said.count(group) == 250
    # 1,000 answers of some 100 kB: records are of at most 16 KiB (RFC 8446 section 5.1).
    assert records(bytes(raw)) < 40


async def relayed(
    live: Running, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytearray
) -> None:
    """Passes octets on in both directions, and keeps those of the server."""
    up = await asyncio.open_connection(live.endpoint.host, live.endpoint.port)

    async def upwards() -> None:
        while octets := await reader.read(65536):
            up[1].write(octets)

    pump = asyncio.create_task(upwards())
    while octets := await up[0].read(65536):
        raw.extend(octets)
        writer.write(octets)
    pump.cancel()
    writer.close()
    up[1].close()


def records(raw: bytes) -> int:
    """How many TLS records these octets are."""
    count = at = 0
    while at < len(raw):
        at += 5 + int.from_bytes(raw[at + 3 : at + 5])
        count += 1
    return count


def slow_reader(live: Running, source: str) -> ssl.SSLSocket:
    """Signed in, and with little room for what is sent to it."""
    plain = socket.socket()
    plain.settimeout(WAIT_S)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * KIB)
    plain.bind((source, 0))
    plain.connect((live.endpoint.host, live.endpoint.port))
    client = trusting().wrap_socket(plain)
    client.sendall(SIGN_IN)
    said = b""
    while said.count(b"\r\n") < 3:
        said += client.recv(KIB)
    assert said.count(b"+OK") == 3, said
    return client


def read_to_dot(client: ssl.SSLSocket) -> bytes:
    """The last 100 octets before the client would have to wait for another command."""
    last = b""
    while not last.endswith(b"\r\n.\r\n"):
        block = client.recv(64 * KIB)
        assert block
        last = (last + block)[-100:]
    return last


@pytest.mark.asyncio(loop_factories=["uvloop"])
@pytest.mark.parametrize("command", [b"RETR 1\r\n", b"UIDL\r\n" * 500])
async def test_a_session_of_a_slow_reader_takes_less_than_a_mebibyte(
    place: Place, command: bytes
) -> None:
    size = RETR_MIB * MIB
    await place.fill(size, *[10] * 20)
    async with running(place) as live:
        with ExitStack() as opened:
            clients = [
                opened.enter_context(
                    await asyncio.to_thread(slow_reader, live, f"127.0.0.{1 + n % 2}")
                )
                for n in range(READERS)
            ]
            assert await asyncio.to_thread(held, clients, command) / READERS < MIB
            if command.startswith(b"RETR"):
                whole = message_octets(size, None)[-100:]
                for client in clients:
                    assert await asyncio.to_thread(read_to_dot, client) == whole


def held(clients: list[ssl.SSLSocket], command: bytes) -> int:
    """The most that this process held while all of them read the answer, a little at a time."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for client in clients:
            client.sendall(command)
        for _ in range(10):
            for client in clients:
                client.recv(16 * KIB)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


async def test_a_large_listing_waits_for_its_reader_and_is_whole(place: Place) -> None:
    await place.fill(*[10] * 2500)
    async with running(place) as live:
        client = await live.signed_in()
        client.send(b"DELE 1001\r\n" + b"LIST\r\nUIDL\r\n" * 10 + b"NOOP\r\n")
        assert (await client.line()).startswith(b"+OK")
        left = [n for n in range(1, 2501) if n != 1001]
        for _ in range(10):
            listed = await client.lines(2501)
            assert [line.split()[0] for line in listed[1:-1]] == [b"%d" % n for n in left]
            uidl = await client.lines(2501)
            assert len({line.split()[1] for line in uidl[1:-1]}) == len(left)
        assert (await client.line()).startswith(b"+OK")


async def test_a_listing_nobody_reads_is_cut(place: Place, events: Events) -> None:
    await place.fill(*[10] * 2500)
    async with running(place, Pop3Limits(write_stall_s=0.3)) as live:
        client = await live.signed_in()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"UIDL\r\n" * 500)
        await live.emptied()
    assert [end["why"] for end in ends(events)] == ["write stall"]
