"""What the power-cut replay traces: a store is opened, filled, emptied in part, closed, reopened.

    python -m tests.powercut_load FILE [PRAGMA ...]

Each line on standard output acknowledges something: it is written after the store has returned.
The pragmas, "synchronous = NORMAL" for one, are set on each connection when the store has done so.
"""

import asyncio
import os
import sqlite3
import sys
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.pool import Pool

from mail import facts
from mail.address import Address
from mail.ident import UniqueId
from store.messages import Copy, NewMessage
from store.records import Role, StoreSettings
from store.store import Store
from tests.sessions import remove
from tests.shapes import message

LOGINS = ("ann", "eve")
PREFIX = b"Return-Path: <bob@example.net>\r\n"
# Delivered at once, so that some share a commit. In each one that takes more than one chunk.
BATCHES = [[*range(first, first + 9), 100 * first + 107] for first in range(0, 50, 10)]
REMOVED = BATCHES[0][2:6]  # by ann, all at once


def content(number: int) -> bytes:
    return message(number, big=300_000)


def receivers(number: int) -> tuple[str, ...]:
    return LOGINS if number % 3 == 0 else LOGINS[:1]


def now() -> datetime:
    return datetime.now(UTC)


def opened(path: Path) -> Store:
    settings = StoreSettings(
        url=f"sqlite:///{path}", quota_octets=0, trash_days=30, max_listed=10_000
    )
    return Store(settings, clock=now)


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # one system call


async def deliver(store: Store, drops: dict[str, int], number: int) -> UniqueId:
    uid = UniqueId.new(now())
    octets = content(number)
    copies = [
        Copy(drops[login], Address.parse(f"{login}@example.test"), PREFIX)
        for login in receivers(number)
    ]
    await store.messages.append(NewMessage(uid, None, octets, facts.read(octets), copies))
    say(f"kept {number}")
    return uid


async def work(path: Path) -> None:
    store = opened(path)
    drops = {}
    for login in LOGINS:
        account = await store.accounts.add(login, f"hash of {login}", role=Role.USER)
        drops[login] = account.maildrop_id
        say(f"added {login}")
    uids: dict[int, UniqueId] = {}
    for batch in BATCHES[:3]:
        found = await asyncio.gather(*(deliver(store, drops, number) for number in batch))
        uids |= dict(zip(batch, found, strict=True))
    await remove(store, drops["ann"], [uids[number] for number in REMOVED])
    say("removed")
    store.close()
    store = opened(path)
    for batch in BATCHES[3:]:
        await asyncio.gather(*(deliver(store, drops, number) for number in batch))
    store.close()


def main(file: str, *pragmas: str) -> None:
    @event.listens_for(Pool, "checkout")
    def prepare(connection: sqlite3.Connection, *_: object) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()

    asyncio.run(work(Path(file)))


if __name__ == "__main__":
    main(*sys.argv[1:])
