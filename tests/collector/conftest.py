"""A store with ann, and a collector's worker beside it that trusts one certificate."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from auth.vault import Vault
from collector.client import Patience
from collector.dial import Dialer
from collector.fetch import Tools
from collector.service import Collecting
from collector.worker import Worker
from intake.spool import Spool
from net.limits import OctetBudget
from store.records import Collector, CollectorOwner, CollectorWish, Harvest
from tests.collector.scripted import HOST, certificate
from tests.store.conftest import Filled, fill, server  # noqa: F401 - a fixture

MIB = 1024 * 1024
SECRET = "canary-4711-secret"
IMPATIENT = Patience(read_s=0.4, message_s=0.8)  # where a server is to be given up


def now() -> datetime:
    return datetime.now(UTC)


async def here(_name: str) -> list[str]:
    """The resolver of these tests: every provider is this machine."""
    return ["127.0.0.1"]


def trusting(folder: Path) -> Dialer:
    return Dialer(
        tls=ssl.create_default_context(cafile=certificate(folder)),
        hostname="mail.example.test",
        own_ports=frozenset(),
        private=[ipaddress.ip_network("127.0.0.0/8")],
        resolve=here,
        stls_port=0,
        connect_s=30.0,
        refusal_s=0.0,
    )


@dataclass
class Desk:
    filled: Filled
    tools: Tools
    worker: Worker
    collecting: Collecting
    owner: CollectorOwner

    async def add(self, port: int, **wish: Any) -> Collector:
        """A paused collector: it runs when it is told to."""
        given: CollectorWish = {
            "address": "ann@example.net",
            "host": HOST,
            "port": port,
            "password": SECRET,
            "paused": True,
            **wish,  # type: ignore[typeddict-item]
        }
        return await self.collecting.create(self.owner, given, test=False)

    async def run(self, source: Collector) -> Harvest:
        store = self.filled.store
        job = await store.collectors.ask(self.owner.account_id, self.owner.maildrop_id, source.id)
        job = await store.jobs.wait(job, within_s=60)
        assert job.over
        return job.harvests[source.id]

    async def restart(self, **tools: Any) -> None:
        """Another worker, with other tools."""
        await self.worker.stop()
        self.tools = replace(self.tools, **tools)
        self.worker = Worker(self.tools)
        self.collecting = Collecting(self.tools, every_s=300)
        self.worker.start()

    async def get(self, source: Collector) -> Collector:
        return await self.filled.store.collectors.get(self.owner.maildrop_id, source.id)

    async def kept(self) -> list[bytes]:
        """The messages of ann, oldest first, without our trace lines."""
        found = []
        for message in reversed(await self.filled.page(self.filled.ann)):
            octets = await self.filled.octets(self.filled.ann, message.uid)
            assert octets.startswith(message.prefix)
            found.append(octets[len(message.prefix) :])
        return found


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    filled = await fill(tmp_path / "restante.db")
    filled.sql("UPDATE maildrop SET quota_octets = 0")
    account = await filled.store.accounts.get("ann")
    tools = Tools(
        store=filled.store,
        dialer=trusting(tmp_path),
        vault=Vault(bytes(range(32))),
        spool=Spool(OctetBudget(16 * MIB), tmp_path),
        hostname="mail.example.test",
        largest=MIB,
        clock=now,
        patience=Patience(),
    )
    worker = Worker(tools)
    filled.store.leases.start()
    worker.start()
    found = Desk(
        *(filled, tools, worker, Collecting(tools, every_s=300)),
        CollectorOwner(account.id, account.maildrop_id, admin=True),
    )
    yield found
    await found.worker.stop()
    await filled.store.leases.stop()
    tools.spool.close()
    await asyncio.to_thread(filled.store.close)
