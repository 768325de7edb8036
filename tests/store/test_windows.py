"""What POP3 sessions list, and what is kept of what they retrieved, on every engine."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mail.errors import NameTaken, NotFound
from mail.ident import UniqueId
from store.records import Credential, Folder, StoreSettings
from store.store import Store
from tests.sessions import remove
from tests.store.conftest import PREFIX, Filled, now, populate

HEADER = b"Subject: one\r\n\r\n"
MOST = 5


def small(url: str, most: int = MOST) -> Store:
    settings = StoreSettings(url=url, quota_octets=0, trash_days=30, max_listed=most)
    return Store(settings, clock=now)


@pytest.fixture
async def filled(url: str, tmp_path: Path) -> AsyncIterator[Filled]:
    """A store whose sessions list at most MOST messages."""
    found = await populate(small(url), tmp_path / "restante.db", url)
    yield found
    found.store.close()


async def phone(filled: Filled, name: str = "phone") -> int:
    """A credential of ann's."""
    account = await filled.store.accounts.get("ann")
    made = await filled.store.credentials.add_app_password(account, name, f"hash of {name}")
    return made.id


async def listed(filled: Filled, credential: int) -> list[UniqueId]:
    window = await filled.store.windows.open(filled.ann, credential)
    return [entry.uid for entry in window.entries]


async def poll(
    filled: Filled, credential: int, *, wanted: int = MOST, delete: bool = False
) -> list[UniqueId]:
    """One session that takes all it lists, or so many; returns what it took."""
    window = await filled.store.windows.open(filled.ann, credential)
    taken = [entry.uid for entry in window.entries][:wanted]
    for uid in taken:
        window.note(uid)
    await filled.store.windows.update(window, taken if delete else [])
    return taken


async def test_every_device_gets_everything_in_sessions_of_a_few(filled: Filled) -> None:
    uids = sorted([await filled.keep(HEADER) for _ in range(12)])
    phone_id, tablet_id = await phone(filled), await phone(filled, "tablet")
    assert await poll(filled, phone_id) == uids[:5]
    assert await poll(filled, phone_id) == uids[5:10]
    # Two that are left, and the newest of the others.
    assert await listed(filled, phone_id) == uids[7:]
    assert await listed(filled, tablet_id) == uids[:5]
    assert await poll(filled, tablet_id, wanted=3) == uids[:3]
    assert await listed(filled, tablet_id) == uids[3:8]
    assert await poll(filled, phone_id) == uids[7:]
    assert await listed(filled, phone_id) == uids[7:]


async def test_a_client_that_deletes_gets_everything_once(filled: Filled) -> None:
    uids = sorted([await filled.keep(HEADER) for _ in range(12)])
    phone_id = await phone(filled)
    taken = [await poll(filled, phone_id, delete=True) for _ in range(4)]
    assert taken == [uids[:5], uids[5:10], uids[10:], []]


async def test_what_left_a_window_never_comes_back(filled: Filled) -> None:
    uids = sorted([await filled.keep(HEADER) for _ in range(7)])
    phone_id = await phone(filled)
    await poll(filled, phone_id)
    assert await listed(filled, phone_id) == uids[2:]  # the first two are out
    await remove(filled.store, filled.ann, uids[2:4])
    assert await listed(filled, phone_id) == uids[4:]  # and there is room
    await filled.store.messages.move(filled.ann, [uids[2]], Folder.INBOX)
    assert await listed(filled, phone_id) == [uids[2], *uids[4:]]
    filled.store.close()
    filled.store = small(filled.url, most=100)
    assert await listed(filled, phone_id) == [uids[2], *uids[4:]]
    assert await listed(filled, await phone(filled, "new")) == [*uids[:3], *uids[4:]]


async def test_more_leaves_the_window_as_more_mail_comes(filled: Filled) -> None:
    phone_id = await phone(filled)
    uids: list[UniqueId] = []
    for _ in range(12):
        uids = sorted([*uids, await filled.keep(HEADER)])
        assert await poll(filled, phone_id) == uids[-MOST:]
    await remove(filled.store, filled.ann, uids[-MOST:])
    assert await listed(filled, phone_id) == []


async def test_a_message_that_comes_back_from_the_trash_is_offered_until_retrieved(
    filled: Filled,
) -> None:
    uids = sorted([await filled.keep(HEADER) for _ in range(6)])
    phone_id, tablet_id = await phone(filled), await phone(filled, "tablet")
    assert await poll(filled, phone_id, delete=True) == uids[:5]
    await filled.store.messages.move(filled.ann, uids[:5], Folder.INBOX)
    # The phone had them: the one it had not comes in any case.
    assert await listed(filled, phone_id) == uids[1:]
    assert await poll(filled, tablet_id) == uids[:5]


async def test_marks_of_sessions_at_the_same_time_are_all_kept(filled: Filled) -> None:
    uids = sorted([await filled.keep(HEADER) for _ in range(8)])
    phone_id = await phone(filled)
    one = await filled.store.windows.open(filled.ann, phone_id)
    other = await filled.store.windows.open(filled.ann, phone_id)
    for uid in uids[:2]:
        one.note(uid)
    for uid in uids[1:4]:
        other.note(uid)
    await filled.store.windows.update(other)
    await filled.store.windows.update(one)
    assert await listed(filled, phone_id) == uids[3:]


async def test_marks_count_from_before_the_window_was_too_small(filled: Filled) -> None:
    uids = [await filled.keep(HEADER) for _ in range(3)]
    phone_id = await phone(filled)
    await poll(filled, phone_id)
    uids = sorted([*uids, *[await filled.keep(HEADER) for _ in range(4)]])
    assert await listed(filled, phone_id) == uids[2:]


async def test_nothing_is_written_for_nothing(filled: Filled) -> None:
    await filled.keep(HEADER)
    phone_id = await phone(filled)
    window = await filled.store.windows.open(filled.ann, phone_id)
    filled.sql("DROP TABLE device")
    filled.sql("DROP TABLE device_mark")
    assert await filled.store.windows.update(window) == 0


async def test_removing_and_marking_are_one_transaction(filled: Filled) -> None:
    uid = await filled.keep(HEADER)
    phone_id = await phone(filled)
    window = await filled.store.windows.open(filled.ann, phone_id)
    window.note(uid)
    assert await filled.store.windows.update(window, [uid]) == 1
    assert await filled.store.windows.update(window, [uid]) == 0  # gone already, and no error
    assert filled.sql("SELECT bits FROM device_mark") == [(b"\x02",)]


async def test_sessions_at_the_same_time_may_remove_the_same(filled: Filled) -> None:
    uids = [await filled.keep(HEADER) for _ in range(5)]
    store, phone_id = filled.store, await phone(filled)
    sessions = [await store.windows.open(filled.ann, phone_id) for _ in range(3)]
    gone = await asyncio.gather(
        store.windows.update(sessions[0], uids[:4]), store.windows.update(sessions[1], uids[1:])
    )
    assert sum(gone) == 5  # each counted once, and no error
    usage = await store.maildrops.usage(filled.ann)
    assert (usage.messages, usage.octets) == (0, 0)
    # The third lists and reads what was there when it began.
    for entry in sessions[2].entries:
        assert await filled.octets(filled.ann, entry.uid) == PREFIX + HEADER
    assert await store.windows.update(sessions[2], uids) == 0


async def test_app_passwords_have_a_name_each_and_end(filled: Filled) -> None:
    credentials = filled.store.credentials
    ann = await filled.store.accounts.get("ann")
    eve = await filled.store.accounts.get("eve")
    phone_id = await phone(filled)
    with pytest.raises(NameTaken):
        await phone(filled)
    await credentials.add_app_password(eve, "phone", "another hash")
    with pytest.raises(NotFound):
        await credentials.remove_app_password(eve, phone_id)
    [found] = await credentials.app_passwords(ann)
    assert (found.id, found.name, found.used_at) == (phone_id, "phone", None)
    for ip in ("192.0.2.7", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"):
        await credentials.note_use(Credential(phone_id, "", 1), ip)  # from two processes at once
    [found] = await credentials.app_passwords(ann)
    assert found.used_ip == "192.0.2.7"

    uids = [await filled.keep(HEADER) for _ in range(7)]
    window = await filled.store.windows.open(filled.ann, phone_id)
    await poll(filled, phone_id)
    await listed(filled, phone_id)
    assert filled.sql("SELECT count(*) FROM device") == [(1,)]
    await credentials.remove_app_password(ann, phone_id)
    assert await credentials.app_passwords(ann) == []
    with pytest.raises(NotFound):
        await credentials.remove_app_password(ann, phone_id)
    # A session that it began may end later: nothing is kept for it any more.
    window.note(sorted(uids)[0])
    await filled.store.windows.update(window)
    for table in ("device", "device_mark"):
        assert filled.sql(f"SELECT count(*) FROM {table}") == [(0,)]
