"""Keep, open, read, list and move messages."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, select

from mail.errors import Failure, MessageDamaged, NoSuchMessage, StorageFull
from mail.ident import UniqueId
from store import schema
from store.bodies import CHUNK_OCTETS, pack, unpack
from store.changes import Change, Wanted
from store.database import Database
from store.delivery import (
    BY_SMTP,
    COLLECTED,
    DOTTED,
    IMPORTED,
    REPEAT,
    STARRED,
    SUSPECTED,
    UNREAD,
    Copy,
    Delivery,
    NewMessage,
    deliver,
)
from store.moves import SHOWN, Move
from store.prepared import Prepared
from store.records import (
    Authentication,
    Folder,
    Message,
    Proof,
    StoreSettings,
    microseconds,
    moment,
)
from store.space import Space
from store.writer import Writer

__all__ = ["Copy", "Messages", "NewMessage", "OpenMessage"]

PACKERS = 2
PACKED_AT_ONCE = 16 * 1024  # octets: below, a thread costs more than the work
# Longer than any session: who lists a purged message can still read it.
PURGED_FOR = timedelta(hours=24)


@dataclass(slots=True)
class OpenMessage:
    """A message whose first octets have been read; `blocks` gives all of them in order."""

    message: Message
    _first: bytes
    _octets: int
    _sha256: bytes
    _database: Database

    def whole(self) -> bytes:
        """Prefix and body of a message of one block, which has been proved already."""
        assert len(self._first) == self._octets
        return self.message.prefix + self._first

    async def blocks(self) -> AsyncIterator[bytes]:
        """Prefix and body. Raises MessageDamaged before the last octets would be given."""
        yield self.message.prefix
        first, self._first = self._first, b""  # not kept while the others are sent
        if len(first) == self._octets:
            if first:
                yield first
            return
        digest = hashlib.sha256()
        left = self._octets
        n = 0
        while left:
            block = first or await self._block(n, left)
            digest.update(block)
            left -= len(block)
            if not left and digest.digest() != self._sha256:
                raise MessageDamaged("a stored message is damaged", uid=str(self.message.uid))
            first = b""
            yield block
            n += 1

    async def _block(self, n: int, left: int) -> bytes:
        message = self.message
        return await self._database.read(partial(_chunk, message.home, message.uid, n, left))


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
        if len(new.content) <= PACKED_AT_ONCE:
            delivery = self._ready(new)
        else:
            loop = asyncio.get_running_loop()
            delivery = await loop.run_in_executor(self._packers, self._ready, new)
        size: int = await self._writer.run_with_others(
            self._deliver, delivery, octets=delivery.packed.stored, landed=delivery.landed
        )
        if self.fresh:
            for copy in new.copies:
                self.fresh(copy.maildrop_id)
        return size

    def _ready(self, new: NewMessage) -> Delivery:
        """All that is worked out before the queue: it reads every octet some times."""
        return Delivery.of(
            new, pack(new.content), quota_octets=self._settings.quota_octets, now=self._clock()
        )

    def _deliver(
        self, connection: Connection, deliveries: Sequence[Delivery]
    ) -> list[int | Failure]:
        """In the writer's thread: the disk is asked once for all that are kept together."""
        if self._space and self._space.short():
            return [StorageFull("no room for more mail at the moment") for _ in deliveries]
        return deliver(connection, deliveries)

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
        return await self._database.read(partial(open_message, self._database, maildrop_id, uid))

    async def open_some(
        self, maildrop_id: int, uids: Sequence[UniqueId]
    ) -> dict[UniqueId, OpenMessage]:
        """Those of a few that are there and not damaged, by one read. Raises StorageBusy."""
        return await self._database.read(partial(open_some, self._database, maildrop_id, uids))

    async def read(self, maildrop_id: int, uid: UniqueId) -> Message:
        """The record without its body. Raises NoSuchMessage."""
        return await self._database.read(partial(_read, maildrop_id, uid))

    async def change(
        self, maildrop_id: int, uid: UniqueId, wanted: Wanted, *, version: int | None = None
    ) -> None:
        """Changes one message, if it is still of that `version` (its modseq) or None is given.

        What is as wanted already is left alone, whatever its version is.
        Raises NoSuchMessage, OtherVersion, OverQuota (out of the trash), StorageBusy.
        """
        to = wanted.folder
        change = Change(
            maildrop_id,
            uid,
            wanted,
            version=version,
            expires=None if to is None else expiry(to, self._settings, self._clock()),
            quota_octets=self._settings.quota_octets,
        )
        await self._writer.run(change.run, frees=to in (Folder.TRASH, Folder.PURGED))

    async def kept_since(self, moment: datetime) -> int:
        """How many messages, counted per maildrop, arrived since then."""
        return await self._database.read(partial(_kept_since, moment))

    async def waiting(self, maildrop_id: int) -> tuple[int, int]:
        """How many in the inbox are unread, and how many are held."""
        return await self._database.read(partial(_waiting, maildrop_id))

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


_ORIGIN = {"smtp": BY_SMTP, "collector": COLLECTED, "import": IMPORTED}
ORIGINS = {
    traits: tuple(name for name, bit in _ORIGIN.items() if traits & bit)
    for traits in range(sum(_ORIGIN.values()) + 1)
}

_M, _B, _C = schema.message.c, schema.body.c, schema.body_chunk.c
# fmt: off
COLUMNS = (
    _M.uid, _M.maildrop_id, _M.home, _M.modseq, _M.prefix, _M.size, _M.header_size, _M.traits,
    _M.folder, _M.expires_at, _M.flags, _M.rcpt, _M.mail_from, _M.from_text, _M.to_text,
    _M.subject, _M.sent_at, _M.message_id, _M.proof, _M.author_domain, _M.reasons,
)
# fmt: on


def record(row: Sequence[Any]) -> Message:
    """The COLUMNS of a row of `message` as a record."""
    # fmt: off
    (
        uid, maildrop_id, home, modseq, prefix, size, header_size, traits,
        folder, expires_at, flags, recipient, mail_from, from_text, to_text,
        subject, sent_at, message_id, proof, author_domain, reasons,
    ) = row
    # fmt: on
    return Message(
        uid=UniqueId(uid),
        maildrop_id=maildrop_id,
        home=home,
        modseq=modseq,
        prefix=prefix,
        size=size,
        header_size=header_size,
        dotted=bool(traits & DOTTED),
        repeat=bool(traits & REPEAT),
        origin=ORIGINS[traits & (BY_SMTP | COLLECTED | IMPORTED)],
        folder=Folder(folder),
        expires_at=None if expires_at is None else moment(expires_at),
        unread=bool(flags & UNREAD),
        starred=bool(flags & STARRED),
        recipient=recipient,
        mail_from=mail_from,
        from_text=from_text,
        to_text=to_text,
        subject=subject,
        sent_at=None if sent_at is None else moment(sent_at),
        message_id=message_id,
        authentication=Authentication(
            proof=Proof(proof or 0),
            domain=author_domain or "",
            suspected=bool(traits & SUSPECTED),
            reasons=reasons or "",
        ),
    )


_BY_KEY = (_M.maildrop_id == bindparam("maildrop"), _M.uid == bindparam("uid"))
READ = Prepared(select(*COLUMNS).where(*_BY_KEY))
# The message, its body and the first octets of it in one.
_WITH_BODY = (
    select(*COLUMNS, _B.octets, _B.sha256, _C.frame)
    .outerjoin(schema.body, and_(_B.home == _M.home, _B.uid == _M.uid))
    .outerjoin(schema.body_chunk, and_(_C.home == _M.home, _C.uid == _M.uid, _C.n == 0))
)
OPEN = Prepared(_WITH_BODY.where(*_BY_KEY))
CHUNK = Prepared(
    select(_C.frame).where(
        _C.home == bindparam("home"), _C.uid == bindparam("uid"), _C.n == bindparam("n")
    )
)


def _read(maildrop_id: int, uid: UniqueId, connection: Connection) -> Message:
    row = READ.run(connection, {"maildrop": maildrop_id, "uid": uid.octets}).one_or_none()
    if row is None:
        raise NoSuchMessage("no such message", uid=str(uid))
    return record(row)


def open_message(
    database: Database, maildrop_id: int, uid: UniqueId, connection: Connection
) -> OpenMessage:
    row = OPEN.run(connection, {"maildrop": maildrop_id, "uid": uid.octets}).one_or_none()
    if row is None:
        raise NoSuchMessage("no such message", uid=str(uid))
    return _opened(database, row)


def open_some(
    database: Database, maildrop_id: int, uids: Sequence[UniqueId], connection: Connection
) -> dict[UniqueId, OpenMessage]:
    key: dict[str, object] = {f"uid{n}": uid.octets for n, uid in enumerate(uids)}
    found = {}
    for row in _open_so_many(len(uids)).run(connection, key | {"maildrop": maildrop_id}):
        with suppress(MessageDamaged):
            opened = _opened(database, row)
            found[opened.message.uid] = opened
    return found


@cache
def _open_so_many(count: int) -> Prepared:
    uids = [bindparam(f"uid{n}", type_=_M.uid.type) for n in range(count)]
    return Prepared(_WITH_BODY.where(_BY_KEY[0], _M.uid.in_(uids)))


def _opened(database: Database, row: Sequence[Any]) -> OpenMessage:
    """Raises MessageDamaged."""
    *columns, octets, sha256, frame = row
    message = record(columns)
    if octets is None:
        raise MessageDamaged("a stored message is damaged", uid=str(message.uid))
    first = _unpacked(frame, message.uid, 0, octets) if octets else b""
    # Here and not where it is sent: this is a thread that reads, and no client waits for another.
    if len(first) == octets and hashlib.sha256(first).digest() != sha256:
        raise MessageDamaged("a stored message is damaged", uid=str(message.uid))
    return OpenMessage(message, first, octets, sha256, database)


def _chunk(home: int, uid: UniqueId, n: int, left: int, connection: Connection) -> bytes:
    key = {"home": home, "uid": uid.octets, "n": n}
    return _unpacked(CHUNK.run(connection, key).scalar_one_or_none(), uid, n, left)


def _unpacked(frame: bytes | None, uid: UniqueId, n: int, left: int) -> bytes:
    if frame is None:
        raise MessageDamaged("a stored message is damaged", uid=str(uid), chunk=n)
    return unpack(frame, min(left, CHUNK_OCTETS))


def _waiting(maildrop_id: int, connection: Connection) -> tuple[int, int]:
    message = schema.message.c
    count = select(func.count()).where(message.maildrop_id == maildrop_id)
    unread = count.where(message.folder == Folder.INBOX, message.flags.bitwise_and(UNREAD) != 0)
    held = count.where(message.folder == Folder.HELD)
    return connection.execute(unread).scalar_one(), connection.execute(held).scalar_one()


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
