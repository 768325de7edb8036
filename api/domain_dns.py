"""The DNS records of a domain, for its administrator."""

from __future__ import annotations

from api.call import Call, Reply
from api.domains import domain_key
from api.models_dns import Check, CheckQuery, RecordsQuery


async def show(call: Call[RecordsQuery, None]) -> Reply:
    """GET /api/domains/{name}/dns: the records that it should have, as JSON or as text."""
    domain = await call.parts.store.domains.get(domain_key(call.path["name"]))
    dns, query = call.parts.house.dns, call.query
    if query.format == "json":
        return Reply(dns.told(domain.name, domain.sends_via, query.only))
    text = dns.text(domain.name, domain.sends_via, query.only, form=query.format)
    return Reply(text.encode(), content_type="text/plain; charset=utf-8")


async def check(call: Call[CheckQuery, None]) -> Check:
    """POST /api/domains/{name}/dns/check: asks the zone's name servers and the resolver, now."""
    domain = await call.parts.store.domains.get(domain_key(call.path["name"]))
    return await call.parts.house.dns.check(domain.name, domain.sends_via, call.query.resolver)
