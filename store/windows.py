"""What a POP3 session lists of a maildrop with more messages than `max_listed`, per credential.

First what the credential has not retrieved yet, oldest first; what room is left goes to the newest
of what it has. A retrieved message that is left out once stays out: its `born` is not above the
`floor` from then on, because a client takes a UIDL that comes back for new mail. A message that was
not retrieved is offered until it is.

Old and new go by `born`, the order of the commits: mail brought in later with an earlier date must
not push out what was listed before. The list itself is in the order of arrival.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, and_, bindparam, insert, select, update

from mail.ident import UniqueId
from store import schema
from store.database import Database
from store.delivery import lock_maildrops
from store.maildrops import Maildrops
from store.records import Entries, StoreSettings, microseconds
from store.writer import Writer

RETRIEVED = 0  # device_mark.kind
CHUNK = 8192  # numbers in one bitmap
CUTS = 64  # windows kept: to choose one anew takes a third of a second for a million messages


class Marks:
    """A set of `born` numbers, as bitmaps of CHUNK numbers each."""

    __slots__ = ("chunks",)

    def __init__(self, chunks: dict[int, int] | None = None) -> None:
        self.chunks = chunks or {}

    def add(self, born: int) -> None:
        chunk, bit = divmod(born, CHUNK)
        self.chunks[chunk] = self.chunks.get(chunk, 0) | 1 << bit

    def among(self, born: Iterable[int]) -> list[bool]:
        """For each number whether it is in the set."""
        # As text, the lowest bit first: shifting a long number for each of 100,000 takes longer.
        digits = {chunk: f"{bits:0{CHUNK}b}"[::-1] for chunk, bits in self.chunks.items()}
        none = "0" * CHUNK
        return [digits.get(number // CHUNK, none)[number % CHUNK] == "1" for number in born]


@dataclass(slots=True)
class Window:
    """What one session lists, and what its client has retrieved in it so far."""

    maildrop_id: int
    credential_id: int
    entries: Entries
    retrieved: Marks = field(default_factory=Marks)

    def note(self, uid: UniqueId) -> None:
        """The client has got this message whole."""
        uids = self.entries.uids
        place = bisect_left(
            range(len(self.entries)), uid.octets, key=lambda at: uids[16 * at : 16 * at + 16]
        )
        self.retrieved.add(self.entries.born[place])


@dataclass(frozen=True, slots=True)
class _Cut:
    """A window that was cut, and all that it goes by."""

    modseq: int
    floor: int
    marks: dict[int, int]
    entries: Entries


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
        self._cuts: OrderedDict[tuple[int, int], _Cut] = OrderedDict()
        self._lock = threading.Lock()  # windows are opened in several threads

    async def open(self, maildrop_id: int, credential_id: int) -> Window:
        """What a session that begins now lists. Raises StorageBusy, StorageFull."""
        window, floor = await self._database.read(partial(self._open, maildrop_id, credential_id))
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

    def _open(
        self, maildrop_id: int, credential_id: int, connection: Connection
    ) -> tuple[Window, int | None]:
        """The window, and the floor if it has to rise."""
        maildrop = self._maildrops.read(maildrop_id, connection)
        entries = maildrop.entries
        window = Window(maildrop_id, credential_id, entries)
        floor = _floor(window, connection) or 0
        if not floor and len(entries) <= self._max_listed:
            return window, None  # the usual case: marks change nothing
        retrieved = Marks(_bitmaps(window, 0, maildrop.modseq // CHUNK, connection))
        cut = self._kept(_Cut(maildrop.modseq, floor, retrieved.chunks, entries), window)
        if cut is None:
            places, raised = choose(entries.born, retrieved, floor=floor, most=self._max_listed)
            cut = _Cut(maildrop.modseq, raised, retrieved.chunks, _chosen(entries, places))
            self._keep(cut, window)
        window.entries = cut.entries
        return window, cut.floor if cut.floor > floor else None

    def _kept(self, now: _Cut, window: Window) -> _Cut | None:
        """The last window of this credential, if nothing has changed that it goes by."""
        with self._lock:
            kept = self._cuts.get((window.maildrop_id, window.credential_id))
        if kept and (kept.modseq, kept.floor, kept.marks) == (now.modseq, now.floor, now.marks):
            return kept
        return None

    def _keep(self, cut: _Cut, window: Window) -> None:
        with self._lock:
            self._cuts[window.maildrop_id, window.credential_id] = cut
            self._cuts.move_to_end((window.maildrop_id, window.credential_id))
            if len(self._cuts) > CUTS:
                self._cuts.popitem(last=False)


def choose(
    born: Sequence[int], retrieved: Marks, *, floor: int, most: int
) -> tuple[list[int], int]:
    """The places of the messages to list, ascending, and the floor from now on.

    `born` has the number of each message, in the order of arrival.
    """
    new: list[int] = []
    known: list[int] = []
    for place, (number, marked) in enumerate(zip(born, retrieved.among(born), strict=True)):
        if not marked:
            new.append(place)
        elif number > floor:
            known.append(place)
    new.sort(key=born.__getitem__)
    known.sort(key=born.__getitem__)
    left_out = max(len(known) - max(most - len(new), 0), 0)
    if left_out:
        floor = born[known[left_out - 1]]
    return sorted(new[:most] + known[left_out:]), floor


def _chosen(entries: Entries, places: Sequence[int]) -> Entries:
    if len(places) == len(entries):
        return entries
    uids = b"".join(entries.uids[16 * place : 16 * place + 16] for place in places)
    return Entries(
        uids,
        array("I", map(entries.sizes.__getitem__, places)),
        array("Q", map(entries.born.__getitem__, places)),
    )


# Read by every login: building it each time takes longer than running it.
_FLOOR = select(schema.device.c.floor).where(
    schema.device.c.maildrop_id == bindparam("drop"),
    schema.device.c.credential_id == bindparam("credential"),
)


def _floor(window: Window, connection: Connection) -> int | None:
    """None as long as the window was never cut."""
    key = {"drop": window.maildrop_id, "credential": window.credential_id}
    floor: int | None = connection.execute(_FLOOR, key).scalar_one_or_none()
    return floor


def _raise_floor(window: Window, floor: int, now: int, connection: Connection) -> None:
    if not _hold(window, connection):
        return
    device = schema.device.c
    values = {"floor": floor, "used_at": now}
    found = _floor(window, connection)
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


def _bitmaps(window: Window, first: int, last: int, connection: Connection) -> dict[int, int]:
    mark = schema.device_mark.c
    rows = connection.execute(
        select(mark.chunk, mark.bits).where(
            mark.maildrop_id == window.maildrop_id,
            mark.credential_id == window.credential_id,
            mark.kind == RETRIEVED,
            mark.chunk.between(first, last),
        )
    )
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
    there = _bitmaps(window, min(chunks), max(chunks), connection)
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
