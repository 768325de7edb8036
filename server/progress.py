"""Long work that tells how far it is, and that can be stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

TOLD_EVERY_S = 0.5


class Stopped(Exception):
    """Whoever asked for the work has gone, or the server stops."""


class Progress:
    """Written to by the work, from whatever thread it is in."""

    def __init__(self) -> None:
        self.done = 0
        self.total = 0
        self.stopped = False

    def step(self, done: int, total: int) -> None:
        """Raises Stopped, which the work lets pass."""
        if self.stopped:
            raise Stopped
        self.done, self.total = done, total


async def followed(
    work: Coroutine[Any, Any, T],
    progress: Progress,
    tell: Callable[[int, int], Awaitable[None]],
) -> T:
    """The result of `work`; `tell` is called now and then. If that fails the work is stopped."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=TOLD_EVERY_S))[0]:
            await tell(progress.done, progress.total)
    finally:
        if not task.done():
            progress.stopped = True
            await asyncio.wait({task})
            task.exception()  # looked at: nobody else is going to
    return task.result()
