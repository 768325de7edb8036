"""Domains we receive for, and the addresses under them. `directory` says what mail reaches."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Unpack

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, update

from mail.address import Address, DomainName
from mail.errors import BadName, InUse, NameTaken, NotFound
from mail.ident import new_row_id
from store import addresses, schema
from store.addresses import OFF, ON
from store.database import Database
from store.directory import Directory
from store.records import Alias, AliasSettings, Domain, DomainSettings, microseconds, moment

# None of these is what a relay form is made of.
_SEPARATORS = re.compile(r"(?!.*(.).*\1)[-+_=.]*")


class Domains:
    """Two nouns, so it has twice the verbs of other parts of the store."""

    def __init__(
        self, database: Database, directory: Directory, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._directory = directory
        self._clock = clock

    async def add(self, name: DomainName, **settings: Unpack[DomainSettings]) -> Domain:
        """Raises NameTaken, and what `change` raises."""
        new = Domain(new_row_id(), name, self._clock())
        return await self._directory.change(partial(_add, new, settings))

    async def all(self) -> list[Domain]:
        """By name."""
        return await self._database.read(_domains)

    async def get(self, name: DomainName) -> Domain:
        """Raises NotFound."""
        return await self._database.read(partial(_domain, name))

    async def change(self, name: DomainName, **settings: Unpack[DomainSettings]) -> Domain:
        """Settings that are not given stay as they are.

        A domain becomes the alias of another only while it has no addresses and no aliases itself,
        and that one is no alias. Raises NotFound (also the login), InUse, BadName.
        """
        return await self._directory.change(partial(_change, name, settings))

    async def remove(self, name: DomainName, *, force: bool) -> int:
        """Removes a domain with its addresses and aliases; no mail goes. Returns how many
        addresses went.

        Raises NotFound; InUse when it still has addresses or aliases, unless `force`.
        """
        return await self._directory.change(partial(_remove, name, force=force))

    async def add_address(self, address: Address, *to: str, note: str = "") -> Alias:
        """Lets mail to `address` reach these logins. Raises NotFound, NameTaken, BadName."""
        alias = Alias(new_row_id(), address, to, self._clock(), note=note)
        return await self._directory.change(partial(addresses.add, alias))

    async def addresses(self, login: str | None = None) -> list[Alias]:
        """Every address, or those that reach one account; by domain, then name."""
        return await self._database.read(partial(addresses.of_login, login))

    async def address(self, key: Address | int) -> Alias:
        """By itself or by its id. Raises NotFound."""
        return await self._database.read(partial(addresses.read, key))

    async def change_address(self, address: Address, **settings: Unpack[AliasSettings]) -> Alias:
        """Settings that are not given stay as they are.

        Raises NotFound (also a login), BadName; NotPermitted for a closed postmaster.
        """
        return await self._directory.change(partial(addresses.change, address, settings))

    async def remove_address(self, address: Address) -> None:
        """From now on mail to it is refused; mail that came stays. Raises NotFound."""
        await self._directory.change(partial(addresses.remove, address))


def _add(new: Domain, settings: DomainSettings, connection: Connection) -> Domain:
    found = _domains(connection, schema.domain.c.name == new.name)
    if found and found[0].id == new.id:
        return found[0]  # an earlier try whose answer was lost
    if found:
        raise NameTaken(f"the domain {new.name} exists already")
    values = _columns(new, settings, connection)
    connection.execute(
        insert(schema.domain).values(
            id=new.id, name=new.name, created_at=microseconds(new.created_at), **values
        )
    )
    return _domain(new.name, connection)


def _change(name: DomainName, settings: DomainSettings, connection: Connection) -> Domain:
    domain = _domain(name, connection)
    values = _columns(domain, settings, connection)
    if values:
        connection.execute(
            update(schema.domain).where(schema.domain.c.id == domain.id).values(values)
        )
    return _domain(name, connection)


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
    if "alias_of" in settings:
        of = settings["alias_of"]
        values["alias_of_id"] = None if of is None else _alias_target(domain, of, connection)
    return values


def _alias_target(domain: Domain, of: DomainName, connection: Connection) -> int:
    target = _domain(of, connection)
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


def _domain(name: DomainName, connection: Connection) -> Domain:
    found = _domains(connection, schema.domain.c.name == name)
    if not found:
        raise NotFound(f"there is no domain {name}")
    return found[0]


def _domains(connection: Connection, *which: ColumnElement[bool]) -> list[Domain]:
    domain, account, maildrop = schema.domain.c, schema.account.c, schema.maildrop.c
    other = schema.domain.alias("other")
    query = (
        select(
            *(domain.id, domain.name, domain.created_at, domain.plus, account.login),
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
        )
        for row in connection.execute(query)
    ]


def _remove(name: DomainName, connection: Connection, *, force: bool) -> int:
    domain = _domain(name, connection)
    still = _still(domain.id, connection)
    if still and not force:
        raise InUse(f"{name} still has {still}")
    target, address = schema.address_target, schema.address
    connection.execute(delete(target).where(target.c.domain_id == domain.id))
    gone = connection.execute(delete(address).where(address.c.domain_id == domain.id))
    columns = schema.domain.c
    connection.execute(
        delete(schema.domain).where(or_(columns.id == domain.id, columns.alias_of_id == domain.id))
    )
    return gone.rowcount
