"""Signing in: one answer for every failure, and a remembered check that a change undoes."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from auth.login import REMEMBERED_S, SLOWEST_FAILURE_S, Login
from auth.passwords import Passwords
from mail.address import Address, parse_domain
from mail.errors import BadCredentials
from net.limits import FAILURES_FORGOTTEN_S, Failures, Peer
from store.records import Role, StoreSettings
from store.store import Store

PEER = Peer("192.0.2.1", 4000)
SECRET = "correct horse battery"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Desk:
    """A store in which ann has two addresses, and the way in."""

    store: Store
    passwords: Passwords
    failures: Failures
    login: Login
    clock: Clock
    answers: set[tuple[str, ...]] = field(default_factory=set)  # to those that were refused

    async def signs_in(self, user: str = "ann", secret: str = SECRET) -> bool:
        try:
            signed_in = await self.login.check(user, secret, PEER)
        except BadCredentials as failure:
            self.answers.add((failure.public, *failure.facts))
            return False
        assert signed_in.account.login == "ann"
        return True


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    settings = StoreSettings(
        url=f"sqlite:///{tmp_path}/store.db", quota_octets=0, trash_days=30, max_listed=100
    )
    store = Store(settings, clock=lambda: datetime.now(UTC))
    passwords = Passwords(cost=4)
    clock = Clock()
    failures = Failures(clock=clock)
    await store.domains.add(parse_domain("example.org"))
    await store.accounts.add(
        "ann",
        await passwords.hash(SECRET),
        role=Role.USER,
        address=Address.parse("Ann.Lee@example.org"),
    )
    await store.domains.add_address(Address.parse("jürgen@example.org"), "ann")
    login = Login(store, passwords, failures, clock=clock)
    yield Desk(store, passwords, failures, login, clock)
    passwords.close()
    await asyncio.to_thread(store.close)


@pytest.mark.parametrize(
    "user",
    [
        "ann",
        "ANN",
        "ann.lee@example.org",
        "Ann.Lee@Example.ORG",
        '"ann.lee"@example.org',
        "JÜRGEN@example.org",
    ],
)
async def test_login_and_addresses_in_any_case(desk: Desk, user: str) -> None:
    assert await desk.signs_in(user)


async def test_what_signing_in_tells(desk: Desk) -> None:
    signed_in = await desk.login.check("ann", SECRET, PEER)
    assert signed_in.account == await desk.store.accounts.get("ann")
    assert signed_in.credential.version == 1


WRONG = [
    *(("ann", ""), ("ann", "wrong"), ("ann.lee@example.org", SECRET.upper())),
    *(("Ann", SECRET + " "), ("ann.lee@example.ORG", "x" * 5000), ("ANN", "\udc80\0")),
    *(("", ""), ("", SECRET), ("bob", SECRET), ("ann ", SECRET), ("ann\0", SECRET)),
    *(("bob@example.org", SECRET), ("ann@example.net", SECRET), ("ann@", SECRET)),
    *(("@", SECRET), ("x" * 5000, SECRET), ("a@" + "b" * 5000, SECRET), ("%' OR 1=1 --", SECRET)),
    *(("\udc80", SECRET), ("ann\ud800", SECRET), ("é@\udcff", SECRET), ("annn", SECRET)),
]


async def test_every_failure_is_the_same_and_none_is_quick(desk: Desk) -> None:
    async def refused_after(user: str, secret: str) -> float:
        began = time.monotonic()
        assert not await desk.signs_in(user, secret)
        return time.monotonic() - began

    times = await asyncio.gather(*(refused_after(user, secret) for user, secret in WRONG))
    assert min(times) >= SLOWEST_FAILURE_S
    assert desk.answers == {("wrong user name or password",)}
    desk.clock.now += FAILURES_FORGOTTEN_S + 1
    assert await desk.signs_in()


async def test_failures_count_for_the_name_that_was_typed(desk: Desk) -> None:
    assert not await desk.signs_in("Bob", "wrong")
    assert not await desk.signs_in("BOB", "wrong")
    assert desk.failures.delay_s("bob", PEER) > 0
    assert desk.failures.delay_s("ann", PEER) == 0


async def test_a_success_forgets_the_failures(desk: Desk) -> None:
    assert not await desk.signs_in("ann", "wrong")
    desk.failures.add("bob", PEER)
    desk.failures.add("bob", PEER)
    assert await desk.signs_in()
    desk.failures.add("ann", PEER)
    assert desk.failures.delay_s("ann", PEER) == 0  # the first of a new count
    assert desk.failures.delay_s("bob", PEER) > 0


async def test_a_good_check_is_remembered_for_a_while(desk: Desk) -> None:
    assert await desk.signs_in()
    desk.passwords.close()  # from here on nothing can be hashed
    desk.clock.now += REMEMBERED_S - 1
    assert await desk.signs_in()
    assert await desk.signs_in("ann.lee@example.org")
    for user, secret in [("ann", SECRET + "x"), ("bob", SECRET)]:
        with pytest.raises(RuntimeError):
            await desk.signs_in(user, secret)
    desk.clock.now += 2
    with pytest.raises(RuntimeError):
        await desk.signs_in()


async def test_a_wrong_secret_is_not_remembered(desk: Desk) -> None:
    assert not await desk.signs_in("bob", "wrong")
    desk.passwords.close()
    with pytest.raises(RuntimeError):
        await desk.signs_in("bob", "wrong")


async def test_a_changed_password_forgets_the_old_one_at_once(desk: Desk) -> None:
    assert await desk.signs_in()
    await desk.store.accounts.set_password("ann", await desk.passwords.hash("another secret"))
    assert not await desk.signs_in()
    assert await desk.signs_in(secret="another secret")


async def test_a_closed_account_is_unknown_at_once(desk: Desk) -> None:
    assert await desk.signs_in()
    await desk.store.accounts.close("ann")
    assert not any(await asyncio.gather(desk.signs_in(), desk.signs_in("ann.lee@example.org")))
