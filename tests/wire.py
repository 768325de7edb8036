"""SMTP by hand, from outside: octets as the test wants them, replies as they come.

For what no mail program sends; where an ordinary client will do, smtplib is used.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Self

from net.listen import Endpoint
from tests.kit import trusting

SENDER = "bob@example.net"
END = b"\r\n.\r\n"  # RFC 5321 section 4.1.1.4


def let_read(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """Returns when the server, whose loop `run` runs coroutines in, has read what was sent to it.

    On loopback what was sent is there. A loop asks its sockets once in each turn: the turn of the
    first call may be past that, that of the second is not.
    """
    for _ in range(2):
        run(asyncio.sleep(0))


def client_hello() -> bytes:
    """The first octets of a handshake."""
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        trusting().wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


class Wire:
    """One connection. Raises EOFError where a reply was due and the server has closed."""

    def __init__(
        self, smtp: Endpoint, *, source: str = "127.0.0.1", seconds: float = 60, hello: bool = True
    ) -> None:
        """`source` is the loopback address it comes from. With `hello`, EHLO has been said."""
        self.socket = socket.create_connection(
            (smtp.host, smtp.port), timeout=seconds, source_address=(source, 0)
        )
        # Each send is a segment of its own.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb")
        if hello:
            greeting = self.hear()
            if not greeting.startswith("220 "):
                self.close()
                raise AssertionError(greeting)
            assert self.say("EHLO client.example.net").startswith("250-")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def hear(self) -> str:
        """One reply; its lines with a newline between them."""
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            line = self._file.readline()
            if not line:
                raise EOFError
            assert line.endswith(b"\r\n"), line
            lines.append(line[:-2].decode("ascii"))
            assert lines[-1][:3].isdigit(), lines
        return "\n".join(lines)

    def say(self, command: str) -> str:
        self.send(command.encode() + b"\r\n")
        return self.hear()

    def begin(self, *recipients: str, sender: str = SENDER, parameters: str = "") -> None:
        """Up to the reply to DATA."""
        commands = [f"MAIL FROM:<{sender}>{parameters}"]
        commands += [f"RCPT TO:<{recipient}>" for recipient in recipients]
        self.send("".join(f"{command}\r\n" for command in [*commands, "DATA"]).encode())
        replies = [self.hear() for _ in range(len(commands) + 1)]
        assert [reply[:3] for reply in replies] == ["250"] * len(commands) + ["354"], replies

    def start_tls(self) -> None:
        assert self.say("STARTTLS").startswith("220 ")
        self.wrap()

    def wrap(self, context: ssl.SSLContext | None = None) -> None:
        """The handshake, after 220."""
        self._file.close()
        self.socket = (context or trusting()).wrap_socket(self.socket)
        self._file = self.socket.makefile("rb")

    def rest(self) -> bytes:
        """All that still comes, until the server closes, in whatever way."""
        try:
            return self._file.read()
        except ConnectionError:
            return b""

    def reset(self) -> None:
        """Closes with RST, as a machine that crashed and came back would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()
