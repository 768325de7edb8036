"""Each kind of damage is found, named and told where it is; a sound store has none."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from mail.ident import UniqueId
from store.bodies import CHUNK_OCTETS
from store.records import Folder, Usage
from store.verify import PROBLEMS_LISTED, Wrong
from tests.sessions import remove
from tests.store.aged import HEADER, PREFIX, Aged, aged_store

LONG = HEADER + random.Random(1).randbytes(2 * CHUNK_OCTETS).hex().encode() + b"\r\n"  # 5 chunks


@pytest.fixture
async def aged(url: str) -> AsyncIterator[Aged]:
    async with aged_store(url) as found:
        found.run("UPDATE maildrop SET quota_octets = 0")
        yield found


async def wrong(aged: Aged, *, bodies: float = 100) -> list[tuple[Wrong, int, UniqueId | None]]:
    report = await aged.store.verify(bodies=bodies)
    assert report.found == len(report.problems)
    return [(problem.wrong, problem.place, problem.uid) for problem in report.problems]


def change(aged: Aged, statement: str, uid: UniqueId | None = None) -> None:
    """Damages exactly what it names."""
    with aged.rows() as connection:
        values = {"uid": uid.octets} if uid else {}
        assert connection.execute(text(statement), values).rowcount >= 1


async def test_a_sound_store_has_no_problem_in_any_state(aged: Aged) -> None:
    assert await wrong(aged) == []
    uids = [await aged.keep(HEADER, aged.ann, aged.eve) for _ in range(6)]
    for content in (LONG, b"", HEADER + b"x" * (CHUNK_OCTETS - len(HEADER))):
        await aged.keep(content, aged.eve)
    for uid, folder in zip(uids, Folder, strict=False):
        await aged.store.messages.move(aged.ann, [uid], folder)
    aged.time.goes_by(days=1)
    await aged.store.messages.move(aged.eve, uids, Folder.PURGED)
    for _ in range(3):
        assert await wrong(aged) == []
        await aged.store.upkeep.run_once()
        aged.time.goes_by(days=1)
    report = await aged.store.verify()
    assert (report.maildrops, report.messages, report.bodies) == (2, 8, 9)
    assert report.unpacked == 9
    assert report.mended == 0


async def test_progress_is_told_and_counts_to_the_end(aged: Aged) -> None:
    for _ in range(3):
        await aged.keep(HEADER)
    told: dict[str, int] = {}
    await aged.store.verify(progress=told.__setitem__)
    assert told == {"maildrops": 2, "messages": 3, "bodies": 3, "chunks": 3, "unpacked": 3}


@pytest.mark.parametrize("counter", ["messages", "octets", "trash_octets"])
async def test_a_wrong_counter_is_found_and_mended(aged: Aged, counter: str) -> None:
    uids = [await aged.keep(HEADER, aged.ann, aged.eve) for _ in range(3)]
    await remove(aged.store, aged.ann, uids[:1])
    before = await aged.store.maildrops.usage(aged.ann)
    size = len(PREFIX + HEADER)
    assert before == Usage(2, 2 * size, size)
    change(aged, f"UPDATE maildrop SET {counter} = {counter} + 1 WHERE id = {aged.ann}")
    found = [(Wrong.COUNTERS, aged.ann, None)]
    assert await wrong(aged) == found
    report = await aged.store.verify(fix=True)
    assert (report.found, report.mended) == (1, 1)
    assert await wrong(aged) == []
    assert await aged.store.maildrops.usage(aged.ann) == before


async def test_counters_of_an_empty_maildrop(aged: Aged) -> None:
    change(aged, f"UPDATE maildrop SET messages = 1 WHERE id = {aged.ann}")
    assert await wrong(aged) == [(Wrong.COUNTERS, aged.ann, None)]
    await aged.store.verify(fix=True)
    assert await wrong(aged) == []


@pytest.mark.parametrize("by", [1, -1])
async def test_a_wrong_number_of_references(aged: Aged, by: int) -> None:
    uid = await aged.keep(HEADER, aged.ann, aged.eve)
    await aged.keep(HEADER, aged.eve)
    change(aged, f"UPDATE body SET refs = refs + {by} WHERE uid = :uid", uid)
    assert await wrong(aged) == [(Wrong.REFERENCES, min(aged.ann, aged.eve), uid)]


async def test_a_message_without_body(aged: Aged) -> None:
    uid = await aged.keep(HEADER, aged.ann, aged.eve)
    change(aged, "DELETE FROM body_chunk WHERE uid = :uid", uid)
    change(aged, "DELETE FROM body WHERE uid = :uid", uid)
    both = sorted([aged.ann, aged.eve])
    assert await wrong(aged) == [(Wrong.NO_BODY, drop, uid) for drop in both]


async def test_a_body_that_no_message_has(aged: Aged) -> None:
    for refs in (0, 1):
        uid = await aged.keep(HEADER)
        change(aged, f"UPDATE body SET refs = {refs} WHERE uid = :uid", uid)
        change(aged, "DELETE FROM message WHERE uid = :uid", uid)
        await aged.store.verify(fix=True)
        assert await wrong(aged) == [(Wrong.NO_MESSAGE, aged.ann, uid)]
        change(aged, "DELETE FROM body_chunk")
        change(aged, "DELETE FROM body")


async def test_a_body_that_waits_for_its_removal_is_none(aged: Aged) -> None:
    uid = await aged.keep(HEADER)
    await aged.store.messages.move(aged.ann, [uid], Folder.PURGED)
    aged.time.goes_by(days=1)
    await aged.store.upkeep.run_once()
    assert await wrong(aged) == []
    change(aged, "DELETE FROM body_gone")
    assert await wrong(aged) == [(Wrong.NO_MESSAGE, aged.ann, uid)]


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM body_chunk WHERE uid = :uid AND n = 0",
        "DELETE FROM body_chunk WHERE uid = :uid AND n = 2",
        "DELETE FROM body_chunk WHERE uid = :uid AND n = 4",
        "DELETE FROM body_chunk WHERE uid = :uid",
        "UPDATE body_chunk SET n = 7 WHERE uid = :uid AND n = 4",
        "UPDATE body SET stored = stored + 1 WHERE uid = :uid",
    ],
)
async def test_chunks_with_a_gap_or_another_length(aged: Aged, damage: str) -> None:
    uid = await aged.keep(LONG)
    await aged.keep(LONG)
    change(aged, damage, uid)
    assert await wrong(aged, bodies=0) == [(Wrong.CHUNKS, aged.ann, uid)]
    if "body SET" not in damage:
        assert (Wrong.DAMAGED, aged.ann, uid) in await wrong(aged)


async def test_chunks_without_body(aged: Aged) -> None:
    uid = await aged.keep(HEADER)
    change(aged, "DELETE FROM body WHERE uid = :uid", uid)
    change(aged, "DELETE FROM message WHERE uid = :uid", uid)
    await aged.store.verify(fix=True)
    assert await wrong(aged) == [(Wrong.NO_OWNER, aged.ann, uid)]


async def test_octets_that_are_not_what_was_stored(aged: Aged) -> None:
    uid = await aged.keep(HEADER + b"pay 100 to Ann\r\n")
    other = await aged.keep(HEADER + b"pay 900 to Eve\r\n")
    [(frame,)] = aged.run("SELECT frame FROM body_chunk WHERE uid = :uid", uid=other.octets)
    with aged.rows() as connection:
        connection.execute(
            text("UPDATE body_chunk SET frame = :frame WHERE uid = :uid"),
            [
                {"frame": bytes(frame), "uid": uid.octets},
                {"frame": b"no frame" + bytes(frame)[8:], "uid": other.octets},
            ],
        )
    found = await wrong(aged)
    assert (Wrong.DAMAGED, aged.ann, uid) in found
    assert (Wrong.DAMAGED, aged.ann, other) in found
    assert {kind for kind, _, _ in await wrong(aged, bodies=0)} <= {Wrong.CHUNKS}


async def test_a_uidl_that_two_messages_have(aged: Aged) -> None:
    uid, other = await aged.keep(HEADER), await aged.keep(HEADER, aged.ann, aged.eve)
    insert = "INSERT INTO uidl_override (maildrop_id, uid, uidl)"
    change(aged, f"{insert} VALUES ({aged.ann}, :uid, 'foreign-1')", uid)
    assert await wrong(aged) == []
    change(aged, f"UPDATE uidl_override SET uidl = '{other}'")
    assert await wrong(aged) == [(Wrong.UIDL, aged.ann, uid)]
    # The other one is known by another name itself: they are two again.
    change(aged, f"{insert} VALUES ({aged.ann}, :uid, 'foreign-2')", other)
    assert await wrong(aged) == []
    change(aged, "UPDATE uidl_override SET uidl = 'two words' WHERE uid = :uid", uid)
    assert await wrong(aged) == [(Wrong.UIDL, aged.ann, uid)]


async def test_a_share_of_the_bodies(aged: Aged) -> None:
    await asyncio.gather(*(aged.keep(b"\r\n") for _ in range(400)))
    assert (await aged.store.verify(bodies=0)).unpacked == 0
    assert 20 < (await aged.store.verify(bodies=25)).unpacked < 180  # 100 in the mean


async def test_more_problems_than_are_listed_are_counted(aged: Aged) -> None:
    number = PROBLEMS_LISTED + 200  # more than one page, too
    for _ in range(4):
        await asyncio.gather(
            *(aged.keep(b"\r\n", [aged.ann, aged.eve][n % 2]) for n in range(number // 4))
        )
    change(aged, "UPDATE body SET refs = 2")
    report = await aged.store.verify(bodies=0)
    assert report.bodies == report.messages == report.found == number
    assert len(report.problems) == PROBLEMS_LISTED
    assert len({problem.uid for problem in report.problems}) == PROBLEMS_LISTED
