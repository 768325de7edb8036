"""What the commands mean here: aiosmtpd finds these hooks by name and sends what they return."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from aiosmtpd import smtp

from intake.deliver import Arrival, Kept
from intake.recipients import Recipient
from mail.address import Address, Path
from mail.errors import Failure, OutcomeUnknown
from net.limits import Peer
from net.metrics import MAIL_KEPT, MAIL_OCTETS, MAIL_REFUSED, Counts, Metrics
from smtpin import replies
from smtpin.limits import Limits
from smtpin.replies import Reply

_HOST = re.compile(r"[!-~]{1,255}")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Intake:
    """The two calls this folder makes."""

    resolve: Callable[[Address], Awaitable[Recipient]]
    deliver: Callable[[Arrival], Awaitable[Kept]]


class Envelope(smtp.Envelope):
    """One mail transaction. `mail_from` is a Path, so the null sender counts as given too."""

    mail_from: Path | None  # type: ignore[assignment]  # aiosmtpd asks only whether it is true
    rcpt_tos: list[Recipient]  # type: ignore[assignment]  # likewise
    content: bytes | None
    ended: float | None = None  # when the last octet of it had come


@dataclass(frozen=True, slots=True)
class Tls:
    """As OpenSSL calls them."""

    version: str
    cipher: str


class Session(smtp.Session):
    """`peer` is the client, behind a proxy too; `ssl` tells what TLS agreed on, None without it."""

    peer: Peer  # type: ignore[assignment]
    ssl: Tls | None  # type: ignore[assignment]
    in_ascii: bool = True  # the command in hand


class Handler:
    """One for all sessions of a listener."""

    def __init__(
        self, *, hostname: str, limits: Limits, intake: Intake, metrics: Counts | None = None
    ) -> None:
        self.hostname = hostname
        self.limits = limits
        self._intake = intake
        self._metrics = metrics or Metrics()
        # The event loop has only weak references to tasks.
        self.deliveries: set[asyncio.Task[Reply | None]] = set()

    async def handle_HELO(
        self, _server: smtp.SMTP, session: Session, _envelope: Envelope, host: str
    ) -> Reply:
        if not _HOST.fullmatch(host):
            return replies.BAD_HELO
        session.host_name = host
        return replies.hello(self.hostname)

    async def handle_EHLO(
        self,
        server: smtp.SMTP,
        session: Session,
        _envelope: Envelope,
        host: str,
        _stock: list[str],
    ) -> list[Reply]:
        """One reply, so that it goes out in one write."""
        if not _HOST.fullmatch(host):
            return [replies.BAD_HELO]
        session.host_name = host
        extensions = [
            f"SIZE {self.limits.message_octets}",
            "8BITMIME",
            "SMTPUTF8",
            "PIPELINING",
            "ENHANCEDSTATUSCODES",
            f"LIMITS RCPTMAX={self.limits.recipients}",
        ]
        if server.tls_context and not session.ssl:
            extensions.append("STARTTLS")
        return [replies.hello(self.hostname, *extensions)]

    async def handle_MAIL(
        self,
        _server: smtp.SMTP,
        session: Session,
        envelope: Envelope,
        path: Path,
        options: list[str],
    ) -> Reply:
        if path.address and not path.address.domain:
            return replies.BAD_SENDER  # only RCPT knows a bare Postmaster
        if not session.in_ascii and not envelope.smtp_utf8:
            return replies.NOT_ASCII
        envelope.mail_from = path
        envelope.mail_options.extend(options)
        return replies.SENDER_OK

    async def handle_RCPT(
        self,
        _server: smtp.SMTP,
        session: Session,
        envelope: Envelope,
        path: Path,
        _options: list[str],
    ) -> Reply:
        if path.address is None:
            return replies.BAD_RECIPIENT
        if not session.in_ascii and not envelope.smtp_utf8:
            return replies.NOT_ASCII
        if len(envelope.rcpt_tos) >= self.limits.recipients:
            return replies.TOO_MANY_RECIPIENTS
        try:
            recipient = await self._intake.resolve(path.address)
        except Failure as failure:
            return self._refused(failure, session.peer)
        if recipient.tls and not session.ssl:
            return replies.TLS_FIRST
        if recipient.max_octets is not None and _declared(envelope) > recipient.max_octets:
            return replies.TOO_LARGE_HERE
        envelope.rcpt_tos.append(recipient)
        return replies.RECIPIENT_OK

    async def handle_DATA(
        self, _server: smtp.SMTP, session: Session, envelope: Envelope
    ) -> Reply | None:
        """The reply once the message is kept or refused; None if that takes too long to wait for.

        What became of it is unknown then, so nothing may be said: the sender tries again.
        """
        assert envelope.mail_from is not None
        assert envelope.content is not None
        assert session.host_name is not None
        peer = session.peer
        arrival = Arrival(
            peer_ip=peer.ip,
            helo=session.host_name,
            protocol=_protocol(session),
            tls_version=session.ssl.version if session.ssl else None,
            cipher=session.ssl.cipher if session.ssl else None,
            smtputf8=envelope.smtp_utf8,
            sender=envelope.mail_from.address,
            recipients=tuple(envelope.rcpt_tos),
            content=envelope.content,
            ended=envelope.ended,
        )
        delivery = asyncio.create_task(self._keep(arrival, peer))
        self.deliveries.add(delivery)
        delivery.add_done_callback(self.deliveries.discard)
        # `wait` leaves the task alone when it is itself cancelled or out of time: a commit that
        # has begun is never cut.
        await asyncio.wait({delivery}, timeout=self.limits.keep_s)
        return delivery.result() if delivery.done() else None

    async def _keep(self, arrival: Arrival, peer: Peer) -> Reply | None:
        started = time.monotonic()
        try:
            kept = await self._intake.deliver(arrival)
        except OutcomeUnknown:
            return None
        except Failure as failure:
            return self._refused(failure, peer)
        self._metrics.add(MAIL_KEPT)
        self._metrics.add(MAIL_OCTETS, by=kept.size)
        log.info(
            "smtp.kept",
            peer=peer.ip,
            uid=str(kept.uid),
            size=kept.size,
            to=len(arrival.recipients),
            ms=round(1000 * (time.monotonic() - started)),
        )
        return replies.kept(kept.uid)

    def _refused(self, failure: Failure, peer: Peer) -> Reply:
        reply = replies.render(failure)
        why = type(failure).__name__
        self._metrics.add(MAIL_REFUSED, why)
        told = {**failure.facts, "peer": peer.ip, "code": reply.code, "why": why}
        log.info("smtp.refused", **told)
        return reply


def _declared(envelope: Envelope) -> int:
    """What SIZE says (RFC 1870); 0 without it. aiosmtpd has seen that it is a number."""
    sizes = [each[5:] for each in envelope.mail_options if each.upper().startswith("SIZE=")]
    return int(sizes[0]) if sizes else 0


def _protocol(session: Session) -> str:
    """RFC 3848."""
    if not session.extended_smtp:
        return "SMTP"
    return "ESMTPS" if session.ssl else "ESMTP"
