"""Deliver one arrived message into the maildrops of its recipients.

IN        Arrival (canonical content as received; recipients resolved)
OUT       Kept (uid, size), after the octets are on stable storage
MAY       write to the store; nothing else
NEVER     open a socket; change the content (our trace lines are a prefix beside it)
FAILS     OverQuota, StorageBusy, StorageFull
RFC       5321 section 4.4 (trace), section 6.1 (after 250 the message is ours)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from intake.recipients import Recipient
from mail import facts, trace
from mail.address import Address
from mail.ident import UniqueId
from store.messages import Copy, NewMessage
from store.store import Store


@dataclass(frozen=True, slots=True)
class Arrival:
    """All that is known when the octets are complete. `sender` None is the null sender."""

    peer_ip: str
    helo: str
    protocol: str  # SMTP, ESMTP or ESMTPS
    cipher: str | None  # TLS cipher suite, None without TLS
    sender: Address | None
    recipients: tuple[Recipient, ...]
    content: bytes  # canonical


@dataclass(frozen=True, slots=True)
class Kept:
    uid: UniqueId
    size: int  # octets in the first recipient's maildrop


async def deliver(
    arrival: Arrival, store: Store, *, hostname: str, clock: Callable[[], datetime]
) -> Kept:
    """One body and one row per maildrop in one transaction, all or none.

    Two addresses of one maildrop give one row, under the first of them.
    """
    now = clock()
    hop = trace.Hop(
        peer_ip=arrival.peer_ip,
        helo=arrival.helo,
        by=hostname,
        protocol=arrival.protocol,
        cipher=arrival.cipher,
        uid=UniqueId.new(now),
        at=now,
    )
    by_maildrop: dict[int, Address] = {}
    for recipient in arrival.recipients:
        by_maildrop.setdefault(recipient.maildrop_id, recipient.address)
    shown = len(arrival.recipients) == 1
    new = NewMessage(
        uid=hop.uid,
        mail_from=arrival.sender,
        content=arrival.content,
        facts=facts.read(arrival.content),
        copies=[
            Copy(
                maildrop_id,
                address,
                trace.prefix(hop, sender=arrival.sender, recipient=address, shown=shown),
            )
            for maildrop_id, address in by_maildrop.items()
        ],
    )
    size = await store.messages.append(new)
    return Kept(hop.uid, size)
