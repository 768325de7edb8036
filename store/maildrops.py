"""The POP3 view of a maildrop: snapshot at login, removal at UPDATE (RFC 1939 sections 4 to 6)."""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import Connection, select

from mail.ident import UniqueId
from store import schema
from store.database import Database
from store.messages import expiry
from store.moves import Move
from store.records import (
    Entries,
    Folder,
    Maildrop,
    StoreSettings,
    Usage,
    microseconds,
)
from store.writer import Writer

CACHED_MESSAGES = 2_000_000  # of all snapshots kept, about 28 octets each
ROWS = 5000  # read at a time


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
        self._settings = settings
        self._clock = clock
        self._kept: OrderedDict[int, Maildrop] = OrderedDict()
        self._kept_messages = 0
        self._lock = threading.Lock()  # snapshots are read in several threads

    async def snapshot(self, maildrop_id: int) -> Maildrop:
        """The inbox at this moment, oldest first, at most `max_listed` messages of it.

        Sessions that begin with no change in between share one.
        """
        return await self._database.read(partial(self._snapshot, maildrop_id))

    async def remove(self, maildrop_id: int, uids: Sequence[UniqueId]) -> int:
        """Moves messages from the inbox to where deleted ones go; returns how many went.

        One that another session moved meanwhile counts as gone and is no error.
        """
        move = Move(
            maildrop_id,
            uids,
            self._settings.on_delete,
            come_from=[Folder.INBOX],
            expires=expiry(self._settings.on_delete, self._settings, self._clock()),
            quota_octets=self._settings.quota_octets,
            long_lists=self._database.backend.long_lists,
        )
        return await self._writer.run(move.run, frees=True)

    async def full_since(self, maildrop_id: int) -> timedelta | None:
        """For how long the maildrop has been at its quota; None while there is room."""
        drop = await self._database.read(partial(_counters, maildrop_id))
        quota = self._settings.quota_octets if drop.quota_octets is None else drop.quota_octets
        over = bool(quota) and drop.octets >= quota
        if drop.quota_messages is not None:
            over = over or drop.messages >= drop.quota_messages
        if not over:
            return None
        since = drop.full_since
        now = microseconds(self._clock())
        return timedelta(microseconds=now - since if since is not None else 0)

    async def usage(self, maildrop_id: int) -> Usage:
        """The counters that every change of the maildrop keeps."""
        drop = await self._database.read(partial(_counters, maildrop_id))
        return Usage(drop.messages, drop.octets, drop.trash_octets)

    def _snapshot(self, maildrop_id: int, connection: Connection) -> Maildrop:
        drops = schema.maildrop.c
        modseq = connection.execute(
            select(drops.modseq).where(drops.id == maildrop_id)
        ).scalar_one()
        with self._lock:
            kept = self._kept.get(maildrop_id)
            if kept and kept.modseq == modseq:
                self._kept.move_to_end(maildrop_id)
                return kept
        entries = _read_entries(maildrop_id, self._settings.max_listed, connection)
        found = Maildrop(maildrop_id, modseq, entries)
        self._keep(found)
        return found

    def _keep(self, found: Maildrop) -> None:
        with self._lock:
            old = self._kept.pop(found.maildrop_id, None)
            if old:
                self._kept_messages -= len(old.entries)
            self._kept[found.maildrop_id] = found
            self._kept_messages += len(found.entries)
            while self._kept_messages > CACHED_MESSAGES:
                _, gone = self._kept.popitem(last=False)
                self._kept_messages -= len(gone.entries)


def _read_entries(maildrop_id: int, max_listed: int, connection: Connection) -> Entries:
    message = schema.message.c
    rows = connection.execute(
        select(message.uid, message.size, message.born)
        .where(message.maildrop_id == maildrop_id, message.folder == Folder.INBOX)
        .order_by(message.uid)
        .limit(max_listed)
    )
    uids, sizes, born = bytearray(), array("I"), array("Q")
    while part := list(islice(rows, ROWS)):
        some_uids, some_sizes, some_born = zip(*part, strict=True)
        uids += b"".join(some_uids)
        sizes.extend(some_sizes)
        born.extend(some_born)
    return Entries(bytes(uids), sizes, born)


def _counters(maildrop_id: int, connection: Connection) -> Any:
    drops = schema.maildrop
    return connection.execute(select(drops).where(drops.c.id == maildrop_id)).one()
