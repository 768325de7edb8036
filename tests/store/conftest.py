"""A store on a temporary file, with two users who have one address each."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mail import facts
from mail.address import Address, parse_domain
from mail.ident import UniqueId
from store.messages import Copy, NewMessage
from store.records import Role, StoreSettings
from store.store import Store

PREFIX = b"Return-Path: <bob@example.net>\r\n"
QUOTA = 1_000_000


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Filled:
    """The store, and the maildrops of ann and eve."""

    path: Path
    store: Store
    ann: int
    eve: int

    async def keep(self, content: bytes, *maildrops: int) -> UniqueId:
        """Appends canonical content to the maildrops; ann's without any."""
        uid = UniqueId.new(now())
        recipient = Address.parse("ann@example.test")
        copies = [Copy(drop, recipient, PREFIX) for drop in maildrops or (self.ann,)]
        new = NewMessage(uid, None, content, facts.read(content), copies)
        await self.store.messages.append(new)
        return uid

    async def octets(self, maildrop: int, uid: UniqueId) -> bytes:
        opened = await self.store.messages.open(maildrop, uid)
        return b"".join([block async for block in opened.blocks()])


def opened(path: Path) -> Store:
    settings = StoreSettings(
        url=f"sqlite:///{path}", quota_octets=QUOTA, trash_days=30, max_listed=10_000
    )
    return Store(settings, clock=now)


async def fill(path: Path) -> Filled:
    """A new store with the two users; to be closed."""
    store = opened(path)
    await store.domains.add(parse_domain("example.test"))
    drops = []
    for login in ("ann", "eve"):
        address = Address.parse(f"{login}@example.test")
        account = await store.accounts.add(login, "hash", role=Role.USER, address=address)
        drops.append(account.maildrop_id)
    return Filled(path, store, *drops)


@pytest.fixture
async def filled(tmp_path: Path) -> AsyncIterator[Filled]:
    found = await fill(tmp_path / "restante.db")
    yield found
    found.store.close()
