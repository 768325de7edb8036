"""The POP3 view of a maildrop: snapshot at login, removal at UPDATE (RFC 1939 sections 4 to 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, func, select, update

from mail.ident import UniqueId
from store import schema
from store.database import Database
from store.records import (
    Folder,
    Maildrop,
    MaildropEntry,
    StoreSettings,
    Usage,
    microseconds,
)
from store.writer import Writer

SLICE = 500  # keys in one statement


class Maildrops:
    def __init__(
        self,
        database: Database,
        writer: Writer,
        settings: StoreSettings,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._writer = writer
        self._quota_octets = settings.quota_octets
        self._max_listed = settings.max_listed
        # At least a day: a session lasts half a day and must be able to read what it lists.
        self._trash_for = timedelta(days=max(settings.trash_days, 1))
        self._clock = clock

    async def snapshot(self, maildrop_id: int) -> Maildrop:
        """The inbox at this moment, oldest first, at most `max_listed` messages of it."""
        return await self._database.read(partial(_snapshot, maildrop_id, self._max_listed))

    async def remove(self, maildrop_id: int, uids: Sequence[UniqueId]) -> int:
        """Moves messages to the trash, all in one transaction; returns how many went.

        One that another session moved meanwhile counts as gone and is no error.
        """
        expires = microseconds(self._clock() + self._trash_for)
        return await self._writer.run(partial(_remove, maildrop_id, uids, expires), frees=True)

    async def full(self, maildrop_id: int) -> bool:
        """Whether the maildrop has reached its quota: new mail for it is put off at RCPT."""
        if not self._quota_octets:
            return False
        return (await self.usage(maildrop_id)).octets >= self._quota_octets

    async def usage(self, maildrop_id: int) -> Usage:
        """The counters that every change of the maildrop keeps."""
        return await self._database.read(partial(_usage, maildrop_id))


def _snapshot(maildrop_id: int, max_listed: int, connection: Connection) -> Maildrop:
    message = schema.message.c
    rows = connection.execute(
        select(message.uid, message.size)
        .where(message.maildrop_id == maildrop_id, message.folder == Folder.INBOX)
        .order_by(message.uid)
        .limit(max_listed)
    )
    return Maildrop(maildrop_id, tuple(MaildropEntry(UniqueId(uid), size) for uid, size in rows))


def _remove(
    maildrop_id: int, uids: Sequence[UniqueId], expires: int, connection: Connection
) -> int:
    drops = schema.maildrop.c
    message = schema.message.c
    modseq = (
        connection.execute(select(drops.modseq).where(drops.id == maildrop_id)).scalar_one() + 1
    )
    messages = octets = 0
    for start in range(0, len(uids), SLICE):
        keys = [uid.octets for uid in uids[start : start + SLICE]]
        chosen = (
            message.maildrop_id == maildrop_id,
            message.folder == Folder.INBOX,
            message.uid.in_(keys),
        )
        count, size = connection.execute(
            select(func.count(), func.coalesce(func.sum(message.size), 0)).where(*chosen)
        ).one()
        messages += count
        octets += size
        connection.execute(
            update(schema.message)
            .where(*chosen)
            .values(folder=Folder.TRASH, expires_at=expires, modseq=modseq)
        )
    if messages:
        connection.execute(
            update(schema.maildrop)
            .where(drops.id == maildrop_id)
            .values(
                modseq=modseq,
                messages=drops.messages - messages,
                octets=drops.octets - octets,
                trash_octets=drops.trash_octets + octets,
            )
        )
    return messages


def _usage(maildrop_id: int, connection: Connection) -> Usage:
    drops = schema.maildrop.c
    row = connection.execute(
        select(drops.messages, drops.octets, drops.trash_octets).where(drops.id == maildrop_id)
    ).one()
    return Usage(row.messages, row.octets, row.trash_octets)
