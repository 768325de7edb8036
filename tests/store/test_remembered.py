"""What is remembered of a sign-in and of a listing is right at once, and saves the reading."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from mail.address import Address, parse_domain
from mail.ident import UniqueId, new_row_id
from store.changes import Wanted
from store.directory import ENTRANCES
from store.maildrops import Maildrops
from store.records import AccountState, Folder, Role, StoreSettings
from store.store import Store
from store.windows import Windows
from tests.store.conftest import Filled, new_file, now, populate

MESSAGE = b"Subject: one\r\n\r\ntext\r\n"
MOST = 5
KEYED = "hash of phone"


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return now() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def filled(tmp_path: Path, clock: Clock) -> AsyncIterator[Filled]:
    """One process alone on its database."""
    url = new_file(tmp_path / "restante.db")
    store = Store(settings(url), clock=clock)
    filled = await populate(store, tmp_path / "restante.db", url)
    yield filled
    filled.store.close()


def settings(url: str) -> StoreSettings:
    return StoreSettings(url=url, quota_octets=0, trash_days=30, max_listed=MOST)


@contextmanager
def reads(filled: Filled) -> Iterator[list[str]]:
    """The statements of the readers' connections, as they come."""
    engine = filled.store._database._readers  # noqa: SLF001 - what is saved is seen nowhere else
    seen: list[str] = []

    def note(*args: object) -> None:
        seen.append(str(args[2]))

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


async def listed(windows: Windows, filled: Filled, credential: int) -> list[tuple[UniqueId, int]]:
    window = await windows.open(filled.ann, credential)
    return [(entry.uid, entry.size) for entry in window.entries]


def anew(filled: Filled) -> Windows:
    """The windows of somebody who remembers nothing."""
    database, writer = filled.store._database, filled.store._writer  # noqa: SLF001 - the same
    wish = settings(filled.url)
    drops = Maildrops(database, writer, wish, clock=now)
    return Windows(database, writer, wish, drops, clock=now)


async def phone(filled: Filled, keyed: str = KEYED, life: timedelta | None = None) -> int:
    ann = await filled.store.accounts.get("ann")
    made = await filled.store.credentials.add_app_password(ann, keyed, keyed, life=life)
    return made.id


async def test_a_maildrop_that_has_not_changed_is_listed_without_reading(filled: Filled) -> None:
    device = await phone(filled)
    uid = await filled.keep(MESSAGE)
    await filled.store.windows.open(filled.ann, device)
    await filled.keep(MESSAGE, filled.eve)
    with reads(filled) as seen:
        listing = await listed(filled.store.windows, filled, device)
    assert [each for each, _ in listing] == [uid]
    assert not seen


Act = Callable[[Filled, UniqueId, int], Awaitable[object]]


async def _arrives(filled: Filled, _uid: UniqueId, _device: int) -> None:
    await filled.keep(MESSAGE)


async def _arrives_for_both(filled: Filled, _uid: UniqueId, _device: int) -> None:
    await filled.keep(MESSAGE, filled.eve, filled.ann)


async def _goes_by_pop3(filled: Filled, uid: UniqueId, device: int) -> None:
    window = await filled.store.windows.open(filled.ann, device)
    assert await filled.store.windows.update(window, [uid]) == 1


async def _goes_to_the_trash(filled: Filled, uid: UniqueId, _device: int) -> None:
    assert await filled.store.messages.move(filled.ann, [uid], Folder.TRASH) == 1


async def _comes_back(filled: Filled, uid: UniqueId, device: int) -> None:
    await _goes_to_the_trash(filled, uid, device)
    await listed(filled.store.windows, filled, device)
    assert await filled.store.messages.move(filled.ann, [uid], Folder.INBOX) == 1


async def _is_archived(filled: Filled, uid: UniqueId, _device: int) -> None:
    await filled.store.messages.change(filled.ann, uid, Wanted(folder=Folder.ARCHIVE))


async def _more_than_are_listed(filled: Filled, _uid: UniqueId, _device: int) -> None:
    for _ in range(MOST):
        await filled.keep(MESSAGE)


async def _other_device(filled: Filled, uid: UniqueId, device: int) -> None:
    await _goes_by_pop3(filled, uid, await phone(filled, "hash of tablet"))
    await filled.keep(MESSAGE)


ACTS = [
    *(_arrives, _arrives_for_both, _goes_by_pop3, _goes_to_the_trash, _comes_back, _is_archived),
    *(_more_than_are_listed, _other_device),
]


@pytest.mark.parametrize("act", ACTS)
async def test_what_changes_a_listing_is_seen_by_the_next_session(filled: Filled, act: Act) -> None:
    device = await phone(filled)
    uid = await filled.keep(MESSAGE)
    await filled.keep(MESSAGE)
    before = await listed(filled.store.windows, filled, device)
    assert await listed(filled.store.windows, filled, device) == before
    await act(filled, uid, device)
    after = await listed(filled.store.windows, filled, device)
    assert after == await listed(anew(filled), filled, device)
    assert after != before or act is _comes_back


async def known(filled: Filled, user: str = "ann", keyed: str | None = None) -> None:
    """Looks it up until it is remembered: a use that is not written down is looked up again."""
    found = await filled.store.accounts.for_sign_in(user, keyed=keyed)
    assert found
    await filled.store.credentials.note_use(found[1], "192.0.2.1")
    await filled.store.accounts.for_sign_in(user, keyed=keyed)


async def test_who_has_signed_in_is_known_without_reading(filled: Filled) -> None:
    await known(filled, "ann@example.test")
    with reads(filled) as seen:
        found = await filled.store.accounts.for_sign_in("ann@example.test")
    assert found
    assert found[0].login == "ann"
    assert found[0].maildrop_id == filled.ann
    assert not seen


async def test_who_is_not_there_is_looked_up_each_time(filled: Filled) -> None:
    assert await filled.store.accounts.for_sign_in("zoe") is None
    assert not filled.store.directory._entrances  # noqa: SLF001 - what a stranger could make grow
    await filled.store.accounts.add("zoe", "a hash", role=Role.USER)
    assert await filled.store.accounts.for_sign_in("zoe")


Change = Callable[[Filled, Clock], Awaitable[object]]


async def _password(filled: Filled, _clock: Clock) -> None:
    await filled.store.accounts.set_password("ann", "another hash")


async def _own_password(filled: Filled, _clock: Clock) -> None:
    await filled.store.factors.change_password(await filled.store.accounts.get("ann"), "a new hash")


async def _disabled(filled: Filled, _clock: Clock) -> None:
    await filled.store.profiles.change("ann", state=AccountState.DISABLED)


async def _closed(filled: Filled, _clock: Clock) -> None:
    await filled.store.accounts.close("ann")


async def _address_removed(filled: Filled, _clock: Clock) -> None:
    await filled.store.domains.remove_address(Address.parse("ann@example.test"))


async def _domain_removed(filled: Filled, _clock: Clock) -> None:
    await filled.store.domains.remove(parse_domain("example.test"), force=True)


async def _needs_codes(filled: Filled, _clock: Clock) -> None:
    ann = await filled.store.accounts.get("ann")
    await filled.store.factors.start_totp(ann, "sealed", new_row_id())
    waiting = await filled.store.factors.totp(ann, waiting=True)
    assert waiting
    assert await filled.store.factors.take_step(waiting, 1)


async def _app_password_removed(filled: Filled, _clock: Clock) -> None:
    ann = await filled.store.accounts.get("ann")
    [made] = await filled.store.credentials.app_passwords(ann)
    await filled.store.credentials.remove_app_password(ann, made.id)


async def _app_password_over(_filled: Filled, clock: Clock) -> None:
    clock.ahead = timedelta(minutes=31)


async def _use_is_due(_filled: Filled, clock: Clock) -> None:
    clock.ahead = timedelta(hours=1)


CHANGES = [
    *(_password, _own_password, _disabled, _closed, _address_removed, _domain_removed),
    *(_needs_codes, _app_password_removed, _app_password_over, _use_is_due),
]


@pytest.mark.parametrize("change", CHANGES)
async def test_what_changes_a_sign_in_is_in_force_at_once(
    filled: Filled, clock: Clock, change: Change
) -> None:
    user, keyed = "ann@example.test", None
    if change in (_app_password_removed, _app_password_over):
        keyed = KEYED
        await phone(filled, life=timedelta(minutes=30))
    await known(filled, user, keyed)
    look_up = filled.store.accounts.for_sign_in
    before = await look_up(user, keyed=keyed)
    await change(filled, clock)
    with reads(filled) as seen:
        after = await look_up(user, keyed=keyed)
    assert seen
    assert (after != before) is (change is not _use_is_due)


async def test_what_is_remembered_of_sign_ins_is_bounded(filled: Filled) -> None:
    await known(filled)
    entrances = filled.store.directory._entrances  # noqa: SLF001 - as above
    [entrance] = entrances.values()
    entrances.update((number, entrance) for number in range(1, ENTRANCES))
    await known(filled, "eve")
    assert len(entrances) == ENTRANCES
    assert ("ann", None) not in entrances
