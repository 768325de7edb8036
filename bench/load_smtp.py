"""Delivers letters by SMTP or LMTP, as fast as the server takes them, and reads every reply.

    python -m bench.load_smtp JOB       JOB: a Delivery, as JSON; the answer is a Load, as JSON

The dialog is that of a relay: MAIL, RCPT and DATA in one write, the letter when it is asked for.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from bench.letters import Wrong, wire
from bench.wire import Load, Wire, tell, together
from bench.wire import wire as connected

CLIENT = b"client.example.net"


@dataclass(frozen=True, slots=True)
class Delivery:
    """So many connections at a time, on each so many one after the other, letters on each.

    The letters are numbered from `first`, connection after connection; connection n delivers to
    recipient n, and so round.
    """

    port: int
    recipients: Sequence[str]
    first: int
    connections: int = 1
    sessions: int = 1
    messages: int = 1
    octets: int = 4096
    lmtp: bool = False
    tls: bool = False

    @property
    def count(self) -> int:
        return self.connections * self.sessions * self.messages

    def spans(self) -> list[tuple[str, int, int]]:
        """Recipient, first number and the one after the last, of each connection."""
        each = self.sessions * self.messages
        return [
            (
                self.recipients[n % len(self.recipients)],
                *(self.first + n * each, self.first + (n + 1) * each),
            )
            for n in range(self.connections)
        ]


def deliver(job: Delivery) -> Load:
    """Raises Wrong when a reply is not the one that means yes. Times: from MAIL to the last 250."""
    for _, first, last in job.spans():  # now, not while the server is waiting
        for number in range(first, last):
            wire(number, job.octets)
    return together([partial(_sessions, job, *span) for span in job.spans()])


def _sessions(job: Delivery, recipient: str, first: int, last: int) -> list[float]:
    times: list[float] = []
    for start in range(first, last, job.messages):
        with connected(job.port, tls=False) as connection:
            _greet(connection, job)
            for number in range(start, start + job.messages):
                began = time.perf_counter()
                _letter(connection, job, recipient, number)
                times.append(time.perf_counter() - began)
            connection.send(b"QUIT\r\n")
            _expect(connection, b"221")
    return times


def _greet(connection: Wire, job: Delivery) -> None:
    hello = (b"LHLO " if job.lmtp else b"EHLO ") + CLIENT + b"\r\n"
    _expect(connection, b"220")
    connection.send(hello)
    offered = _expect(connection, b"250")
    if not any(b"PIPELINING" in line for line in offered):
        raise Wrong("no PIPELINING")
    if job.tls:
        connection.send(b"STARTTLS\r\n")
        _expect(connection, b"220")
        connection.start_tls()
        connection.send(hello)
        _expect(connection, b"250")


def _letter(connection: Wire, job: Delivery, recipient: str, number: int) -> None:
    letter = wire(number, job.octets)
    size = b"" if job.lmtp else b" SIZE=%d" % len(letter)
    connection.send(
        b"MAIL FROM:<bob@example.net>%s\r\nRCPT TO:<%s>\r\nDATA\r\n" % (size, recipient.encode())
    )
    for code in (b"250", b"250", b"354"):
        _expect(connection, code)
    connection.send(letter)
    _expect(connection, b"250")


def _expect(connection: Wire, code: bytes) -> list[bytes]:
    """The lines of one reply, which has this code."""
    lines = []
    while True:
        line = connection.line()
        lines.append(line)
        if line[:3] != code or line[3:4] not in {b" ", b"-"}:
            raise Wrong(f"{line!r} instead of {code.decode()}")
        if line[3:4] == b" ":
            return lines


if __name__ == "__main__":
    tell(lambda: deliver(Delivery(**json.loads(sys.argv[1]))))
