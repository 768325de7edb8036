"""Authentication-Results (RFC 8601): ours, and those that claim to be ours (section 5).

Whoever believes Authentication-Results believes those that bear our name; so none that came from
outside may.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mail.address import DomainName, parse_domain
from mail.errors import BadAddress
from mail.header import fields, header_of

GAP_OCTETS = 1000  # of comments before the id; honest fields have none there

# RFC 5322 section 3.2.2: comments nest, here three deep. Nothing is ever tried twice, so a hostile
# field costs no more than another.
_COMMENT = rb"\((?:[^()\\]++|\\.)*+\)"
for _ in range(2):
    _COMMENT = rb"\((?:[^()\\]++|\\.|" + _COMMENT + rb")*+\)"
_GAP = re.compile(rb"(?:[ \t\r\n]++|" + _COMMENT + rb")*+", re.DOTALL)
# RFC 8601 section 2.2: the id is a token or a quoted string (RFC 2045 section 5.1).
_ID = re.compile(
    rb'([^\x00-\x20()<>@,;:\\"/\[\]?=\x7f]++)|"((?:[^"\\]++|\\.)*+)"',
    re.DOTALL,
)
_ID_OCTETS = 1000  # of which a domain takes 253, each with a backslash at most
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")


@dataclass(frozen=True, slots=True)
class Result:
    """Of one check. `why` and the values are printable ASCII, `why` without brackets."""

    method: str
    result: str
    why: str = ""
    properties: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        words = [f"{self.method}={self.result}"]
        if self.why:
            words.append(f"({self.why})")
        words += [f"{name}={_value(value)}" for name, value in self.properties]
        return " ".join(words)


def ours(hostname: str, results: Iterable[Result]) -> str:
    """The field in our name, folded, without its last CRLF."""
    parts = [f";\r\n\t{result}" for result in results]
    return f"Authentication-Results: {hostname}" + ("".join(parts) or "; none")


def _value(text: str) -> str:
    """Section 2.2: a value is a token or quoted."""
    if _TOKEN.fullmatch(text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def without_ours(content: bytes, hostname: str) -> bytes:
    """Canonical content without the fields that claim to be `hostname`'s; the rest as it came."""
    header = header_of(content)
    ours = parse_domain(hostname)
    kept = []
    at = 0
    [found] = fields(header, b"authentication-results")
    for field in found:
        if _claims(field.value(GAP_OCTETS + _ID_OCTETS), ours):
            kept.append(content[at : field.start])
            at = field.end
    return b"".join((*kept, content[at:])) if kept else content


def _claims(value: bytes, ours: DomainName) -> bool:
    gap = _GAP.match(value, 0, GAP_OCTETS)
    assert gap  # it may be empty
    start = gap.end()
    if start == GAP_OCTETS or value.startswith(b"(", start):
        return True  # an id may be behind it, which others read
    found = _ID.match(value, start, start + _ID_OCTETS)
    if not found:
        return False
    token, quoted = found.groups()
    octets = token if token is not None else _ESCAPED.sub(rb"\1", quoted)
    # A domain name: neither case nor the form of its labels makes it another (section 2.5).
    name = octets.decode("utf-8", "replace").removesuffix(".").lower()
    if name.isascii():
        return name == ours
    try:
        return parse_domain(name) == ours
    except BadAddress:
        return False
