"""One POP3 client: octets between its socket and the engine, and the engine's actions performed.

IN        a `Visit`; Store, Login and limits from the server that listens
OUT       replies and messages; one `pop3.end` line in the log
MAY       check sign-ins; read messages; remove messages when the engine says Commit
NEVER     look into a command; end a damaged or broken-off message with its dot; remove anything
          for a connection that was lost before QUIT, or give up a removal that has begun
FAILS     towards the client only: -ERR, or a closed connection
RFC       1939 sections 3 (idle clients) and 6 (UPDATE), 2595 section 4 (STLS), 7301 (ALPN)
"""

from __future__ import annotations

import asyncio
import secrets
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, cast

import structlog

from mail.errors import Failure, MessageDamaged, OutcomeUnknown
from net.accept import Tls, Visit
from net.metrics import POP3_REFUSED, POP3_SIGN_INS
from pop3d import replies
from pop3d.ahead import Ahead
from pop3d.commands import TABLE
from pop3d.engine import (
    Action,
    Close,
    Commit,
    Login,
    Send,
    SendListing,
    SendMessage,
    Session,
    StartTls,
    State,
)
from pop3d.outbox import Outbox

if TYPE_CHECKING:
    from mail.ident import UniqueId
    from pop3d.server import Pop3Server
    from store.records import Account
    from store.windows import Window

# For the context: the two behind it are there to be refused. Without a common name TLS would go
# on without ALPN, and a browser tricked into coming here would be let in (RFC 7301 section 3.2).
ALPN = ("pop3", "h2", "http/1.1")

log = structlog.get_logger()


class Connection(asyncio.BufferedProtocol):
    """One client. At most one owed action of the engine is under way, in a task."""

    # A thousand sessions may be idle at once: without these each would hold a dictionary.
    __slots__ = (
        *("peer", "_server", "_visit", "_loop", "_stls", "_session", "_account", "_owed", "_task"),
        *("_stall", "_closing", "_out", "_window", "_ahead", "_sent", "_pipelines", "_lost"),
        *("_why", "_retrieved", "_retrieved_octets", "_removed", "_transport", "_cid"),
        *("_began", "_active"),
    )

    def __init__(self, server: Pop3Server, visit: Visit, *, stls: Tls | None) -> None:
        self._server = server
        self._visit = visit
        self.peer = visit.peer
        self._cid = secrets.token_hex(4)
        self._loop = asyncio.get_running_loop()
        self._stls = stls
        self._session = Session(TABLE, State.CLEARTEXT if stls else State.AUTHORIZATION)
        self._account: Account | None = None
        self._owed: Action | None = None
        self._task: asyncio.Task[None] | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._closing: asyncio.TimerHandle | None = None
        self._out = Outbox()
        self._window: Window | None = None
        self._ahead: Ahead | None = None
        # Whole, and nothing was heard of the client since. A set takes more while it is empty.
        self._sent: dict[UniqueId, None] = {}
        self._pipelines = False  # it has sent commands without waiting for answers
        self._lost = False
        self._why = ""  # set once it is closing
        self._retrieved = self._retrieved_octets = self._removed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._out.use(self._transport)
        self._began = self._active = self._loop.time()
        self._server.began(self)
        refused = self._visit.refused
        if refused is not None:
            self._say(replies.too_many_connections(refused.retry_after_s))
            self._close("refused")
        elif self._came_for_pop3():
            self._say(replies.GREETING)
            self._out.flush()

    def _came_for_pop3(self) -> bool:
        in_tls = self._transport.get_extra_info("ssl_object")
        if in_tls is None or in_tls.selected_alpn_protocol() in (None, ALPN[0]):
            return True
        self._close("alpn")
        return False

    def _say(self, reply: replies.Reply) -> None:
        self._out.add(self._session.say(reply).data)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.received

    def buffer_updated(self, nbytes: int) -> None:
        self._received(bytes(self._server.received[:nbytes]))

    def _received(self, data: bytes) -> None:
        if self._why:
            return
        self._active = self._loop.time()
        if self._window:
            self._pipelines = self._pipelines or data.count(b"\n") > 1
            if not self._pipelines:
                self._note_sent()
        owed = self._reply(self._session.receive(data))
        while isinstance(owed, SendMessage) and self._send_at_hand(owed):
            owed = self._reply(self._message_sent(owed))
        if owed:
            self._owed = owed
            self._task = self._loop.create_task(self._work(owed), context=self._context())
            self._task.add_done_callback(self._worked)
            self._steer_reading()

    def _context(self) -> Context:
        """For what is logged on the way. A session at rest has none: it would take its place."""
        context = copy_context()
        bind = structlog.contextvars.bind_contextvars
        context.run(bind, cid=self._cid, peer=self.peer.ip)
        return context

    def eof_received(self) -> None:
        """The transport closes by itself: TLS connections are not half-closed here."""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        if isinstance(self._owed, StartTls):
            self._why = self._why or "handshake"
        for timer in (self._closing, self._stall):
            if timer:
                timer.cancel()
        if self._task is None:
            self._end()
        elif not isinstance(self._owed, Commit):
            self._task.cancel()

    def pause_writing(self) -> None:
        self._out.pause()
        self._stall = self._loop.call_later(
            self._server.limits.write_stall_s, self.cut, "write stall"
        )
        self._steer_reading()

    def resume_writing(self) -> None:
        if self._stall:
            self._stall.cancel()
        self._out.resume()
        self._steer_reading()

    def cut(self, why: str) -> None:
        """Ends the connection now; what is not written yet is dropped."""
        self._why = self._why or why
        self._transport.abort()

    def _close(self, why: str) -> None:
        """Ends the connection when what is written has gone out."""
        self._why = self._why or why
        self._out.flush()
        # Octets left unread would make the TLS layer drop the close, and replies with it.
        self._transport.resume_reading()
        self._transport.close()
        if self._closing:
            self._closing.cancel()
        # Without TLS the transport itself would wait for its reader for ever.
        self._closing = self._loop.call_later(self._server.limits.close_s, self._transport.abort)

    def _end(self) -> None:
        if self._account:
            self._server.sign_out(self._account, self.peer)
        self._visit.leave()
        log.info(
            "pop3.end",
            cid=self._cid,
            peer=self.peer.ip,
            account=self._account.id if self._account else None,
            retr=f"{self._retrieved}/{self._retrieved_octets}",
            dele=self._removed,
            why=self._why or "lost",
        )
        if self._window is None:
            self._server.ended(self)
            return
        # Without QUIT the marks are written only now; `drain` waits for that.
        writing = self._write_marks(self._window)
        self._task = self._loop.create_task(writing, context=self._context())
        self._task.add_done_callback(lambda _task: self._server.ended(self))

    def _steer_reading(self) -> None:
        """TCP itself is the back-pressure: nothing is read that cannot be answered now."""
        if self._why:
            return
        if self._task is None and self._out.writable:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def look_at_clock(self, now: float) -> None:
        """Ends the connection when it has come to a limit: to sign in, to send something, to come
        to an end, or that of a server that drains. `now` is of the loop's clock.
        """
        if self._why or self._lost:
            return
        limits = self._server.limits
        draining = self._server.draining_since
        active = now if self._task or not self._out.writable else self._active
        if draining is not None:
            due, why = max(active, draining) + limits.quiet_s, "shutdown"
        elif self._account is None:
            due, why = self._began + limits.login_s, "login time"
        else:
            due, why = min(
                (active + limits.idle_s, "idle"), (self._began + limits.session_s, "session time")
            )
        if now >= due and self._task:
            self.cut(why)
        elif now >= due:
            self._close(why)  # RFC 1939 section 3: without a response

    def _reply(self, actions: list[Action]) -> Action | None:
        """Gathers replies, and gives the action that is owed a report, if one is."""
        for action in actions:
            if isinstance(action, Send):
                self._out.add(action.data)
        if self._session.wants_input or not actions:
            self._out.flush()
            return None
        last = actions[-1]
        if isinstance(last, Close):
            self._close(last.why)
            return None
        return last

    async def _work(self, owed: Action | None) -> None:
        try:
            while owed:
                self._owed = owed
                owed = self._reply(await self._perform(owed))
        except Exception:  # the top of a connection: a fault of ours is a temporary one
            log.exception("pop3.fault")
            if self._out.halfway:
                self.cut("fault")
            else:
                self._say(replies.LOCAL_FAULT)
                self._close("fault")

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._task = self._owed = None
        self._active = self._loop.time()
        if self._lost:
            self._end()
        else:
            self._steer_reading()

    async def _perform(self, owed: Action) -> list[Action]:
        match owed:
            case Login(user, secret):
                self._out.flush()
                return await self._log_in(user, secret)
            case SendMessage():
                return await self._send_message(owed)
            case SendListing(blocks):
                await self._out.add_listing(blocks)
                return self._session.sent()
            case Commit():
                self._out.flush()
                return await self._commit(owed)
            case StartTls():
                self._out.flush()
                return await self._start_tls()
            case _:
                await self._out.flushed()
                await asyncio.sleep(0)  # a client that reads as fast as it asks is not alone here
                return self._session.sent()

    async def _start_tls(self) -> list[Action]:
        assert self._stls
        try:
            transport = await self._loop.start_tls(
                self._transport,
                self,
                self._stls.context,
                server_side=True,
                ssl_handshake_timeout=self._stls.handshake_s,
                ssl_shutdown_timeout=self._stls.shutdown_s,
            )
        except OSError as error:
            log.info("pop3.no_tls", why=str(error) or type(error).__name__)
            transport = None
        if transport is None or self._why:
            self._transport.abort()
            self.connection_lost(None)  # not every transport tells it from inside a handshake
            return []
        self._transport = transport
        self._out.use(transport)
        self._session = Session(TABLE)
        self._came_for_pop3()
        return []

    async def _log_in(self, user: str, secret: str) -> list[Action]:
        try:
            signed_in = await self._server.login.check(
                user, secret, self.peer, app_passwords_too=True
            )
            window = await self._server.store.windows.open(
                signed_in.account.maildrop_id, signed_in.credential.id
            )
            self._server.sign_in(signed_in.account, self.peer)
        except Failure as failure:
            self._server.metrics.add(POP3_REFUSED, type(failure).__name__)
            log.warning("pop3.refused", why=type(failure).__name__, facts=failure.facts)
            return self._session.login_refused(failure)
        self._server.metrics.add(POP3_SIGN_INS)
        self._account, self._window = signed_in.account, window
        self._visit.give_up(self._server.strangers)
        return self._session.logged_in(window.entries, window.entries.octets)

    async def _send_message(self, action: SendMessage) -> list[Action]:
        assert self._window
        self._ahead = self._ahead or Ahead(self._server.store.messages, self._window)
        try:
            opened = await self._ahead.open(action.uid)
            await self._out.add_message(opened, action)
        except Failure as failure:
            tell = log.error if isinstance(failure, MessageDamaged) else log.warning
            tell("pop3.unread", why=type(failure).__name__, facts=failure.facts)
            if self._out.halfway:
                self.cut("message broken off")
                return []
            return self._session.message_failed(failure)
        return self._message_sent(action)

    def _send_at_hand(self, action: SendMessage) -> bool:
        """Without a task, which would cost more than the message does."""
        if self._ahead is None or not self._out.writable:
            return False
        opened = self._ahead.at_hand(action.uid)
        if opened is None:
            return False
        self._out.add_whole(opened, action)
        return True

    def _message_sent(self, action: SendMessage) -> list[Action]:
        if action.body_lines is None:
            self._retrieved += 1
            self._retrieved_octets += action.size
            self._sent[action.uid] = None
        return self._session.sent()

    async def _commit(self, action: Commit) -> list[Action]:
        assert self._window
        self._note_sent()
        try:
            self._removed = await self._server.store.windows.update(self._window, action.uids)
        except OutcomeUnknown as unknown:
            log.error("pop3.unremoved", why=type(unknown).__name__)
            self.cut("outcome unknown")
            return []
        except Failure as failure:
            log.warning("pop3.unremoved", why=type(failure).__name__, facts=failure.facts)
            if action.uids:
                return self._session.commit_failed()
        return self._session.committed()

    def _note_sent(self) -> None:
        """A client that says something has got what was sent to it before.

        What is still on its way to a client that is never heard again counts as not retrieved. Of
        one that pipelines only QUIT tells how far it has read.
        """
        for uid in self._sent:
            assert self._window
            self._window.note(uid)
        self._sent.clear()

    async def _write_marks(self, window: Window) -> None:
        try:
            await self._server.store.windows.update(window)
        except Failure as failure:  # then these messages are offered once more
            log.warning("pop3.unmarked", why=type(failure).__name__, facts=failure.facts)
