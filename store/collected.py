"""What collectors have taken, and the transaction that takes a message: with the provider's name
for it, so that it is never fetched again, nor removed at the provider before it is kept here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from mail.errors import NotFound, OverQuota, StorageFull
from store import schema
from store.bodies import pack
from store.database import Database
from store.delivery import (
    ADD_BODY,
    ADD_CHUNK,
    ADD_MESSAGE,
    BY_SMTP,
    COLLECTED,
    COUNT,
    Counters,
    Delivery,
    NewMessage,
    body_row,
    lock_maildrops,
    message_row,
)
from store.leases import Lease, hold
from store.records import Collector, Folder, StoreSettings, microseconds, moment
from store.space import Space
from store.writer import Writer

KEYS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Taken:
    """What is remembered of a message that a provider has or had.

    `kept`: it is or was here; else it could not be kept, and stays at the provider.
    """

    at: datetime
    kept: bool
    missed_at: datetime | None  # since when the provider lists it no more


@dataclass(frozen=True, slots=True)
class Notes:
    """What a listing has shown, by keys."""

    missed: Sequence[bytes] = ()
    back: Sequence[bytes] = ()
    forget: Sequence[bytes] = ()


class Collected:
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
        # Told of the maildrop after new mail has been kept in it.
        self.fresh: Callable[[int], None] | None = None

    async def memory(self, source_id: int) -> dict[bytes, Taken]:
        """By key, which is a hash of the provider's name for the message."""
        return await self._database.read(partial(_memory, source_id))

    async def keep(self, lease: Lease, source: Collector, key: bytes, new: NewMessage) -> bool:
        """Keeps it and remembers `key`, both or neither. False: it was here, which is marked.

        Raises OverQuota, StorageBusy, StorageFull, LeaseLost, NotFound for a collector that was
        removed or leads to another account now.
        """
        delivery = await asyncio.to_thread(self._ready, new)
        kept: bool = await self._writer.run(
            partial(self._keep, lease, source, key, delivery), octets=delivery.packed.stored
        )
        if kept and self.fresh:
            self.fresh(source.maildrop_id)
        return kept

    async def unfit(self, lease: Lease, source: Collector, key: bytes) -> None:
        """Remembers what cannot be kept, so that it is not fetched again. Raises as `keep`."""
        row = {"uid": None, "seen_at": microseconds(self._clock()), "missed_at": None}
        await self._writer.run(partial(_unfit, lease, source, key, row))

    async def note(self, lease: Lease, source: Collector, notes: Notes) -> None:
        """Raises as `keep`."""
        if notes.missed or notes.back or notes.forget:
            now = microseconds(self._clock())
            await self._writer.run(partial(_note, lease, source, notes, now))

    def _ready(self, new: NewMessage) -> Delivery:
        return Delivery.of(
            new, pack(new.content), quota_octets=self._settings.quota_octets, now=self._clock()
        )

    def _keep(
        self,
        lease: Lease,
        source: Collector,
        key: bytes,
        delivery: Delivery,
        connection: Connection,
    ) -> bool:
        _hold(lease, source, connection)
        if self._space and self._space.short():
            raise StorageFull("no room for more mail at the moment")
        drop_id = source.maildrop_id
        row = lock_maildrops(connection, [drop_id]).get(drop_id)
        if row is None:
            raise NotFound("there is no such maildrop")
        before = _taken(source.id, key, connection)
        if before is not None:
            return bool(before == delivery.new.uid.octets)  # an earlier try whose answer was lost
        drop = Counters.of(row)
        uid = _twin(drop_id, delivery.fingerprint, connection)
        if uid is None:
            _add(delivery, drop, connection)
        else:
            drop.modseq += 1
            _mark(drop_id, uid, drop.modseq, connection)
        COUNT.run_many(connection, [drop.values()])
        connection.execute(
            insert(schema.source_seen).values(
                source_id=source.id,
                uidl_hash=key,
                uid=uid or delivery.new.uid.octets,
                seen_at=microseconds(delivery.now),
            )
        )
        return uid is None


_SEEN, _M = schema.source_seen.c, schema.message.c


def _hold(lease: Lease, source: Collector, connection: Connection) -> None:
    """The role is ours, and the collector is the one we started with."""
    hold(connection, lease)
    columns = schema.source.c
    row = connection.execute(
        select(columns.host, columns.username).where(columns.id == source.id).with_for_update()
    ).one_or_none()
    if row is None or (row.host, row.username) != (source.host, source.username):
        raise NotFound("the collector was changed or removed")


def _taken(source_id: int, key: bytes, connection: Connection) -> bytes | None:
    """The uid; b"" where there is none."""
    row = connection.execute(
        select(_SEEN.uid).where(_SEEN.source_id == source_id, _SEEN.uidl_hash == key)
    ).one_or_none()
    return None if row is None else row.uid or b""


def _twin(drop_id: int, fingerprint: bytes, connection: Connection) -> bytes | None:
    """The same message, whatever way it came; the first that is still shown."""
    found: bytes | None = connection.execute(
        select(_M.uid)
        .where(
            _M.maildrop_id == drop_id,
            _M.fingerprint == fingerprint,
            _M.folder != Folder.PURGED.value,
        )
        .order_by(_M.uid)
        .limit(1)
    ).scalar_one_or_none()
    return found


def _add(delivery: Delivery, drop: Counters, connection: Connection) -> None:
    if not drop.has_room(delivery.size, delivery.quota_octets):
        raise OverQuota("mailbox full", maildrop=drop.id)
    drop.take(delivery.size, delivery)
    row = message_row(delivery, delivery.new.copies[0], drop.modseq, repeats=False)
    ADD_BODY.run_many(connection, [body_row(delivery)])
    chunks = [
        delivery.key | {"n": n, "frame": frame} for n, frame in enumerate(delivery.packed.frames)
    ]
    if chunks:
        ADD_CHUNK.run_many(connection, chunks)
    ADD_MESSAGE.run_many(connection, [row | {"traits": row["traits"] & ~BY_SMTP | COLLECTED}])


def _mark(drop_id: int, uid: bytes, modseq: int, connection: Connection) -> None:
    connection.execute(
        update(schema.message)
        .where(_M.maildrop_id == drop_id, _M.uid == uid)
        .values(traits=_M.traits.op("|")(COLLECTED), modseq=modseq)
    )


def _memory(source_id: int, connection: Connection) -> dict[bytes, Taken]:
    columns = (_SEEN.uidl_hash, _SEEN.uid, _SEEN.seen_at, _SEEN.missed_at)
    rows: Any = connection.execute(select(*columns).where(_SEEN.source_id == source_id))
    return {
        bytes(key): Taken(moment(at), uid is not None, None if missed is None else moment(missed))
        for key, uid, at, missed in rows
    }


def _unfit(
    lease: Lease, source: Collector, key: bytes, row: dict[str, Any], connection: Connection
) -> None:
    _hold(lease, source, connection)
    if _taken(source.id, key, connection) is None:
        connection.execute(
            insert(schema.source_seen).values(source_id=source.id, uidl_hash=key, **row)
        )


def _note(lease: Lease, source: Collector, notes: Notes, now: int, connection: Connection) -> None:
    _hold(lease, source, connection)
    changes = ((notes.missed, now), (notes.back, None))
    for keys, missed_at in changes:
        for some in _slices(keys):
            rows = update(schema.source_seen).where(
                _SEEN.source_id == source.id, _SEEN.uidl_hash.in_(some)
            )
            connection.execute(rows.values(missed_at=missed_at))
    for some in _slices(notes.forget):
        connection.execute(
            delete(schema.source_seen).where(
                _SEEN.source_id == source.id, _SEEN.uidl_hash.in_(some)
            )
        )


def _slices(keys: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [keys[at : at + KEYS_AT_ONCE] for at in range(0, len(keys), KEYS_AT_ONCE)]
