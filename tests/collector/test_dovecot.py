"""Collecting from Dovecot: modes, octets, restarts, and many messages that stay there.

RESTANTE_COLLECTED is how many messages are fetched, RESTANTE_LEFT how many are left there.
"""

import asyncio
import os
import random
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from collector.client import Patience
from collector.plan import key_of
from store.records import microseconds
from tests.collector.conftest import Desk, now
from tests.dovecot import HOST, PASSWORD, Dovecot, dovecot
from tests.kit import pop3_client
from tests.waiting import until

MESSAGES = int(os.environ.get("RESTANTE_COLLECTED", "60"))
LEFT = int(os.environ.get("RESTANTE_LEFT", "10000"))
PATIENT = Patience(read_s=60.0)


@pytest.fixture(scope="module")
def remote(needs: Callable[[str], str]) -> Iterator[Dovecot]:
    with dovecot(needs) as found:
        yield found


@pytest.fixture
async def ready(desk: Desk, remote: Dovecot) -> Desk:
    tls = ssl.create_default_context(cafile=remote.certificate)
    dialer = replace(desk.tools.dialer, tls=tls, stls_port=remote.stls.port, connect_s=60.0)
    await desk.restart(dialer=dialer, patience=PATIENT)
    return desk


def messages(count: int, *, seed: int) -> list[bytes]:
    """Of many sizes and shapes: dots, 8-bit, NUL-free octets, long lines, no body, no header."""
    chosen = random.Random(seed)
    found = []
    for number in range(count):
        lines = [
            chosen.choice(
                [
                    b".",
                    b"..",
                    b"",
                    b".x",
                    b"text " * chosen.randrange(200),
                    "ä€𝄞".encode(),
                    b"\xff\xfe",
                ]
            )
            for _ in range(chosen.choice([0, 1, 5, 50, 300]))
        ]
        head = b"From: b@example.org\r\nSubject: %d\r\nMessage-ID: <%d.%d@x>\r\n" % (
            *(number, seed, number),
        )
        found.append(head + b"\r\n" + b"".join(line + b"\r\n" for line in lines))
    return found


async def test_all_comes_octet_by_octet_once_and_stays_there(ready: Desk, remote: Dovecot) -> None:
    sent = messages(MESSAGES, seed=1)
    remote.put("keep", sent)
    source = await ready.add(remote.tls.port, username="keep", password=PASSWORD)
    harvest = await ready.run(source)
    assert (harvest.new, harvest.seen, harvest.error) == (len(sent), 0, None)
    assert sorted(await ready.kept()) == sorted(sent)
    assert remote.messages("keep") == len(sent)
    for _ in range(2):
        await ready.restart()
        harvest = await ready.run(source)
        assert (harvest.new, harvest.seen, harvest.octets) == (0, len(sent), 0)
    remote.put("keep", [b"Subject: late\r\n\r\nlater\r\n"])
    assert (await ready.run(source)).new == 1
    assert len(await ready.kept()) == len(sent) + 1


@pytest.mark.parametrize("way", ["tls", "stls"])
async def test_to_delete_at_once_empties_the_maildrop_there(
    way: str, ready: Desk, remote: Dovecot
) -> None:
    login = f"delete-{way}"
    sent = messages(MESSAGES, seed=2)
    remote.put(login, sent)
    port = (remote.tls if way == "tls" else remote.stls).port
    source = await ready.add(port, username=login, password=PASSWORD, keep_days=0)
    harvest = await ready.run(source)
    assert (harvest.new, harvest.error) == (len(sent), None)
    assert sorted(await ready.kept()) == sorted(sent)
    assert remote.messages(login) == 0
    assert (await ready.run(source)).total == 0


async def test_to_delete_after_days_waits_for_them(ready: Desk, remote: Dovecot) -> None:
    sent = messages(5, seed=4)
    remote.put("days", sent)
    source = await ready.add(remote.tls.port, username="days", password=PASSWORD, keep_days=14)
    assert (await ready.run(source)).new == 5
    for days, left in ((13, 5), (15, 0)):
        await ready.restart(clock=lambda: now() + timedelta(days=days))  # noqa: B023 - at once
        await ready.run(source)
        assert remote.messages("days") == left
    assert len(await ready.kept()) == 5


async def test_a_wrong_password_is_refused_in_the_words_of_the_provider(
    ready: Desk, remote: Dovecot
) -> None:
    source = await ready.add(remote.tls.port, username="keep", password="wrong one")
    harvest = await ready.run(source)
    assert harvest.error == "The provider refused the login: Authentication failed."
    steps = await ready.collecting.test(ready.owner, source.id)
    assert [(step.step, step.ok) for step in steps] == [
        *(("name", True), ("connection", True), ("certificate", True), ("login", False)),
    ]


async def test_a_test_counts_and_fetches_nothing(ready: Desk, remote: Dovecot) -> None:
    remote.put("test", messages(3, seed=6))
    source = await ready.add(remote.tls.port, username="test", password=PASSWORD)
    steps = await ready.collecting.test(ready.owner, source.id)
    assert [step.step for step in steps] == [
        *("name", "connection", "certificate", "login", "count"),
    ]
    assert all(step.ok for step in steps)
    assert (steps[0].detail, steps[2].detail, steps[4].detail) == (
        *("127.0.0.1", f"valid for {HOST}", "3 messages"),
    )
    assert not await ready.kept()


async def test_many_messages_left_there_are_looked_through_in_one_listing(
    ready: Desk, remote: Dovecot
) -> None:
    many = [b"Message-ID: <%d@left>\r\n\r\n%d\r\n" % (number, number) for number in range(LEFT)]
    remote.put("left", many)
    source = await ready.add(remote.tls.port, username="left", password=PASSWORD)
    remember(ready, source.id, await asyncio.to_thread(names, remote, "left"))
    began = time.monotonic()
    harvest = await ready.run(source)
    took = time.monotonic() - began
    assert (harvest.new, harvest.seen, harvest.total) == (0, LEFT, 0)
    # Dovecot writes a line for each session when it is over: that of `names`, and that of the run.
    await asyncio.to_thread(until, lambda: len(sessions(remote, "left")) == 2, "both are logged")
    assert all("retr=0/0" in line for line in sessions(remote, "left"))
    print(f"{LEFT} messages that are known: {took:.2f} s")


def sessions(remote: Dovecot, login: str) -> list[str]:
    """What Dovecot has logged of those that are over."""
    lines = remote.log().splitlines()
    return [line for line in lines if f"({login})" in line and "retr=" in line]


def names(remote: Dovecot, login: str) -> list[bytes]:
    """What Dovecot calls the messages of a maildrop."""
    client = pop3_client(remote.tls, login, PASSWORD)
    found = [line.split()[1] for line in client.uidl()[1]]
    client.quit()
    return found


def remember(desk: Desk, source_id: int, uidls: list[bytes]) -> None:
    """As if all of these had been fetched: that alone would take as long as all other tests."""
    taken = microseconds(now())
    rows = [(source_id, key_of(uidl), key_of(uidl), taken) for uidl in uidls]
    with closing(sqlite3.connect(desk.filled.path)) as database, database:
        database.executemany(
            "INSERT INTO source_seen (source_id, uidl_hash, uid, seen_at) VALUES (?, ?, ?, ?)", rows
        )
