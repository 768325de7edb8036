"""A backup every night into one folder, of which the last ones are kept.

A night begins at 3 o'clock, local time. What the clock missed, for instance while the server was
down, is made up for at once; a backup by hand counts as that of the night.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from mail.errors import Failure
from store.backup import Packs, Saved, Step, metas, opened_folder, pack_file
from store.leases import Leases
from store.mailfiles import sync_folder

HOUR = 3
KEPT = 14
EVERY_S = 60
AFTER_FAILURE = timedelta(hours=1)
MOVED_OCTETS = 8 * 1024 * 1024

log = structlog.get_logger()


class Save(Protocol):
    def __call__(self, folder: Path, *, step: Step) -> Awaitable[Saved]: ...


class _Stopped(Exception):
    """The server stops."""


class Nightly:
    """Run by `start` until `stop`, or once. Without a folder it does nothing."""

    def __init__(
        self, save: Save, leases: Leases, folder: Path | None, *, clock: Callable[[], datetime]
    ) -> None:
        self._save = save
        self._leases = leases
        self._folder = folder
        self._clock = clock
        self._not_before = clock()
        self._at_work = asyncio.Lock()
        self._stopped = False
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._folder:
            self._serving = asyncio.create_task(self._serve(), name="nightly")

    async def stop(self) -> None:
        """A backup in hand ends at its next step; the next one uses what it has copied."""
        self._stopped = True
        if self._serving:
            async with self._at_work:
                self._serving.cancel()
            await asyncio.wait([self._serving])

    async def age_s(self) -> int | None:
        """How long ago the last backup in its folder was made; None: there is none."""
        if self._folder is None:
            return None
        made = await asyncio.to_thread(newest, self._folder)
        return None if made is None else max(0, int((self._clock() - made).total_seconds()))

    async def _serve(self) -> None:
        while True:
            await self.run_once()
            await asyncio.sleep(EVERY_S)

    async def run_once(self) -> None:
        """A backup, if it is time for one and no other process has the role."""
        async with self._at_work:
            now = self._clock()
            if not self._folder or now < self._not_before or not due(self._folder, now):
                return
            try:
                if await self._leases.take("backup"):
                    await self._back_up(self._folder)
            except _Stopped:
                return
            except (Failure, OSError, sqlite3.Error) as error:
                log.error("backup.failed", why=str(error))
                self._not_before = now + AFTER_FAILURE

    async def _back_up(self, folder: Path) -> None:
        saved = await self._save(folder, step=self._step)
        removed = await asyncio.to_thread(prune, folder, KEPT)
        log.info(
            "backup.done",
            backup=saved.meta,
            messages=saved.messages,
            new_bodies=saved.bodies,
            damaged=len(saved.damaged),
            removed=removed,
        )

    def _step(self, _done: int, _total: int) -> None:
        if self._stopped:
            raise _Stopped


def due(folder: Path, now: datetime) -> bool:
    """Whether there is no backup yet of the last night that has begun."""
    local = now.astimezone()
    night = local.replace(hour=HOUR, minute=0, second=0, microsecond=0)
    if night > local:
        night -= timedelta(days=1)
    made = newest(folder)
    return made is None or made < night


def newest(folder: Path) -> datetime | None:
    """When the last backup in that folder was made."""
    return max(filter(None, map(_moment, metas(folder))), default=None)


def _moment(meta: Path) -> datetime | None:
    found = re.fullmatch(r"meta-\d+-(\d{8}T\d{6})Z\.db", meta.name)
    return datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) if found else None


def prune(folder: Path, kept: int) -> int:
    """Removes all but the newest backups, and bodies that only those needed; how many backups went.

    A pack of which less than half is needed goes, and what is needed moves to the last one. The
    last one itself stays as it is. Raises BackupDamaged, OSError.
    """
    with opened_folder(folder) as index:
        old = metas(folder)[:-kept]
        for meta in old:
            meta.unlink()
        sync_folder(folder)
        _forget_bodies(metas(folder), index)
        with closing(Packs(folder, index)) as packs:
            rows = "SELECT pack, sum(length) FROM main.body WHERE pack <> ? GROUP BY pack"
            needed = dict(index.execute(rows, (packs.number,)).fetchall())
            for pack in folder.glob("bodies-*.pack"):
                if pack not in map(partial(pack_file, folder), (packs.number, *needed)):
                    pack.unlink()
            for number, octets in needed.items():
                pack = pack_file(folder, number)
                if 2 * octets < pack.stat().st_size:
                    _move_bodies(number, folder, index, packs)
                    pack.unlink()
    return len(old)


def _forget_bodies(needing: list[Path], index: sqlite3.Connection) -> None:
    """Takes out of the index what none of these backups has."""
    index.execute(
        "CREATE TEMP TABLE needed (home INTEGER, uid BLOB, sha256 BLOB,"
        " PRIMARY KEY (home, uid, sha256)) WITHOUT ROWID"
    )
    for meta in needing:
        index.execute("ATTACH ? AS meta", (str(meta),))
        index.execute("INSERT OR IGNORE INTO needed SELECT home, uid, sha256 FROM meta.body")
        index.execute("DETACH meta")
    index.execute(
        "DELETE FROM main.body WHERE NOT EXISTS (SELECT 1 FROM needed n"
        " WHERE n.home = body.home AND n.uid = body.uid AND n.sha256 = body.sha256)"
    )


def _move_bodies(number: int, folder: Path, index: sqlite3.Connection, packs: Packs) -> None:
    rows = index.execute(
        "SELECT home, uid, sha256, at, length FROM main.body WHERE pack = ? ORDER BY at", (number,)
    ).fetchall()
    octets = 0
    with pack_file(folder, number).open("rb") as file:
        for home, uid, sha256, at, length in rows:
            file.seek(at)
            packs.append((home, uid, sha256), file.read(length))
            octets += length
            if octets >= MOVED_OCTETS:
                packs.commit()
                octets = 0
    packs.commit()
