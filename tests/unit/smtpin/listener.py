"""A real listener on a free port, in front of an intake that keeps mail in a list."""

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from intake.deliver import Arrival, Kept
from intake.recipients import Recipient
from intake.spool import Spool
from mail.address import Address
from mail.errors import NotOurDomain, UnknownRecipient
from mail.ident import UniqueId
from net.limits import Connections, Network, OctetBudget
from net.listen import Endpoint, bind
from smtpin.handler import Handler, Intake
from smtpin.limits import Limits, Shared, misses_allowance, octets_allowance
from smtpin.server import SmtpServer

HOST = "mx.example.org"
ANN = "ann@example.org"
WAIT_S = 20  # longer than anything here takes; a test that waits so long has failed


class Client:
    """Speaks SMTP by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def line(self) -> str:
        line = await asyncio.wait_for(self.reader.readline(), WAIT_S)
        if not line:
            raise EOFError
        assert line.endswith(b"\r\n"), line
        return line[:-2].decode("ascii")

    async def hear(self) -> str:
        """One reply; its lines with a newline between them."""
        lines = [await self.line()]
        while lines[-1][3:4] == "-":
            lines.append(await self.line())
        return "\n".join(lines)

    async def say(self, command: str) -> str:
        await self.send(command.encode("latin-1") + b"\r\n")
        return await self.hear()

    async def begin(self, sender: str = "<bob@example.net>", to: str = f"<{ANN}>") -> None:
        """Up to the reply to DATA."""
        await self.send(f"MAIL FROM:{sender}\r\nRCPT TO:{to}\r\nDATA\r\n".encode())
        replies = [(await self.hear())[:3] for _ in range(3)]
        assert replies == ["250", "250", "354"]

    async def ended(self) -> bool:
        """True once the server has closed, with nothing more to say."""
        try:
            return await asyncio.wait_for(self.reader.read(), WAIT_S) == b""
        except ConnectionError:
            return True

    async def start_tls(self) -> None:
        assert (await self.say("STARTTLS")).startswith("220 ")
        await self.writer.start_tls(unverified())

    def reset(self) -> None:
        """Closes with RST, as a machine that crashed and came back would."""
        opened = self.writer.get_extra_info("socket")
        if opened is not None and not self.writer.is_closing():
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def send_message(client: Client, content: bytes) -> str:
    """The reply to a whole transaction; `content` is dot-stuffed already."""
    await client.begin()
    await client.send(content + b".\r\n")
    return await client.hear()


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass
class Shelf:
    """An intake of one domain, example.org, and one address in each."""

    domains: tuple[str, ...] = ("example.org",)
    arrivals: list[Arrival] = field(default_factory=list)
    # What else a delivery does, before it is done.
    on_deliver: Callable[[], Awaitable[None]] | None = None
    on_resolve: Callable[[Address], Awaitable[None]] | None = None

    async def resolve(self, address: Address) -> Recipient:
        if self.on_resolve:
            await self.on_resolve(address)
        if address.domain not in (*self.domains, ""):
            raise NotOurDomain("we do not receive mail for this domain")
        if address.folded.local not in ("ann", "postmaster"):
            raise UnknownRecipient("no such mailbox", address=str(address))
        return Recipient(address, (1,))

    async def deliver(self, arrival: Arrival) -> Kept:
        if self.on_deliver:
            await self.on_deliver()
        self.arrivals.append(arrival)
        return Kept(UniqueId.new(datetime.now(UTC)), len(arrival.content))

    @property
    def contents(self) -> list[bytes]:
        return [arrival.content for arrival in self.arrivals]


@dataclass
class Listener:
    server: SmtpServer
    port: int
    shelf: Shelf
    shared: Shared
    connections: Connections
    log: list[MutableMapping[str, Any]]
    clients: list[Client] = field(default_factory=list)

    async def dial(self, port: int | None = None) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", port or self.port))
        self.clients.append(client)
        return client

    async def connect(self, hello: str | None = "EHLO client.example.net") -> Client:
        """The banner read, and by default EHLO said."""
        client = await self.dial()
        assert await client.hear() == f"220 {HOST} ESMTP"
        if hello:
            assert (await client.say(hello)).startswith("250")
        return client

    def events(self, name: str) -> list[MutableMapping[str, Any]]:
        return [entry for entry in self.log if entry["event"] == name]


@asynccontextmanager
async def listening(
    limits: Limits | None = None,
    *,
    shelf: Shelf | None = None,
    tls: ssl.SSLContext | None = None,
    per_client: int = 20,
    budget: OctetBudget | None = None,
    send_buffer: int | None = None,
    total: int = 100,
    exempt: Sequence[Network] = (),
    clock: Callable[[], float] = time.monotonic,
    floor: int = 0,
) -> AsyncIterator[Listener]:
    """Stops the server at its end, so that the log is complete behind it.

    Without `limits` they are those of a real server, but for the pauses.
    """
    shelf = shelf or Shelf()
    [bound] = bind([Endpoint("127.0.0.1", 0)])
    if send_buffer:  # what is accepted inherits it
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    connections = Connections(total=total, per_client=per_client, clock=clock)
    intake = Intake(resolve=shelf.resolve, deliver=shelf.deliver)
    handler = Handler(hostname=HOST, limits=limits or Limits(pause_s=0), intake=intake)
    port = bound.getsockname()[1]
    with (
        TemporaryDirectory() as folder,
        capture_logs(processors=[merge_contextvars]) as log,
    ):
        memory = budget or OctetBudget(64 * 1024 * 1024)
        shared = Shared(
            connections=connections,
            places=total,
            spool=Spool(memory, Path(folder), floor=floor),
            misses=misses_allowance(clock),
            octets=octets_allowance(clock),
            exempt=exempt,
        )
        server = SmtpServer(handler, tls=tls, shared=shared)
        server.start([bound])
        listener = Listener(server, port, shelf, shared, connections, log)
        try:
            yield listener
        finally:
            await server.stop()
            for client in listener.clients:
                client.reset()
                with suppress(ConnectionError):
                    await client.writer.wait_closed()


def spent(budget: OctetBudget, octets: int) -> int:
    """How much of a budget of `octets` is out."""
    left = octets
    while not budget.take(left):
        left -= 1
    budget.give(left)
    return octets - left
