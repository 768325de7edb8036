"""What goes by itself goes at its moment: not before, not twice, and never what is still needed."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mail.errors import NoSuchMessage, NotFound, StorageBusy
from mail.ident import UniqueId
from store.database import Database
from store.leases import Leases
from store.messages import PURGED_FOR
from store.records import Credential, Folder, NewSession, SessionKind, Usage
from store.removal import BODY_GRACE, REMOVED_AT_ONCE, TOMBSTONES_KEPT
from store.upkeep import Calendar, Upkeep
from store.verify import verify
from store.writer import Work, Writer
from tests.sessions import listed, remove
from tests.store.aged import (
    HEADER,
    PREFIX,
    QUOTA,
    TRASH_DAYS,
    Aged,
    Time,
    aged_store,
    reopened,
    settings,
)

T = TypeVar("T")

SECOND = timedelta(seconds=1)
MODSEQ = "SELECT modseq FROM maildrop WHERE id = :drop"


@pytest.fixture
async def aged(url: str) -> AsyncIterator[Aged]:
    async with aged_store(url) as found:
        yield found


async def sound(aged: Aged) -> None:
    """Counters, references and bodies are what a scan finds."""
    assert (await aged.store.verify()).problems == []


async def gone(aged: Aged, maildrop: int, uid: UniqueId) -> bool:
    try:
        await aged.store.messages.read(maildrop, uid)
    except NoSuchMessage:
        return True
    return False


async def test_a_deleted_message_goes_at_its_moment_and_not_before(aged: Aged) -> None:
    uid = await aged.keep(HEADER)
    await remove(aged.store, aged.ann, [uid])
    aged.time.goes_by(days=TRASH_DAYS, seconds=-1)
    await aged.store.upkeep.run_once()
    assert await aged.octets(aged.ann, uid) == PREFIX + HEADER
    assert (await aged.store.maildrops.usage(aged.ann)).trash_octets == len(PREFIX + HEADER)
    aged.time.goes_by(seconds=1)
    await aged.store.upkeep.run_once()
    assert await gone(aged, aged.ann, uid)
    assert await aged.store.maildrops.usage(aged.ann) == Usage(0, 0, 0)
    await sound(aged)


async def test_one_after_the_other_each_at_its_moment(aged: Aged) -> None:
    uids = [await aged.keep(HEADER) for _ in range(5)]
    for uid in uids:
        await remove(aged.store, aged.ann, [uid])
        aged.time.goes_by(hours=1)
    aged.time.goes_by(days=TRASH_DAYS, hours=-5, seconds=-1)
    for left in range(5, 0, -1):
        await aged.store.upkeep.run_once()
        assert [await gone(aged, aged.ann, uid) for uid in uids].count(False) == left
        aged.time.goes_by(hours=1)
    await aged.store.upkeep.run_once()
    assert aged.count("message") == 0
    await sound(aged)


async def test_what_is_restored_keeps_its_id_and_stays(aged: Aged) -> None:
    uid = await aged.keep(HEADER)
    await remove(aged.store, aged.ann, [uid])
    await aged.store.messages.move(aged.ann, [uid], Folder.INBOX)
    aged.time.goes_by(days=TRASH_DAYS + 1)
    await aged.store.upkeep.run_once()
    [entry] = await listed(aged.store, aged.ann)
    assert entry.uid == uid
    assert await aged.octets(aged.ann, uid) == PREFIX + HEADER
    await sound(aged)


async def test_a_session_reads_what_it_lists_although_it_was_purged(aged: Aged) -> None:
    uid = await aged.keep(HEADER)
    entries = await listed(aged.store, aged.ann)
    await aged.store.messages.move(aged.ann, [uid], Folder.PURGED)
    assert not (await listed(aged.store, aged.ann))
    aged.time.goes_by(seconds=(PURGED_FOR - SECOND).total_seconds())
    await aged.store.upkeep.run_once()
    assert await aged.octets(aged.ann, entries[0].uid) == PREFIX + HEADER
    aged.time.goes_by(seconds=1)
    await aged.store.upkeep.run_once()
    with pytest.raises(NoSuchMessage):
        await aged.store.messages.open(aged.ann, uid)
    await sound(aged)


async def test_a_tombstone_says_what_went_and_when(aged: Aged) -> None:
    first, second = await aged.keep(HEADER), await aged.keep(HEADER)
    await aged.store.messages.move(aged.ann, [first, second], Folder.PURGED)
    [(before,)] = aged.run(MODSEQ, drop=aged.ann)
    aged.time.goes_by(days=2)
    await aged.store.upkeep.run_once()
    [(after,)] = aged.run(MODSEQ, drop=aged.ann)
    assert after == before + 1
    rows = aged.run("SELECT maildrop_id, modseq, uid FROM tombstone ORDER BY uid")
    assert [tuple(row) for row in rows] == [
        (aged.ann, after, uid.octets) for uid in sorted([first, second])
    ]


async def test_tombstones_go_after_their_time_and_raise_the_floor(aged: Aged) -> None:
    for hours in (0, 5):
        uid = await aged.keep(HEADER)
        await aged.store.messages.move(aged.ann, [uid], Folder.PURGED)
        aged.time.goes_by(days=1, hours=hours)
        await aged.store.upkeep.run_once()
    [first, second] = [row[0] for row in aged.run("SELECT modseq FROM tombstone ORDER BY modseq")]
    await aged.store.upkeep.run_once()
    for expected, floor, passed in (
        (2, 0, TOMBSTONES_KEPT - timedelta(days=1, hours=5) - SECOND),
        (1, first, SECOND),
        (0, second, timedelta(days=1, hours=5)),
    ):
        aged.time.goes_by(seconds=passed.total_seconds())
        await aged.store.upkeep.run_once()
        assert aged.count("tombstone") == expected
        [(found,)] = aged.run("SELECT tombstone_floor FROM maildrop WHERE id = :ann", ann=aged.ann)
        assert found == floor
    assert aged.run("SELECT sweep_at FROM maildrop WHERE id = :ann", ann=aged.ann) == [(None,)]


async def test_a_shared_body_goes_when_both_are_gone_and_its_grace_is_over(aged: Aged) -> None:
    uid = await aged.keep(HEADER, aged.ann, aged.eve)
    await aged.store.messages.move(aged.ann, [uid], Folder.PURGED)
    aged.time.goes_by(days=30)
    await aged.store.upkeep.run_once()
    assert await gone(aged, aged.ann, uid)
    assert await aged.octets(aged.eve, uid) == PREFIX + HEADER
    assert aged.count("body_gone") == 0
    await aged.store.messages.move(aged.eve, [uid], Folder.PURGED)
    aged.time.goes_by(days=1)
    await aged.store.upkeep.run_once()
    await sound(aged)
    aged.time.goes_by(seconds=(BODY_GRACE - SECOND).total_seconds())
    await aged.store.upkeep.run_once()
    assert aged.count("body") == 1
    aged.time.goes_by(seconds=1)
    await aged.store.upkeep.run_once()
    for table in ("message", "body", "body_chunk", "body_gone"):
        assert aged.count(table) == 0, table
    await sound(aged)


async def test_more_than_one_step_of_messages_goes_in_one_run(aged: Aged) -> None:
    number = REMOVED_AT_ONCE + 100
    uids = await asyncio.gather(*(aged.keep(b"\r\n") for _ in range(number // 2)))
    uids += await asyncio.gather(*(aged.keep(b"\r\n") for _ in range(number // 2)))
    assert await aged.store.messages.move(aged.ann, uids, Folder.PURGED) == number
    kept = await aged.keep(HEADER)
    aged.time.goes_by(days=1)
    await aged.store.upkeep.run_once()
    assert aged.count("message") == 1
    assert aged.count("tombstone") == number
    aged.time.goes_by(days=3)
    await aged.store.upkeep.run_once()
    assert aged.count("body") == 1
    assert await aged.octets(aged.ann, kept) == PREFIX + HEADER
    await sound(aged)


async def test_trash_above_the_quota_is_purged_oldest_first(aged: Aged) -> None:
    content = HEADER + b"x" * (QUOTA // 4) + b"\r\n"
    uids = []
    for _ in range(6):  # each a bit more than a quarter
        uids.append(await aged.keep(content))
        await remove(aged.store, aged.ann, uids[-1:])
        aged.time.goes_by(minutes=1)
    await aged.store.upkeep.run_once()
    folders = [(await aged.store.messages.read(aged.ann, uid)).folder for uid in uids]
    assert folders == [Folder.PURGED] * 3 + [Folder.TRASH] * 3
    await sound(aged)
    aged.time.goes_by(days=1)
    await aged.store.upkeep.run_once()
    assert [await gone(aged, aged.ann, uid) for uid in uids] == [True] * 3 + [False] * 3
    await sound(aged)


async def test_a_closed_account_goes_whole_at_its_moment(aged: Aged) -> None:
    shared = await aged.keep(HEADER, aged.ann, aged.eve)
    own = [await aged.keep(HEADER) for _ in range(3)]
    await remove(aged.store, aged.ann, own[:1])
    until = await aged.store.accounts.close("ann")
    aged.time.goes_by(seconds=(until - aged.time.now() - SECOND).total_seconds())
    await aged.store.upkeep.run_once()
    assert aged.count("account") == 2
    assert aged.count("message") == 5
    await sound(aged)
    aged.time.goes_by(seconds=1)
    await aged.store.upkeep.run_once()
    assert [row[0] for row in aged.run("SELECT login FROM account")] == ["eve"]
    for table in ("maildrop", "credential", "address", "message"):
        assert aged.count(table) == 1, table
    assert aged.count("tombstone") == 0
    assert await aged.octets(aged.eve, shared) == PREFIX + HEADER
    with pytest.raises(NotFound):
        await aged.store.accounts.get("ann")
    aged.time.goes_by(days=4)
    await aged.store.upkeep.run_once()
    assert aged.count("body") == 1
    await sound(aged)


async def test_a_closed_account_of_many_messages_goes_in_one_run(aged: Aged) -> None:
    number = REMOVED_AT_ONCE + 1
    for _ in range(3):
        await asyncio.gather(*(aged.keep(b"\r\n") for _ in range(number // 3 + 1)))
    await aged.store.accounts.close("ann")
    aged.time.goes_by(days=TRASH_DAYS)
    await aged.store.upkeep.run_once()
    assert aged.count("message") == 0
    assert aged.count("maildrop") == 1
    assert aged.count("tombstone") == 0
    await sound(aged)


async def test_ended_sessions_go(aged: Aged) -> None:
    account = await aged.store.accounts.get("ann")
    for hours in (1, 3):
        await aged.store.sessions.begin(
            account,
            Credential(1, "", 1),
            NewSession(
                SessionKind.LOGIN, bytes([hours]) * 32, "127.0.0.1", timedelta(hours=hours), ""
            ),
        )
    aged.time.goes_by(hours=2)
    await aged.store.upkeep.run_once()
    assert aged.count("session") == 1


@pytest.mark.parametrize("hours", [-2, 2, 24 * 400])
async def test_nothing_goes_for_a_grace_after_the_clock_was_set(aged: Aged, hours: int) -> None:
    uid = await aged.keep(HEADER)
    await aged.store.messages.move(aged.ann, [uid], Folder.PURGED)
    await aged.store.upkeep.run_once()
    aged.time.wall += timedelta(hours=hours)
    await aged.store.upkeep.run_once()
    for _ in range(72):
        assert not await gone(aged, aged.ann, uid)
        aged.time.goes_by(hours=1)
        await aged.store.upkeep.run_once()
    assert await gone(aged, aged.ann, uid)


async def test_small_corrections_of_the_clock_stop_nothing(aged: Aged) -> None:
    uid = await aged.keep(HEADER)
    await aged.store.messages.move(aged.ann, [uid], Folder.PURGED)
    aged.time.wall += timedelta(minutes=50)
    await aged.store.upkeep.run_once()
    aged.time.goes_by(days=1)
    await aged.store.upkeep.run_once()
    assert await gone(aged, aged.ann, uid)


async def test_without_the_role_nothing_is_done(aged: Aged) -> None:
    uid = await aged.keep(HEADER)
    await aged.store.messages.move(aged.ann, [uid], Folder.PURGED)
    await aged.store.upkeep.run_once()
    aged.time.goes_by(days=1)
    aged.run("UPDATE lease SET holder = :other", other=b"another process.")
    await aged.store.upkeep.run_once()
    assert not await gone(aged, aged.ann, uid)
    aged.run("UPDATE lease SET holder = NULL")
    await aged.store.upkeep.run_once()
    assert await gone(aged, aged.ann, uid)


class Cut(Writer):
    """Ends, as a killed process does, before its n-th transaction."""

    left = 0

    async def run(self, work: Work[T], **options: Any) -> T:
        if not self.left:
            raise StorageBusy("cut off")
        self.left -= 1
        return await super().run(work, **options)


async def test_cut_off_after_any_step_the_next_life_goes_on(url: str) -> None:
    async with aged_store(url) as aged:
        both = [await aged.keep(HEADER + b"x" * n + b"\r\n", aged.ann, aged.eve) for n in range(3)]
        own = [await aged.keep(HEADER, aged.eve) for _ in range(3)]
        kept = await aged.keep(HEADER, aged.eve)
        await remove(aged.store, aged.eve, [*both[:2], *own])
        await aged.store.accounts.close("ann")
        time, eve = aged.time, aged.eve
    cuts = 0
    for passed in (timedelta(days=TRASH_DAYS), BODY_GRACE, TOMBSTONES_KEPT):
        time.goes_by(seconds=passed.total_seconds())
        for steps in range(100):
            if await _live_for(steps, url, time):
                break
            cuts += 1
        else:
            pytest.fail("never done")
    assert cuts >= 6  # bodies may share a shard, and with it a step
    async with reopened(url, time) as aged:
        assert [row[0] for row in aged.run("SELECT login FROM account")] == ["eve"]
        for table, rows in (("message", 2), ("body", 2), ("body_chunk", 2)):
            assert aged.count(table) == rows, table
        for table in ("body_gone", "tombstone"):
            assert aged.count(table) == 0, table
        for uid in (both[2], kept):
            await aged.octets(eve, uid)


async def _live_for(steps: int, url: str, time: Time) -> bool:
    """Whether upkeep came to its end. Whatever it did, the store is sound."""
    database = Database(url)
    writer = Cut(database, None)
    writer.left = steps
    leases = Leases(database, writer)
    upkeep = Upkeep(
        *(database, writer, leases, settings(url)), calendar=Calendar(time.now, time.elapsed)
    )
    try:
        await upkeep.run_once()
    except StorageBusy:
        return False
    else:
        return True
    finally:
        writer.left = 1
        await leases.stop()  # another process would wait for a minute
        assert (await verify(database, writer)).problems == []
        writer.close()
        database.close()


async def test_deleted_octets_leave_the_files(tmp_path: Path) -> None:
    """Where the database is a file: neither it nor its log holds what was removed."""
    path = tmp_path / "restante.db"
    async with aged_store(f"sqlite:///{path}") as aged:
        chance = random.Random(1)
        secret = chance.randbytes(60).hex().encode()
        uid = await aged.keep(b"Subject: Nightingale\r\n\r\n" + secret + b"\r\n")
        [(frame,)] = aged.run("SELECT frame FROM body_chunk")
        traces = (bytes(frame)[20:60], b"Nightingale", PREFIX)
        assert all(trace in _octets(path) for trace in traces)
        await aged.store.messages.move(aged.ann, [uid], Folder.PURGED)
        aged.time.goes_by(days=1)
        await aged.store.upkeep.run_once()
        assert b"Nightingale" not in _octets(path)
        aged.time.goes_by(days=3)
        await aged.store.upkeep.run_once()
        assert not any(trace in _octets(path) for trace in traces)


def _octets(path: Path) -> bytes:
    return path.read_bytes() + path.with_name(path.name + "-wal").read_bytes()


async def test_a_file_gives_room_back(tmp_path: Path) -> None:
    path = tmp_path / "restante.db"
    async with aged_store(f"sqlite:///{path}") as aged:
        aged.run("UPDATE maildrop SET quota_octets = 0")
        chance = random.Random(1)
        blocks = [chance.randbytes(1_000_000).hex().encode() + b"\r\n" for _ in range(20)]
        uids = [await aged.keep(block) for block in blocks]
        await aged.store.messages.move(aged.ann, uids, Folder.PURGED)
        aged.time.goes_by(days=1)
        await aged.store.upkeep.run_once()
        assert path.stat().st_size > 20_000_000
        aged.time.goes_by(days=3)
        await aged.store.upkeep.run_once()
        assert aged.count("body") == 0
        assert path.stat().st_size < 13_000_000
        await sound(aged)


async def test_it_runs_at_the_start_and_ends_when_told(aged: Aged) -> None:
    uid = await aged.keep(HEADER)
    await aged.store.messages.move(aged.ann, [uid], Folder.PURGED)
    aged.time.goes_by(days=1)
    aged.store.leases.start()
    aged.store.upkeep.start()
    async with asyncio.timeout(30):
        while not await gone(aged, aged.ann, uid):
            pass
    await aged.store.upkeep.stop()
    await aged.store.leases.stop()
    await sound(aged)
