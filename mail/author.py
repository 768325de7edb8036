"""Whom a message says that it is from: one address, or nobody that could be judged."""

from __future__ import annotations

import re

from mail.address import Address
from mail.errors import BadAddress
from mail.header import fields

_QUOTED = rb'"(?:[^"\\]++|\\.)*+"'
_COMMENT = rb"\((?:[^()\\]++|\\.)*+\)"
for _ in range(2):  # RFC 5322 section 3.2.2: they nest, here three deep
    _COMMENT = rb"\((?:[^()\\]++|\\.|" + _COMMENT + rb")*+\)"
VALUE_OCTETS = 64 * 1024

# A phrase is read with what stands in real ones, but never a second address: no comma, no bracket.
_NAMED = re.compile(
    rb"((?:[^\"<>(),;\\]++|" + _QUOTED + rb"|" + _COMMENT + rb")*+)<([^<>()]*+)>[ \t]*", re.DOTALL
)
_BARE = re.compile(rb"(" + _QUOTED + rb"@[^ \t\"<>(),;:\\]++|[^ \t\"<>(),;:\\]++)", re.DOTALL)
_AROUND = re.compile(rb"(?:" + _COMMENT + rb"|[ \t]++)++", re.DOTALL)


def author(header: bytes) -> Address | None:
    """Of the one field From with the one mailbox in it; None for anything else.

    With several it is not said who is responsible, and mail programs show now one, now another.
    """
    [found] = fields(header, b"from", most=2)
    if len(found) != 1:
        return None
    folded = found[0].value(VALUE_OCTETS + 1)
    if len(folded) > VALUE_OCTETS:  # whom its end names is not looked for
        return None
    value = folded.replace(b"\r\n", b"")
    value = value[_end(_AROUND.match(value)) :]
    mailbox = _NAMED.match(value)
    if mailbox:
        octets, rest = mailbox[2].strip(b" \t"), value[mailbox.end() :]
    else:
        bare = _BARE.match(value)
        if not bare:
            return None
        octets, rest = bare[1], value[bare.end() :]
    if _AROUND.sub(b"", rest):
        return None
    try:
        address = Address.parse(octets.decode("utf-8"))
    except (BadAddress, UnicodeDecodeError):
        return None
    return None if address.domain.startswith("[") else address


def _end(match: re.Match[bytes] | None) -> int:
    return match.end() if match else 0
