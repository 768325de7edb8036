"""250 means kept: what is synced before an acknowledgement is enough to survive a power cut.

Cuts are made after each acknowledgement and around each sync of a real run. What each of them may
leave on the disk is opened by the real store.
"""

import asyncio
import os
import random
import re
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from store.listing import Selection
from store.records import Folder
from tests import powercut_load as load
from tests.powercut import Kind, Run, Write, trace

IMAGES = int(os.environ.get("RESTANTE_IMAGES", "300"))
SEED = 250
NAME = "restante.db"
TRACE = "trace"
# Far below the store's own, so that a short run meets checkpoints and begins its log anew.
CHECKPOINTS = "wal_autocheckpoint = 60"

content = cache(load.content)


@dataclass
class Found:
    """What one image holds: logins, and of each message whose folders it is in."""

    added: set[str] = field(default_factory=set)
    kept: dict[int, dict[str, Folder]] = field(default_factory=dict)

    def honours(self, line: str) -> bool:
        """Whether what this line acknowledged is there."""
        match line.split():
            case ["added", login]:
                return login in self.added
            case ["kept", number]:
                return int(number) in self.kept
            case ["removed"]:
                return self.trash() == set(load.REMOVED)
            case _:
                raise AssertionError(line)

    def trash(self) -> set[int]:
        """What ann removed."""
        return {n for n, folders in self.kept.items() if folders.get("ann") is Folder.TRASH}


@dataclass
class Outcome:
    """What a number of images had in common."""

    images: int = 0
    acknowledged: int = 0
    lost: int = 0
    losing: Counter[Kind] = field(default_factory=Counter)  # images that lost anything

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind.name.lower()} {count}" for kind, count in self.losing.items())
        return (
            f"{self.images} images with {self.acknowledged} acknowledgements before their cuts:"
            f" {self.lost} lost in {self.losing.total()} images ({kinds})"
        )


def run(strace: str, folder: Path, *pragmas: str) -> Run:
    """A run of the load under `folder`, which did what the replay is about."""
    work = folder / "work"
    work.mkdir()
    command = [sys.executable, "-m", "tests.powercut_load", str(work / NAME), CHECKPOINTS, *pragmas]
    found = trace(strace, command, work, folder / TRACE)
    messages = sum(map(len, load.BATCHES))
    assert len(found.said) == len(load.LOGINS) + messages + 1
    log = NAME + "-wal"
    print(
        f"\n{messages} messages, {found.syncs(log)} syncs of the log,"
        f" {found.syncs(NAME)} of the database, {len(found.cuts())} cuts"
    )
    # Commits of several messages; a log written from its beginning again, as it is after a
    # checkpoint; another log after the store was opened again.
    assert found.syncs(log) < messages
    first, _ = found.files(log)
    assert sum(isinstance(c, Write) and c.offset == 0 for c in first.changes) > 1
    return found


def replay(traced: Run, folder: Path, images: int) -> Outcome:
    """Opens each image. Fails if one is damaged and leaves it there; loss is only counted."""
    chance = random.Random(SEED)
    outcome = Outcome()
    image = folder / "image"
    for cut, kind in traced.images(images, chance):
        image.mkdir()
        for name, octets in traced.image(cut, kind, chance).items():
            (image / name).write_bytes(octets)
        try:
            found = asyncio.run(look(image / NAME))
            inspect(image / NAME)
        except BaseException as error:
            error.add_note(f"{image}: cut at line {cut} of {TRACE}; {kind.value} arrived")
            raise
        said = traced.said_before(cut)
        lost = [line for line in said if not found.honours(line)]
        outcome.images += 1
        outcome.acknowledged += len(said)
        outcome.lost += len(lost)
        outcome.losing[kind] += bool(lost)
        shutil.rmtree(image)
    (folder / TRACE).unlink()
    print(outcome)
    return outcome


async def look(path: Path) -> Found:
    """What the store finds when the machine is back. Whatever it shows must be whole."""
    found = Found()
    store = load.opened(path)
    try:
        for account in await store.accounts.all():
            found.added.add(account.login)
            sizes = {}
            for folder in Folder:
                chosen = Selection(folders=frozenset({folder}))
                page = await store.listing.page(account.maildrop_id, chosen, limit=1000)
                messages = [listed.message for listed in page.items]
                sizes[folder] = [message.size for message in messages]
                for message in messages:
                    opened = await store.messages.open(account.maildrop_id, message.uid)
                    octets = b"".join([block async for block in opened.blocks()])
                    number = number_of(octets)
                    # One that was not acknowledged may be there, but then whole.
                    assert octets == load.PREFIX + content(number)
                    assert message.size == len(octets)
                    folders = found.kept.setdefault(number, {})
                    assert account.login not in folders, "twice in one maildrop"
                    folders[account.login] = folder
            usage = await store.maildrops.usage(account.maildrop_id)
            listed = sizes[Folder.INBOX] + sizes[Folder.ARCHIVE]
            assert (usage.messages, usage.octets) == (len(listed), sum(listed))
            assert usage.trash_octets == sum(sizes[Folder.TRASH])
    finally:
        store.close()
    for number, folders in found.kept.items():
        assert folders.keys() == set(load.receivers(number)), "not for all its recipients"
    assert found.trash() in (set(), set(load.REMOVED)), "removed in part"
    return found


def number_of(octets: bytes) -> int:
    match = re.search(rb"number (\d+)\r\n", octets)
    assert match, octets[:300]
    return int(match[1])


def inspect(path: Path) -> None:
    """What no reader of messages would see."""
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
        needed = "SELECT count(*) FROM message m WHERE (m.home, m.uid) = (body.home, body.uid)"
        query = f"SELECT count(*) FROM body WHERE refs <> ({needed})"
        assert raw.execute(query).fetchone() == (0,), "a body's count of its messages"
        bodies = "SELECT home, uid FROM body"
        query = f"SELECT count(*) FROM body_chunk WHERE (home, uid) NOT IN ({bodies})"
        assert raw.execute(query).fetchone() == (0,), "a chunk without a body"


def test_nothing_acknowledged_is_lost(needs: Callable[[str], str], tmp_path: Path) -> None:
    traced = run(needs("strace"), tmp_path)
    assert not replay(traced, tmp_path, IMAGES).lost


def test_the_replay_finds_what_a_weaker_setting_loses(
    needs: Callable[[str], str], tmp_path: Path
) -> None:
    """With NORMAL a commit does not sync the log: nothing is damaged, but the newest is lost."""
    traced = run(needs("strace"), tmp_path, "synchronous = NORMAL")
    assert replay(traced, tmp_path, IMAGES // 2).losing[Kind.DROPPED]
