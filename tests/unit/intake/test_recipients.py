"""Who gets the mail to an address, and when a full maildrop keeps it away."""

import asyncio
from datetime import timedelta

import pytest

from intake.recipients import GRACE, Recipient, resolve
from mail.address import Address, Path
from mail.errors import (
    FullForDays,
    NotOurDomain,
    OverQuota,
    StorageBusy,
    UnknownRecipient,
)
from store.records import microseconds
from tests.store.conftest import QUOTA, Filled, now

TEAM = Address.parse("Team@example.test")


async def test_the_address_stays_as_it_was_given(filled: Filled) -> None:
    for text in ("Ann@Example.test", "ANN+Shop@example.test"):
        address = Address.parse(text)
        assert await resolve(address, filled.store) == Recipient(address, (filled.ann,))


async def test_refusals(filled: Filled) -> None:
    for text, kind in (
        ("ann@example.org", NotOurDomain),
        ("nobody@example.test", UnknownRecipient),
        ("abuse@example.test", UnknownRecipient),  # while there is nobody to read it
        ("postmaster@example.test", StorageBusy),  # for that address must be there: another time
    ):
        with pytest.raises(kind):
            await resolve(Address.parse(text), filled.store)
    bare = Path.read("<Postmaster>")[0].address
    assert bare
    with pytest.raises(StorageBusy):
        await resolve(bare, filled.store)


def stuff(filled: Filled, maildrop: int, for_: timedelta) -> None:
    """Makes a maildrop full, since some time ago."""
    filled.sql(
        "UPDATE maildrop SET octets = :octets, full_since = :since WHERE id = :id",
        octets=QUOTA,
        since=microseconds(now() - for_),
        id=maildrop,
    )


async def test_a_full_maildrop_is_refused_for_now_and_after_a_week_for_good(filled: Filled) -> None:
    address = Address.parse("ann@example.test")
    stuff(filled, filled.ann, GRACE - timedelta(hours=1))
    with pytest.raises(OverQuota):
        await resolve(address, filled.store)
    stuff(filled, filled.ann, GRACE + timedelta(hours=1))
    with pytest.raises(FullForDays):
        await resolve(address, filled.store)


async def test_one_that_had_room_is_not_asked_again_at_once_but_soon(filled: Filled) -> None:
    """What is on its way meanwhile finds out when it is kept."""
    address = Address.parse("ann@example.test")
    open_ = await resolve(address, filled.store)
    stuff(filled, filled.ann, timedelta(0))
    assert await resolve(address, filled.store) == open_
    with pytest.raises(OverQuota):
        await asyncio.wait_for(_ask_for_ever(address, filled), 30)


async def _ask_for_ever(address: Address, filled: Filled) -> None:
    while True:
        await resolve(address, filled.store)
        await asyncio.sleep(0)


async def test_a_group_reaches_all_its_maildrops(filled: Filled) -> None:
    await filled.store.domains.add_address(TEAM, "ann", "eve")
    both = tuple(sorted((filled.ann, filled.eve)))
    assert await resolve(TEAM, filled.store) == Recipient(TEAM, both)


async def test_a_group_is_open_while_each_of_its_maildrops_is(filled: Filled) -> None:
    # All recipients of an arrival are kept or none: one that is full closes the group, but only
    # for now while another could be reached.
    await filled.store.domains.add_address(TEAM, "ann", "eve")
    stuff(filled, filled.ann, 2 * GRACE)
    stuff(filled, filled.eve, 2 * GRACE)
    with pytest.raises(FullForDays):
        await resolve(TEAM, filled.store)
    stuff(filled, filled.eve, timedelta(hours=1))
    with pytest.raises(OverQuota):
        await resolve(TEAM, filled.store)
    filled.sql("UPDATE maildrop SET octets = 0, full_since = NULL WHERE id = :id", id=filled.eve)
    with pytest.raises(OverQuota):
        await resolve(TEAM, filled.store)
