"""Domains and addresses: an administrator's, and what of them is a user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from api.call import Call, Reply
from api.lists import Listing
from api.models import Query
from api.models_admin import (
    AddressChange,
    AddressDetail,
    AddressesQuery,
    AddressPage,
    DomainChange,
    DomainDetail,
    DomainPage,
    ListQuery,
    MtaStsMode,
    NewAddress,
    NewDomain,
    RemoveDomainQuery,
)
from auth.scopes import Scope
from mail.address import Address, DomainName, parse_domain
from mail.errors import BadAddress, NotFound
from mail.ident import new_local_part, parse_row_id, row_id_text
from store.records import AddressState, Alias, AliasSettings, Domain, DomainSettings, MtaSts

MODES: Final[Mapping[MtaSts, MtaStsMode]] = {
    MtaSts.OFF: "off",
    MtaSts.TESTING: "testing",
    MtaSts.ENFORCE: "enforce",
}


def detail(domain: Domain, *, whole: bool = True) -> DomainDetail:
    return DomainDetail(
        id=row_id_text(domain.id),
        name=domain.name,
        **({"catch_all": domain.catch_all} if whole else {}),
        plus=domain.plus,
        alias_of=domain.alias_of,
        **({"sends_via": domain.sends_via} if whole else {}),
        self_service=domain.self_service,
        max_message=domain.max_message,
        require_tls=domain.require_tls,
        mta_sts=MODES[domain.mta_sts],
        outgoing=domain.outgoing,
        created_at=domain.created_at,
    )


def address_detail(alias: Alias) -> AddressDetail:
    return AddressDetail(
        id=row_id_text(alias.id),
        address=str(alias.address),
        to=list(alias.to),
        state="closed" if alias.state is AddressState.CLOSED else "open",
        note=alias.note,
        created_at=alias.created_at,
    )


def _list(show: Callable[[Domain], DomainDetail]) -> Listing[Domain]:
    return Listing("/api/domains", DomainPage, show, lambda domain: (domain.name,))


DOMAINS, OWN_DOMAINS = _list(detail), _list(partial(detail, whole=False))
ADDRESSES: Final[Listing[Alias]] = Listing(
    "/api/addresses",
    AddressPage,
    address_detail,
    lambda alias: (alias.address.domain, alias.address.folded.local),
)


async def index(call: Call[ListQuery, None]) -> Reply:
    """GET /api/domains: by name; all of them, or those in which a user has an address."""
    whose = call.who.whose(Scope.ADMIN_READ)
    listing = OWN_DOMAINS if whose else DOMAINS
    return listing.reply(call, await call.parts.store.domains.page(listing.span(call), whose))


async def create(call: Call[Query, NewDomain]) -> Reply:
    """POST /api/domains: from now on mail for addresses in it is taken."""
    made = await call.parts.store.domains.add(parse_domain(call.body.name), **_settings(call.body))
    headers = {"Location": f"/api/domains/{made.name}"}
    return Reply(detail(made), status=201, headers=headers)


async def read(call: Call[Query, None]) -> Reply:
    """GET /api/domains/{name}: by name or id."""
    found = await call.parts.store.domains.get(domain_key(call.path["name"]))
    return Reply(detail(found), versioned=True)


async def change(call: Call[Query, DomainChange]) -> Reply:
    """PUT /api/domains/{name}: what is given is changed."""
    changed = await call.parts.store.domains.change(
        domain_key(call.path["name"]), guard=call.guard(detail), **_settings(call.body)
    )
    return Reply(detail(changed), versioned=True)


async def remove(call: Call[RemoveDomainQuery, None]) -> Reply:
    """DELETE /api/domains/{name}: mail for it is refused from now on; mail that came stays."""
    await call.parts.store.domains.remove(
        domain_key(call.path["name"]), force=call.query.force, guard=call.guard(detail)
    )
    return Reply(None)


async def addresses(call: Call[AddressesQuery, None]) -> Reply:
    """GET /api/addresses: by domain, then name."""
    whose = call.who.whose(Scope.ADMIN_READ) if call.query.all else call.who.own
    found = await call.parts.store.domains.address_page(ADDRESSES.span(call), whose)
    return ADDRESSES.reply(call, found)


async def create_address(call: Call[Query, NewAddress]) -> Reply:
    """POST /api/addresses: mail to it is taken within a second."""
    body = call.body
    if body.domain is None:
        assert body.address is not None
        address = Address.parse(body.address)
    else:
        address = Address(new_local_part(), parse_domain(body.domain))
    made = await call.parts.store.domains.add_address(
        address,
        *(body.to or [call.account.login]),
        note=body.note,
        whose=call.who.whose(Scope.ADMIN_WRITE),
    )
    location = {"Location": f"/api/addresses/{row_id_text(made.id)}"}
    return Reply(address_detail(made), status=201, headers=location)


async def read_address(call: Call[Query, None]) -> Reply:
    """GET /api/addresses/{id}: one's own; an administrator's any."""
    whose = call.who.whose(Scope.ADMIN_READ)
    found = await call.parts.store.domains.address(_id(call.path["id"]), whose)
    return Reply(address_detail(found), versioned=True)


async def change_address(call: Call[Query, AddressChange]) -> Reply:
    """PUT /api/addresses/{id}: in force within a second in every process."""
    body, given = call.body, call.body.model_fields_set
    settings = AliasSettings()
    if "to" in given:
        settings["to"] = tuple(body.to)
    if "state" in given:
        settings["state"] = AddressState[body.state.upper()]
    if "note" in given:
        settings["note"] = body.note
    changed = await call.parts.store.domains.change_address(
        _id(call.path["id"]),
        whose=call.who.whose(Scope.ADMIN_WRITE),
        guard=call.guard(address_detail),
        **settings,
    )
    return Reply(address_detail(changed), versioned=True)


async def remove_address(call: Call[Query, None]) -> Reply:
    """DELETE /api/addresses/{id}: mail to it may reach a catch-all; mail that came stays."""
    await call.parts.store.domains.remove_address(
        _id(call.path["id"]),
        whose=call.who.whose(Scope.ADMIN_WRITE),
        guard=call.guard(address_detail),
    )
    return Reply(None)


def _settings(body: DomainChange) -> DomainSettings:
    given = body.model_fields_set
    settings = DomainSettings()
    if "catch_all" in given:
        settings["catch_all"] = body.catch_all
    if "plus" in given:
        settings["plus"] = body.plus
    if "alias_of" in given:
        settings["alias_of"] = parse_domain(body.alias_of) if body.alias_of else None
    if "sends_via" in given:
        settings["sends_via"] = body.sends_via
    if "self_service" in given:
        settings["self_service"] = body.self_service
    if "max_message" in given:
        settings["max_message"] = body.max_message
    if "require_tls" in given:
        settings["require_tls"] = body.require_tls
    if "mta_sts" in given:
        settings["mta_sts"] = MtaSts[body.mta_sts.upper()]
    if "outgoing" in given:
        settings["outgoing"] = body.outgoing
    return settings


def domain_key(text: str) -> DomainName | int:
    """An id or a name; a name without a dot that has the form of an id is reached by id."""
    try:
        return parse_row_id(text)
    except ValueError:
        pass
    try:
        return parse_domain(text)
    except BadAddress as error:
        raise NotFound("there is no such domain") from error


def _id(text: str) -> int:
    try:
        return parse_row_id(text)
    except ValueError as error:
        raise NotFound("there is no such address") from error
