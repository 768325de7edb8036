"""A maildrop with more messages than a session lists: every client gets every message, once.

RESTANTE_MAILDROP=25000 makes it one of that size, with the limit of 10,000 that is the default.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server import admin
from store.mailfiles import Record, Source
from store.records import Folder
from store.transfer import Target
from tests.kit import CONFIG, Live, live_server, retrieved

MESSAGES = int(os.environ.get("RESTANTE_MAILDROP", "250"))
LISTED = MESSAGES * 2 // 5


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    text = CONFIG.format(smtp=0, pop3=0, http=0)
    limit = f"[pop3]\nmax_listed = {LISTED}"
    (tmp_path / "config.toml").write_text(text.replace("[pop3]", limit))
    with live_server(tmp_path) as live:
        drop = live.add_user("ann", "ann@example.test")
        bring_in(live, drop, MESSAGES)
        yield live


def content(number: int) -> bytes:
    return f"Subject: number {number}\r\n\r\n".encode()


def bring_in(live: Live, drop: int, count: int) -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    records = (
        Record(str(number), number + 1, content(number), start + timedelta(seconds=number))
        for number in range(count)
    )
    target = Target(drop, Folder.INBOX, "old")
    imported = live.run(
        live.store.transfers.bring_in(target, Source(count, records), step=lambda _done, _all: None)
    )
    assert imported.taken == count


def device(live: Live, name: str) -> str:
    """A secret of its own, as each mail app should have one."""
    made = live.run(admin.app_password_add(live.desk, login="ann", name=name))
    password: str = made["password"]
    return password


def numbers(messages: list[bytes]) -> list[int]:
    return [int(octets.split(b"number ", 1)[1].split(b"\r\n", 1)[0]) for octets in messages]


class Keeping:
    """A client that leaves mail on the server, and forgets the UIDLs that it is not shown."""

    def __init__(self, live: Live, name: str, *, quits: bool = True) -> None:
        self._live = live
        self._password = device(live, name)
        self._quits = quits
        self._known: set[bytes] = set()
        self.got: list[bytes] = []

    def poll(self) -> int:
        """How many it had not; it takes half a window at a time when it does not quit."""
        client = self._live.pop3_client("ann", self._password)
        lines = [line.split() for line in client.uidl()[1]]
        listing = {uid: int(number) for number, uid in lines}
        assert len(listing) <= LISTED
        self._known &= listing.keys()
        new = [uid for uid in listing if uid not in self._known]
        for uid in new if self._quits else new[: LISTED // 2]:
            self.got.append(retrieved(client, listing[uid]))
            self._known.add(uid)
        if self._quits:
            client.quit()
        else:
            client.noop()
            client.close()
        return len(new)


def test_a_client_that_keeps_mail_on_the_server(live: Live) -> None:
    client = Keeping(live, "phone")
    while client.poll():
        pass
    assert numbers(client.got) == list(range(MESSAGES))
    live.send(b"Subject: number 0\r\n\r\nlate\r\n", "ann@example.test")
    assert client.poll() == 1
    assert client.poll() == 0
    other = Keeping(live, "tablet")
    while other.poll():
        pass
    assert sorted(other.got) == sorted(client.got)


def test_a_client_that_fetches_and_deletes(live: Live) -> None:
    password = device(live, "phone")
    got: list[bytes] = []
    while True:
        client = live.pop3_client("ann", password)
        count, _ = client.stat()
        assert count <= LISTED
        for number in range(1, count + 1):
            got.append(retrieved(client, number))
            client.dele(number)
        client.quit()
        if not count:
            break
    assert numbers(got) == list(range(MESSAGES))


def test_a_client_that_never_quits(live: Live) -> None:
    client = Keeping(live, "phone", quits=False)
    # The marks of a session may still be on their way when the next one begins.
    while len(client.got) < MESSAGES:
        client.poll()
    assert sorted(numbers(client.got)) == list(range(MESSAGES))
