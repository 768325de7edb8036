"""Accounts, their password hashes, and their maildrops."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, or_, select, update

from mail.address import Address
from mail.errors import BadAddress, NameTaken, NotFound
from mail.ident import new_row_id
from store import profiles, registration, schema
from store.addresses import domain_for_new, insert_address, release
from store.credentials import use_is_due_at
from store.database import Database
from store.directory import Directory, Entrance, home_domain
from store.factors import HAS_TOTP
from store.lists import Guard, unguarded
from store.prepared import Prepared
from store.records import (
    Account,
    AccountState,
    Alias,
    Credential,
    CredentialKind,
    OwnSettings,
    Profile,
    Registration,
    Role,
    StoreSettings,
    microseconds,
    moment,
)
from store.registration import insert_account
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
        self._directory = directory
        self._kept_for = timedelta(days=settings.trash_days)
        self._clock = clock

    async def add(
        self,
        login: str,
        secret: str,
        *,
        role: Role,
        address: Address | None = None,
        quota_octets: int | None = None,
    ) -> Account:
        """Makes an account with its maildrop and password hash, and one address if given.

        `quota_octets` None: as configured. Raises NameTaken, NamedNothing (the address's domain).
        """
        account = Account(new_row_id(), login, role, AccountState.OPEN, new_row_id(), self._clock())
        await self._directory.change(partial(_add, account, secret, address, quota_octets))
        return account

    async def register(self, wish: Registration) -> tuple[Account, Credential]:
        """Makes an account for somebody who asks.

        Raises NameTaken, AddressTaken; InviteInvalid, also for another than the first
        administrator; DomainNotOpen.
        """
        account = Account(
            new_row_id(),
            wish.login,
            Role.ADMIN if wish.first else Role.USER,
            AccountState.OPEN,
            new_row_id(),
            self._clock(),
            display_name=wish.display_name,
        )
        password = Credential(new_row_id(), wish.secret, 1)
        await self._directory.change(partial(registration.register, account, password, wish))
        return account, password

    async def has_admin(self) -> bool:
        return await self._database.read(registration.has_admin)

    async def all(self) -> list[Account]:
        """Every account that is not closed, by login."""
        return await self._database.read(_all)

    async def get(self, login: str) -> Account:
        """Raises NotFound."""
        return await self._database.read(partial(_get, login))

    async def for_sign_in(
        self, user: str, *, keyed: str | None = None
    ) -> tuple[Account, Credential] | None:
        """The account of a login or of one of its addresses, unless it is closed, with what to
        check.

        That is its app password of this keyed hash, if it has one that is not over, which is
        the proof itself; else its password's hash.
        """
        now = microseconds(self._clock())
        query = partial(_for_sign_in, user, keyed, now)
        found = await self._directory.entrance((user, keyed), query, now)
        return (found.account, found.credential) if found else None

    async def set_password(self, key: str | int, secret: str) -> None:
        """Replaces the hash; sessions that the old one began end. Raises NotFound."""
        await self._directory.change(partial(_set_password, key, secret))

    async def change(
        self, account: Account, settings: OwnSettings, *, guard: Guard[Account] = unguarded
    ) -> Account:
        """What is not given stays as it is. Raises NotFound, and what `guard` raises."""
        return await self._directory.change(partial(_change, account.id, settings, guard))

    async def close(
        self, key: str | int, *, purge: bool = False, guard: Guard[Profile] = unguarded
    ) -> datetime:
        """Ends sign-in, sessions and addresses at once and frees the login for another.

        The mail stays until the moment that is returned; with `purge` that is now. Raises
        NotFound, LastAdministrator, and what `guard` raises.
        """
        until = self._clock() if purge else self._clock() + self._kept_for
        await self._directory.change(partial(_close, key, microseconds(until), guard))
        return until


def account_record(row: Any) -> Account:
    return Account(
        row.id,
        row.login,
        Role(row.role),
        AccountState(row.state),
        row.maildrop_id,
        moment(row.created_at),
        display_name=row.display_name,
        language=row.language,
        timezone=row.timezone,
        must_change=bool(row.must_change),
        totp=bool(row.totp),
    )


ACCOUNT = select(
    schema.account.c.id,
    schema.account.c.login,
    schema.account.c.role,
    schema.account.c.state,
    schema.maildrop.c.id.label("maildrop_id"),
    schema.account.c.created_at,
    schema.account.c.display_name,
    schema.account.c.language,
    schema.account.c.timezone,
    schema.account.c.must_change,
    HAS_TOTP.label("totp"),
).join(schema.maildrop, schema.maildrop.c.account_id == schema.account.c.id)


def _add(
    account: Account,
    secret: str,
    address: Address | None,
    quota_octets: int | None,
    connection: Connection,
) -> None:
    columns = schema.account.c
    taken = select(columns.id).where(columns.login == account.login)
    found = connection.execute(taken).scalar_one_or_none()
    if found == account.id:
        return  # an earlier try whose answer was lost
    if found:
        raise NameTaken(f"the user {account.login} exists already")
    domain_id = domain_for_new(address, connection) if address else None
    insert_account(
        account, Credential(new_row_id(), secret, 1), connection, quota_octets=quota_octets
    )
    if address and domain_id:
        alias = Alias(new_row_id(), address, (account.login,), account.created_at)
        insert_address(alias, domain_id, [account.maildrop_id], connection)


def _all(connection: Connection) -> list[Account]:
    columns = schema.account.c
    query = ACCOUNT.where(columns.state != AccountState.CLOSED).order_by(columns.login)
    return [account_record(row) for row in connection.execute(query)]


def _get(login: str, connection: Connection) -> Account:
    row = connection.execute(ACCOUNT.where(schema.account.c.login == login)).one_or_none()
    if row is None:
        raise NotFound(f"there is no user {login}")
    return account_record(row)


def open_account(account_id: int, connection: Connection) -> Account | None:
    """The account, unless it is disabled or closed."""
    row = _OPEN.run(connection, {"account": account_id}).one_or_none()
    return account_record(row) if row else None


_OPEN = Prepared(
    ACCOUNT.where(
        schema.account.c.id == bindparam("account"),
        schema.account.c.state == int(AccountState.OPEN),
    )
)


def _for_sign_in(user: str, keyed: str | None, now: int, connection: Connection) -> Entrance | None:
    values: dict[str, object] = {"keyed": keyed, "now": now} if keyed else {}
    if "@" in user:
        try:
            address = Address.parse(user).folded
        except BadAddress:
            return None
        domain = home_domain(address.domain, connection)
        if domain is None:
            return None
        values |= {"domain": domain.id, "local": address.local}
    else:
        values["login"] = user.lower()
    look_up = _sign_in(by_address="@" in user, keyed=bool(keyed))
    row = look_up.run(connection, values).one_or_none()
    if row is None:
        return None
    credential = Credential(
        row.credential_id,
        row.secret,
        row.version,
        CredentialKind(row.kind),
        None if row.used_at is None else moment(row.used_at),
        tuple((row.ip_allow or "").split()),
    )
    due = use_is_due_at(row.used_at)  # its use is written down then, which forgets nothing
    ends = due if row.expires_at is None else min(due, row.expires_at)
    return Entrance(account_record(row), credential, ends)


@cache
def _sign_in(*, by_address: bool, keyed: bool) -> Prepared:
    """Read by every login."""
    credential = schema.credential.c
    fits = credential.kind == int(CredentialKind.PASSWORD)
    if keyed:
        fits |= and_(
            credential.kind == int(CredentialKind.APP_PASSWORD),
            credential.secret == bindparam("keyed"),
            or_(credential.expires_at.is_(None), credential.expires_at > bindparam("now")),
        )
    query = (
        ACCOUNT.add_columns(
            credential.id.label("credential_id"),
            credential.kind,
            credential.secret,
            credential.version,
            credential.used_at,
            credential.ip_allow,
            credential.expires_at,
        )
        .join(schema.credential, credential.account_id == schema.account.c.id)
        .where(fits, schema.account.c.state != int(AccountState.CLOSED))
        .order_by(credential.kind.desc())  # the app password first
        .limit(1)
    )
    if not by_address:
        return Prepared(query.where(schema.account.c.login == bindparam("login")))
    # That of a group is nobody's own, and has no maildrop in its row.
    address = schema.address.c
    return Prepared(
        query.join(schema.address, address.maildrop_id == schema.maildrop.c.id).where(
            address.domain_id == bindparam("domain"), address.local_part == bindparam("local")
        )
    )


def _change(
    account_id: int, settings: OwnSettings, guard: Guard[Account], connection: Connection
) -> Account:
    guard(_own(account_id, connection))
    if settings:
        mine = schema.account.c.id == account_id
        connection.execute(update(schema.account).where(mine).values(**settings))
    return _own(account_id, connection)


def _own(account_id: int, connection: Connection) -> Account:
    query = ACCOUNT.where(schema.account.c.id == account_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound("there is no such user")
    return account_record(row)


def _set_password(key: str | int, secret: str, connection: Connection) -> None:
    credential = schema.credential.c
    connection.execute(
        update(schema.credential)
        .where(
            credential.account_id == profiles.read(key, connection).id,
            credential.kind == CredentialKind.PASSWORD,
        )
        .values(secret=secret, version=credential.version + 1)
    )


def _close(key: str | int, until: int, guard: Guard[Profile], connection: Connection) -> None:
    found = profiles.read(key, connection)
    guard(found)
    profiles.keep_an_administrator(found.id, connection)
    account = _get(found.login, connection)
    release(account.maildrop_id, connection)
    connection.execute(
        delete(schema.credential).where(schema.credential.c.account_id == account.id)
    )
    connection.execute(
        update(schema.account)
        .where(schema.account.c.id == account.id)
        # A slash is in no login: the name is free, and the row can still be told.
        .values(state=AccountState.CLOSED, close_at=until, login=f"{found.login}/{account.id}")
    )
