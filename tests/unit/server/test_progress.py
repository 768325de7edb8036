"""Long work tells how far it is, and ends when nobody listens any more."""

import asyncio

import pytest

from server.progress import Progress, Stopped, followed


async def test_the_result_comes_back_and_the_way_there_is_told() -> None:
    heard: list[tuple[int, int]] = []
    progress = Progress()
    enough = asyncio.Event()

    async def work() -> str:
        progress.step(3, 4)
        await enough.wait()
        return "done"

    async def tell(done: int, total: int) -> None:
        heard.append((done, total))
        enough.set()

    assert await followed(work(), progress, tell) == "done"
    assert heard == [(3, 4)]


async def test_a_fault_of_the_work_is_raised() -> None:
    async def work() -> None:
        raise ValueError("no")

    async def tell(_done: int, _total: int) -> None:
        raise AssertionError("it was over at once")

    with pytest.raises(ValueError, match="no"):
        await followed(work(), Progress(), tell)


async def test_work_stops_at_its_next_step_when_nobody_listens() -> None:
    progress = Progress()
    ended: list[str] = []

    async def work() -> None:
        try:
            while True:
                progress.step(0, 0)
                await asyncio.sleep(0)
        except Stopped:
            ended.append("stopped")
            raise

    async def tell(_done: int, _total: int) -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await followed(work(), progress, tell)
    assert ended == ["stopped"]
