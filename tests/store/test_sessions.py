"""Sessions, tokens and second factors end when they should, in every process."""

import secrets
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from mail.address import Address
from mail.errors import AlreadyOn, DomainNotOpen, InviteInvalid, NameTaken, NotFound
from store.records import (
    Account,
    ApiToken,
    Credential,
    NewSession,
    Registration,
    Role,
    SessionKind,
)
from store.store import Store
from tests.store.aged import Aged, aged_store

DAY = timedelta(days=1)


@pytest.fixture
async def aged(url: str) -> AsyncIterator[Aged]:
    async with aged_store(url) as found:
        yield found


def new(kind: SessionKind, key: bytes, life: timedelta = 30 * DAY) -> NewSession:
    return NewSession(kind, key, "192.0.2.7", life, "account", device="curl")


async def known(store: Store, login: str = "ann") -> tuple[Account, Credential]:
    found = await store.accounts.for_sign_in(login)
    assert found
    return found


async def test_a_refresh_token_is_good_once_and_its_second_use_ends_the_session(
    aged: Aged,
) -> None:
    sessions = aged.store.sessions
    first, second, third = (secrets.token_bytes(32) for _ in range(3))
    begun = await sessions.begin(*await known(aged.store), new(SessionKind.LOGIN, first))
    aged.time.goes_by(days=20)
    renewed = await sessions.renew(begun.id, first, second, life=30 * DAY)
    assert renewed
    assert renewed.id == begun.id
    aged.time.goes_by(days=20)  # the 30 days count anew
    assert await sessions.read(begun.id)
    assert await sessions.renew(begun.id, first, third, life=30 * DAY) is None
    assert await sessions.read(begun.id) is None
    assert await sessions.renew(begun.id, second, third, life=30 * DAY) is None


async def test_a_page_session_ends_unused_or_old(aged: Aged) -> None:
    sessions, account = aged.store.sessions, await known(aged.store)
    key = secrets.token_bytes(32)
    begun = await sessions.begin(*account, new(SessionKind.PAGE, key))
    assert await sessions.read(begun.id) is None  # no access token names it
    for _ in range(61):
        aged.time.goes_by(hours=11.5)
        found = await sessions.of_cookie(key)
        assert found
        await sessions.note_seen(found)
    aged.time.goes_by(hours=11.5)
    assert aged.time.now() - begun.created_at < 30 * DAY
    assert await sessions.of_cookie(key)
    aged.time.goes_by(hours=12)
    assert await sessions.of_cookie(key) is None  # 30 days after its begin
    other = secrets.token_bytes(32)
    await sessions.begin(*account, new(SessionKind.PAGE, other))
    aged.time.goes_by(hours=12, seconds=1)
    assert await sessions.of_cookie(other) is None
    assert await sessions.of_account(account[0]) == []


async def test_a_new_password_ends_all_sessions_but_the_one_that_set_it(aged: Aged) -> None:
    store = aged.store
    account = await known(store)
    kept, ended = [
        await store.sessions.begin(*account, new(SessionKind.LOGIN, secrets.token_bytes(32)))
        for _ in range(2)
    ]
    await store.factors.change_password(account[0], "another hash", keep=kept.id)
    assert await store.sessions.read(kept.id)
    assert await store.sessions.read(ended.id) is None
    await store.factors.change_password(account[0], "a third hash")
    assert await store.sessions.read(kept.id) is None


async def test_sessions_are_their_accounts(aged: Aged) -> None:
    store = aged.store
    ann, eve = await known(store), await known(store, "eve")
    begun = await store.sessions.begin(*ann, new(SessionKind.LOGIN, secrets.token_bytes(32)))
    with pytest.raises(NotFound):
        await store.sessions.end(eve[0], begun.id)
    await store.sessions.end(eve[0])
    assert [each.id for each in await store.sessions.of_account(ann[0])] == [begun.id]
    await store.sessions.end(ann[0], begun.id)
    assert await store.sessions.read(begun.id) is None


async def test_a_recovery_code_is_good_once(aged: Aged) -> None:
    store = aged.store
    ann, _ = await known(store)
    await store.factors.replace_codes(ann, ["one", "two"])
    await store.factors.start_totp(ann, "sealed", 7)
    waiting = await store.factors.totp(ann, waiting=True)
    assert waiting
    assert await store.factors.take_step(waiting, 5)
    assert (await known(store))[0].totp
    assert await store.factors.recover(ann, "three", "hash 3") is None
    assert (await known(store))[1].version == 1
    assert await store.factors.recover(ann, "one", "hash 1") == 1
    account, password = await known(store)
    assert (account.totp, password.secret, password.version) == (False, "hash 1", 2)
    assert await store.factors.recover(ann, "one", "hash 4") is None
    eve, _ = await known(store, "eve")
    assert await store.factors.recover(eve, "two", "hash 5") is None


async def test_a_step_is_taken_once_and_never_an_older_one(aged: Aged) -> None:
    factors, (ann, _) = aged.store.factors, await known(aged.store)
    await factors.start_totp(ann, "first", 7)
    await factors.start_totp(ann, "second", 8)  # the first was never proved
    assert await factors.totp(ann) is None
    waiting = await factors.totp(ann, waiting=True)
    assert waiting
    assert waiting.sealed == "second"
    assert await factors.take_step(waiting, 100)
    for step, taken in ((100, False), (99, False), (101, True), (101, False)):
        assert await factors.take_step(waiting, step) == taken
    with pytest.raises(AlreadyOn):
        await factors.start_totp(ann, "third", 9)


async def test_a_token_is_found_until_it_ends(aged: Aged) -> None:
    store = aged.store
    ann, _ = await known(store)
    ends = aged.time.now() + DAY
    made = ApiToken(7, "ci", "mail:read", ("a@example.org",), (), aged.time.now(), ends)
    await store.tokens.add(ann, made, "keyed")
    assert await store.tokens.find("keyed") == (ann, made)
    assert await store.tokens.find("other") is None
    with pytest.raises(NameTaken):
        await store.tokens.add(ann, ApiToken(8, "ci", "", None, (), ends, None), "keyed 2")
    aged.time.goes_by(days=1)
    assert await store.tokens.find("keyed") is None
    assert await store.tokens.all(ann) == [made]
    await store.tokens.remove(ann, 7)
    with pytest.raises(NotFound):
        await store.tokens.remove(ann, 7)


def wish(login: str, address: str | None = None, **right: object) -> Registration:
    given = Address.parse(address) if address else None
    return Registration(login, f"hash of {login}", given, "", (f"code of {login}",), **right)  # type: ignore[arg-type]


async def test_an_invitation_is_spent_by_an_account_and_by_nothing_else(aged: Aged) -> None:
    store = aged.store
    address = Address.parse("kim@example.test")
    invite = await store.invites.add(b"i" * 32, address=address, uses=1, life=DAY)
    assert await store.invites.find(b"i" * 32) == invite
    with pytest.raises(NameTaken):
        await store.accounts.register(wish("ann", "kim@example.test", invite_id=invite.id))
    with pytest.raises(DomainNotOpen):  # another address than the one it is for
        await store.accounts.register(wish("kim", "root@example.test", invite_id=invite.id))
    account, password = await store.accounts.register(
        wish("kim", "kim@example.test", invite_id=invite.id)
    )
    assert (account.role, password.version) == (Role.USER, 1)
    assert await store.factors.recover(account, "code of kim", "hash 2") == 0
    assert await store.invites.find(b"i" * 32) is None
    with pytest.raises(InviteInvalid):
        await store.accounts.register(wish("pat", invite_id=invite.id))
    later = await store.invites.add(b"j" * 32, address=None, uses=2, life=DAY)
    assert await store.invites.all() == [later]
    aged.time.goes_by(days=1, seconds=1)
    assert await store.invites.all() == []


async def test_there_is_one_first_administrator(aged: Aged) -> None:
    store = aged.store
    assert not await store.accounts.has_admin()
    account, _ = await store.accounts.register(wish("root", "root@new.example", first=True))
    assert account.role is Role.ADMIN
    assert await store.accounts.has_admin()
    assert (await store.accounts.for_sign_in("root@new.example")) is not None
    with pytest.raises(InviteInvalid):
        await store.accounts.register(wish("toor", first=True))
