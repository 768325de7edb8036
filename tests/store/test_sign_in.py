"""Several processes on one database: what ends in one ends in all of them at once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest

from auth import app_passwords
from auth.login import Login
from auth.passwords import Passwords
from mail.errors import BadCredentials
from net.limits import Failures, Peer
from store.store import Store
from tests.databases import Database
from tests.store.conftest import Filled, opened_at, populate

PEER = Peer("192.0.2.1", 1)
SECRET = "correct horse battery"
KEY = bytes(range(32))


class Process:
    """A store and a way in of its own, as each process has them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.passwords = Passwords(cost=4)
        failures = Failures(clock=monotonic)
        self.login = Login(store, self.passwords, failures, key=KEY, clock=monotonic)

    async def signs_in(self, secret: str = SECRET, user: str = "ann@example.test") -> bool:
        try:
            await self.login.check(user, secret, PEER, app_passwords_too=True)
        except BadCredentials:
            return False
        return True


Place = tuple[Filled, Process, Process]


@pytest.fixture
async def place(server: Database, tmp_path: Path) -> AsyncIterator[Place]:
    """Two processes on a database server."""
    url = server.url("filled")
    filled = await populate(opened_at(url), tmp_path, url)
    processes = Process(filled.store), Process(opened_at(url))
    for login in ("ann", "eve"):
        kept = await processes[0].passwords.hash(SECRET)
        await filled.store.accounts.set_password(login, kept)
    yield filled, *processes
    for process in processes:
        process.passwords.close()
        await asyncio.to_thread(process.store.close)


async def test_a_remembered_password_is_forgotten_everywhere(place: Place) -> None:
    filled, one, other = place
    assert await one.signs_in()
    assert await other.signs_in()
    await one.store.accounts.set_password("ann", await one.passwords.hash("another secret"))
    assert not await other.signs_in()
    assert not await one.signs_in()
    assert await other.signs_in("another secret")
    filled.sql("UPDATE account SET state = 1 WHERE login = 'ann'")  # switched off
    assert not await other.signs_in("another secret")


async def test_an_app_password_is_known_and_ended_everywhere(place: Place) -> None:
    filled, one, other = place
    secret = app_passwords.generate()
    keyed = app_passwords.keyed(secret, KEY)
    assert keyed
    ann = await one.store.accounts.get("ann")
    made = await one.store.credentials.add_app_password(ann, "phone", keyed)
    assert await other.signs_in(secret)
    assert not await other.signs_in(secret, user="eve")
    assert not await other.signs_in(secret, user="ann\0")
    filled.sql("UPDATE account SET state = 1 WHERE login = 'ann'")
    assert not await one.signs_in(secret)
    filled.sql("UPDATE account SET state = 0 WHERE login = 'ann'")
    assert await one.signs_in(secret)
    await other.store.credentials.remove_app_password(ann, made.id)
    assert not await one.signs_in(secret)
