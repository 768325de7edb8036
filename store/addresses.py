"""Addresses, and the maildrops that they reach, as functions of a connection.

One maildrop stands in the row of its address. Those of a group have rows of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    update,
)

from mail.address import Address, DomainName
from mail.errors import (
    AddressTaken,
    BadName,
    DomainNotOpen,
    NamedNothing,
    NotFound,
    NotPermitted,
)
from store import schema
from store.directory import GROUP, ONE, POSTMASTER, home_domain
from store.lists import Guard, Part, Span, part
from store.records import AddressState, Alias, AliasSettings, Whose, microseconds, moment

OFF, ON = 0, 1  # domain.catch_all


def maildrop_of(login: str, connection: Connection) -> int:
    account, maildrop = schema.account.c, schema.maildrop.c
    found = connection.execute(
        select(maildrop.id)
        .join(schema.account, account.id == maildrop.account_id)
        .where(account.login == login)
    ).scalar_one_or_none()
    if found is None:
        raise NamedNothing(f"there is no user {login}")
    return found


def add(alias: Alias, whose: Whose | None, connection: Connection) -> Alias:
    if whose and (whose.names is not None or alias.to != (whose.account.login,)):
        raise NotPermitted("a new address reaches whoever makes it")
    maildrops = _targets(alias.to, connection)
    columns = schema.address.c
    if connection.execute(select(columns.id).where(columns.id == alias.id)).first():
        return read(alias.id, None, connection)  # an earlier try whose answer was lost
    domain_id = domain_for_new(alias.address, connection)
    if whose:
        _refuse_unless_open(domain_id, connection)
    insert_address(alias, domain_id, maildrops, connection)
    return read(alias.id, None, connection)


def _refuse_unless_open(domain_id: int, connection: Connection) -> None:
    columns = schema.domain.c
    opened = select(columns.self_service).where(columns.id == domain_id)
    if not connection.execute(opened).scalar_one():
        raise DomainNotOpen("an administrator makes the addresses of this domain")


def _targets(logins: Sequence[str], connection: Connection) -> list[int]:
    if not logins:
        raise BadName("an address reaches one user or more")
    return sorted({maildrop_of(login, connection) for login in logins})


def domain_for_new(address: Address, connection: Connection) -> int:
    """The id of the domain in which `address` is free.

    Raises NamedNothing, AddressTaken, BadName.
    """
    domain = home_domain(address.domain, connection)
    if domain is None:
        raise NamedNothing(f"there is no domain {address.domain}")
    if domain.name != address.domain:
        raise BadName(f"{address.domain} is an alias: its addresses are those of {domain.name}")
    if _row(address, connection):
        raise AddressTaken(f"the address {address} exists already")
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


def _found(key: Address | int, whose: Whose | None, connection: Connection) -> Any:
    columns = schema.address.c
    row = (
        connection.execute(select(schema.address).where(columns.id == key)).one_or_none()
        if isinstance(key, int)
        else _row(key, connection)
    )
    there = row is not None and (
        whose is None
        or connection.execute(
            select(columns.id)
            .join(schema.domain, schema.domain.c.id == columns.domain_id)
            .where(columns.id == row.id, reaching(whose))
        ).first()
    )
    if not there:
        raise NotFound(f"no address {key}" if isinstance(key, Address) else "no such address")
    return row


def _own(key: Address | int, whose: Whose | None, connection: Connection) -> Any:
    """The row of an address that may be changed."""
    row = _found(key, whose, connection)
    if whose and row.kind == GROUP:
        raise NotPermitted("this address reaches others too: an administrator changes it")
    return row


def change(
    key: Address | int,
    settings: AliasSettings,
    whose: Whose | None,
    guard: Guard[Alias],
    connection: Connection,
) -> Alias:
    row = _own(key, whose, connection)
    guard(read(row.id, None, connection))
    if whose and settings.get("to", (whose.account.login,)) != (whose.account.login,):
        raise NotPermitted("an administrator says whom an address reaches")
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
    return read(row.id, None, connection)


def remove(
    key: Address | int, whose: Whose | None, guard: Guard[Alias], connection: Connection
) -> None:
    row = _own(key, whose, connection)
    guard(read(row.id, None, connection))
    if whose:
        _refuse_unless_open(row.domain_id, connection)
    for table in (schema.address_target, schema.address):
        connection.execute(
            delete(table).where(
                table.c.domain_id == row.domain_id, table.c.local_part == row.local_part
            )
        )


def read(key: Address | int, whose: Whose | None, connection: Connection) -> Alias:
    row = _found(key, whose, connection)
    [alias] = _aliases(connection, schema.address.c.id == row.id)
    return alias


def page(span: Span, whose: Whose | None, connection: Connection) -> Part[Alias]:
    columns, domain = schema.address.c, schema.domain.c
    query = select(columns.id, domain.name, columns.local_part).join(
        schema.domain, domain.id == columns.domain_id
    )
    if whose:
        query = query.where(reaching(whose))
    found = part(query, [domain.name, columns.local_part], span, connection)
    aliases = _aliases(connection, columns.id.in_([row.id for row in found.rows]))
    return replace(found, rows=aliases)


def reaching(whose: Whose) -> ColumnElement[bool]:
    """Of the rows of `address`, with those of `domain`: those that reach the account."""
    address = schema.address.c
    reached = _reached(whose.account.maildrop_id)
    if whose.names is None:
        return reached
    names = [Address.parse(name) for name in whose.names]
    return and_(
        reached,
        or_(
            false(),
            *(
                and_(schema.domain.c.name == name.domain, address.local_part == name.local)
                for name in names
            ),
        ),
    )


def _reached(maildrop_id: int) -> ColumnElement[bool]:
    address, mine = schema.address.c, schema.address_target.alias("mine")
    in_group = exists().where(
        mine.c.domain_id == address.domain_id,
        mine.c.local_part == address.local_part,
        mine.c.maildrop_id == maildrop_id,
    )
    return or_(address.maildrop_id == maildrop_id, in_group)


def of_login(login: str | None, connection: Connection) -> list[Alias]:
    if login is None:
        return _aliases(connection)
    try:
        maildrop_id = maildrop_of(login, connection)
    except NotFound:
        return []
    return _aliases(connection, _reached(maildrop_id))


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
