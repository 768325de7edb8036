"""Signing in: one answer for every failure, and a remembered check that a change undoes."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from auth import app_passwords, codes
from auth.login import REMEMBERED_S, SLOWEST_FAILURE_S, Login
from auth.passwords import Passwords
from mail.address import Address, parse_domain
from mail.errors import BadCredentials, CodeNeeded, TooMany
from net.limits import FAILURES_FORGOTTEN_S, Failures, Peer
from store.records import Account, Role, StoreSettings
from store.store import Store

PEER = Peer("192.0.2.1", 4000)  # of a network that no limit per client counts
SECRET = "correct horse battery"
KEY = bytes(range(32))


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Counting(Passwords):
    """Knows how much work was done."""

    def __init__(self) -> None:
        super().__init__(cost=4)
        self.checks = 0
        self.hashes = 0

    async def hash(self, secret: str) -> str:
        self.hashes += 1
        return await super().hash(secret)

    async def check(self, secret: str, kept: str | None) -> bool:
        self.checks += 1
        return await super().check(secret, kept)


@dataclass
class Desk:
    """A store in which ann has two addresses, and the way in."""

    store: Store
    passwords: Counting
    failures: Failures
    login: Login
    clock: Clock
    days: list[int]  # that the store's clock is ahead
    file: Path
    answers: set[tuple[str, ...]] = field(default_factory=set)  # to those that were refused

    async def signs_in(
        self, user: str = "ann", secret: str = SECRET, *, mail_app: bool = False, peer: Peer = PEER
    ) -> bool:
        try:
            signed_in = await self.login.check(user, secret, peer, app_passwords_too=mail_app)
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
    days = [0]
    store = Store(settings, clock=lambda: datetime.now(UTC) + timedelta(days=sum(days)))
    passwords = Counting()
    clock = Clock()
    failures = Failures(exempt=[ip_network("192.0.2.1")], clock=clock)
    await store.domains.add(parse_domain("example.org"))
    await store.accounts.add(
        "ann",
        await passwords.hash(SECRET),
        role=Role.USER,
        address=Address.parse("Ann.Lee@example.org"),
    )
    await store.domains.add_address(Address.parse("jürgen@example.org"), "ann")
    login = Login(store, passwords, failures, key=KEY, clock=clock)
    yield Desk(store, passwords, failures, login, clock, days, tmp_path / "store.db")
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


async def test_who_leaves_during_the_check_has_failed(desk: Desk) -> None:
    """The work is done by then; what came of it, the client does not stay to hear."""
    for checks in (1, 2):  # after the first failure nobody waits yet
        trying = asyncio.create_task(desk.signs_in("bob", "wrong"))
        while desk.passwords.checks < checks:  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0)  # the check begins
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
    assert desk.failures.delay_s("bob", PEER) > 0


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


async def app_password(desk: Desk, name: str = "phone", *, days: int | None = None) -> str:
    """A new one of ann's."""
    secret = app_passwords.generate()
    keyed = app_passwords.keyed(secret, KEY)
    assert keyed
    ann = await desk.store.accounts.get("ann")
    life = timedelta(days=days) if days else None
    await desk.store.credentials.add_app_password(ann, name, keyed, life=life)
    return secret


async def test_a_mail_app_signs_in_with_a_secret_of_its_own(desk: Desk) -> None:
    secret = await app_password(desk)
    for typed in (secret, secret.upper(), secret.replace("-", " ")):
        assert await desk.signs_in(secret=typed, mail_app=True)
        assert await desk.signs_in("Ann.Lee@example.org", typed, mail_app=True)
    assert desk.passwords.checks == 0  # a device that polls costs no slow check
    assert await desk.signs_in(mail_app=True)  # the account's password is good as before
    assert await desk.signs_in()


async def test_an_app_password_opens_nothing_else(desk: Desk) -> None:
    secret = await app_password(desk)
    await desk.store.accounts.add("eve", await desk.passwords.hash(SECRET), role=Role.USER)
    assert not await desk.signs_in(secret=secret)  # not the API
    assert not await desk.signs_in("eve", secret, mail_app=True)  # not another's mail
    assert not await desk.signs_in("bob", secret, mail_app=True)
    other = Login(desk.store, desk.passwords, desk.failures, key=bytes(32), clock=desk.clock)
    with pytest.raises(BadCredentials):  # not under another key
        await other.check("ann", secret, PEER, app_passwords_too=True)


async def test_an_app_password_ends(desk: Desk) -> None:
    secret, short = await app_password(desk), await app_password(desk, "short", days=30)
    desk.days.append(29)
    assert await desk.signs_in(secret=short, mail_app=True)
    desk.days.append(1)
    assert not await desk.signs_in(secret=short, mail_app=True)
    assert await desk.signs_in(secret=secret, mail_app=True)
    ann = await desk.store.accounts.get("ann")
    for each in await desk.store.credentials.app_passwords(ann):
        await desk.store.credentials.remove_app_password(ann, each.id)
    assert not await desk.signs_in(secret=secret, mail_app=True)
    assert await desk.signs_in()


async def test_a_new_password_leaves_the_mail_apps_alone(desk: Desk) -> None:
    secret = await app_password(desk)
    await desk.store.accounts.set_password("ann", await desk.passwords.hash("another secret"))
    assert await desk.signs_in(secret=secret, mail_app=True)
    await desk.store.accounts.close("ann")
    assert not await desk.signs_in(secret=secret, mail_app=True)


async def test_the_last_use_is_written_once_an_hour(desk: Desk) -> None:
    secret = await app_password(desk)
    ann = await desk.store.accounts.get("ann")
    elsewhere = Peer("2001:db8::7", 1)

    async def used(barrier: str) -> tuple[datetime | None, str | None]:
        await app_password(desk, barrier)  # what was to be written before it is written
        by_name = {each.name: each for each in await desk.store.credentials.app_passwords(ann)}
        return by_name["phone"].used_at, by_name["phone"].used_ip

    assert await used("1") == (None, None)
    assert await desk.signs_in(secret=secret, mail_app=True)
    first = await used("2")
    assert first[0]
    assert first[1] == PEER.ip
    assert await desk.signs_in(secret=secret, mail_app=True, peer=elsewhere)
    assert await used("3") == first
    desk.days.append(1)
    assert await desk.signs_in(secret=secret, mail_app=True, peer=elsewhere)
    later = await used("4")
    assert later[0]
    assert later[0] > first[0]
    assert later[1] == elsewhere.ip


async def test_a_sign_in_does_not_depend_on_writing_its_use(desk: Desk) -> None:
    secret = await app_password(desk)
    with sqlite3.connect(desk.file) as database:
        database.execute(
            "CREATE TRIGGER no BEFORE UPDATE ON credential BEGIN SELECT RAISE(FAIL, 'no'); END"
        )
    database.close()
    for _ in range(3):
        assert await desk.signs_in(secret=secret, mail_app=True)


ATTEMPTS = 10  # of each kind; what is counted does not depend on it


async def test_a_wrong_secret_is_one_slow_check_whoever_it_is_for(desk: Desk) -> None:
    for login in ("off", "gone"):
        kept = await desk.passwords.hash(SECRET)
        await desk.store.accounts.add(login, kept, role=Role.USER)
    await desk.store.accounts.close("gone")
    with sqlite3.connect(desk.file) as database:
        database.execute("UPDATE account SET state = 1 WHERE login = 'off'")
    database.close()
    app_secret = await app_password(desk)
    assert await desk.signs_in()
    kinds = {
        "known": ("ann", "wrong"),
        "known, by address": ("ann.lee@example.org", "wrong"),
        "unknown": ("bob", "wrong"),
        "unknown, a secret of somebody": ("bob", SECRET),
        "unknown, an app password of somebody": ("bob", app_secret),
        "no address": ("b@b@b", "wrong"),
        "what no name has": ("ann\0\ud800", SECRET),
        "switched off": ("off", SECRET),
        "closed": ("gone", SECRET),
        "too long": ("ann", "x" * 5000),
        "like an app password": ("ann", app_passwords.generate()),
        "like an app password, unknown": ("bob", app_passwords.generate()),
    }
    for number, (kind, (user, secret)) in enumerate(kinds.items()):
        before = desk.passwords.checks
        peers = [Peer(f"10.0.{number}.{host}", 1) for host in range(ATTEMPTS)]
        tries = [desk.signs_in(user, secret, mail_app=True, peer=peer) for peer in peers]
        assert not any(await asyncio.gather(*tries)), kind
        assert desk.passwords.checks == before + ATTEMPTS, kind
    assert desk.answers == {("wrong user name or password",)}


async def test_a_client_with_too_many_wrong_secrets_is_put_off(desk: Desk) -> None:
    client = Peer("203.0.113.5", 1)
    tries = [desk.signs_in(f"user{number}", "wrong", peer=client) for number in range(10)]
    assert not any(await asyncio.gather(*tries))
    checks = desk.passwords.checks
    with pytest.raises(TooMany) as refused:
        await desk.signs_in(peer=client)
    assert refused.value.facts["retry_after_s"] == 60
    assert desk.passwords.checks == checks
    assert await desk.signs_in()  # from elsewhere the owner comes in
    desk.clock.now += 60
    assert await desk.signs_in(peer=client)


async def test_a_device_that_nobody_told_the_new_password_shuts_nobody_out(desk: Desk) -> None:
    house = Peer("203.0.113.5", 1)
    tries = [desk.signs_in("Ann.Lee@example.org", "the old one", peer=house) for _ in range(20)]
    assert not any(await asyncio.gather(*tries))
    assert await desk.signs_in(peer=house)


async def test_recovery_costs_as_much_for_an_unknown_user(desk: Desk) -> None:
    account = await desk.store.accounts.get("ann")
    shown, kept = codes.recovery_codes(KEY)
    await desk.store.factors.replace_codes(account, kept)
    work = set()
    for user, code in (("ann", "0" * 15), ("ann", "x"), ("nobody", shown[0]), ("a@b.example", "")):
        before = desk.passwords.hashes
        with pytest.raises(BadCredentials, match="wrong user name or password"):
            await desk.login.recover(user, code, "another secret", PEER)
        work.add(desk.passwords.hashes - before)
    assert work == {1}
    assert await desk.login.recover("ann", shown[0], "another secret", PEER) == 9
    assert await desk.signs_in(secret="another secret")


async def test_with_a_second_factor_the_password_opens_no_mail(desk: Desk) -> None:
    account = await desk.store.accounts.get("ann")
    assert await desk.signs_in(mail_app=True)
    await desk.store.factors.start_totp(account, "sealed", 7)
    assert await desk.signs_in(mail_app=True)  # it waits for its first code
    waiting = await desk.store.factors.totp(account, waiting=True)
    assert waiting
    await desk.store.factors.take_step(waiting, 1)
    assert not await desk.signs_in(mail_app=True)
    secret = app_passwords.generate()
    keyed = app_passwords.keyed(secret, KEY)
    assert keyed
    await desk.store.credentials.add_app_password(
        account, "phone", keyed, ip_allow=["192.0.2.0/24"]
    )
    assert await desk.signs_in(secret=secret, mail_app=True)
    elsewhere = Peer("198.51.100.1", 4000)
    assert not await desk.signs_in(secret=secret, mail_app=True, peer=elsewhere)
    with pytest.raises(CodeNeeded):
        await desk.login.check("ann", SECRET, PEER)
    for right in (False, True):

        async def shown(_account: Account, *, right: bool = right) -> bool:
            return right

        if right:
            await desk.login.check("ann", SECRET, PEER, second=shown)
        else:
            with pytest.raises(BadCredentials):
                await desk.login.check("ann", SECRET, PEER, second=shown)
