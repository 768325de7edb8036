"""Take connections from listening sockets: whose it is, whether it may come in, TLS; then hand on.

IN        bound sockets; `Limiter`s; networks of trusted proxies; what makes a protocol of a Visit
OUT       a protocol on each connection, in TLS where a context is given
MAY       read a PROXY header from a trusted proxy; close a connection without a word
NEVER     read an octet that is not the header's; do a handshake for a client far over its rate;
          log more than a line a second when descriptors run out
FAILS     towards the client only
RFC       8446 (TLS); PROXY protocol versions 1 and 2
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from net import proxy
from net.limits import Connections, Limiter, Network, Peer, Refused
from net.listen import BACKLOG

PROXY_HEADER_S = 10
ACCEPTS_AT_ONCE = 64  # before others have their turn
TOLD_AT_ONCE = 100  # refused clients that may have a handshake, to be told why
NO_ROOM_S = 1.0  # until the next try when descriptors or memory ran out
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = structlog.get_logger()


@dataclass(slots=True)
class Visit:
    """One connection: its client, and its places in the counts.

    With `refused` set the protocol's part is to say so and close. It calls `leave` when the
    connection has ended, and may give up one count before.
    """

    peer: Peer
    refused: Refused | None = None
    _held: list[Limiter] = field(default_factory=list)

    async def enter(self, limiters: Sequence[Limiter]) -> None:
        """Takes a place in each; in none, and is refused, if one has none."""
        for limiter in limiters:
            self.refused = await self.hold(limiter)
            if self.refused:
                self.leave()
                return

    async def hold(self, limiter: Limiter) -> Refused | None:
        refused = await limiter.admit(self.peer)
        if not refused:
            self._held.append(limiter)
        return refused

    def give_up(self, limiter: Limiter) -> None:
        """No longer counted there; once only."""
        self._held.remove(limiter)
        limiter.release(self.peer)

    def leave(self) -> None:
        """No longer counted anywhere. May be called again."""
        while self._held:
            self._held.pop().release(self.peer)


MakeProtocol = Callable[[Visit], asyncio.Protocol | asyncio.BufferedProtocol]


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS from the first octet on."""

    context: ssl.SSLContext
    handshake_s: float = 10
    shutdown_s: float = 10


class Listener:
    """Listening sockets of one kind. `start`, then `close`, once each, in one event loop."""

    def __init__(
        self,
        make: MakeProtocol,
        *,
        limiters: Sequence[Limiter],
        tls: Tls | None = None,
        proxies: Sequence[Network] = (),
    ) -> None:
        self._make = make
        self._limiters = limiters
        self._tls = tls
        self._proxies = proxies
        self._sockets: list[socket.socket] = []
        self._entering: set[asyncio.Task[None]] = set()
        self._told = Connections(total=TOLD_AT_ONCE, clock=time.monotonic)
        self._closed = False

    def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serves on bound sockets, which are ours from here on."""
        self._loop = asyncio.get_running_loop()
        for listening in sockets:
            listening.listen(BACKLOG)
            self._sockets.append(listening)
            self._loop.add_reader(listening, self._accept, listening)

    def close(self) -> None:
        """No new connections. Those in their handshake are left to finish it."""
        self._closed = True
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                accepted, name = listening.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                log.error("accept.no_room", why=error.strerror)
                self._loop.remove_reader(listening)
                self._loop.call_later(NO_ROOM_S, self._resume, listening)
                return
            task = self._loop.create_task(self._enter(accepted, Peer.of(name)))
            # The event loop has only weak references to tasks.
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)

    def _resume(self, listening: socket.socket) -> None:
        if not self._closed:
            self._loop.add_reader(listening, self._accept, listening)

    async def _enter(self, accepted: socket.socket, peer: Peer) -> None:
        accepted.setblocking(False)
        visit = Visit(peer)
        try:
            if peer.within(self._proxies):
                visit.peer = await self._client_of(accepted, peer)
            await visit.enter(self._limiters)
            # To be told why costs a handshake: not for clients far over their rate, nor for many.
            if visit.refused and (visit.refused.silent or await visit.hold(self._told)):
                accepted.close()
                return
            await self._hand_on(accepted, visit)
        except (proxy.BadHeader, TimeoutError, OSError, ssl.SSLError) as error:
            log.info("accept.lost", peer=visit.peer.ip, why=str(error) or type(error).__name__)
            visit.leave()
            accepted.close()
        except BaseException:
            visit.leave()
            accepted.close()
            raise

    async def _hand_on(self, accepted: socket.socket, visit: Visit) -> None:
        tls = self._tls
        made = self._make(visit)
        if tls is None:
            await self._loop.connect_accepted_socket(lambda: made, accepted)
            return
        await self._loop.connect_accepted_socket(
            lambda: made,
            accepted,
            ssl=tls.context,
            ssl_handshake_timeout=tls.handshake_s,
            ssl_shutdown_timeout=tls.shutdown_s,
        )

    async def _client_of(self, accepted: socket.socket, sender: Peer) -> Peer:
        """The client that the header names, or the proxy where it names none.

        Octets are looked at before they are taken: what follows the header belongs to TLS or to
        the protocol. Raises BadHeader, TimeoutError, OSError.
        """
        header = b""
        async with asyncio.timeout(PROXY_HEADER_S):
            while True:
                await self._readable(accepted)
                ahead = accepted.recv(proxy.LONGEST, socket.MSG_PEEK)
                if not ahead:
                    raise ConnectionResetError("closed before its PROXY header")
                found = proxy.read(header + ahead)
                ours = found[0] - len(header) if found else len(ahead)
                header += accepted.recv(ours)
                if found:
                    return found[1] or sender

    async def _readable(self, accepted: socket.socket) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(accepted, _settle, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(accepted)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
