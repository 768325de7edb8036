"""What the domain of an author asks for, and whether a message is really its (RFC 7489).

Where a record is looked for is the business of `places` alone: another way to the domain that is
responsible, as a walk up the tree, would change that function and `organisation`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Literal

from publicsuffixlist import PublicSuffixList

from intake.spf import Ask
from mail.address import DomainName

Wish = Literal["none", "quarantine", "reject"]

RECORD_OCTETS = 4096

_VERSION = re.compile(r"[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")  # RFC 7489 section 6.4


@dataclass(frozen=True, slots=True)
class Policy:
    """`wish` is for mail of the author that was asked about."""

    domain: str
    wish: Wish
    strict_dkim: bool
    strict_spf: bool
    percent: int


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def organisation(domain: str) -> str:
    """Section 3.2; a public suffix is its own."""
    return _suffixes().privatesuffix(domain) or domain


def places(author: DomainName) -> list[str]:
    """Domains whose record may be in force for an author, in the order they are asked."""
    return list(dict.fromkeys([author, organisation(author)]))


async def find(ask: Ask, author: DomainName) -> Policy | None:
    """Section 6.6.3. Raises what `ask` raises."""
    for place in places(author):
        found = await ask(f"_dmarc.{place}", "TXT")
        texts = [
            record.decode("utf-8", "replace")
            for record in found.records
            if len(record) <= RECORD_OCTETS
        ]
        records = [text for text in texts if _VERSION.match(text)]
        if records:
            # More than one is none; nobody else is asked then.
            return _read(records[0], place, author) if len(records) == 1 else None
    return None


def _read(record: str, place: str, author: DomainName) -> Policy | None:
    tags: dict[str, str] = {}
    for part in record.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip().lower(), value.strip().lower())
    wish = _wish(tags.get("p"))
    if wish is None:
        # Section 6.6.3: with somebody to report to it is a record that asks for nothing else.
        if not tags.get("rua", "").startswith("mailto:"):
            return None
        wish = "none"
    elif place != author:
        wish = _wish(tags.get("sp")) or wish
    percent = tags.get("pct", "")
    return Policy(
        domain=place,
        wish=wish,
        strict_dkim=tags.get("adkim") == "s",
        strict_spf=tags.get("aspf") == "s",
        percent=min(int(percent), 100) if re.fullmatch("[0-9]{1,3}", percent) else 100,
    )


def _wish(text: str | None) -> Wish | None:
    match text:
        case "none" | "quarantine" | "reject":
            return text
        case _:
            return None


def is_aligned(author: str, domain: str, *, strict: bool) -> bool:
    """Section 3.1, of two folded domains."""
    return author == domain or (not strict and organisation(author) == organisation(domain))


def passes(
    policy: Policy | None, author: str, *, spf: Collection[str], dkim: Collection[str]
) -> bool:
    """Whether one of the domains that were proven is the author's. Without a policy: relaxed."""
    strict_spf = policy is not None and policy.strict_spf
    strict_dkim = policy is not None and policy.strict_dkim
    return any(is_aligned(author, each, strict=strict_spf) for each in spf) or any(
        is_aligned(author, each, strict=strict_dkim) for each in dkim
    )
