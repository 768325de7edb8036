"""Backups: what the rows said at one moment, and the bodies that they need.

In the folder of a backup:

    meta-<number>-<moment>.db   an SQLite file for each backup, with the tables as they were
    bodies-<number>.pack        bodies one behind the other, appended by each backup
    bodies.db                   where in the packs each body is

Rows come first, from one read transaction, bodies second: whatever a row needs stays in the store
for days after it was removed, so each row finds its body. The meta file gets its name when all of
that is on the disk, and an entry in bodies.db is committed when its octets are. So a backup that is
killed leaves those before it as they were; what it had copied is used by the next.

A restore fills a new database and marks it unfinished until all is in; an SQLite store changes
places with the new one in a single step, at the end.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import secrets
import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from mail.errors import BackupDamaged, MessageDamaged, NotEmpty
from mail.ident import UniqueId
from store import schema
from store.bodies import CHUNK_OCTETS, unpack
from store.copying import (
    FRAMES,
    MADE_AGAIN,
    SLICE,
    finish,
    insert_rows,
    is_empty,
    make_empty,
    slices,
)
from store.database import Database, is_unfinished, revision, steps
from store.mailfiles import sync_folder
from store.verify import Report, verify
from store.writer import Writer

PACK_OCTETS = 1024 * 1024 * 1024  # a pack that has reached it gets no more
TOGETHER_OCTETS = 8 * 1024 * 1024  # read and committed at a time
TOGETHER = 256
LISTED = 1000

# Sessions end with a restore: what was signed out must not come back.
LEFT_OUT = MADE_AGAIN | {schema.body_chunk, schema.session}
SAVED = [table for table in schema.METADATA.sorted_tables if table not in LEFT_OUT]

_HEAD = struct.Struct(">4sq16sI32sI")  # mark, home, uid, octets, sha256, frames
_MARK = b"RBD1"
_LENGTH = struct.Struct(">I")  # of a frame

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


@dataclass(slots=True)
class Checked:
    """`missing` lists uids of bodies that the backup does not have, or not whole."""

    meta: str
    messages: int = 0
    bodies: int = 0
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Restored:
    checked: Checked
    report: Report
    kept: Path | None  # the store of before


@dataclass(frozen=True, slots=True)
class _Body:
    home: int
    uid: bytes
    octets: int
    sha256: bytes

    @property
    def name(self) -> str:
        return str(UniqueId(self.uid))


# Writing.


def save(database: Database, folder: Path, *, now: datetime, step: Step) -> Saved:
    """Adds a backup to a folder. Raises StorageBusy, OSError, BackupDamaged, what `step` raises."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(folder), _index(folder) as index:
        for part in folder.glob("*.part*"):
            part.unlink()  # of a backup that was killed
        number = int(_metas(folder)[-1].name.split("-")[1]) + 1 if _metas(folder) else 1
        name = f"meta-{number:06}-{now:%Y%m%dT%H%M%SZ}.db"
        part = folder / f"{name}.part"
        saved = Saved(name)
        saved.messages = database.read_now(partial(_save_rows, part, step))
        index.execute("ATTACH ? AS meta", (str(part),))
        with closing(_Packs(folder, index)) as packs:
            _save_bodies(database, index, packs, saved, step)
        index.execute("DETACH meta")
        _sync_file(part)
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
    database: Database, index: sqlite3.Connection, packs: _Packs, saved: Saved, step: Step
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
            saved.octets += packs.append(body, frames)
        packs.commit()
        done += len(wanted)
        step(done, total)


_NOT_YET = (
    "FROM meta.body b LEFT JOIN main.body i"
    " ON i.home = b.home AND i.uid = b.uid AND i.sha256 = b.sha256 WHERE i.uid IS NULL"
)


def _wanted(index: sqlite3.Connection) -> Iterator[list[_Body]]:
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
            together.append(_Body(*body))
            octets += stored
            if octets >= TOGETHER_OCTETS:
                break
        yield together
        last = (together[-1].home, together[-1].uid)


def _frames(body: _Body, connection: Connection) -> list[bytes] | None:
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
        _prove(body, frames)
    except MessageDamaged:
        living = select(there.uid).where(there.home == body.home, there.uid == body.uid)
        if connection.execute(living).first() is None:
            return None
        raise
    return frames


def _prove(body: _Body, frames: Sequence[bytes]) -> None:
    """Raises MessageDamaged unless the frames are this body."""
    digest = hashlib.sha256()
    left = body.octets
    for frame in frames:
        digest.update(unpack(frame, min(left, CHUNK_OCTETS)))
        left -= min(left, CHUNK_OCTETS)
    if left or digest.digest() != body.sha256:
        raise MessageDamaged("a stored message is damaged", uid=body.name)


class _Packs:
    """Appends to the last pack. What is not in the index is not there, and is written over."""

    def __init__(self, folder: Path, index: sqlite3.Connection) -> None:
        self._folder = folder
        self._index = index
        self._rows: list[tuple[object, ...]] = []
        row = index.execute(
            "SELECT pack, at + length FROM main.body ORDER BY pack DESC, at DESC LIMIT 1"
        ).fetchone()
        self._number: int = row[0] if row else 1
        self._end: int = row[1] if row else 0
        self._file = self._open()

    def append(self, body: _Body, frames: Sequence[bytes]) -> int:
        """Returns the octets written."""
        if self._end >= PACK_OCTETS:
            self.commit()
            self._file.close()
            self._number, self._end = self._number + 1, 0
            self._file = self._open()
        head = _HEAD.pack(_MARK, body.home, body.uid, body.octets, body.sha256, len(frames))
        lengths = b"".join(_LENGTH.pack(len(frame)) for frame in frames)
        length = self._file.write(b"".join([head, lengths, *frames]))
        row = (body.home, body.uid, body.sha256, self._number, self._end, length)
        self._rows.append(row)
        self._end += length
        return length

    def commit(self) -> None:
        """The octets reach the disk, then their places do."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._index.execute("BEGIN")
        self._index.executemany("INSERT INTO main.body VALUES (?, ?, ?, ?, ?, ?)", self._rows)
        self._index.execute("COMMIT")
        self._rows.clear()

    def close(self) -> None:
        self._file.close()

    def _open(self) -> IO[bytes]:
        path = _pack(self._folder, self._number)
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


# Reading.


def check(folder: Path, *, step: Step) -> Checked:
    """Reads the newest backup whole. Raises BackupDamaged where there is none."""
    meta, index = _open_newest(folder)
    with closing(index):
        checked = Checked(meta.name)
        [(checked.messages,)] = index.execute("SELECT count(*) FROM meta.message")
        for _, frames in _all_bodies(folder, index, checked, step):
            checked.bodies += frames is not None
    return checked


def restore(folder: Path, url: str, *, replace: bool, now: datetime, step: Step) -> Restored:
    """Fills the store at `url` with the newest backup, and verifies it.

    Raises NotEmpty, BackupDamaged, StoreUnfit, OSError.
    """
    meta, index = _open_newest(folder)
    with closing(index), closing(Database(url, filling=True)) as old:
        with old.writer.begin() as connection:
            if not (is_empty(connection) or is_unfinished(connection) or replace):
                raise NotEmpty("the store is not empty")
            empty = is_empty(connection)
        known = [step.revision for step in steps()]
        [(found,)] = index.execute("SELECT name FROM meta.revision")
        if found not in known:
            raise BackupDamaged(f"{meta} was made by a newer version, with schema {found}")
        path = old.backend.path
        if not path:
            return Restored(*_fill(old, folder, meta, index, step), kept=None)
        beside = path.with_name(path.name + ".restored")
        for leftover in path.parent.glob(beside.name + "*"):
            leftover.unlink()
        with closing(Database(f"sqlite:///{beside}", filling=True)) as new:
            filled = _fill(new, folder, meta, index, step)
        _sync_file(beside)
        kept = None if empty else path.with_name(f"{path.name}.before-{now:%Y%m%dT%H%M%S.%fZ}")
        old.become(beside, keep=kept)
        beside.with_name(beside.name + ".lock").unlink()
        return Restored(*filled, kept=kept)


def _fill(
    database: Database, folder: Path, meta: Path, index: sqlite3.Connection, step: Step
) -> tuple[Checked, Report]:
    checked = Checked(meta.name)
    make_empty(database)
    tables = {name for (name,) in index.execute("SELECT name FROM meta.sqlite_schema")}
    for table in SAVED:
        if table.name not in tables:
            continue  # newer than the backup
        info = index.execute(f"PRAGMA meta.table_info({table.name})")
        columns = [name for _, name, *_ in info if name in table.columns]
        rows = index.execute(f"SELECT {', '.join(columns)} FROM meta.{table.name}")  # noqa: S608
        for some in iter(lambda rows=rows: rows.fetchmany(SLICE), []):  # type: ignore[misc]
            values = [dict(zip(columns, row, strict=True)) for row in some]
            with database.writer.begin() as connection:
                insert_rows(connection, table, values)
            checked.messages += len(some) if table is schema.message else 0
            step(0, 0)
    bodies = _all_bodies(folder, index, checked, step)
    for chunks in _chunk_rows(bodies, checked):
        with database.writer.begin() as connection:
            connection.execute(insert(schema.body_chunk), chunks)
    with database.writer.begin() as connection:
        fact = schema.store_fact
        connection.execute(delete(fact).where(fact.c.name == "epoch"))
        connection.execute(insert(fact).values(name="epoch", value=secrets.token_hex(8)))
        finish(connection)
    return checked, _verified(database)


def _chunk_rows(
    bodies: Iterator[tuple[_Body, list[bytes] | None]], checked: Checked
) -> Iterator[list[dict[str, object]]]:
    def rows() -> Iterator[dict[str, object]]:
        for body, frames in bodies:
            checked.bodies += frames is not None
            for n, frame in enumerate(frames or []):
                yield {"home": body.home, "uid": body.uid, "n": n, "frame": frame}

    waiting = rows()
    while some := list(islice(waiting, FRAMES)):
        yield some


def _verified(database: Database) -> Report:
    """Bodies were proved when they were read from the packs: their rows are looked at here."""
    writer = Writer(database, None)
    try:
        return asyncio.run(verify(database, writer, bodies=0, fix=False, progress=None))
    finally:
        writer.close()


def _all_bodies(
    folder: Path, index: sqlite3.Connection, checked: Checked, step: Step
) -> Iterator[tuple[_Body, list[bytes] | None]]:
    """Each body of the attached rows with its frames, proved; None where they are missing."""
    [(total,)] = index.execute("SELECT count(*) FROM meta.body")
    rows = index.execute(
        "SELECT b.home, b.uid, b.octets, b.sha256, i.pack, i.at, i.length FROM meta.body b"
        " LEFT JOIN main.body i ON i.home = b.home AND i.uid = b.uid AND i.sha256 = b.sha256"
        " ORDER BY b.home, b.uid"
    )
    packs: dict[int, IO[bytes]] = {}
    try:
        for number, (*key, pack, at, length) in enumerate(rows, 1):
            body = _Body(*key)
            try:
                if pack is None:
                    raise MessageDamaged("the backup does not have it")
                if pack not in packs:
                    packs[pack] = _pack(folder, pack).open("rb")
                yield body, _read_frames(packs[pack], body, at, length)
            except (MessageDamaged, OSError):
                if len(checked.missing) < LISTED:
                    checked.missing.append(body.name)
                yield body, None
            if number % SLICE == 0 or number == total:
                step(number, total)
    finally:
        for file in packs.values():
            file.close()


def _read_frames(file: IO[bytes], body: _Body, at: int, length: int) -> list[bytes]:
    """Raises MessageDamaged."""
    file.seek(at)
    octets = memoryview(file.read(length))
    try:
        *head, count = _HEAD.unpack_from(octets)
        lengths = [_LENGTH.unpack_from(octets, _HEAD.size + 4 * n)[0] for n in range(count)]
    except struct.error as error:
        raise MessageDamaged("a pack is damaged", uid=body.name) from error
    if head != [_MARK, body.home, body.uid, body.octets, body.sha256]:
        raise MessageDamaged("a pack is damaged", uid=body.name)
    frames = []
    start = _HEAD.size + 4 * count
    for frame_length in lengths:
        frames.append(bytes(octets[start : start + frame_length]))
        start += frame_length
    _prove(body, frames)
    return frames


# The folder.


_DB = ("main", "meta")


def _pack(folder: Path, number: int) -> Path:
    return folder / f"bodies-{number:06}.pack"


def _metas(folder: Path) -> list[Path]:
    """Of complete backups, oldest first."""
    return sorted(folder.glob("meta-*.db"))


def _open_newest(folder: Path) -> tuple[Path, sqlite3.Connection]:
    """The newest backup's rows, and an index to which they are attached."""
    metas = _metas(folder)
    if not metas:
        raise BackupDamaged(f"{folder} holds no complete backup")
    folder = folder.absolute()
    index: sqlite3.Connection | None = None
    try:
        # Not only for reading: what a killed backup had begun to write is taken back first.
        uri = f"{(folder / 'bodies.db').as_uri()}?mode=rw"
        index = sqlite3.connect(uri, uri=True, isolation_level=None)
        index.execute("ATTACH ? AS meta", (f"{metas[-1].absolute().as_uri()}?mode=ro",))
        answers = [index.execute(f"PRAGMA {name}.quick_check(1)").fetchone()[0] for name in _DB]
    except sqlite3.DatabaseError as error:
        if index:
            index.close()
        answers = [str(error)]
    if index is None or answers != ["ok"] * len(_DB):
        why = ", ".join(answer for answer in answers if answer != "ok")
        raise BackupDamaged(f"{metas[-1]} or the index of bodies is damaged: {why}")
    return metas[-1], index


@contextmanager
def _index(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(folder / "bodies.db", isolation_level=None)) as index:
        index.execute("PRAGMA synchronous = EXTRA")
        index.execute(
            "CREATE TABLE IF NOT EXISTS body (home INTEGER, uid BLOB, sha256 BLOB, pack INTEGER,"
            " at INTEGER, length INTEGER, PRIMARY KEY (home, uid, sha256)) WITHOUT ROWID"
        )
        index.execute("CREATE INDEX IF NOT EXISTS body_place ON body (pack, at, length)")
        yield index


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One backup at a time writes to a folder."""
    with (folder / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BackupDamaged(f"another backup is being written to {folder}") from error
        yield


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
