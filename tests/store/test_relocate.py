"""From each engine to each other, row for row."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from mail.errors import NotEmpty
from store import relocate
from store.engines import StoreUnfit
from store.records import Folder
from tests.databases import Database
from tests.sessions import remove
from tests.shapes import message
from tests.store.conftest import Filled, emptied, opened_at
from tests.store.test_backup import content, nothing

HEADER = b"From: Bob <bob@example.net>\r\nSubject: One\r\n\r\n"


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Another empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'other.db'}"
    server: Database = request.getfixturevalue(request.param)
    return emptied(server, "other")


async def fill_up(filled: Filled) -> None:
    filled.sql("UPDATE maildrop SET quota_octets = 0")
    uids = [
        await filled.keep(message(number, big=700_000), filled.ann, filled.eve)
        for number in range(30)
    ]
    await remove(filled.store, filled.ann, uids[:3])
    await filled.store.messages.move(filled.eve, uids[4:9], Folder.ARCHIVE)


def count(done: list[int]) -> Callable[[int, int], None]:
    def step(now: int, total: int) -> None:
        done[:] = [now, total]

    return step


async def test_a_moved_store_is_the_same_store(filled: Filled, url: str, other: str) -> None:
    await fill_up(filled)
    filled.store.close()
    before = content(url)
    done: list[int] = []
    moved = await asyncio.to_thread(relocate.move, url, other, step=count(done))
    assert not moved.different
    assert moved.messages == 60
    assert done[0] == done[1]
    assert content(other) == content(url) == before

    filled.store = opened_at(other)  # and it is in use
    await filled.keep(HEADER, filled.ann, filled.eve)
    assert not (await filled.store.verify()).found
    filled.store.close()
    with pytest.raises(NotEmpty):
        await asyncio.to_thread(relocate.move, url, other, step=nothing)
    filled.store = opened_at(other)


async def test_a_difference_is_named_and_the_copy_not_used(filled: Filled, tmp_path: Path) -> None:
    await fill_up(filled)
    filled.store.close()
    other = f"sqlite:///{tmp_path / 'other.db'}"
    damaged = False

    def damage(_done: int, _total: int) -> None:
        nonlocal damaged
        engine = create_engine(other, poolclass=NullPool)
        with engine.begin() as connection:
            found = connection.execute(
                text("UPDATE message SET flags = 2 WHERE maildrop_id = :eve AND born = 7"),
                {"eve": filled.eve},
            )
            damaged = damaged or found.rowcount == 1

    moved = await asyncio.to_thread(relocate.move, filled.url, other, step=damage)
    assert damaged
    assert moved.different == [("message", filled.eve)]
    with pytest.raises(StoreUnfit, match="did not come to its end"):
        opened_at(other)
    # Once more, over what is left of it.
    again = await asyncio.to_thread(relocate.move, filled.url, other, step=nothing)
    assert not again.different
    filled.store = opened_at(filled.url)
