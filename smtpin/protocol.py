"""One SMTP session on aiosmtpd 1.4.6.

aiosmtpd keeps the transaction's state and reads parameters. Replaced is what lets a stranger spend
much or lets us say more than is true: the loop over commands, STARTTLS, DATA, and what happens at
the end of a connection.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from functools import lru_cache

import structlog
from aiosmtpd import smtp
from structlog.contextvars import bind_contextvars

from intake.spool import Incoming, NoRoom
from mail.address import Path
from mail.errors import BadAddress
from net.accept import Visit
from smtpin import commands, replies
from smtpin.commands import ENDS_A_GROUP, WITHIN_A_GROUP
from smtpin.handler import Envelope, Handler, Session, Tls
from smtpin.limits import Shared
from smtpin.replies import Reply
from smtpin.tally import Tally

BLOCK_OCTETS = 64 * 1024
GROUP_OCTETS = 4096  # of replies that wait for others
CROWDED = 0.8  # of the places taken: those who only wait get less time
SHORTEST_S = 0.001  # aiosmtpd takes 0 for its own default

log = structlog.get_logger()


@lru_cache(maxsize=4)
def _settings(handler: Handler, tls: ssl.SSLContext | None) -> dict[str, object]:
    """What aiosmtpd's constructor sets, but for what belongs to one connection.

    It looks through all names of the handler and of itself, which costs as much as a message.
    """
    loop = asyncio.get_running_loop()
    made = smtp.SMTP(
        handler,
        data_size_limit=handler.limits.message_octets,
        enable_SMTPUTF8=True,
        hostname=handler.hostname,
        tls_context=tls,
        timeout=handler.limits.command_s,
        loop=loop,
    )
    stream = vars(asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=loop), loop=loop))
    own = {*stream, "loop", "_strong_reader", "_smtp_methods"}
    return {name: value for name, value in vars(made).items() if name not in own} | {
        "_auth_methods": {}  # nobody signs in
    }


class InboundSMTP(smtp.SMTP):
    """Speaks with one client. `why` is empty until the session has to end."""

    session: Session
    envelope: Envelope
    line_length_limit = 65_536  # the stream's buffer: reading pauses at twice that

    def __init__(
        self,
        handler: Handler,
        *,
        tls: ssl.SSLContext | None,
        visit: Visit,
        shared: Shared,
        sessions: set[InboundSMTP],
    ) -> None:
        vars(self).update(_settings(handler, tls))
        self.loop = asyncio.get_running_loop()
        asyncio.StreamReaderProtocol.__init__(
            self,
            asyncio.StreamReader(limit=self.line_length_limit, loop=self.loop),
            client_connected_cb=self._cb_client_connected,
            loop=self.loop,
        )
        self._handler = handler
        self._limits = handler.limits
        self._visit = visit
        self.peer = visit.peer
        self._trusted = visit.peer.within(shared.exempt)
        self._shared = shared
        self._sessions = sessions
        self._tally = Tally(handler.limits, self.loop.time())
        self._verb = ""
        self._idle = False
        self._group = bytearray()  # replies that wait for the next one
        self._wait_until = 0.0
        self._stopping = False
        self.why = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.session.peer = self.peer  # behind a proxy the transport's is another
        self._sessions.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Cancels nothing, unlike aiosmtpd: the session meets the end of its input."""
        self._stop_timer()
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self.transport = None

    def eof_received(self) -> bool:
        """Who only stops sending still gets the replies. TLS has no half-close."""
        asyncio.StreamReaderProtocol.eof_received(self)
        return not self._in_tls

    def _wait(self, seconds: float) -> None:
        """Starts the timer: by small steps, because others may come to need the place."""
        self._wait_until = self.loop.time() + seconds
        self._reset_timeout(max(min(seconds, self._limits.crowded_s), SHORTEST_S))

    def _timeout_cb(self) -> None:
        left = self._wait_until - self.loop.time()
        if left > SHORTEST_S and not (self._idle and self._crowded):
            self._reset_timeout(min(left, self._limits.crowded_s))
        else:
            self._leave(replies.TIMED_OUT, "timeout")

    @property
    def _crowded(self) -> bool:
        return len(self._sessions) >= CROWDED * self._shared.places

    def _stop_timer(self) -> None:
        assert self._timeout_handle is not None
        self._timeout_handle.cancel()

    @property
    def _in_tls(self) -> bool:
        return self.session.ssl is not None

    @property
    def _unread(self) -> bytearray:
        """Octets received and not yet read; asyncio has no public way to look at them."""
        octets: bytearray = self._reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001
        return octets

    def _leave(self, reply: Reply, why: str) -> None:
        """A last word from outside the session's own task; then closes."""
        self.why = why
        self._write(reply)
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
                await self._part(replies.not_now(self._visit.refused.reason), "refused")
            else:
                await self._converse()
        except (OSError, asyncio.IncompleteReadError):  # errors of TLS are of the first kind
            self.why = self.why or "lost"
        finally:
            self._visit.leave()
            self._sessions.discard(self)
            self._hang_up()
            log.info(
                "smtp.end",
                peer=self.peer.ip,
                kept=self._tally.kept,
                octets=self._tally.octets,
                refused=self._tally.refused,
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
            enough = self._tally.enough(self.loop.time(), within=self._in_transaction)
            if self._stopping:
                await self._part(replies.SHUTTING_DOWN, "shutdown")
            elif enough:
                await self._part(enough, enough.text)
            else:
                await self._next_command()

    @property
    def _in_transaction(self) -> bool:
        return self.envelope.mail_from is not None

    async def _next_command(self) -> None:
        left = self._tally.left_s(self.loop.time(), within=self._in_transaction)
        self._wait(min(self._limits.command_s, left))
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
        self._verb = ""
        command = commands.read(line)
        if isinstance(command, Reply):
            if command is replies.BARE_LF:
                # What follows it could be text to the sender and a command to us.
                self.why = "bare LF"
            await self.push(command)
        elif command.verb in ENDS_A_GROUP and self._unread:
            await self._part(replies.SPOKE_EARLY, "spoke early")
        else:
            self._verb = command.verb
            self.session.in_ascii = (command.argument or "").isascii()
            await getattr(self, f"smtp_{command.verb}")(command.argument)

    async def _part(self, reply: Reply, why: str) -> None:
        """The session's last reply."""
        self.why = why
        await self.push(reply)

    async def push(self, status: Reply | str | bytes) -> None:
        """Sends one reply; what aiosmtpd says in its own words goes out in ours."""
        reply = replies.of_stock(status, self._verb) if isinstance(status, str) else status
        assert isinstance(reply, Reply)
        if reply is replies.NO_SUCH_RECIPIENT and not self._trusted:
            self._shared.misses.take(self.peer)
            if self._shared.misses.wait_s(self.peer):
                self._tally.end_guessing()
        if self._tally.count(self._verb, reply, trusted=self._trusted):
            # Nothing is held meanwhile but the place.
            await asyncio.sleep(self._limits.pause_s)
        if reply.code == 421:
            self.why = self.why or "refused"
        if self._in_group and not self.why:
            self._group += bytes(reply)
            return
        if self._writer.is_closing():
            self.why = self.why or "lost"
            return
        self._write(reply)
        await self._writer.drain()

    @property
    def _in_group(self) -> bool:
        """RFC 2920 section 3.2: a reply may go out with that to the next line, which is here."""
        here = self._verb in WITHIN_A_GROUP and b"\n" in self._unread
        return here and len(self._group) < GROUP_OCTETS

    def _write(self, reply: Reply) -> None:
        if not self._writer.is_closing():
            self._writer.write(bytes(self._group) + bytes(reply))
        self._group.clear()

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

    def _create_session(self) -> Session:
        return Session(self.loop)

    def _getaddr(self, arg: str) -> tuple[Path | None, str | None]:  # type: ignore[override]
        """A path, which is always true, and the parameters behind it; None, None if malformed."""
        try:
            path, rest = Path.read(arg)
        except BadAddress:
            return None, None
        if rest and not rest.startswith(" "):
            return None, None
        # No parameter of ours has a value in Unicode, where digits and spaces are many.
        return path, rest.encode("ascii", "replace").decode("ascii")

    async def smtp_VRFY(self, _arg: str | None) -> None:
        await self.push(replies.NOT_TOLD)

    async def smtp_QUIT(self, arg: str | None) -> None:
        if arg:
            await self.push(replies.NO_ARGUMENT)
        else:
            await self._part(replies.BYE, "quit")

    async def smtp_MAIL(self, arg: str | None) -> None:
        if self._shared.octets.wait_s(self.peer):
            await self.push(replies.HOUR_SPENT)
        else:
            await super().smtp_MAIL(arg)

    async def smtp_STARTTLS(self, arg: str | None) -> None:
        """By the event loop's own TLS: aiosmtpd's way takes ten times the memory on uvloop."""
        if self._in_tls:
            await self.push(replies.IN_TLS)
        elif arg:
            await self.push(replies.NO_ARGUMENT)
        elif not self.tls_context:
            await self.push(replies.NO_TLS)
        else:
            await self.push(replies.TLS_READY)
            if self._unread:  # it came while the reply went out
                self.why = "spoke early"
                self.cut()
            elif not self.why:
                await self._start_tls(self.tls_context)

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        self._stop_timer()  # its reply would be plain text
        try:
            transport = await self.loop.start_tls(
                self._writer.transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._limits.handshake_s,
                ssl_shutdown_timeout=self._limits.linger_s,
            )
        except OSError:  # errors of TLS and timeouts are such
            transport = None
        # A connection closed in the handshake may end it without an exception too.
        cipher = transport.get_extra_info("cipher") if transport else None
        if transport is None or cipher is None:
            self.why = "no handshake"
            self.cut()
            return
        self._reader._transport = transport  # type: ignore[attr-defined]  # noqa: SLF001
        self._writer._transport = transport  # type: ignore[attr-defined]  # noqa: SLF001
        self.transport = transport
        # RFC 3207 section 4.2: what was said before is forgotten.
        self.envelope = self._create_envelope()
        self.session = self._create_session()
        self.session.peer = self.peer
        self.session.ssl = Tls(transport.get_extra_info("ssl_object").version(), cipher[0])

    async def smtp_DATA(self, arg: str | None) -> None:
        if not self.envelope.rcpt_tos:
            await self.push(replies.NO_RECIPIENTS)
            return
        if arg:
            await self.push(replies.NO_ARGUMENT)
            return
        await self.push(replies.GO_AHEAD)
        incoming = Incoming(self._shared.spool, self._limits.message_octets)
        try:
            # Until the end is found no octet can be a command: to leave early ends the session.
            self.why = "lost"
            await self._read_message(incoming)
            self._stop_timer()
            if not incoming.reader.ended or self._writer.is_closing():
                return
            self.why = ""
            reply = await self._keep(incoming)
        finally:
            self.envelope = self._create_envelope()
            self._wait(self._limits.command_s)
            await incoming.close()
        if reply is None:
            self.why = "too slow"
            self.cut()
            return
        await self.push(reply)

    async def _read_message(self, incoming: Incoming) -> None:
        """Reads up to the end, or as far as it is worth it, or as the peer sends."""
        limits, reader = self._limits, incoming.reader
        deadline = self.loop.time() + limits.message_s
        enough = 0
        while not reader.ended:
            if reader.size >= enough:
                enough = reader.size + limits.stretch_octets
                left = deadline - self.loop.time()
                if left <= 0:
                    self._leave(replies.TIMED_OUT, "timeout")
                    return
                self._wait(min(limits.stretch_s, left))
            block = await self._reader.read(BLOCK_OCTETS)
            if not block:
                return
            if not self._trusted:
                self._shared.octets.take(self.peer, len(block))
            await incoming.feed(block)
            if reader.hopeless:
                await self._part(replies.TOO_LARGE, "too large")
                return
        self._tally.octets += reader.size
        # Behind the end stands the next command.
        self._unread[:0] = reader.rest

    async def _keep(self, incoming: Incoming) -> Reply | None:
        self.envelope.ended = time.monotonic()
        if incoming.reader.too_large:
            return replies.TOO_LARGE
        if not incoming.reader.keeping:
            return replies.NO_MEMORY
        try:
            content, found = await incoming.whole(self._limits.turn_s)
        except NoRoom:
            return replies.NO_MEMORY
        if found:
            reply = replies.FINDINGS[found]
            log.info("smtp.refused", peer=self.peer.ip, code=reply.code, why=found.value)
            return reply
        self.envelope.content = content
        return await self._handler.handle_DATA(self, self.session, self.envelope)
