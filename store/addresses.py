"""Addresses, and the maildrops that they reach, as functions of a connection.

One maildrop stands in the row of its address. Those of a group have rows of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, or_, select, update

from mail.address import Address, DomainName
from mail.errors import BadName, NameTaken, NotFound, NotPermitted
from store import schema
from store.directory import GROUP, ONE, POSTMASTER, home_domain
from store.records import AddressState, Alias, AliasSettings, microseconds, moment

OFF, ON = 0, 1  # domain.catch_all


def maildrop_of(login: str, connection: Connection) -> int:
    account, maildrop = schema.account.c, schema.maildrop.c
    found = connection.execute(
        select(maildrop.id)
        .join(schema.account, account.id == maildrop.account_id)
        .where(account.login == login)
    ).scalar_one_or_none()
    if found is None:
        raise NotFound(f"there is no user {login}")
    return found


def add(alias: Alias, connection: Connection) -> Alias:
    maildrops = _targets(alias.to, connection)
    columns = schema.address.c
    if connection.execute(select(columns.id).where(columns.id == alias.id)).first():
        return read(alias.id, connection)  # an earlier try whose answer was lost
    domain_id = domain_for_new(alias.address, connection)
    insert_address(alias, domain_id, maildrops, connection)
    return read(alias.id, connection)


def _targets(logins: Sequence[str], connection: Connection) -> list[int]:
    if not logins:
        raise BadName("an address reaches one user or more")
    return sorted({maildrop_of(login, connection) for login in logins})


def domain_for_new(address: Address, connection: Connection) -> int:
    """The id of the domain in which `address` is free. Raises NotFound, NameTaken, BadName."""
    domain = home_domain(address.domain, connection)
    if domain is None:
        raise NotFound(f"there is no domain {address.domain}")
    if domain.name != address.domain:
        raise BadName(f"{address.domain} is an alias: its addresses are those of {domain.name}")
    if _row(address, connection):
        raise NameTaken(f"the address {address} exists already")
    found: int = domain.id
    return found


def insert_address(
    alias: Alias, domain_id: int, maildrops: Sequence[int], connection: Connection
) -> None:
    """The row of an address that was found free."""
    local_part = alias.address.folded.local
    connection.execute(
        insert(schema.address).values(
            domain_id=domain_id,
            local_part=local_part,
            id=alias.id,
            written=alias.address.local,
            note=alias.note,
            created_at=microseconds(alias.created_at),
            **_reaching(maildrops),
        )
    )
    _write_targets(domain_id, local_part, maildrops, connection)


def _reaching(maildrops: Sequence[int]) -> dict[str, Any]:
    """The columns for one maildrop, or for a group, whose maildrops have rows of their own."""
    alone = len(maildrops) == 1
    return {
        "kind": ONE if alone else GROUP,
        "maildrop_id": maildrops[0] if alone else None,
    }


def _write_targets(
    domain_id: int, local_part: str, maildrops: Sequence[int], connection: Connection
) -> None:
    target = schema.address_target
    connection.execute(
        delete(target).where(target.c.domain_id == domain_id, target.c.local_part == local_part)
    )
    if len(maildrops) > 1:
        key = {"domain_id": domain_id, "local_part": local_part}
        connection.execute(insert(target), [key | {"maildrop_id": drop} for drop in maildrops])


def _row(address: Address, connection: Connection) -> Any:
    """The row of an address, also under the name of an alias of its domain; None without one."""
    domain = home_domain(address.domain, connection)
    if domain is None:
        return None
    columns = schema.address.c
    return connection.execute(
        select(schema.address).where(
            columns.domain_id == domain.id, columns.local_part == address.folded.local
        )
    ).one_or_none()


def _found(address: Address, connection: Connection) -> Any:
    row = _row(address, connection)
    if row is None:
        raise NotFound(f"there is no address {address}")
    return row


def change(address: Address, settings: AliasSettings, connection: Connection) -> Alias:
    row = _found(address, connection)
    values: dict[str, Any] = {
        name: settings[name] for name in ("state", "note") if name in settings
    }
    closed = values.get("state") == AddressState.CLOSED
    if closed and row.local_part == POSTMASTER:
        # RFC 5321 section 4.5.1
        raise NotPermitted("postmaster takes mail in every domain; let it reach somebody else")
    if "to" in settings:
        maildrops = _targets(settings["to"], connection)
        values |= _reaching(maildrops)
        _write_targets(row.domain_id, row.local_part, maildrops, connection)
    if values:
        connection.execute(
            update(schema.address).where(schema.address.c.id == row.id).values(values)
        )
    return read(row.id, connection)


def remove(address: Address, connection: Connection) -> None:
    row = _found(address, connection)
    for table in (schema.address_target, schema.address):
        connection.execute(
            delete(table).where(
                table.c.domain_id == row.domain_id, table.c.local_part == row.local_part
            )
        )


def read(key: Address | int, connection: Connection) -> Alias:
    address_id = key if isinstance(key, int) else _found(key, connection).id
    found = _aliases(connection, schema.address.c.id == address_id)
    if not found:
        raise NotFound("there is no such address")
    return found[0]


def of_login(login: str | None, connection: Connection) -> list[Alias]:
    if login is None:
        return _aliases(connection)
    try:
        maildrop_id = maildrop_of(login, connection)
    except NotFound:
        return []
    address, mine = schema.address.c, schema.address_target.alias("mine")
    in_group = exists().where(
        mine.c.domain_id == address.domain_id,
        mine.c.local_part == address.local_part,
        mine.c.maildrop_id == maildrop_id,
    )
    return _aliases(connection, or_(address.maildrop_id == maildrop_id, in_group))


def _aliases(connection: Connection, *which: ColumnElement[bool]) -> list[Alias]:
    address, target, domain = schema.address.c, schema.address_target.c, schema.domain.c
    account, maildrop = schema.account.c, schema.maildrop.c
    query = (
        select(schema.address, domain.name, account.login)
        .join(schema.domain, domain.id == address.domain_id)
        .outerjoin(
            schema.address_target,
            (target.domain_id == address.domain_id) & (target.local_part == address.local_part),
        )
        .join(
            schema.maildrop, maildrop.id == func.coalesce(address.maildrop_id, target.maildrop_id)
        )
        .join(schema.account, account.id == maildrop.account_id)
        .where(*which)
        .order_by(domain.name, address.local_part, account.login)
    )
    found: dict[int, Alias] = {}
    for row in connection.execute(query):
        before = found.get(row.id)
        found[row.id] = Alias(
            row.id,
            Address(row.written, DomainName(row.name)),
            (*before.to, row.login) if before else (row.login,),
            moment(row.created_at),
            state=AddressState(row.state),
            note=row.note or "",
        )
    return list(found.values())


def release(maildrop_id: int, connection: Connection) -> None:
    """Lets nothing reach this maildrop any more; an address that then reaches none goes."""
    address, target, domain = schema.address, schema.address_target, schema.domain
    connection.execute(delete(address).where(address.c.maildrop_id == maildrop_id))
    connection.execute(delete(target).where(target.c.maildrop_id == maildrop_id))
    left = exists().where(
        target.c.domain_id == address.c.domain_id, target.c.local_part == address.c.local_part
    )
    connection.execute(delete(address).where(address.c.kind == GROUP, ~left))
    connection.execute(
        update(domain)
        .where(domain.c.catch_all_maildrop_id == maildrop_id)
        .values(catch_all=OFF, catch_all_maildrop_id=None)
    )
