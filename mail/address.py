"""Mail addresses and domains: one strict grammar (RFC 5321 section 4.1.2, RFC 6531 section 3.3).

Nothing is guessed and nothing is mended: text that does not fit is `BadAddress`.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from typing import NewType

import idna

from mail.errors import BadAddress

LOCAL_PART_OCTETS = 64  # quotes and backslashes included
DOMAIN_OCTETS = 253  # RFC 1035 section 2.3.4: 255 on the wire

DomainName = NewType("DomainName", str)
"""A folded domain in A-label form; compared as text."""

# Written as what does not belong: a class that names all of Unicode takes long to compile.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # controls, lone surrogates: nowhere
_ATEXT = r'[^\x00-\x20"(),.:;<>@\[\\\]\x7f]'
_DOT_STRING = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
_QUOTED = r'"(?:[^"\\]|\\[ -~])*"'
# An underscore is no letter of a host name, but senders' domains with one exist.
_LETTER = r"[^\x00-/:-@\[-^`{-\x7f]"
_LABEL = rf"{_LETTER}(?:(?:{_LETTER}|-)*{_LETTER})?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_LITERAL = r"\[[0-9A-Za-z.:]+\]"  # no zone: it means something on one machine only
_MAILBOX = re.compile(rf"(?P<local>{_DOT_STRING}|{_QUOTED})@(?P<domain>{_DOMAIN}|{_LITERAL})")
_DOMAIN_ONLY = re.compile(_DOMAIN)
_LITERAL_ONLY = re.compile(_LITERAL)
_PLAIN_LOCAL = re.compile(_DOT_STRING)
_ROUTE = re.compile(rf"@{_DOMAIN}(?:,@{_DOMAIN})*:")


def parse_domain(text: str) -> DomainName:
    """The folded A-label form of a domain. Raises BadAddress."""
    if _UNFIT.search(text) or not _DOMAIN_ONLY.fullmatch(text):
        raise BadAddress("not a domain name", text=text)
    folded = text.lower()
    if not folded.isascii():
        try:
            folded = idna.encode(folded, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise BadAddress("not a domain name", text=text) from error
        if folded.endswith("."):  # UTS 46 reads other characters as full stops
            raise BadAddress("not a domain name", text=text)
    if len(folded) > DOMAIN_OCTETS or any(len(label) > 63 for label in folded.split(".")):
        raise BadAddress("a domain name this long cannot exist", text=text)
    return DomainName(folded)


def _parse_literal(text: str) -> DomainName:
    """RFC 5321 section 4.1.3: an IP address in brackets, the only literals in use."""
    if not _LITERAL_ONLY.fullmatch(text):
        raise BadAddress("not an address literal", text=text)
    inner = text[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            return DomainName(f"[IPv6:{ipaddress.IPv6Address(inner[5:]).compressed}]")
        return DomainName(f"[{ipaddress.IPv4Address(inner)}]")
    except ValueError as error:
        raise BadAddress("not an address literal", text=text) from error


def parse_host(text: str) -> DomainName:
    """What HELO names: a domain or an address literal. Raises BadAddress."""
    return _parse_literal(text) if text.startswith("[") else parse_domain(text)


@dataclass(frozen=True, slots=True)
class Address:
    """`local` without quoting, as written; `domain` folded, or empty for the bare Postmaster."""

    local: str
    domain: DomainName

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads `local@domain`. Raises BadAddress."""
        match = _MAILBOX.fullmatch(text)
        if not match or _UNFIT.search(text):
            raise BadAddress("not a mail address", text=text)
        return _matched(match)

    @property
    def folded(self) -> Address:
        """The form for look-up: case folded, composed (NFC)."""
        # Decomposed first: folding takes marks apart, which come in one order only then.
        decomposed = unicodedata.normalize("NFD", self.local)
        return Address(unicodedata.normalize("NFC", decomposed.casefold()), self.domain)

    def __str__(self) -> str:
        if _PLAIN_LOCAL.fullmatch(self.local):
            local = self.local
        else:
            local = '"' + re.sub(r'(["\\])', r"\\\1", self.local) + '"'
        return f"{local}@{self.domain}" if self.domain else local


def _matched(match: re.Match[str]) -> Address:
    local = match["local"]
    # RFC 5321 section 4.5.3.1.1, as it stands on the wire: our own form is never longer.
    if len(local.encode("utf-8", "surrogateescape")) > LOCAL_PART_OCTETS:
        raise BadAddress("the part before the @ has more than 64 octets", text=match[0])
    if local.startswith('"'):
        # RFC 5321 section 4.1.2: quoted and plain forms of one string are one address.
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    domain = match["domain"]
    return Address(local, _parse_literal(domain) if domain[0] == "[" else parse_domain(domain))


@dataclass(frozen=True, slots=True)
class Path:
    """What stands between < and > in MAIL and RCPT. `address` is None for the null path <>."""

    address: Address | None

    @classmethod
    def read(cls, text: str) -> tuple[Path, str]:
        """Reads a path at the start of `text`; gives it and the rest behind it.

        A source route is read and dropped (RFC 5321 appendix C); `<Postmaster>` without a domain
        is that local part with an empty domain (section 4.1.1.3). Raises BadAddress.
        """
        if not text.startswith("<") or _UNFIT.search(text):
            raise BadAddress("an address stands in angle brackets", text=text)
        if text.startswith("<>"):
            return cls(None), text[2:]
        if text[:12].lower() == "<postmaster>":
            return cls(Address(text[1:11], DomainName(""))), text[12:]
        route = _ROUTE.match(text, 1)
        match = _MAILBOX.match(text, route.end() if route else 1)
        if not match or text[match.end() : match.end() + 1] != ">":
            raise BadAddress("not a mail address", text=text)
        return cls(_matched(match)), text[match.end() + 1 :]

    def __str__(self) -> str:
        return f"<{self.address or ''}>"
