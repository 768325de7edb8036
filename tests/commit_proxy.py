"""A network between the store and its database that breaks off at a COMMIT.

It understands of each protocol what it takes to find a COMMIT and the end of its answer:
PostgreSQL's messages (protocol version 3.0) and MariaDB's packets. TLS is off on both sides.
"""

import asyncio
import random
import socket
import threading
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto

from sqlalchemy import make_url


class Cut(Enum):
    """Where the connection breaks off. The client never gets an answer."""

    BEFORE = auto()  # COMMIT does not reach the server
    AT_ONCE = auto()  # COMMIT is on its way: the client may be back before it takes place
    AFTER = auto()  # the server has answered


Choose = Callable[[], Cut | None]


@dataclass
class CommitProxy:
    """`choose` is asked at each COMMIT; without it all of them go through."""

    port: int
    choose: Choose | None = None
    commits: int = 0  # seen, cut or not
    cuts: Counter[Cut] = field(default_factory=Counter)

    def url(self, url: str) -> str:
        """The way to the same database through this proxy."""
        return make_url(url).set(port=self.port).render_as_string(hide_password=False)

    def decide(self) -> Cut | None:
        self.commits += 1
        cut = self.choose() if self.choose else None
        if cut:
            self.cuts[cut] += 1
        return cut


def at_random(chance: random.Random, share: float) -> Choose:
    """Breaks off at this share of all COMMITs, in all ways."""
    return lambda: chance.choice(list(Cut)) if chance.random() < share else None


@contextmanager
def commit_proxy(engine: str, port: int) -> Iterator[CommitProxy]:
    """Stands in front of a server on this port. `engine` is "postgresql" or "mariadb"."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        # For what it accepts too: asyncio does not, as this socket does not name its protocol.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        proxy = CommitProxy(listening.getsockname()[1])
        loop = asyncio.new_event_loop()
        serving = loop.create_task(_serve(listening, proxy, _PROTOCOLS[engine], port))

        def serve() -> None:
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(serving)
            loop.run_until_complete(asyncio.sleep(0))  # what was told to close does so now

        thread = threading.Thread(target=serve, name="commit-proxy")
        thread.start()
        try:
            yield proxy
        finally:
            loop.call_soon_threadsafe(serving.cancel)
            thread.join()
            loop.close()


@dataclass(frozen=True, slots=True)
class _Protocol:
    greet: Callable[[StreamReader, StreamWriter], Awaitable[bytes]]  # what comes before messages
    read: Callable[[StreamReader], Awaitable[bytes]]  # one message of either side
    is_commit: Callable[[bytes], bool]
    ends_answer: Callable[[bytes], bool]


async def _serve(
    listening: socket.socket, proxy: CommitProxy, protocol: _Protocol, port: int
) -> None:
    async with asyncio.TaskGroup() as links:
        while True:
            accepted, _ = await asyncio.get_running_loop().sock_accept(listening)
            links.create_task(_link(proxy, protocol, port, accepted))


async def _link(
    proxy: CommitProxy, protocol: _Protocol, port: int, accepted: socket.socket
) -> None:
    """One connection, until either side or a cut ends it."""
    client_reader, client = await asyncio.open_connection(sock=accepted)
    try:
        server_reader, server = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        client.close()
        return
    withheld = False

    def cut() -> ConnectionError:
        client.transport.abort()
        return ConnectionAbortedError()

    async def up() -> None:
        nonlocal withheld
        server.write(await protocol.greet(client_reader, client))
        while True:
            message = await protocol.read(client_reader)
            decision = proxy.decide() if protocol.is_commit(message) else None
            if decision is Cut.BEFORE:
                raise cut()
            withheld = decision is Cut.AFTER
            server.write(message)
            await server.drain()
            if decision is Cut.AT_ONCE:
                raise cut()

    async def down() -> None:
        while True:
            message = await protocol.read(server_reader)
            if not withheld:
                client.write(message)
                await client.drain()
            elif protocol.ends_answer(message):
                raise cut()

    try:
        async with asyncio.TaskGroup() as directions:
            directions.create_task(up())
            directions.create_task(down())
    except* (IncompleteReadError, ConnectionError):
        pass
    finally:
        for side in (client, server):
            side.close()  # what was written still goes out


# PostgreSQL: a type, a length that counts itself, the rest. The first message has no type, and
# before it the client may ask for TLS or GSSAPI; the answer is one octet.

_ASKS_FOR_ENCRYPTION = {80877103, 80877104}


async def _postgresql_greet(reader: StreamReader, writer: StreamWriter) -> bytes:
    while True:
        length = await reader.readexactly(4)
        rest = await reader.readexactly(int.from_bytes(length) - 4)
        if int.from_bytes(rest[:4]) not in _ASKS_FOR_ENCRYPTION:
            return length + rest
        writer.write(b"N")


async def _postgresql_read(reader: StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(int.from_bytes(head[1:]) - 4)


# MariaDB: three octets of length, a number in the exchange, the rest. The server speaks first.


async def _mariadb_greet(_reader: StreamReader, _writer: StreamWriter) -> bytes:
    return b""


async def _mariadb_read(reader: StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(int.from_bytes(head[:3], "little"))


_PROTOCOLS = {
    "postgresql": _Protocol(
        _postgresql_greet,
        _postgresql_read,
        is_commit=lambda message: message[:1] == b"Q" and message[5:] == b"COMMIT\0",
        ends_answer=lambda message: message[:1] == b"Z",  # ReadyForQuery
    ),
    "mariadb": _Protocol(
        _mariadb_greet,
        _mariadb_read,
        is_commit=lambda message: message[3:] == b"\0\x03COMMIT",  # the exchange's first: COM_QUERY
        ends_answer=lambda _message: True,  # OK or ERR, each one packet
    ),
}
