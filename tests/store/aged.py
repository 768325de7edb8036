"""A store whose time the test decides, with two users, and a way to reach into its rows."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from mail import facts
from mail.address import Address, parse_domain
from mail.ident import UniqueId
from store.engines import backend
from store.messages import Copy, NewMessage
from store.records import Role, StoreSettings
from store.store import Store

PREFIX = b"Return-Path: <bob@example.net>\r\n"
HEADER = b"From: Bob <bob@example.net>\r\nSubject: One\r\n\r\n"
TRASH_DAYS = 7
QUOTA = 100_000


@dataclass
class Time:
    """What the wall clock shows, and the seconds that have really passed."""

    wall: datetime = field(default_factory=lambda: datetime(2030, 1, 1, tzinfo=UTC))
    seconds: float = 1000.0

    def now(self) -> datetime:
        return self.wall

    def elapsed(self) -> float:
        return self.seconds

    def goes_by(self, **duration: float) -> None:
        self.wall += timedelta(**duration)
        self.seconds += timedelta(**duration).total_seconds()


@dataclass
class Aged:
    """The store, its time, and the maildrops of ann and eve."""

    url: str
    time: Time
    store: Store
    ann: int = 0
    eve: int = 0

    async def keep(self, content: bytes, *maildrops: int) -> UniqueId:
        """Appends canonical content to the maildrops; ann's without any."""
        uid = UniqueId.new(self.time.now())
        recipient = Address.parse("ann@example.test")
        copies = [Copy(drop, recipient, PREFIX) for drop in maildrops or (self.ann,)]
        await self.store.messages.append(
            NewMessage(uid, None, content, facts.read(content), copies)
        )
        return uid

    async def octets(self, maildrop: int, uid: UniqueId) -> bytes:
        opened = await self.store.messages.open(maildrop, uid)
        return b"".join([block async for block in opened.blocks()])

    @contextmanager
    def rows(self) -> Iterator[Connection]:
        """A transaction past the store."""
        engine = backend(self.url).connect(writes=True, connections=1)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    def run(self, statement: str, **values: Any) -> list[Any]:
        with self.rows() as connection:
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    def count(self, table: str) -> int:
        return int(self.run(f"SELECT count(*) FROM {table}")[0][0])


def settings(url: str) -> StoreSettings:
    return StoreSettings(url=url, quota_octets=QUOTA, trash_days=TRASH_DAYS, max_listed=10_000)


@asynccontextmanager
async def aged_store(url: str, **others: Any) -> AsyncIterator[Aged]:
    """On a new database; with other settings."""
    time = Time()
    store = Store(replace(settings(url), **others), clock=time.now, elapsed=time.elapsed)
    try:
        aged = Aged(url, time, store)
        await store.domains.add(parse_domain("example.test"))
        for login in ("ann", "eve"):
            address = Address.parse(f"{login}@example.test")
            account = await store.accounts.add(
                login, f"hash {login}", role=Role.USER, address=address
            )
            setattr(aged, login, account.maildrop_id)
        yield aged
    finally:
        store.close()


@asynccontextmanager
async def reopened(url: str, time: Time) -> AsyncIterator[Aged]:
    """A store that is there already."""
    store = Store(settings(url), clock=time.now, elapsed=time.elapsed)
    try:
        yield Aged(url, time, store)
    finally:
        store.close()
