"""The SMTP listener on a real store, with limits and an intake of the test's choice.

tests/kit.py serves what the configuration can say. Here it is what it cannot: short limits, and
faults in the two calls that the listener makes.
"""

import asyncio
import gc
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog
import uvloop

from intake.deliver import deliver
from intake.recipients import resolve
from intake.spool import Spool
from mail.address import Address, parse_domain
from net.limits import Connections, Network, OctetBudget
from net.listen import Endpoint, bind
from net.tls import Certificate, make_self_signed
from server import logs
from smtpin.handler import Handler, Intake
from smtpin.limits import Limits, Shared, misses_allowance, octets_allowance
from smtpin.server import SmtpServer
from store.listing import Selection
from store.records import Folder, Role, StoreSettings
from store.store import Store
from tests.kit import body_of
from tests.waiting import until

T = TypeVar("T")

HOST = "mx.example.test"
ANN = "ann@example.test"
MIB = 1024 * 1024


@dataclass
class Front:
    """`smtp` is where it listens, `connections` who has come in there."""

    smtp: Endpoint
    store: Store
    connections: Connections
    log: io.StringIO
    _loop: asyncio.AbstractEventLoop
    _maildrop: int

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def events(self) -> list[dict[str, Any]]:
        """What has been logged since this was asked last, once all have left."""
        until(lambda: self.connections.open == 0, "all sessions have ended")
        gc.collect()  # a task whose exception nobody asked for is reported when it goes
        lines = self.log.getvalue().splitlines()
        self.log.seek(0)
        self.log.truncate()
        return [json.loads(line) for line in lines]

    def stored(self) -> dict[str, bytes]:
        """What ann's maildrop holds once all have left: by id, without our trace lines."""
        return {uid: body_of(octets) for uid, octets in self.with_trace().items()}

    def with_trace(self) -> dict[str, bytes]:
        until(lambda: self.connections.open == 0, "all sessions have ended")
        return self.run(self._stored())

    async def _stored(self) -> dict[str, bytes]:
        messages = self.store.messages
        found = {}
        chosen = Selection(frozenset({Folder.INBOX}))
        page = await self.store.listing.page(self._maildrop, chosen, limit=100_000)
        for message in (listed.message for listed in page.items):
            opened = await messages.open(self._maildrop, message.uid)
            octets = b"".join([block async for block in opened.blocks()])
            assert len(octets) == message.size
            found[str(message.uid)] = octets
        return found


async def started(server: SmtpServer, bound: socket.socket) -> None:
    server.start([bound])


def now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def front(
    folder: Path,
    limits: Limits | None = None,
    *,
    around: Callable[[Intake], Intake] = lambda intake: intake,
    url: str = "",
    exempt: Sequence[Network] = (),
) -> Iterator[Front]:
    """`around` is given the real intake and returns the one that is used."""
    log = io.StringIO()
    logs.configure("info", stream=log)
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="front")
    thread.start()

    def run(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    url = url or f"sqlite:///{folder / 'restante.db'}"
    settings = StoreSettings(url=url, quota_octets=0, trash_days=30, max_listed=100_000)
    try:
        store = Store(settings, clock=now)
        try:
            run(store.domains.add(parse_domain("example.test")))
            account = run(
                store.accounts.add("ann", "hash", role=Role.ADMIN, address=Address.parse(ANN))
            )
            intake = Intake(
                resolve=partial(resolve, store=store),
                deliver=partial(deliver, store=store, hostname=HOST, clock=now),
            )
            pair = folder / "front.crt", folder / "front.key"
            make_self_signed(*pair, hostname=HOST, now=now())
            connections = Connections(total=300, per_client=20, clock=time.monotonic)
            server = SmtpServer(
                Handler(hostname=HOST, limits=limits or Limits(), intake=around(intake)),
                tls=Certificate(*pair, clock=now).context(),
                shared=Shared(
                    connections=connections,
                    places=300,
                    spool=Spool(OctetBudget(128 * MIB), folder),
                    misses=misses_allowance(time.monotonic),
                    octets=octets_allowance(time.monotonic),
                    exempt=exempt,
                ),
            )
            [bound] = bind([Endpoint("127.0.0.1", 0)])
            smtp = Endpoint(*bound.getsockname()[:2])
            run(started(server, bound))
            try:
                yield Front(smtp, store, connections, log, loop, account.maildrop_id)
            finally:
                run(server.stop(grace_s=1))
        finally:
            store.close()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        structlog.reset_defaults()
