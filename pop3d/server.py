"""Serve POP3 over TLS: octets between sockets and engine, and the engine's actions performed.

IN        listening sockets and a TLS context; Store, Login and limits through the constructor
OUT       replies and messages; one `pop3.end` line in the log for each connection
MAY       check sign-ins; read messages and mark them as retrieved; remove messages when the
          engine says Commit
NEVER     look into a command; end a damaged or broken-off message with its dot; remove anything
          for a connection that was lost before QUIT, or give up a removal that has begun
FAILS     towards the client only: -ERR, or a closed connection
RFC       1939 sections 3 (idle clients) and 6 (UPDATE), 8314 sections 3.1 and 3.4 (TLS)
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import dataclass
from socket import socket
from ssl import SSLContext
from typing import TYPE_CHECKING, cast

import structlog

from mail.errors import Failure, MessageDamaged, OutcomeUnknown
from mail.lines import Stuffer, TopCut
from net.accept import Listener, Tls, Visit
from net.limits import Limiter, Network
from pop3d import replies
from pop3d.commands import TABLE
from pop3d.engine import Action, Close, Commit, Login, Send, SendMessage, Session

if TYPE_CHECKING:
    import auth.login
    from mail.ident import UniqueId
    from store.messages import OpenMessage
    from store.records import Account
    from store.store import Store
    from store.windows import Window

# For the context: the two behind it are there to be refused. Without a common name TLS would go
# on without ALPN, and a browser tricked into coming here would be let in (RFC 7301 section 3.2).
ALPN = ("pop3", "h2", "http/1.1")

# For `strangers`: connections that have not signed in, in all and per client.
UNAUTHENTICATED = 200
UNAUTHENTICATED_PER_CLIENT = 5

HIGH_WATER = 64 * 1024  # octets that may wait for a slow reader before we wait too
GATHERED = 16 * 1024  # of a message, before they are written

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pop3Limits:
    """In seconds."""

    handshake_s: float = 10
    login_s: float = 60
    idle_s: float = 600  # RFC 1939 section 3: at least 10 minutes
    session_s: float = 12 * 3600  # bodies outlive a session by far more
    write_stall_s: float = 60
    close_s: float = 10  # for the last octets and the client's own close


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
        self.login = login
        self.strangers = strangers
        self.limits = limits
        self._limiters = (connections, strangers)
        self.open: set[Connection] = set()
        self.none_open = asyncio.Event()
        self.none_open.set()
        self._listeners: list[Listener] = []

    def start(
        self, sockets: Sequence[socket], context: SSLContext, *, proxies: Sequence[Network] = ()
    ) -> None:
        """Serves on bound sockets, which are ours from here on, with TLS from the first octet."""
        tls = Tls(context, handshake_s=self.limits.handshake_s, shutdown_s=self.limits.close_s)
        listener = Listener(
            lambda visit: Connection(self, visit),
            limiters=self._limiters,
            tls=tls,
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

        A removal that has begun is awaited.
        """
        self.stop()
        try:
            async with asyncio.timeout(seconds):
                await self.none_open.wait()
        except TimeoutError:
            for connection in tuple(self.open):
                connection.cut("shutdown")
            await self.none_open.wait()

    def began(self, connection: Connection) -> None:
        self.open.add(connection)
        self.none_open.clear()

    def ended(self, connection: Connection) -> None:
        self.open.remove(connection)
        if not self.open:
            self.none_open.set()


class Connection(asyncio.Protocol):
    """One client. At most one owed action of the engine is under way, in a task."""

    def __init__(self, server: Pop3Server, visit: Visit) -> None:
        self._server = server
        self._visit = visit
        self.peer = visit.peer
        self._loop = asyncio.get_running_loop()
        self._session = Session(TABLE)
        self._account: Account | None = None
        self._window: Window | None = None
        self._sent: set[UniqueId] = set()  # whole, and nothing was heard of the client since
        self._owed: Action | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._stall: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._halfway = False  # part of a message is written
        self._lost = False
        self._why = ""  # set once it is closing
        self._retrieved = self._retrieved_octets = self._removed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._began = self._active = self._loop.time()
        self._context = copy_context()
        self._context.run(
            structlog.contextvars.bind_contextvars, cid=secrets.token_hex(4), peer=self.peer.ip
        )
        self._server.began(self)
        refused = self._visit.refused
        if refused is not None:
            self._transport.write(replies.too_many_connections(refused.retry_after_s))
            self._close("refused")
            return
        protocol = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        if protocol not in (None, ALPN[0]):
            self._close("alpn")
            return
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self._transport.write(replies.GREETING)
        self._look_at_clock()

    def data_received(self, data: bytes) -> None:
        if self._why:
            return
        self._active = self._loop.time()
        self._note_sent()
        owed = self._reply(self._session.receive(data))
        if owed:
            self._owed = owed
            self._task = self._loop.create_task(self._work(owed), context=self._context)
            self._task.add_done_callback(self._worked)
            self._steer_reading()

    def eof_received(self) -> None:
        """The transport closes by itself: TLS connections are not half-closed here."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        for timer in (self._watch, self._stall):
            if timer:
                timer.cancel()
        if self._task is None:
            self._end()
        elif not isinstance(self._owed, Commit):
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()
        self._stall = self._loop.call_later(
            self._server.limits.write_stall_s, self.cut, "write stall"
        )
        self._steer_reading()

    def resume_writing(self) -> None:
        if self._stall:
            self._stall.cancel()
        self._writable.set()
        self._steer_reading()

    def cut(self, why: str) -> None:
        """Ends the connection now; what is not written yet is dropped."""
        self._why = self._why or why
        self._transport.abort()

    def _close(self, why: str) -> None:
        """Ends the connection when what is written has gone out."""
        self._why = self._why or why
        # Octets left unread would make the TLS layer drop the close, and replies with it.
        self._transport.resume_reading()
        self._transport.close()

    def _end(self) -> None:
        self._visit.leave()
        self._context.run(
            log.info,
            "pop3.end",
            account=self._account.id if self._account else None,
            retr=f"{self._retrieved}/{self._retrieved_octets}",
            dele=self._removed,
            why=self._why or "lost",
        )
        if self._window is None:
            self._server.ended(self)
            return
        # Without QUIT the marks are written only now; `drain` waits for that.
        self._task = self._loop.create_task(self._write_marks(self._window), context=self._context)
        self._task.add_done_callback(lambda _task: self._server.ended(self))

    def _steer_reading(self) -> None:
        """TCP itself is the back-pressure: nothing is read that cannot be answered now."""
        if self._why:
            return
        if self._task is None and self._writable.is_set():
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _look_at_clock(self) -> None:
        """One timer for three limits: to sign in, to send something, to come to an end."""
        if self._watch:
            self._watch.cancel()
        limits, now = self._server.limits, self._loop.time()
        if self._account is None:
            due, why = self._began + limits.login_s, "login time"
        else:
            active = now if self._task else self._active
            due, why = min(
                (active + limits.idle_s, "idle"), (self._began + limits.session_s, "session time")
            )
        if now < due:
            self._watch = self._loop.call_at(due, self._look_at_clock)
        elif self._task:
            self.cut(why)
        else:
            self._close(why)  # RFC 1939 section 3: without a response

    def _reply(self, actions: list[Action]) -> Action | None:
        """Writes all replies at once, and gives the action that is owed a report, if one is."""
        octets = b"".join([action.data for action in actions if isinstance(action, Send)])
        if octets:
            self._transport.write(octets)
        if self._session.wants_input or not actions:
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
            if self._halfway:
                self.cut("fault")
            else:
                self._transport.write(replies.LOCAL_FAULT)
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
                return await self._log_in(user, secret)
            case SendMessage():
                return await self._send_message(owed)
            case Commit():
                return await self._commit(owed)
            case _:
                await self._writable.wait()
                await asyncio.sleep(0)  # a client that reads as fast as it asks is not alone here
                return self._session.sent()

    async def _log_in(self, user: str, secret: str) -> list[Action]:
        try:
            signed_in = await self._server.login.check(
                user, secret, self.peer, app_passwords_too=True
            )
            self._window = await self._server.store.windows.open(
                signed_in.account.maildrop_id, signed_in.credential.id
            )
        except Failure as failure:
            log.warning("pop3.refused", why=type(failure).__name__, facts=failure.facts)
            return self._session.login_refused(failure)
        self._account = signed_in.account
        self._visit.give_up(self._server.strangers)
        self._look_at_clock()
        return self._session.logged_in(self._window.entries)

    async def _send_message(self, action: SendMessage) -> list[Action]:
        assert self._account
        try:
            opened = await self._server.store.messages.open(self._account.maildrop_id, action.uid)
            await self._write_message(opened, action.body_lines)
        except Failure as failure:
            tell = log.error if isinstance(failure, MessageDamaged) else log.warning
            tell("pop3.unread", why=type(failure).__name__, facts=failure.facts)
            if self._halfway:
                self.cut("message broken off")
                return []
            return self._session.message_failed(failure)
        if action.body_lines is None:
            self._retrieved += 1
            self._retrieved_octets += action.size
            self._sent.add(action.uid)
        return self._session.sent()

    async def _write_message(self, opened: OpenMessage, body_lines: int | None) -> None:
        """First line, message, dot. A small message is one write, and then one TLS record."""
        message = opened.message
        stuffer = Stuffer() if message.dotted else None
        top = None if body_lines is None else TopCut(message.header_size, body_lines)
        waiting = replies.TOP_FOLLOWS if top else replies.message_follows(message.size)
        async for block in opened.blocks():
            cut = top.feed(block) if top else block
            waiting += stuffer.feed(cut) if stuffer else cut
            if len(waiting) >= GATHERED:
                self._halfway = True
                await self._write(waiting)
                waiting = b""
            if top and top.done:
                break
        await self._write(waiting + b".\r\n")
        self._halfway = False

    async def _write(self, octets: bytes) -> None:
        self._transport.write(octets)
        await self._writable.wait()

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

        What is still on its way to a client that is never heard again counts as not retrieved.
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
