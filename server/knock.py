"""One fixed dialogue with our own SMTP listener, for `restante knock` and the welcome mail.

This is no mail client: it takes no host, knows no names, and speaks to a listener of this
program on this machine alone.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from mail.address import Address
from mail.lines import Stuffer
from net.listen import Endpoint

TIMEOUT_S = 60
_KEPT = "250 2.0.0 kept as "

Say = Callable[[str], None]


class Turned(Exception):
    """The listener did not take the message; the text is its reply."""


def knock(listener: Endpoint, recipient: Address, content: bytes, *, say: Say) -> str:
    """Delivers canonical `content` and returns the id it is kept as.

    Each line of the dialogue goes to `say` with "C: " or "S: " before it. Raises Turned, OSError.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.host, listener.host)  # noqa: S104
    with (
        socket.create_connection((host, listener.port), TIMEOUT_S) as connection,
        connection.makefile("rwb") as stream,
    ):

        def expect(code: str) -> str:
            while True:
                line = stream.readline().decode("utf-8", "replace").rstrip("\r\n")
                say(f"S: {line}")
                if line[3:4] != "-":
                    break
            if not line.startswith(code):
                raise Turned(line or "the connection was closed")
            return line

        def command(text: str, code: str) -> str:
            say(f"C: {text}")
            stream.write(f"{text}\r\n".encode())
            stream.flush()
            return expect(code)

        expect("220")
        command("EHLO localhost", "250")
        command("MAIL FROM:<>", "250")
        command(f"RCPT TO:<{recipient}>", "250")
        command("DATA", "354")
        say(f"C: ({len(content)} octets)")
        stream.write(Stuffer().feed(content))
        kept = command(".", _KEPT)
        command("QUIT", "221")
    return kept.removeprefix(_KEPT)
