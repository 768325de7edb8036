"""The POP3 view of a maildrop: snapshot at login, removal at UPDATE (RFC 1939 sections 4 to 6)."""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from mail.ident import UniqueId
from store import schema
from store.database import Database
from store.messages import expiry
from store.moves import Move
from store.prepared import Prepared
from store.records import (
    Entries,
    Folder,
    Maildrop,
    OnSpam,
    StoreSettings,
    Usage,
    microseconds,
)
from store.writer import Writer

CACHED_MESSAGES = 2_000_000  # of all snapshots kept, about 28 octets each; 75 once they are listed
ROWS = 500  # read at a time: more of them leave the caches of the processor
CHANGES = 5000  # so many, and the whole inbox is read instead
ROOM_S = 1.0  # for so long a maildrop that had room is not asked again: its deliveries are counted
ROOMS = 100_000  # of which that is remembered


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
        self._room_until: dict[int, float] = {}

    def removal(self, maildrop_id: int, uids: Sequence[UniqueId]) -> Move:
        """Messages go from the inbox to where deleted ones go.

        One that another session moved meanwhile counts as gone and is no error.
        """
        return Move(
            maildrop_id,
            uids,
            self._settings.on_delete,
            come_from=[Folder.INBOX],
            expires=expiry(self._settings.on_delete, self._settings, self._clock()),
            quota_octets=self._settings.quota_octets,
            long_lists=self._database.backend.long_lists,
        )

    async def full_since(self, maildrop_id: int) -> timedelta | None:
        """For how long the maildrop has been at its quota; None while there is room.

        Or was, a moment ago: what is on its way then finds out when it is kept.
        """
        if self._room_until.get(maildrop_id, 0) > time.monotonic():
            return None
        drop = await self._database.read(partial(_counters, maildrop_id))
        quota = self._settings.quota_octets if drop.quota_octets is None else drop.quota_octets
        over = bool(quota) and drop.octets >= quota
        if drop.quota_messages is not None:
            over = over or drop.messages >= drop.quota_messages
        if not over:
            if len(self._room_until) >= ROOMS:
                self._room_until.clear()
            self._room_until[maildrop_id] = time.monotonic() + ROOM_S
            return None
        since = drop.full_since
        now = microseconds(self._clock())
        return timedelta(microseconds=now - since if since is not None else 0)

    async def usage(self, maildrop_id: int) -> Usage:
        """The counters that every change of the maildrop keeps."""
        drop = await self._database.read(partial(_counters, maildrop_id))
        return Usage(drop.messages, drop.octets, drop.trash_octets)

    async def on_spam(self, maildrop_ids: Collection[int]) -> dict[int, OnSpam]:
        """What each of them wants done with what may be spam."""
        return await self._database.read(partial(_on_spam, maildrop_ids))

    async def set_on_spam(self, maildrop_id: int, wish: OnSpam) -> None:
        drops = schema.maildrop
        change = update(drops).where(drops.c.id == maildrop_id).values(on_spam=wish.value)
        await self._writer.run(lambda connection: connection.execute(change).rowcount)

    async def modseq(self, maildrop_id: int) -> int:
        """The number of its last change."""
        drop = await self._database.read(partial(_counters, maildrop_id))
        return int(drop.modseq)

    def read(self, maildrop_id: int, connection: Connection) -> Maildrop:
        """The inbox at this moment, oldest first.

        Sessions that begin with no change in between share one; with some changes in between only
        those are read.
        """
        at = numbers(maildrop_id, connection)
        with self._lock:
            kept = self._kept.get(maildrop_id)
            if kept and kept.modseq == at.modseq:
                self._kept.move_to_end(maildrop_id)
                return kept
        changed = changes(maildrop_id, kept.modseq, at, connection) if kept else None
        if kept and changed is not None:
            entries = merged(kept.entries, changed)
        else:
            entries = _read_entries(maildrop_id, connection)
        found = Maildrop(maildrop_id, at.modseq, entries)
        self._keep(found)
        return found

    def kept(self, maildrop_id: int) -> Maildrop | None:
        """The last snapshot, of whatever moment."""
        with self._lock:
            return self._kept.get(maildrop_id)

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


_D, _M, _T = schema.maildrop.c, schema.message.c, schema.tombstone.c
_NUMBERS = Prepared(select(_D.modseq, _D.tombstone_floor).where(_D.id == bindparam("drop")))
_ENTRIES = Prepared(
    select(_M.uid, _M.size, _M.born)
    .where(_M.maildrop_id == bindparam("drop"), _M.folder == Folder.INBOX.value)
    .order_by(_M.uid)
)
_CHANGED = Prepared(
    select(_M.uid, _M.folder, _M.size, _M.born)
    .where(_M.maildrop_id == bindparam("drop"), _M.modseq > bindparam("after"))
    .order_by(_M.modseq, _M.uid)
    .limit(bindparam("limit"))
)
_REMOVED = Prepared(
    select(_T.uid)
    .where(_T.maildrop_id == bindparam("drop"), _T.modseq > bindparam("after"))
    .order_by(_T.modseq, _T.uid)
    .limit(bindparam("limit"))
)


def _read_entries(maildrop_id: int, connection: Connection) -> Entries:
    rows = _ENTRIES.run(connection, {"drop": maildrop_id})
    uids, sizes, born = bytearray(), array("I"), array("Q")
    while part := rows.fetchmany(ROWS):
        some_uids, some_sizes, some_born = zip(*part, strict=True)
        uids += b"".join(some_uids)
        sizes.extend(some_sizes)
        born.extend(some_born)
    return Entries(bytes(uids), sizes, born)


class Numbers(NamedTuple):
    """How far a maildrop has come; what was removed up to `forgotten` is not known any more."""

    modseq: int
    forgotten: int


def numbers(maildrop_id: int, connection: Connection) -> Numbers:
    return Numbers(*_NUMBERS.run(connection, {"drop": maildrop_id}).one())


class Change(NamedTuple):
    """A message that is in the inbox."""

    size: int
    born: int


Changes = Mapping[bytes, Change | None]  # by uid; None: it is not in the inbox


def changes(maildrop_id: int, after: int, now: Numbers, connection: Connection) -> Changes | None:
    """Of the inbox since it was at `after`; None where that is much, or not known any more."""
    if not now.forgotten <= after < now.modseq:
        return None
    since = {"drop": maildrop_id, "after": after, "limit": CHANGES}
    removed = _REMOVED.run(connection, since).all()
    changed = _CHANGED.run(connection, since).all()
    if max(len(removed), len(changed)) == CHANGES:
        return None
    found: dict[bytes, Change | None] = {uid: None for (uid,) in removed}
    # One that was removed may have been restored under the same uid.
    for uid, folder, size, born in changed:
        found[uid] = Change(size, born) if folder == Folder.INBOX else None
    return found


def merged(old: Entries, now: Changes) -> Entries:
    """The inbox after these changes."""
    uids, sizes, born = bytearray(), array("I"), array("Q")
    octets = old.octets
    at = 0
    for uid, new in sorted(now.items()):
        place = bisect_left(range(len(old)), uid, key=old.uid)
        part = old[at:place]
        uids += part.uids
        sizes += part.sizes
        born += part.born
        if new:
            uids += uid
            sizes.append(new.size)
            born.append(new.born)
            octets += new.size
        at = place
        if place < len(old) and old.uid(place) == uid:
            octets -= old.sizes[place]
            at += 1
    rest = old[at:]
    uids += rest.uids
    sizes += rest.sizes
    born += rest.born
    return Entries(bytes(uids), sizes, born, octets)


def _counters(maildrop_id: int, connection: Connection) -> Any:
    drops = schema.maildrop
    return connection.execute(select(drops).where(drops.c.id == maildrop_id)).one()


def _on_spam(maildrop_ids: Collection[int], connection: Connection) -> dict[int, OnSpam]:
    drops = schema.maildrop.c
    rows = connection.execute(select(drops.id, drops.on_spam).where(drops.id.in_(maildrop_ids)))
    return {row.id: OnSpam(row.on_spam or 0) for row in rows}
