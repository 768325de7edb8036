"""What the trace lines that we put on a message say of its way here."""

from __future__ import annotations

import re
from typing import Final

from mail.address import Address, DomainName
from mail.ident import new_local_part

_UNFOLD: Final = re.compile(r"\r\n[ \t]+")
_STAMP: Final = re.compile(
    r"Received: from (?P<helo>.*?) \(\[(?:IPv6:)?(?P<ip>[^\]]+)\]\) by (?P<host>\S+) "
    r"with (?P<protocol>\S+) id (?P<uid>\S+?)(?: for <[^>]*>)?(?: tls (?P<tls>[^;]+))?; (?P<at>.+)"
)


def new_address(domain: DomainName) -> Address:
    """Nobody knows it yet, so what comes to it was sent for it."""
    return Address(f"proof-{new_local_part()}", domain)


def way(raw: bytes) -> dict[str, str]:
    """Of a message that came in by SMTP."""
    head = raw.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    lines = _UNFOLD.sub(" ", head).split("\r\n")
    stamp = next(found for line in lines if (found := _STAMP.fullmatch(line)))
    encrypted = stamp["tls"] or "none: the sender did not ask for it"
    return {
        "from": lines[0].removeprefix("Return-Path: "),
        "MX": f"led to {stamp['host']}",
        "port 25": f"reached from {stamp['ip']}, which calls itself {stamp['helo']}",
        "TLS": encrypted,
        "store": f"kept as {stamp['uid']} at {stamp['at']}",
    }
