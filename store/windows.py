"""What a POP3 session lists of a maildrop with more messages than `max_listed`, per credential.

`store.cut` decides. Here are its marks and floors in the database, and what was decided last.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, and_, bindparam, insert, select, update

from mail.ident import UniqueId
from store import schema
from store.cut import CHUNK, Cut, Marks, cut_again, cut_anew
from store.database import Database
from store.delivery import lock_maildrops
from store.maildrops import Changes, Maildrops, changes, numbers
from store.prepared import Prepared
from store.records import Entries, StoreSettings, microseconds
from store.writer import Writer

Key = tuple[int, int]  # maildrop, credential

RETRIEVED = 0  # device_mark.kind
WHOLE = 10_000  # inboxes of which it is remembered that they are listed whole
CUTS = 64  # windows kept: what is to be shown is then told by the changes


@dataclass(slots=True)
class Window:
    """What one session lists, and what its client has retrieved in it so far."""

    maildrop_id: int
    credential_id: int
    entries: Entries
    retrieved: Marks = field(default_factory=Marks)

    @property
    def key(self) -> Key:
        return self.maildrop_id, self.credential_id

    def note(self, uid: UniqueId) -> None:
        """The client has got this message whole."""
        self.retrieved.add(self.entries.born[self.place(uid)])

    def place(self, uid: UniqueId) -> int:
        """Of one that is listed, from 0 on."""
        return bisect_left(range(len(self.entries)), uid.octets, key=self.entries.uid)


class Windows:
    def __init__(
        self,
        database: Database,
        writer: Writer,
        settings: StoreSettings,
        maildrops: Maildrops,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._writer = writer
        self._max_listed = settings.max_listed
        self._maildrops = maildrops
        self._clock = clock
        self._cuts: OrderedDict[Key, Cut] = OrderedDict()
        self._lock = threading.Lock()  # windows are opened in several threads
        # Of whole inboxes the maildrop's count of changes and its modseq, both before any that came
        # while it was read; and nothing but a change of the maildrop can cut them.
        self._whole: OrderedDict[Key, tuple[int, int]] = OrderedDict()

    async def open(self, maildrop_id: int, credential_id: int) -> Window:
        """What a session that begins now lists. Raises StorageBusy, StorageFull."""
        key = maildrop_id, credential_id
        count = self._database.changed.count(maildrop_id)
        if unchanged := self._unchanged(key, count):
            return unchanged
        window, floor, whole_at = await self._database.read(partial(self._open, *key))
        if whole_at is not None and self._database.alone:
            self._whole[key] = count, whole_at
            self._whole.move_to_end(key)
            if len(self._whole) > WHOLE:
                self._whole.popitem(last=False)
        if floor is not None:
            # Before anything is listed: what is left out now must stay out.
            work = partial(_raise_floor, window, floor, microseconds(self._clock()))
            await self._writer.run(work, frees=True)
        return window

    async def update(self, window: Window, removed: Sequence[UniqueId] = ()) -> int:
        """The end of a session, in one transaction; returns how many messages went.

        `removed` goes where deleted messages go, and what was retrieved is marked. Marks that are
        lost cost one more offer of their messages.
        """
        marks = window.retrieved.chunks
        if not marks and not removed:
            return 0
        removal = self._maildrops.removal(window.maildrop_id, removed) if removed else None

        def work(connection: Connection) -> int:
            if marks:
                _write_marks(window, connection)
            return removal.run(connection) if removal else 0

        count = await self._writer.run(work, frees=True)
        window.retrieved = Marks()
        return count

    def _unchanged(self, key: Key, count: int) -> Window | None:
        """The whole inbox as it was listed last, if nothing has touched the maildrop since."""
        before = self._whole.get(key)
        kept = self._maildrops.kept(key[0])
        if before is None or kept is None or before != (count, kept.modseq):
            return None
        self._whole.move_to_end(key)
        return Window(*key, kept.entries)

    def _open(
        self, maildrop_id: int, credential_id: int, connection: Connection
    ) -> tuple[Window, int | None, int | None]:
        """The window; the floor if it has to rise; at which modseq it is the whole inbox, if so."""
        key = maildrop_id, credential_id
        floor = _floor(key, connection) or 0
        cut = self._again(key, floor, connection)
        if cut is None:
            maildrop = self._maildrops.read(maildrop_id, connection)
            entries = maildrop.entries
            if not floor and len(entries) <= self._max_listed:
                # The usual case: marks change nothing.
                return Window(*key, entries), None, maildrop.modseq
            marks = Marks(_bitmaps(key, 0, maildrop.modseq // CHUNK, connection))
            cut = cut_anew(maildrop.modseq, entries, marks, floor=floor, most=self._max_listed)
        self._keep(key, cut)
        return Window(*key, cut.entries), cut.floor if cut.floor > floor else None, None

    def _again(self, key: Key, floor: int, connection: Connection) -> Cut | None:
        """What is shown now, if what was shown last tells."""
        with self._lock:
            before = self._cuts.get(key)
        if before is None or before.floor != floor:
            return None
        now = numbers(key[0], connection)
        changed: Changes | None = {}
        if now.modseq != before.modseq:
            changed = changes(key[0], before.modseq, now, connection)
        if changed is None:
            return None
        born = [before.oldest, before.newest, *(each.born for each in changed.values() if each)]
        marks = Marks(_bitmaps(key, min(born) // CHUNK, max(born) // CHUNK, connection))
        return cut_again(before, now.modseq, changed, marks, most=self._max_listed)

    def _keep(self, key: Key, cut: Cut) -> None:
        with self._lock:
            self._cuts[key] = cut
            self._cuts.move_to_end(key)
            if len(self._cuts) > CUTS:
                self._cuts.popitem(last=False)


# Read by every login.
_FLOOR = Prepared(
    select(schema.device.c.floor).where(
        schema.device.c.maildrop_id == bindparam("drop"),
        schema.device.c.credential_id == bindparam("credential"),
    )
)
_BITMAPS = Prepared(
    select(schema.device_mark.c.chunk, schema.device_mark.c.bits).where(
        schema.device_mark.c.maildrop_id == bindparam("drop"),
        schema.device_mark.c.credential_id == bindparam("credential"),
        schema.device_mark.c.kind == bindparam("kind"),
        schema.device_mark.c.chunk.between(bindparam("first"), bindparam("last")),
    )
)


def _floor(key: Key, connection: Connection) -> int | None:
    """None as long as the window was never cut."""
    maildrop_id, credential_id = key
    row = _FLOOR.run(connection, {"drop": maildrop_id, "credential": credential_id}).first()
    return row[0] if row else None


def _raise_floor(window: Window, floor: int, now: int, connection: Connection) -> None:
    if not _hold(window, connection):
        return
    device = schema.device.c
    values = {"floor": floor, "used_at": now}
    found = _floor(window.key, connection)
    if found is None:
        key = {"maildrop_id": window.maildrop_id, "credential_id": window.credential_id}
        connection.execute(insert(schema.device).values(start=0, **key, **values))
    elif found < floor:
        connection.execute(
            update(schema.device)
            .where(
                device.maildrop_id == window.maildrop_id,
                device.credential_id == window.credential_id,
            )
            .values(**values)
        )


def _bitmaps(key: Key, first: int, last: int, connection: Connection) -> dict[int, int]:
    maildrop_id, credential_id = key
    values = {
        "drop": maildrop_id,
        "credential": credential_id,
        "kind": RETRIEVED,
        "first": first,
        "last": last,
    }
    rows = _BITMAPS.run(connection, values)
    return {chunk: int.from_bytes(bits, "little") for chunk, bits in rows}


def _write_marks(window: Window, connection: Connection) -> None:
    """Adds to the marks that are there: another session may have written some meanwhile."""
    if not _hold(window, connection):
        return
    mark = schema.device_mark.c
    key = {
        "maildrop_id": window.maildrop_id,
        "credential_id": window.credential_id,
        "kind": RETRIEVED,
    }
    chunks = window.retrieved.chunks
    there = _bitmaps(window.key, min(chunks), max(chunks), connection)
    for chunk, bits in chunks.items():
        both = bits | there.get(chunk, 0)
        octets = both.to_bytes((both.bit_length() + 7) // 8, "little")
        if chunk not in there:
            row = key | {"chunk": chunk, "bits": octets}
            connection.execute(insert(schema.device_mark).values(row))
        elif both != there[chunk]:
            connection.execute(
                update(schema.device_mark)
                .where(and_(*(mark[name] == value for name, value in key.items())))
                .where(mark.chunk == chunk)
                .values(bits=octets)
            )


def _hold(window: Window, connection: Connection) -> bool:
    """Locks the maildrop. False when it or the credential has gone: then nothing is kept for it."""
    if not lock_maildrops(connection, [window.maildrop_id]):
        return False
    credential = schema.credential.c
    found = connection.execute(
        select(credential.id).where(credential.id == window.credential_id)
    ).first()
    return found is not None
