"""What goes by itself: expired messages, closed accounts, old tombstones, unused bodies, sessions.

One process has the role at a time. Each step (`removal`) is one small transaction that may be
repeated, so that mail is never held up and a crash between two steps loses nothing but the time
until the next run.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy import Connection, delete, select

from mail.errors import Failure
from mail.ident import UniqueId
from store import removal, schema
from store.database import Database
from store.engines import Backend
from store.leases import Lease, Leases, hold
from store.messages import PURGED_FOR
from store.moves import SHOWN, Move
from store.records import Folder, StoreSettings, microseconds
from store.space import Space
from store.writer import Work, Writer

T = TypeVar("T")

EVERY_S = 60
CLOCK_JUMP = timedelta(hours=1)
SESSION = timedelta(hours=12)  # of POP3 at most: that long what it lists must be there
IN_VAIN = timedelta(hours=1)
ROUNDING = 1024 * 1024  # only whole pages are given back
DROPS_A_RUN = 1000
SESSIONS_AT_ONCE = 500
FREE_PAGES_KEPT = 1024  # room that the next messages take without growing the file
PAGES_AT_ONCE = 500
SLICES_A_RUN = 100

log = structlog.get_logger()


def since_boot() -> float:
    """Seconds that no setting of the clock changes, sleep included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Calendar:
    """The wall clock `clock`, held against `elapsed`: seconds that nobody can set."""

    def __init__(
        self, clock: Callable[[], datetime], elapsed: Callable[[], float] = since_boot
    ) -> None:
        self._clock = clock
        self._elapsed = elapsed
        self._last = (clock(), elapsed())
        self._steady_from = elapsed()

    def now(self) -> int:
        """TS."""
        return microseconds(self._clock())

    def is_steady(self) -> bool:
        """Whether expiries can be trusted: not for one grace after somebody set the clock."""
        wall, passed = self._clock(), self._elapsed()
        last_wall, last_passed = self._last
        self._last = (wall, passed)
        jump = (wall - last_wall).total_seconds() - (passed - last_passed)
        if abs(jump) > CLOCK_JUMP.total_seconds():
            self._steady_from = passed + removal.BODY_GRACE.total_seconds()
            log.warning("upkeep.clock_was_set", by_s=round(jump))
        return passed >= self._steady_from


class Upkeep:
    """Run by `start` until `stop`, or once."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        leases: Leases,
        settings: StoreSettings,
        *,
        calendar: Calendar,
    ) -> None:
        self._space = writer.space
        self._database = database
        self._writer = writer
        self._leases = leases
        self._settings = settings
        self._calendar = calendar
        self._steps = 0
        self._in_vain_until = 0  # TS
        # Held by what needs the bodies of rows that may go meanwhile, and while they go early.
        self.bodies = asyncio.Lock()
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Runs now and every minute, until `stop`."""
        self._serving = asyncio.create_task(self._serve(), name="upkeep")

    async def stop(self) -> None:
        """The step in hand is finished by the writer; the next start goes on from there."""
        if self._serving:
            self._serving.cancel()
            await asyncio.wait([self._serving])

    async def run_once(self) -> None:
        """Everything that is due, if no other process has the role. Raises StorageBusy."""
        steady = self._calendar.is_steady()
        lease = await self._leases.take("upkeep")
        if lease is None or not steady:
            return
        now, steps = self._calendar.now(), self._steps
        for account_id, drop in await self._database.read(partial(removal.closed, now)):
            await self._close(lease, account_id, drop, now)
        for drop in await self._database.read(partial(_due, now)):
            await self._look_after(lease, drop, now)
        await self._sweep(lease, now)
        await self._make_room(lease, now)
        await self._end_sessions(lease, now)
        if self._steps > steps:
            await self._give_back()

    async def _serve(self) -> None:
        while True:
            try:
                await self.run_once()
            except Failure as failure:
                log.warning("upkeep.put_off", why=failure.public, **failure.facts)
            except Exception:  # the top of a run: the next one may succeed
                log.exception("upkeep.fault")
            # Several processes do not ask at the same moment.
            await asyncio.sleep(EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311 - jitter

    async def _run(self, lease: Lease, work: Work[T], *, octets: int = 0) -> T:
        """One transaction of the role."""

        def run(connection: Connection) -> T:
            hold(connection, lease)
            return work(connection)

        self._steps += 1
        return await self._writer.run(run, octets=octets, frees=True)

    async def _look_after(self, lease: Lease, drop: int, now: int) -> None:
        """Whatever is due in one maildrop, then the moment to look here again."""
        backend, quota = self._database.backend, self._settings.quota_octets
        while found := await self._database.read(partial(removal.look, drop, now, quota)):
            if found.expired:
                work: Work[object] = partial(removal.remove, drop, found.expired, now, backend)
            elif found.above:
                move = self._purge(drop, found.above, now + removal.us(PURGED_FOR))
                work = partial(removal.if_unchanged, drop, found.modseq, move.run)
            elif found.forget:
                work = partial(removal.forget_tombstones, drop, found.forget)
            else:
                settle = partial(removal.look_again, drop, found.next)
                await self._run(lease, partial(removal.if_unchanged, drop, found.modseq, settle))
                return
            await self._run(lease, work)

    def _purge(self, drop: int, uids: Sequence[UniqueId], expires: int) -> Move:
        return Move(
            drop,
            uids,
            Folder.PURGED,
            come_from=SHOWN,
            expires=expires,
            quota_octets=self._settings.quota_octets,
            long_lists=self._database.backend.long_lists,
        )

    async def _close(self, lease: Lease, account_id: int, drop: int, now: int) -> None:
        """The mail of a closed account, then its rows."""
        read = self._database.read
        while uids := await read(partial(removal.shown, drop)):
            await self._run(lease, self._purge(drop, uids, now).run)
        await self._look_after(lease, drop, now)
        while modseq := await read(partial(removal.old_tombstones, drop, now)):
            await self._run(lease, partial(removal.forget_tombstones, drop, modseq))
        await self._run(lease, partial(removal.erase, account_id, drop))

    async def _sweep(self, lease: Lease, now: int) -> None:
        """Removes the bodies whose time has come."""
        for shard in range(removal.SHARDS):
            unused = partial(removal.unused_bodies, shard, now)
            while bodies := await self._database.read(unused):
                octets = sum(body.stored or 0 for body in bodies)
                work = partial(removal.remove_bodies, shard, bodies)
                await self._run(lease, work, octets=octets)

    async def _make_room(self, lease: Lease, now: int) -> None:
        """Below the floor bodies go without their grace, and then trash before its time.

        Not while a backup needs them. No session can list them: what has expired left the inbox a
        day ago or longer.
        """
        if self._space is None or not self._space.short() or self.bodies.locked():
            return
        async with self.bodies:
            await self._sweep(lease, now + removal.us(removal.BODY_GRACE))
            await self._give_back(kept=0)
            if self._space.short() and now >= self._in_vain_until:
                await self._empty_trash(lease, now, self._space)
            self._space.replenish()

    async def _empty_trash(self, lease: Lease, now: int, space: Space) -> None:
        """Of what no session can list any more, only as much as brings the room back.

        Nothing where that is not enough, and no more where it does not help: somebody else fills
        the disk then.
        """
        days = timedelta(days=max(self._settings.trash_days, 1))
        until = now + removal.us(days - SESSION)
        trash = await self._database.read(
            partial(removal.oldest_trash, until, space.shortage() + ROUNDING)
        )
        for drop, uids in trash.items():
            for some in removal.slices(uids):
                free = space.free()
                purge = self._purge(drop, [UniqueId(uid) for uid in some], now)
                await self._run(lease, purge.run)
                remove = partial(removal.remove, drop, some, now, self._database.backend)
                await self._run(lease, remove)
                await self._sweep(lease, now + removal.us(removal.BODY_GRACE))
                await self._give_back(kept=0)
                log.warning("upkeep.made_room", removed=len(some))
                if space.free() <= free:
                    self._in_vain_until = now + removal.us(IN_VAIN)
                    return
                if not space.short():
                    return
        if not trash:
            log.warning("upkeep.no_room", octets=space.shortage())

    async def _end_sessions(self, lease: Lease, now: int) -> None:
        while ids := await self._database.read(partial(_ended_sessions, now)):
            await self._run(lease, partial(_delete_sessions, ids))

    async def _give_back(self, *, kept: int = FREE_PAGES_KEPT) -> None:
        """Where the database is a file: room to the disk, and what was deleted out of its log."""
        if self._database.backend.path is not None:
            await asyncio.to_thread(_give_back, self._database.backend, kept)


def _due(now: int, connection: Connection) -> list[int]:
    drops = schema.maildrop.c
    return list(
        connection.execute(
            select(drops.id)
            .where(drops.sweep_at <= now)
            .order_by(drops.sweep_at)
            .limit(DROPS_A_RUN)
        ).scalars()
    )


def _ended_sessions(now: int, connection: Connection) -> list[int]:
    session = schema.session.c
    ended = select(session.id).where(session.expires_at < now).limit(SESSIONS_AT_ONCE)
    return list(connection.execute(ended).scalars())


def _delete_sessions(ids: Sequence[int], connection: Connection) -> None:
    connection.execute(delete(schema.session).where(schema.session.c.id.in_(ids)))


def _give_back(backend: Backend, kept: int) -> None:
    """On a connection of its own: the log cannot be emptied inside a transaction.

    The writer waits for each step as it would for another process.
    """
    engine = backend.connect(writes=True, connections=1)
    try:
        with (
            closing(engine.raw_connection()) as connection,
            closing(connection.cursor()) as cursor,
        ):
            cursor.execute("PRAGMA freelist_count")
            [free] = cursor.fetchone() or [0]
            for _ in range(min(-((kept - free) // PAGES_AT_ONCE), SLICES_A_RUN)):
                # Each step of the statement frees one page; `execute` takes the first step only.
                cursor.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        engine.dispose()
