"""Waiting for another program: by asking it, never by the clock alone."""

import secrets
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress


def until(done: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Asks `done` again and again; fails, naming `what`, when it is not so in time."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        select.select([], [], [], 0.05)  # between two questions to a program that cannot call us


def free_port() -> int:
    """A port nobody listens on at this moment, for a program that must be given one.

    Below those that every connection takes one of for itself, so that none of them is in the way
    when the program begins.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
