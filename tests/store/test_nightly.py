"""A backup every night: once, at its time, and each of those that are kept is whole."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from store.backup import metas, save
from store.database import Database
from store.nightly import KEPT, due, prune
from store.restore import check
from tests.store.aged import HEADER, Aged, aged_store
from tests.store.conftest import new_file
from tests.waiting import until


def nothing(_done: int, _total: int) -> None:
    pass


def local(day: int, hour: int) -> datetime:
    return datetime(2030, 1, day, hour).astimezone()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
async def aged(url: str, folder: Path) -> AsyncIterator[Aged]:
    async with aged_store(url, backup_dir=folder) as found:
        yield found


async def test_one_each_night_and_the_last_are_kept(aged: Aged, folder: Path) -> None:
    for night in range(KEPT + 3):
        await aged.keep(HEADER + b"%d\r\n" % night)
        for _ in range(2):
            await aged.store.nightly.run_once()
        assert len(metas(folder)) == min(night + 1, KEPT)
        assert check(folder, step=nothing).messages == night + 1
        assert await aged.store.nightly.age_s() == 0
        aged.time.goes_by(days=1)
        assert await aged.store.nightly.age_s() == 24 * 3600
    for left in range(KEPT, 0, -1):
        checked = check(folder, step=nothing)
        assert (checked.messages, checked.missing) == (left + 3, [])
        metas(folder)[-1].unlink()


def test_a_night_begins_at_three(folder: Path) -> None:
    assert due(folder, local(2, 2))
    folder.mkdir()
    made = local(1, 23).astimezone(tz=None)
    utc = (made - (made.utcoffset() or timedelta())).replace(tzinfo=None)
    (folder / f"meta-000001-{utc:%Y%m%dT%H%M%SZ}.db").touch()
    assert [due(folder, local(2, hour)) for hour in (0, 2, 3, 12)] == [False, False, True, True]


async def test_a_folder_that_cannot_be_written_is_told_of_and_tried_again(
    aged: Aged, folder: Path
) -> None:
    shutil.copy(__file__, folder)  # in the way
    await aged.store.nightly.run_once()
    await asyncio.to_thread(folder.unlink)
    await aged.store.nightly.run_once()
    assert metas(folder) == []
    aged.time.goes_by(hours=1)
    await aged.store.nightly.run_once()
    assert len(metas(folder)) == 1


async def test_it_ends_when_told(aged: Aged, folder: Path) -> None:
    aged.store.nightly.start()
    await asyncio.to_thread(until, lambda: bool(metas(folder)), "there is a backup")
    await aged.store.nightly.stop()
    aged.time.goes_by(days=1)
    await aged.store.nightly.run_once()
    assert len(metas(folder)) == 1


def octets(folder: Path) -> int:
    return sum(pack.stat().st_size for pack in folder.glob("*.pack"))


def back_up(aged: Aged, folder: Path) -> int:
    with closing(Database(aged.url)) as database:
        save(database, folder, now=aged.time.now(), step=nothing, pack_octets=50_000)
    return octets(folder)


@pytest.mark.parametrize("left", [(0, 14, 29), (0, 1, 2)])  # in each of three packs; in the first
async def test_what_only_old_backups_needed_leaves_the_packs(
    tmp_path: Path, folder: Path, left: tuple[int, int, int]
) -> None:
    chance = random.Random(1)
    async with aged_store(new_file(tmp_path / "restante.db"), quota_octets=0) as aged:
        uids = []
        for _ in range(30):
            aged.time.goes_by(seconds=1)  # their keys have this order
            uids.append(await aged.keep(HEADER + chance.randbytes(5_000).hex().encode()))
    before = back_up(aged, folder)
    kept = {name: uids[n].octets for name, n in zip("abc", left, strict=True)}
    aged.run("DELETE FROM message WHERE uid NOT IN (:a, :b, :c)", **kept)
    aged.run("DELETE FROM body WHERE uid NOT IN (:a, :b, :c)", **kept)
    assert back_up(aged, folder) == before
    assert prune(folder, 2) == 0
    assert octets(folder) == before
    assert prune(folder, 1) == 1
    checked = check(folder, step=nothing)
    assert (checked.messages, checked.bodies, checked.missing) == (3, 3, [])
    assert octets(folder) < before / 2  # what was in the last pack alone is still there
    back_up(aged, folder)  # and it goes on
    assert check(folder, step=nothing).missing == []
