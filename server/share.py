"""What a server has once, however many processes serve: its folder, its sockets, its counts."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from net.listen import Endpoint, PortNotOurs, PortTaken, bind
from net.resolve import AT_ONCE
from server import folder, privileges, systemd
from server.counters import HTTP_TOTAL, REFUSER_TOTAL, Counters, counters
from server.trouble import Trouble

if TYPE_CHECKING:
    from server.config import Config

# Of a process: its database connections, TLS files, threads and log, generously; and DNS.
DESCRIPTORS_BESIDE_CONNECTIONS = 100 + AT_ONCE

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of malloc.h

NAMES = ("smtp", "pop3", "pop3_stls", "refuser", "http", "https")  # of the listeners

Processes = Callable[[], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Sockets:
    """Bound before anything else happens; port 0 was given a number by then."""

    smtp: list[socket.socket]
    pop3: list[socket.socket]
    pop3_stls: list[socket.socket]
    refuser: list[socket.socket]
    http: list[socket.socket]
    https: list[socket.socket]

    def endpoints(self) -> dict[str, list[Endpoint]]:
        return {
            name: [Endpoint(*opened.getsockname()[:2]) for opened in getattr(self, name)]
            for name in NAMES
        }

    def close(self) -> None:
        for name in NAMES:
            for opened in getattr(self, name):
                opened.close()


@dataclass(frozen=True, slots=True)
class Share:
    """What a process that serves starts from.

    `commanded`: it has the control socket. `processes` tells what `restante status` shows of the
    process to signal and of those that serve.
    """

    sockets: Sockets
    counters: Counters
    commanded: bool
    processes: Processes


@contextmanager
def shared(config: Config) -> Iterator[Share]:
    """For one process that serves alone, or the parent of several. Raises Trouble."""
    since = datetime.now(UTC)

    async def this_one() -> dict[str, Any]:
        pid = os.getpid()
        return {"pid": pid, "workers": [worker_row(pid, since)]}

    # Ports first: the folder, and all that is made in it, belongs to whom we become then.
    with closing(open_sockets(config)) as sockets:
        privileges.drop(config.server.user)
        folder.prepare(config.server.data_dir)
        with folder.claimed(config.server.data_dir):
            yield _share(config, sockets, this_one)


def _share(config: Config, sockets: Sockets, processes: Processes) -> Share:
    _raise_descriptor_limit(config)
    _give_memory_back()
    return Share(sockets, counters(config), commanded=True, processes=processes)


def shown(listening: Mapping[str, Sequence[Endpoint]]) -> dict[str, str]:
    """For the log."""
    return {name: ",".join(map(str, found)) for name, found in listening.items()}


def worker_row(pid: int | None, since: datetime) -> dict[str, Any]:
    """Of a process that serves, as `restante status` shows it."""
    return {"pid": pid, "since": f"{since:%Y-%m-%dT%H:%M:%SZ}"}


def open_sockets(config: Config) -> Sockets:
    """Raises Trouble: a port is taken or not ours, or root would serve the world."""
    pop3, api = config.pop3, config.api
    wanted = (
        *(config.smtp.listen, pop3.listen, pop3.stls_listen, pop3.refuser_listen),
        *(api.http_listen, api.listen),
    )
    public = not all(endpoint.loopback for part in wanted for endpoint in part)
    if os.geteuid() == 0 and public and not config.server.user:
        raise Trouble(
            "Restante does not serve the network as root.",
            "A mistake in it would then be a mistake with all rights.",
            "Set server.user to an account that it becomes once the ports are open.",
            exit_code=4,
        )
    with ExitStack() as opened:
        handed_on = [opened.enter_context(one) for one in systemd.handed_on()]
        try:
            parts = [
                [opened.enter_context(one) for one in bind(list(part), handed_on=handed_on)]
                for part in wanted
            ]
        except (PortTaken, PortNotOurs) as error:
            raise Trouble(
                f"{error.endpoint} cannot be listened on.",
                f"{error}.",
                "Stop that program, or choose another port (listen in config.toml; try --shift N).",
                exit_code=3,
            ) from error
        for unwanted in handed_on:
            where = Endpoint(*unwanted.getsockname()[:2])
            raise Trouble(
                f"{where} was handed on, and nothing is to listen there.",
                "It is a socket of the unit, and in no list of addresses of config.toml.",
                "Add it to the right list, or take it out of restante.socket.",
                exit_code=2,
            )
        opened.pop_all()
        return Sockets(*parts)


def descriptors_needed(config: Config) -> int:
    """Of a process that holds all connections there may be."""
    limits = config.limits
    filters = bool(config.smtp.rspamd) + bool(config.smtp.clamd)  # each with a socket a message
    needed = limits.smtp_total * (1 + filters) + limits.pop3_total + REFUSER_TOTAL
    return needed + HTTP_TOTAL + DESCRIPTORS_BESIDE_CONNECTIONS


def _raise_descriptor_limit(config: Config) -> None:
    """So that the limits of the configuration are met before that of the machine.

    One worker may come to hold all connections, so with several each needs as many.
    """
    needed = descriptors_needed(config)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < needed:
            structlog.get_logger().warning("server.few_descriptors", allowed=most, needed=needed)


def _give_memory_back() -> None:
    """What large messages took returns to the system when they are kept.

    Left alone, glibc keeps blocks of the size of any that was freed before, and a heap for each
    thread: after a flood of large mail a third more memory. Other C libraries have no such call.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 128 * 1024)
        mallopt(_M_ARENA_MAX, 2)
