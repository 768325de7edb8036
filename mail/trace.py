"""The lines we put in front of a message (RFC 5321 section 4.4), one prefix per maildrop."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from mail.address import Address, parse_host
from mail.errors import BadAddress
from mail.ident import UniqueId

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
    """How one arrival reached us. `cipher` is OpenSSL's name of the suite, None without TLS."""

    peer_ip: str
    helo: str
    by: str
    protocol: str  # SMTP, ESMTP or ESMTPS (RFC 3848)
    cipher: str | None
    uid: UniqueId
    at: datetime


def _literal(ip: str) -> str:
    return f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"


def _from_domain(hop: Hop) -> str:
    """HELO's argument if it could be a host's name; what a stranger typed is never copied."""
    try:
        name = parse_host(hop.helo)
    except BadAddress:
        name = None
    return f"{name or 'unknown'} ({_literal(hop.peer_ip)})"


def prefix(hop: Hop, *, sender: Address | None, recipient: Address, shown: bool) -> bytes:
    """Return-Path, Delivered-To and Received, in canonical CRLF.

    `shown` puts the recipient into Received too; with several recipients that would tell each
    of them about the others' existence (RFC 5321 section 7.2).
    """
    lines = [
        f"Return-Path: <{sender or ''}>",
        f"Delivered-To: {recipient}",
        f"Received: from {_from_domain(hop)}",
        f"\tby {hop.by} with {hop.protocol} id {hop.uid}",
    ]
    if shown:
        lines.append(f"\tfor <{recipient}>")
    if hop.cipher:
        # RFC 8314 section 4.3: the clause that names the cipher suite, as IANA registers it.
        lines.append(f"\ttls {_REGISTERED.get(hop.cipher, hop.cipher)}")
    lines[-1] += ";"
    lines.append(f"\t{format_datetime(hop.at)}")
    return "".join(line + "\r\n" for line in lines).encode("utf-8", "surrogateescape")


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
