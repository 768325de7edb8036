"""Domains we receive for, and the addresses under them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, delete, func, insert, select

from mail.address import Address, DomainName
from mail.errors import InUse, NameTaken, NotFound
from mail.ident import new_row_id
from store import schema
from store.database import Database
from store.records import AccountState, Alias, Domain, Role, microseconds, moment
from store.writer import Writer


class Domains:
    def __init__(
        self, database: Database, writer: Writer, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock

    async def add(self, name: DomainName) -> Domain:
        """Raises NameTaken."""
        domain = Domain(new_row_id(), name, self._clock())
        await self._writer.run(partial(_add, domain))
        return domain

    async def all(self) -> list[Domain]:
        return await self._database.read(_all)

    async def remove(self, name: DomainName, *, force: bool) -> int:
        """Removes a domain and its addresses; no mail goes. Returns the number of addresses.

        Raises NotFound; InUse when it still has addresses, unless `force`.
        """
        return await self._writer.run(partial(_remove, name, force=force))

    async def add_address(self, address: Address, login: str) -> Alias:
        """Lets mail to `address` reach the account `login`. Raises NotFound, NameTaken."""
        alias = Alias(new_row_id(), address, login, self._clock())
        await self._writer.run(partial(_add_address, alias))
        return alias

    async def addresses(self, login: str | None = None) -> list[Alias]:
        """Every address, or those of one account; by domain, then name."""
        return await self._database.read(partial(_addresses, login))

    async def remove_address(self, address: Address) -> None:
        """From now on mail to it is refused; mail that came stays. Raises NotFound."""
        await self._writer.run(partial(_remove_address, address))

    async def look_up(self, address: Address) -> tuple[bool, int | None]:
        """Whether the domain is ours, and the maildrop that the address reaches."""
        return await self._database.read(partial(_look_up, address))

    async def postmaster(self) -> int | None:
        """The maildrop that answers for the server: the first administrator's."""
        return await self._database.read(_postmaster)


def _add(domain: Domain, connection: Connection) -> None:
    found = _domain_id(domain.name, connection)
    if found == domain.id:
        return  # an earlier try whose answer was lost
    if found is not None:
        raise NameTaken(f"the domain {domain.name} exists already")
    connection.execute(
        insert(schema.domain).values(
            id=domain.id, name=domain.name, created_at=microseconds(domain.created_at)
        )
    )


def _all(connection: Connection) -> list[Domain]:
    rows = connection.execute(select(schema.domain).order_by(schema.domain.c.name))
    return [Domain(row.id, DomainName(row.name), moment(row.created_at)) for row in rows]


def _domain_id(name: str, connection: Connection) -> int | None:
    domain = schema.domain.c
    return connection.execute(select(domain.id).where(domain.name == name)).scalar_one_or_none()


def _remove(name: DomainName, connection: Connection, *, force: bool) -> int:
    domain_id = _domain_id(name, connection)
    if domain_id is None:
        raise NotFound(f"there is no domain {name}")
    address = schema.address.c
    count: int = connection.execute(
        select(func.count()).where(address.domain_id == domain_id)
    ).scalar_one()
    if count and not force:
        raise InUse(f"{name} still has {count} addresses", addresses=count)
    connection.execute(delete(schema.address).where(address.domain_id == domain_id))
    connection.execute(delete(schema.domain).where(schema.domain.c.id == domain_id))
    return count


def _add_address(alias: Alias, connection: Connection) -> None:
    account, maildrop = schema.account.c, schema.maildrop.c
    maildrop_id = connection.execute(
        select(maildrop.id)
        .join(schema.account, account.id == maildrop.account_id)
        .where(account.login == alias.login)
    ).scalar_one_or_none()
    if maildrop_id is None:
        raise NotFound(f"there is no user {alias.login}")
    taken = select(schema.address.c.id).where(schema.address.c.id == alias.id)
    if connection.execute(taken).first():
        return  # an earlier try whose answer was lost
    domain_id = domain_for_new(alias.address, connection)
    insert_address(alias, domain_id, maildrop_id, connection)


def domain_for_new(address: Address, connection: Connection) -> int:
    """The id of the domain in which `address` is still free. Raises NotFound, NameTaken."""
    domain_id = _domain_id(address.domain, connection)
    if domain_id is None:
        raise NotFound(f"there is no domain {address.domain}")
    if _look_up(address, connection)[1] is not None:
        raise NameTaken(f"the address {address} exists already")
    return domain_id


def insert_address(alias: Alias, domain_id: int, maildrop_id: int, connection: Connection) -> None:
    """The row of an address that was found free."""
    connection.execute(
        insert(schema.address).values(
            domain_id=domain_id,
            local_part=alias.address.folded.local,
            id=alias.id,
            written=alias.address.local,
            maildrop_id=maildrop_id,
            created_at=microseconds(alias.created_at),
        )
    )


def _addresses(login: str | None, connection: Connection) -> list[Alias]:
    address, domain = schema.address.c, schema.domain.c
    account, maildrop = schema.account.c, schema.maildrop.c
    query = (
        select(address.id, address.written, domain.name, account.login, address.created_at)
        .join(schema.domain, domain.id == address.domain_id)
        .join(schema.maildrop, maildrop.id == address.maildrop_id)
        .join(schema.account, account.id == maildrop.account_id)
        .order_by(domain.name, address.local_part)
    )
    if login is not None:
        query = query.where(account.login == login)
    return [
        Alias(row.id, Address(row.written, DomainName(row.name)), row.login, moment(row.created_at))
        for row in connection.execute(query)
    ]


def _remove_address(address: Address, connection: Connection) -> None:
    columns = schema.address.c
    gone = connection.execute(
        delete(schema.address).where(
            columns.local_part == address.folded.local,
            columns.domain_id == _domain_id(address.domain, connection),
        )
    )
    if not gone.rowcount:
        raise NotFound(f"there is no address {address}")


def _look_up(address: Address, connection: Connection) -> tuple[bool, int | None]:
    domain_id = _domain_id(address.domain, connection)
    if domain_id is None:
        return False, None
    columns = schema.address.c
    maildrop_id = connection.execute(
        select(columns.maildrop_id).where(
            columns.domain_id == domain_id, columns.local_part == address.folded.local
        )
    ).scalar_one_or_none()
    return True, maildrop_id


def _postmaster(connection: Connection) -> int | None:
    account, maildrop = schema.account.c, schema.maildrop.c
    return connection.execute(
        select(maildrop.id)
        .join(schema.account, account.id == maildrop.account_id)
        .where(account.role == Role.ADMIN, account.state == AccountState.OPEN)
        .order_by(account.created_at, account.id)
        .limit(1)
    ).scalar_one_or_none()
