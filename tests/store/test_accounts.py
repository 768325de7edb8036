"""Accounts, addresses and sessions: what is ended is ended at once."""

import secrets
from datetime import timedelta

import pytest

from mail.address import Address, parse_domain
from mail.errors import InUse, NameTaken, NotFound
from store.directory import Reach
from store.records import NewSession, Role, SessionKind
from tests.store.conftest import Filled

ANN = Address.parse("ann@example.test")


def login_session(life: timedelta) -> NewSession:
    return NewSession(SessionKind.LOGIN, secrets.token_bytes(32), "192.0.2.7", life, "account")


async def test_sign_in_by_login_or_by_an_address_in_any_case(filled: Filled) -> None:
    accounts = filled.store.accounts
    await filled.store.domains.add_address(Address.parse("Shop@example.test"), "ann")
    for user in ("ann", "ANN", "ann@example.test", "ANN@Example.Test", "shop@example.test"):
        found = await accounts.for_sign_in(user)
        assert found, user
        assert found[0].maildrop_id == filled.ann
    for user in ("", "bob", "@", "ann@", "ann@example.org", "ann@example.test@example.test"):
        assert await accounts.for_sign_in(user) is None, user


async def test_names_are_taken_once(filled: Filled) -> None:
    store = filled.store
    with pytest.raises(NameTaken):
        await store.accounts.add("ann", "hash", role=Role.USER)
    with pytest.raises(NameTaken):
        await store.domains.add(parse_domain("EXAMPLE.test"))
    with pytest.raises(NameTaken):
        await store.domains.add_address(Address.parse("ANN@example.test"), "eve")
    with pytest.raises(NotFound):
        await store.domains.add_address(Address.parse("ann@example.org"), "ann")
    with pytest.raises(NotFound):
        await store.domains.add_address(Address.parse("new@example.test"), "nobody")


async def test_a_user_whose_address_cannot_be_is_not_made_at_all(filled: Filled) -> None:
    for address in ("ann@example.test", "new@example.org"):
        with pytest.raises((NameTaken, NotFound)):
            await filled.store.accounts.add(
                "new", "hash", role=Role.USER, address=Address.parse(address)
            )
    assert [account.login for account in await filled.store.accounts.all()] == ["ann", "eve"]


async def test_a_domain_in_use_goes_only_by_force(filled: Filled) -> None:
    name = parse_domain("example.test")
    with pytest.raises(InUse):
        await filled.store.domains.remove(name, force=False)
    assert await filled.store.domains.remove(name, force=True) == 2
    assert not (await filled.store.directory.find(ANN)).ours
    with pytest.raises(NotFound):
        await filled.store.domains.remove(name, force=True)


async def test_a_session_ends_with_its_password(filled: Filled) -> None:
    store = filled.store
    found = await store.accounts.for_sign_in("ann")
    assert found
    hour = timedelta(hours=1)
    first = await store.sessions.begin(*found, login_session(hour))
    assert await store.sessions.read(first.id)
    assert await store.sessions.read(first.id + 1) is None
    await store.accounts.set_password("ann", "another hash")
    assert await store.sessions.read(first.id) is None
    over = await store.sessions.begin(*found, login_session(-hour))
    assert await store.sessions.read(over.id) is None


async def test_a_closed_account_is_gone_but_not_its_mail(filled: Filled) -> None:
    store = filled.store
    uid = await filled.keep(b"Subject: last\r\n\r\n")
    found = await store.accounts.for_sign_in("ann")
    assert found
    session = await store.sessions.begin(*found, login_session(timedelta(hours=1)))
    await store.accounts.close("ann")
    assert await store.accounts.for_sign_in("ann") is None
    assert await store.accounts.for_sign_in("ann@example.test") is None
    assert await store.sessions.read(session.id) is None
    assert await store.directory.find(ANN) == Reach(ours=True)
    assert [account.login for account in await store.accounts.all()] == ["eve"]
    again = await store.accounts.add("ann", "hash", role=Role.USER, address=ANN)
    assert again.maildrop_id != filled.ann
    assert await filled.octets(filled.ann, uid)
    with pytest.raises(NotFound):
        await store.accounts.close("nobody")
