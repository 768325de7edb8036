"""App passwords: each opens a maildrop to one device, and is found by its keyed hash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, update

from mail.errors import NameTaken, NotFound
from mail.ident import new_row_id
from store import schema
from store.database import Database
from store.delivery import lock_maildrops
from store.directory import Directory
from store.records import (
    Account,
    ApiToken,
    AppPassword,
    Credential,
    CredentialKind,
    microseconds,
    moment,
)
from store.writer import Writer

USE_NOTED = timedelta(hours=1)  # a use within this time of the last one is not written


class Credentials:
    def __init__(
        self,
        database: Database,
        writer: Writer,
        directory: Directory,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._writer = writer
        self._directory = directory
        self._clock = clock

    async def add_app_password(
        self,
        account: Account,
        name: str,
        keyed: str,
        *,
        life: timedelta | None = None,
        ip_allow: Sequence[str] = (),
    ) -> AppPassword:
        """Keeps the keyed hash of a new app password. Raises NameTaken, NotFound."""
        now = self._clock()
        ends = now + life if life else None
        made = AppPassword(new_row_id(), name, now, ends, None, None, tuple(ip_allow))
        await self._directory.change(partial(_add, account, made, keyed))
        return made

    async def app_passwords(self, account: Account) -> list[AppPassword]:
        """By name; those that are over are among them."""
        return await self._database.read(partial(_all, account))

    async def remove_app_password(self, account: Account, credential_id: int) -> None:
        """Ends it at once, and forgets what its device has retrieved. Raises NotFound."""
        await self._directory.change(partial(_remove, account, credential_id), frees=True)

    def use_is_due(self, credential: Credential | ApiToken) -> bool:
        """Whether its last use was written so long ago that another one is worth it."""
        return credential.used_at is None or self._clock() >= credential.used_at + USE_NOTED

    async def note_use(self, credential: Credential | ApiToken, peer_ip: str) -> None:
        """Writes when and from where it was used, unless another process just has."""
        now = self._clock()
        await self._writer.run(
            partial(
                _note_use,
                credential.id,
                peer_ip,
                now=microseconds(now),
                before=microseconds(now - USE_NOTED),
            )
        )


def use_is_due_at(used_at: int | None) -> int:
    """When the next use is worth writing down; both in microseconds."""
    return 0 if used_at is None else used_at + USE_NOTED // timedelta(microseconds=1)


def _add(account: Account, made: AppPassword, keyed: str, connection: Connection) -> None:
    # Under this lock nobody else takes the name.
    if not lock_maildrops(connection, [account.maildrop_id]):
        raise NotFound(f"there is no user {account.login}")
    there = {row.name: row.id for row in _rows(account, connection)}
    if there.get(made.name) == made.id:
        return  # an earlier try whose answer was lost
    if made.name in there:
        raise NameTaken(f"{account.login} has an app password {made.name} already")
    connection.execute(
        insert(schema.credential).values(
            id=made.id,
            account_id=account.id,
            kind=CredentialKind.APP_PASSWORD,
            name=made.name,
            secret=keyed,
            version=1,
            ip_allow=" ".join(made.ip_allow),
            created_at=microseconds(made.created_at),
            expires_at=microseconds(made.expires_at) if made.expires_at else None,
        )
    )


def _rows(account: Account, connection: Connection) -> list[Any]:
    columns = schema.credential.c
    return list(
        connection.execute(
            select(schema.credential)
            .where(columns.account_id == account.id, columns.kind == CredentialKind.APP_PASSWORD)
            .order_by(columns.name)
        )
    )


def _all(account: Account, connection: Connection) -> list[AppPassword]:
    return [
        AppPassword(
            row.id,
            row.name,
            moment(row.created_at),
            None if row.expires_at is None else moment(row.expires_at),
            None if row.used_at is None else moment(row.used_at),
            row.used_ip,
            tuple((row.ip_allow or "").split()),
        )
        for row in _rows(account, connection)
    ]


def _remove(account: Account, credential_id: int, connection: Connection) -> None:
    # A session that ends now finds either the credential or this lock: it leaves no marks behind.
    lock_maildrops(connection, [account.maildrop_id])
    columns = schema.credential.c
    gone = connection.execute(
        delete(schema.credential).where(
            columns.id == credential_id,
            columns.account_id == account.id,
            columns.kind == CredentialKind.APP_PASSWORD,
        )
    )
    if not gone.rowcount:
        raise NotFound("there is no such app password")
    for table in (schema.device, schema.device_mark):
        connection.execute(
            delete(table).where(
                table.c.maildrop_id == account.maildrop_id, table.c.credential_id == credential_id
            )
        )


def _note_use(
    credential_id: int, peer_ip: str, connection: Connection, *, now: int, before: int
) -> None:
    columns = schema.credential.c
    connection.execute(
        update(schema.credential)
        .where(
            columns.id == credential_id,
            or_(columns.used_at.is_(None), columns.used_at <= before),
        )
        .values(used_at=now, used_ip=peer_ip)
    )
