"""Providers on this machine, and collectors that show how each state of one looks."""

import ipaddress
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from collector.dial import Dialer
from mail.ident import new_row_id
from server.collect_acts import vault
from store.records import Collector, CollectorState, microseconds
from tests.collector.scripted import MESSAGE, certificate, scripted
from tests.kit import Live

# Lists three messages and gives none.
STUCK = {
    "LIST": "+OK\r\n" + "".join(f"{n} {len(MESSAGE)}\r\n" for n in (1, 2, 3)) + ".\r\n",
    "UIDL": "+OK\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n",
    "RETR": "",
}
REFUSING = {"AUTH": "-ERR [AUTH] Wrong user name or password.\r\n"}


async def _here(_name: str) -> list[str]:
    return ["127.0.0.1"]


def reaching(found: Path) -> Callable[[Dialer], Dialer]:
    """Every name is this machine, and this certificate is the one to trust."""
    loopback = [ipaddress.ip_network("127.0.0.0/8")]

    def dialer(usual: Dialer) -> Dialer:
        tls = ssl.create_default_context(cafile=found)
        # A provider of these tests may have the name that we have.
        return replace(usual, tls=tls, resolve=_here, private=loopback, hostname="here.example")

    return dialer


def trusted(folder: Path) -> Callable[[Dialer], Dialer]:
    """Reaches the providers of `providers`."""
    return reaching(certificate(folder))


@contextmanager
def providers(live: Live, folder: Path) -> Iterator[dict[str, int]]:
    """The ports of one that is stuck and one that refuses, in the server's own loop."""
    stack = AsyncExitStack()
    try:
        scripts = {"stuck": STUCK, "refusing": REFUSING}
        yield {
            name: live.run(stack.enter_async_context(scripted(script, folder))).port
            for name, script in scripts.items()
        }
    finally:
        live.run(stack.aclose())


def collectors(live: Live, login: str, stuck: int) -> None:
    """One that is well, one that was refused, one that rests, and one to watch."""
    drop = live.run(live.store.accounts.get(login)).maildrop_id
    now = datetime.now(UTC)
    well = Collector(
        id=new_row_id(),
        maildrop_id=drop,
        name="Posteo",
        address="ada.byron@posteo.example",
        host="posteo.example",
        port=995,
        username="ada.byron@posteo.example",
        sealed="",
        keep_days=None,
        every_s=300,
        created_at=now - timedelta(days=40),
        next_at=now + timedelta(hours=3),
    )
    refused = replace(
        well,
        id=new_row_id(),
        created_at=now - timedelta(days=30),
        name="Gmail",
        address="ada.lovelace@gmail.example",
        host="pop.gmail.example",
        state=CollectorState.STOPPED,
        keep_days=30,
    )
    resting = replace(
        well,
        id=new_row_id(),
        created_at=now - timedelta(days=20),
        name="Old",
        address="a@old.example",
        host="old.example",
        paused=True,
    )
    watched = replace(
        well,
        id=new_row_id(),
        created_at=now - timedelta(days=10),
        name="Club",
        address="ada@club.example",
        host="pop.example.net",
    )
    for each in (
        well,
        refused,
        resting,
        replace(
            watched,
            port=stuck,
            sealed=vault(live.server.config).seal(b"a secret", record=watched.id),
        ),
    ):
        live.run(live.store.collectors.add(each))
    _ran(live, well.id, now - timedelta(minutes=3), 4, None)
    _ran(live, refused.id, now - timedelta(minutes=9), 0, "Wrong user name or password.")


def _ran(live: Live, source_id: int, at: datetime, new: int, error: str | None) -> None:
    with sqlite3.connect(live.server.config.server.data_dir / "restante.db", timeout=30) as beside:
        beside.execute(
            "UPDATE source SET last_at = ?, last_new = ?, last_error = ? WHERE id = ?",
            (microseconds(at), new, error, source_id),
        )
    beside.close()
