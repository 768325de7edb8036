"""Mail that was fetched from a provider, made ready for the store as mail that comes by SMTP is.

Nothing is sent on from here, so mail that is fetched cannot go in a circle: a message that was here
before is known by what is in it, and kept once (`store.collected`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from mail import facts, results, trace
from mail.address import Address
from mail.arrival import arrived
from mail.errors import BadAddress
from mail.header import fields, header_of
from mail.ident import UniqueId
from mail.trace import PATH_OCTETS
from store.messages import Copy, NewMessage


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message was fetched, and the names that OpenSSL gives to its TLS."""

    host: str
    peer_ip: str
    tls_version: str | None
    cipher: str | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """Canonical content as the provider has it, for one maildrop; `address` is the one there."""

    content: bytes
    origin: Origin
    maildrop_id: int
    address: Address


def prepare(fetched: Fetched, *, hostname: str, now: datetime) -> NewMessage:
    """Our trace lines in front, results of checks in our name taken out, the provider's kept.

    The uid has the time when the provider got it, so that lists are in the order of arrival.
    """
    content = results.without_ours(fetched.content, hostname)
    at = arrived(content)
    origin = fetched.origin
    hop = trace.Hop(
        peer_ip=origin.peer_ip,
        helo=origin.host,
        by=hostname,
        protocol="POP3",
        cipher=origin.cipher,
        uid=UniqueId.new(at if at and _EPOCH <= at <= now else now),
        at=now,
        tls_version=origin.tls_version,
        smtputf8=True,  # what has been delivered may be UTF-8 (RFC 6532)
    )
    prefix = trace.fetched(hop, recipient=fetched.address)
    return NewMessage(
        uid=hop.uid,
        mail_from=_sender(content),
        content=content,
        facts=facts.read(content),
        copies=[Copy(fetched.maildrop_id, fetched.address, prefix)],
    )


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_PATH = re.compile(rb"\s*<([^<>]*)>\s*")


def _sender(content: bytes) -> Address | None:
    """Of the topmost Return-Path, which the provider wrote (RFC 5321 section 4.4)."""
    [found] = fields(header_of(content), b"return-path", most=1)
    match = _PATH.fullmatch(found[0].value(PATH_OCTETS)) if found else None
    try:
        return Address.parse(match[1].decode()) if match else None
    except (BadAddress, UnicodeDecodeError):
        return None
