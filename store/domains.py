"""Domains we receive for, and the addresses under them. `directory` says what mail reaches."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Unpack

from sqlalchemy import (
    ColumnElement,
    Connection,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from mail.address import Address, DomainName, parse_domain
from mail.errors import BadName, DomainTaken, InUse, NamedNothing, NotFound
from mail.ident import new_row_id
from store import addresses, schema
from store.addresses import OFF, ON
from store.database import Database
from store.directory import Directory
from store.lists import Guard, Part, Span, part, unguarded
from store.records import (
    Alias,
    AliasSettings,
    Domain,
    DomainSettings,
    MtaSts,
    Whose,
    microseconds,
    moment,
)

# None of these is what a relay form is made of.
_SEPARATORS = re.compile(r"(?!.*(.).*\1)[-+_=.]*")
_SPF_TERM = re.compile(r"[+?~-]?(?:(?:include|exists|ip4|ip6):[!-~]+|(?:a|mx)(?:[:/][!-~]+)?)")


class Domains:
    """Two nouns, so it has twice the verbs of other parts of the store.

    `guard` is given what is to be changed, and raises a Failure if that is not what its caller has
    seen. `whose` None: an administrator's; else only addresses that reach this account are there,
    and it may change those that reach nobody else.
    """

    def __init__(
        self, database: Database, directory: Directory, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._directory = directory
        self._clock = clock

    async def add(self, name: DomainName, **settings: Unpack[DomainSettings]) -> Domain:
        """Raises DomainTaken, and what `change` raises."""
        new = Domain(new_row_id(), name, self._clock())
        return await self._directory.change(partial(_add, new, settings))

    async def all(self) -> list[Domain]:
        """By name."""
        return await self._database.read(_domains)

    async def page(self, span: Span, whose: Whose | None = None) -> Part[Domain]:
        """By name; those of one account are the domains of its addresses."""
        return await self._database.read(partial(_page, span, whose))

    async def get(self, key: DomainName | int) -> Domain:
        """By name or id. Raises NotFound."""
        return await self._database.read(partial(_domain, key))

    async def change(
        self,
        key: DomainName | int,
        *,
        guard: Guard[Domain] = unguarded,
        **settings: Unpack[DomainSettings],
    ) -> Domain:
        """Settings that are not given stay as they are.

        A domain becomes the alias of another only while it has no addresses and no aliases itself,
        and that one is no alias. Raises NotFound; NamedNothing for a login or a domain in the
        settings; InUse, BadName.
        """
        return await self._directory.change(partial(_change, key, settings, guard))

    async def remove(
        self, key: DomainName | int, *, force: bool, guard: Guard[Domain] = unguarded
    ) -> int:
        """Removes a domain with its addresses and aliases; no mail goes. Returns how many
        addresses went.

        Raises NotFound; InUse when it still has addresses or aliases, unless `force`.
        """
        return await self._directory.change(partial(_remove, key, guard, force=force))

    async def add_address(
        self, address: Address, *to: str, note: str = "", whose: Whose | None = None
    ) -> Alias:
        """Lets mail to `address` reach these logins.

        Raises NamedNothing, AddressTaken, BadName; DomainNotOpen, NotPermitted.
        """
        alias = Alias(new_row_id(), address, to, self._clock(), note=note)
        return await self._directory.change(partial(addresses.add, alias, whose))

    async def addresses(self, login: str | None = None) -> list[Alias]:
        """Every address, or those that reach one account; by domain, then name."""
        return await self._database.read(partial(addresses.of_login, login))

    async def address_page(self, span: Span, whose: Whose | None = None) -> Part[Alias]:
        """By domain, then name."""
        return await self._database.read(partial(addresses.page, span, whose))

    async def address(self, key: Address | int, whose: Whose | None = None) -> Alias:
        """By itself or by its id. Raises NotFound."""
        return await self._database.read(partial(addresses.read, key, whose))

    async def change_address(
        self,
        key: Address | int,
        *,
        whose: Whose | None = None,
        guard: Guard[Alias] = unguarded,
        **settings: Unpack[AliasSettings],
    ) -> Alias:
        """Settings that are not given stay as they are.

        Raises NotFound, NamedNothing (a login), BadName; NotPermitted, for a closed postmaster too.
        """
        return await self._directory.change(partial(addresses.change, key, settings, whose, guard))

    async def remove_address(
        self, key: Address | int, *, whose: Whose | None = None, guard: Guard[Alias] = unguarded
    ) -> None:
        """From now on mail to it is refused; mail that came stays.

        Raises NotFound, NotPermitted, DomainNotOpen.
        """
        await self._directory.change(partial(addresses.remove, key, whose, guard))


def _add(new: Domain, settings: DomainSettings, connection: Connection) -> Domain:
    found = _domains(connection, schema.domain.c.name == new.name)
    if found and found[0].id == new.id:
        return found[0]  # an earlier try whose answer was lost
    if found:
        raise DomainTaken(f"the domain {new.name} exists already")
    values = _columns(new, settings, connection)
    connection.execute(
        insert(schema.domain).values(
            id=new.id, name=new.name, created_at=microseconds(new.created_at), **values
        )
    )
    return _domain(new.name, connection)


def _change(
    key: DomainName | int, settings: DomainSettings, guard: Guard[Domain], connection: Connection
) -> Domain:
    domain = _domain(key, connection)
    guard(domain)
    values = _columns(domain, settings, connection)
    if values:
        connection.execute(
            update(schema.domain).where(schema.domain.c.id == domain.id).values(values)
        )
    return _domain(domain.id, connection)


def _columns(domain: Domain, settings: DomainSettings, connection: Connection) -> dict[str, Any]:
    """What is to be written. Raises before anything is."""
    values: dict[str, Any] = {}
    if "plus" in settings:
        if not _SEPARATORS.fullmatch(settings["plus"]):
            raise BadName("separators are some of + - _ = and the dot, each once")
        values["plus"] = settings["plus"]
    if "catch_all" in settings:
        login = settings["catch_all"]
        drop = None if login is None else addresses.maildrop_of(login, connection)
        values |= {"catch_all": OFF if drop is None else ON, "catch_all_maildrop_id": drop}
    if "sends_via" in settings:
        values["sends_via"] = _spf_terms(settings["sends_via"])
    if "self_service" in settings:
        values["self_service"] = int(settings["self_service"])
    if "max_message" in settings:
        values["max_message"] = settings["max_message"]
    if "require_tls" in settings:
        values["require_tls"] = int(settings["require_tls"])
    if "mta_sts" in settings:
        values["mta_sts"] = int(settings["mta_sts"])
    if "outgoing" in settings:
        values["outgoing"] = _outgoing(settings["outgoing"])
    if "alias_of" in settings:
        of = settings["alias_of"]
        values["alias_of_id"] = None if of is None else _alias_target(domain, of, connection)
    return values


def _spf_terms(text: str | None) -> str | None:
    """What may stand between v=spf1 and -all (RFC 7208 section 4.6.1)."""
    terms = (text or "").lower().split()
    if not all(_SPF_TERM.fullmatch(term) for term in terms) or len(" ".join(terms)) > 400:
        raise BadName(
            "who sends is said in terms of SPF, as include:_spf.example.net ip4:192.0.2.1"
        )
    return None if text is None else " ".join(terms)


def _outgoing(text: str | None) -> str | None:
    """`host:port`, the host in A-labels."""
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadName("an outgoing server is a name and a port, as smtp.example.net:465")
    return f"{parse_domain(host)}:{int(port)}"


def _alias_target(domain: Domain, of: DomainName, connection: Connection) -> int:
    try:
        target = _domain(of, connection)
    except NotFound as missing:
        raise NamedNothing(missing.public) from missing
    if target.alias_of or target.id == domain.id:
        raise BadName("an alias stands for another domain, which is no alias itself")
    if still := _still(domain.id, connection):
        raise InUse(f"{domain.name} still has {still}")
    return target.id


def _still(domain_id: int, connection: Connection) -> str:
    """What a domain has that needs it, in words."""
    queries = {
        "addresses": schema.address.c.domain_id == domain_id,
        "aliases": schema.domain.c.alias_of_id == domain_id,
    }
    found = [
        f"{count} {noun}"
        for noun, which in queries.items()
        if (count := connection.execute(select(func.count()).where(which)).scalar_one())
    ]
    return " and ".join(found)


def _domain(key: DomainName | int, connection: Connection) -> Domain:
    columns = schema.domain.c
    which = columns.id == key if isinstance(key, int) else columns.name == key
    found = _domains(connection, which)
    if not found:
        raise NotFound("there is no such domain" if isinstance(key, int) else f"no domain {key}")
    return found[0]


def _page(span: Span, whose: Whose | None, connection: Connection) -> Part[Domain]:
    columns, address = schema.domain.c, schema.address.c
    query = select(columns.id, columns.name)
    if whose:
        query = query.where(
            exists().where(address.domain_id == columns.id, addresses.reaching(whose))
        )
    found = part(query, [columns.name], span, connection)
    domains = _domains(connection, columns.id.in_([row.id for row in found.rows]))
    return replace(found, rows=domains)


def _domains(connection: Connection, *which: ColumnElement[bool]) -> list[Domain]:
    domain, account, maildrop = schema.domain.c, schema.account.c, schema.maildrop.c
    other = schema.domain.alias("other")
    query = (
        select(
            *(domain.id, domain.name, domain.created_at, domain.plus, domain.self_service),
            *(
                domain.max_message,
                domain.require_tls,
                domain.sends_via,
                domain.mta_sts,
                domain.outgoing,
            ),
            account.login,
            other.c.name.label("alias_of"),
        )
        .outerjoin(schema.maildrop, maildrop.id == domain.catch_all_maildrop_id)
        .outerjoin(schema.account, account.id == maildrop.account_id)
        .outerjoin(other, other.c.id == domain.alias_of_id)
        .where(*which)
        .order_by(domain.name)
    )
    return [
        Domain(
            row.id,
            DomainName(row.name),
            moment(row.created_at),
            catch_all=row.login,
            plus=row.plus,
            alias_of=None if row.alias_of is None else DomainName(row.alias_of),
            sends_via=row.sends_via,
            self_service=bool(row.self_service),
            max_message=row.max_message,
            require_tls=bool(row.require_tls),
            mta_sts=MtaSts(row.mta_sts),
            outgoing=row.outgoing,
        )
        for row in connection.execute(query)
    ]


def _remove(
    key: DomainName | int, guard: Guard[Domain], connection: Connection, *, force: bool
) -> int:
    domain = _domain(key, connection)
    guard(domain)
    still = _still(domain.id, connection)
    if still and not force:
        raise InUse(f"{domain.name} still has {still}")
    target, address = schema.address_target, schema.address
    connection.execute(delete(target).where(target.c.domain_id == domain.id))
    gone = connection.execute(delete(address).where(address.c.domain_id == domain.id))
    columns = schema.domain.c
    connection.execute(
        delete(schema.domain).where(or_(columns.id == domain.id, columns.alias_of_id == domain.id))
    )
    return gone.rowcount
