"""Large messages wait in files: every octet comes back, and nothing is held afterwards."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from intake.spool import SPOOL_FROM, Incoming, NoRoom, Spool
from mail.data import Finding
from net.limits import OctetBudget
from tests.unit.smtpin.listener import spent

KIB = 1024
MIB = 1024 * 1024
MEMORY = 4 * MIB


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(OctetBudget(MEMORY), tmp_path)
    yield spool
    spool.close()


def held(spool: Spool) -> tuple[int, int]:
    """Octets that are out: of memory, of files."""
    return spent(spool.memory, MEMORY), spool.files.total - left(spool.files)


def left(budget: OctetBudget) -> int:
    low, high = 0, budget.total
    while low < high:
        middle = (low + high + 1) // 2
        if budget.take(middle):
            budget.give(middle)
            low = middle
        else:
            high = middle - 1
    return low


async def fed(spool: Spool, wire: bytes, *, block: int = 64 * KIB) -> Incoming:
    incoming = Incoming(spool, 10 * MIB)
    for start in range(0, len(wire), block):
        await incoming.feed(wire[start : start + block])
    return incoming


@pytest.mark.parametrize("size", [0, 100, SPOOL_FROM - 64 * KIB, SPOOL_FROM, SPOOL_FROM + 1, MIB])
@pytest.mark.parametrize("block", [64 * KIB, 64 * KIB - 7])
async def test_a_message_comes_back_as_it_was_sent(spool: Spool, size: int, block: int) -> None:
    line = b"..dot\nbare\r\n"
    content = b".dot\r\nbare\r\n" * (size // len(line))
    incoming = await fed(spool, line * (size // len(line)) + b".\r\n", block=block)
    assert await incoming.whole(1) == (content, None)
    await incoming.close()
    assert held(spool) == (0, 0)


async def test_a_large_message_waits_outside_of_memory_and_without_a_name(spool: Spool) -> None:
    incoming = await fed(spool, b"x" * 78 + b"\r\n" * (2 * MIB))
    memory, files = held(spool)
    assert memory <= SPOOL_FROM + 64 * KIB
    assert files >= 2 * MIB
    assert list(spool.folder.iterdir()) == []
    await incoming.close()
    assert held(spool) == (0, 0)


async def test_what_forbids_a_large_message_is_found(spool: Spool) -> None:
    incoming = await fed(spool, b"Subject: \0" + b"\r\nx: y" * MIB + b"\r\n.\r\n")
    assert (await incoming.whole(1))[1] is Finding.NUL_IN_HEADER
    await incoming.close()


async def test_large_messages_take_turns_in_memory(spool: Spool) -> None:
    wire = b"\r\n" * (3 * MIB // 4) + b".\r\n"
    first, second = await fed(spool, wire), await fed(spool, wire)
    await first.whole(1)
    with pytest.raises(NoRoom):
        await second.whole(0.05)
    waiting = asyncio.create_task(second.whole(10))
    await asyncio.sleep(0)
    await first.close()
    assert (await waiting)[0] == wire[:-3]
    await second.close()
    assert held(spool) == (0, 0)


async def test_a_message_as_large_as_the_memory_has_its_turn_too(spool: Spool) -> None:
    wire = b"\r\n" * (2 * MIB) + b".\r\n"
    await fed(spool, b"others, which have just begun")
    incoming = await fed(spool, wire)
    assert (await incoming.whole(1))[0] == wire[:-3]
    await incoming.close()


async def test_without_room_nothing_is_kept_and_the_end_is_still_found(tmp_path: Path) -> None:
    memory = OctetBudget(MEMORY)
    spools = {
        "files": Spool(memory, tmp_path),
        "disk": Spool(memory, tmp_path, floor=1 << 62),
        "folder": Spool(memory, tmp_path / "gone"),
        "memory": Spool(OctetBudget(100 * KIB), tmp_path),
    }
    assert spools["files"].files.take(spools["files"].files.total)
    for spool in spools.values():
        incoming = await fed(spool, b"x\r\n" * MIB + b".\r\n")
        assert incoming.reader.ended
        assert not incoming.reader.keeping
        await incoming.close()
        spool.close()
    assert spent(memory, MEMORY) == 0


async def test_a_session_that_is_cancelled_closes_no_file_under_a_write(spool: Spool) -> None:
    for turns in range(8):
        incoming = await fed(spool, b"x\r\n" * 50_000)
        feeding = asyncio.create_task(incoming.feed(b"x\r\n" * MIB))
        for _ in range(turns):
            await asyncio.sleep(0)
        feeding.cancel()
        await asyncio.wait({feeding})
        await incoming.close()
    assert held(spool) == (0, 0)
