"""What is held as suspected spam, and when its owner was last told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, func, or_, select, update

from mail.ident import UniqueId
from store import schema
from store.database import Database
from store.records import Folder, microseconds, moment
from store.writer import Writer


@dataclass(frozen=True, slots=True)
class HeldMessage:
    sender: str
    subject: str


@dataclass(frozen=True, slots=True)
class Held:
    """What is new in one maildrop. `recipient` is the address that the last of it came to."""

    maildrop_id: int
    recipient: str
    count: int
    messages: Sequence[HeldMessage]  # the newest of them


class HeldMail:
    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer

    async def due(self, before: datetime, *, limit: int) -> list[Held]:
        """Maildrops with news whose owners were not told since `before`. Raises StorageBusy."""
        return await self._database.read(partial(_due, microseconds(before), limit))

    async def told(self, maildrop_id: int, at: datetime) -> None:
        drops = schema.maildrop
        change = (
            update(drops).where(drops.c.id == maildrop_id).values(held_told_at=microseconds(at))
        )
        await self._writer.run(lambda connection: connection.execute(change).rowcount)


def _due(before: int, limit: int, connection: Connection) -> list[Held]:
    drops, message = schema.maildrop.c, schema.message.c
    waiting = connection.execute(
        select(drops.id, drops.held_told_at).where(
            drops.on_spam.is_not(None),
            or_(drops.held_told_at.is_(None), drops.held_told_at <= before),
        )
    ).all()
    found = []
    for drop in waiting:
        since = b"" if drop.held_told_at is None else _first_uid(drop.held_told_at)
        news = (
            message.maildrop_id == drop.id,
            message.folder == Folder.HELD.value,
            message.uid >= since,
        )
        count = connection.execute(select(func.count()).where(*news)).scalar_one()
        if count:
            rows = connection.execute(
                select(message.rcpt, message.from_text, message.subject)
                .where(*news)
                .order_by(message.uid.desc())
                .limit(limit)
            ).all()
            told = [HeldMessage(row.from_text, row.subject) for row in rows]
            found.append(Held(drop.id, rows[0].rcpt, count, told))
    return found


def _first_uid(ts: int) -> bytes:
    return UniqueId.first_of(moment(ts)).octets
