"""API tokens: each stands for its account in some scopes, and is found by its keyed hash."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select

from mail.errors import NameTaken, NotFound
from store import schema
from store.accounts import open_account
from store.database import Database
from store.delivery import lock_maildrops
from store.records import Account, ApiToken, CredentialKind, microseconds, moment
from store.writer import Writer

_CREDENTIAL = schema.credential.c


class ApiTokens:
    def __init__(
        self, database: Database, writer: Writer, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock

    async def add(self, account: Account, made: ApiToken, keyed: str) -> None:
        """Raises NameTaken, NotFound."""
        await self._writer.run(partial(_add, account, made, keyed))

    async def find(self, keyed: str) -> tuple[Account, ApiToken] | None:
        """None for one that is over or removed, or whose account is disabled or closed."""
        now = microseconds(self._clock())
        return await self._database.read(partial(_find, keyed, now))

    async def all(self, account: Account) -> list[ApiToken]:
        """By name; those that are over are among them."""
        return await self._database.read(partial(_all, account))

    async def remove(self, account: Account, token_id: int) -> None:
        """Raises NotFound."""
        await self._writer.run(partial(_remove, account, token_id), frees=True)


def _add(account: Account, made: ApiToken, keyed: str, connection: Connection) -> None:
    # Under this lock nobody else takes the name.
    if not lock_maildrops(connection, [account.maildrop_id]):
        raise NotFound(f"there is no user {account.login}")
    there = {each.name: each.id for each in _all(account, connection)}
    if there.get(made.name) == made.id:
        return  # an earlier try whose answer was lost
    if made.name in there:
        raise NameTaken(f"{account.login} has a token {made.name} already")
    connection.execute(
        insert(schema.credential).values(
            id=made.id,
            account_id=account.id,
            kind=CredentialKind.API_TOKEN,
            name=made.name,
            secret=keyed,
            version=1,
            scopes=made.scopes,
            addresses=None if made.addresses is None else " ".join(made.addresses),
            ip_allow=" ".join(made.ip_allow),
            created_at=microseconds(made.created_at),
            expires_at=microseconds(made.expires_at) if made.expires_at else None,
        )
    )


def _find(keyed: str, now: int, connection: Connection) -> tuple[Account, ApiToken] | None:
    row = connection.execute(
        select(schema.credential).where(
            _CREDENTIAL.secret == keyed,
            _CREDENTIAL.kind == CredentialKind.API_TOKEN,
            or_(_CREDENTIAL.expires_at.is_(None), _CREDENTIAL.expires_at > now),
        )
    ).one_or_none()
    account = row and open_account(row.account_id, connection)
    return (account, _record(row)) if row and account else None


def _all(account: Account, connection: Connection) -> list[ApiToken]:
    rows = connection.execute(
        select(schema.credential)
        .where(_CREDENTIAL.account_id == account.id, _CREDENTIAL.kind == CredentialKind.API_TOKEN)
        .order_by(_CREDENTIAL.name)
    )
    return [_record(row) for row in rows]


def _record(row: Any) -> ApiToken:
    return ApiToken(
        row.id,
        row.name,
        row.scopes,
        None if row.addresses is None else tuple(row.addresses.split()),
        tuple((row.ip_allow or "").split()),
        moment(row.created_at),
        None if row.expires_at is None else moment(row.expires_at),
        None if row.used_at is None else moment(row.used_at),
        row.used_ip,
    )


def _remove(account: Account, token_id: int, connection: Connection) -> None:
    gone = connection.execute(
        delete(schema.credential).where(
            _CREDENTIAL.id == token_id,
            _CREDENTIAL.account_id == account.id,
            _CREDENTIAL.kind == CredentialKind.API_TOKEN,
        )
    )
    if not gone.rowcount:
        raise NotFound("there is no such token")
