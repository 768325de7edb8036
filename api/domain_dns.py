"""The DNS records of a domain, for its administrator."""

from __future__ import annotations

from typing import Any

from api.call import Call, Reply
from api.domains import MODES, domain_key
from api.models_dns import Check, CheckQuery, RecordsQuery, Subject
from store.records import Domain


async def show(call: Call[RecordsQuery, None]) -> Reply:
    """GET /api/domains/{name}/dns: the records that it should have, as JSON or as text."""
    subject = await _subject(call)
    dns, query = call.parts.house.dns, call.query
    if query.format == "json":
        return Reply(dns.told(subject, query.only))
    text = dns.text(subject, query.only, form=query.format)
    return Reply(text.encode(), content_type="text/plain; charset=utf-8")


async def check(call: Call[CheckQuery, None]) -> Check:
    """POST /api/domains/{name}/dns/check: asks the zone's name servers and the resolver, now."""
    return await call.parts.house.dns.check(await _subject(call), call.query.resolver)


async def _subject(call: Call[Any, None]) -> Subject:
    return subject(await call.parts.store.domains.get(domain_key(call.path["name"])))


def subject(domain: Domain) -> Subject:
    return Subject(domain.name, domain.sends_via, MODES[domain.mta_sts])
