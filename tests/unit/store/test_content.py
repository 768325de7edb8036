"""What reads strangers' messages: it cannot be made to take long, and what is beyond it is gone."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop

from mail.digest import Digest, Wish
from mail.errors import MessageDamaged
from mail.ident import UniqueId
from store.content import Content
from tests.bombs import ENDLESS, bombs
from tests.store.conftest import now

EVERYTHING = Wish(text=True, html=True, measures=True)
# Met within the process, before the system had to end it.
KNOWN = {
    *("fields", "field-size", "parameters", "nesting", "parts"),
    *("text-size", "html-size", "html-depth"),
}


@dataclass
class Record:
    size: int
    uid: UniqueId


class Stored:
    """Octets, as an opened message gives them."""

    def __init__(self, octets: bytes, times: int = 1) -> None:
        self.message = Record(times * len(octets), UniqueId.new(now()))
        self._octets = octets
        self._times = times

    async def blocks(self) -> AsyncIterator[bytes]:
        for _ in range(self._times):
            for at in range(0, len(self._octets), 255 * 1024):
                yield self._octets[at : at + 255 * 1024]


class Damaged(Stored):
    async def blocks(self) -> AsyncIterator[bytes]:
        yield b"Subject: x\r\n"
        raise MessageDamaged("a stored message is damaged")


class Endless(Stored):
    """Gives its first octets, and then waits."""

    def __init__(self) -> None:
        super().__init__(b"x" * 1000)
        self.begun = asyncio.Event()

    async def blocks(self) -> AsyncIterator[bytes]:
        yield b"x"
        self.begun.set()
        await asyncio.Event().wait()


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def content() -> Iterator[Content]:
    """With the limit on the processor's time as it is; other work here costs none of that."""
    made = Content(processes=1, wall_s=60)
    yield made
    made.close()


async def read(content: Content, message: Stored | bytes) -> Digest:
    opened: Any = Stored(message) if isinstance(message, bytes) else message
    return await content.digest(opened, EVERYTHING)


def children() -> list[int]:
    """The processes that read for us."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text, line = status.read_text(), (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        state, parent = text.rpartition(")")[2].split()[:2]
        if int(parent) == os.getpid() and b"content_worker" in line and state != "Z":
            found.append(int(status.parent.name))
    return found


async def is_well(content: Content) -> None:
    found = await read(content, b"Subject: x\r\n\r\nall is well\r\n")
    assert (found.limit, found.snippet) == (None, "all is well")


@pytest.mark.parametrize("octets", [pytest.param(b, id=name) for name, b in bombs()])
async def test_a_bomb_is_answered_within_the_limits_of_the_process(
    content: Content, octets: bytes
) -> None:
    """2 s and 256 MiB: beyond them it would be gone, and the limit another one."""
    found = await read(content, octets)
    assert found.limit is None or found.limit in KNOWN


def test_there_are_enough_of_them() -> None:
    assert len(list(bombs())) >= 60


async def test_what_takes_too_much_time_is_ended(content: Content) -> None:
    await is_well(content)
    [before] = children()
    assert (await read(content, ENDLESS)).limit == "cpu"
    await is_well(content)
    assert children() != [before]


async def test_what_takes_too_much_memory_is_ended(content: Content) -> None:
    found = await read(content, Stored(b"x" * 1024 * 1024, times=300))
    assert found == Digest(limit="memory")
    await is_well(content)


class Doomed(Stored):
    """More than the process may hold, which has ended before the last octets come."""

    def __init__(self) -> None:
        super().__init__(b"x" * 1024 * 1024, times=300)

    async def blocks(self) -> AsyncIterator[bytes]:
        yield b"x" * 255 * 1024
        while children():  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0)
        yield b"\n"


async def test_a_message_is_read_by_one_process_alone(content: Content) -> None:
    """The end of a message is none for another process."""
    await is_well(content)
    assert await read(content, Doomed()) == Digest(limit="memory")
    await is_well(content)


async def test_the_start_of_a_process_is_not_the_time_of_a_message() -> None:
    async with asyncio.timeout(60):
        while not await _is_well_after_a_slow_start(wall_s=0.3):
            pass  # it was caught too late, or the machine was busy


async def _is_well_after_a_slow_start(*, wall_s: float) -> bool:
    content = Content(processes=1, wall_s=wall_s)
    reading = asyncio.create_task(read(content, b"\r\n"))
    while not (found := children()):  # noqa: ASYNC110 - nothing tells us
        await asyncio.sleep(0)
    os.kill(found[0], signal.SIGSTOP)
    stopped_in_time = not reading.done()
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(2 * wall_s, passed.set)
    await passed.wait()
    with suppress(ProcessLookupError):  # it has been given up
        os.kill(found[0], signal.SIGCONT)
    limit = (await reading).limit
    content.close()
    return stopped_in_time and limit is None


async def test_one_that_does_not_move_is_ended() -> None:
    content = Content(processes=1, wall_s=2)
    await is_well(content)
    [stuck] = children()
    os.kill(stuck, signal.SIGSTOP)
    assert (await read(content, b"\r\n")).limit == "time"
    os.kill((await _only(content)), signal.SIGSTOP)
    large = Stored(b"x" * 1024 * 1024, times=2)  # more than the pipe holds
    assert (await read(content, large)).limit == "time"
    await is_well(content)
    content.close()
    assert children() == []


async def _only(content: Content) -> int:
    await is_well(content)
    [found] = children()
    return found


async def test_more_than_is_taken_is_not_answered(content: Content) -> None:
    part = b"--b\r\nContent-Type: text/html\r\n\r\n" + b"\x01" * 1_000_000 + b"\r\n"
    plain = b"--b\r\n\r\n" + b"\x01" * 1_000_000 + b"\r\n"
    message = b'Content-Type: multipart/alternative; boundary="b"\r\n\r\n' + plain + part
    assert await read(content, message) == Digest(limit="output")
    await is_well(content)


async def test_one_that_has_gone_is_replaced(content: Content) -> None:
    os.kill(await _only(content), signal.SIGKILL)
    while children():
        pass
    await is_well(content)


async def test_a_message_that_breaks_off_is_not_read_as_the_next_one(content: Content) -> None:
    with pytest.raises(MessageDamaged):
        await read(content, Damaged(b"x" * 1000))
    await is_well(content)


async def test_nobody_waits_for_a_message_that_was_given_up(content: Content) -> None:
    endless = Endless()
    reading = asyncio.ensure_future(read(content, endless))
    await endless.begun.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await is_well(content)


async def test_many_share_the_processes() -> None:
    content = Content()
    await asyncio.gather(*(is_well(content) for _ in range(50)))
    assert len(children()) == 2
    content.close()
    assert children() == []


async def test_it_holds_nothing(content: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither sockets, files and secrets of ours, nor a way to take more than it should."""
    monkeypatch.setenv("RESTANTE_SECRET", "x")
    ours = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(ours, True)
    process = Path("/proc", str(await _only(content)))
    os.close(ours)
    held = {entry.name: str(entry.readlink()) for entry in (process / "fd").iterdir()}
    assert held.keys() == {"0", "1", "2"}
    assert held["2"] == "/dev/null"
    assert not [target for target in held.values() if target.startswith("socket")]
    assert (process / "environ").read_bytes() == b""
    assert f"Max address space         {256 * 1024 * 1024}" in (process / "limits").read_text()
    libraries = (process / "maps").read_text()
    assert "sqlite" not in libraries
    assert "_ssl" not in libraries
