"""Between a sender and the server: what the sender says, as it says it."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from net.listen import Endpoint

BLOCK = 65_536


@dataclass
class Tap:
    """`heard` has the octets in the pieces in which they came."""

    endpoint: Endpoint
    heard: list[bytes] = field(default_factory=list)

    def in_one_piece(self, first: bytes, second: bytes) -> bool:
        """Whether the sender said both without waiting for a reply between them."""
        return any(0 <= piece.find(first) < piece.find(second) for piece in self.heard)

    def count(self, pattern: bytes) -> int:
        return sum(len(re.findall(pattern, piece)) for piece in self.heard)


@contextmanager
def tap(server: Endpoint) -> Iterator[Tap]:
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as opened:
        found = Tap(Endpoint(*listening.getsockname()[:2]))
        threads: list[threading.Thread] = []

        def serve() -> None:
            with suppress(OSError):  # the end: nobody listens any more
                while True:
                    client = opened.enter_context(listening.accept()[0])
                    where = (server.host, server.port)
                    upstream = opened.enter_context(socket.create_connection(where))
                    for pair in ((client, upstream, found.heard), (upstream, client, [])):
                        threads.append(threading.Thread(target=_copy, args=pair))
                        threads[-1].start()

        accepting = threading.Thread(target=serve)
        accepting.start()
        try:
            yield found
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def _copy(source: socket.socket, target: socket.socket, heard: list[bytes]) -> None:
    """Up to the end of this direction; the other one may still be open."""
    with suppress(OSError):
        while block := source.recv(BLOCK):
            heard.append(block)
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
