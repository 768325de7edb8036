"""Room on the disk, where the disk is in trouble itself."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from mail.errors import StorageFull
from store.database import Database
from store.space import Space
from store.writer import Writer
from tests.store.conftest import new_file
from tests.waiting import until


def test_a_reserve_that_cannot_be_removed_raises_nothing(tmp_path: Path) -> None:
    """The writer lets go of it in the middle of a fault; an error there would end its thread."""
    space = Space(tmp_path / "restante.db", 0)
    reserve = tmp_path / "restante.db.reserve"
    reserve.mkdir()  # stands for a file on a file system that has become read-only
    space.release()
    assert reserve.exists()


async def test_a_writer_outlives_a_folder_that_goes_away(tmp_path: Path) -> None:
    """While it is sick it looks for room again and again; here the look itself fails."""
    folder, way = tmp_path / "folder", tmp_path / "way"
    folder.mkdir()
    way.symlink_to(folder)
    database = Database(new_file(folder / "restante.db"))
    writer = Writer(database, Space(way / "restante.db", floor_octets=1))

    def fill(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 5}")
        statement = "INSERT INTO store_fact VALUES ('large', zeroblob(1000000))"
        connection.execute(text(statement))

    def answer(_connection: Connection) -> int:
        return 7

    try:
        with pytest.raises(StorageFull):
            await writer.run(fill)
        with pytest.raises(StorageFull):
            await writer.run(answer)  # it is sick
        with closing(sqlite3.connect(folder / "restante.db")) as beside:
            version = "PRAGMA data_version"
            before = beside.execute(version).fetchone()
            way.unlink()
            until(lambda: beside.execute(version).fetchone() != before, "a probe was written")
        async with asyncio.timeout(30):
            assert await writer.run(answer, frees=True) == 7
    finally:
        await asyncio.to_thread(writer.close)
        database.close()
