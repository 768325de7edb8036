"""What programs of strangers look for: how a mail app is set up, how mail is to come in.

Answered under the server's own name, and under `autoconfig.` and `mta-sts.` before a domain that is
ours. Nothing here depends on whether an address exists.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from api import cards
from api.call import ApiParts, Call, Reply
from api.models import Query
from api.models_auth import AutoconfigQuery
from api.problems import Problem
from mail.address import Address, parse_domain
from mail.errors import BadAddress, NotFound
from mail.mta_sts import Mode, policy_text
from store.directory import POSTMASTER
from store.records import Domain, MtaSts

AUTOCONFIG, MTA_STS = "autoconfig.", "mta-sts."
MODES: Final[dict[MtaSts, Mode]] = {
    MtaSts.OFF: "none",
    MtaSts.TESTING: "testing",
    MtaSts.ENFORCE: "enforce",
}
SECURITY_DAYS: Final = 180  # RFC 9116 section 2.5.5: less than a year


async def ours(parts: ApiParts, host: str) -> bool:
    """Whether `host` stands before one of our domains in this way; asked of memory."""
    domain = _behind(host, AUTOCONFIG) or _behind(host, MTA_STS)
    return domain is not None and await _hosted(parts, domain)


async def autoconfig(call: Call[AutoconfigQuery, None]) -> Reply:
    """GET /mail/config-v1.1.xml: what Thunderbird sets an address up with."""
    # It asks under the domain of the MX too: the address goes before the name that was asked.
    candidates = [call.query.emailaddress.rpartition("@")[2], call.host.removeprefix(AUTOCONFIG)]
    for candidate in candidates:
        if found := await _domain(call.parts, candidate):
            provider = cards.Provider(
                found.name,
                cards.incoming(call.parts, "%EMAILADDRESS%"),
                cards.outgoing(call.parts, found),
            )
            return Reply(cards.as_autoconfig(provider), content_type=cards.XML)
    raise Problem("not-found")


async def well_known_autoconfig(call: Call[AutoconfigQuery, None]) -> Reply:
    """GET /.well-known/autoconfig/mail/config-v1.1.xml: the same."""
    return await autoconfig(call)


async def mta_sts(call: Call[Query, None]) -> Reply:
    """GET /.well-known/mta-sts.txt: what senders are to do when our TLS does not fit (RFC 8461)."""
    domain = _behind(call.host, MTA_STS)
    found = await _domain(call.parts, domain) if domain else None
    if found is None:
        raise Problem("not-found")
    text = policy_text(call.parts.hostname, MODES[found.mta_sts])
    return Reply(text.encode(), content_type="text/plain")  # section 3.2; no parameter


async def security(call: Call[Query, None]) -> Reply:
    """GET /.well-known/security.txt: whom to tell of a fault (RFC 9116)."""
    labels = call.host.split(".")
    for first in range(len(labels)):
        domain = ".".join(labels[first:])
        if found := await _domain(call.parts, domain):
            ends = call.parts.clock() + timedelta(days=SECURITY_DAYS)
            text = (
                f"Contact: mailto:{POSTMASTER}@{found.name}\nExpires: {ends:%Y-%m-%dT00:00:00Z}\n"
            )
            return Reply(text.encode(), content_type=cards.TEXT)
    raise Problem("not-found")


async def robots(_call: Call[Query, None]) -> Reply:
    """GET /robots.txt: nothing here is for search engines (RFC 9309)."""
    return Reply(b"User-agent: *\nDisallow: /\n", content_type=cards.TEXT)


async def challenge(call: Call[Query, None]) -> Reply:
    """GET /.well-known/acme-challenge/{token}: shows that a name is ours (RFC 8555 section 8.3)."""
    answer = await call.parts.house.challenge(call.path["token"])
    if answer is None:
        raise Problem("not-found")
    return Reply(answer, content_type="application/octet-stream")


def _behind(host: str, prefix: str) -> str | None:
    return host.removeprefix(prefix) if host.startswith(prefix) else None


async def _hosted(parts: ApiParts, text: str) -> bool:
    try:
        domain = parse_domain(text)
    except BadAddress:
        return False
    return (await parts.store.directory.find(Address(POSTMASTER, domain))).ours


async def _domain(parts: ApiParts, text: str) -> Domain | None:
    if not await _hosted(parts, text):
        return None
    try:
        return await parts.store.domains.get(parse_domain(text))
    except NotFound:  # removed meanwhile
        return None
