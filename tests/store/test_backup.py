"""A backup restores to what was there at one moment, whenever it was killed."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from mail.errors import BackupDamaged, NotEmpty
from mail.ident import UniqueId
from store import schema
from store.backup import LEFT_OUT
from store.copying import OWN_FACTS, slices
from store.database import Database
from store.engines import StoreUnfit
from store.records import Folder
from store.restore import Restored, check, restore
from tests.sessions import remove
from tests.shapes import message
from tests.store.conftest import Filled, opened_at

HEADER = b"From: Bob <bob@example.net>\r\nSubject: One\r\n\r\n"


@pytest.fixture
def filled(filled: Filled) -> Filled:
    """With room."""
    filled.sql("UPDATE maildrop SET quota_octets = 0")
    return filled


def nothing(_done: int, _total: int) -> None:
    pass


def now() -> datetime:
    return datetime.now(UTC)


def bring_back(folder: Path, url: str, *, replace: bool = False) -> Restored:
    return restore(folder, url, replace=replace, now=now(), step=nothing)


async def some_mail(filled: Filled, numbers: range) -> list[UniqueId]:
    uids = [await filled.keep(message(n, big=600_000), filled.ann, filled.eve) for n in numbers]
    await remove(filled.store, filled.ann, uids[:1])
    await filled.store.messages.move(filled.eve, uids[1:2], Folder.ARCHIVE)
    return uids


def leftovers(folder: Path) -> list[Path]:
    return list(folder.glob("*.restored*"))


def content(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row that a backup keeps, and the bodies."""
    engine = create_engine(url, poolclass=NullPool)
    tables = [each for each in schema.METADATA.sorted_tables if each not in LEFT_OUT]
    facts = OWN_FACTS | {"epoch"}
    with engine.connect() as connection:
        return {
            table.name: [
                tuple(row)
                for rows in slices(connection, table)
                for row in rows
                if table is not schema.store_fact or row.name not in facts
            ]
            for table in (*tables, schema.body_chunk)
        }


async def test_what_is_restored_is_what_was_there(filled: Filled, url: str, tmp_path: Path) -> None:
    folder, again = tmp_path / "backup", tmp_path / "again.db"
    uids = await some_mail(filled, range(16))
    saved = await filled.store.save(folder, step=nothing)
    assert (saved.messages, saved.bodies, saved.gone, saved.damaged) == (32, 16, 0, [])
    before = content(url)
    await filled.keep(HEADER)  # later than the backup
    restored = await asyncio.to_thread(bring_back, folder, f"sqlite:///{again}")
    assert not restored.checked.missing
    assert restored.report.found == 0
    assert restored.kept is None
    assert content(f"sqlite:///{again}") == before
    assert not leftovers(tmp_path)

    store = opened_at(f"sqlite:///{again}")
    try:
        for uid in uids:
            found = await store.messages.open(filled.eve, uid)
            octets = b"".join([block async for block in found.blocks()])
            assert octets == await filled.octets(filled.eve, uid)
    finally:
        store.close()


async def test_a_backup_adds_only_what_is_new(filled: Filled, url: str, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    await some_mail(filled, range(8))
    await filled.store.save(folder, step=nothing)
    [pack] = folder.glob("*.pack")
    first = pack.read_bytes()
    await some_mail(filled, range(8, 12))
    second = await filled.store.save(folder, step=nothing)
    assert second.bodies == 4
    assert pack.read_bytes().startswith(first)
    third = await filled.store.save(folder, step=nothing)
    assert (third.bodies, third.messages) == (0, 24)
    assert len(list(folder.glob("meta-*.db"))) == 3
    before = content(url)
    await asyncio.to_thread(bring_back, folder, f"sqlite:///{tmp_path / 'again.db'}")
    assert content(f"sqlite:///{tmp_path / 'again.db'}") == before
    for file in folder.iterdir():
        assert file.suffix in (".db", ".pack") or file.name == "lock", file


async def test_it_is_one_moment_while_mail_arrives(filled: Filled, tmp_path: Path) -> None:
    folder, again = tmp_path / "backup", f"sqlite:///{tmp_path / 'again.db'}"
    await some_mail(filled, range(20))
    ended = False

    async def arrive() -> None:
        number = 0
        while not ended:
            uid = await filled.keep(HEADER + b"%d\r\n" % number, filled.ann, filled.eve)
            await remove(filled.store, filled.eve, [uid])
            number += 1

    arriving = asyncio.create_task(arrive())
    for _ in range(5):
        await filled.store.save(folder, step=nothing)
    ended = True
    await arriving
    restored = await asyncio.to_thread(bring_back, folder, again)
    assert restored.report.found == 0, restored.report.problems
    assert not restored.checked.missing
    assert restored.checked.messages >= 40


async def test_it_goes_back_to_the_engine_it_came_from(
    filled: Filled, url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    await some_mail(filled, range(8))
    await filled.store.save(folder, step=nothing)
    before = content(url)
    await filled.keep(HEADER)
    filled.store.close()
    with pytest.raises(NotEmpty):
        await asyncio.to_thread(bring_back, folder, url)
    assert content(url) != before
    restored = await asyncio.to_thread(bring_back, folder, url, replace=True)
    assert content(url) == before
    assert restored.report.found == 0
    epochs = {_epoch(url)}
    if restored.kept:
        with closing(sqlite3.connect(restored.kept)) as raw:
            assert raw.execute("SELECT count(*) FROM message").fetchone() == (17,)
    await asyncio.to_thread(bring_back, folder, url, replace=True)
    epochs.add(_epoch(url))
    assert len(epochs) == 2  # old cursors are told to begin again
    filled.store = opened_at(url)


def _epoch(url: str) -> str:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        query = text("SELECT value FROM store_fact WHERE name = 'epoch'")
        return str(connection.execute(query).scalar_one())


async def test_what_a_backup_lacks_is_named(filled: Filled, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    uids = await some_mail(filled, range(16))
    filled.sql("DELETE FROM body_chunk WHERE uid = :uid", uid=uids[3].octets)
    saved = await filled.store.save(folder, step=nothing)
    assert saved.damaged == [str(uids[3])]
    assert check(folder, step=nothing).missing == [str(uids[3])]
    [pack] = folder.glob("*.pack")
    sound = pack.read_bytes()
    chance = random.Random(1)
    for _ in range(20):
        octets = bytearray(sound)
        octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
        pack.write_bytes(octets)
        checked = check(folder, step=nothing)
        assert len(checked.missing) == 2
        assert (checked.messages, checked.bodies) == (32, 14)
    restored = await asyncio.to_thread(bring_back, folder, f"sqlite:///{tmp_path / 'again.db'}")
    assert str(uids[3]) in restored.checked.missing
    assert restored.report.found


async def test_a_body_that_is_removed_while_the_backup_runs_is_no_fault(
    filled: Filled, tmp_path: Path
) -> None:
    await some_mail(filled, range(4))
    done: list[int] = []

    def remove(_done: int, _total: int) -> None:
        if not done:
            done.append(1)
            filled.sql("DELETE FROM body_chunk")
            filled.sql("DELETE FROM body")

    saved = await filled.store.save(tmp_path / "backup", step=remove)
    assert (saved.gone, saved.bodies, saved.damaged) == (4, 0, [])


def test_a_folder_without_a_backup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupDamaged):
        check(tmp_path, step=nothing)
    (tmp_path / "meta-000001-20260101T000000Z.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(BackupDamaged):
        check(tmp_path, step=nothing)
    with pytest.raises(BackupDamaged):
        bring_back(tmp_path, f"sqlite:///{tmp_path / 'new.db'}")


def test_an_unfinished_store_is_refused_until_it_is_filled(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'restante.db'}"
    database = Database(url)
    with database.writer.begin() as connection:
        connection.execute(text("INSERT INTO store_fact VALUES ('unfinished', '')"))
    database.close()
    with pytest.raises(StoreUnfit, match="did not come to its end"):
        Database(url)
    Database(url, filling=True).close()


SAVE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from store.backup import save
from store.database import Database
from store.restore import restore

act, url, folder = sys.argv[1:]

def step(done, total):
    print(done, total, flush=True)

if act == "save":
    save(Database(url), Path(folder), now=datetime.now(UTC), step=step)
else:
    restore(Path(folder), url, replace=True, now=datetime.now(UTC), step=step)
"""


def kill_at(line: int, act: str, url: str, folder: Path) -> bool:
    """Runs an act in a process and kills it after so many steps; whether it was still at it."""
    with subprocess.Popen(
        [sys.executable, "-c", SAVE, act, url, str(folder)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout
        for _ in range(line):
            if not process.stdout.readline():
                break
        process.send_signal(signal.SIGKILL)
        process.stdout.read()
    return process.returncode != 0


@pytest.mark.parametrize("line", [2, 10])  # among the rows, and among the bodies
async def test_killed_at_any_point_the_backup_before_restores(
    filled: Filled, url: str, tmp_path: Path, line: int
) -> None:
    folder = tmp_path / "backup"
    await some_mail(filled, range(10))
    await filled.store.save(folder, step=nothing)
    first = content(url)
    for number in range(2):
        await filled.keep(HEADER + b"%d" % number + os.urandom(9_000_000).hex().encode() + b"\r\n")
    filled.store.close()
    kill_at(line, "save", url, folder)
    again = f"sqlite:///{tmp_path / 'again.db'}"
    complete = len(list(folder.glob("meta-*.db"))) == 2
    restored = await asyncio.to_thread(bring_back, folder, again)
    assert not restored.checked.missing
    assert content(again) == (content(url) if complete else first)
    # And the next one is complete, with what the killed one had brought.
    filled.store = opened_at(url)
    await filled.store.save(folder, step=nothing)
    assert not list(folder.glob("*.part*"))
    await asyncio.to_thread(bring_back, folder, again, replace=True)
    assert content(again) == content(url)


@pytest.mark.parametrize("line", [1, 6, 9])
async def test_a_killed_restore_leaves_the_store_as_it_was(
    filled: Filled, url: str, tmp_path: Path, line: int
) -> None:
    """Or, on a server, one that nobody opens by mistake, and that the next restore fills."""
    folder = tmp_path / "backup"
    await some_mail(filled, range(10))
    await filled.store.save(folder, step=nothing)
    saved = content(url)
    await filled.keep(HEADER)
    later = content(url)
    filled.store.close()
    if kill_at(line, "restore", url, folder):
        if url.startswith("sqlite"):
            assert content(url) in (later, saved)
            opened_at(url).close()
        else:
            with pytest.raises(StoreUnfit):
                opened_at(url)
    await asyncio.to_thread(bring_back, folder, url, replace=True)
    assert content(url) == saved
    filled.store = opened_at(url)
