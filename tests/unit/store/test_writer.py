"""The writer thread: who shares a commit, who fails alone, and that everybody is answered."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from mail.errors import OverQuota, StorageBusy, StorageFull
from store.database import Database
from store.writer import ALONE_OCTETS, BATCH_JOBS, BATCH_OCTETS, QUEUE_JOBS, QUEUE_OCTETS, Writer
from tests.store.conftest import new_file

Job = Callable[[Connection], Connection]
Task = asyncio.Task[Connection]


class Desk:
    """A writer on a database with one table, `note`, whose names are unique."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = Database(new_file(path))
        with self.database.writer.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE note (name TEXT UNIQUE)")
        self.writer = Writer(self.database, None)

    def close(self) -> None:
        self.writer.close()
        self.database.close()

    def notes(self) -> set[str]:
        """What is committed, as another process sees it."""
        with sqlite3.connect(self.path) as connection:
            found = {str(name) for (name,) in connection.execute("SELECT name FROM note")}
        connection.close()
        return found

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """The thread is held by a job; what is queued inside waits until the end of the block."""
        entered, leave = threading.Event(), threading.Event()

        def hold(_connection: Connection) -> None:
            entered.set()
            leave.wait()

        holding = asyncio.create_task(self.writer.run(hold))
        await asyncio.to_thread(entered.wait)
        try:
            yield
        finally:
            leave.set()
            await holding

    async def queue(self, *jobs: Job, octets: int = 0, frees: bool = False) -> list[Task]:
        """The jobs, in the queue when this returns."""
        tasks = [
            asyncio.create_task(self.writer.run(job, octets=octets, frees=frees)) for job in jobs
        ]
        await asyncio.sleep(0)  # each task runs up to its first wait
        return tasks


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    opened = Desk(tmp_path / "store.db")
    yield opened
    await asyncio.to_thread(opened.close)


def note(name: str) -> Job:
    """Writes the name; its result tells the transaction it ran in."""

    def write(connection: Connection) -> Connection:
        connection.exec_driver_sql("INSERT INTO note VALUES (?)", (name,))
        return connection

    return write


def notes(number: int, first: int = 0) -> list[Job]:
    return [note(str(n)) for n in range(first, first + number)]


def failing(name: str, error: Exception) -> Job:
    def write(connection: Connection) -> Connection:
        note(name)(connection)
        raise error

    return write


def refusing(connection: Connection) -> Connection:
    connection.exec_driver_sql("SELECT count(*) FROM note").scalar_one()
    raise OverQuota("no room in this maildrop")


def transactions(results: list[Connection]) -> list[int]:
    """How many jobs each transaction had."""
    return [results.count(one) for one in dict.fromkeys(results)]


async def test_a_result_comes_after_the_commit(desk: Desk) -> None:
    assert await desk.writer.run(lambda _connection: 7) == 7
    await desk.writer.run(note("a"))
    assert desk.notes() == {"a"}


async def test_what_queues_during_a_commit_shares_the_next_one(desk: Desk) -> None:
    async with desk.busy():
        tasks = await desk.queue(*notes(10))
        assert desk.notes() == set()
    results = await asyncio.gather(*tasks)
    assert transactions(results) == [10]
    assert len(desk.notes()) == 10


async def test_without_a_queue_each_job_has_its_commit(desk: Desk) -> None:
    results = [await desk.writer.run(note(name)) for name in "abc"]
    assert transactions(results) == [1, 1, 1]


async def test_jobs_run_in_their_order(desk: Desk) -> None:
    order: list[int] = []

    def remember(number: int) -> Job:
        def job(connection: Connection) -> Connection:
            order.append(number)
            return connection

        return job

    async with desk.busy():
        tasks = await desk.queue(*map(remember, range(100)))
    await asyncio.gather(*tasks)
    assert order == list(range(100))


async def test_a_batch_has_an_end(desk: Desk) -> None:
    async with desk.busy():
        tasks = await desk.queue(*notes(BATCH_JOBS + 10))
    assert transactions(await asyncio.gather(*tasks)) == [BATCH_JOBS, 10]
    assert len(desk.notes()) == BATCH_JOBS + 10


async def test_a_batch_has_an_end_in_octets_too(desk: Desk) -> None:
    async with desk.busy():
        tasks = await desk.queue(*notes(6), octets=BATCH_OCTETS * 3 // 8)
    assert transactions(await asyncio.gather(*tasks)) == [2, 2, 2]


async def test_a_large_job_goes_alone(desk: Desk) -> None:
    async with desk.busy():
        tasks = await desk.queue(*notes(2))
        tasks += await desk.queue(note("large"), octets=ALONE_OCTETS + 1)
        tasks += await desk.queue(*notes(2, first=2), octets=ALONE_OCTETS)
    assert transactions(await asyncio.gather(*tasks)) == [2, 1, 2]


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), StopIteration("x")])
async def test_a_poisonous_job_fails_alone(desk: Desk, error: Exception) -> None:
    async with desk.busy():
        before = await desk.queue(*notes(5))
        bad = await desk.queue(failing("poison", error))
        after = await desk.queue(*notes(5, first=5))
    async with asyncio.timeout(10):
        await asyncio.gather(*before, *after)
        with pytest.raises((type(error), RuntimeError)):
            await bad[0]
    assert desk.notes() == set("0123456789")


async def test_a_broken_rule_of_the_database_fails_alone(desk: Desk) -> None:
    await desk.writer.run(note("taken"))
    async with desk.busy():
        good = await desk.queue(*notes(3))
        (bad,) = await desk.queue(note("taken"))
        good += await desk.queue(*notes(3, first=3))
    await asyncio.gather(*good)
    with pytest.raises(IntegrityError):
        await bad
    assert desk.notes() == {"taken", *"012345"}


async def test_several_poisonous_jobs_in_one_batch(desk: Desk) -> None:
    async with desk.busy():
        tasks = []
        for number in range(20):
            job = failing(f"bad{number}", ValueError(number)) if number % 3 else note(str(number))
            tasks += await desk.queue(job)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for number, result in enumerate(results):
        assert isinstance(result, ValueError) == (number % 3 != 0)
        if isinstance(result, ValueError):
            assert result.args == (number,)  # its own error, not a neighbour's
    assert desk.notes() == {str(number) for number in range(0, 20, 3)}


async def test_a_failure_before_the_first_write_disturbs_nobody(desk: Desk) -> None:
    async with desk.busy():
        tasks = await desk.queue(*notes(3))
        (refused,) = await desk.queue(refusing)
        tasks += await desk.queue(*notes(3, first=3))
    assert transactions(await asyncio.gather(*tasks)) == [6]  # nothing was run again
    with pytest.raises(OverQuota):
        await refused
    assert desk.notes() == set("012345")


async def test_a_failure_beside_a_poisonous_job_stays_itself(desk: Desk) -> None:
    async with desk.busy():
        tasks = await desk.queue(refusing, failing("bad", ValueError()), note("good"))
    refused, bad, good = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(refused, OverQuota)
    assert isinstance(bad, ValueError)
    assert isinstance(good, Connection)
    assert desk.notes() == {"good"}


async def test_a_job_that_always_raises_is_answered(desk: Desk) -> None:
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await desk.writer.run(failing("bad", ZeroDivisionError()))
    await desk.writer.run(note("good"))
    assert desk.notes() == {"good"}


async def test_a_full_disk_is_a_temporary_failure_of_one_job(desk: Desk) -> None:
    def fill(connection: Connection) -> Connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 5}")
        connection.exec_driver_sql("INSERT INTO note VALUES (zeroblob(1000000))")
        return connection

    async with desk.busy():
        tasks = await desk.queue(note("a"), fill, note("b"))
    first, full, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(full, StorageFull)
    assert isinstance(first, Connection)
    assert isinstance(last, Connection)
    assert desk.notes() == {"a", "b"}


async def test_a_full_queue_says_so_at_once_and_keeps_room_for_what_frees(desk: Desk) -> None:
    share = QUEUE_JOBS * 3 // 4
    async with desk.busy():
        tasks = await desk.queue(*notes(share))
        with pytest.raises(StorageBusy):
            await desk.writer.run(note("one too many"))
        tasks += await desk.queue(*notes(QUEUE_JOBS - share, first=share), frees=True)
        for frees in (True, False):
            with pytest.raises(StorageBusy):
                await desk.writer.run(note("one too many"), frees=frees)
    await asyncio.gather(*tasks)
    assert desk.notes() == {str(number) for number in range(QUEUE_JOBS)}
    await desk.writer.run(note("room again"))


async def test_a_queue_is_full_of_octets_too(desk: Desk) -> None:
    quarter = QUEUE_OCTETS // 4
    for again in range(3):  # what has been written counts no more
        async with desk.busy():
            tasks = await desk.queue(*notes(3, first=5 * again), octets=quarter)
            with pytest.raises(StorageBusy):
                await desk.writer.run(note("too large"), octets=1)
            tasks += await desk.queue(note(f"empty {again}"))
            tasks += await desk.queue(note(f"frees {again}"), octets=quarter, frees=True)
            with pytest.raises(StorageBusy):
                await desk.writer.run(note("too large"), octets=1, frees=True)
        await asyncio.gather(*tasks)
        assert len(desk.notes()) == 5 * (again + 1)


async def test_a_job_larger_than_the_queue_gets_through_when_alone(desk: Desk) -> None:
    await desk.writer.run(note("huge"), octets=2 * QUEUE_OCTETS)
    assert desk.notes() == {"huge"}


async def test_a_cancelled_caller_withdraws_nothing(desk: Desk) -> None:
    async with desk.busy():
        (gone,) = await desk.queue(note("gone"))
        others = await desk.queue(*notes(3))
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
    await asyncio.gather(*others)
    assert desk.notes() == {"gone", *"012"}


async def test_a_caller_whose_loop_has_ended_holds_nobody_up(desk: Desk) -> None:
    async def hang_up() -> None:
        (task,) = await desk.queue(note("gone"))
        task.cancel()

    async with desk.busy():
        await asyncio.to_thread(lambda: asyncio.run(hang_up()))
        others = await desk.queue(*notes(3))
    async with asyncio.timeout(10):
        await asyncio.gather(*others)
    assert desk.notes() == {"gone", *"012"}


async def test_close_empties_the_queue_and_takes_no_more(desk: Desk) -> None:
    async with desk.busy():
        tasks = await desk.queue(*notes(BATCH_JOBS * 2))
        closing = asyncio.get_running_loop().run_in_executor(None, desk.writer.close)
    await closing
    await asyncio.gather(*tasks)
    assert desk.notes() == {str(number) for number in range(BATCH_JOBS * 2)}
    for frees in (False, True):
        with pytest.raises(StorageBusy):
            await desk.writer.run(note("after"), frees=frees)
    desk.writer.close()  # once more does no harm
