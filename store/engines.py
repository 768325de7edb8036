"""The three engines: how each is connected to, which settings a 250 rests on, what its errors mean.

Nothing outside this file knows which engine it is on; `search` alone asks for its name. Settings
are set on every new connection and read back, so that a database that cannot keep a 250 refuses to
start and says which setting, what it found and what it needs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from store.faults import hide_values
from store.packed_words import unpacked

MIB = 1024 * 1024
OLDEST_SQLITE = (3, 40, 1)
OLDEST_POSTGRESQL = 150000
OLDEST_MARIADB = (10, 11)
CONNECT_S = 10


class StoreUnfit(Exception):
    """The database cannot keep the promises, or cannot be opened. The text is for the owner."""


class Trouble(Enum):
    """What an error of the database asks for."""

    AGAIN = auto()  # in conflict with another: rolled back, the same may work now
    LOST = auto()  # the connection is gone: whether a COMMIT took place is not known
    AWAY = auto()  # the same where none was under way, as the writer alone can tell
    FULL = auto()  # no room on the disk
    SICK = auto()  # the database cannot write at the moment
    OURS = auto()  # the statement was wrong


# What a connection must answer, by setting: one of these texts.
Needs = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Backend:
    """One engine. `shared`: several processes may write at once."""

    name: str
    url: URL
    shared: bool
    now: str  # SQL: microseconds since 1970 by the database's clock
    prepare: Callable[[Any, bool], None]  # a new DBAPI connection; whether it writes
    begin: tuple[str, str] | None  # of the writer and of readers, where the driver does not
    check: Callable[[Connection], None]  # once at the start: settings of the server
    trouble: Callable[[DBAPIError], Trouble]
    long_lists: str | None  # before a statement with hundreds of keys

    @property
    def path(self) -> Path | None:
        """The file, where the database is one."""
        return Path(str(self.url.database)).absolute() if self.name == "sqlite" else None

    def connect(self, *, writes: bool, connections: int) -> Engine:
        """A pool. Its connections have the settings of `prepare`, or raise StoreUnfit."""
        engine = create_engine(
            self.url,
            poolclass=QueuePool,
            pool_size=connections,
            max_overflow=0,
            # A pooled connection may have died since; on SQLite it cannot.
            pool_pre_ping=self.shared,
            hide_parameters=True,  # an error must not show what a message holds; see also `faults`
            connect_args=_CONNECT_ARGS[self.name],
            **({} if self.begin else {"isolation_level": _ISOLATION[writes]}),
        )

        hide_values(engine)

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, _record: object) -> None:
            self.prepare(connection, writes)

        if self.begin:
            start = self.begin[0 if writes else 1]

            @event.listens_for(engine, "begin")
            def begin(connection: Connection) -> None:
                connection.exec_driver_sql(start)

        return engine


_ISOLATION = {True: "READ COMMITTED", False: "REPEATABLE READ"}
_CONNECT_ARGS: dict[str, dict[str, Any]] = {
    "sqlite": {
        "isolation_level": None,
        "check_same_thread": False,
        "cached_statements": 512,  # a batch has one of its own for each number of rows
    },
    "postgresql": {"connect_timeout": CONNECT_S, "application_name": "restante"},
    "mariadb": {"connect_timeout": CONNECT_S, "read_timeout": 60, "write_timeout": 60},
}


def backend(url: str) -> Backend:
    """Raises StoreUnfit for a URL that no engine here understands."""
    parsed = make_url(url)
    name = parsed.get_backend_name()
    if name not in _BACKENDS or not parsed.database:
        raise StoreUnfit(
            f"{parsed.render_as_string()} is no SQLite, PostgreSQL or MariaDB database"
        )
    return _BACKENDS[name](parsed)


def _compare(where: str, needs: Needs, found: Mapping[str, object]) -> None:
    for name, accepted in needs.items():
        value = str(found.get(name))
        if value not in accepted:
            raise StoreUnfit(f"{where}: {name} is {value}, needed is {' or '.join(accepted)}")


# SQLite. Why each: docs/storage.md. The first two take effect in an empty file only.

_PRAGMAS: dict[str, str | int] = {
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
_WRITER_PRAGMAS = _PRAGMAS | {"cache_size": -65536}
_READER_PRAGMAS = _PRAGMAS | {"cache_size": -16384, "query_only": 1}

_SQLITE_TROUBLE = {
    sqlite3.SQLITE_BUSY: Trouble.AGAIN,
    sqlite3.SQLITE_LOCKED: Trouble.AGAIN,
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_IOERR: Trouble.SICK,
    sqlite3.SQLITE_READONLY: Trouble.SICK,
    sqlite3.SQLITE_CANTOPEN: Trouble.SICK,
    sqlite3.SQLITE_NOMEM: Trouble.SICK,
    sqlite3.SQLITE_CORRUPT: Trouble.SICK,
    sqlite3.SQLITE_NOTADB: Trouble.SICK,
}


def _sqlite(url: URL) -> Backend:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreUnfit(f"SQLite {sqlite3.sqlite_version} is too old: 3.40.1 is needed")

    def prepare(connection: sqlite3.Connection, writes: bool) -> None:  # noqa: FBT001
        connection.create_function("unpacked", 1, unpacked, deterministic=True)
        pragmas = _WRITER_PRAGMAS if writes else _READER_PRAGMAS
        for name, needed in pragmas.items():
            # What the file has already is not set again: auto_vacuum would be a commit, and with
            # it a checkpoint, which a full disk has no room for.
            if connection.execute(f"PRAGMA {name}").fetchone() != (needed,):
                connection.execute(f"PRAGMA {name} = {needed}").close()
        rows = {name: connection.execute(f"PRAGMA {name}").fetchone() for name in pragmas}
        # Where a platform does not have a setting, it answers nothing.
        found = {name: row[0] for name, row in rows.items() if row is not None}
        needs = {name: (str(pragmas[name]),) for name in found}
        _compare(str(url.database), needs, found)

    def trouble(error: DBAPIError) -> Trouble:
        code = getattr(error.orig, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_CORRUPT_VTAB:
            return Trouble.OURS  # the search index alone: no mail is in it
        return _SQLITE_TROUBLE.get(code & 0xFF, Trouble.OURS) if code else Trouble.OURS

    return Backend(
        name="sqlite",
        url=url,
        shared=False,
        now="CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
        prepare=prepare,
        # Deferred, a read before a write would fail at once after another's commit.
        begin=("BEGIN IMMEDIATE", "BEGIN"),
        check=lambda _connection: None,
        trouble=trouble,
        long_lists=None,
    )


# PostgreSQL.

_PG_SESSION = {
    "synchronous_commit": "on",
    "statement_timeout": "30s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "1min",
}
_PG_NEEDS: Needs = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "server_encoding": ("UTF8",),
    "zero_damaged_pages": ("off",),
    "ignore_checksum_failure": ("off",),
    "commit_delay": ("0",),
    # With a synchronous standby an administrator may ask for less or more than its disk.
    "synchronous_commit": ("on", "remote_write", "remote_apply"),
    "statement_timeout": ("30s",),
    "lock_timeout": ("5s",),
    "idle_in_transaction_session_timeout": ("1min",),
}
_PG_TROUBLE = {
    "40001": Trouble.AGAIN,  # serialization failure
    "40P01": Trouble.AGAIN,  # deadlock
    "55P03": Trouble.AGAIN,  # lock timeout
    "53100": Trouble.FULL,
    "25006": Trouble.SICK,  # read only
    "57P01": Trouble.LOST,  # shut down by its administrator
    "57P02": Trouble.LOST,
    "57P03": Trouble.LOST,
}


def _postgresql(url: URL) -> Backend:
    def prepare(connection: Any, writes: bool) -> None:  # noqa: FBT001
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name, needed in _PG_SESSION.items():
                # A role can bring another value; one that keeps more than `on` is left.
                if name != "synchronous_commit":
                    cursor.execute(f"SET {name} = '{needed}'")
            cursor.execute(f"SET default_transaction_read_only = {'off' if writes else 'on'}")
            found = {}
            for name in _PG_NEEDS:
                cursor.execute(f"SHOW {name}")
                found[name] = cursor.fetchone()[0]
        connection.autocommit = False
        _compare("PostgreSQL", _PG_NEEDS, found)

    def check(connection: Connection) -> None:
        row = connection.exec_driver_sql(
            "SELECT current_setting('server_version_num')::int, pg_is_in_recovery()"
        ).one()
        if row[0] < OLDEST_POSTGRESQL:
            raise StoreUnfit(f"PostgreSQL {row[0]} is too old: 15 is needed")
        if row[1]:
            raise StoreUnfit("PostgreSQL: pg_is_in_recovery is true, needed is false: a primary")

    def trouble(error: DBAPIError) -> Trouble:
        if error.connection_invalidated:
            return Trouble.LOST
        state = getattr(error.orig, "sqlstate", None)
        if state is None:
            # libpq tells no state for a connection it could not make or that broke off.
            return Trouble.LOST if type(error.orig).__name__ == "OperationalError" else Trouble.OURS
        if state in _PG_TROUBLE:
            return _PG_TROUBLE[state]
        return {"08": Trouble.LOST, "53": Trouble.SICK, "58": Trouble.SICK}.get(
            state[:2], Trouble.OURS
        )

    return Backend(
        name="postgresql",
        url=url,
        shared=True,
        now="CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
        prepare=prepare,
        begin=None,
        check=check,
        trouble=trouble,
        # A prepared statement turns to one plan for all lists after ten runs, and that plan reads
        # the whole index.
        long_lists="SET LOCAL plan_cache_mode = force_custom_plan",
    )


# MariaDB.

_MARIA_SESSION: dict[str, str | int] = {
    "sql_mode": "'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'",
    "innodb_lock_wait_timeout": 5,
    "max_statement_time": 30,
    "idle_transaction_timeout": 60,
    "time_zone": "'+00:00'",
}
_MARIA_NEEDS: Needs = {
    "innodb_flush_log_at_trx_commit": ("1",),
    "innodb_doublewrite": ("1", "ON"),
    "innodb_force_recovery": ("0",),
    "innodb_strict_mode": ("1", "ON"),
    "sql_mode": ("STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION",),
    "innodb_lock_wait_timeout": ("5",),
    "max_statement_time": ("30.0",),
    "idle_transaction_timeout": ("60",),
    "character_set_client": ("utf8mb4",),
}
_MARIA_REFUSED: Needs = {
    "innodb_flush_method": ("nosync", "O_DIRECT_NO_FSYNC"),
    "innodb_checksum_algorithm": ("none", "strict_none"),
}
_MARIA_TROUBLE = {
    1213: Trouble.AGAIN,  # deadlock
    1205: Trouble.AGAIN,  # lock timeout
    1020: Trouble.AGAIN,  # record has changed since last read
    1021: Trouble.FULL,
    1114: Trouble.FULL,
    1290: Trouble.SICK,  # read only
    1836: Trouble.SICK,
    1792: Trouble.SICK,
    0: Trouble.LOST,
    1053: Trouble.LOST,  # server shutdown
    1927: Trouble.LOST,  # connection was killed
    2002: Trouble.LOST,
    2003: Trouble.LOST,
    2006: Trouble.LOST,
    2013: Trouble.LOST,
    2014: Trouble.LOST,
}


def _mariadb(url: URL) -> Backend:
    def prepare(connection: Any, writes: bool) -> None:  # noqa: FBT001
        with connection.cursor() as cursor:
            for name, value in _MARIA_SESSION.items():
                cursor.execute(f"SET SESSION {name} = {value}")
            cursor.execute(f"SET SESSION TRANSACTION {'READ WRITE' if writes else 'READ ONLY'}")
            names = [*_MARIA_NEEDS, *_MARIA_REFUSED, "max_allowed_packet"]
            names += ["log_bin", "sync_binlog"]
            cursor.execute("SELECT " + ", ".join(f"@@{name}" for name in names))
            found = dict(zip(names, cursor.fetchone(), strict=True))
        _compare("MariaDB", _MARIA_NEEDS, found)
        for name, refused in _MARIA_REFUSED.items():
            if str(found[name]) in refused:
                raise StoreUnfit(f"MariaDB: {name} is {found[name]}, needed is any other")
        if found["max_allowed_packet"] < 16 * MIB:
            raise StoreUnfit(
                f"MariaDB: max_allowed_packet is {found['max_allowed_packet']}, needed is"
                f" {16 * MIB} or more"
            )
        # By default the log's last part may be lost, and with it a commit at recovery.
        if found["log_bin"] and str(found["sync_binlog"]) != "1":
            raise StoreUnfit(f"MariaDB: sync_binlog is {found['sync_binlog']}, needed is 1")

    def check(connection: Connection) -> None:
        version = connection.exec_driver_sql("SELECT version()").scalar_one()
        numbers = tuple(int(part) for part in str(version).split("-")[0].split(".")[:2])
        if "mariadb" not in str(version).lower() or numbers < OLDEST_MARIADB:
            raise StoreUnfit(f"{version} is not MariaDB 10.11 or newer")

    def trouble(error: DBAPIError) -> Trouble:
        if error.connection_invalidated:
            return Trouble.LOST
        code = error.orig.args[0] if error.orig and error.orig.args else None
        return _MARIA_TROUBLE.get(code, Trouble.OURS) if isinstance(code, int) else Trouble.OURS

    return Backend(
        name="mariadb",
        url=url.set(query=dict(url.query) | {"charset": "utf8mb4"}),
        shared=True,
        now="CAST(unix_timestamp(now(6)) * 1000000 AS SIGNED)",
        prepare=prepare,
        begin=None,
        check=check,
        trouble=trouble,
        long_lists=None,
    )


_BACKENDS: dict[str, Callable[[URL], Backend]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mariadb": _mariadb,
}
