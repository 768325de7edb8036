"""Keep, open, read, list and move messages."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, func, select

from mail.errors import MessageDamaged, NoSuchMessage, StorageFull
from mail.ident import UniqueId
from store import schema
from store.bodies import CHUNK_OCTETS, pack, unpack
from store.database import Database
from store.delivery import (
    DOTTED,
    REPEAT,
    STARRED,
    UNREAD,
    Copy,
    Delivery,
    NewMessage,
    deliver,
)
from store.moves import SHOWN, Move
from store.records import Folder, Message, StoreSettings, microseconds, moment
from store.space import Space
from store.writer import Writer

__all__ = ["Copy", "Messages", "NewMessage", "OpenMessage"]

PACKERS = 2
PACKED_AT_ONCE = 16 * 1024  # octets: below, a thread costs more than the work
# Longer than any session: who lists a purged message can still read it.
PURGED_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class OpenMessage:
    """A message whose first octets have been read; `blocks` gives all of them in order."""

    message: Message
    _first: bytes
    _octets: int
    _sha256: bytes
    _database: Database

    async def blocks(self) -> AsyncIterator[bytes]:
        """Prefix and body. Raises MessageDamaged before the last octets would be given."""
        yield self.message.prefix
        digest = hashlib.sha256()
        block = self._first
        left = self._octets
        n = 0
        while left:
            digest.update(block)
            left -= len(block)
            if not left and digest.digest() != self._sha256:
                raise MessageDamaged("a stored message is damaged", uid=str(self.message.uid))
            yield block
            n += 1
            if left:
                block = await self._database.read(
                    partial(_chunk, self.message.home, self.message.uid, n, left)
                )


class Messages:
    def __init__(
        self,
        database: Database,
        writer: Writer,
        settings: StoreSettings,
        *,
        space: Space | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._writer = writer
        self._settings = settings
        self._space = space
        self._clock = clock
        # Told of each maildrop after new mail has been kept in it.
        self.fresh: Callable[[int], None] | None = None
        self._packers = ThreadPoolExecutor(PACKERS, thread_name_prefix="store-pack")

    async def append(self, new: NewMessage) -> int:
        """Keeps one message in each maildrop, all or none; returns its size in the first.

        Raises OverQuota, StorageBusy, StorageFull, OutcomeUnknown.
        """
        if self._space and self._space.short():
            raise StorageFull("no room for more mail at the moment")
        if len(new.content) <= PACKED_AT_ONCE:
            packed = pack(new.content)
        else:
            loop = asyncio.get_running_loop()
            packed = await loop.run_in_executor(self._packers, pack, new.content)
        delivery = Delivery.of(
            new, packed, quota_octets=self._settings.quota_octets, now=self._clock()
        )
        size: int = await self._writer.run_with_others(
            deliver, delivery, octets=packed.stored, landed=delivery.landed
        )
        if self.fresh:
            for copy in new.copies:
                self.fresh(copy.maildrop_id)
        return size

    async def move(self, maildrop_id: int, uids: Sequence[UniqueId], to: Folder) -> int:
        """Moves messages, whatever folder they are in; returns how many were moved.

        Into the trash they go with an expiry; out of it, under the same uid, they come back.
        Purged ones are gone for everybody who does not list them already.
        Raises OverQuota (out of the trash), StorageBusy.
        """
        move = Move(
            maildrop_id,
            uids,
            to,
            come_from=SHOWN,
            expires=expiry(to, self._settings, self._clock()),
            quota_octets=self._settings.quota_octets,
            long_lists=self._database.backend.long_lists,
        )
        return await self._writer.run(move.run, frees=to in (Folder.TRASH, Folder.PURGED))

    async def open(self, maildrop_id: int, uid: UniqueId) -> OpenMessage:
        """Raises NoSuchMessage, MessageDamaged, StorageBusy."""
        return await self._database.read(partial(_open, self._database, maildrop_id, uid))

    async def read(self, maildrop_id: int, uid: UniqueId) -> Message:
        """The record without its body. Raises NoSuchMessage."""
        return await self._database.read(partial(_read, maildrop_id, uid))

    async def page(
        self, maildrop_id: int, folder: Folder, *, before: UniqueId | None = None, limit: int = 50
    ) -> list[Message]:
        """At most `limit` messages, newest first, that arrived before `before`."""
        return await self._database.read(partial(_page, maildrop_id, folder, before, limit))

    async def kept_since(self, moment: datetime) -> int:
        """How many messages, counted per maildrop, arrived since then."""
        return await self._database.read(partial(_kept_since, moment))

    def close(self) -> None:
        self._packers.shutdown()


def expiry(to: Folder, settings: StoreSettings, now: datetime) -> int | None:
    """TS: when what is moved there goes for good; None: never."""
    if to is Folder.TRASH:
        # At least a day: a session lasts half a day and must be able to read what it lists.
        return microseconds(now + timedelta(days=max(settings.trash_days, 1)))
    if to is Folder.PURGED:
        return microseconds(now + PURGED_FOR)
    return None


def record(row: Any) -> Message:
    """A row of `message` as a record."""
    return Message(
        uid=UniqueId(row.uid),
        maildrop_id=row.maildrop_id,
        home=row.home,
        modseq=row.modseq,
        prefix=row.prefix,
        size=row.size,
        header_size=row.header_size,
        dotted=bool(row.traits & DOTTED),
        repeat=bool(row.traits & REPEAT),
        folder=Folder(row.folder),
        expires_at=None if row.expires_at is None else moment(row.expires_at),
        unread=bool(row.flags & UNREAD),
        starred=bool(row.flags & STARRED),
        recipient=row.rcpt,
        mail_from=row.mail_from,
        from_text=row.from_text,
        to_text=row.to_text,
        subject=row.subject,
        sent_at=None if row.sent_at is None else moment(row.sent_at),
        message_id=row.message_id,
    )


def _row(maildrop_id: int, uid: UniqueId, connection: Connection) -> Any:
    message = schema.message
    row = connection.execute(
        select(message).where(message.c.maildrop_id == maildrop_id, message.c.uid == uid.octets)
    ).one_or_none()
    if row is None:
        raise NoSuchMessage("no such message", uid=str(uid))
    return row


def _read(maildrop_id: int, uid: UniqueId, connection: Connection) -> Message:
    return record(_row(maildrop_id, uid, connection))


def _open(
    database: Database, maildrop_id: int, uid: UniqueId, connection: Connection
) -> OpenMessage:
    message = record(_row(maildrop_id, uid, connection))
    body = schema.body.c
    octets, sha256 = connection.execute(
        select(body.octets, body.sha256).where(body.home == message.home, body.uid == uid.octets)
    ).one()
    first = _chunk(message.home, uid, 0, octets, connection) if octets else b""
    return OpenMessage(message, first, octets, sha256, database)


def _chunk(home: int, uid: UniqueId, n: int, left: int, connection: Connection) -> bytes:
    chunk = schema.body_chunk.c
    frame = connection.execute(
        select(chunk.frame).where(chunk.home == home, chunk.uid == uid.octets, chunk.n == n)
    ).scalar_one_or_none()
    if frame is None:
        raise MessageDamaged("a stored message is damaged", uid=str(uid), chunk=n)
    return unpack(frame, min(left, CHUNK_OCTETS))


def _page(
    maildrop_id: int,
    folder: Folder,
    before: UniqueId | None,
    limit: int,
    connection: Connection,
) -> list[Message]:
    message = schema.message
    query = (
        select(message)
        .where(message.c.maildrop_id == maildrop_id, message.c.folder == folder)
        .order_by(message.c.uid.desc())
        .limit(limit)
    )
    if before:
        query = query.where(message.c.uid < before.octets)
    return [record(row) for row in connection.execute(query)]


def _kept_since(since: datetime, connection: Connection) -> int:
    message = schema.message.c
    # A range of keys in each maildrop: nothing older is looked at.
    first = UniqueId.first_of(since).octets
    count: int = connection.execute(
        select(func.count())
        .select_from(schema.maildrop)
        .join(
            schema.message,
            and_(message.maildrop_id == schema.maildrop.c.id, message.uid >= first),
        )
    ).scalar_one()
    return count
