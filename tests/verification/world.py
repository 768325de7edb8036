"""A server that verifies senders, its DNS, and mail from any client address to it.

Clients name themselves by the PROXY protocol, so that one machine is the whole Internet.
"""

import poplib
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mail.ident import UniqueId
from net.listen import Endpoint
from store.records import Message
from tests.kit import Live, live_server, retrieved, stuffed, trusting
from tests.nameserver import Nameserver, Records, nameserver

DATA = Path(__file__).parents[3] / "shared" / "data"
ANN = "ann@example.test"
HOST = "mail.example.test"

CONFIG = """\
[server]
hostname = "mail.example.test"
proxy_protocol = ["127.0.0.0/8"]
resolvers = ["{resolver}"]
[smtp]
listen = ["127.0.0.1:0"]
{smtp}
[pop3]
listen = ["127.0.0.1:0"]
refuser_listen = []
[api]
http_listen = ["127.0.0.1:0"]
[limits]
exempt = ["0.0.0.0/0", "::/0"]
"""


@dataclass
class Sent:
    """One message as its sender knows it: the last reply, and the id if it was kept."""

    code: int
    reply: str

    @property
    def uid(self) -> str:
        assert self.code == 250, self.reply
        return self.reply.split()[-1]


@dataclass
class World:
    live: Live
    dns: Nameserver
    maildrop: int
    _read: dict[str, bytes] = field(default_factory=dict)

    def send(
        self,
        content: bytes,
        *,
        ip: str = "192.0.2.1",
        helo: str = "client.example.net",
        sender: str = "bob@example.net",
        to: str = ANN,
    ) -> Sent:
        """`content` with any line ends. The reply is that to what was refused, or to the dot."""
        return send(self.live.smtp, content, ip=ip, helo=helo, sender=sender, to=to)

    def fetch(self, uid: str) -> bytes:
        """The message over POP3."""
        if uid not in self._read:
            client = PopBehindProxy(self.live.pop3)
            client.user("ann")
            client.pass_("correct horse battery")
            for number, found in (line.decode().split() for line in client.uidl()[1]):
                if found not in self._read:
                    self._read[found] = retrieved(client, int(number))
            client.quit()
        return self._read[uid]

    def results(self, sent: Sent) -> dict[str, list[str]]:
        """Of our own field Authentication-Results, by method: the first words of each."""
        message = self.fetch(sent.uid)
        return results_of(message)

    def row(self, sent: Sent) -> Message:
        uid = UniqueId.parse(sent.uid)
        return self.live.run(self.live.store.messages.read(self.maildrop, uid))


def results_of(message: bytes) -> dict[str, list[str]]:
    fields = re.findall(
        rb"^Authentication-Results: mail\.example\.test;((?:\r\n\t[^\r]*)+)\r\n",
        message,
        re.MULTILINE,
    )
    assert len(fields) == 1, message[:1000]
    found: dict[str, list[str]] = {}
    for part in fields[0].decode().removeprefix("\r\n\t").split(";\r\n\t"):
        method, _, rest = part.partition("=")
        found.setdefault(method, []).append(rest)
    return found


def word(results: dict[str, list[str]], method: str) -> str:
    """The result of the one check of that method; `none` where there was none."""
    [found] = results.get(method, ["none"])
    return found.split()[0]


def spf_word(results: dict[str, list[str]], identity: str) -> str:
    """Of smtp.mailfrom or smtp.helo."""
    *first, last = results["spf"]
    return (first[0] if identity == "mailfrom" else last).split()[0]


def crlf(text: bytes) -> bytes:
    return re.sub(rb"\r?\n", b"\r\n", text)


def proxied(endpoint: Endpoint, ip: str) -> socket.socket:
    connection = socket.create_connection((endpoint.host, endpoint.port), 60)
    family, here = ("TCP6", "::1") if ":" in ip else ("TCP4", "127.0.0.1")
    connection.sendall(f"PROXY {family} {ip} {here} 4000 25\r\n".encode())
    return connection


def send(smtp: Endpoint, content: bytes, *, ip: str, helo: str, sender: str, to: str) -> Sent:
    octets = crlf(content)
    if not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    with proxied(smtp, ip) as connection, connection.makefile("rb") as replies:
        assert _reply(replies).code == 220
        utf8 = "" if (sender + to).isascii() else " SMTPUTF8"
        for command, wanted in (
            (f"EHLO {helo}", 250),
            (f"MAIL FROM:<{sender}>{utf8}", 250),
            (f"RCPT TO:<{to}>", 250),
            ("DATA", 354),
        ):
            connection.sendall(command.encode() + b"\r\n")
            reply = _reply(replies)
            if reply.code != wanted:
                return reply
        connection.sendall(stuffed(octets) + b".\r\n")
        reply = _reply(replies)
        connection.sendall(b"QUIT\r\n")
        _reply(replies)
        return reply


def _reply(replies: Any) -> Sent:
    while True:
        line: str = replies.readline().decode()
        if line[3:4] != "-":
            return Sent(int(line[:3] or 0), line[4:].strip())


class PopBehindProxy(poplib.POP3_SSL):
    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint.host, endpoint.port, context=trusting(), timeout=60)

    def _create_socket(self, timeout: float) -> ssl.SSLSocket:
        return trusting().wrap_socket(proxied(Endpoint(self.host, self.port), "192.0.2.200"))


@contextmanager
def world(
    folder: Path, *, smtp: str = "", zone: Mapping[str, Records] | None = None
) -> Iterator[World]:
    """`smtp` is added to that section; `zone` is there when the server starts."""
    with nameserver(zone) as dns:
        text = CONFIG.format(resolver=dns.endpoint, smtp=smtp)
        (folder / "config.toml").write_text(text)
        with live_server(folder) as live:
            yield World(live, dns, live.add_user("ann", ANN))
