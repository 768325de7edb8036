"""I1 from outside: whatever goes wrong with us is temporary to a sender, in words that say nothing.

Each fault is met by senders who try again, as senders do: once it is gone the same message is
taken, and is there once for each 250.
"""

import asyncio
import errno
import os
import random
import re
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from intake.deliver import Arrival, Kept
from intake.recipients import Recipient
from mail.address import Address
from smtpin.handler import Intake
from tests.commit_proxy import Cut, at_random, commit_proxy
from tests.databases import Database, postgresql
from tests.front import ANN, Front, front
from tests.kit import stuffed
from tests.shapes import message
from tests.waiting import until
from tests.wire import Wire

SEED = int(os.environ.get("RESTANTE_SEED", "6"))
SENDERS = 4
CUT_MESSAGES = 80

Needs = Callable[[str], str]

TEXT = "SELECT secret FROM credential\r\n250 2.0.0 kept as 01forged"
FAULTS: list[Exception] = [
    RuntimeError(TEXT),
    AssertionError(TEXT),
    KeyError(TEXT),
    ValueError(TEXT),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, TEXT),
    StopAsyncIteration(TEXT),
    EOFError(TEXT),
    MemoryError(TEXT),
    RecursionError(TEXT),
    TimeoutError(TEXT),
    OSError(errno.ENOSPC, TEXT),
    OSError(errno.EMFILE, TEXT),
    ConnectionResetError(TEXT),
    BrokenPipeError(TEXT),
    ssl.SSLError(1, TEXT),
    asyncio.IncompleteReadError(b"", 1),
    asyncio.LimitOverrunError(TEXT, 1),
    asyncio.InvalidStateError(TEXT),
    asyncio.QueueFull(TEXT),
    UnicodeEncodeError("ascii", "\xff", 0, 1, TEXT),
]


@dataclass
class Faulty:
    """The real intake, but for the faults that are waiting: each call meets one, then goes on."""

    real: Intake
    at_resolve: list[BaseException] = field(default_factory=list)
    before: list[BaseException] = field(default_factory=list)
    after: list[BaseException] = field(default_factory=list)  # the message has been kept

    async def resolve(self, address: Address) -> Recipient:
        _raise(self.at_resolve)
        return await self.real.resolve(address)

    async def deliver(self, arrival: Arrival) -> Kept:
        _raise(self.before)
        kept = await self.real.deliver(arrival)
        _raise(self.after)
        return kept


def _raise(waiting: list[BaseException]) -> None:
    if waiting:
        raise waiting.pop()


@contextmanager
def faulty_front(folder: Path) -> Iterator[tuple[Front, Faulty]]:
    made: list[Faulty] = []

    def around(real: Intake) -> Intake:
        made.append(Faulty(real))
        return Intake(resolve=made[0].resolve, deliver=made[0].deliver)

    with front(folder, around=around) as smtp:
        yield smtp, made[0]


def offer(wire: Wire, content: bytes, *, sender: str = "bob@example.net") -> str:
    """One transaction: the first reply that refuses something, else that to the message."""
    wire.send(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{ANN}>\r\nDATA\r\n".encode())
    replies = [wire.hear() for _ in range(3)]
    assert replies[0].startswith("250 ")
    if not replies[1].startswith("250 "):
        assert replies[2].startswith("503 ")
        assert wire.say("RSET").startswith("250 ")
        return replies[1]
    assert replies[2].startswith("354 ")
    wire.send(stuffed(content) + b".\r\n")
    return wire.hear()


def kept(reply: str) -> str | None:
    """The id of a 250, None for a refusal; it must be temporary then."""
    if reply.startswith("250 2.0.0 kept as "):
        return reply.split()[-1]
    assert re.fullmatch(r"4[25]\d 4\.\d\.\d [a-z ,;]+", reply), reply
    return None


@pytest.mark.parametrize("hook", ["at_resolve", "before", "after"])
def test_an_exception_in_a_hook_is_temporary_and_constant(tmp_path: Path, hook: str) -> None:
    sent: dict[str, bytes] = {}
    refusals = set()
    with faulty_front(tmp_path) as (smtp, faulty):
        for number, fault in enumerate(FAULTS):
            with Wire(smtp.smtp) as wire:
                getattr(faulty, hook).append(fault)
                reply = offer(wire, message(number, big=20_000))
                assert kept(reply) is None
                refusals.add(reply)
                # The same session goes on, and the same message is taken.
                uid = kept(offer(wire, message(number, big=20_000)))
                assert uid
                sent[uid] = message(number, big=20_000)
                assert wire.say("QUIT").startswith("221 ")
        assert len(refusals) == 1, refusals
        stored = smtp.stored()
        assert {uid: stored[uid] for uid in sent} == sent
        # A fault behind the commit leaves a copy that nobody was told of. Nothing else is there.
        times = 2 if hook == "after" else 1
        assert Counter(stored.values()) == Counter(dict.fromkeys(sent.values(), times))


@pytest.mark.parametrize("hook", ["at_resolve", "before"])
def test_a_hook_that_is_cancelled_says_nothing_that_lasts(tmp_path: Path, hook: str) -> None:
    with faulty_front(tmp_path) as (smtp, faulty):
        getattr(faulty, hook).append(asyncio.CancelledError())
        with Wire(smtp.smtp) as wire, suppress(EOFError, ConnectionError):
            assert kept(offer(wire, message(0))) is None
        with Wire(smtp.smtp) as wire:
            assert kept(offer(wire, message(0)))
        assert list(smtp.stored().values()) == [message(0)]


@contextmanager
def small_disk(folder: Path, needs: Needs) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("a file system can be mounted by root only")
    folder.mkdir()
    size = "size=8m,mode=0700"
    subprocess.run([needs("mount"), "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run([needs("umount"), folder], check=True)


def test_a_full_disk_puts_mail_off(tmp_path: Path, needs: Needs) -> None:
    with small_disk(tmp_path / "disk", needs) as disk, front(disk) as smtp:
        sent: dict[str, bytes] = {}
        refusals = set()
        for turn in range(3):
            filler = disk / "filler"
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(4096))
            waiting = [message(100 * turn + n, big=20_000) for n in range(10)]
            with Wire(smtp.smtp) as wire:
                for content in waiting:
                    reply = offer(wire, content)
                    uid = kept(reply)
                    if uid:  # in what room there was left
                        sent[uid] = content
                    else:
                        refusals.add(reply)
                        break
                else:
                    pytest.fail("there was no end of the room")
            filler.unlink()
            left = [content for content in waiting if content not in sent.values()]

            def retry(left: list[bytes] = left) -> bool:
                with Wire(smtp.smtp) as wire:
                    for content in tuple(left):
                        uid = kept(offer(wire, content))
                        if not uid:
                            return False
                        sent[uid] = content
                        left.remove(content)
                return True

            until(retry, "mail is taken again")
        assert len(refusals) == 1, refusals
        assert smtp.stored() == sent


@pytest.fixture(scope="module")
def database(needs: Needs) -> Iterator[Database]:
    with postgresql(needs) as found:
        yield found


def test_a_database_that_is_gone_is_temporary(tmp_path: Path, database: Database) -> None:
    sent: dict[str, bytes] = {}
    with front(tmp_path, url=database.url("gone")) as smtp, Wire(smtp.smtp) as wire:
        database.stop()
        replies = [offer(wire, message(n)) for n in range(3)]
        assert {kept(reply) for reply in replies} == {None}
        assert len(set(replies)) == 1
        database.start()
        for n in range(3):
            uid = kept(offer(wire, message(n)))
            assert uid
            sent[uid] = message(n)
        # And when it goes while the message is on its way.
        with ThreadPoolExecutor(1) as waiting:
            wire.begin(ANN)
            database.stop()
            wire.send(stuffed(message(4)) + b".\r\n")
            reply = waiting.submit(wire.hear)
            database.start()
            uid = kept(reply.result(60)) or kept(offer(wire, message(4)))
        assert uid
        sent[uid] = message(4)
        wire.close()
        assert smtp.stored() == sent


@pytest.mark.long
def test_a_database_that_stays_away_is_told_in_time(tmp_path: Path, database: Database) -> None:
    """Nothing of these messages can be in it, so no sender need wait for it to come back."""
    with front(tmp_path, url=database.url("away")) as smtp:
        with Wire(smtp.smtp) as first, Wire(smtp.smtp) as second:
            first.begin(ANN)
            second.begin(ANN)
            database.stop()
            try:
                for number, wire in enumerate((first, second)):
                    wire.send(stuffed(message(number)) + b".\r\n")
                assert [kept(wire.hear()) for wire in (first, second)] == [None, None]
            finally:
                database.start()
        assert smtp.stored() == {}


def test_a_commit_that_breaks_off_is_told_as_it_was(tmp_path: Path, database: Database) -> None:
    """COMMIT is cut before, on its way and behind: 250 for what is kept, once; 4yz for the rest."""
    url = database.url("cut")

    def send(smtp: Front, numbers: range) -> dict[str, bytes]:
        sent = {}
        with Wire(smtp.smtp, source=f"127.0.0.{2 + numbers[0]}") as wire:
            for number in numbers:
                for _ in range(20):
                    uid = kept(offer(wire, message(number, big=20_000)))
                    if uid:
                        sent[uid] = message(number, big=20_000)
                        break
                else:
                    pytest.fail("refused too often")
        return sent

    with (
        commit_proxy("postgresql", database.port) as proxy,
        front(tmp_path, url=proxy.url(url)) as smtp,
        ThreadPoolExecutor(SENDERS) as senders,
    ):
        proxy.choose = at_random(random.Random(SEED), 0.3)
        shares = [range(n, CUT_MESSAGES, SENDERS) for n in range(SENDERS)]
        sent: dict[str, bytes] = {}
        for share in senders.map(lambda numbers: send(smtp, numbers), shares):
            sent |= share
        proxy.choose = None
        assert min(proxy.cuts[cut] for cut in Cut) >= 1, f"seed {SEED}: {proxy.cuts}"
        assert len(sent) == CUT_MESSAGES
        assert smtp.stored() == sent, f"seed {SEED}"
