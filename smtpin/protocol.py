"""One SMTP session on aiosmtpd 1.4.6.

aiosmtpd keeps the transaction's state, reads parameters and starts TLS. Replaced is what lets a
stranger spend much or lets us say more than is true: the loop over commands, DATA, and what
happens at the end of a connection.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import ssl
from contextlib import suppress

import structlog
from aiosmtpd import smtp
from structlog.contextvars import bind_contextvars

from mail.address import Path
from mail.errors import BadAddress
from net.accept import Visit
from net.limits import OctetBudget
from smtpin import replies
from smtpin.data import DataReader, finding
from smtpin.handler import Envelope, Handler
from smtpin.replies import Reply

BLOCK_OCTETS = 64 * 1024
COMMAND_OCTETS = 1_000  # with CRLF

VERBS = frozenset(
    ("EHLO", "HELO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "STARTTLS")
)
# RFC 2920 section 3.1: these end a group of pipelined commands; RFC 3207 section 4.
ENDS_A_GROUP = frozenset(("EHLO", "DATA", "STARTTLS"))
OTHER_PROTOCOLS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI")
)
_NOT_TEXT = re.compile(rb"[^\t -~]")

log = structlog.get_logger()


class InboundSMTP(smtp.SMTP):
    """Speaks with one client. `why` is empty until the session has to end."""

    line_length_limit = 65_536  # the stream's buffer: reading pauses at twice that

    def __init__(
        self,
        handler: Handler,
        *,
        tls: ssl.SSLContext | None,
        visit: Visit,
        budget: OctetBudget,
        sessions: set[InboundSMTP],
    ) -> None:
        super().__init__(
            handler,
            data_size_limit=handler.limits.message_octets,
            hostname=handler.hostname,
            tls_context=tls,
            timeout=handler.limits.command_s,
            loop=asyncio.get_running_loop(),
        )
        self._handler = handler
        self._limits = handler.limits
        self._visit = visit
        self.peer = visit.peer
        self._budget = budget
        self._sessions = sessions
        self._verb = ""
        self._idle = False
        self._stopping = False
        self._refusals = 0
        self.why = ""
        self.kept = self.octets = self.refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called again, by aiosmtpd, when TLS has been started."""
        super().connection_made(transport)
        self._sessions.add(self)
        assert self.session is not None
        # Behind a proxy the transport's is another.
        self.session.peer = (self.peer.ip, self.peer.port)  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        """Cancels nothing, unlike aiosmtpd: the session meets the end of its input."""
        self._stop_timer()
        if self._original_transport is not None:
            self._original_transport.close()
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self.transport = None

    def eof_received(self) -> bool:
        """Who only stops sending still gets the replies. TLS has no half-close."""
        asyncio.StreamReaderProtocol.eof_received(self)
        return not self._in_tls

    def _timeout_cb(self) -> None:
        self._leave(replies.TIMED_OUT, "timeout")

    def _stop_timer(self) -> None:
        assert self._timeout_handle is not None
        self._timeout_handle.cancel()

    @property
    def _in_tls(self) -> bool:
        return self.session is not None and self.session.ssl is not None

    @property
    def _unread(self) -> bytearray:
        """Octets received and not yet read; asyncio has no public way to look at them."""
        octets: bytearray = self._reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001
        return octets

    def _leave(self, reply: Reply, why: str) -> None:
        """A last word from outside the session's own task; then closes."""
        self.why = why
        in_handshake = self._tls_protocol is not None and not self._in_tls
        if not in_handshake and not self._writer.is_closing():
            self._writer.write(bytes(reply))
        self._hang_up()

    def _hang_up(self) -> None:
        """Closes once all is sent, or when the peer has had long enough to read it."""
        self._stop_timer()
        if self.transport is not None:
            self._writer.close()
            self._timeout_handle = self.loop.call_later(self._limits.linger_s, self.cut)

    def cut(self) -> None:
        """Ends the connection at once."""
        self._writer.transport.abort()

    def stop(self) -> asyncio.Task[None]:
        """Ends an idle session now, another after the command in hand. Gives the session's task."""
        self._stopping = True
        if self._idle:
            self._leave(replies.SHUTTING_DOWN, "shutdown")
        assert self._handler_coroutine is not None
        return self._handler_coroutine

    async def _handle_client(self) -> None:
        """From accept to close, as a task that aiosmtpd starts; one log line at the end of it."""
        bind_contextvars(cid=secrets.token_hex(4))
        try:
            if self._visit.refused:
                await self._part(replies.TOO_MANY_CONNECTIONS, "refused")
            else:
                await self._converse()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.why = self.why or "lost"
        finally:
            self._visit.leave()
            self._sessions.discard(self)
            self._hang_up()
            log.info(
                "smtp.end",
                peer=self.peer.ip,
                kept=self.kept,
                octets=self.octets,
                refused=self.refused,
                why=self.why or "cancelled",
            )

    async def _converse(self) -> None:
        # One turn of the loop, for octets that are here already: the server speaks first.
        await asyncio.sleep(0)
        if self._unread:
            await self._part(replies.SPOKE_EARLY, "spoke early")
        else:
            await self.push(replies.banner(self.hostname))
        while not self.why:
            if self._stopping:
                await self._part(replies.SHUTTING_DOWN, "shutdown")
            elif self._refusals >= self._limits.refusals:
                await self._part(replies.TOO_MANY_REFUSALS, "too many refusals")
            else:
                await self._next_command()

    async def _next_command(self) -> None:
        self._reset_timeout()
        self._idle = True
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            await self._part(replies.LINE_TOO_LONG, "line too long")
            return
        finally:
            self._idle = False
        if self.why:  # told to leave in the turn of the loop that brought the line
            return
        try:
            await self._obey(line)
        except Exception as error:
            if isinstance(error, ConnectionError) and self.transport is None:
                raise
            await self.push(await self.handle_exception(error))

    async def _obey(self, line: bytes) -> None:
        verb_octets, _, argument = line[:-2].partition(b" ")
        verb = verb_octets.upper().decode("ascii", "replace")
        if not line.endswith(b"\r\n"):
            # What follows a bare LF could be text to the sender and a command to us.
            await self._part(replies.BAD_LINE, "bare LF")
        elif len(line) > COMMAND_OCTETS:
            await self.push(replies.LINE_TOO_LONG)
        elif line != b"\r\n" and (verb in OTHER_PROTOCOLS or not line[:1].isalpha()):
            await self._part(replies.NOT_SMTP, "not SMTP")
        elif not verb or _NOT_TEXT.search(line[:-2]):
            await self.push(replies.BAD_LINE)
        elif verb not in VERBS:
            await self.push(replies.UNKNOWN_COMMAND)
        elif verb in ENDS_A_GROUP and self._unread:
            await self._part(replies.SPOKE_EARLY, "spoke early")
        else:
            self._verb = verb
            await self._smtp_methods[verb](argument.strip().decode("ascii") or None)

    async def _part(self, reply: Reply, why: str) -> None:
        """The session's last reply."""
        self.why = why
        await self.push(reply)

    async def push(self, status: Reply | str | bytes) -> None:
        """Sends one reply; what aiosmtpd says in its own words goes out in ours."""
        reply = replies.of_stock(status, self._verb) if isinstance(status, str) else status
        assert isinstance(reply, Reply)
        if reply.code >= 400:
            self.refused += 1
            # A long list of full mailboxes is no attack: its sender comes back with the rest.
            self._refusals += not (self._verb == "RCPT" and reply.code < 500)
        if reply.code == 421:
            self.why = self.why or "refused"
        if self._writer.is_closing():
            self.why = self.why or "lost"
            return
        self._writer.write(bytes(reply))
        await self._writer.drain()

    async def handle_exception(self, error: Exception) -> Reply:  # type: ignore[override]
        """A fault of ours: logged in full, told in a constant, always temporary.

        There is nothing to undo: a command changes the session as its last act, and DATA has
        ended its transaction.
        """
        log.error("smtp.fault", peer=self.peer.ip, verb=self._verb, exc_info=error)
        if self.why:
            self.why = "fault"
        return replies.LOCAL_FAULT

    def _create_envelope(self) -> Envelope:
        return Envelope()

    def _getaddr(self, arg: str) -> tuple[Path | None, str | None]:  # type: ignore[override]
        """A path, which is always true, and the parameters behind it; None, None if malformed."""
        try:
            path, rest = Path.read(arg)
        except BadAddress:
            return None, None
        return (None, None) if rest and not rest.startswith(" ") else (path, rest)

    async def smtp_VRFY(self, _arg: str | None) -> None:
        await self.push(replies.NOT_TOLD)

    async def smtp_QUIT(self, arg: str | None) -> None:
        if arg:
            await self.push(replies.NO_ARGUMENT)
        else:
            await self._part(replies.BYE, "quit")

    async def smtp_STARTTLS(self, arg: str | None) -> None:
        if self._in_tls:
            await self.push(replies.IN_TLS)
            return
        self._reset_timeout(self._limits.handshake_s)
        with suppress(smtp.TLSSetupException):
            await super().smtp_STARTTLS(arg or "")
        # A connection closed in the handshake may end it without an exception too.
        if self._tls_protocol is not None and not self._in_tls:
            self.why = self.why or "no handshake"

    async def smtp_DATA(self, arg: str | None) -> None:
        assert isinstance(self.envelope, Envelope)
        if not self.envelope.rcpt_tos:
            await self.push(replies.NO_RECIPIENTS)
            return
        if arg:
            await self.push(replies.NO_ARGUMENT)
            return
        await self.push(replies.GO_AHEAD)
        reader = DataReader(self._limits.message_octets)
        share = _Share(self._budget)
        try:
            # Until the end is found no octet can be a command: to leave early ends the session.
            self.why = "lost"
            await self._read_message(reader, share)
            self._stop_timer()
            if not reader.ended or self._writer.is_closing():
                return
            self.why = ""
            reply = await self._keep(reader)
        finally:
            share.give_back()
            self.envelope = self._create_envelope()
            self._reset_timeout()
        if reply is None:
            self.why = "too slow"
            self.cut()
            return
        self.kept += reply.code == 250
        await self.push(reply)

    async def _read_message(self, reader: DataReader, share: _Share) -> None:
        """Reads up to the end, or as far as it is worth it, or as the peer sends."""
        limits = self._limits
        deadline = self.loop.time() + limits.message_s
        enough = 0
        while not reader.ended:
            if reader.size >= enough:
                enough = reader.size + limits.stretch_octets
                left = deadline - self.loop.time()
                if left <= 0:
                    self._timeout_cb()
                    return
                self._reset_timeout(min(limits.stretch_s, left))
            block = await self._reader.read(BLOCK_OCTETS)
            if not block:
                return
            if reader.keeping and not share.take(len(block)):
                reader.discard()
            reader.feed(block)
            if not reader.keeping:
                share.give_back()
            if reader.hopeless:
                await self._part(replies.TOO_LARGE, "too large")
                return
        self.octets += reader.size
        # Behind the end stands the next command.
        self._unread[:0] = reader.rest

    async def _keep(self, reader: DataReader) -> Reply | None:
        if reader.too_large:
            return replies.TOO_LARGE
        if not reader.keeping:
            return replies.NO_MEMORY
        content = reader.content()
        found = finding(content)
        if found:
            reply = replies.FINDINGS[found]
            log.info("smtp.refused", peer=self.peer.ip, code=reply.code, why=found.value)
            return reply
        assert isinstance(self.envelope, Envelope)
        assert self.session is not None
        self.envelope.content = content
        return await self._handler.handle_DATA(self, self.session, self.envelope)


class _Share:
    """What one message holds of the octet budget."""

    def __init__(self, budget: OctetBudget) -> None:
        self._budget = budget
        self._taken = 0

    def take(self, octets: int) -> bool:
        taken = self._budget.take(octets)
        self._taken += octets if taken else 0
        return taken

    def give_back(self) -> None:
        self._budget.give(self._taken)
        self._taken = 0
