"""A live server for tests: the whole program on ports of its own, with its real store.

It runs in a thread with an event loop, so that ordinary blocking clients can talk to it.
"""

import asyncio
import poplib
import re
import smtplib
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog
import uvloop

from auth.passwords import Passwords
from collector.dial import Dialer
from mail.address import Address, parse_domain
from net.listen import Endpoint
from server import admin, logs
from server.compose import Server
from server.config import load
from server.parts import app_password_key
from store.store import Store

# poplib refuses lines above 2,048 octets; real mail has them, and must come back as it went in.
poplib._MAXLINE = 1024 * 1024  # type: ignore[attr-defined]  # noqa: SLF001

T = TypeVar("T")

# Received ends with the line behind the semicolon: the content may begin with a TAB of its own.
_TRACE = re.compile(
    rb"Return-Path: .*\r\nDelivered-To: .*\r\n"
    rb"(?:Authentication-Results: .*\r\n(?:\t.*\r\n)*)?(?:X-Spam-.*\r\n)*"
    rb"Received: (?:.*\r\n\t)*?.*;\r\n\t.*\r\n"
)

DOMAIN = "example.test"
PASSWORD = "correct horse battery"  # of every account that a test makes
CHEAP = 4  # bcrypt's lowest cost

CONFIG = """\
[server]
hostname = "mail.example.test"
[smtp]
listen = ["127.0.0.1:{smtp}"]
verify = "off"
[pop3]
listen = ["127.0.0.1:{pop3}"]
refuser_listen = ["127.0.0.1:0"]
[api]
http_listen = ["127.0.0.1:{http}"]
[limits]
exempt = ["127.0.0.0/8"]
"""


@dataclass
class Live:
    """`smtp`, `pop3`, `http` and so on are where it listens; everything else is inside."""

    server: Server
    loop: asyncio.AbstractEventLoop
    smtp: Endpoint
    pop3: Endpoint
    http: Endpoint
    pop3_stls: Endpoint | None = None
    refuser: Endpoint | None = None
    https: Endpoint | None = None

    @property
    def store(self) -> Store:
        return self.server.store

    @property
    def desk(self) -> admin.Desk:
        """What the acts of an administrator work on."""
        key = app_password_key(self.server.config)
        return admin.Desk(self.store, self.server.passwords, key)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def add_user(self, login: str, *addresses: str, admin_role: bool = False) -> int:
        """A user with PASSWORD; returns the maildrop's id."""
        self.run(admin.user_add(self.desk, login=login, password=PASSWORD, admin=admin_role))
        for address in addresses:
            self.run(self.store.domains.add_address(Address.parse(address), login))
        return self.run(self.store.accounts.get(login)).maildrop_id

    def send(self, content: bytes, *recipients: str, sender: str = "bob@example.net") -> str:
        """Delivers octets over SMTP exactly as they are, and returns the id of the 250."""
        with smtplib.SMTP(self.smtp.host, self.smtp.port, timeout=60) as client:
            client.ehlo("client.example.net")
            client.mail(sender)
            for recipient in recipients:
                code, reply = client.rcpt(recipient)
                assert code == 250, reply
            assert client.docmd("DATA")[0] == 354
            client.send(stuffed(content) + b".\r\n")
            code, reply = client.getreply()
            assert code == 250, reply
            return reply.decode().split()[-1]

    def fetch(self, user: str) -> dict[str, bytes]:
        """Every message of a maildrop over POP3, by UIDL, as stored."""
        client = self.pop3_client(user)
        listing = [line.decode().split() for line in client.uidl()[1]]
        messages = {uid: retrieved(client, int(number)) for number, uid in listing}
        client.quit()
        return messages

    def pop3_client(self, user: str, password: str = PASSWORD) -> poplib.POP3_SSL:
        return pop3_client(self.pop3, user, password)


def pop3_client(pop3: Endpoint, user: str, password: str = PASSWORD) -> poplib.POP3_SSL:
    """Signed in."""
    client = poplib.POP3_SSL(pop3.host, pop3.port, context=trusting(), timeout=60)
    try:
        client.user(user)
        client.pass_(password)
    except poplib.error_proto:
        client.close()
        raise
    return client


def retrieved(client: poplib.POP3, number: int) -> bytes:
    """The octets of one message; poplib has undone the dots and cut the line ends."""
    return b"".join(line + b"\r\n" for line in client.retr(number)[1])


def stuffed(content: bytes) -> bytes:
    """What a client sends between 354 and the dot line (RFC 5321 section 4.5.2)."""
    return re.sub(rb"(\A|(?<=\r\n))\.", b"..", content)


def body_of(stored: bytes) -> bytes:
    """A stored message without our trace lines: what follows the field Received of ours."""
    trace = _TRACE.match(stored)
    assert trace, stored[:400]
    return stored[trace.end() :]


def trusting() -> ssl.SSLContext:
    """A client's context that takes the certificate the server made itself."""
    # Not the default context, which reads every authority's certificate: tests make thousands.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def live_server(
    folder: Path, *, config: str = "", dialer: Callable[[Dialer], Dialer] | None = None
) -> Iterator[Live]:
    """`config` is added to the text of the configuration. `dialer`: as Server has it."""
    path = folder / "config.toml"
    if not path.exists():
        path.write_text(CONFIG.format(smtp=0, pop3=0, http=0) + config)
    logs.configure("error")
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="live-server")
    thread.start()

    def run(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    passwords = Passwords(cost=CHEAP)
    server = Server(load(path, {}), passwords=passwords, dialer=dialer)
    try:
        run(server.start())
        try:
            if parse_domain(DOMAIN) not in {d.name for d in run(server.store.domains.all())}:
                run(server.store.domains.add(parse_domain(DOMAIN)))
            yield Live(
                server,
                loop,
                **{name: found[0] for name, found in server.listening.items() if found},
            )
        finally:
            run(server.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        structlog.reset_defaults()
