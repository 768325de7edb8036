"""A POP3 server with a store of its own on a free port, and a client that speaks by hand."""

import asyncio
import sqlite3
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import SO_SNDBUF, SOL_SOCKET
from time import monotonic
from typing import Any

from auth.login import Login
from auth.passwords import Passwords
from mail.address import Address, parse_domain
from mail.facts import Facts
from mail.ident import UniqueId
from net.limits import Connections, Failures
from net.listen import Endpoint, bind
from net.tls import Certificate, make_self_signed
from pop3d.connection import ALPN
from pop3d.server import Pop3Limits, Pop3Server
from store.messages import Copy, NewMessage
from store.records import Role, StoreSettings
from store.store import Store
from tests.dialog import SECRET, USER, content
from tests.sessions import listed, remove

WAIT_S = 20  # longer than anything here takes; a test that waits so long has failed
TOGETHER = 500  # messages in the writer's queue
PATIENT = Pop3Limits()
SIGN_IN = f"USER {USER}\r\nPASS {SECRET}\r\n".encode()


def now() -> datetime:
    return datetime.now(UTC)


class Place:
    """A store with one user, kept for all tests of this module; `fill` makes it new."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "restante.db"
        settings = StoreSettings(
            url=f"sqlite:///{self.file}", quota_octets=0, trash_days=30, max_listed=10_000
        )
        self.store = Store(settings, clock=now)
        self.passwords = Passwords(cost=4)
        self.maildrop_id = asyncio.run(self._add_user())
        pair = folder / "test.crt", folder / "test.key"
        make_self_signed(*pair, hostname="mail.example.org", now=now())
        self.certificate = Certificate(*pair, clock=now)

    async def _add_user(self) -> int:
        await self.store.domains.add(parse_domain("example.org"))
        account = await self.store.accounts.add(
            "ann",
            await self.passwords.hash(SECRET),
            role=Role.USER,
            address=Address.parse(USER),
        )
        return account.maildrop_id

    async def sizes(self) -> list[int]:
        return [entry.size for entry in await self._entries()]

    async def _entries(self) -> Any:
        return await listed(self.store, self.maildrop_id)

    async def fill(self, *sizes: int) -> None:
        old = [entry.uid for entry in await self._entries()]
        await remove(self.store, self.maildrop_id, old)
        start = now()
        copy = Copy(self.maildrop_id, Address.parse(USER), b"")
        messages = [
            NewMessage(
                UniqueId.new(start + timedelta(milliseconds=n)),
                None,
                content(size),
                Facts(),
                [copy],
            )
            for n, size in enumerate(sizes)
        ]
        for part in range(0, len(messages), TOGETHER):
            together = messages[part : part + TOGETHER]
            await asyncio.gather(*map(self.store.messages.append, together))

    def marked(self) -> set[int]:
        """Numbers of the messages that are marked as retrieved, in a place filled once."""
        with sqlite3.connect(self.file) as database:
            rows = database.execute("SELECT bits FROM device_mark").fetchall()
        database.close()
        bits = sum(int.from_bytes(octets, "little") for (octets,) in rows)
        return {number for number in range(bits.bit_length()) if bits >> number & 1}

    def damage(self) -> None:
        """No stored body matches its checksum any more."""
        with sqlite3.connect(self.file) as database:
            database.execute("UPDATE body SET sha256 = zeroblob(32)")
        database.close()

    def close(self) -> None:
        self.store.close()
        self.passwords.close()


class Client:
    """Speaks POP3 by hand, after the greeting."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def line(self) -> bytes:
        return await asyncio.wait_for(self.reader.readline(), WAIT_S)

    async def lines(self, number: int) -> list[bytes]:
        return [await self.line() for _ in range(number)]

    async def rest(self) -> bytes:
        """All that comes before the server closes."""
        return await asyncio.wait_for(self.reader.read(), WAIT_S)

    async def say(self, command: str) -> bytes:
        self.send(command.encode() + b"\r\n")
        return await self.line()

    async def message(self) -> bytes:
        """The octets behind the first line of an answer, without dots that were added."""
        found = b""
        while (line := await self.line()) != b".\r\n":
            found += line[1:] if line.startswith(b".") else line
        return found

    async def answer(self, command: bytes) -> None:
        """Reads the whole answer to a command."""
        first = await self.line()
        if first.startswith(b"+OK") and command[:4] in (b"RETR", b"TOP ", b"LIST", b"UIDL"):
            while await self.line() != b".\r\n":
                pass

    async def sign_in(self) -> None:
        self.send(SIGN_IN)
        assert [line[:3] for line in await self.lines(2)] == [b"+OK", b"+OK"]

    def leave(self) -> None:
        self.writer.transport.abort()


class Running:
    """A server on a free port."""

    def __init__(self, server: Pop3Server, endpoint: Endpoint) -> None:
        self.server = server
        self.endpoint = endpoint
        self.clients: list[Client] = []

    async def client(
        self, *, alpn: str | None = None, greeting: bytes = b"+OK", in_tls: bool = True
    ) -> Client:
        context = trusting()
        if alpn:
            context.set_alpn_protocols([alpn])
        client = Client(
            *await asyncio.open_connection(
                self.endpoint.host, self.endpoint.port, ssl=context if in_tls else None
            )
        )
        self.clients.append(client)
        if greeting:
            assert (await client.line()).startswith(greeting)
        return client

    async def signed_in(self) -> Client:
        client = await self.client()
        await client.sign_in()
        return client

    async def emptied(self) -> None:
        """When every connection has ended."""
        await asyncio.wait_for(self.server.none_open.wait(), WAIT_S)


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def running(
    place: Place,
    limits: Pop3Limits = PATIENT,
    *,
    total: int = 100,
    strangers: int = 100,
    stls: bool = False,
    send_buffer: int | None = None,
) -> AsyncIterator[Running]:
    login = Login(
        place.store, place.passwords, Failures(clock=monotonic), key=bytes(32), clock=monotonic
    )
    server = Pop3Server(
        place.store,
        login,
        connections=Connections(total=total, clock=monotonic),
        strangers=Connections(total=strangers, clock=monotonic),
        limits=limits,
    )
    [listening] = bind([Endpoint("127.0.0.1", 0)])
    if send_buffer:
        listening.setsockopt(SOL_SOCKET, SO_SNDBUF, send_buffer)
    server.start([listening], place.certificate.context(ALPN), stls=stls)
    live = Running(server, Endpoint(*listening.getsockname()[:2]))
    try:
        yield live
    finally:
        for client in live.clients:
            client.leave()
        await server.drain(0)
