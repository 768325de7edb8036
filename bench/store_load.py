"""The store against its own driver: each line is done twice in one run, as a ratio.

    python bench/store_load.py [--engine NAME]... [--messages N] [--grow SMALL,LARGE]

The second way replays what the first sent: the same statements, values and transactions, on the
plain driver, in one thread, without queue, compression or records. Rates are of this machine and
this minute; ratios carry over. docs/performance.md says what each line means.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import uvloop
from sqlalchemy import Engine, event, text, update

sys.path.insert(0, str(Path(__file__).parents[1]))

from mail import facts
from mail.address import Address
from mail.ident import UniqueId, texts
from mail.query import Words
from store import schema, search
from store.bodies import pack
from store.cut import CHUNK, Marks
from store.delivery import ADD_MESSAGE, Copy, Delivery, NewMessage, message_row
from store.listing import Selection
from store.records import Folder, Role, StoreSettings
from store.search import Document
from store.store import Store
from tests import databases

ROUNDS = 9
INBOX = Selection(folders=frozenset({Folder.INBOX}))
SENDER = Address.parse("bob@example.net")
ANN = Address.parse("ann@example.test")
PREFIX = b"Return-Path: <bob@example.net>\r\nDelivered-To: ann@example.test\r\n" + b"x: y\r\n" * 60
STORED_17_KB = 36_000  # octets of a letter that takes so much when it is compressed
VOCABULARY = [f"{random.Random(n).getrandbits(28):x}" for n in range(2000)]


def now() -> datetime:
    return datetime.now(UTC)


@cache
def letter(number: int, octets: int) -> bytes:
    """Text that compresses about as mail does."""
    chance = random.Random(number)
    words = " ".join(chance.choice(VOCABULARY) for _ in range(octets // 8))
    head = f"From: Bob <bob@example.net>\r\nSubject: Letter {number}\r\n\r\n"
    lines = (words[at : at + 70] for at in range(0, len(words), 70))
    return (head + "\r\n".join(lines)).encode() + b"\r\n"


class Tape:
    """What the store sends to the database, to be sent again by the driver alone."""

    def __init__(self, *engines: Engine) -> None:
        self.steps: list[tuple[Engine, str, Any, bool]] = []
        for engine in engines:
            self._listen(engine)

    def _listen(self, engine: Engine) -> None:
        @event.listens_for(engine, "before_cursor_execute")
        def execute(
            _connection: object,
            _cursor: object,
            sql: str,
            values: Any,
            _context: object,
            many: bool,  # noqa: FBT001 - as SQLAlchemy calls it
        ) -> None:
            self.steps.append((engine, sql, values, many))

        @event.listens_for(engine, "commit")
        def commit(_connection: object) -> None:
            self.steps.append((engine, "commit", None, False))

        @event.listens_for(engine, "rollback")
        def rollback(_connection: object) -> None:
            self.steps.append((engine, "rollback", None, False))

    def take(self) -> list[tuple[Engine, str, Any, bool]]:
        steps, self.steps = self.steps, []
        return steps


class Plain:
    """The driver alone, on the store's own connections while the store does nothing."""

    def __init__(self, store: Store) -> None:
        database = store._database
        self.tape = Tape(database.writer, database._readers)

    def replay(self, other: dict[bytes, bytes] | None = None) -> tuple[float, float]:
        """What the transactions take that are on the tape, with other ids in place of these."""
        tape = self.tape.take()
        connections: dict[Engine, Any] = {
            engine: engine.raw_connection() for engine in {step[0] for step in tape}
        }
        steps = [
            (connections[engine].driver_connection, sql, _swapped(values, other or {}), many)
            for engine, sql, values, many in tape
        ]
        watch = Watch()
        for connection, sql, values, many in steps:
            match sql:
                case "commit":
                    connection.commit()
                case "rollback":
                    connection.rollback()
                case _:
                    cursor = connection.cursor()
                    (cursor.executemany if many else cursor.execute)(sql, values)
                    if cursor.description:
                        cursor.fetchall()
        spent = watch.spent()
        for pooled in connections.values():
            pooled.close()
        return spent


def _swapped(values: Any, other: dict[bytes, bytes]) -> Any:
    match values:
        case dict():
            return {name: _swapped(value, other) for name, value in values.items()}
        case list() | tuple():
            return type(values)(_swapped(value, other) for value in values)
        case bytes() | memoryview():
            return other.get(bytes(values), values)
        case _ if type(values).__name__ == "Binary":  # psycopg's wrapper
            return other.get(values.obj, values.obj)
    return values


class Watch:
    """Seconds since it was made: of the clock, and of this process's work on the processor."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def spent(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


@dataclass
class Line:
    """One row of the table: what one unit of work took, by turns."""

    name: str
    unit: str
    works: int = 1  # of one measurement
    ours: list[tuple[float, float]] = field(default_factory=list)
    theirs: list[tuple[float, float]] = field(default_factory=list)

    def show(self) -> None:
        (ours, our_cpu), (theirs, their_cpu) = (
            [statistics.median(each) / self.works for each in zip(*times, strict=True)]
            for times in (self.ours, self.theirs)
        )
        # The two follow each other closely: what else the machine does meets both.
        pairs = zip(self.ours, self.theirs, strict=True)
        ratio = statistics.median(a / b for (a, _), (b, _) in pairs)
        if self.unit == "/s":
            shown = f"{1 / ours:10,.0f}/s {1 / theirs:10,.0f}/s   {1 / ratio:5.2f}  "
        else:
            shown = f"{ours * 1000:9.2f} ms {theirs * 1000:9.2f} ms   {ratio:5.2f} x"
        cpu = f"{our_cpu * 1000:9.2f} ms {their_cpu * 1000:9.2f} ms"
        print(f"{self.name:52} {shown} {cpu}", flush=True)


NOBODYS = 1  # credential: it has retrieved nothing


class Bench:
    """A store with two maildrops."""

    def __init__(self, url: str, *, max_listed: int) -> None:
        settings = StoreSettings(
            url=url,
            quota_octets=0,
            trash_days=30,
            max_listed=max_listed,
            floor_octets=256 * 1024 * 1024,
        )
        self.store = Store(settings, clock=now)
        self.engine = self.store._database.writer
        self.drop = self.other = 0
        self.kept: list[UniqueId] = []  # in `drop`
        self.born = 0

    async def prepare(self, messages: int, *, searched: bool) -> None:
        """A maildrop with so many messages without bodies: made by plain inserts."""
        accounts = self.store.accounts
        self.drop = (await accounts.add("ann", "hash of ann", role=Role.USER)).maildrop_id
        self.other = (await accounts.add("eve", "hash of eve", role=Role.USER)).maildrop_id
        began = time.perf_counter()
        for start in range(0, messages, 5000):
            self._insert(min(5000, messages - start), searched=searched)
        counted = {"modseq": self.born, "messages": self.born, "octets": 5000 * self.born}
        with self.engine.begin() as connection:
            drop = schema.maildrop
            connection.execute(update(drop).where(drop.c.id == self.drop).values(counted))
        if self.engine.dialect.name == "postgresql":  # as autovacuum would after a while
            with self.engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            ) as connection:
                connection.exec_driver_sql("VACUUM ANALYZE message, search_doc")
        seconds = time.perf_counter() - began
        print(f"{messages:,} rows of messages made in {seconds:.0f} s", flush=True)

    def _insert(self, count: int, *, searched: bool) -> None:
        rows, documents = [], []
        for _ in range(count):
            self.born += 1
            new = self.new(self.drop, 0, at=now() + timedelta(milliseconds=self.born - 10**8))
            row = message_row(
                Delivery.of(new, pack(b""), quota_octets=0, now=now()),
                *(new.copies[0], self.born),
                repeats=False,
            )
            rows.append(row)
            self.kept.append(new.uid)
            chosen = random.Random(self.born).choices(VOCABULARY, k=30)
            sender, to, subject = (
                search.folded(row[fact], 500) for fact in ("from_text", "to_text", "subject")
            )
            words = " ".join([search._token(self.drop), *("w" + word for word in chosen)])
            documents.append(Document(self.drop, new.uid.octets, sender, to, subject, words))
        with self.engine.begin() as connection:
            ADD_MESSAGE.run_many(connection, rows)
            if searched:
                search.remember(connection, self.store._database.backend, documents)

    def new(self, maildrop_id: int, octets: int, at: datetime | None = None) -> NewMessage:
        """With 0 octets, a message of which only rows are kept."""
        number = random.randrange(200)
        uid = UniqueId.new(at or now())
        content = letter(number, octets) if octets else b""
        return NewMessage(
            uid, SENDER, content, facts.read(letter(number, 100)), [Copy(maildrop_id, ANN, PREFIX)]
        )

    async def login(self) -> int:
        """What STAT says."""
        return (await self.store.windows.open(self.drop, NOBODYS)).entries.octets

    async def catch_up(self) -> None:
        """From now on the client of `poll` has retrieved everything."""
        window = await self.store.windows.open(self.drop, NOBODYS)
        whole = (1 << CHUNK) - 1
        window.retrieved = Marks(dict.fromkeys(range(self.born // CHUNK + 1), whole))
        await self.store.windows.update(window)

    async def poll(self) -> None:
        """The session of a client that leaves its mail here, and takes the newest message."""
        window = await self.store.windows.open(self.drop, NOBODYS)
        window.note(window.entries[-1].uid)
        await self.store.windows.update(window)

    async def page(self) -> None:
        await self.store.listing.page(self.drop, INBOX)

    async def keep(self, octets: int = 0) -> UniqueId:
        new = self.new(self.drop, octets)
        await self.store.messages.append(new)
        return new.uid

    def octets_on_disk(self) -> int:
        queries = {
            "sqlite": "SELECT page_count * 8192 FROM pragma_page_count",
            "postgresql": "SELECT pg_database_size(current_database())",
            "mariadb": "SELECT sum(data_length + index_length) FROM information_schema.tables"
            " WHERE table_schema = database()",
        }
        with self.engine.begin() as connection:
            if self.engine.dialect.name == "mariadb":  # it counts pages when it is told to
                connection.exec_driver_sql("ANALYZE TABLE message, body, body_chunk")
            return int(connection.execute(text(queries[self.engine.dialect.name])).scalar_one())


class Comparison:
    """Every line of the table."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.store = bench.store
        self.plain = Plain(bench.store)

    async def read(
        self,
        name: str,
        work: Callable[[], Awaitable[object]],
        *,
        rounds: int,
        before: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        line = Line(name, "ms")
        for _ in range(rounds):
            if before:
                await before()
            self.plain.tape.take()
            watch = Watch()
            await work()
            line.ours.append(watch.spent())
            line.theirs.append(self.plain.replay())
        line.show()

    async def deliveries(self, together: int, octets: int, *, count: int) -> None:
        """So many senders who never pause. What met in one commit is shown beside them."""
        line = Line("", "/s", count)
        commits = 0
        for _ in range(ROUNDS):
            news = [self.bench.new(self.bench.other, octets) for _ in range(count)]
            left = iter(news)
            self.plain.tape.take()
            watch = Watch()
            await asyncio.gather(*(self._send(left) for _ in range(together)))
            line.ours.append(watch.spent())
            commits += sum(sql == "commit" for _, sql, _, _ in self.plain.tape.steps)
            others = {new.uid.octets: UniqueId.new(now()).octets for new in news}
            line.theirs.append(self.plain.replay(others))
        kind = "rows only" if not octets else "with bodies of 17 KB"
        each = ROUNDS * count / commits
        line.name = f"deliveries, {kind}, {together} senders, {each:.1f} per commit"
        line.show()

    async def _send(self, news: Iterator[NewMessage]) -> None:
        for new in news:
            await self.store.messages.append(new)

    async def quit(self, deletions: int, *, rounds: int) -> None:
        line = Line(f"QUIT after {deletions:,} deletions", "ms")
        for _ in range(rounds):
            kept = self.bench.kept
            uids, others = kept[:deletions], kept[deletions : 2 * deletions]
            del kept[: 2 * deletions]
            window = await self.store.windows.open(self.bench.drop, 0)
            self.plain.tape.take()
            watch = Watch()
            await self.store.windows.update(window, uids)
            line.ours.append(watch.spent())
            pairs = zip(uids, others, strict=True)
            other = {uid.octets: another.octets for uid, another in pairs}
            line.theirs.append(self.plain.replay(other))
        self.store.maildrops._kept.clear()  # it was changed behind the store's back
        line.show()

    async def listing(self) -> None:
        self.store.maildrops._kept.clear()
        uids = (await self.store.windows.open(self.bench.drop, 0)).entries.uids
        "".join(f"{n} {uid}\r\n" for n, uid in enumerate(texts(uids), 1))

    async def all(self, messages: int) -> None:
        bench = self.bench
        print(
            f"{'':52} {'store':>12} {'driver':>12}   ratio   {'store cpu':>11} {'driver cpu':>12}"
        )
        before = bench.octets_on_disk()
        for together, count in ((1, 100), (8, 320), (32, 960)):
            await self.deliveries(together, 0, count=count)
        rows = bench.octets_on_disk()
        for together, count in ((1, 100), (8, 320), (32, 960)):
            await self.deliveries(together, STORED_17_KB, count=count)
        bodies = bench.octets_on_disk()
        await self.read(f"list {messages:,}: read, arrays, base-32", self.listing, rounds=ROUNDS)
        await self.read("login and STAT, nothing new", bench.login, rounds=20 * ROUNDS)
        await self.read(
            "login and STAT, five changes since",
            bench.login,
            before=lambda: asyncio.gather(*(bench.keep() for _ in range(5))),
            rounds=5 * ROUNDS,
        )
        await self.read(f"page of 50 in {messages:,}", bench.page, rounds=20 * ROUNDS)
        uid = await bench.keep(STORED_17_KB)
        await self.read(
            "RETR look-up with first chunk",
            lambda: self.store.messages.open(bench.drop, uid),
            rounds=20 * ROUNDS,
        )
        await self.read(
            f"search of a word in {messages:,}",
            lambda: self.store.listing.page(bench.drop, Selection(query=Words((VOCABULARY[7],)))),
            rounds=3 * ROUNDS,
        )
        await self.quit(100, rounds=ROUNDS)
        if messages >= 60_000:
            await self.quit(10_000, rounds=2)
        made = 2 * ROUNDS * (100 + 320 + 960)  # by both
        print(
            f"octets on disk per message: {(rows - before) / made:,.0f} rows and indexes,"
            f" {(bodies - rows) / made:,.0f} with a body of 17 KB"
        )


async def compare(url: str, messages: int) -> None:
    bench = Bench(url, max_listed=10_000)
    try:
        await bench.prepare(messages, searched=True)
        gc.freeze()  # what this program keeps for itself is no load of the store
        await Comparison(bench).all(messages)
    finally:
        bench.store.close()


async def grow(urls: Sequence[str], sizes: Sequence[int]) -> None:
    """The same work in maildrops of different sizes, by turns."""
    benches = [Bench(url, max_listed=10_000) for url in urls]
    try:
        for bench, size in zip(benches, sizes, strict=True):
            await bench.prepare(size, searched=False)
        steps: dict[str, Callable[[Bench], Awaitable[object]]] = {
            "page of 50": Bench.page,
            "login and STAT, nothing new": Bench.login,
            "login and STAT, one message since": Bench.login,
            "session of a client that keeps up, one message since": Bench.poll,
        }
        titles = "".join(f"{f'in {size:,}':>15}" for size in sizes)
        print(f"{'':52} {titles}   ratio")
        for name, step in steps.items():
            if step == Bench.poll:
                for bench in benches:
                    await bench.catch_up()
            spent: list[list[float]] = [[] for _ in benches]
            for _ in range(20 * ROUNDS):
                for bench, times in zip(benches, spent, strict=True):
                    if "since" in name:
                        await bench.keep()
                    began = time.perf_counter()
                    await step(bench)
                    times.append(time.perf_counter() - began)
            medians = [statistics.median(times) for times in spent]
            shown = "".join(f"{each * 1000:12.2f} ms" for each in medians)
            print(f"{name:52} {shown}   {medians[-1] / medians[0]:5.2f} x", flush=True)
    finally:
        for bench in benches:
            bench.store.close()


def program(name: str) -> str:
    found = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    return found or sys.exit(f"{name} is not installed (tests/packages.txt)")


@contextmanager
def engine_of(name: str) -> Iterator[Callable[[str], str]]:
    """Gives the URL of a new empty database of each name."""
    servers: dict[str, Callable[..., AbstractContextManager[databases.Database]]] = {
        "postgresql": databases.postgresql,
        "mariadb": databases.mariadb,
    }
    if name == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield lambda database: f"sqlite:///{Path(folder) / database}.db"
        return
    with servers[name](program) as server:
        yield server.url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--engine", action="append", choices=["sqlite", "postgresql", "mariadb"], default=[]
    )
    parser.add_argument("--messages", type=int, default=100_000, help="0: no comparison")
    parser.add_argument("--grow", default="1000,1000000", help="sizes of maildrops; 0: no check")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.grow.split(",")]
    for name in arguments.engine or ["sqlite"]:
        print(f"\n{name}")
        with engine_of(name) as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            if arguments.messages:
                runner.run(compare(url("bench"), arguments.messages))
            if all(sizes):
                runner.run(grow([url(f"grow{size}") for size in sizes], sizes))


if __name__ == "__main__":
    main()
