"""Invitations to make an account. What one is told by is kept as a keyed hash."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from mail.address import Address
from mail.errors import NotFound
from mail.ident import new_row_id
from store import schema
from store.database import Database
from store.lists import Part, Span, part
from store.records import Invite, microseconds, moment
from store.writer import Writer


class Invites:
    def __init__(
        self, database: Database, writer: Writer, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock

    async def add(
        self, key_hash: bytes, *, address: Address | None, uses: int, life: timedelta, by: int = 0
    ) -> Invite:
        """`address` is what the account will have; None leaves it to the guest.

        `by` is the account of who invites, 0 for the command line.
        """
        now = self._clock()
        made = Invite(new_row_id(), address, uses, now, now + life)
        await self._writer.run(partial(_add, made, key_hash, by))
        return made

    async def all(self) -> list[Invite]:
        """Those that can be used, the newest first."""
        return await self._database.read(partial(_all, microseconds(self._clock())))

    async def page(self, span: Span) -> Part[Invite]:
        """Those that can be used, the oldest first."""
        return await self._database.read(partial(_page, span, microseconds(self._clock())))

    async def find(self, key_hash: bytes) -> Invite | None:
        """None when there is none of this hash, its uses are spent or its time is over."""
        return await self._database.read(partial(_find, key_hash, microseconds(self._clock())))

    async def remove(self, invite_id: int) -> None:
        """Raises NotFound."""
        await self._writer.run(partial(_remove, invite_id), frees=True)


def _add(made: Invite, key_hash: bytes, by: int, connection: Connection) -> None:
    columns = schema.invite.c
    now = microseconds(made.created_at)
    connection.execute(delete(schema.invite).where(columns.expires_at < now))
    if connection.execute(select(columns.id).where(columns.id == made.id)).first():
        return  # an earlier try whose answer was lost
    connection.execute(
        insert(schema.invite).values(
            id=made.id,
            key_hash=key_hash,
            address=str(made.address) if made.address else None,
            uses=made.uses,
            made_by=by,
            created_at=now,
            expires_at=microseconds(made.expires_at),
        )
    )


def _live(now: int) -> Any:
    columns = schema.invite.c
    return select(schema.invite).where(columns.uses > 0, columns.expires_at >= now)


def _record(row: Any) -> Invite:
    return Invite(
        row.id,
        Address.parse(row.address) if row.address else None,
        row.uses,
        moment(row.created_at),
        moment(row.expires_at),
    )


def _all(now: int, connection: Connection) -> list[Invite]:
    columns = schema.invite.c
    query = _live(now).order_by(columns.created_at.desc(), columns.id)
    return [_record(row) for row in connection.execute(query)]


def _page(span: Span, now: int, connection: Connection) -> Part[Invite]:
    columns = schema.invite.c
    return part(_live(now), [columns.created_at, columns.id], span, connection).of(_record)


def _find(key_hash: bytes, now: int, connection: Connection) -> Invite | None:
    query = _live(now).where(schema.invite.c.key_hash == key_hash)
    row = connection.execute(query).one_or_none()
    return _record(row) if row else None


def _remove(invite_id: int, connection: Connection) -> None:
    gone = connection.execute(delete(schema.invite).where(schema.invite.c.id == invite_id))
    if not gone.rowcount:
        raise NotFound("there is no such invitation")


def spend(invite_id: int, connection: Connection) -> bool:
    """Takes one use, inside the transaction that makes the account. False when none is left."""
    columns = schema.invite.c
    taken = connection.execute(
        update(schema.invite)
        .where(columns.id == invite_id, columns.uses > 0)
        .values(uses=columns.uses - 1)
    )
    return bool(taken.rowcount)
