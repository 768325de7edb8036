"""A connection of a load generator: to loopback alone, blocking, in a thread of its own.

Threads and not a loop of events: a message costs such a client 0.02 to 0.04 ms of the processor,
and it reads like the dialog that it is.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from bench.letters import Wrong

PATIENCE_S = 120
LINE_OCTETS = 4096
BLOCK = 1 << 18
END = b"\r\n.\r\n"


@dataclass(frozen=True, slots=True)
class Load:
    """What a generator has done: `seconds` from its first connection to its last reply."""

    began: float  # on the machine's monotonic clock
    seconds: float
    cpu_s: float  # of the generator
    times: list[float]  # seconds of each step that was timed


def trusting() -> ssl.SSLContext:
    """Takes the certificate that a server has made itself; a full handshake every time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


TRUSTING = trusting()


class Wire:
    """Raises Wrong when the server goes away, is silent for too long, or says too much."""

    def __init__(self, port: int, *, tls: bool) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = bytearray()
        if tls:
            self.start_tls()

    def start_tls(self) -> None:
        if self._read:
            raise Wrong(f"said before TLS: {bytes(self._read[:200])!r}")
        self._socket = TRUSTING.wrap_socket(self._socket)

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def line(self) -> bytes:
        """The next line, without its end."""
        while (end := self._read.find(b"\r\n")) < 0:
            if len(self._read) > LINE_OCTETS:
                raise Wrong(f"a line without end: {bytes(self._read[:200])!r}")
            self._more()
        line = bytes(self._read[:end])
        del self._read[: end + 2]
        return line

    def to_dot_line(self, limit: int) -> bytes:
        """All up to a dot line, with it. Nothing more may have been asked for."""
        while not self._read.endswith(END) and self._read != END[2:]:
            if len(self._read) > limit:
                raise Wrong(f"more than {limit} octets, and no end")
            self._more()
        found = bytes(self._read)
        self._read.clear()
        return found

    def rest(self) -> bytes:
        """What was read and not taken."""
        return bytes(self._read)

    def _more(self) -> None:
        try:
            block = self._socket.recv(BLOCK)
        except TimeoutError:
            raise Wrong(f"no reply within {PATIENCE_S} s") from None
        if not block:
            raise Wrong("the server has closed the connection")
        self._read += block

    def close(self) -> None:
        self._socket.close()


@contextmanager
def wire(port: int, *, tls: bool) -> Iterator[Wire]:
    found = Wire(port, tls=tls)
    try:
        yield found
    finally:
        found.close()


def together(works: Sequence[Callable[[], list[float]]]) -> Load:
    """Does all works at the same time, one thread each. Raises the first failure of one."""
    failures: list[Exception] = []
    times: list[list[float]] = []
    start = threading.Barrier(len(works) + 1)

    def perform(work: Callable[[], list[float]]) -> None:
        start.wait()
        try:
            times.append(work())
        except (Wrong, OSError) as failure:
            failures.append(failure)

    threads = [threading.Thread(target=perform, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    start.wait()
    began, cpu = time.monotonic(), time.process_time()
    for thread in threads:
        thread.join()
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    if failures:
        raise failures[0]
    return Load(began, seconds, cpu, [each for some in times for each in some])


def tell(work: Callable[[], Load | None]) -> None:
    """Prints the answer of a generator, or ends it with what it found wrong."""
    try:
        load = work()
    except (Wrong, OSError) as failure:
        sys.exit(f"{type(failure).__name__}: {failure}")
    if load:
        print(json.dumps(asdict(load)))
