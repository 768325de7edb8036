"""The database server is away: nobody waits longer than need be for what can only have failed.

What became of a COMMIT without an answer is asked for (tests/store/test_ambiguous.py). Without a
COMMIT there is nothing to ask, and who waits behind one that is asked for has sent nothing yet.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, insert, select

from mail.errors import OutcomeUnknown, StorageBusy
from store import schema
from store.database import Database
from store.writer import Patience, Writer
from tests.commit_proxy import Cut, commit_proxy
from tests.databases import Database as DatabaseServer
from tests.waiting import until

SHORT, FOREVER = 1, 3600
NAMED = select(schema.store_fact.c.name).where(schema.store_fact.c.name.like("note%"))
# Ends the connection that asks.
KILL = {
    "postgresql": "SELECT pg_terminate_backend(pg_backend_pid())",
    "mariadb": "KILL CONNECTION_ID()",
}


@asynccontextmanager
async def a_writer(url: str, *, queue_s: float, reconnect_s: float) -> AsyncIterator[Writer]:
    database = Database(url)
    writer = Writer(database, None, patience=Patience(queue_s, reconnect_s))
    try:
        async with asyncio.timeout(60):
            yield writer
    finally:
        await asyncio.to_thread(writer.close)
        database.close()


def note(number: int = 0) -> Any:
    return lambda connection: connection.execute(
        insert(schema.store_fact).values(name=f"note {number}", value="")
    )


async def noted(writer: Writer) -> list[str]:
    return await writer.run(lambda connection: list(connection.scalars(NAMED.order_by("name"))))


async def outcome(job: Awaitable[Any]) -> str:
    try:
        await job
    except (StorageBusy, OutcomeUnknown) as failure:
        return type(failure).__name__
    return "kept"


async def test_who_finds_it_away_is_told_so(server: DatabaseServer) -> None:
    url = server.url("away")
    async with a_writer(url, queue_s=SHORT, reconnect_s=FOREVER) as writer:
        await asyncio.to_thread(server.stop)
        try:
            jobs = [writer.run(note(n), frees=n == 2) for n in range(4)]
            assert await asyncio.gather(*map(outcome, jobs)) == ["StorageBusy"] * 4
        finally:
            await asyncio.to_thread(server.start)
        assert await noted(writer) == []


async def test_one_that_comes_back_soon_costs_nobody_anything(server: DatabaseServer) -> None:
    url = server.url("away")
    async with a_writer(url, queue_s=FOREVER, reconnect_s=0) as writer:
        await asyncio.to_thread(server.stop)
        try:
            jobs = [asyncio.create_task(writer.run(note(n))) for n in range(4)]
            await asyncio.sleep(0)  # they are queued
        finally:
            await asyncio.to_thread(server.start)
        await asyncio.gather(*jobs)
        assert await noted(writer) == [f"note {n}" for n in range(4)]


async def test_a_connection_that_ends_before_its_commit_has_kept_nothing(
    server: DatabaseServer,
) -> None:
    def interrupted(times: int) -> Any:
        left = iter(range(times))

        def work(connection: Connection) -> None:
            note()(connection)
            if next(left, None) is not None:
                connection.exec_driver_sql(KILL[server.name])

        return work

    url = server.url("away")
    async with a_writer(url, queue_s=SHORT, reconnect_s=FOREVER) as writer:
        assert await outcome(writer.run(interrupted(1_000_000), frees=True)) == "StorageBusy"
        assert await noted(writer) == []
    async with a_writer(url, queue_s=FOREVER, reconnect_s=0) as writer:
        assert await outcome(writer.run(interrupted(3))) == "kept"
        assert await noted(writer) == ["note 0"]


async def test_who_stands_behind_an_unknown_outcome_is_told_in_time(
    server: DatabaseServer,
) -> None:
    url = server.url("away")
    with commit_proxy(server.name, server.port) as proxy:
        through = proxy.url(url)
        async with a_writer(through, queue_s=SHORT, reconnect_s=FOREVER) as writer:
            proxy.choose = lambda: Cut.BEFORE
            first = asyncio.create_task(outcome(writer.run(note(0), landed=lambda _: None)))
            await asyncio.to_thread(until, lambda: proxy.cuts.total() > 1, "it is asked for")
            last = asyncio.create_task(outcome(writer.run(note(1), frees=True)))
            behind = [writer.run(note(n)) for n in range(2, 5)]
            assert await asyncio.gather(*map(outcome, behind)) == ["StorageBusy"] * 3
            assert not first.done()
            assert not last.done()
            proxy.choose = None
            assert [await first, await last] == ["kept", "kept"]
            assert await noted(writer) == ["note 0", "note 1"]


async def test_an_unknown_outcome_is_told_as_one(server: DatabaseServer) -> None:
    url = server.url("away")
    with commit_proxy(server.name, server.port) as proxy:
        through = proxy.url(url)
        async with a_writer(through, queue_s=FOREVER, reconnect_s=SHORT) as writer:
            proxy.choose = lambda: Cut.BEFORE
            assert await outcome(writer.run(note())) == "OutcomeUnknown"
            proxy.choose = None
            assert await noted(writer) == []


async def test_closing_does_not_wait_for_it(server: DatabaseServer) -> None:
    url = server.url("away")
    async with a_writer(url, queue_s=FOREVER, reconnect_s=FOREVER) as writer:
        await asyncio.to_thread(server.stop)
        try:
            job = asyncio.create_task(outcome(writer.run(note())))
            await asyncio.sleep(0)  # it is queued
            await asyncio.to_thread(writer.close)
            assert await job == "StorageBusy"
        finally:
            await asyncio.to_thread(server.start)
