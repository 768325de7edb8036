"""A store on a temporary file, with two users who have one address each."""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from mail import facts
from mail.address import Address, parse_domain
from mail.ident import UniqueId
from store import database as store_database
from store import schema
from store.database import revision
from store.engines import backend
from store.listing import Selection
from store.messages import Copy, NewMessage
from store.migrating import steps
from store.records import Folder, Message, Role, StoreSettings
from store.store import Store
from tests.databases import Database

PREFIX = b"Return-Path: <bob@example.net>\r\n"
QUOTA = 1_000_000


def now() -> datetime:
    return datetime.now(UTC)


@cache
def _beside(url: str) -> Engine:
    """It keeps no connection."""
    return create_engine(url, poolclass=NullPool)


@dataclass
class Filled:
    """The store, and the maildrops of ann and eve."""

    path: Path
    store: Store
    ann: int
    eve: int
    url: str
    latest: datetime = field(default_factory=now)

    def sql(self, statement: str, **values: object) -> list[Any]:
        """Runs a statement beside the store, on a connection of its own; its rows, if any."""
        with _beside(self.url).begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    async def keep(self, content: bytes, *maildrops: int) -> UniqueId:
        """Appends canonical content to the maildrops; ann's without any.

        Each has a millisecond of its own, so that the order of their ids is that of their arrival.
        """
        self.latest = max(now(), self.latest + timedelta(milliseconds=1))
        uid = UniqueId.new(self.latest)
        recipient = Address.parse("ann@example.test")
        copies = [Copy(drop, recipient, PREFIX) for drop in maildrops or (self.ann,)]
        new = NewMessage(uid, None, content, facts.read(content), copies)
        await self.store.messages.append(new)
        return uid

    async def page(
        self, maildrop: int, folder: Folder = Folder.INBOX, *, limit: int = 10_000
    ) -> list[Message]:
        """The messages of a folder, newest first."""
        chosen = Selection(folders=frozenset({folder}))
        page = await self.store.listing.page(maildrop, chosen, limit=limit)
        return [listed.message for listed in page.items]

    async def octets(self, maildrop: int, uid: UniqueId) -> bytes:
        opened = await self.store.messages.open(maildrop, uid)
        return b"".join([block async for block in opened.blocks()])


def opened(path: Path) -> Store:
    return opened_at(f"sqlite:///{path}")


def opened_at(url: str) -> Store:
    settings = StoreSettings(url=url, quota_octets=QUOTA, trash_days=30, max_listed=10_000)
    return Store(settings, clock=now)


async def fill(path: Path) -> Filled:
    """A new store with the two users; to be closed."""
    new_file(path)
    return await populate(opened(path), path)


async def populate(store: Store, path: Path, url: str = "") -> Filled:
    await store.domains.add(parse_domain("example.test"))
    drops = []
    for login in ("ann", "eve"):
        address = Address.parse(f"{login}@example.test")
        account = await store.accounts.add(
            login, f"hash of {login}", role=Role.USER, address=address
        )
        drops.append(account.maildrop_id)
    ann, eve = drops
    return Filled(path, store, ann, eve, url=url or f"sqlite:///{path}")


def new_file(path: Path) -> str:
    """A new database with the schema, in less time than it takes to make one."""
    path.write_bytes(_migrated())
    return f"sqlite:///{path}"


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "restante.db"
        store_database.Database(f"sqlite:///{path}").close()
        return path.read_bytes()


def emptied(server: Database, name: str) -> str:
    """A database without a row: that of the test before, where it left the schema whole."""
    url = server.at(name)
    engine = backend(url).connect(writes=True, connections=1)
    try:
        with engine.begin() as connection:
            whole = revision(connection) == steps()[-1].revision
            for table in reversed(schema.METADATA.sorted_tables):
                connection.execute(delete(table))
    except DBAPIError:
        whole = False
    finally:
        engine.dispose()
    if not whole:
        store_database.Database(server.url(name)).close()
    return url


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database on each engine: what runs on one runs on all, unchanged."""
    if request.param == "sqlite":
        return new_file(tmp_path / "restante.db")
    server: Database = request.getfixturevalue(request.param)
    return emptied(server, "filled")


@pytest.fixture
async def filled(url: str, tmp_path: Path) -> AsyncIterator[Filled]:
    found = await populate(opened_at(url), tmp_path / "restante.db", url)
    yield found
    found.store.close()


@pytest.fixture(scope="session", params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Database:
    """Each of the database servers; started when the first test asks for it."""
    found: Database = request.getfixturevalue(request.param)
    return found
