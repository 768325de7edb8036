"""A recipient's address to the maildrop it reaches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from mail.address import Address
from mail.errors import FullForDays, NotOurDomain, OverQuota, StorageBusy, UnknownRecipient
from store.store import Store

GRACE = timedelta(days=7)  # senders give up after five, and then know why


@dataclass(frozen=True, slots=True)
class Recipient:
    """The address as it was given, and where its mail goes."""

    address: Address
    maildrop_id: int


async def resolve(address: Address, store: Store) -> Recipient:
    """Exact look-up of the folded address; nothing is parsed out of it and nothing guessed.

    `postmaster` of each domain of ours, and alone, always resolves (RFC 5321 section 4.5.1): to
    its own address if there is one, else to the first administrator.
    Raises NotOurDomain, UnknownRecipient, OverQuota, after GRACE FullForDays, StorageBusy.
    """
    folded = address.folded
    ours, maildrop_id = await store.domains.look_up(folded)
    if not ours and folded.domain:
        raise NotOurDomain("we do not receive mail for this domain", domain=folded.domain)
    if maildrop_id is None:
        if folded.local != "postmaster":
            raise UnknownRecipient("no such mailbox", address=str(folded))
        maildrop_id = await store.domains.postmaster()
        if maildrop_id is None:
            raise StorageBusy("no mailbox has been made yet")
    since = await store.maildrops.full_since(maildrop_id)
    if since is not None:
        kind = FullForDays if since > GRACE else OverQuota
        raise kind("mailbox full", address=str(folded), since=since)
    return Recipient(address, maildrop_id)
