"""Listen for POP3: connections are let in, counted and, at the end, drained.

IN        listening sockets and a TLS context; Store, Login and limits through the constructor
OUT       a `Connection` for each client, in TLS from the first octet or by STLS
MAY       what `pop3d.connection` may
NEVER     let a client in before the limits were asked
FAILS     towards the client only: -ERR, or a closed connection
RFC       8314 sections 3.1 and 3.4 (TLS from the first octet), 2595 section 4 (STLS)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from socket import socket
from ssl import SSLContext
from typing import TYPE_CHECKING

from mail.errors import TooMany
from net.accept import Listener, Tls
from net.limits import Limiter, Network, Peer
from net.metrics import Counts, Metrics
from pop3d.connection import Connection

if TYPE_CHECKING:
    import auth.login
    from store.records import Account
    from store.store import Store

# For `strangers`: connections that have not signed in, in all and per client.
UNAUTHENTICATED = 200
UNAUTHENTICATED_PER_CLIENT = 5

SESSIONS = 10  # of one account from one client at a time
SESSIONS_RETRY_S = 10


@dataclass(frozen=True, slots=True)
class Pop3Limits:
    """In seconds."""

    handshake_s: float = 10
    login_s: float = 60
    idle_s: float = 600  # RFC 1939 section 3: at least 10 minutes
    session_s: float = 12 * 3600  # bodies outlive a session by far more
    write_stall_s: float = 60
    close_s: float = 10  # for the last octets and the client's own close
    quiet_s: float = 1  # at the end of the server, for a command that is on its way


# Octets read at a time: all that a TLS layer holds. What is left there when a connection is closed
# would reach its client as a reset, before the last reply.
RECEIVED = 256 * 1024


class Pop3Server:
    """Listens, and keeps the connections. `stop` ends the first, `drain` the others."""

    def __init__(
        self,
        store: Store,
        login: auth.login.Login,
        *,
        connections: Limiter,
        strangers: Limiter,
        limits: Pop3Limits = Pop3Limits(),
    ) -> None:
        self.store = store
        self.metrics: Counts = Metrics()  # of its own, unless it is given others
        self.login = login
        self.strangers = strangers
        self.limits = limits
        self._limiters = (connections, strangers)
        self._sessions: Counter[tuple[int, str]] = Counter()
        self.open: set[Connection] = set()
        # For all connections: each takes its octets out at once. Without it every record of TLS
        # would be read into 256 KiB that are asked of the system and given back.
        self.received = memoryview(bytearray(RECEIVED))
        self.none_open = asyncio.Event()
        self.none_open.set()
        self.draining_since: float | None = None  # by the loop's clock
        self._clocks: asyncio.TimerHandle | None = None
        self._listeners: list[Listener] = []

    def start(
        self,
        sockets: Sequence[socket],
        context: SSLContext,
        *,
        stls: bool = False,
        proxies: Sequence[Network] = (),
    ) -> None:
        """Serves on bound sockets, which are ours from here on.

        TLS begins with the first octet, or with the command STLS.
        """
        tls = Tls(context, handshake_s=self.limits.handshake_s, shutdown_s=self.limits.close_s)
        listener = Listener(
            lambda visit: Connection(self, visit, stls=tls if stls else None),
            limiters=self._limiters,
            tls=None if stls else tls,
            proxies=proxies,
        )
        listener.start(sockets)
        self._listeners.append(listener)

    def stop(self) -> None:
        """No new connections."""
        for listener in self._listeners:
            listener.close()

    async def drain(self, seconds: float) -> None:
        """Returns when every session has ended; those that take longer than this are cut.

        One that has no command in hand ends as if it had been idle. A removal that has begun is
        awaited.
        """
        self.stop()
        self.draining_since = asyncio.get_running_loop().time()
        self._look_at_clocks()
        try:
            async with asyncio.timeout(seconds):
                await self.none_open.wait()
        except TimeoutError:
            for connection in tuple(self.open):
                connection.cut("shutdown")
            await self.none_open.wait()

    def sign_in(self, account: Account, peer: Peer) -> None:
        """Counts a session; `sign_out` ends it. Raises TooMany."""
        if self._sessions[account.id, peer.key] >= SESSIONS:
            raise TooMany("too many sessions", retry_after_s=SESSIONS_RETRY_S)
        self._sessions[account.id, peer.key] += 1

    def sign_out(self, account: Account, peer: Peer) -> None:
        key = account.id, peer.key
        self._sessions[key] -= 1
        if not self._sessions[key]:
            del self._sessions[key]

    def began(self, connection: Connection) -> None:
        self.open.add(connection)
        self.none_open.clear()
        if self._clocks is None:
            self._set_clocks()

    def ended(self, connection: Connection) -> None:
        self.open.remove(connection)
        if not self.open:
            self.none_open.set()

    def _look_at_clocks(self) -> None:
        """One timer for all connections: one of each would take half a kilobyte."""
        now = asyncio.get_running_loop().time()
        for connection in tuple(self.open):
            connection.look_at_clock(now)
        self._set_clocks()

    def _set_clocks(self) -> None:
        """Looked at so often that none is late by more than a quarter of its limit, or a second."""
        if self._clocks:
            self._clocks.cancel()
        self._clocks = None
        if self.open:
            limits = self.limits
            shortest = min(limits.login_s, limits.idle_s, limits.session_s, 4)
            seconds = (shortest if self.draining_since is None else limits.quiet_s) / 4
            loop = asyncio.get_running_loop()
            self._clocks = loop.call_later(seconds, self._look_at_clocks)
