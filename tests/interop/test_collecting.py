"""Collecting from Courier: all that it serves, once, and only what is kept here is deleted there.

What it serves is read with poplib. Courier puts CR before each LF of its files, whatever is before
that, and ends the last line.
"""

import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.collector.conftest import Desk, now
from tests.interop.courier import LOGIN, PASSWORD, Courier, courier
from tests.shapes import message
from tests.waiting import until

SENT = [message(number, big=300_000) for number in range(24)]
FILES = [content.replace(b"\r\n", b"\n") for content in SENT]
ODD = [
    b"Subject: stored with CR\r\n\r\nline\r\n.\r\n",
    b"Subject: lone CR\n\nin\rside\r\r\n\r",
    b"Subject: no end of line\n\n.\n..\n.end",
    b"Subject: NUL\n\n\0\n",
    b"Subject: a long line\n\n" + b"x" * 60_000 + b"\n",
    b"Subject: header only\n",
    b"\nno header\n",
    b"",  # served as one empty line
]
UNFIT = [b"Subject: \0\n\nx\n", b"Subject: too long\n\n" + b"x" * 70_000 + b"\n"]

WAYS = pytest.mark.parametrize("way", ["tls", "stls"])


@pytest.fixture
def remote(folder: Path, needs: Callable[[str], str]) -> Iterator[Courier]:
    with courier(folder, needs) as found:
        yield found


@pytest.fixture
async def ready(desk: Desk, remote: Courier) -> Desk:
    """Its runs were a minute ago: the ten seconds that Courier wants between two are over."""
    tls = ssl.create_default_context(cafile=remote.certificate)
    dialer = replace(desk.tools.dialer, tls=tls, stls_port=remote.stls.port)
    await desk.restart(dialer=dialer, clock=a_minute_ago)
    return desk


def a_minute_ago() -> datetime:
    return now() - timedelta(minutes=1)


def canonical(served: bytes) -> bytes:
    """With the line ends that mail here has: CRLF where CR or LF was alone (docs/flow.md)."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", served)


@WAYS
async def test_all_comes_octet_by_octet_once_and_stays_there(
    way: str, ready: Desk, remote: Courier
) -> None:
    remote.put([*FILES, *ODD])
    served = remote.served()
    source = await ready.add(getattr(remote, way).port, username=LOGIN, password=PASSWORD)
    harvest = await ready.run(source)
    assert (harvest.new, harvest.seen, harvest.error) == (len(served), 0, None)
    assert sorted(await ready.kept()) == sorted(map(canonical, served.values()))
    assert set(SENT) <= set(await ready.kept())
    assert (await ready.get(source)).delay_s == 10  # LOGIN-DELAY
    assert remote.messages() == len(served)
    await ready.restart()
    harvest = await ready.run(source)
    assert (harvest.new, harvest.seen, harvest.octets) == (0, len(served), 0)
    remote.put([b"Subject: late\n\nlater\n"])
    assert (await ready.run(source)).new == 1


@WAYS
async def test_to_delete_at_once_leaves_what_cannot_be_kept(
    way: str, ready: Desk, remote: Courier
) -> None:
    remote.put([*FILES[:12], *UNFIT, *FILES[12:]])
    source = await ready.add(
        getattr(remote, way).port, username=LOGIN, password=PASSWORD, keep_days=0
    )
    harvest = await ready.run(source)
    assert (harvest.new, harvest.error) == (len(FILES), "Left at the provider: 2 not mail.")
    assert sorted(await ready.kept()) == sorted(SENT)
    assert sorted(remote.files()) == sorted(UNFIT)
    assert (await ready.run(source)).octets == 0
    assert remote.messages() == len(UNFIT)


async def test_to_delete_after_days_waits_for_them(ready: Desk, remote: Courier) -> None:
    remote.put(FILES[:5])
    source = await ready.add(remote.tls.port, username=LOGIN, password=PASSWORD, keep_days=14)
    assert (await ready.run(source)).new == 5
    for days, left in ((13, 5), (2, 0)):  # as if so much more time had passed
        aged = timedelta(days=days) // timedelta(microseconds=1)
        ready.filled.sql(f"UPDATE source_seen SET seen_at = seen_at - {aged}")
        await ready.run(source)
        assert remote.messages() == left
    assert sorted(await ready.kept()) == sorted(SENT[:5])


async def test_new_names_for_all_messages_bring_none_twice(ready: Desk, remote: Courier) -> None:
    """Courier makes its names anew when its list of them is lost."""
    remote.put([*FILES, *ODD])
    source = await ready.add(remote.tls.port, username=LOGIN, password=PASSWORD)
    kept = (await ready.run(source)).new
    names = remote.served().keys()

    def renamed() -> bool:
        remote.forget_names()
        return not names & remote.served().keys()

    until(renamed, "Courier has other names: they have the second in them")
    harvest = await ready.run(source)
    assert (harvest.new, harvest.seen, harvest.error) == (0, kept, None)
    assert len(await ready.kept()) == kept


async def test_an_answer_that_ends_too_early_costs_no_other_message(
    ready: Desk, remote: Courier
) -> None:
    """Courier does not stuff a dot that begins a message, and goes on behind it."""
    remote.put([*FILES[:2], b".\n", *FILES[2:4]])
    source = await ready.add(remote.tls.port, username=LOGIN, password=PASSWORD, keep_days=0)
    assert (await ready.run(source)).error == "The provider does not speak POP3."
    assert remote.messages() == 5
    assert (await ready.run(source)).error is None
    await ready.restart(clock=now)
    assert (await ready.run(source)).error is None
    assert sorted(await ready.kept()) == sorted(SENT[:4])
    assert remote.files() == [b".\n"]


async def test_a_wrong_password_is_refused_in_the_words_of_the_provider(
    ready: Desk, remote: Courier
) -> None:
    source = await ready.add(remote.tls.port, username=LOGIN, password="wrong one")
    harvest = await ready.run(source)
    assert (harvest.new, harvest.error) == (0, "The provider refused the login: Login failed.")
