"""Accounts, domains and addresses in parts of lists, changed under a guard, on each engine."""

import asyncio
from datetime import timedelta

import pytest

from mail.address import Address, parse_domain
from mail.errors import (
    DomainNotOpen,
    DomainTaken,
    LastAdministrator,
    NotFound,
    NotPermitted,
    OtherVersion,
    OverQuota,
)
from store.lists import Part, Span
from store.records import AccountState, Profile, Role, Whose
from tests.store.conftest import Filled, opened_at

EXAMPLE = parse_domain("example.test")


def refuse(_found: object) -> None:
    raise OtherVersion("another version")


def logins(found: Part[Profile]) -> list[str]:
    return [each.login for each in found.rows]


async def test_parts_of_a_list(filled: Filled) -> None:
    profiles, accounts = filled.store.profiles, filled.store.accounts
    for login in ("bob", "a-b", "a.b", "a_b", "zoe"):
        await accounts.add(login, f"hash of {login}", role=Role.USER)
    every = ["a-b", "a.b", "a_b", "ann", "bob", "eve", "zoe"]  # by octets, on every engine
    assert logins(await profiles.page(Span(50))) == every
    first = await profiles.page(Span(3, counted=True))
    assert (logins(first), first.before, first.after, first.total) == (every[:3], False, True, 7)
    second = await profiles.page(Span(3, ("a_b",)))
    assert (logins(second), second.before, second.after, second.total) == (
        *(every[3:6], True, True),
        None,
    )
    back = await profiles.page(Span(3, ("ann",), back=True))
    assert (logins(back), back.before, back.after) == (every[:3], False, True)
    last = await profiles.page(Span(3, ("eve",)))
    assert (logins(last), last.before, last.after) == (["zoe"], True, False)
    middle = await profiles.page(Span(2, ("eve",), back=True))
    assert (logins(middle), middle.before) == (["ann", "bob"], True)


async def test_what_is_told_of_an_account(filled: Filled) -> None:
    store = filled.store
    await filled.keep(b"Subject: x\r\n\r\n")
    ann = await store.profiles.get("ann")
    assert ann == await store.profiles.get(ann.id)
    assert (ann.messages, ann.quota_octets, ann.last_seen_at) == (1, None, None)
    assert ann.used_octets > 10
    found = await store.accounts.for_sign_in("ann")
    assert found
    await store.credentials.note_use(found[1], "192.0.2.7")
    assert (await store.profiles.get("ann")).last_seen_at is not None
    await store.accounts.close("ann")
    for key in ("ann", ann.id, f"ann/{ann.id}"):
        with pytest.raises(NotFound):
            await store.profiles.get(key)


async def test_what_is_not_given_stays(filled: Filled) -> None:
    profiles = filled.store.profiles
    before = await profiles.get("ann")
    assert await profiles.change("ann") == before
    changed = await profiles.change("ann", quota_octets=7, must_change_password=True)
    assert (changed.quota_octets, changed.must_change_password) == (7, True)
    changed = await profiles.change(before.id, must_change_password=False)
    assert (changed.quota_octets, changed.must_change_password) == (7, False)
    assert await profiles.change("ann", quota_octets=None) == before


async def test_a_guard_changes_nothing(filled: Filled) -> None:
    store = filled.store
    address = Address.parse("ann@example.test")
    for change in (
        store.profiles.change("ann", quota_octets=7, guard=refuse),
        store.accounts.close("ann", guard=refuse),
        store.domains.change(EXAMPLE, plus="-", guard=refuse),
        store.domains.remove(EXAMPLE, force=True, guard=refuse),
        store.domains.change_address(address, note="x", guard=refuse),
        store.domains.remove_address(address, guard=refuse),
    ):
        with pytest.raises(OtherVersion):
            await change
    assert (await store.profiles.get("ann")).quota_octets is None
    assert (await store.domains.get(EXAMPLE)).plus == "+"
    assert (await store.domains.address(address)).note == ""


async def test_a_quota_counts_at_once(filled: Filled) -> None:
    profiles = filled.store.profiles
    await filled.keep(b"Subject: x\r\n\r\n" + b"x" * 98 + b"\r\n")
    await profiles.change("ann", quota_octets=10)
    assert await filled.store.maildrops.full_since(filled.ann) is not None
    with pytest.raises(OverQuota):
        await filled.keep(b"Subject: y\r\n\r\n")
    await profiles.change("ann", quota_octets=0)
    assert await filled.store.maildrops.full_since(filled.ann) is None
    await filled.keep(b"Subject: y\r\n\r\n")


async def test_one_of_two_administrators_stays(filled: Filled) -> None:
    """Also when each takes the right from the other at the same moment, in two processes."""
    store = filled.store
    for login in ("ann", "eve"):
        await store.profiles.change(login, role=Role.ADMIN)
    other = store if filled.url.startswith("sqlite") else opened_at(filled.url)
    try:
        outcomes = await asyncio.gather(
            store.profiles.change("ann", role=Role.USER),
            other.profiles.change("eve", state=AccountState.DISABLED),
            return_exceptions=True,
        )
    finally:
        if other is not store:
            other.close()
    assert sorted(type(each).__name__ for each in outcomes) == ["LastAdministrator", "Profile"]
    left = [each for each in (await store.profiles.page(Span(9))).rows if each.role is Role.ADMIN]
    [last] = [each for each in left if each.state is AccountState.OPEN]
    with pytest.raises(LastAdministrator):
        await store.accounts.close(last.login)


async def test_who_is_disabled_has_no_session_and_still_mail(filled: Filled) -> None:
    store = filled.store
    await store.profiles.change("ann", state=AccountState.DISABLED)
    assert not filled.sql("SELECT * FROM session")
    await filled.keep(b"Subject: x\r\n\r\n")
    assert (await store.profiles.get("ann")).messages == 1


async def test_mail_of_who_is_purged_goes_with_the_next_upkeep(filled: Filled) -> None:
    store = filled.store
    await filled.keep(b"Subject: x\r\n\r\n")
    until = await store.accounts.close("eve")
    assert until - await store.accounts.close("ann", purge=True) > timedelta(days=29)
    await store.upkeep.run_once()
    assert not filled.sql("SELECT * FROM message")
    assert len(filled.sql("SELECT * FROM account")) == 1


async def test_addresses_are_their_owners(filled: Filled) -> None:
    store, domains = filled.store, filled.store.domains
    ann, eve = [Whose(await store.accounts.get(login)) for login in ("ann", "eve")]
    own = Address.parse("ann@example.test")
    team = await domains.add_address(Address.parse("team@example.test"), "ann", "eve")
    assert [str(alias.address) for alias in (await domains.address_page(Span(9), ann)).rows] == [
        "ann@example.test",
        "team@example.test",
    ]
    assert (await domains.address(own, ann)).to == ("ann",)
    for refused, failure in (
        (domains.address(own, eve), NotFound),
        (domains.change_address(own, note="x", whose=eve), NotFound),
        (domains.remove_address(own, whose=eve), NotFound),
        (domains.change_address(team.id, note="x", whose=ann), NotPermitted),
        (domains.remove_address(team.id, whose=ann), NotPermitted),
        (domains.change_address(own, to=("eve",), whose=ann), NotPermitted),
        (domains.remove_address(own, whose=ann), DomainNotOpen),
        (domains.add_address(Address.parse("b@example.test"), "ann", whose=ann), DomainNotOpen),
        (domains.add_address(Address.parse("b@example.test"), "eve", whose=ann), NotPermitted),
    ):
        with pytest.raises(failure):
            await refused
    await domains.change(EXAMPLE, self_service=True)
    made = await domains.add_address(Address.parse("b@example.test"), "ann", whose=ann)
    await domains.remove_address(made.id, whose=ann)
    assert [domain.name for domain in (await domains.page(Span(9), ann)).rows] == [EXAMPLE]


async def test_a_credential_for_some_addresses_sees_these(filled: Filled) -> None:
    store, domains = filled.store, filled.store.domains
    account = await store.accounts.get("ann")
    await domains.change(EXAMPLE, self_service=True)
    shop = await domains.add_address(Address.parse("Shop@example.test"), "ann")
    whose = Whose(account, frozenset({"shop@example.test", "eve@example.test"}))
    assert list((await domains.address_page(Span(9), whose)).rows) == [shop]
    with pytest.raises(NotFound):
        await domains.address(Address.parse("ann@example.test"), whose)
    with pytest.raises(NotPermitted):
        await domains.add_address(Address.parse("b@example.test"), "ann", whose=whose)
    nothing = Whose(account, frozenset())
    assert not (await domains.address_page(Span(9), nothing)).rows
    assert not (await domains.page(Span(9), nothing)).rows


async def test_a_domain_by_name_or_id(filled: Filled) -> None:
    domains = filled.store.domains
    found = await domains.get(EXAMPLE)
    assert await domains.get(found.id) == found
    assert (await domains.change(found.id, plus="-")).plus == "-"
    with pytest.raises(DomainTaken):
        await domains.add(EXAMPLE)
    with pytest.raises(NotFound):
        await domains.get(1)
    assert await domains.remove(found.id, force=True) == 2


async def test_whether_it_is_well(filled: Filled) -> None:
    assert await filled.store.writable()
    assert not filled.store.short_of_space()
    assert filled.store.queued() == 0
