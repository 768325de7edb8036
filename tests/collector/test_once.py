"""A collector whose time has come runs once, however the look for it and its end fall together."""

import asyncio
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from tests.collector.conftest import Desk
from tests.collector.scripted import HONEST, scripted


async def test_a_run_that_ends_during_a_look_is_not_run_again(desk: Desk, tmp_path: Path) -> None:
    """The answer to the look comes late: in it the collector is due still, and it has run."""
    loop, goes_on, late = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    looked = 0

    def hold(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        nonlocal looked
        if "next_at <= " in statement and remote.said:
            looked += 1
            if looked == 1:
                loop.call_soon_threadsafe(goes_on.set)
                late.wait(60)

    async with scripted({"LIST": {"after": goes_on, "last": HONEST["LIST"]}}, tmp_path) as remote:
        event.listen(Engine, "after_cursor_execute", hold)
        try:
            source = await desk.add(remote.port, paused=False)
            async with asyncio.timeout(60):
                while source.last is None:
                    await asyncio.sleep(0.05)
                    source = await desk.get(source)
            late.set()
            other = await desk.add(remote.port, username="other", paused=True)
            await desk.run(other)  # what the look had found has begun before it
        finally:
            late.set()
            event.remove(Engine, "after_cursor_execute", hold)
        logins = [line for line in remote.said if line.startswith("AUTH")]
    assert len(logins) == 2
