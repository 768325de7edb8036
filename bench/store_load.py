"""The store against its own driver: each line is done twice in one run, as a ratio.

    python bench/store_load.py [--url URL] [--messages N]

The second way is the same SQL and the same rows on the plain driver, in one thread, without queue,
compression or records: what the database itself can do. Rates are of this machine and this minute;
ratios carry over. Without --url: SQLite in a temporary folder. The database must be empty.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, text, update

from mail import facts
from mail.address import Address
from mail.ident import UniqueId
from store import schema
from store.bodies import pack
from store.delivery import Copy, Delivery, NewMessage, body_row, message_row
from store.records import Folder, Role, StoreSettings
from store.store import Store

ROUNDS = 5
SECONDS = 1.0  # of one round
SENDER = Address.parse("bob@example.net")
ANN = Address.parse("ann@example.test")
PREFIX = b"Return-Path: <bob@example.net>\r\nDelivered-To: ann@example.test\r\n" + b"x: y\r\n" * 60


def now() -> datetime:
    return datetime.now(UTC)


@cache
def letter(number: int, octets: int = 4096) -> bytes:
    """Text that compresses about as mail does."""
    chance = random.Random(number)
    words = " ".join(chance.choice(_WORDS) for _ in range(octets // 7))
    head = f"From: Bob <bob@example.net>\r\nSubject: Letter {number}\r\n\r\n"
    return (
        head + "\r\n".join(words[i : i + 70] for i in range(0, len(words), 70))
    ).encode() + b"\r\n"


_WORDS = [f"{random.Random(n).getrandbits(28):x}" for n in range(2000)]


@dataclass
class Line:
    """One row of the table: `ours` and `theirs` are seconds for one unit of work."""

    name: str
    unit: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    def show(self) -> str:
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        if self.unit == "/s":
            return (
                f"{self.name:42} {1 / ours:10,.0f}/s {1 / theirs:10,.0f}/s   {theirs / ours:5.2f}"
            )
        return (
            f"{self.name:42} {ours * 1000:9.2f} ms {theirs * 1000:9.2f} ms  {ours / theirs:5.2f} x"
        )


class Bench:
    def __init__(self, url: str) -> None:
        settings = StoreSettings(url=url, quota_octets=0, trash_days=30, max_listed=1_000_000)
        self.store = Store(settings, clock=now)
        self.engine = self.store._database.writer
        self.dialect = self.engine.dialect
        self.number = 0

    async def prepare(self, messages: int) -> None:
        """A maildrop of so many messages, brought in as deliveries come in."""
        for number in range(500):
            letter(number)
        self.drop = await self._account("ann")
        self.other = await self._account("eve")
        began = time.perf_counter()
        for start in range(0, messages, 500):
            count = min(500, messages - start)
            await asyncio.gather(*(self.keep(self.drop) for _ in range(count)))
        seconds = time.perf_counter() - began
        print(f"{messages:,} messages kept in {seconds:.0f} s, {messages / seconds:,.0f}/s\n")

    async def _account(self, login: str) -> int:
        account = await self.store.accounts.add(login, f"hash of {login}", role=Role.USER)
        return account.maildrop_id

    def new(self, maildrop_id: int, octets: int = 4096) -> NewMessage:
        self.number += 1
        content = letter(self.number % 500, octets)
        copies = [Copy(maildrop_id, ANN, PREFIX)]
        return NewMessage(UniqueId.new(now()), SENDER, content, facts.read(content), copies)

    async def keep(self, maildrop_id: int) -> None:
        await self.store.messages.append(self.new(maildrop_id))

    async def deliveries(self, together: int) -> Line:
        line = Line(f"deliveries of 4 KB, {together} per commit", "/s")
        for _ in range(ROUNDS):
            count, began = 0, time.perf_counter()
            while (spent := time.perf_counter() - began) < SECONDS:
                await asyncio.gather(*(self.keep(self.other) for _ in range(together)))
                count += together
            line.ours.append(spent / count)
            line.theirs.append(self._plain_deliveries(together))
        return line

    def _plain_deliveries(self, together: int) -> float:
        """The same rows by the driver alone; making them is not timed."""
        drop = schema.maildrop
        bodies, chunks, rows = (
            self._sql(insert(t)) for t in (schema.body, schema.body_chunk, schema.message)
        )
        counter = self._sql(update(drop).where(drop.c.id == 0).values(modseq=drop.c.modseq + 1))
        spent, count = 0.0, 0
        connection = self.engine.raw_connection()
        cursor = connection.cursor()
        while spent < SECONDS:
            made = [self._made() for _ in range(together)]
            began = time.perf_counter()
            if self.dialect.name == "sqlite":
                cursor.execute("BEGIN IMMEDIATE")
            cursor.executemany(bodies.text, [bodies.row(body_row(each)) for each in made])
            frames = [each.key | {"n": 0, "frame": each.packed.frames[0]} for each in made]
            cursor.executemany(chunks.text, [chunks.row(frame) for frame in frames])
            messages = [message_row(each, each.new.copies[0], 1, repeats=False) for each in made]
            cursor.executemany(
                rows.text, [rows.row(row | {"expires_at": None}) for row in messages]
            )
            cursor.execute(counter.text, counter.row({"modseq_1": 1, "id_1": self.other}))
            connection.commit()
            spent += time.perf_counter() - began
            count += together
        connection.close()
        return spent / count

    def _made(self) -> Delivery:
        new = self.new(self.other)
        return Delivery.of(new, pack(new.content), quota_octets=0, now=now())

    def _sql(self, statement: Any) -> Statement:
        return Statement(statement.compile(dialect=self.dialect, column_keys=None))

    async def listing(self) -> Line:
        line = Line("list all: read, arrays, base-32", "ms")
        message = schema.message.c
        query = (
            select(message.uid, message.size, message.born)
            .where(message.maildrop_id == self.drop, message.folder == 0)
            .order_by(message.uid)
        )
        for _ in range(ROUNDS):
            self.store.maildrops._kept.clear()
            began = time.perf_counter()
            found = await self.store.maildrops.snapshot(self.drop)
            "".join(f"{n} {entry.uid}\r\n" for n, entry in enumerate(found.entries, 1))
            line.ours.append(time.perf_counter() - began)
            line.theirs.append(self._plain(query))
        return line

    async def login(self) -> Line:
        line = Line("login and STAT, nothing new", "ms")
        drop = schema.maildrop.c
        for _ in range(ROUNDS * 20):
            began = time.perf_counter()
            await self.store.maildrops.snapshot(self.drop)
            line.ours.append(time.perf_counter() - began)
            line.theirs.append(self._plain(select(drop.modseq).where(drop.id == self.drop)))
        return line

    async def page(self) -> Line:
        line = Line("page of 50", "ms")
        message = schema.message
        for _ in range(ROUNDS * 20):
            began = time.perf_counter()
            await self.store.messages.page(self.drop, Folder.INBOX)
            line.ours.append(time.perf_counter() - began)
            line.theirs.append(
                self._plain(
                    select(message)
                    .where(message.c.maildrop_id == self.drop, message.c.folder == 0)
                    .order_by(message.c.uid.desc())
                    .limit(50)
                )
            )
        return line

    async def removal(self) -> Line:
        line = Line("QUIT after 100 deletions", "ms")
        message = schema.message
        for _ in range(ROUNDS):
            entries = (await self.store.maildrops.snapshot(self.drop)).entries
            uids = [entry.uid for entry in entries[:100]]
            began = time.perf_counter()
            await self.store.maildrops.remove(self.drop, uids)
            line.ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            with self.engine.begin() as connection:
                keys = [uid.octets for uid in uids]
                chosen = (message.c.maildrop_id == self.drop, message.c.uid.in_(keys))
                connection.execute(update(message).where(*chosen).values(flags=message.c.flags))
            line.theirs.append(time.perf_counter() - began)
        return line

    def _plain(self, query: Any) -> float:
        """Seconds of a read by the driver's own cursor, all rows fetched."""
        compiled = query.compile(dialect=self.dialect, compile_kwargs={"literal_binds": True})
        connection = self.engine.raw_connection()
        cursor = connection.cursor()
        began = time.perf_counter()
        cursor.execute(str(compiled).replace("%%", "%"))
        cursor.fetchall()
        spent = time.perf_counter() - began
        connection.rollback()
        connection.close()
        return spent

    def octets_per_message(self) -> str:
        with self.engine.begin() as connection:
            count = connection.execute(text("SELECT count(*) FROM message")).scalar_one()
            if self.dialect.name == "sqlite":
                used = connection.execute(
                    text("SELECT (SELECT page_count FROM pragma_page_count) * 8192")
                ).scalar_one()
            elif self.dialect.name == "postgresql":
                used = connection.execute(
                    text("SELECT pg_database_size(current_database())")
                ).scalar_one()
            else:
                used = connection.execute(
                    text(
                        "SELECT sum(data_length + index_length) FROM information_schema.tables"
                        " WHERE table_schema = database()"
                    )
                ).scalar_one()
        return f"{int(used) / count:,.0f} octets on disk per message of 4 KB, all rows and indexes"


class Statement:
    """A statement of SQLAlchemy's as the plain driver takes it."""

    def __init__(self, compiled: Any) -> None:
        self.text: str = compiled.string
        self._positions = compiled.positiontup

    def row(self, values: dict[str, Any]) -> Any:
        plain = {name: int(v) if isinstance(v, Folder) else v for name, v in values.items()}
        if self._positions is None:
            return plain
        return tuple(plain.get(name) for name in self._positions)


async def measure(url: str, messages: int) -> None:
    bench = Bench(url)
    try:
        await bench.prepare(messages)
        print(f"{'':42} {'store':>12} {'driver':>12}   ratio")
        for together in (1, 8, 32):
            print((await bench.deliveries(together)).show(), flush=True)
        steps: list[Callable[[], Any]] = [bench.listing, bench.login, bench.page, bench.removal]
        for step in steps:
            print((await step()).show(), flush=True)
        print(f"\n{bench.octets_per_message()}")
    finally:
        bench.store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url")
    parser.add_argument("--messages", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.url or f"sqlite:///{Path(folder) / 'bench.db'}"
        asyncio.run(measure(url, arguments.messages))


if __name__ == "__main__":
    main()
