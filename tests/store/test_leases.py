"""Roles: never two holders at once, and no write of one whose time is over."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, literal_column, select, text

from mail.errors import LeaseLost
from store.database import Database
from store.leases import LIFE_S, Lease, Leases, hold
from store.writer import Writer
from tests.store.conftest import new_file


@dataclass
class Desk:
    """A database, and as many holders of roles as a test asks for."""

    url: str
    opened: list[tuple[Database, Writer]] = field(default_factory=list)

    def open(self) -> tuple[Database, Writer]:
        database = Database(self.url)
        self.opened.append((database, Writer(database, None)))
        return self.opened[-1]

    def close(self) -> None:
        for database, writer in self.opened:
            writer.close()
            database.close()

    @property
    def database(self) -> Database:
        return self.opened[0][0]

    @property
    def writer(self) -> Writer:
        return self.opened[0][1]

    def holder(self) -> Leases:
        """With connections of its own, where that can be."""
        return Leases(*(self.open() if self.database.backend.shared else self.opened[0]))

    async def execute(self, statement: str) -> None:
        await self.writer.run(lambda connection: connection.execute(text(statement)).rowcount)

    async def run_out(self) -> None:
        """As if no lease had been renewed for its whole life."""
        await self.execute(f"UPDATE lease SET expires_at = expires_at - {LIFE_S + 1} * 1000000")

    async def note(self, lease: Lease, name: str) -> None:
        """A write of the role."""
        await self.writer.run(partial(_note, lease, name))

    async def notes(self) -> list[str]:
        rows = await self.database.read(
            lambda connection: list(
                connection.execute(text("SELECT name FROM store_fact WHERE value = 'note'"))
            )
        )
        return [str(name) for (name,) in rows]


def _note(lease: Lease, name: str, connection: Connection) -> None:
    hold(connection, lease)
    connection.execute(
        text("INSERT INTO store_fact (name, value) VALUES (:name, 'note')"), {"name": name}
    )


@pytest.fixture
async def desk(url: str) -> AsyncIterator[Desk]:
    found = Desk(url)
    found.open()
    yield found
    found.close()


async def test_one_of_many_gets_the_role(desk: Desk) -> None:
    for _ in range(3):  # the row missing, free, run out
        holders = [desk.holder() for _ in range(8)]
        taken = await asyncio.gather(*(holder.take("upkeep") for holder in holders))
        assert sum(lease is not None for lease in taken) == 1
        await desk.run_out()


async def test_each_role_has_a_holder_of_its_own(desk: Desk) -> None:
    one, other = desk.holder(), desk.holder()
    assert await one.take("upkeep")
    assert await other.take("sweep:3")
    assert await one.take("sweep:3") is None
    assert await other.take("upkeep") is None


async def test_who_has_it_is_told_so_again(desk: Desk) -> None:
    holder = desk.holder()
    lease = await holder.take("upkeep")
    assert lease is not None
    assert await holder.take("upkeep") == lease


async def test_the_clock_of_the_database_decides(desk: Desk) -> None:
    assert await desk.holder().take("upkeep")
    left_us: int = await desk.database.read(
        lambda connection: connection.execute(
            select(literal_column(f"expires_at - {desk.database.backend.now}")).select_from(
                text("lease")
            )
        ).scalar_one()
    )
    assert (LIFE_S - 10) * 1_000_000 < left_us <= LIFE_S * 1_000_000


async def test_a_role_that_was_not_renewed_goes_to_another(desk: Desk) -> None:
    one, other = desk.holder(), desk.holder()
    first = await one.take("upkeep")
    assert await other.take("upkeep") is None
    await desk.run_out()
    second = await other.take("upkeep")
    assert first is not None
    assert second is not None
    assert second.fence > first.fence
    assert await one.take("upkeep") is None


async def test_renewing_keeps_all_roles_of_a_holder_and_no_other(desk: Desk) -> None:
    one, other = desk.holder(), desk.holder()
    assert await one.take("upkeep")
    assert await one.take("sweep:1")
    assert await other.take("sweep:2")
    await desk.run_out()
    await one.renew()
    late = desk.holder()
    assert await late.take("upkeep") is None
    assert await late.take("sweep:1") is None
    assert await late.take("sweep:2")


async def test_a_stale_holder_writes_nothing(desk: Desk) -> None:
    one, other = desk.holder(), desk.holder()
    stale = await one.take("upkeep")
    assert stale is not None
    await desk.note(stale, "in time")
    await desk.run_out()
    await desk.note(stale, "late, but still alone")
    fresh = await other.take("upkeep")
    assert fresh is not None
    outcomes = await asyncio.gather(  # in one batch: the stale one takes nobody with it
        desk.note(stale, "too late"), desk.note(fresh, "new"), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [LeaseLost, type(None)]
    assert sorted(await desk.notes()) == ["in time", "late, but still alone", "new"]


async def test_an_old_fence_of_the_same_holder_is_stale_too(desk: Desk) -> None:
    holder = desk.holder()
    old = await holder.take("upkeep")
    await desk.run_out()
    new = await holder.take("upkeep")
    assert old is not None
    assert new is not None
    with pytest.raises(LeaseLost):
        await desk.note(old, "from before")
    await desk.note(new, "now")


async def test_what_is_given_back_is_free_at_once(desk: Desk) -> None:
    one, other = desk.holder(), desk.holder()
    lease = await one.take("upkeep")
    assert lease is not None
    await one.stop()
    with pytest.raises(LeaseLost):
        await desk.note(lease, "after the end")
    assert await other.take("upkeep")
    await one.stop()  # gives back nothing of another's
    assert await desk.holder().take("upkeep") is None


async def test_a_store_that_is_a_file_frees_the_roles_of_a_life_that_was_cut_off(
    tmp_path: Path,
) -> None:
    desk = Desk(new_file(tmp_path / "restante.db"))
    desk.open()
    assert await desk.holder().take("upkeep")
    holder = desk.holder()
    assert await holder.take("upkeep") is None
    holder.start()
    await asyncio.sleep(0)  # the first renewal is in the queue
    assert await holder.take("upkeep")
    await holder.stop()
    desk.close()
