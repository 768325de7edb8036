"""A SOCKS proxy (RFC 1928) that knows a few places, and refuses all others."""

import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress

from net.listen import Endpoint


@contextmanager
def socks(places: Mapping[tuple[str, int], Endpoint]) -> Iterator[int]:
    """Its port. `places` says where a name and a port lead."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):  # it is closed
            while True:
                threading.Thread(target=_serve_one, args=(listening.accept()[0], places)).start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def _serve_one(client: socket.socket, places: Mapping[tuple[str, int], Endpoint]) -> None:
    with closing(client), suppress(OSError, EOFError):
        _version, methods = _read(client, 2)
        _read(client, methods)
        client.sendall(b"\5\0")  # no authentication
        _version, _connect, _, kind = _read(client, 4)
        length = _read(client, 1)[0] if kind == 3 else {1: 4, 4: 16}[kind]
        name = _read(client, length).decode("latin-1")
        (port,) = struct.unpack("!H", _read(client, 2))
        found = places.get((name, port)) if kind == 3 else None
        if found is None:
            client.sendall(b"\5\4\0\1" + bytes(6))  # host unreachable
            return
        with closing(socket.create_connection((found.host, found.port))) as server:
            client.sendall(b"\5\0\0\1" + bytes(6))
            back = threading.Thread(target=_pass_on, args=(server, client))
            back.start()
            _pass_on(client, server)
            back.join()


def _read(client: socket.socket, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        block = client.recv(count - len(octets))
        if not block:
            raise EOFError
        octets += block
    return octets


def _pass_on(here: socket.socket, there: socket.socket) -> None:
    with suppress(OSError):
        while block := here.recv(65_536):
            there.sendall(block)
    with suppress(OSError):
        there.shutdown(socket.SHUT_WR)
