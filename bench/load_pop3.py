"""Fetches, polls, lists and idles by POP3, and looks at every octet that comes.

    python -m bench.load_pop3 KIND JOB      KIND: fetch, poll, list, idle; JOB: as JSON

`idle` says "ready" when all its sessions are open, and ends them when its standard input ends.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.letters import Wrong, check, wire
from bench.wire import Load, Wire, tell, together
from bench.wire import wire as connected

TRACE_OCTETS = 16_384  # room for what servers put before a letter
LISTING_OCTETS = 100  # of one line


@dataclass(frozen=True, slots=True)
class Fetch:
    """Letters first to last - 1 (numbers of letters) stand behind `skipped` others in a maildrop.

    Each is a maildrop with a session of its own, all at the same time, `passes` times.
    """

    port: int
    password: str
    maildrops: Sequence[tuple[str, int, list[tuple[int, int]]]]  # user, skipped, spans
    octets: int = 4096
    passes: int = 1


@dataclass(frozen=True, slots=True)
class Poll:
    """Sessions of connect, USER, PASS, STAT and QUIT, by so many clients at the same time."""

    port: int
    password: str
    users: Sequence[tuple[str, int]]  # and how many messages each has
    clients: int = 1
    polls: int = 1  # of each client


@dataclass(frozen=True, slots=True)
class Listing:
    """Sessions one after the other. What is timed goes from USER to the last octet asked for."""

    port: int
    user: str
    password: str
    messages: int
    sessions: int = 1
    listings: bool = True  # LIST and UIDL too


def fetch(job: Fetch) -> Load:
    return together([partial(_fetch, job, *maildrop) for maildrop in job.maildrops])


def poll(job: Poll) -> Load:
    return together([partial(_poll, job, client) for client in range(job.clients)])


def listing(job: Listing) -> Load:
    return together([partial(_list, job)])


def _fetch(job: Fetch, user: str, skipped: int, spans: list[tuple[int, int]]) -> list[float]:
    wanted = {number for first, last in spans for number in range(first, last)}
    for number in wanted:  # now, not while the server is waiting
        wire(number, job.octets)
    limit = 2 * job.octets + TRACE_OCTETS
    for _ in range(job.passes):
        with connected(job.port, tls=True) as connection:
            _sign_in(connection, user, job.password)
            _stat(connection, skipped + len(wanted))
            found = set()
            for place in range(skipped + 1, skipped + len(wanted) + 1):
                connection.send(b"RETR %d\r\n" % place)
                _ok(connection)
                found.add(check(connection.to_dot_line(limit), job.octets))
            if found != wanted:
                raise Wrong(f"{user} lacks letters {sorted(wanted - found)[:10]}")
            _quit(connection)
    return []


def _poll(job: Poll, client: int) -> list[float]:
    times = []
    for n in range(job.polls):
        user, messages = job.users[(client + n * job.clients) % len(job.users)]
        began = time.perf_counter()
        with connected(job.port, tls=True) as connection:
            _sign_in(connection, user, job.password)
            _stat(connection, messages)
            _quit(connection)
        times.append(time.perf_counter() - began)
    return times


def _list(job: Listing) -> list[float]:
    times = []
    limit = LISTING_OCTETS * (job.messages + 1)
    for _ in range(job.sessions):
        with connected(job.port, tls=True) as connection:
            _greeted(connection)
            began = time.perf_counter()
            _secrets(connection, job.user, job.password)
            _stat(connection, job.messages)
            told = []
            for command in (b"LIST\r\n", b"UIDL\r\n") if job.listings else ():
                connection.send(command)
                _ok(connection)
                told.append(connection.to_dot_line(limit))
            times.append(time.perf_counter() - began)
            _quit(connection)
        if told:
            check_listings(told[0], told[1], job.messages)
    return times


def check_listings(sizes: bytes, uids: bytes, messages: int) -> None:
    """Raises Wrong unless LIST and UIDL have every message once, in order, and ids differ."""
    ids: set[bytes] = set()
    for octets, second in ((sizes, rb"\d+"), (uids, rb"[!-~]{1,70}")):
        lines = octets.split(b"\r\n")
        if lines[messages:] != [b".", b""]:
            raise Wrong(f"{len(lines) - 2} lines instead of {messages}")
        for number, line in enumerate(lines[:messages], 1):
            first, _, value = line.partition(b" ")
            if first != b"%d" % number or not re.fullmatch(second, value):
                raise Wrong(f"{line!r} for message {number}")
        ids = {line.partition(b" ")[2] for line in lines[:messages]}
    if len(ids) != messages:
        raise Wrong(f"{messages} messages have {len(ids)} ids")


def idle(job: Poll) -> None:
    """Sessions that have signed in and then keep silent; every one still answers at the end."""
    sessions: list[list[Wire]] = [[] for _ in range(job.clients)]

    def begin(client: int) -> list[float]:
        for n in range(job.polls):
            user, messages = job.users[(client + n * job.clients) % len(job.users)]
            connection = Wire(job.port, tls=True)
            sessions[client].append(connection)
            _sign_in(connection, user, job.password)
            _stat(connection, messages)
        return []

    together([partial(begin, client) for client in range(job.clients)])
    print("ready", flush=True)
    sys.stdin.read()
    for connection in [each for some in sessions for each in some]:
        connection.send(b"NOOP\r\n")
        _ok(connection)
        _quit(connection)
        connection.close()


def _sign_in(connection: Wire, user: str, password: str) -> None:
    _greeted(connection)
    _secrets(connection, user, password)


def _greeted(connection: Wire) -> None:
    _ok(connection)


def _secrets(connection: Wire, user: str, password: str) -> None:
    connection.send(b"USER %s\r\n" % user.encode())
    _ok(connection)
    connection.send(b"PASS %s\r\n" % password.encode())
    _ok(connection)


def _stat(connection: Wire, messages: int) -> None:
    connection.send(b"STAT\r\n")
    told = _ok(connection)
    if not re.fullmatch(rb"\+OK %d \d+" % messages, told):
        raise Wrong(f"{told!r} instead of {messages} messages")


def _quit(connection: Wire) -> None:
    connection.send(b"QUIT\r\n")
    _ok(connection)
    if connection.rest():
        raise Wrong(f"said without being asked: {connection.rest()[:200]!r}")


def _ok(connection: Wire) -> bytes:
    line = connection.line()
    if not (line == b"+OK" or line.startswith(b"+OK ")):
        raise Wrong(f"{line!r} instead of +OK")
    return line


def _work(kind: str, job: dict[str, Any]) -> Callable[[], Load | None]:
    works: dict[str, Callable[[], Load | None]] = {
        "fetch": lambda: fetch(Fetch(**job)),
        "poll": lambda: poll(Poll(**job)),
        "list": lambda: listing(Listing(**job)),
        "idle": lambda: idle(Poll(**job)),
    }
    return works[kind]


if __name__ == "__main__":
    tell(_work(sys.argv[1], json.loads(sys.argv[2])))
