"""Trace fields: those we put in front of a message (RFC 5321 section 4.4), one prefix per maildrop,
and what those of others say of its way.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

from mail.address import Address, parse_host
from mail.errors import BadAddress
from mail.header import fields
from mail.ident import UniqueId

HOPS = 100  # RFC 5321 section 6.3: no honest way has so many
PATH_OCTETS = 1000  # of a field that holds an address
LINE = 78  # RFC 5322 section 2.1.1: characters, where it can be kept

# What OpenSSL calls the suites of TLS 1.2 that we serve; its names for TLS 1.3 are the registry's.
_REGISTERED = {
    f"ECDHE-{key}-{suite}": f"TLS_ECDHE_{key}_WITH_{registered}"
    for key in ("ECDSA", "RSA")
    for suite, registered in (
        ("AES128-GCM-SHA256", "AES_128_GCM_SHA256"),
        ("AES256-GCM-SHA384", "AES_256_GCM_SHA384"),
        ("CHACHA20-POLY1305", "CHACHA20_POLY1305_SHA256"),
    )
}


@dataclass(frozen=True, slots=True)
class Hop:
    """How one arrival reached us. `tls_version` and `cipher` are OpenSSL's names, None without TLS.

    `smtputf8`: the transaction asked for it, so our lines may be UTF-8 (RFC 6531 section 3.7.3).
    """

    peer_ip: str
    helo: str
    by: str
    protocol: str  # SMTP, ESMTP or ESMTPS (RFC 3848), or POP3
    cipher: str | None
    uid: UniqueId
    at: datetime
    tls_version: str | None = None
    smtputf8: bool = False


@lru_cache(1000)
def _literal(ip: str) -> str:
    """RFC 5321 section 4.1.3. An IPv4 client at an IPv6 socket is an IPv4 client."""
    address = ipaddress.ip_address(ip)
    if address.version == 4:
        return f"[{address}]"
    return f"[{address.ipv4_mapped}]" if address.ipv4_mapped else f"[IPv6:{address}]"


@lru_cache(1000)
def _from_domain(helo: str) -> str:
    """HELO's argument if it could be a host's name; what a stranger typed is never copied."""
    try:
        return parse_host(helo)
    except BadAddress:
        return "unknown"


def _folded(*words: str) -> str:
    """One line, or several where that would be a long one; a word is never taken apart."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) < LINE:  # room for a semicolon
            lines[-1] += f" {word}"
        else:
            lines.append(f"\t{word}")
    return "\r\n".join(lines)


def prefix(
    hop: Hop,
    *,
    sender: Address | None,
    recipient: Address,
    shown: bool,
    found: Sequence[str] = (),
) -> bytes:
    """Return-Path, Delivered-To, what was `found` by checks, and Received, in canonical CRLF.

    `found` is whole fields of ours without their last CRLF; their place is above Received, where
    no server before us can have put them (RFC 8601 section 4.1).

    `shown` puts the recipient into Received too; with several recipients that would tell each
    of them about the others' existence (RFC 5321 section 7.2). An address that is not ASCII is
    left out unless the transaction was one of SMTPUTF8.
    """
    lines = [
        _folded("Return-Path:", f"<{sender or ''}>"),
        _folded("Delivered-To:", str(recipient)),
        *found,
        _received(hop, recipient if shown else None),
    ]
    return _octets([line for line in lines if hop.smtputf8 or line.isascii()])


def fetched(hop: Hop, *, recipient: Address) -> bytes:
    """Delivered-To and Received of a message that was fetched: Return-Path is the provider's."""
    return _octets([_folded("Delivered-To:", str(recipient)), _received(hop, recipient)])


def _received(hop: Hop, recipient: Address | None) -> str:
    # RFC 6531 section 4.3.
    protocol = hop.protocol.replace("ESMTP", "UTF8SMTP") if hop.smtputf8 else hop.protocol
    stamp = [
        _folded(f"Received: from {_from_domain(hop.helo)}", f"({_literal(hop.peer_ip)})"),
        _folded(f"\tby {hop.by}", f"with {protocol}", f"id {hop.uid}"),
    ]
    if recipient and (hop.smtputf8 or recipient.local.isascii()):
        stamp.append(f"\tfor <{recipient}>")
    if hop.cipher:
        # RFC 8314 section 4.3: the clause that names the cipher suite, as IANA registers it.
        clause = f"\ttls {_REGISTERED.get(hop.cipher, hop.cipher)}"
        stamp.append(_folded(clause, f"({hop.tls_version})") if hop.tls_version else clause)
    return "\r\n".join(stamp) + f";\r\n\t{format_datetime(hop.at)}"


def _octets(lines: list[str]) -> bytes:
    return "".join(line + "\r\n" for line in lines).encode("utf-8", "surrogateescape")


_FROM = re.compile(
    rb"[ \t]*from[ \t]+([!-~]+)[ \t]+\((?:[!-~]+[ \t]+)?\[(?:IPv6:)?([0-9A-Fa-f.:]+)\]\)",
    re.IGNORECASE,
)


def clients(header: bytes) -> Iterator[tuple[str, str]]:
    """Address and HELO of whom each server got the message from, the last one first.

    Up to the first field that does not say it: what is below was written by nobody known.
    """
    [received] = fields(header, b"received", most=HOPS)
    for field in received:
        found = _FROM.match(field.value(PATH_OCTETS).replace(b"\r\n", b""))
        if not found:
            return
        try:
            ip = ipaddress.ip_address(found[2].decode())
        except ValueError:
            return
        yield str(ip), found[1].decode()


def loops(header: bytes, recipients: Collection[Address]) -> bool:
    """Whether a message with this canonical header goes in a circle.

    It does with more than HOPS fields of one name that each hop may add, or when it was delivered
    to one of the recipients already.
    """
    received, delivered, results = fields(
        header, b"received", b"delivered-to", b"authentication-results", most=HOPS + 1
    )
    if max(len(received), len(delivered), len(results)) > HOPS:
        return True
    here = {recipient.folded for recipient in recipients}
    for field in delivered:
        text = field.value(PATH_OCTETS).replace(b"\r\n", b"").decode("utf-8", "replace")
        try:
            if Address.parse(text.strip(" \t<>")).folded in here:
                return True
        except BadAddress:
            continue
    return False


def letter(*, sender: str, recipient: Address, subject: str, at: datetime, text: str) -> bytes:
    """A plain message of our own making, for our own listener: canonical, text in UTF-8."""
    head = (
        f"From: {sender}\r\n"
        f"To: <{recipient}>\r\n"
        f"Subject: {subject}\r\n"
        f"Date: {format_datetime(at)}\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n"
        "\r\n"
    )
    body = "".join(line + "\r\n" for line in text.splitlines())
    return (head + body).encode("utf-8")
