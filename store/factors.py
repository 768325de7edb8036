"""What an account proves itself by besides its password, and the password's change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, select, update

from mail.errors import AlreadyOn
from mail.ident import new_row_id
from store import schema
from store.database import Database
from store.directory import Directory
from store.records import Account, CredentialKind, Totp, microseconds

ON, WAITING = 0, 1  # credential.scheme of TOTP: in force, or not yet proved by a code


_FACTOR = schema.credential.alias("factor")
HAS_TOTP = (
    exists()
    .where(
        _FACTOR.c.account_id == schema.account.c.id,
        _FACTOR.c.kind == CredentialKind.TOTP,
        _FACTOR.c.scheme == ON,
    )
    .correlate(schema.account)
)


class Factors:
    def __init__(
        self, database: Database, directory: Directory, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._directory = directory
        self._clock = clock

    async def change_password(
        self, account: Account, secret: str, *, keep: int | None = None
    ) -> None:
        """Its owner's new hash. Sessions end, but for the one with the id `keep`."""
        await self._directory.change(partial(_change_password, account, secret, keep))

    async def replace_codes(self, account: Account, codes: Sequence[str]) -> None:
        """Keyed hashes of recovery codes; those before them are good for nothing now."""
        await self._directory.change(partial(_replace_codes, account, codes, now=self._clock()))

    async def recover(self, account: Account, code: str, secret: str) -> int | None:
        """Spends a recovery code, of which this is the keyed hash, for a new password.

        All sessions end, and TOTP is off. Returns how many codes are left; None without that code.
        """
        return await self._directory.change(partial(_recover, account, code, secret))

    async def start_totp(self, account: Account, sealed: str, totp_id: int) -> None:
        """A secret that waits for its first code, in place of one that waited. Raises AlreadyOn."""
        made = Totp(totp_id, sealed, 0)
        await self._directory.change(partial(_start_totp, account, made, now=self._clock()))

    async def totp(self, account: Account, *, waiting: bool = False) -> Totp | None:
        """That in force, or the one that waits for its first code."""
        return await self._database.read(partial(_totp, account, WAITING if waiting else ON))

    async def take_step(self, totp: Totp, step: int) -> bool:
        """Puts it in force, and marks the codes up to this step as used. False: they were."""
        return await self._directory.change(partial(_take_step, totp, step))

    async def end_totp(self, account: Account) -> None:
        await self._directory.change(partial(_end_totp, account))


_CREDENTIAL = schema.credential.c


def _of(account: Account, kind: CredentialKind) -> Any:
    return (_CREDENTIAL.account_id == account.id) & (_CREDENTIAL.kind == kind)


def _set_password(account: Account, secret: str, connection: Connection) -> None:
    password = _of(account, CredentialKind.PASSWORD)
    connection.execute(
        update(schema.credential)
        .where(password)
        .values(secret=secret, version=_CREDENTIAL.version + 1)
    )
    connection.execute(
        update(schema.account).where(schema.account.c.id == account.id).values(must_change=0)
    )


def _change_password(
    account: Account, secret: str, keep: int | None, connection: Connection
) -> None:
    _set_password(account, secret, connection)
    session = schema.session.c
    row = connection.execute(
        select(_CREDENTIAL.id, _CREDENTIAL.version).where(_of(account, CredentialKind.PASSWORD))
    ).one()
    connection.execute(
        update(schema.session)
        .where(session.id == keep, session.credential_id == row.id)
        .values(version=row.version)
    )


def _replace_codes(
    account: Account, codes: Sequence[str], connection: Connection, *, now: datetime
) -> None:
    connection.execute(delete(schema.credential).where(_of(account, CredentialKind.RECOVERY_CODE)))
    insert_codes(account, codes, connection, now=now)


def insert_codes(
    account: Account, codes: Sequence[str], connection: Connection, *, now: datetime
) -> None:
    if codes:
        row = {
            "account_id": account.id,
            "kind": CredentialKind.RECOVERY_CODE,
            "version": 1,
            "created_at": microseconds(now),
        }
        connection.execute(
            insert(schema.credential),
            [row | {"id": new_row_id(), "secret": code} for code in codes],
        )


def _recover(account: Account, code: str, secret: str, connection: Connection) -> int | None:
    codes = _of(account, CredentialKind.RECOVERY_CODE)
    left = select(func.count()).select_from(schema.credential).where(codes)
    password = select(_CREDENTIAL.secret).where(_of(account, CredentialKind.PASSWORD))
    if connection.execute(password).scalar_one() != secret:  # else an earlier try was not answered
        spent = connection.execute(
            delete(schema.credential).where(codes, _CREDENTIAL.secret == code)
        )
        if not spent.rowcount:
            return None
        _set_password(account, secret, connection)
        _end_totp(account, connection)
    return connection.execute(left).scalar_one()


def _start_totp(account: Account, made: Totp, connection: Connection, *, now: datetime) -> None:
    if _totp(account, ON, connection):
        raise AlreadyOn("the second factor is on")
    _end_totp(account, connection)
    connection.execute(
        insert(schema.credential).values(
            id=made.id,
            account_id=account.id,
            kind=CredentialKind.TOTP,
            scheme=WAITING,
            secret=made.sealed,
            version=made.step,
            created_at=microseconds(now),
        )
    )


def _totp(account: Account, scheme: int, connection: Connection) -> Totp | None:
    row = connection.execute(
        select(_CREDENTIAL.id, _CREDENTIAL.secret, _CREDENTIAL.version).where(
            _of(account, CredentialKind.TOTP), _CREDENTIAL.scheme == scheme
        )
    ).one_or_none()
    return Totp(row.id, row.secret, row.version) if row else None


def _take_step(totp: Totp, step: int, connection: Connection) -> bool:
    # RFC 6238 section 5.2: no code is taken twice, in whatever process.
    taken = connection.execute(
        update(schema.credential)
        .where(_CREDENTIAL.id == totp.id, _CREDENTIAL.version < step)
        .values(version=step, scheme=ON)
    )
    return bool(taken.rowcount)


def _end_totp(account: Account, connection: Connection) -> None:
    connection.execute(delete(schema.credential).where(_of(account, CredentialKind.TOTP)))
