"""The engine: where the database is, which settings the promises need, who reads.

Settings are set and read back on every new connection; a database that cannot keep a 250
refuses to start and says which setting, what it found and what it needs.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from mail.errors import Failure, StorageBusy, StorageFull

T = TypeVar("T")

READERS = 4
OLDEST_SQLITE = (3, 40, 1)
MIB = 1024 * 1024

# Why each: docs/storage.md. The order counts: the first two take effect in an empty file only.
_SETTINGS: dict[str, str | int] = {
    "page_size": 8192,
    "auto_vacuum": 2,  # incremental
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: WAL with NORMAL loses acknowledged mail at a power cut
    "foreign_keys": 1,
    "busy_timeout": 5000,
    "trusted_schema": 0,
    "cell_size_check": 1,
    "secure_delete": 1,
    "mmap_size": 0,  # an I/O error must be an error, not a signal
    "temp_store": 2,  # memory: no content in temporary files
    "wal_autocheckpoint": 8000,
    "journal_size_limit": 64 * MIB,
    "fullfsync": 1,
    "checkpoint_fullfsync": 1,
}
_WRITER_SETTINGS = _SETTINGS | {"cache_size": -65536}
_READER_SETTINGS = _SETTINGS | {"cache_size": -16384, "query_only": 1}


class StoreUnfit(Exception):
    """The database cannot keep the promises, or cannot be opened. The text is for the owner."""


class StoreInUse(StoreUnfit):
    """Another process has this store open."""


def failure_of(error: DBAPIError) -> Failure | None:
    """What a database error means to a peer; None for a fault of ours."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary == sqlite3.SQLITE_FULL:
        return StorageFull("no room for more mail at the moment", error=str(error.orig))
    if primary in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
    ):
        return StorageBusy("the mail store is busy", error=str(error.orig))
    return None


class Database:
    """One open database: the writer's engine, and readers in threads of their own."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite" or not parsed.database:
            raise StoreUnfit(f"{parsed.render_as_string()} is not an SQLite file")
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreUnfit(f"SQLite {sqlite3.sqlite_version} is too old: 3.40.1 is needed")
        self.path = Path(parsed.database).absolute()
        self._lock = _take_lock(self.path)
        try:
            self.writer = _engine(parsed, _WRITER_SETTINGS, "BEGIN IMMEDIATE", connections=1)
            self._readers = _engine(parsed, _READER_SETTINGS, "BEGIN", connections=READERS)
            self._migrate()
            _sync_folders(self.path)
        except BaseException:
            self._lock.close()
            raise
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Runs `query` in one read-only transaction. Raises StorageBusy."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._read_now, query
        )

    def _read_now(self, query: Callable[[Connection], T]) -> T:
        try:
            with self._readers.connect() as connection:
                return query(connection)
        except DBAPIError as error:
            if failure := failure_of(error):
                raise failure from error
            raise

    def close(self) -> None:
        """After the writer has stopped."""
        self._threads.shutdown()
        self._readers.dispose()
        self.writer.dispose()
        self._lock.close()

    def _migrate(self) -> None:
        """Brings the schema to its newest step; the write also tries that writing works."""
        folder = Path(__file__).parent / "migrations"
        config = AlembicConfig()
        config.set_main_option("script_location", str(folder))
        newest = ScriptDirectory.from_config(config).get_current_head()
        try:
            with self.writer.begin() as connection:
                found = MigrationContext.configure(connection).get_current_revision()
                if found != newest:
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
                connection.exec_driver_sql(
                    "INSERT INTO store_fact (name, value) VALUES ('last_start', datetime())"
                    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
                )
        except DBAPIError as error:
            raise StoreUnfit(f"{self.path} cannot be written: {error.orig}") from error


def _take_lock(path: Path) -> IO[bytes]:
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


def _engine(url: URL, settings: dict[str, str | int], begin: str, *, connections: int) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # an error must not show what a message holds
        connect_args={"isolation_level": None, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        for name, needed in settings.items():
            connection.execute(f"PRAGMA {name} = {needed}").close()
        for name, needed in settings.items():
            row = connection.execute(f"PRAGMA {name}").fetchone()
            # fullfsync answers nothing where the platform has none.
            if row is not None and row[0] != needed:
                connection.close()
                raise StoreUnfit(f"{url.database}: {name} is {row[0]}, needed is {needed}")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        # Deferred, a read before a write would fail at once after another's commit.
        connection.exec_driver_sql(begin)

    return engine


def _sync_folders(path: Path) -> None:
    """The names of database, log and folders reach the disk: SQLite syncs only their content."""
    for folder in path.parents:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except PermissionError:
            return  # above what is ours, and older than us
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
