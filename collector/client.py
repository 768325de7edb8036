"""A POP3 client whose server may be anybody: each line, answer, message and wait has its limit.

Nothing is said before TLS but STLS (RFC 2595 section 4), and nothing that came before it counts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from collector import wire
from collector.dial import Dialer, Line
from collector.plan import Entry
from collector.wire import Capabilities, Lines, Status
from intake.collect import Origin
from intake.spool import Incoming
from mail.errors import UpstreamFailed, UpstreamLogin, UpstreamTimeout
from net.targets import Target

BLOCK_OCTETS = 64 * 1024
# An answer must be whole after so many seconds, and one more for each RATE octets of it.
READ_S = 30.0
RATE = 1024
MESSAGE_S = 600.0  # for one message, however large
AHEAD = 8  # commands sent before the answer to the first of them
AHEAD_OCTETS = 1024 * 1024  # of messages asked for ahead
GOODBYE_S = 5.0
SLACK_OCTETS = 64 * 1024
# RFC 2449 section 8.1.1, RFC 3206: it is not the password that is wrong.
TEMPORARY = frozenset({"LOGIN-DELAY", "IN-USE", "SYS/TEMP"})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server may take; shorter in tests."""

    read_s: float = READ_S
    message_s: float = MESSAGE_S


@dataclass(frozen=True, slots=True)
class Account:
    """`secret` is written to the server and nowhere else."""

    username: str
    secret: str


class Session:
    """One connection with TLS, from the greeting on. Whatever it raises ends it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: Patience
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._patience = patience
        self._lines = Lines()
        self._deadline = 0.0
        self._allowed = 0.0
        self.capable = Capabilities()

    async def log_in(self, account: Account) -> None:
        """By AUTH PLAIN where it is offered, else USER and PASS. Raises UpstreamLogin."""
        self.capable = await self.capabilities()
        if self.capable.plain:
            response = wire.plain(account.username, account.secret)
            if len(response) <= wire.INITIAL_OCTETS:
                said = await self.ask(wire.command("AUTH PLAIN", response))
            else:
                said = await self.ask(wire.command("AUTH PLAIN"))
                if said.ok:
                    said = await self.ask(wire.command(response))
        else:
            said = await self.ask(wire.command("USER", account.username))
            if said.ok:
                said = await self.ask(wire.command("PASS", account.secret))
        if not said.ok:
            response = wire.plain(account.username, account.secret)
            words = wire.without(said.words, (account.secret, response))
            refused = said.code not in TEMPORARY
            raise UpstreamLogin(words or "no reason given", refused=refused)
        self.capable = await self.capabilities()  # RFC 2449 section 3: others may be told now

    async def capabilities(self) -> Capabilities:
        said = await self.ask(b"CAPA\r\n")
        if not said.ok:
            return Capabilities()
        return wire.capabilities(await self._listing(wire.CAPABILITIES))

    async def listing(self) -> list[Entry]:
        """All messages, with the provider's names for them. Raises UpstreamFailed without UIDL."""
        if self.capable.known and "UIDL" not in self.capable:
            raise UpstreamFailed(_NO_UIDL)
        if "PIPELINING" in self.capable:
            await self._send(b"LIST\r\nUIDL\r\n")
            sizes = await self._answered_listing("the provider refused LIST")
        else:
            await self._send(b"LIST\r\n")
            sizes = await self._answered_listing("the provider refused LIST")
            await self._send(b"UIDL\r\n")
        names = await self._answered_listing(_NO_UIDL)
        return wire.entries(sizes, names)

    async def messages(
        self, wanted: Sequence[Entry], begin: Callable[[Entry], Incoming]
    ) -> AsyncIterator[tuple[Entry, Incoming | None]]:
        """Each message in order, in what `begin` gives for it, whole; None if it was refused.

        The caller closes it. With PIPELINING some are asked for ahead.
        """
        ahead: deque[Entry] = deque()
        waiting = deque(wanted)
        most = AHEAD if "PIPELINING" in self.capable else 1
        while waiting or ahead:
            asked = bytearray()
            while waiting and (
                not ahead
                or (
                    len(ahead) < most
                    and sum(each.size for each in ahead) + waiting[0].size <= AHEAD_OCTETS
                )
            ):
                asked += wire.command("RETR", waiting[0].number)
                ahead.append(waiting.popleft())
            if asked:
                await self._send(bytes(asked))
            entry = ahead.popleft()
            self._begin_answer()
            said = wire.status(await self._line(wire.STATUS_OCTETS))
            if not said.ok:
                yield entry, None
                continue
            incoming = begin(entry)
            try:
                await self._message(entry, incoming)
            except BaseException:
                await incoming.close()
                raise
            yield entry, incoming

    async def delete(self, numbers: Sequence[int]) -> int:
        """How many the provider takes for deleted. They go at `quit`, and only then."""
        most = 50 if "PIPELINING" in self.capable else 1
        deleted = 0
        for at in range(0, len(numbers), most):
            some = numbers[at : at + most]
            await self._send(b"".join(wire.command("DELE", number) for number in some))
            for _ in some:
                self._begin_answer()
                deleted += wire.status(await self._line(wire.STATUS_OCTETS)).ok
        return deleted

    async def quit(self) -> None:
        """RFC 1939 section 6: now what was deleted goes. Raises UpstreamFailed if it does not."""
        said = await self.ask(b"QUIT\r\n")
        if not said.ok:
            raise UpstreamFailed("the provider did not delete what was to be deleted")

    async def ask(self, command: bytes) -> Status:
        await self._send(command)
        return await self.status()

    async def status(self) -> Status:
        self._begin_answer()
        return wire.status(await self._line(wire.STATUS_OCTETS))

    def origin(self, host: str) -> Origin:
        """Where its messages come from, for their trace line."""
        peer = self._writer.get_extra_info("peername")
        name, version, _ = self._writer.get_extra_info("cipher")
        return Origin(host, str(peer[0]), version, name)

    def close(self) -> None:
        """Says nothing any more."""
        self._writer.transport.abort()

    async def _message(self, entry: Entry, incoming: Incoming) -> None:
        """Octets until the dot line; what is behind it is the next answer's."""
        self._allowed = self._patience.message_s
        longest = 2 * entry.size + SLACK_OCTETS  # sizes that count LF as one octet are in use
        reader = incoming.reader
        block = self._lines.rest()
        while True:
            if block:
                await incoming.feed(block)
            if reader.ended:
                self._lines.feed(reader.rest)
                return
            if reader.size > longest:
                raise UpstreamFailed("the provider sends more than its listing says")
            block = await self._block()

    async def _answered_listing(self, refused: str) -> list[bytes]:
        said = await self.status()
        if not said.ok:
            raise UpstreamFailed(refused)
        return await self._listing(wire.LISTED)

    async def _listing(self, most: int) -> list[bytes]:
        """Lines until the dot."""
        found: list[bytes] = []
        while (line := await self._line(wire.LINE_OCTETS)) != b".":
            if len(found) >= most:
                raise UpstreamFailed(f"the provider lists more than {most:,}")
            found.append(line.removeprefix(b"."))
        return found

    async def _line(self, most: int) -> bytes:
        while (line := self._lines.line(most)) is None:
            self._lines.feed(await self._block())
        return line

    def _begin_answer(self) -> None:
        self._deadline = asyncio.get_running_loop().time() + self._patience.read_s
        self._allowed = float("inf")

    async def _block(self) -> bytes:
        """What comes next. Raises UpstreamTimeout when the answer takes too long."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout_at(min(self._deadline, began + self._allowed)):
                block = await self._reader.read(BLOCK_OCTETS)
        except TimeoutError as error:
            raise UpstreamTimeout("the provider is too slow") from error
        except OSError as error:
            raise UpstreamFailed("the connection to the provider broke") from error
        if not block:
            raise UpstreamFailed("the provider ended the connection")
        self._deadline += len(block) / RATE
        self._allowed -= loop.time() - began
        return block

    async def _send(self, octets: bytes) -> None:
        try:
            self._writer.write(octets)
            async with asyncio.timeout(self._patience.read_s):
                await self._writer.drain()
        except TimeoutError as error:
            raise UpstreamTimeout("the provider is too slow") from error
        except OSError as error:
            raise UpstreamFailed("the connection to the provider broke") from error


_NO_UIDL = "the provider has no UIDL: nothing would tell which messages are new"


@asynccontextmanager
async def session(
    dialer: Dialer, target: Target, port: int, patience: Patience
) -> AsyncIterator[Session]:
    """A connection with TLS whose greeting has come; it is cut at the end."""
    line = await dialer.dial(target, port)
    async with connected(dialer, line, patience) as found:
        yield found


@asynccontextmanager
async def connected(dialer: Dialer, line: Line, patience: Patience) -> AsyncIterator[Session]:
    """TLS on a line and the greeting, on whichever side of it that is."""
    try:
        if line.stls:
            await _start_tls(line, patience)
        reader, writer = await dialer.encrypt(line)
    except BaseException:
        line.socket.close()
        raise
    found = Session(reader, writer, patience)
    try:
        if not line.stls:
            greeting = await found.status()
            if not greeting.ok:
                words = wire.without(greeting.words, ())
                raise UpstreamFailed(f"the provider turned us away: {words}")
        yield found
    finally:
        found.close()


async def _start_tls(line: Line, patience: Patience) -> None:
    """RFC 2595 section 4. What came with the answer was not encrypted: it must be nothing."""
    loop = asyncio.get_running_loop()
    lines = Lines()
    try:
        async with asyncio.timeout(patience.read_s):
            for command in (b"", b"STLS\r\n"):
                if command:
                    await loop.sock_sendall(line.socket, command)
                while (answer := lines.line(wire.STATUS_OCTETS)) is None:
                    block = await loop.sock_recv(line.socket, wire.STATUS_OCTETS)
                    if not block:
                        raise UpstreamFailed("the provider ended the connection")
                    lines.feed(block)
                if not wire.status(answer).ok or lines:
                    raise UpstreamFailed("the provider does not begin TLS as it should")
    except TimeoutError as error:
        raise UpstreamTimeout("the provider is too slow") from error
    except OSError as error:
        raise UpstreamFailed("the connection to the provider broke") from error
