"""A server that says what a test wants, and keeps what it hears."""

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

Script = Sequence[tuple[bytes, bytes]]  # what it waits for, and what it says then


@dataclass
class Scripted:
    port: int
    heard: bytes = b""


@contextmanager
def scripted(script: Script, *, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """For one connection, which ends with the script."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = Scripted(listener.getsockname()[1])

        def serve() -> None:
            connection, _ = listener.accept()
            with suppress(OSError), _secured(connection, tls) as connection:
                # A client that has noticed something goes.
                for awaited, reply in script:
                    heard = b""
                    while not heard.endswith(awaited):
                        block = connection.recv(65536)
                        if not block:
                            return
                        heard += block
                    found.heard += heard
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield found
        thread.join()


def _secured(connection: socket.socket, tls: ssl.SSLContext | None) -> socket.socket:
    return tls.wrap_socket(connection, server_side=True) if tls else connection
