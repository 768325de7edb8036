"""A recipient's address to the maildrops it reaches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from mail.address import Address
from mail.errors import FullForDays, NotOurDomain, OverQuota, StorageBusy, UnknownRecipient
from store.directory import POSTMASTER
from store.store import Store

GRACE = timedelta(days=7)  # senders give up after five, and then know why


@dataclass(frozen=True, slots=True)
class Recipient:
    """The address as it was given, and where its mail goes: one maildrop, or those of a group.

    `max_octets`: its domain takes no larger message. `tls`: nor one that comes without TLS.
    """

    address: Address
    maildrops: tuple[int, ...]
    max_octets: int | None = None
    tls: bool = False


async def resolve(address: Address, store: Store) -> Recipient:
    """What `store.directory` knows of the folded address, with room in each of its maildrops.

    Raises NotOurDomain, UnknownRecipient, OverQuota, after GRACE FullForDays, StorageBusy.
    """
    folded = address.folded
    reach = await store.directory.find(folded)
    if not reach.ours:
        raise NotOurDomain("we do not receive mail for this domain", domain=folded.domain)
    if not reach.maildrops:
        if folded.local == POSTMASTER:
            # RFC 5321 section 4.5.1: always an address; nobody has been made yet who reads it.
            raise StorageBusy("no mailbox has been made yet")
        raise UnknownRecipient("no such mailbox", address=str(folded))
    await _refuse_full(folded, reach.maildrops, store)
    return Recipient(address, reach.maildrops, reach.max_octets, reach.tls)


async def _refuse_full(address: Address, maildrops: tuple[int, ...], store: Store) -> None:
    """All recipients of an arrival are kept or none, so one full maildrop closes its whole group.

    For good only when none of them has had room for GRACE: one that is never emptied is no reason
    to tell a sender that the others cannot be reached.
    """
    full = [await store.maildrops.full_since(maildrop) for maildrop in maildrops]
    since = [each for each in full if each is not None]
    if since:
        for_good = len(since) == len(full) and min(since) > GRACE
        kind = FullForDays if for_good else OverQuota
        raise kind("mailbox full", address=str(address), since=max(since))
