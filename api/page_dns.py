"""The DNS records of a domain on the page: what to enter, and whether it is there."""

from __future__ import annotations

from typing import Any, Final

from api import domain_dns, domains
from api.call import Call, Reply
from api.models import Query
from api.models_admin import DomainChange, DomainDetail
from api.models_dns import (
    NOT_NEEDED,
    Check,
    CheckQuery,
    Records,
    RecordsQuery,
    entered,
    fine,
    spread,
)
from api.models_page import DnsForm, Told
from api.page_frame import answer, framed, inner, to
from api.page_login import tried
from api.problems import Problem

TIERS: Final = {
    1: ("Needed", "Without these no mail comes."),
    2: (
        "Nobody can pose as you",
        "Forged mail is refused, senders use TLS, and mail apps set themselves up.",
    ),
    3: ("Of small benefit", "Nothing is lost without them."),
}
WHO: Final = {"authoritative": "At its name servers", "configured": "At the resolver"}
TOLD: Final = {"sends": "Kept. The records follow from it."}


async def show(call: Call[Told, None]) -> Reply:
    """GET /admin/domains/{name}: its records, each with its reason."""
    return await _show(call, told=TOLD.get(call.query.told, ""))


async def _show(call: Call[Any, Any], **more: Any) -> Reply:
    path = call.path
    records = await answer(domain_dns.show, inner(call, query=RecordsQuery(), path=path), Records)
    values: dict[str, Any] = {
        "items": records.items,
        "checked": False,
        "problems": [],
        "given": {},
    } | more
    return await framed(
        call,
        "dns.html",
        here="domains",
        domain=await answer(domains.read, inner(call, path=path), DomainDetail),
        tiers=TIERS,
        who=WHO,
        fine=fine,
        not_needed=NOT_NEEDED,
        **values,
    )


async def change(call: Call[Query, DnsForm]) -> Reply:
    """POST /admin/domains/{name}: looks whether they are there, or keeps who sends mail as it."""
    form, path = call.body, call.path

    async def work() -> Reply:
        if form.act == "check":
            asked = inner(call, query=CheckQuery(), path=path)
            found = await answer(domain_dns.check, asked, Check)
            told = "Everything is there." if entered(found) else ""
            if told and not spread(found):
                told += " Not every server tells it yet."
            return await _show(
                call, items=found.items, problems=found.problems, checked=True, told=told
            )
        if form.sends == "others" and not form.via.strip():
            raise Problem("invalid-body", errors=[("/via", "says which service, in terms of SPF")])
        via = {"nobody": "", "others": form.via, "unsure": None}[form.sends]
        body = DomainChange.model_validate({"sends_via": via})
        await domains.change(inner(call, body=body, path=path))
        return to(f"/admin/domains/{path['name']}", told="sends")

    async def again(status: int, failed: str) -> Reply:
        return await _show(call, status=status, failed=failed, given=form.model_dump())

    return await tried(work, again)
