"""Listening sockets, bound before anything is served. A taken port is named with its holder."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

BACKLOG = 512
_LISTEN_STATE = "0A"  # TCP_LISTEN in /proc/net/tcp


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`host:port` of a configuration: an IP address and a port; port 0 is any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Reads `192.0.2.1:25` or `[2001:db8::1]:25`. Raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError("an address and a port, as 127.0.0.1:25 or [::1]:25")
        if host.startswith("[") and host.endswith("]"):
            return cls(str(ipaddress.IPv6Address(host[1:-1])), int(port))
        return cls(str(ipaddress.IPv4Address(host)), int(port))

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class PortTaken(Exception):
    """`holder` is the program that listens there, as far as this machine tells."""

    def __init__(self, endpoint: Endpoint, holder: str | None) -> None:
        super().__init__(f"{endpoint} is in use by {holder or 'another program'}")
        self.endpoint = endpoint
        self.holder = holder


class PortNotOurs(Exception):
    """The address is not this machine's, or the port needs rights we do not have."""

    def __init__(self, endpoint: Endpoint, reason: str) -> None:
        super().__init__(f"{endpoint} cannot be opened: {reason}")
        self.endpoint = endpoint
        self.reason = reason


def bind(
    endpoints: list[Endpoint], *, handed_on: list[socket.socket] | None = None
) -> list[socket.socket]:
    """One listening socket per endpoint, all or none. What fits is taken out of `handed_on`.

    An IPv6 socket takes IPv6 only. Without IPv6 on the machine `[::]` is left out beside others.
    Raises PortTaken, PortNotOurs.
    """
    sockets: list[socket.socket] = []
    try:
        for endpoint in endpoints:
            opened = _taken(endpoint, handed_on) or _bind_one(endpoint, optional=len(endpoints) > 1)
            if opened:
                sockets.append(opened)
    except BaseException:
        for opened in sockets:
            opened.close()
        raise
    return sockets


def _taken(endpoint: Endpoint, handed_on: list[socket.socket] | None) -> socket.socket | None:
    for opened in handed_on or ():
        if opened.getsockname()[:2] == (endpoint.host, endpoint.port):
            assert handed_on is not None
            handed_on.remove(opened)
            return opened
    return None


def _bind_one(endpoint: Endpoint, *, optional: bool) -> socket.socket | None:
    v6 = ":" in endpoint.host
    try:
        opened = socket.socket(
            socket.AF_INET6 if v6 else socket.AF_INET,
            socket.SOCK_STREAM,
            # Named, because asyncio sets TCP_NODELAY only on sockets that say what they are.
            socket.IPPROTO_TCP,
        )
    except OSError as error:
        if v6 and optional and endpoint.host == "::":
            return None
        raise PortNotOurs(endpoint, error.strerror or str(error)) from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if v6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((endpoint.host, endpoint.port))
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        if v6 and optional and endpoint.host == "::" and error.errno == errno.EADDRNOTAVAIL:
            return None
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(endpoint, holder(endpoint.port)) from error
        raise PortNotOurs(endpoint, error.strerror or str(error)) from error
    return opened


def holder(port: int) -> str | None:
    """The name and pid of the process that listens on a TCP port, where /proc tells it."""
    inodes: set[str] = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            rows = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            if columns[3] == _LISTEN_STATE and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{columns[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(_link(descriptor) in inodes for descriptor in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue  # gone meanwhile, or another user's
    return None


def _link(descriptor: Path) -> str | None:
    try:
        return str(descriptor.readlink())
    except OSError:
        return None  # closed meanwhile, as the one that lists our own descriptors always is
