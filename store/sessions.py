"""Signed-in sessions: a row per sign-in, read on every request, so that ending one acts at once.

One lasts as long as its credential is unchanged. What finds it, a cookie or a refresh token, is
kept as a hash.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from mail.errors import NotFound
from mail.ident import new_row_id
from store import schema
from store.accounts import ACCOUNT, account_record
from store.database import Database
from store.prepared import Prepared, Values
from store.records import (
    Account,
    AccountState,
    Credential,
    LoginSession,
    NewSession,
    SessionKind,
    microseconds,
    moment,
)
from store.writer import Writer

IDLE = timedelta(hours=12)  # without a request, and a page's session has ended
SEEN_NOTED = timedelta(minutes=5)  # a request within this time of the last one is not written
DATA_CHARACTERS = 4096


class Sessions:
    def __init__(
        self, database: Database, writer: Writer, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock

    async def begin(
        self, account: Account, credential: Credential, new: NewSession
    ) -> LoginSession:
        now = self._clock()
        session = LoginSession(
            new_row_id(),
            account,
            new.kind,
            new.scopes,
            new.device,
            new.peer_ip,
            created_at=now,
            seen_at=now,
            expires_at=now + new.life,
            data=new.data,
        )
        await self._writer.run(partial(_begin, session, credential, new.key_hash))
        return session

    async def read(self, session_id: int) -> LoginSession | None:
        """One of a login, by its id. None when it has ended: time, sign-out, a new password, an
        account that is disabled or closed.
        """
        values = {"session": session_id, "now": microseconds(self._clock())}
        return await self._database.read(partial(_read, _LOGIN, values))

    async def of_cookie(self, key_hash: bytes) -> LoginSession | None:
        """A page's. None when it has ended, as with `read`, or nobody used it for IDLE."""
        now = self._clock()
        values = {
            "key_hash": key_hash,
            "now": microseconds(now),
            "used_after": microseconds(now - IDLE),
        }
        return await self._database.read(partial(_read, _PAGE, values))

    async def of_account(self, account: Account) -> list[LoginSession]:
        """Those that last, the newest first."""
        return await self._database.read(partial(_all, account, self._clock()))

    async def renew(
        self, session_id: int, key_hash: bytes, new_hash: bytes, *, life: timedelta
    ) -> LoginSession | None:
        """Replaces what finds a login's session, which lasts `life` from now on.

        None when it has ended. Another `key_hash` than the last one given ends it: two have it.
        """
        now = self._clock()
        hashes = (key_hash, new_hash)
        return await self._writer.run(partial(_renew, session_id, hashes, now=now, life=life))

    async def note_seen(self, session: LoginSession) -> None:
        """Writes that it was used, when the last time was noted long enough ago."""
        now = self._clock()
        if now - session.seen_at >= SEEN_NOTED:
            await self._writer.run(partial(_change, session.id, {"seen_at": microseconds(now)}))

    async def keep(self, session: LoginSession, data: str) -> None:
        """What the page remembers with it. Raises ValueError beyond DATA_CHARACTERS."""
        if len(data) > DATA_CHARACTERS:
            raise ValueError("more than a session may hold")
        await self._writer.run(partial(_change, session.id, {"data": data}))

    async def end(self, account: Account, *which: int) -> None:
        """Those with these ids, or all of the account. Raises NotFound when there is none."""
        await self._writer.run(partial(_end, account, which), frees=True)


def _begin(
    session: LoginSession, credential: Credential, key_hash: bytes, connection: Connection
) -> None:
    columns = schema.session.c
    now = microseconds(session.created_at)
    # Ended rows go when new ones come: the table stays as small as the number of live ones.
    connection.execute(delete(schema.session).where(columns.expires_at < now))
    if connection.execute(select(columns.id).where(columns.id == session.id)).first():
        return  # an earlier try whose answer was lost
    connection.execute(
        insert(schema.session).values(
            id=session.id,
            kind=session.kind,
            key_hash=key_hash,
            credential_id=credential.id,
            version=credential.version,
            scopes=session.scopes,
            device=session.device,
            data=session.data,
            peer=session.peer_ip,
            created_at=now,
            seen_at=now,
            expires_at=microseconds(session.expires_at),
        )
    )


_S = schema.session.c
# With its account, in one statement: each request asks for one of these.
_FOUND = (
    ACCOUNT.add_columns(*(column.label(f"session_{column.name}") for column in _S))
    .join(schema.credential, schema.credential.c.account_id == schema.account.c.id)
    .join(schema.session, _S.credential_id == schema.credential.c.id)
    .where(
        _S.version == schema.credential.c.version,
        _S.expires_at >= bindparam("now"),
        schema.account.c.state == int(AccountState.OPEN),
    )
)
_LOGIN = Prepared(_FOUND.where(_S.id == bindparam("session"), _S.kind == int(SessionKind.LOGIN)))
_PAGE = Prepared(
    _FOUND.where(
        _S.key_hash == bindparam("key_hash"),
        _S.kind == int(SessionKind.PAGE),
        _S.seen_at >= bindparam("used_after"),
    )
)


def _read(found: Prepared, values: Values, connection: Connection) -> LoginSession | None:
    row = found.run(connection, values).one_or_none()
    return None if row is None else _record(row, account_record(row))


def _record(row: Any, account: Account) -> LoginSession:
    return LoginSession(
        row.session_id,
        account,
        SessionKind(row.session_kind),
        row.session_scopes,
        row.session_device,
        row.session_peer,
        created_at=moment(row.session_created_at),
        seen_at=moment(row.session_seen_at),
        expires_at=moment(row.session_expires_at),
        data=row.session_data,
    )


def _all(account: Account, now: datetime, connection: Connection) -> list[LoginSession]:
    session = schema.session.c
    unused = microseconds(now - IDLE)
    query = _FOUND.where(
        schema.credential.c.account_id == account.id,
        (session.kind == SessionKind.LOGIN) | (session.seen_at >= unused),
    ).order_by(session.created_at.desc(), session.id)
    values = {"now": microseconds(now)}
    return [_record(row, account) for row in connection.execute(query, values)]


def _renew(
    session_id: int,
    hashes: tuple[bytes, bytes],
    connection: Connection,
    *,
    now: datetime,
    life: timedelta,
) -> LoginSession | None:
    given, new = hashes
    columns = schema.session.c
    which = (columns.id == session_id, columns.kind == SessionKind.LOGIN)
    values = {"session": session_id, "now": microseconds(now)}
    found = _read(_LOGIN, values, connection)
    if found is None:
        return None
    known = connection.execute(select(columns.key_hash).where(*which)).scalar_one()
    if known == new:
        return found  # an earlier try whose answer was lost
    changes = {
        "key_hash": new,
        "seen_at": microseconds(now),
        "expires_at": microseconds(now + life),
    }
    # The hash again, as two processes may renew at once: one of them does.
    taken = connection.execute(
        update(schema.session).where(*which, columns.key_hash == given).values(changes)
    )
    if not (hmac.compare_digest(known, given) and taken.rowcount):
        connection.execute(delete(schema.session).where(*which))
        return None
    return _read(_LOGIN, values, connection)


def _change(session_id: int, values: dict[str, Any], connection: Connection) -> None:
    connection.execute(
        update(schema.session).where(schema.session.c.id == session_id).values(values)
    )


def _end(account: Account, which: tuple[int, ...], connection: Connection) -> None:
    session, credential = schema.session.c, schema.credential.c
    own = select(credential.id).where(credential.account_id == account.id)
    chosen = delete(schema.session).where(session.credential_id.in_(own))
    gone = connection.execute(chosen.where(session.id.in_(which)) if which else chosen)
    if which and not gone.rowcount:
        raise NotFound("there is no such session")
