"""The settings a 250 rests on, the schema, and who may have the store open."""

import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from store import schema
from store.database import Database, StoreInUse, probe
from store.engines import StoreUnfit
from tests.databases import Database as DatabaseServer
from tests.waiting import until

# Of security.md's table for SQLite: what a connection must answer.
REQUIRED = {
    "journal_mode": "wal",
    "synchronous": 2,
    "foreign_keys": 1,
    "busy_timeout": 5000,
    "trusted_schema": 0,
    "cell_size_check": 1,
    "secure_delete": 1,
    "page_size": 8192,
    "auto_vacuum": 2,
    "mmap_size": 0,
    "temp_store": 2,
    "wal_autocheckpoint": 8000,
    "journal_size_limit": 64 * 1024 * 1024,
}


# How many wait for another's lock. Not INNODB_TRX: it is a copy, which is renewed only when nobody
# has looked at it for 0.1 s.
WAITING = {
    "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
    "mariadb": "SELECT CAST(variable_value AS SIGNED) FROM information_schema.global_status"
    " WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "restante.db"


def test_each_connection_has_the_settings_that_the_promises_need(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    try:
        for _ in range(2):
            with database.writer.connect() as connection:
                for name, needed in REQUIRED.items():
                    found = connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                    assert found == needed, name
            database.writer.dispose()  # the next one is a new connection
    finally:
        database.close()


async def test_readers_cannot_write(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    try:
        assert await database.read(
            lambda connection: connection.exec_driver_sql("PRAGMA query_only").scalar()
        )
    finally:
        database.close()


def test_a_file_with_a_wrong_setting_is_refused_by_name(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA page_size = 4096")
        raw.execute("CREATE TABLE other (x)")
    with pytest.raises(StoreUnfit, match="page_size is 4096, needed is 8192"):
        Database(f"sqlite:///{path}")


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"Dear diary, today I learned about file formats. " * 100)
    with pytest.raises(StoreUnfit):
        Database(f"sqlite:///{path}")


def test_a_folder_that_is_not_there_is_refused(path: Path) -> None:
    with pytest.raises(StoreUnfit, match="No such file"):
        Database(f"sqlite:///{path.parent}/missing/restante.db")


def test_one_process_at_a_time(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    with pytest.raises(StoreInUse):
        Database(f"sqlite:///{path}")
    database.close()
    Database(f"sqlite:///{path}").close()


def test_processes_that_open_one_database_at_the_same_time(server: DatabaseServer) -> None:
    url = server.url("together")
    first = Database(url)
    with ThreadPoolExecutor(1) as thread:
        with first.writer.begin() as connection:
            probe(connection)
            opening = thread.submit(Database, url)
            until(lambda: server.execute(WAITING[server.name])[0][0] > 0, "the second one waits")
        opening.result(60).close()
    first.close()


def test_the_migrated_schema_is_the_one_in_the_code(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    try:
        with database.writer.connect() as connection:
            # What each engine needs for its full-text index is no part of the common schema.
            context = MigrationContext.configure(
                connection,
                opts={
                    "include_name": lambda name, _kind, _parents: (
                        not str(name).startswith("search_index")
                    )
                },
            )
            assert compare_metadata(context, schema.METADATA) == []
    finally:
        database.close()


def test_the_files_are_for_their_owner_alone(path: Path) -> None:
    before = os.umask(0o077)
    try:
        database = Database(f"sqlite:///{path}")
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
        database.close()
    finally:
        os.umask(before)
