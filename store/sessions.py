"""Signed-in sessions: a row per login, read on every request, so that ending one acts at once."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from mail.ident import new_row_id
from store import schema
from store.accounts import open_account
from store.database import Database
from store.records import Account, Credential, LoginSession, microseconds
from store.writer import Writer

LOGIN = 1  # session.kind


class Sessions:
    def __init__(
        self, database: Database, writer: Writer, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock

    async def begin(
        self, account: Account, credential: Credential, *, peer_ip: str, life: timedelta
    ) -> LoginSession:
        """A session that lasts as long as its credential is unchanged, `life` at most."""
        now = self._clock()
        session = LoginSession(new_row_id(), account)
        row = {
            "id": session.id,
            "kind": LOGIN,
            "key_hash": secrets.token_bytes(32),  # nothing finds it yet: there is no refresh token
            "credential_id": credential.id,
            "version": credential.version,
            "peer": peer_ip,
            "created_at": microseconds(now),
            "seen_at": microseconds(now),
            "expires_at": microseconds(now + life),
        }
        await self._writer.run(partial(_begin, row))
        return session

    async def read(self, session_id: int) -> LoginSession | None:
        """None when it has ended: time, sign-out, a new password, a closed account."""
        now = microseconds(self._clock())
        return await self._database.read(partial(_read, session_id, now))


def _begin(row: dict[str, Any], connection: Connection) -> None:
    # Ended rows go when new ones come: the table stays as small as the number of live ones.
    connection.execute(
        delete(schema.session).where(schema.session.c.expires_at < row["created_at"])
    )
    connection.execute(insert(schema.session).values(row))


def _read(session_id: int, now: int, connection: Connection) -> LoginSession | None:
    session, credential = schema.session.c, schema.credential.c
    account_id = connection.execute(
        select(credential.account_id)
        .join(schema.session, session.credential_id == credential.id)
        .where(
            session.id == session_id,
            session.version == credential.version,
            session.expires_at >= now,
        )
    ).scalar_one_or_none()
    if account_id is None:
        return None
    account = open_account(account_id, connection)
    return LoginSession(session_id, account) if account else None
