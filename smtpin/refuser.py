"""Tell mail apps that try to send that this server only receives.

A mail app that wants some outgoing server is pointed here. It shows its user the words of the
greeting; a refusal at MAIL or RCPT it would blame on the user's address.

IN        bound sockets, a TLS context, a `Limiter`
OUT       554 and a sentence; 221 to QUIT, 503 to all else; one `refuser.end` line in the log
NEVER     care what a line says, if it is not QUIT; take mail
FAILS     towards the client only
RFC       5321 section 3.1 (554 instead of 220, then wait for QUIT), 8314 section 3.3
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from socket import socket
from ssl import SSLContext
from typing import cast

import structlog

from net.accept import Listener, Tls, Visit
from net.limits import Limiter, Network
from smtpin.replies import BYE, Reply, not_now

LINES = 5  # of a client, then the connection is closed
LINE_OCTETS = 512  # RFC 5321 section 4.5.3.1.4
SECONDS = 10.0

ONLY_RECEIVES = Reply(554, "5.7.1", "This account only receives mail; pick another outgoing server")
ONLY_QUIT = Reply(503, "5.5.1", "only QUIT is left to say")

log = structlog.get_logger()


class Refuser:
    """Started once, stopped once, in one event loop."""

    def __init__(self, *, connections: Limiter, seconds: float = SECONDS) -> None:
        self._connections = connections
        self.seconds = seconds
        self._listeners: list[Listener] = []
        self._open: set[Refusal] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()

    def start(
        self, sockets: Sequence[socket], context: SSLContext, *, proxies: Sequence[Network] = ()
    ) -> None:
        """Serves on bound sockets, which are ours from here on."""
        listener = Listener(
            lambda visit: Refusal(self, visit),
            limiters=(self._connections,),
            tls=Tls(context, handshake_s=self.seconds, shutdown_s=self.seconds),
            proxies=proxies,
        )
        listener.start(sockets)
        self._listeners.append(listener)

    async def stop(self) -> None:
        """No new connections, and the end of those that are there: nothing is in hand."""
        for listener in self._listeners:
            listener.close()
        for refusal in tuple(self._open):
            refusal.cut("shutdown")
        await self._none_open.wait()

    def began(self, refusal: Refusal) -> None:
        self._open.add(refusal)
        self._none_open.clear()

    def ended(self, refusal: Refusal) -> None:
        self._open.remove(refusal)
        if not self._open:
            self._none_open.set()


class Refusal(asyncio.Protocol):
    """One client, in TLS."""

    def __init__(self, refuser: Refuser, visit: Visit) -> None:
        self._refuser = refuser
        self._visit = visit
        self._unread = b""
        self._lines = 0
        self._why = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._refuser.began(self)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._refuser.seconds, self._close, "timeout")
        if self._visit.refused:
            self._say(not_now(self._visit.refused.reason))
            self._close("refused")
        else:
            self._say(ONLY_RECEIVES)

    def data_received(self, data: bytes) -> None:
        if self._why:
            return
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines[: LINES - self._lines]:
            self._lines += 1
            quits = line.strip().upper() == b"QUIT"
            self._say(BYE if quits else ONLY_QUIT)
            if quits or self._lines == LINES:
                self._close("quit" if quits else "lines")
                return
        if len(self._unread) > LINE_OCTETS:
            self._close("line too long")

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._visit.leave()
        log.info(
            "refuser.end", peer=self._visit.peer.ip, lines=self._lines, why=self._why or "lost"
        )
        self._refuser.ended(self)

    def _say(self, reply: Reply) -> None:
        self._transport.write(bytes(reply))

    def cut(self, why: str) -> None:
        """At once."""
        self._why = self._why or why
        self._transport.abort()

    def _close(self, why: str) -> None:
        """When what is written has gone out, or when the client has had long enough to take it."""
        self._timer.cancel()
        self._why = self._why or why
        self._transport.close()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._refuser.seconds, self._transport.abort)
