"""Mail brought in from files, and written out to files.

An imported message's uid ends in 80 bits worked out from its octets, so an import can be repeated:
what is there already, in whatever folder, is left as it is. Bits and fingerprint together find it,
the time in the uid does not count: that may come from a file's date, which copying changes.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, delete, func, insert, select

from mail import facts
from mail.address import Address, DomainName
from mail.arrival import arrived
from mail.errors import MessageDamaged, OverQuota, StorageBusy, StorageFull
from mail.ident import UniqueId
from store import schema
from store.bodies import CHUNK_OCTETS, pack, unpack
from store.database import Database
from store.delivery import (
    BY_SMTP,
    COUNT,
    IMPORTED,
    STARRED,
    UNREAD,
    Copy,
    Counters,
    Delivery,
    NewMessage,
    body_row,
    lock_maildrops,
    message_row,
)
from store.mailfiles import Label, Record, Sink, Source
from store.messages import COLUMNS
from store.messages import record as message_record
from store.records import Folder, Message, StoreSettings
from store.space import Space
from store.writer import BATCH_JOBS, Work, Writer

T = TypeVar("T")

BATCH_OCTETS = 4 * 1024 * 1024
AHEAD = 4  # batches that are packed while another is written
AHEAD_OCTETS = 16 * 1024 * 1024
PACKERS = 2
BUSY_TRIES, BUSY_PAUSE_S = 60, 1.0
PAGE = 64  # messages read at a time
LISTED = 1000  # unfit messages that are named; all are counted

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Step = Callable[[int, int], None]
"""Told how much is done, and of how much. It ends the work by raising."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an import goes. `name`: imports of one name know each other's messages."""

    maildrop_id: int
    folder: Folder
    name: str


@dataclass(slots=True)
class Imported:
    taken: int = 0
    there: int = 0  # had been imported before
    unfit: int = 0
    listed: list[tuple[str, str]] = field(default_factory=list)  # place and reason


@dataclass(slots=True)
class Exported:
    written: int = 0
    damaged: list[str] = field(default_factory=list)  # uids of what could not be read


@dataclass(frozen=True, slots=True)
class _Found:
    """A record with the end of its uid."""

    record: Record
    bits: bytes


@dataclass(frozen=True, slots=True)
class _Batch:
    found: list[_Found]
    unfit: list[Record]
    octets: int
    read: int


@dataclass(frozen=True, slots=True)
class _Incoming:
    """A message ready to be written."""

    delivery: Delivery
    flags: int


class Transfers:
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

    async def bring_in(self, target: Target, source: Source, *, step: Step) -> Imported:
        """Keeps what a source holds. What was kept before a failure stays; a repeat goes on.

        Raises OverQuota, StorageBusy, StorageFull, NotMail, OSError, and what `step` raises.
        """
        recipient = await self._database.read(partial(_first_address, target.maildrop_id))
        loop = asyncio.get_running_loop()
        imported = Imported()
        ahead: deque[tuple[_Batch, Future[list[_Incoming]]]] = deque()
        with ExitStack() as threads:
            reader = threads.enter_context(ThreadPoolExecutor(1, "import-read"))
            packers = threads.enter_context(ThreadPoolExecutor(PACKERS, "import-pack"))
            batches = _batches(source.records, target.name)
            while True:
                batch = await loop.run_in_executor(reader, next, batches, None)
                if batch:
                    ready = packers.submit(self._pack, batch.found, target, recipient)
                    ahead.append((batch, ready))
                while ahead and (
                    not batch
                    or len(ahead) > AHEAD
                    or sum(waiting.octets for waiting, _ in ahead) > AHEAD_OCTETS
                ):
                    oldest, ready = ahead.popleft()
                    incoming = await asyncio.wrap_future(ready)
                    await self._write(incoming, target, imported)
                    imported.unfit += len(oldest.unfit)
                    room = LISTED - len(imported.listed)
                    imported.listed += [(bad.place, bad.unfit) for bad in oldest.unfit[:room]]
                    step(oldest.read, source.total)
                if not batch:
                    return imported

    def _pack(self, batch: Sequence[_Found], target: Target, recipient: Address) -> list[_Incoming]:
        now = self._clock()
        incoming = []
        for found in batch:
            record = found.record
            new = NewMessage(
                uid=UniqueId(_milliseconds(record, now) + found.bits),
                mail_from=record.sender,
                content=record.content,
                facts=facts.read(record.content),
                copies=[Copy(target.maildrop_id, recipient, b"")],
            )
            delivery = Delivery.of(
                new, pack(record.content), quota_octets=self._settings.quota_octets, now=now
            )
            flags = UNREAD * record.unread | STARRED * record.starred
            incoming.append(_Incoming(delivery, flags))
        return incoming

    async def _write(self, incoming: list[_Incoming], target: Target, imported: Imported) -> None:
        if not incoming:
            return
        if self._space and self._space.short():
            raise StorageFull("no room for more mail at the moment")
        octets = sum(each.delivery.packed.stored for each in incoming)
        long_lists = self._database.backend.long_lists
        work = partial(_keep, target, incoming, long_lists)
        taken, there, full = await self._run_patiently(work, octets)
        imported.taken += taken
        imported.there += there
        if full:
            raise OverQuota("mailbox full", maildrop=target.maildrop_id)

    async def _run_patiently(self, work: Work[T], octets: int) -> T:
        """Arriving mail goes first."""
        for _ in range(BUSY_TRIES):
            try:
                return await self._writer.run(work, octets=octets)
            except StorageBusy:
                await asyncio.sleep(BUSY_PAUSE_S)
        return await self._writer.run(work, octets=octets)

    async def write_out(
        self, maildrop_id: int, folders: Sequence[Folder], sink: Sink, *, step: Step
    ) -> Exported:
        """Writes what is in these folders, oldest first. Raises StorageBusy, OSError."""
        return await asyncio.to_thread(self._write_out, maildrop_id, folders, sink, step)

    def _write_out(
        self, maildrop_id: int, folders: Sequence[Folder], sink: Sink, step: Step
    ) -> Exported:
        read = self._database.read_now
        total = read(partial(_count, maildrop_id, folders))
        exported = Exported()
        last: UniqueId | None = None
        while page := read(partial(_page, maildrop_id, folders, last)):
            for opened in page:
                self._write_one(opened, sink, exported)
            last = page[-1].message.uid
            step(exported.written + len(exported.damaged), total)
        return exported

    def _write_one(self, opened: _Opened, sink: Sink, exported: Exported) -> None:
        message = opened.message
        label = Label(
            uid=str(message.uid),
            at=message.arrived,
            sender=message.mail_from,
            unread=message.unread,
            starred=message.starred,
        )
        sink.begin(label)
        try:
            for block in self._blocks(opened):
                sink.write(block)
        except MessageDamaged:
            sink.drop()
            exported.damaged.append(label.uid)
        else:
            sink.end()
            exported.written += 1

    def _blocks(self, opened: _Opened) -> Iterator[bytes]:
        """Prefix and body. Raises MessageDamaged, perhaps after the last of them."""
        yield opened.message.prefix
        digest = hashlib.sha256()
        left, n, frame = opened.octets, 0, opened.frame
        while left:
            if n:
                frame = self._database.read_now(partial(_frame, opened.message, n))
            block = unpack(frame, min(left, CHUNK_OCTETS))
            digest.update(block)
            yield block
            left -= len(block)
            n += 1
        if digest.digest() != opened.sha256:
            raise MessageDamaged("a stored message is damaged", uid=str(opened.message.uid))


def _batches(records: Iterator[Record], name: str) -> Iterator[_Batch]:
    """Runs in one thread, from the first record to the last: equal messages are numbered."""
    seen: dict[bytes, int] = {}
    found: list[_Found] = []
    unfit: list[Record] = []
    octets = 0
    read = 0
    for record in records:
        if found and octets + len(record.content) > BATCH_OCTETS:
            yield _Batch(found, unfit, octets, read)
            found, unfit, octets = [], [], 0
        read = record.read
        if record.unfit:
            unfit.append(record)
        else:
            sha256 = hashlib.sha256(record.content).digest()
            number = seen[sha256[:12]] = seen.get(sha256[:12], -1) + 1
            text = sha256 + number.to_bytes(8, "big")
            bits = hmac.digest(name.encode(), text, "sha256")[:10]
            found.append(_Found(record, bits))
            octets += len(record.content)
        if len(found) + len(unfit) >= BATCH_JOBS:
            yield _Batch(found, unfit, octets, read)
            found, unfit, octets = [], [], 0
    if found or unfit:
        yield _Batch(found, unfit, octets, read)


def _milliseconds(record: Record, now: datetime) -> bytes:
    """Of the arrival, as a uid begins; never in the future."""
    at = arrived(record.content)
    if at is None or not _EPOCH <= at <= now:
        at = min(max(record.at, _EPOCH), now)
    return UniqueId.first_of(at).octets[:6]


def _keep(
    target: Target,
    incoming: Sequence[_Incoming],
    long_lists: str | None,
    connection: Connection,
) -> tuple[int, int, bool]:
    """How many were taken and how many were there; whether the maildrop is full."""
    counters = lock_maildrops(connection, [target.maildrop_id])
    drop = Counters.of(counters[target.maildrop_id])
    if long_lists:
        connection.exec_driver_sql(long_lists)
    there = _there(connection, target.maildrop_id, incoming)
    new: list[_Incoming] = []
    rows: list[dict[str, Any]] = []
    full = False
    for each in incoming:
        delivery = each.delivery
        if delivery.new.uid.octets[6:] in there:
            continue
        if not drop.has_room(delivery.size, delivery.quota_octets):
            full = True
            break
        drop.take(delivery.size, delivery)
        row = message_row(delivery, delivery.new.copies[0], drop.modseq, repeats=False)
        traits = row["traits"] & ~BY_SMTP | IMPORTED
        rows.append(row | {"folder": target.folder, "flags": each.flags, "traits": traits})
        new.append(each)
    if new:
        _sweep(connection, target.maildrop_id, [each.delivery.new.uid for each in new])
        connection.execute(insert(schema.body), [body_row(each.delivery) for each in new])
        chunks = [
            each.delivery.key | {"n": n, "frame": frame}
            for each in new
            for n, frame in enumerate(each.delivery.packed.frames)
        ]
        connection.execute(insert(schema.body_chunk), chunks)
        connection.execute(insert(schema.message), rows)
        COUNT.run_many(connection, [drop.values()])
    return len(new), len(incoming) - len(new) if not full else 0, full


def _there(connection: Connection, maildrop_id: int, incoming: Sequence[_Incoming]) -> set[bytes]:
    """The ends of the uids that messages with the same fingerprints have."""
    message = schema.message.c
    prints = {each.delivery.fingerprint for each in incoming}
    rows = connection.execute(
        select(message.uid).where(
            message.maildrop_id == maildrop_id, message.fingerprint.in_(prints)
        )
    )
    return {bytes(uid)[6:] for (uid,) in rows}


def _sweep(connection: Connection, home: int, uids: Sequence[UniqueId]) -> None:
    """A message that was removed for good is brought in again: its old body may still wait."""
    body = schema.body.c
    waiting = connection.execute(
        select(body.uid).where(
            body.home == home, body.uid.in_([uid.octets for uid in uids]), body.refs == 0
        )
    ).scalars()
    if keys := [bytes(uid) for uid in waiting]:
        for table in (schema.body_chunk, schema.digest, schema.body_gone, schema.body):
            connection.execute(delete(table).where(table.c.home == home, table.c.uid.in_(keys)))


def _first_address(maildrop_id: int, connection: Connection) -> Address:
    """What is shown as the address of imported mail; the bare login of who has none."""
    address, domain, account = schema.address.c, schema.domain.c, schema.account.c
    row = connection.execute(
        select(address.written, domain.name)
        .join(schema.domain, domain.id == address.domain_id)
        .where(address.maildrop_id == maildrop_id)
        .order_by(address.created_at, address.id)
        .limit(1)
    ).first()
    if row:
        return Address(row[0], DomainName(row[1]))
    login: str = connection.execute(
        select(account.login)
        .join(schema.maildrop, schema.maildrop.c.account_id == account.id)
        .where(schema.maildrop.c.id == maildrop_id)
    ).scalar_one()
    return Address(login, DomainName(""))


@dataclass(frozen=True, slots=True)
class _Opened:
    """A message and the first frame of its body."""

    message: Message
    octets: int
    sha256: bytes
    frame: bytes


def _count(maildrop_id: int, folders: Sequence[Folder], connection: Connection) -> int:
    message = schema.message.c
    total: int = connection.execute(
        select(func.count()).where(message.maildrop_id == maildrop_id, message.folder.in_(folders))
    ).scalar_one()
    return total


def _page(
    maildrop_id: int,
    folders: Sequence[Folder],
    after: UniqueId | None,
    connection: Connection,
) -> list[_Opened]:
    message, body, chunk = schema.message.c, schema.body.c, schema.body_chunk.c
    query = (
        select(*COLUMNS, body.octets, body.sha256, chunk.frame)
        .outerjoin(schema.body, and_(body.home == message.home, body.uid == message.uid))
        .outerjoin(
            schema.body_chunk,
            and_(chunk.home == message.home, chunk.uid == message.uid, chunk.n == 0),
        )
        .where(message.maildrop_id == maildrop_id, message.folder.in_(folders))
        .order_by(message.uid)
        .limit(PAGE)
    )
    if after:
        query = query.where(message.uid > after.octets)
    return [
        # Without its body row a message is damaged: no octets have this hash.
        _Opened(message_record(columns), octets or 0, sha256 or b"", frame or b"")
        for *columns, octets, sha256, frame in connection.execute(query)
    ]


def _frame(message: Message, n: int, connection: Connection) -> bytes:
    chunk = schema.body_chunk.c
    frame: bytes | None = connection.execute(
        select(chunk.frame).where(
            chunk.home == message.home, chunk.uid == message.uid.octets, chunk.n == n
        )
    ).scalar_one_or_none()
    return frame or b""
