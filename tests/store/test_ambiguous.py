"""The connection to the database breaks off, at COMMIT too: each message is kept once all the same.

Whether a COMMIT took place is not known when its answer is lost, so the store must find out.
RESTANTE_MESSAGES=5000 makes it a long run.
"""

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, insert
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.pool import NullPool

from mail.errors import OutcomeUnknown, StorageBusy
from mail.ident import UniqueId
from store import database as store_database
from store import schema
from store.records import Usage
from store.writer import Writer
from tests.commit_proxy import Cut, at_random, commit_proxy
from tests.databases import Database
from tests.store.conftest import PREFIX, Filled, opened_at, populate
from tests.waiting import until

DELIVERIES = int(os.environ.get("RESTANTE_MESSAGES", "400"))
SENDERS = 8
SHARE = 0.3  # of all COMMITs that are cut
BLOWS = 4


@dataclass(frozen=True, slots=True)
class Sent:
    """What a sender was told: the id, or None for a temporary refusal."""

    number: int
    drops: tuple[int, ...]
    uid: UniqueId | None


@pytest.mark.parametrize("cut", Cut)
def test_the_proxy_does_what_it_says(server: Database, cut: Cut) -> None:
    """Else the tests below would show nothing."""
    url = server.url("proxied")
    direct = create_engine(url, poolclass=NullPool)
    with direct.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE kept (n INTEGER)")

    def rows() -> int:
        with direct.connect() as connection:
            found: int = connection.exec_driver_sql("SELECT count(*) FROM kept").scalar_one()
            return found

    with commit_proxy(server.name, server.port) as proxy:
        through = create_engine(proxy.url(url), poolclass=NullPool)
        with through.begin() as connection:
            connection.exec_driver_sql("INSERT INTO kept VALUES (1)")
        assert (proxy.commits, rows()) == (1, 1)
        proxy.choose = lambda: cut
        with pytest.raises(OperationalError), through.begin() as connection:
            connection.exec_driver_sql("INSERT INTO kept VALUES (2)")
        assert (proxy.commits, proxy.cuts) == (2, {cut: 1})
    match cut:
        case Cut.BEFORE:
            assert rows() == 1
        case Cut.AT_ONCE:
            until(lambda: rows() == 2, "the COMMIT that was on its way has taken place")
        case Cut.AFTER:
            assert rows() == 2


async def test_each_message_is_kept_once_when_answers_are_lost(server: Database) -> None:
    url = server.url("ambiguous")
    with commit_proxy(server.name, server.port) as proxy:
        filled = await populate(opened_at(proxy.url(url)), Path(), url)
        try:
            proxy.choose = at_random(random.Random(1), SHARE)
            sent = await _send_all(filled)
            proxy.choose = None
            # There are at least DELIVERIES / SENDERS commits; of so many, that is in the seed.
            assert min(proxy.cuts[cut] for cut in Cut) >= 1
            await _compare(filled, sent)
        finally:
            proxy.choose = None
            filled.store.close()
    _scan(filled)


async def test_a_conflict_with_something_else_fails_at_once(server: Database) -> None:
    """The answer was lost, and what has the key is not what this job was to write."""
    direct = server.url("ambiguous")
    with commit_proxy(server.name, server.port) as proxy:
        database = store_database.Database(proxy.url(direct))
        writer = Writer(database, None)
        cuts = iter([Cut.AFTER])
        proxy.choose = lambda: next(cuts, None)
        try:
            async with asyncio.timeout(30):
                with pytest.raises(IntegrityError):
                    await writer.run(_note, landed=lambda _connection: None)
                assert await writer.run(lambda _connection: "the next job") == "the next job"
        finally:
            await asyncio.to_thread(writer.close)
            database.close()


def _note(connection: Connection) -> None:
    connection.execute(insert(schema.store_fact).values(name="note", value=""))


async def test_each_message_is_kept_once_when_the_server_goes_down(server: Database) -> None:
    url = server.url("ambiguous")
    filled = await populate(opened_at(url), Path(), url)
    blows = cycle([server.kill, server.restart])

    def blow() -> None:
        next(blows)()

    try:
        await _compare(filled, await _send_all(filled, blow))
    finally:
        filled.store.close()
    _scan(filled)


async def _send_all(filled: Filled, blow: Callable[[], None] = lambda: None) -> list[Sent]:
    senders = (_send(filled, range(n, DELIVERIES, SENDERS), blow) for n in range(SENDERS))
    sent = [each for share in await asyncio.gather(*senders) for each in share]
    assert sum(each.uid is not None for each in sent) > DELIVERIES * 0.9
    return sent


async def _send(filled: Filled, numbers: range, blow: Callable[[], None]) -> list[Sent]:
    sent = []
    for number in numbers:
        if number % (DELIVERIES // BLOWS) == DELIVERIES // BLOWS // 2:
            await asyncio.to_thread(blow)  # while the others go on
        drops = [(filled.ann,), (filled.eve,), (filled.ann, filled.eve)][number % 3]
        try:
            uid = await filled.keep(_content(number), *drops)
        except (StorageBusy, OutcomeUnknown):
            uid = None
        sent.append(Sent(number, drops, uid))
    return sent


def _content(number: int) -> bytes:
    text = random.Random(number).randbytes(number % 200).hex().encode()
    return b"Subject: %d\r\n\r\n%s\r\n" % (number, text)


async def _compare(filled: Filled, sent: list[Sent]) -> None:
    for maildrop in (filled.ann, filled.eve):
        page = await filled.page(maildrop)
        there = {int(message.subject): message for message in page}
        assert len(there) == len(page)  # nothing twice, be it under another id
        mine = [each for each in sent if maildrop in each.drops]
        assert there.keys() <= {each.number for each in mine}
        for each in mine:
            if each.uid:
                assert there[each.number].uid == each.uid
        for number, message in there.items():
            assert await filled.octets(maildrop, message.uid) == PREFIX + _content(number)
        octets = sum(message.size for message in page)
        assert await filled.store.maildrops.usage(maildrop) == Usage(len(page), octets, 0)


def _scan(filled: Filled) -> None:
    """What the store does not show: the numbers of arrival, the bodies and who needs them."""
    for drop in (filled.ann, filled.eve):
        rows = filled.sql("SELECT born FROM message WHERE maildrop_id = :drop", drop=drop)
        [(modseq,)] = filled.sql("SELECT modseq FROM maildrop WHERE id = :drop", drop=drop)
        assert sorted(born for (born,) in rows) == list(range(1, modseq + 1))
    needed = filled.sql("SELECT uid, count(*) FROM message GROUP BY uid ORDER BY uid")
    assert filled.sql("SELECT uid, refs FROM body ORDER BY uid") == needed
    assert filled.sql("SELECT count(DISTINCT uid) FROM body_chunk") == [(len(needed),)]
