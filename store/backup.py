"""Backups: what the rows said at one moment, and the bodies that they need.

In the folder of a backup:

    meta-<number>-<moment>.db   an SQLite file for each backup, with the tables as they were
    bodies-<number>.pack        bodies one behind the other, appended by each backup
    bodies.db                   where in the packs each body is

Rows come first, from one read transaction, bodies second: whatever a row needs stays in the store
for days after it was removed, so each row finds its body. The meta file gets its name when all of
that is on the disk, and an entry in bodies.db is committed when its octets are. So a backup that is
killed leaves those before it as they were; what it had copied is used by the next.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from mail.errors import BackupDamaged, MessageDamaged
from mail.ident import UniqueId
from store import schema
from store.bodies import CHUNK_OCTETS, unpack
from store.copying import MADE_AGAIN, slices
from store.database import Database, revision
from store.mailfiles import sync_folder

PACK_OCTETS = 1024 * 1024 * 1024  # a pack that has reached it gets no more
TOGETHER_OCTETS = 8 * 1024 * 1024  # read and committed at a time
TOGETHER = 256

# Sessions end with a restore: what was signed out must not come back.
LEFT_OUT = MADE_AGAIN | {schema.body_chunk, schema.session}
SAVED = [table for table in schema.METADATA.sorted_tables if table not in LEFT_OUT]

HEAD = struct.Struct(">4sq16sI32sI")  # mark, home, uid, octets, sha256, frames
MARK = b"RBD1"
LENGTH = struct.Struct(">I")  # of a frame

Step = Callable[[int, int], None]
"""Told how many bodies are done, and of how many. It ends the work by raising."""


@dataclass(slots=True)
class Saved:
    """`gone` bodies were removed for good meanwhile; `damaged` ones cannot be read."""

    meta: str
    messages: int = 0
    bodies: int = 0  # new in this folder
    octets: int = 0
    gone: int = 0
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Body:
    home: int
    uid: bytes
    octets: int
    sha256: bytes

    @property
    def name(self) -> str:
        return str(UniqueId(self.uid))


def save(
    database: Database,
    folder: Path,
    *,
    now: datetime,
    step: Step,
    pack_octets: int = PACK_OCTETS,
) -> Saved:
    """Adds a backup to a folder. Raises StorageBusy, OSError, BackupDamaged, what `step` raises."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with opened_folder(folder) as index:
        for part in folder.glob("*.part*"):
            part.unlink()  # of a backup that was killed
        number = int(metas(folder)[-1].name.split("-")[1]) + 1 if metas(folder) else 1
        name = f"meta-{number:06}-{now:%Y%m%dT%H%M%SZ}.db"
        part = folder / f"{name}.part"
        saved = Saved(name)
        saved.messages = database.read_now(partial(_save_rows, part, step))
        index.execute("ATTACH ? AS meta", (str(part),))
        with closing(Packs(folder, index, pack_octets)) as packs:
            _save_bodies(database, index, packs, saved, step)
        index.execute("DETACH meta")
        sync_file(part)
        part.rename(folder / name)
        sync_folder(folder)
        return saved


def _save_rows(part: Path, step: Step, connection: Connection) -> int:
    """All tables from one transaction; how many messages they have."""
    part.unlink(missing_ok=True)
    messages = 0
    with closing(sqlite3.connect(part, isolation_level=None)) as meta:
        # It is nothing until it has its name.
        meta.execute("PRAGMA journal_mode = OFF")
        meta.execute("PRAGMA synchronous = OFF")
        meta.execute("BEGIN")
        meta.execute("CREATE TABLE revision (name TEXT)")
        meta.execute("INSERT INTO revision VALUES (?)", (revision(connection),))
        for table in SAVED:
            meta.execute(str(CreateTable(table).compile(dialect=sqlite.dialect())))
            marks = ", ".join("?" * len(table.columns))
            for rows in slices(connection, table):
                meta.executemany(f"INSERT INTO {table.name} VALUES ({marks})", map(tuple, rows))  # noqa: S608
                messages += len(rows) if table is schema.message else 0
                step(0, 0)
        meta.execute("COMMIT")
    return messages


def _save_bodies(
    database: Database, index: sqlite3.Connection, packs: Packs, saved: Saved, step: Step
) -> None:
    [(total,)] = index.execute(f"SELECT count(*) {_NOT_YET}")
    done = 0
    for wanted in _wanted(index):
        for body in wanted:
            try:
                frames = database.read_now(partial(_frames, body))
            except MessageDamaged:
                saved.damaged.append(body.name)
                continue
            if frames is None:
                saved.gone += 1
                continue
            saved.bodies += 1
            octets = _packed(body, frames)
            packs.append((body.home, body.uid, body.sha256), octets)
            saved.octets += len(octets)
        packs.commit()
        done += len(wanted)
        step(done, total)


_NOT_YET = (
    "FROM meta.body b LEFT JOIN main.body i"
    " ON i.home = b.home AND i.uid = b.uid AND i.sha256 = b.sha256 WHERE i.uid IS NULL"
)


def _wanted(index: sqlite3.Connection) -> Iterator[list[Body]]:
    """Bodies of the attached rows that are in no pack, in the order of their keys."""
    last = (-(2**63), b"")
    while True:
        rows = index.execute(
            f"SELECT b.home, b.uid, b.octets, b.sha256, b.stored {_NOT_YET}"
            " AND (b.home, b.uid) > (?, ?) ORDER BY b.home, b.uid LIMIT ?",
            (*last, TOGETHER),
        ).fetchall()
        if not rows:
            return
        octets, together = 0, []
        for *body, stored in rows:
            together.append(Body(*body))
            octets += stored
            if octets >= TOGETHER_OCTETS:
                break
        yield together
        last = (together[-1].home, together[-1].uid)


def _frames(body: Body, connection: Connection) -> list[bytes] | None:
    """The frames, proved; None if the body was removed for good. Raises MessageDamaged."""
    chunk, there = schema.body_chunk.c, schema.body.c
    frames = []
    for n in range(-(-body.octets // CHUNK_OCTETS)):
        frame = connection.execute(
            select(chunk.frame).where(chunk.home == body.home, chunk.uid == body.uid, chunk.n == n)
        ).scalar_one_or_none()
        if frame is None:
            break
        frames.append(bytes(frame))
    try:
        prove(body, frames)
    except MessageDamaged:
        living = select(there.uid).where(there.home == body.home, there.uid == body.uid)
        if connection.execute(living).first() is None:
            return None
        raise
    return frames


def prove(body: Body, frames: Sequence[bytes]) -> None:
    """Raises MessageDamaged unless the frames are this body."""
    digest = hashlib.sha256()
    left = body.octets
    for frame in frames:
        digest.update(unpack(frame, min(left, CHUNK_OCTETS)))
        left -= min(left, CHUNK_OCTETS)
    if left or digest.digest() != body.sha256:
        raise MessageDamaged("a stored message is damaged", uid=body.name)


def _packed(body: Body, frames: Sequence[bytes]) -> bytes:
    """A body as it stands in a pack."""
    head = HEAD.pack(MARK, body.home, body.uid, body.octets, body.sha256, len(frames))
    lengths = b"".join(LENGTH.pack(len(frame)) for frame in frames)
    return b"".join([head, lengths, *frames])


class Packs:
    """Appends to the last pack. What is not in the index is not there, and is written over."""

    def __init__(
        self, folder: Path, index: sqlite3.Connection, pack_octets: int = PACK_OCTETS
    ) -> None:
        self._folder = folder
        self._index = index
        self._pack_octets = pack_octets
        self._rows: list[tuple[object, ...]] = []
        row = index.execute(
            "SELECT pack, at + length FROM main.body ORDER BY pack DESC, at DESC LIMIT 1"
        ).fetchone()
        self.number: int = row[0] if row else 1
        self._end: int = row[1] if row else 0
        self._file = self._open()

    def append(self, key: tuple[int, bytes, bytes], octets: bytes) -> None:
        """`key`: home, uid and SHA-256 of the body. It is there when it has been committed."""
        if self._end >= self._pack_octets:
            self.commit()
            self._file.close()
            self.number, self._end = self.number + 1, 0
            self._file = self._open()
        self._file.write(octets)
        self._rows.append((*key, self.number, self._end, len(octets)))
        self._end += len(octets)

    def commit(self) -> None:
        """The octets reach the disk, then their places do."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._index.execute("BEGIN")
        self._index.executemany(
            "INSERT OR REPLACE INTO main.body VALUES (?, ?, ?, ?, ?, ?)", self._rows
        )
        self._index.execute("COMMIT")
        self._rows.clear()

    def close(self) -> None:
        self._file.close()

    def _open(self) -> IO[bytes]:
        path = pack_file(self._folder, self.number)
        new = not path.exists()
        file = path.open("w+b" if new else "r+b")
        if file.seek(0, os.SEEK_END) < self._end:
            file.close()
            raise BackupDamaged(f"{path} is shorter than it was")
        file.seek(self._end)
        file.truncate()
        if new:
            sync_folder(self._folder)
        return file


# The folder.


def pack_file(folder: Path, number: int) -> Path:
    return folder / f"bodies-{number:06}.pack"


def metas(folder: Path) -> list[Path]:
    """Of complete backups, oldest first."""
    return sorted(folder.glob("meta-*.db"))


@contextmanager
def opened_folder(folder: Path) -> Iterator[sqlite3.Connection]:
    """The index of bodies. One process at a time writes to a folder. Raises BackupDamaged."""
    with (folder / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BackupDamaged(f"another backup is being written to {folder}") from error
        with closing(sqlite3.connect(folder / "bodies.db", isolation_level=None)) as index:
            index.execute("PRAGMA synchronous = EXTRA")
            index.execute(
                "CREATE TABLE IF NOT EXISTS body (home INTEGER, uid BLOB, sha256 BLOB,"
                " pack INTEGER, at INTEGER, length INTEGER,"
                " PRIMARY KEY (home, uid, sha256)) WITHOUT ROWID"
            )
            index.execute("CREATE INDEX IF NOT EXISTS body_place ON body (pack, at, length)")
            yield index


def sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
