"""Deliver one arrived message into the maildrops of its recipients.

IN        Arrival (canonical content as received; recipients resolved)
OUT       Kept (uid, size), after the octets are on stable storage
MAY       write to the store; take results in our name out of the header; have it checked
NEVER     open a socket; change the content else (our trace lines are a prefix beside it)
FAILS     MailLoop, MessageTooLarge, Unwanted, OverQuota, StorageBusy, StorageFull
RFC       5321 section 4.4 (trace), section 6.1 (after 250 the message is ours), section 6.3
          (loops); 8601 section 5 (results in our name)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from intake.admission import Admission, Checks
from intake.recipients import Recipient
from mail import facts, results, trace
from mail.address import Address
from mail.errors import MailLoop, MessageTooLarge
from mail.header import header_of
from mail.ident import UniqueId
from store.messages import Copy, NewMessage
from store.store import Store

SHORT_OCTETS = 32 * 1024  # of header; to look through a longer one may take its time, in a thread


@dataclass(frozen=True, slots=True)
class Arrival:
    """All that is known when the octets are complete. `sender` None is the null sender."""

    peer_ip: str
    helo: str
    protocol: str  # SMTP, ESMTP or ESMTPS
    sender: Address | None
    recipients: tuple[Recipient, ...]
    content: bytes  # canonical
    tls_version: str | None = None  # None without TLS, as is the cipher suite
    cipher: str | None = None
    smtputf8: bool = False  # the transaction asked for it
    ended: float | None = None  # when its last octet had come, of `time.monotonic`


@dataclass(frozen=True, slots=True)
class Kept:
    uid: UniqueId
    size: int  # octets in the first recipient's maildrop


async def deliver(
    arrival: Arrival,
    store: Store,
    *,
    hostname: str,
    clock: Callable[[], datetime],
    checks: Checks | None = None,
) -> Kept:
    """One body and one row per maildrop in one transaction, all or none.

    Two addresses of one maildrop give one row, under the first of them. Signatures are checked
    on the content before anything is taken out of it.
    """
    least = [each.max_octets for each in arrival.recipients if each.max_octets is not None]
    if least and len(arrival.content) > min(least):
        raise MessageTooLarge("message larger than a recipient's domain takes")
    header = header_of(arrival.content)
    if len(header) > SHORT_OCTETS:
        content = await asyncio.to_thread(_admit, arrival, header, hostname)
    else:
        content = _admit(arrival, header, hostname)
    admission = await checks.admit(arrival, hostname) if checks else Admission()
    now = clock()
    hop = trace.Hop(
        peer_ip=arrival.peer_ip,
        helo=arrival.helo,
        by=hostname,
        protocol=arrival.protocol,
        cipher=arrival.cipher,
        uid=UniqueId.new(now),
        at=now,
        tls_version=arrival.tls_version,
        smtputf8=arrival.smtputf8,
    )
    by_maildrop: dict[int, Address] = {}
    for recipient in arrival.recipients:
        for maildrop_id in recipient.maildrops:
            by_maildrop.setdefault(maildrop_id, recipient.address)
    shown = len(arrival.recipients) == 1
    new = NewMessage(
        uid=hop.uid,
        mail_from=arrival.sender,
        content=content,
        facts=facts.read(content),
        copies=[
            Copy(
                maildrop_id,
                address,
                trace.prefix(
                    hop,
                    sender=arrival.sender,
                    recipient=address,
                    shown=shown,
                    found=admission.fields,
                ),
                held=maildrop_id in admission.held,
            )
            for maildrop_id, address in by_maildrop.items()
        ],
        authentication=admission.authentication,
    )
    size = await store.messages.append(new)
    return Kept(hop.uid, size)


def _admit(arrival: Arrival, header: bytes, hostname: str) -> bytes:
    """The content as it is kept. Raises MailLoop."""
    if trace.loops(header, [recipient.address for recipient in arrival.recipients]):
        raise MailLoop("mail loop")
    return results.without_ours(arrival.content, hostname)
