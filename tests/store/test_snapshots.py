"""A snapshot made of the one before and of what changed since is what a full read would give."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from mail import facts
from mail.address import Address
from mail.ident import UniqueId
from store.maildrops import CHANGES
from store.messages import Copy, NewMessage
from store.records import Entries, Folder, Role, StoreSettings
from store.store import Store
from tests.sessions import listed
from tests.store.conftest import now

ANN = Address.parse("ann@example.test")
HEADER = b"From: Bob <bob@example.net>\r\n\r\n"
FOLDERS = (Folder.INBOX, Folder.ARCHIVE, Folder.TRASH, Folder.PURGED)

Act = tuple[str, int, Folder]
NUMBER = st.integers(0, 2**16)
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("keep"), NUMBER, st.just(Folder.INBOX)),
        st.tuples(st.just("move one"), NUMBER, st.sampled_from(FOLDERS)),
        st.tuples(st.just("move some"), NUMBER, st.sampled_from(FOLDERS)),
        st.tuples(st.sampled_from(["expire", "forget", "look"]), NUMBER, st.just(Folder.INBOX)),
    ),
    max_size=40,
)


@dataclass
class Watched:
    """A store, and what its rows say, asked past it."""

    url: str
    store: Store
    drop: int = 0
    uids: list[UniqueId] = field(default_factory=list)

    def sql(self, statement: str, **values: object) -> list[Any]:
        with create_engine(self.url, poolclass=NullPool).begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    async def begin(self) -> None:
        """With an empty maildrop."""
        login = f"ann{next(_numbers)}"
        self.drop = (await self.store.accounts.add(login, login, role=Role.USER)).maildrop_id
        self.uids = []

    async def keep(self, uid: UniqueId, content: bytes = HEADER) -> None:
        copies = [Copy(self.drop, ANN, b"")]
        await self.store.messages.append(
            NewMessage(uid, None, content, facts.read(content), copies)
        )

    async def do(self, act: str, number: int, to: Folder) -> None:
        chance = random.Random(number)
        match act:
            case "keep":  # what is collected may be older than what is there
                self.uids.append(UniqueId(chance.randbytes(2) + UniqueId.new(now()).octets[2:]))
                await self.keep(self.uids[-1], HEADER + b"x" * (number % 100) + b"\r\n")
            case "move one" if self.uids:
                await self.store.messages.move(self.drop, [chance.choice(self.uids)], to)
            case "move some":
                some = [uid for uid in self.uids if chance.random() < 0.5]
                await self.store.messages.move(self.drop, some, to)
            case "expire":
                self.sql("UPDATE message SET expires_at = 1 WHERE expires_at IS NOT NULL")
                await self.upkeep()
            case "forget":
                self.sql("UPDATE tombstone SET at = 1")
                await self.upkeep()
            case "look":
                self.compare(await listed(self.store, self.drop))

    async def upkeep(self) -> None:
        self.sql("UPDATE maildrop SET sweep_at = 1 WHERE id = :drop", drop=self.drop)
        await self.store.upkeep.run_once()

    async def play(self, acts: Sequence[Act]) -> None:
        await self.begin()
        for act in acts:
            await self.do(*act)
        self.compare(await listed(self.store, self.drop))

    def compare(self, entries: Entries) -> None:
        rows = self.sql(
            "SELECT uid, size, born FROM message WHERE maildrop_id = :drop AND folder = 0"
            " ORDER BY uid",
            drop=self.drop,
        )
        assert [(entry.uid.octets, entry.size) for entry in entries] == [
            (row.uid, row.size) for row in rows
        ]
        assert entries.octets == sum(row.size for row in rows)
        assert list(entries.born) == [row.born for row in rows]


_numbers = count()


def watched(url: str) -> Watched:
    settings = StoreSettings(url=url, quota_octets=0, trash_days=30, max_listed=10_000)
    return Watched(url, Store(settings, clock=now))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    found = watched(f"sqlite:///{tmp_path_factory.mktemp('snapshots') / 'restante.db'}")
    yield found
    found.store.close()


INBOX, PURGED = Folder.INBOX, Folder.PURGED
GONE_AND_FORGOTTEN = [
    ("keep", 1, INBOX),
    ("look", 0, INBOX),
    ("move one", 1, PURGED),
    ("expire", 0, INBOX),
    ("forget", 0, INBOX),
]


@given(acts=ACTS)
@example(acts=GONE_AND_FORGOTTEN)
def test_any_changes_give_what_a_full_read_gives(one: Watched, acts: Sequence[Act]) -> None:
    asyncio.run(one.play(acts))


async def test_many_changes_on_each_engine(url: str) -> None:
    chance = random.Random(1)
    kinds = ["keep"] * 6 + ["move one"] * 3 + ["move some", "expire", "forget"] + ["look"] * 6
    acts = [
        (chance.choice(kinds), chance.randrange(2**16), chance.choice(FOLDERS)) for _ in range(150)
    ]
    found = watched(url)
    try:
        await found.play(acts)
    finally:
        found.store.close()


async def test_more_changes_than_are_followed(url: str) -> None:
    """Moved at once they have one number: it is their count that decides."""
    found = watched(url)
    try:
        await found.begin()
        await found.keep(UniqueId.new(now()))
        row = found.sql("SELECT * FROM message WHERE maildrop_id = :drop", drop=found.drop)[0]
        columns = ", ".join(row._fields)
        values = ", ".join(":" + name for name in row._fields)
        more = [
            row._asdict() | {"uid": UniqueId.new(now()).octets, "born": n, "folder": 1}
            for n in range(2, CHANGES + 3)
        ]
        with create_engine(url, poolclass=NullPool).begin() as connection:
            connection.execute(text(f"INSERT INTO message ({columns}) VALUES ({values})"), more)
        found.compare(await listed(found.store, found.drop))
        uids = [UniqueId(each["uid"]) for each in more]
        await found.store.messages.move(found.drop, uids, Folder.INBOX)
        found.compare(await listed(found.store, found.drop))
    finally:
        found.store.close()


async def test_sessions_without_a_change_in_between_share_one(one: Watched) -> None:
    await one.begin()
    await one.keep(UniqueId.new(now()))
    first = await listed(one.store, one.drop)
    await one.keep(UniqueId.new(now()))
    second = await listed(one.store, one.drop)
    assert (len(first), len(second)) == (1, 2)  # what a session lists stays
    assert await listed(one.store, one.drop) is second
