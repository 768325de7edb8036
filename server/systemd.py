"""What systemd and a service say to each other: sockets handed on, readiness, signs of life.

Variables of the environment and datagrams (sd_listen_fds(3), sd_notify(3)); where they are not set
nothing is done.
"""

from __future__ import annotations

import asyncio
import os
import socket

FIRST_DESCRIPTOR = 3


def handed_on() -> list[socket.socket]:
    """The listening sockets that systemd has opened for this process; once."""
    mine = os.environ.pop("LISTEN_PID", "") == str(os.getpid())
    count = int(os.environ.pop("LISTEN_FDS", "0"))
    os.environ.pop("LISTEN_FDNAMES", None)
    found = []
    for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + (count if mine else 0)):
        opened = socket.socket(fileno=descriptor)
        opened.set_inheritable(False)
        opened.setblocking(False)
        found.append(opened)
    return found


def tell(state: str) -> None:
    """As `READY=1`."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        # @ stands for the NUL of an abstract address.
        line.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


def ready(loop: asyncio.AbstractEventLoop) -> None:
    """Says so, and shows from now on that the loop turns, twice in the time that is granted."""
    tell("READY=1")
    granted_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000
    if granted_s and os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
        _alive(loop, granted_s / 2)


def _alive(loop: asyncio.AbstractEventLoop, every_s: float) -> None:
    tell("WATCHDOG=1")
    loop.call_later(every_s, _alive, loop, every_s)
