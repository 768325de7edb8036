"""A disk of 64 MB that fills up: mail is put off, deletes are committed, and service comes back."""

import asyncio
import os
import random
import shutil
import smtplib
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from mail.errors import StorageFull
from tests.kit import CONFIG, Live, body_of, live_server, stuffed
from tests.sessions import remove
from tests.shapes import message
from tests.store.aged import HEADER, Aged, aged_store
from tests.waiting import until

ANN = "ann@example.test"
MIB = 1024 * 1024
ROUNDS = 2


@pytest.fixture
def disk(tmp_path: Path, needs: Callable[[str], str]) -> Iterator[Path]:
    """A file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("a file system can be mounted by root only")
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    subprocess.run([needs("mkfs.ext4"), "-q", "-m", "0", image], check=True)
    subprocess.run([needs("mount"), "-o", "loop", image, folder], check=True)
    try:
        folder.chmod(0o700)
        yield folder
    finally:
        subprocess.run([needs("umount"), folder], check=True)


def offer(live: Live, content: bytes) -> int:
    """The code of the reply to a message."""
    with smtplib.SMTP(live.smtp.host, live.smtp.port, timeout=60) as client:
        client.ehlo("client.example.net")
        client.mail("bob@example.net")
        client.rcpt(ANN)
        client.docmd("DATA")
        client.send(stuffed(content) + b".\r\n")
        return client.getreply()[0]


def half_a_day_later(disk: Path) -> None:
    """For what is in the trash: no session can list it any more."""
    with closing(sqlite3.connect(disk / "data" / "restante.db")) as beside, beside:
        beside.execute(f"UPDATE message SET expires_at = expires_at - {12 * 3600 * 1_000_000}")


def test_full_and_back_twice(disk: Path) -> None:
    config = CONFIG.format(smtp=0, pop3=0, http=0).replace(
        "[smtp]\n", "[smtp]\nmax_message_mib = 1\n"
    )
    (disk / "config.toml").write_text(config + "[store]\nmin_free_mib = 8\n")
    with live_server(disk) as live:
        live.add_user("ann", ANN)
        number = 7  # these carry attachments that do not compress
        for _ in range(ROUNDS):
            kept: dict[int, bytes] = {}
            refused = 0
            while refused < 2:
                code = offer(live, message(number, big=600_000))
                if code == 250:
                    kept[number] = message(number, big=600_000)
                    number += 100
                else:
                    assert code == 452
                    refused += 1
                    # Every minute of itself: below the floor the trash goes before its time.
                    live.run(live.store.upkeep.run_once())
            assert len(kept) >= 5  # below the floor the trash gives no more room than is missing
            # Now somebody else takes the rest: not one octet is left.
            with (disk / "other").open("wb", buffering=0) as other, suppress(OSError):
                while True:
                    other.write(bytes(4096))
            assert offer(live, message(0)) == 452
            stored = [body_of(octets) for octets in live.fetch(ANN).values()]
            assert sorted(stored) == sorted(kept.values())
            client = live.pop3_client(ANN)
            for n in range(1, len(kept) + 1):
                client.dele(n)
            client.quit()
            assert not live.fetch(ANN)
            (disk / "other").unlink()
            half_a_day_later(disk)
            again = message(number, big=600_000)
            until(lambda again=again: offer(live, again) == 250, "mail is taken again")  # type: ignore[misc]
            client = live.pop3_client(ANN)
            client.dele(1)
            client.quit()
            number += 100


FLOOR = 16 * MIB
MAILS = 20


@pytest.fixture
async def aged(disk: Path) -> AsyncIterator[Aged]:
    """With ten MiB in the trash, which nobody could list as far as the clock says."""
    async with aged_store(f"sqlite:///{disk}/restante.db", floor_octets=FLOOR) as found:
        found.run("UPDATE maildrop SET quota_octets = 0")
        chance = random.Random(1)
        for _ in range(MAILS):
            uid = await found.keep(HEADER + chance.randbytes(MIB // 2).hex().encode() + b"\r\n")
            await remove(found.store, found.ann, [uid])
        await found.store.upkeep.run_once()
        assert found.count("message") == MAILS
        yield found


def take(disk: Path, missing: int) -> None:
    """Another program takes so much that this is missing above the floor."""
    with closing(sqlite3.connect(disk / "restante.db")) as beside:
        assert beside.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    free = shutil.disk_usage(disk).free
    with (disk / "other").open("wb") as other:
        os.posix_fallocate(other.fileno(), 0, free - FLOOR + missing)


async def test_what_a_session_may_list_stays(disk: Path, aged: Aged) -> None:
    take(disk, 2 * MIB)
    aged.time.goes_by(hours=12, seconds=-1)
    await aged.store.upkeep.run_once()
    assert aged.count("message") == aged.count("body") == MAILS
    with pytest.raises(StorageFull):
        await aged.keep(HEADER)


async def test_no_more_trash_goes_than_brings_the_room_back(disk: Path, aged: Aged) -> None:
    take(disk, 2 * MIB)
    aged.time.goes_by(hours=12)
    await aged.store.upkeep.run_once()
    assert MAILS // 2 <= aged.count("message") < MAILS
    assert aged.count("body") == aged.count("message")
    await aged.keep(HEADER)
    assert (await aged.store.verify()).problems == []


async def test_no_trash_goes_where_it_would_not_be_enough(disk: Path, aged: Aged) -> None:
    take(disk, 12 * MIB)
    aged.time.goes_by(hours=12)
    await aged.store.upkeep.run_once()
    assert aged.count("message") == MAILS


async def test_nothing_goes_early_that_a_backup_needs(disk: Path, aged: Aged) -> None:
    take(disk, 2 * MIB)
    aged.time.goes_by(hours=12)
    begun, leave = threading.Event(), threading.Event()

    def step(_done: int, _total: int) -> None:
        begun.set()
        leave.wait()

    with tempfile.TemporaryDirectory() as elsewhere:
        saving = asyncio.create_task(aged.store.save(Path(elsewhere), step=step))
        try:
            await asyncio.to_thread(begun.wait)
            await aged.store.upkeep.run_once()
            assert aged.count("message") == MAILS
        finally:
            leave.set()
            saved = await saving
    assert (saved.bodies, saved.gone) == (MAILS, 0)
    await aged.store.upkeep.run_once()
    assert aged.count("message") < MAILS
