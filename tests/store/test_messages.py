"""What we serve is what we stored; all recipients of an arrival or none; counters never drift."""

import asyncio
import random
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.errors import MessageDamaged, NoSuchMessage, OverQuota
from mail.ident import UniqueId
from mail.lines import canonical
from store.bodies import CHUNK_OCTETS
from store.delivery import KEYS_AT_ONCE
from store.records import Role, Usage
from tests.sessions import listed, remove
from tests.store.aged import aged_store
from tests.store.conftest import PREFIX, QUOTA, Filled, fill, now

FLIPS = 80

HEADER = b"From: Bob <bob@example.net>\r\nSubject: One\r\n\r\n"


async def test_octets_come_back_as_they_went_in(filled: Filled) -> None:
    for content in (
        b"",
        b"\r\n",
        HEADER,
        HEADER + b"text\r\n",
        HEADER + b"\0" * 500 + b"\r\n",
        HEADER + b"." * 100 + b"\r\n",
        HEADER + random.Random(1).randbytes(1000).hex().encode() + b"\r\n",
        HEADER + b"y" * (CHUNK_OCTETS - len(HEADER) - 2) + b"\r\n",  # one chunk, to the octet
        HEADER + b"y" * (CHUNK_OCTETS - len(HEADER) - 1) + b"\r\n",  # and one octet more
    ):
        uid = await filled.keep(content)
        message = await filled.store.messages.read(filled.ann, uid)
        stored = await filled.octets(filled.ann, uid)
        assert stored == PREFIX + content
        assert message.size == len(stored)


async def test_a_block_that_was_given_is_not_kept(filled: Filled) -> None:
    """Thousands may be reading at once, each as slowly as it may."""
    uid = await filled.keep(b"y" * 2 * CHUNK_OCTETS)
    opened = await filled.store.messages.open(filled.ann, uid)
    blocks = opened.blocks()
    await anext(blocks)  # our trace
    first = await anext(blocks)
    await anext(blocks)
    assert sys.getrefcount(first) <= 2  # our name for it, and the argument
    whole = b"".join([block async for block in opened.blocks()])  # and it can be had again
    assert whole == PREFIX + b"y" * 2 * CHUNK_OCTETS


async def test_some_are_opened_by_one_read(filled: Filled) -> None:
    """Without those that are not there, and those that are damaged."""
    uids = [await filled.keep(HEADER + b"%d\r\n" % n) for n in range(3)]
    filled.sql(
        "UPDATE body_chunk SET frame = :frame WHERE uid = :uid", frame=b"", uid=uids[1].octets
    )
    wanted = [*uids, UniqueId.new(now())]
    found = await filled.store.messages.open_some(filled.ann, wanted)
    assert set(found) == {uids[0], uids[2]}
    octets = [block async for block in found[uids[2]].blocks()]
    assert b"".join(octets) == PREFIX + HEADER + b"2\r\n"
    assert await filled.store.messages.open_some(filled.eve, wanted) == {}


async def test_one_body_serves_all_recipients(filled: Filled) -> None:
    uid = await filled.keep(HEADER, filled.ann, filled.eve)
    for maildrop in (filled.ann, filled.eve):
        assert await filled.octets(maildrop, uid) == PREFIX + HEADER
    assert filled.sql("SELECT refs FROM body") == [(2,)]


async def test_a_message_for_very_many_and_its_repeat(filled: Filled) -> None:
    """More maildrops than one statement asks for."""
    adds = (
        filled.store.accounts.add(f"user{n}", f"hash {n}", role=Role.USER)
        for n in range(2 * KEYS_AT_ONCE + 1)
    )
    drops = [account.maildrop_id for account in await asyncio.gather(*adds)]
    await filled.keep(HEADER, *drops)
    assert not filled.sql("SELECT uid FROM message WHERE (traits & 32) <> 0")
    again = await filled.keep(HEADER, *drops)
    rows = filled.sql("SELECT maildrop_id, uid FROM message WHERE (traits & 32) <> 0")
    assert sorted((row.maildrop_id, row.uid) for row in rows) == [
        (drop, again.octets) for drop in sorted(drops)
    ]
    counted = filled.sql("SELECT messages, modseq FROM maildrop WHERE modseq > 0")
    assert [tuple(row) for row in counted] == [(2, 2)] * len(drops)


async def test_a_repeat_is_one_that_came_within_a_day(url: str) -> None:
    async with aged_store(url) as aged:
        uids = [await aged.keep(HEADER)]
        for hours in (23, 25):
            aged.time.goes_by(hours=hours)
            uids.append(await aged.keep(HEADER))
        other = await aged.keep(HEADER + b"text\r\n")
        elsewhere = await aged.keep(HEADER, aged.eve)
        read = aged.store.messages.read
        assert [(await read(aged.ann, uid)).repeat for uid in uids] == [False, True, False]
        assert not (await read(aged.ann, other)).repeat
        assert not (await read(aged.eve, elsewhere)).repeat


async def test_another_maildrop_does_not_see_it(filled: Filled) -> None:
    uid = await filled.keep(HEADER, filled.ann)
    with pytest.raises(NoSuchMessage):
        await filled.store.messages.open(filled.eve, uid)
    with pytest.raises(NoSuchMessage):
        await filled.store.messages.read(filled.eve, uid)
    assert not (await listed(filled.store, filled.eve))
    assert await remove(filled.store, filled.eve, [uid]) == 0
    assert await filled.octets(filled.ann, uid) == PREFIX + HEADER


async def test_over_quota_for_one_recipient_keeps_none(filled: Filled) -> None:
    half = HEADER + b"x" * (QUOTA // 2) + b"\r\n"
    for _ in range(2):
        await filled.keep(half, filled.ann)  # at 100 %: the next RCPT would be put off
    assert await filled.store.maildrops.full_since(filled.ann) is not None
    assert await filled.store.maildrops.full_since(filled.eve) is None
    with pytest.raises(OverQuota):
        await filled.keep(half, filled.eve, filled.ann)
    assert not (await listed(filled.store, filled.eve))
    assert filled.sql("SELECT count(*) FROM body") == [(2,)]
    await filled.keep(HEADER, filled.ann)  # what was on its way may go over by a tenth
    [*_, last] = await listed(filled.store, filled.ann)
    await remove(filled.store, filled.ann, [last.uid])
    await filled.keep(half, filled.eve)


async def test_one_over_quota_does_not_disturb_its_batch(filled: Filled) -> None:
    big = HEADER + b"x" * (QUOTA + QUOTA // 5) + b"\r\n"
    outcomes = await asyncio.gather(
        *(filled.keep(big if n % 4 == 0 else HEADER) for n in range(40)), return_exceptions=True
    )
    assert sum(isinstance(outcome, OverQuota) for outcome in outcomes) == 10
    kept = [outcome for outcome in outcomes if isinstance(outcome, UniqueId)]
    entries = await listed(filled.store, filled.ann)
    assert {entry.uid for entry in entries} == set(kept)


async def test_facts_are_kept_with_the_message(filled: Filled) -> None:
    uid = await filled.keep(
        b"From: A <a@example.net>\r\nSubject: =?utf-8?q?=C3=A9t=C3=A9?=\r\n\r\n"
    )
    message = await filled.store.messages.read(filled.ann, uid)
    assert message.subject == "été"
    assert message.from_text == "A <a@example.net>"
    assert abs((now() - message.arrived).total_seconds()) < 60
    assert message.unread
    assert not message.starred


async def test_no_damaged_octet_is_served(filled: Filled) -> None:
    content = HEADER + random.Random(2).randbytes(300_000).hex().encode()[:60_000] + b"\r\n"
    uid = await filled.keep(content)
    [(frame,)] = filled.sql("SELECT frame FROM body_chunk")
    chance = random.Random(3)
    for _ in range(FLIPS):
        octets = bytearray(frame)
        octets[chance.randrange(len(frame))] ^= 1 << chance.randrange(8)
        filled.sql("UPDATE body_chunk SET frame = :frame", frame=bytes(octets))
        try:
            assert await filled.octets(filled.ann, uid) == PREFIX + content
        except MessageDamaged:
            continue
    filled.sql("DELETE FROM body_chunk")
    with pytest.raises(MessageDamaged):
        await filled.octets(filled.ann, uid)


async def test_a_message_without_its_body_is_damaged(filled: Filled) -> None:
    """It is there, so it is not told to be missing: that would let a client forget it."""
    uid = await filled.keep(HEADER + b"text\r\n")
    filled.sql("DELETE FROM body")
    with pytest.raises(MessageDamaged):
        await filled.store.messages.open(filled.ann, uid)


async def test_a_wrong_body_of_a_sound_frame_is_not_served(filled: Filled) -> None:
    """A frame that unpacks, but to other octets: only the body's own hash can tell."""
    uid = await filled.keep(HEADER + b"pay 100 to Ann\r\n")
    other = await filled.keep(HEADER + b"pay 900 to Eve\r\n")
    [(frame,)] = filled.sql("SELECT frame FROM body_chunk WHERE uid = :uid", uid=other.octets)
    filled.sql("UPDATE body_chunk SET frame = :frame", frame=frame)
    with pytest.raises(MessageDamaged):
        await filled.octets(filled.ann, uid)


Act = tuple[str, int]
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), st.integers(0, 2)),
        st.tuples(st.just("remove"), st.integers(0, 30)),
        st.tuples(st.just("remove again"), st.integers(0, 30)),
    ),
    max_size=25,
)


@given(acts=ACTS)
def test_counters_equal_a_scan(
    tmp_path_factory: pytest.TempPathFactory, acts: Sequence[Act]
) -> None:
    asyncio.run(_play(tmp_path_factory, acts))


async def _play(tmp_path_factory: pytest.TempPathFactory, acts: Sequence[Act]) -> None:
    filled = await fill(tmp_path_factory.mktemp("model") / "restante.db")
    seen: list[UniqueId] = []
    try:
        for act, number in acts:
            if act == "keep":
                drops = [(filled.ann,), (filled.eve,), (filled.ann, filled.eve)][number]
                seen.append(await filled.keep(canonical(HEADER + b"z" * number), *drops))
            elif seen:
                chosen = [seen[number % len(seen)]]
                await remove(filled.store, filled.ann, chosen)
        for maildrop in (filled.ann, filled.eve):
            _compare(filled, maildrop, await filled.store.maildrops.usage(maildrop))
    finally:
        filled.store.close()


def _compare(filled: Filled, maildrop: int, usage: Usage) -> None:
    scan = "SELECT count(*), coalesce(sum(size), 0) FROM message WHERE maildrop_id = :drop"
    [(messages, octets)] = filled.sql(f"{scan} AND folder = 0", drop=maildrop)
    [(_, trash)] = filled.sql(f"{scan} AND folder = 2", drop=maildrop)
    born = filled.sql("SELECT born FROM message WHERE maildrop_id = :drop", drop=maildrop)
    assert len(set(born)) == len(born)
    assert usage == Usage(messages, int(octets), int(trash))
