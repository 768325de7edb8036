"""The SMTP listener: takes mail from strangers, keeps it, and only then says so.

IN        bound sockets; what `Limits` and `Shared` (smtpin/limits.py) and `Intake` name
OUT       calls of `Intake.deliver`; log lines smtp.kept, smtp.refused, smtp.fault, smtp.end
MAY       refuse connections, commands and messages; forget what it has not said 250 to; let
          large messages wait for their end in files without a name
NEVER     say 250 before `deliver` has returned; cut a delivery, whoever goes away; offer logins
          or send mail
FAILS     toward the peer only: every fault of ours is 451 4.3.0 with a constant text
RFC       5321 (SMTP), 1870 (SIZE), 2034 and 3463 (enhanced codes), 2920 (PIPELINING),
          3207 (STARTTLS), 6152 (8BITMIME), 6531 (SMTPUTF8), 9422 (LIMITS)
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Sequence

from net.accept import Listener, Visit
from net.limits import Network
from smtpin.handler import Handler
from smtpin.limits import Shared
from smtpin.protocol import InboundSMTP

STOP_S = 30  # for what is in hand when we stop


class SmtpServer:
    """Started once, stopped once, in one event loop."""

    def __init__(
        self,
        handler: Handler,
        *,
        tls: ssl.SSLContext | None,
        shared: Shared,
        proxies: Sequence[Network] = (),
    ) -> None:
        self._handler = handler
        self._tls = tls
        self._shared = shared
        self._sessions: set[InboundSMTP] = set()
        # Connections first: who is kept out for its misses may not ask as often as it likes.
        limiters = (shared.connections, shared.misses)
        self._listener = Listener(self._session, limiters=limiters, proxies=proxies)
        # aiosmtpd writes commands and addresses to this logger at INFO, message lines at DEBUG.
        logging.getLogger("mail.log").setLevel(logging.WARNING)

    def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serves on bound sockets, which are ours from here on."""
        self._listener.start(sockets)

    def _session(self, visit: Visit) -> InboundSMTP:
        return InboundSMTP(
            self._handler,
            visit=visit,
            tls=self._tls,
            shared=self._shared,
            sessions=self._sessions,
        )

    async def stop(self, grace_s: float = STOP_S) -> None:
        """No new connections; idle ones are closed; DATA in hand is finished, if in time.

        Returns when the last delivery has its result.
        """
        self._listener.close()
        sessions = [session.stop() for session in tuple(self._sessions)]
        if sessions:
            await asyncio.wait(sessions, timeout=grace_s)
        while self._handler.deliveries:
            await asyncio.wait(self._handler.deliveries)
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)
        self._shared.spool.close()
