"""Several processes: each collector is run by one of them, and by another when that one is gone."""

import asyncio
from dataclasses import replace
from pathlib import Path

from auth.vault import Vault
from collector.fetch import Tools
from collector.service import Collecting
from collector.worker import Worker
from intake.spool import Spool
from net.limits import OctetBudget
from store.records import CollectorOwner
from tests.collector.conftest import MIB, SECRET, now, trusting
from tests.collector.scripted import HOST, scripted
from tests.databases import Database
from tests.store.conftest import emptied, opened_at, populate


async def test_one_of_two_processes_collects(server: Database, tmp_path: Path) -> None:
    """Two stores on one database are what two processes have."""
    url = emptied(server, "role")
    first = await populate(opened_at(url), tmp_path / "none", url)
    second = replace(first, store=opened_at(url))
    spool = Spool(OctetBudget(16 * MIB), tmp_path)
    dialer, vault = trusting(tmp_path), Vault(bytes(32))
    tools = Tools(first.store, dialer, vault, spool, "mail.example.test", MIB, now)
    both = (tools, replace(tools, store=second.store))
    workers = [Worker(each, role_every_s=0.1) for each in both]
    collecting = Collecting(tools, every_s=300)
    account = await first.store.accounts.get("ann")
    owner = CollectorOwner(account.id, account.maildrop_id)
    async with scripted({}, tmp_path) as remote:
        for filled, worker in zip((first, second), workers, strict=True):
            filled.store.leases.start()
            worker.start()
        made = [
            await collecting.create(
                owner,
                {
                    "address": "ann@example.net",
                    "host": HOST,
                    "port": remote.port,
                    "username": f"u{number}",
                    "password": SECRET,
                },
                test=False,
            )
            for number in range(6)
        ]
        async with asyncio.timeout(60):
            while any(each.last is None for each in made):
                await asyncio.sleep(0.05)
                made = await first.store.collectors.of(first.ann)
        assert len([line for line in remote.said if line.startswith("AUTH")]) == len(made)
        assert len(await first.page(first.ann)) == 1  # the same message six times

        await workers[0].stop()
        await first.store.leases.stop()
        job = await second.store.collectors.ask(account.id, account.maildrop_id, None)
        job = await second.store.jobs.wait(job, within_s=60)
        assert job.over
        assert {each.error for each in job.harvests.values()} == {None}
    await workers[1].stop()
    await second.store.leases.stop()
    spool.close()
    for filled in (first, second):
        await asyncio.to_thread(filled.store.close)
