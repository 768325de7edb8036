"""One open database: its migrations, its readers, and what its errors mean to a peer."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from sqlalchemy import Connection, Engine, insert, inspect, select, text, update
from sqlalchemy.exc import DBAPIError

from mail.errors import Failure, StorageBusy, StorageFull
from store import schema
from store.changed import Changed
from store.engines import Backend, StoreUnfit, Trouble, backend

T = TypeVar("T")

READERS = 4
READ_TRIES = 2


class StoreInUse(StoreUnfit):
    """Another process has this store open."""


def failure_of(trouble: Trouble, error: DBAPIError) -> Failure | None:
    """What a database error means to a peer; None for a fault of ours."""
    match trouble:
        case Trouble.OURS:
            return None
        case Trouble.FULL:
            return StorageFull("no room for more mail at the moment", error=str(error.orig))
        case _:
            return StorageBusy("the mail store is busy", error=str(error.orig))


class Database:
    """Opened and brought to the newest schema by its constructor. Raises StoreUnfit.

    `filling`: by what fills a store from elsewhere; others refuse one that is not full yet. `copy`:
    the file of before, where a file was brought to a newer schema.
    """

    copy: Path | None = None

    @property
    def alone(self) -> bool:
        """Whether no other process writes: what this one knows of its own writes is all."""
        return self.backend.path is not None

    def __init__(self, url: str, *, filling: bool = False) -> None:
        self.backend: Backend = backend(url)
        self.changed = Changed()
        path = self.backend.path
        self._lock = take_lock(path) if path else None
        try:
            self.writer: Engine = self.backend.connect(writes=True, connections=1)
            self._readers = self.backend.connect(writes=False, connections=READERS)
            try:
                self._open(filling=filling)
                if path:
                    sync_folders(path)
            except BaseException:
                self.writer.dispose()
                self._readers.dispose()
                raise
        except BaseException:
            if self._lock:
                self._lock.close()
            raise
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Runs `query` in one read-only transaction. Raises StorageBusy."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.read_now, query)

    def read_now(self, query: Callable[[Connection], T]) -> T:
        """The same in the thread of the caller, for work that has a thread of its own."""
        for left in reversed(range(READ_TRIES)):
            try:
                with self._readers.connect() as connection:
                    return query(connection)
            except DBAPIError as error:
                trouble = self.backend.trouble(error)
                if trouble in (Trouble.LOST, Trouble.AGAIN) and left:
                    continue  # reading again changes nothing
                if failure := failure_of(trouble, error):
                    raise failure from error
                raise
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """After the writer has stopped."""
        self._disconnect()
        if self._lock:
            self._lock.close()

    def become(self, file: Path, *, keep: Path | None) -> None:
        """Puts another database file in the place of this one's, and closes.

        `keep` is another name for the file of before. Nobody else has it open until it is done.
        """
        path = self.backend.path
        assert path
        self._disconnect()
        if path.with_name(path.name + "-wal").exists():  # the last connection takes it away
            raise StoreUnfit(f"the log of {path} could not be written back")
        if keep:
            keep.hardlink_to(path)
        file.replace(path)
        sync_folders(path)
        if self._lock:
            self._lock.close()

    def _disconnect(self) -> None:
        self._threads.shutdown()
        self._readers.dispose()
        self.writer.dispose()

    def _open(self, *, filling: bool) -> None:
        """Checks the server, migrates, and tries that writing works."""
        try:
            with self.writer.begin() as connection:
                self.backend.check(connection)
                if revision(connection) != schema.NEWEST:
                    from store import migrating

                    if self.backend.path:
                        self.copy = migrating.copy_of_before(
                            self.backend.path, revision(connection)
                        )
                    migrating.migrate(connection)
                if not filling and is_unfinished(connection):
                    raise StoreUnfit(
                        "a restore or move into it did not come to its end; run that again"
                    )
                probe(connection)
        except DBAPIError as error:
            raise StoreUnfit(
                f"{self.backend.url.render_as_string()} cannot be used: {error.orig}"
            ) from error


def revision(connection: Connection) -> str | None:
    """The step that the schema has reached; None while there is none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


UNFINISHED = "unfinished"  # store_fact: rows are still being brought in from elsewhere


def is_unfinished(connection: Connection) -> bool:
    fact = schema.store_fact
    return connection.execute(select(fact).where(fact.c.name == UNFINISHED)).first() is not None


def probe(connection: Connection) -> None:
    """A small write, to find out whether writing works."""
    fact = schema.store_fact
    # An update, so that of several processes one waits for the other instead of failing; to a new
    # value, because MariaDB does not write what is the same.
    row = {"value": secrets.token_hex(8)}
    if not connection.execute(update(fact).where(fact.c.name == "probe").values(row)).rowcount:
        connection.execute(insert(fact).values(name="probe", **row))


def take_lock(path: Path) -> IO[bytes]:
    """SQLite has exactly one writing process: it holds this lock as long as it lives."""
    try:
        lock = path.with_name(path.name + ".lock").open("ab")
    except OSError as error:
        raise StoreUnfit(f"{path.parent} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise StoreInUse(f"{path} is open in another process") from error
    return lock


def sync_folders(path: Path) -> None:
    """The names of new folders reach the disk; SQLite syncs only the one its files are in."""
    for folder in path.parents:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except PermissionError:
            return  # above what is ours, and older than us
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
