"""Reading a backup through, and filling a store with it.

A restore fills a new database and marks it unfinished until all is in; an SQLite store changes
places with the new one in a single step, at the end.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO

from sqlalchemy import delete, insert

from mail.errors import BackupDamaged, MessageDamaged, NotEmpty
from store import schema
from store.backup import HEAD, LENGTH, MARK, SAVED, Body, Step, metas, pack_file, prove, sync_file
from store.copying import FRAMES, SLICE, finish, insert_rows, is_empty, make_empty
from store.database import Database, is_unfinished
from store.migrating import steps
from store.verify import Report, verify
from store.writer import Writer

LISTED = 1000


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
        sync_file(beside)
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
    bodies: Iterator[tuple[Body, list[bytes] | None]], checked: Checked
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
) -> Iterator[tuple[Body, list[bytes] | None]]:
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
            body = Body(*key)
            try:
                if pack is None:
                    raise MessageDamaged("the backup does not have it")
                if pack not in packs:
                    packs[pack] = pack_file(folder, pack).open("rb")
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


def _read_frames(file: IO[bytes], body: Body, at: int, length: int) -> list[bytes]:
    """Raises MessageDamaged."""
    file.seek(at)
    octets = memoryview(file.read(length))
    try:
        *head, count = HEAD.unpack_from(octets)
        lengths = [LENGTH.unpack_from(octets, HEAD.size + 4 * n)[0] for n in range(count)]
    except struct.error as error:
        raise MessageDamaged("a pack is damaged", uid=body.name) from error
    if head != [MARK, body.home, body.uid, body.octets, body.sha256]:
        raise MessageDamaged("a pack is damaged", uid=body.name)
    frames = []
    start = HEAD.size + 4 * count
    for frame_length in lengths:
        frames.append(bytes(octets[start : start + frame_length]))
        start += frame_length
    prove(body, frames)
    return frames


_DB = ("main", "meta")


def _open_newest(folder: Path) -> tuple[Path, sqlite3.Connection]:
    """The newest backup's rows, and an index to which they are attached."""
    complete = metas(folder)
    if not complete:
        raise BackupDamaged(f"{folder} holds no complete backup")
    newest = complete[-1]
    folder = folder.absolute()
    index: sqlite3.Connection | None = None
    try:
        # Not only for reading: what a killed backup had begun to write is taken back first.
        uri = f"{(folder / 'bodies.db').as_uri()}?mode=rw"
        index = sqlite3.connect(uri, uri=True, isolation_level=None)
        index.execute("ATTACH ? AS meta", (f"{newest.absolute().as_uri()}?mode=ro",))
        answers = [index.execute(f"PRAGMA {name}.quick_check(1)").fetchone()[0] for name in _DB]
    except sqlite3.DatabaseError as error:
        if index:
            index.close()
        answers = [str(error)]
    if index is None or answers != ["ok"] * len(_DB):
        why = ", ".join(answer for answer in answers if answer != "ok")
        raise BackupDamaged(f"{newest} or the index of bodies is damaged: {why}")
    return newest, index
