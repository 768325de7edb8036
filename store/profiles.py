"""Accounts as an administrator sees and changes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Unpack

from sqlalchemy import Connection, Select, delete, func, select, update

from mail.errors import LastAdministrator, NotFound
from store import schema
from store.database import Database
from store.delivery import lock_maildrops
from store.directory import Directory
from store.factors import HAS_TOTP
from store.lists import Guard, Part, Span, part, unguarded
from store.records import (
    AccountState,
    Profile,
    ProfileSettings,
    Role,
    StoreSettings,
    microseconds,
    moment,
)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a change is made (TS), and the quota that is configured then."""

    now: int
    quota_octets: int


class Profiles:
    """`key` of an account is its login or its id; a closed one has none."""

    def __init__(
        self,
        database: Database,
        directory: Directory,
        settings: StoreSettings,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._directory = directory
        self._quota = settings.quota_octets
        self._clock = clock

    async def page(self, span: Span) -> Part[Profile]:
        """By login."""
        return await self._database.read(partial(_page, span))

    async def get(self, key: str | int) -> Profile:
        """Raises NotFound."""
        return await self._database.read(partial(read, key))

    async def change(
        self,
        key: str | int,
        *,
        guard: Guard[Profile] = unguarded,
        **settings: Unpack[ProfileSettings],
    ) -> Profile:
        """Settings that are not given stay as they are. Who is disabled is signed out.

        Raises NotFound, LastAdministrator, and what `guard` raises.
        """
        now = microseconds(self._clock())
        return await self._directory.change(
            partial(_change, key, settings, guard, Moment(now, self._quota))
        )


def which(key: str | int) -> Any:
    columns = schema.account.c
    named = columns.id == key if isinstance(key, int) else columns.login == key
    return named & (columns.state != AccountState.CLOSED)


def _query() -> Select[*tuple[Any, ...]]:
    account, maildrop, credential = schema.account.c, schema.maildrop.c, schema.credential.c
    seen = (
        select(func.max(credential.used_at))
        .where(credential.account_id == account.id)
        .scalar_subquery()
    )
    return (
        select(
            *(account.id, account.login, account.display_name, account.role, account.state),
            *(account.must_change, account.created_at, seen.label("seen_at")),
            HAS_TOTP.label("totp"),
            *(maildrop.quota_octets, maildrop.octets, maildrop.messages),
        )
        .join(schema.maildrop, maildrop.account_id == account.id)
        .where(account.state != AccountState.CLOSED)
    )


def _record(row: Any) -> Profile:
    return Profile(
        *(row.id, row.login, row.display_name, Role(row.role), AccountState(row.state)),
        must_change_password=bool(row.must_change),
        totp=bool(row.totp),
        quota_octets=row.quota_octets,
        used_octets=row.octets,
        messages=row.messages,
        created_at=moment(row.created_at),
        last_seen_at=None if row.seen_at is None else moment(row.seen_at),
    )


def _page(span: Span, connection: Connection) -> Part[Profile]:
    return part(_query(), [schema.account.c.login], span, connection).of(_record)


def read(key: str | int, connection: Connection) -> Profile:
    row = connection.execute(_query().where(which(key))).one_or_none()
    if row is None:
        raise NotFound("there is no such user" if isinstance(key, int) else f"no user {key}")
    return _record(row)


def keep_an_administrator(account_id: int, connection: Connection) -> None:
    """Raises LastAdministrator when this account is the only open one that may manage.

    Under its locks nobody else takes the right from another one meanwhile.
    """
    columns = schema.account.c
    rows = connection.execute(
        select(columns.id)
        .where(columns.role == Role.ADMIN, columns.state == AccountState.OPEN)
        .order_by(columns.id)
        .with_for_update()
    )
    if list(rows.scalars()) == [account_id]:
        raise LastAdministrator("this is the last user who may manage the server")


def _change(
    key: str | int,
    settings: ProfileSettings,
    guard: Guard[Profile],
    at: Moment,
    connection: Connection,
) -> Profile:
    found = read(key, connection)
    guard(found)
    role, state = settings.get("role", found.role), settings.get("state", found.state)
    if (role, state) != (Role.ADMIN, AccountState.OPEN):
        keep_an_administrator(found.id, connection)
    columns = schema.account.c
    connection.execute(
        update(schema.account)
        .where(columns.id == found.id)
        .values(
            role=role,
            state=state,
            must_change=int(settings.get("must_change_password", found.must_change_password)),
        )
    )
    if state is AccountState.DISABLED:
        end_sessions(found.id, connection)
    if "quota_octets" in settings:
        _set_quota(found.id, settings["quota_octets"], at, connection)
    return read(found.id, connection)


def end_sessions(account_id: int, connection: Connection) -> None:
    credential = schema.credential.c
    mine = select(credential.id).where(credential.account_id == account_id)
    connection.execute(delete(schema.session).where(schema.session.c.credential_id.in_(mine)))


def _set_quota(account_id: int, quota: int | None, at: Moment, connection: Connection) -> None:
    drops = schema.maildrop.c
    drop = connection.execute(select(drops.id).where(drops.account_id == account_id)).scalar_one()
    counters = lock_maildrops(connection, [drop])[drop]
    effective = at.quota_octets if quota is None else quota
    full = bool(effective) and counters.octets >= effective
    connection.execute(
        update(schema.maildrop)
        .where(drops.id == drop)
        .values(
            quota_octets=quota,
            full_since=(counters.full_since or at.now) if full else None,
            sweep_at=0,  # upkeep looks whether the trash still fits
        )
    )
