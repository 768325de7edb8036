"""A recipient's address to the maildrop it reaches."""

from __future__ import annotations

from dataclasses import dataclass

from mail.address import Address
from mail.errors import NotOurDomain, OverQuota, StorageBusy, UnknownRecipient
from store.store import Store


@dataclass(frozen=True, slots=True)
class Recipient:
    """The address as it was given, and where its mail goes."""

    address: Address
    maildrop_id: int


async def resolve(address: Address, store: Store) -> Recipient:
    """Exact look-up of the folded address; nothing is parsed out of it and nothing guessed.

    `postmaster` of each domain of ours, and alone, always resolves (RFC 5321 section 4.5.1): to
    its own address if there is one, else to the first administrator.
    Raises NotOurDomain, UnknownRecipient, OverQuota, StorageBusy.
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
    if await store.maildrops.full(maildrop_id):
        raise OverQuota("mailbox full", address=str(folded))
    return Recipient(address, maildrop_id)
