"""Append, open, read, list and move messages."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, insert, select, update

from mail.address import Address
from mail.errors import MessageDamaged, NoSuchMessage, OverQuota
from mail.facts import Facts
from mail.ident import UniqueId
from mail.lines import measure
from store import schema
from store.bodies import CHUNK_OCTETS, Packed, pack, unpack
from store.database import Database
from store.records import Folder, Message, StoreSettings, microseconds, moment
from store.writer import Writer

UNREAD, STARRED = 1, 2  # message.flags
DOTTED = 1  # message.traits
PACKERS = 2
# At RCPT a full maildrop is refused; what is on its way then may go over by a tenth.
QUOTA_SLACK = 1.1


@dataclass(frozen=True, slots=True)
class Copy:
    """One maildrop that a message goes to, with the trace lines of its own."""

    maildrop_id: int
    recipient: Address
    prefix: bytes


@dataclass(frozen=True, slots=True)
class NewMessage:
    """An arrival as the store takes it: canonical content, one copy for each maildrop."""

    uid: UniqueId
    mail_from: Address | None
    content: bytes
    facts: Facts
    copies: Sequence[Copy]


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
    def __init__(self, database: Database, writer: Writer, settings: StoreSettings) -> None:
        self._database = database
        self._writer = writer
        self._quota_octets = settings.quota_octets
        self._packers = ThreadPoolExecutor(PACKERS, thread_name_prefix="store-pack")

    async def append(self, new: NewMessage) -> int:
        """Keeps one message in each maildrop, all or none; returns its size in the first.

        Raises OverQuota, StorageBusy, StorageFull.
        """
        loop = asyncio.get_running_loop()
        packed = await loop.run_in_executor(self._packers, pack, new.content)
        work = partial(_insert, new, packed, self._quota_octets)
        return await self._writer.run(work, octets=packed.stored)

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


def _insert(new: NewMessage, packed: Packed, quota_octets: int, connection: Connection) -> int:
    """The delivery transaction. Room is looked at before anything is written."""
    drops = schema.maildrop.c
    measures = {copy.maildrop_id: measure(copy.prefix, new.content) for copy in new.copies}
    counters = {
        row.id: row
        for row in connection.execute(
            select(drops.id, drops.modseq, drops.octets)
            .where(drops.id.in_(measures))
            .order_by(drops.id)
        )
    }
    for maildrop_id, measured in measures.items():
        octets = counters[maildrop_id].octets + measured.size
        if quota_octets and octets > quota_octets * QUOTA_SLACK:
            raise OverQuota("mailbox full", maildrop=maildrop_id)

    home = min(measures)
    uid = new.uid.octets
    connection.execute(
        insert(schema.body).values(
            home=home,
            uid=uid,
            refs=len(measures),
            octets=packed.octets,
            stored=packed.stored,
            sha256=packed.sha256,
        )
    )
    if packed.frames:
        connection.execute(
            insert(schema.body_chunk),
            [
                {"home": home, "uid": uid, "n": n, "frame": frame}
                for n, frame in enumerate(packed.frames)
            ],
        )
    facts = new.facts
    rows: list[dict[str, Any]] = []
    for copy in new.copies:
        measured = measures[copy.maildrop_id]
        modseq = counters[copy.maildrop_id].modseq + 1
        rows.append(
            {
                "maildrop_id": copy.maildrop_id,
                "uid": uid,
                "home": home,
                "born": modseq,
                "modseq": modseq,
                "folder": Folder.INBOX,
                "flags": UNREAD,
                "traits": DOTTED if measured.dotted else 0,
                "size": measured.size,
                "header_size": measured.header_size,
                "prefix": copy.prefix,
                "rcpt": str(copy.recipient),
                "mail_from": str(new.mail_from or ""),
                "from_text": facts.from_text,
                "to_text": facts.to_text,
                "subject": facts.subject,
                "sent_at": microseconds(facts.sent_at) if facts.sent_at else None,
                "message_id": facts.message_id,
            }
        )
    connection.execute(insert(schema.message), rows)
    connection.execute(
        update(schema.maildrop)
        .where(drops.id == bindparam("drop"))
        .values(
            modseq=drops.modseq + 1,
            messages=drops.messages + 1,
            octets=drops.octets + bindparam("size"),
        ),
        [
            {"drop": maildrop_id, "size": measured.size}
            for maildrop_id, measured in measures.items()
        ],
    )
    return measures[new.copies[0].maildrop_id].size


def record(row: Any) -> Message:
    """A row of `message` as a record."""
    return Message(
        uid=UniqueId(row.uid),
        maildrop_id=row.maildrop_id,
        home=row.home,
        prefix=row.prefix,
        size=row.size,
        header_size=row.header_size,
        dotted=bool(row.traits & DOTTED),
        folder=Folder(row.folder),
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
