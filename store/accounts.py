"""Accounts, their password hashes, and their maildrops."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from mail.address import Address
from mail.errors import BadAddress, NameTaken, NotFound
from mail.ident import new_row_id
from store import schema
from store.addresses import domain_for_new, insert_address, release
from store.database import Database
from store.directory import Directory, home_domain
from store.records import (
    Account,
    AccountState,
    Alias,
    Credential,
    CredentialKind,
    Role,
    StoreSettings,
    microseconds,
    moment,
)
from store.writer import Writer


class Accounts:
    def __init__(
        self,
        database: Database,
        writer: Writer,
        directory: Directory,
        settings: StoreSettings,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._writer = writer
        self._directory = directory
        self._kept_for = timedelta(days=settings.trash_days)
        self._clock = clock

    async def add(
        self, login: str, secret: str, *, role: Role, address: Address | None = None
    ) -> Account:
        """Makes an account with its maildrop and password hash, and one address if given.

        Raises NameTaken, NotFound (the address's domain).
        """
        account = Account(new_row_id(), login, role, AccountState.OPEN, new_row_id(), self._clock())
        await self._directory.change(partial(_add, account, secret, address))
        return account

    async def all(self) -> list[Account]:
        """Every account that is not closed, by login."""
        return await self._database.read(_all)

    async def get(self, login: str) -> Account:
        """Raises NotFound."""
        return await self._database.read(partial(_get, login))

    async def for_sign_in(
        self, user: str, *, keyed: str | None = None
    ) -> tuple[Account, Credential] | None:
        """The open account of a login or of one of its addresses, with what to check.

        That is its app password of this keyed hash, if it has one that is not over, which is
        the proof itself; else its password's hash.
        """
        now = microseconds(self._clock())
        return await self._database.read(partial(_for_sign_in, user, keyed, now))

    async def set_password(self, login: str, secret: str) -> None:
        """Replaces the hash; sessions that the old one began end. Raises NotFound."""
        await self._writer.run(partial(_set_password, login, secret))

    async def close(self, login: str) -> datetime:
        """Ends sign-in, sessions and addresses at once and frees the login for another.

        The mail stays until the moment that is returned. Raises NotFound.
        """
        until = self._clock() + self._kept_for
        await self._directory.change(partial(_close, login, microseconds(until)))
        return until


def _record(row: Any) -> Account:
    return Account(
        row.id,
        row.login,
        Role(row.role),
        AccountState(row.state),
        row.maildrop_id,
        moment(row.created_at),
    )


_ACCOUNT = select(
    schema.account.c.id,
    schema.account.c.login,
    schema.account.c.role,
    schema.account.c.state,
    schema.maildrop.c.id.label("maildrop_id"),
    schema.account.c.created_at,
).join(schema.maildrop, schema.maildrop.c.account_id == schema.account.c.id)


def _add(account: Account, secret: str, address: Address | None, connection: Connection) -> None:
    columns = schema.account.c
    taken = select(columns.id).where(columns.login == account.login)
    found = connection.execute(taken).scalar_one_or_none()
    if found == account.id:
        return  # an earlier try whose answer was lost
    if found:
        raise NameTaken(f"the user {account.login} exists already")
    domain_id = domain_for_new(address, connection) if address else None
    now = microseconds(account.created_at)
    connection.execute(
        insert(schema.account).values(
            id=account.id,
            login=account.login,
            role=account.role,
            state=account.state,
            created_at=now,
        )
    )
    connection.execute(
        insert(schema.maildrop).values(
            id=account.maildrop_id,
            account_id=account.id,
        )
    )
    connection.execute(
        insert(schema.credential).values(
            id=new_row_id(),
            account_id=account.id,
            kind=CredentialKind.PASSWORD,
            secret=secret,
            version=1,
            created_at=now,
        )
    )
    if address and domain_id:
        alias = Alias(new_row_id(), address, (account.login,), account.created_at)
        insert_address(alias, domain_id, [account.maildrop_id], connection)


def _all(connection: Connection) -> list[Account]:
    columns = schema.account.c
    query = _ACCOUNT.where(columns.state != AccountState.CLOSED).order_by(columns.login)
    return [_record(row) for row in connection.execute(query)]


def _get(login: str, connection: Connection) -> Account:
    row = connection.execute(_ACCOUNT.where(schema.account.c.login == login)).one_or_none()
    if row is None:
        raise NotFound(f"there is no user {login}")
    return _record(row)


def open_account(account_id: int, connection: Connection) -> Account | None:
    """The account, unless it is disabled or closed."""
    columns = schema.account.c
    row = connection.execute(
        _ACCOUNT.where(columns.id == account_id, columns.state == AccountState.OPEN)
    ).one_or_none()
    return _record(row) if row else None


def _for_sign_in(
    user: str, keyed: str | None, now: int, connection: Connection
) -> tuple[Account, Credential] | None:
    credential = schema.credential.c
    fits = credential.kind == CredentialKind.PASSWORD
    if keyed:
        fits |= and_(
            credential.kind == CredentialKind.APP_PASSWORD,
            credential.secret == keyed,
            or_(credential.expires_at.is_(None), credential.expires_at > now),
        )
    query = (
        _ACCOUNT.add_columns(
            credential.id.label("credential_id"),
            credential.kind,
            credential.secret,
            credential.version,
            credential.used_at,
        )
        .join(schema.credential, credential.account_id == schema.account.c.id)
        .where(fits, schema.account.c.state == AccountState.OPEN)
        .order_by(credential.kind.desc())  # the app password first
        .limit(1)
    )
    if "@" in user:
        try:
            address = Address.parse(user).folded
        except BadAddress:
            return None
        domain = home_domain(address.domain, connection)
        if domain is None:
            return None
        # That of a group is nobody's own, and has no maildrop in its row.
        query = query.join(
            schema.address, schema.address.c.maildrop_id == schema.maildrop.c.id
        ).where(
            schema.address.c.domain_id == domain.id,
            schema.address.c.local_part == address.local,
        )
    else:
        query = query.where(schema.account.c.login == user.lower())
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return _record(row), Credential(
        row.credential_id,
        row.secret,
        row.version,
        CredentialKind(row.kind),
        None if row.used_at is None else moment(row.used_at),
    )


def _set_password(login: str, secret: str, connection: Connection) -> None:
    credential = schema.credential.c
    connection.execute(
        update(schema.credential)
        .where(
            credential.account_id == _get(login, connection).id,
            credential.kind == CredentialKind.PASSWORD,
        )
        .values(secret=secret, version=credential.version + 1)
    )


def _close(login: str, until: int, connection: Connection) -> None:
    account = _get(login, connection)
    release(account.maildrop_id, connection)
    connection.execute(
        delete(schema.credential).where(schema.credential.c.account_id == account.id)
    )
    connection.execute(
        update(schema.account)
        .where(schema.account.c.id == account.id)
        # A slash is in no login: the name is free, and the row can still be told.
        .values(state=AccountState.CLOSED, close_at=until, login=f"{login}/{account.id}")
    )
