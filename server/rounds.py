"""The doctor's daily look at a running server, which logs only what has changed since the last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog

from api.models_doctor import Findings
from mail.errors import Failure
from server.doctor import changes

FILE: Final = "doctor.json"  # what was found last
FIRST_S: Final = 600  # after the start; by then what starts beside us is there too
EVERY_S: Final = timedelta(days=1).total_seconds()

log = structlog.get_logger()


class Rounds:
    """Between `start` and `stop`, in one process of a server."""

    def __init__(self, examine: Callable[[], Awaitable[Findings]], data_dir: Path) -> None:
        self._examine = examine
        self._file = data_dir / FILE
        self._going: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._going = asyncio.create_task(self._go(), name="rounds")

    async def stop(self) -> None:
        if self._going:
            self._going.cancel()
            await asyncio.wait([self._going])

    async def _go(self) -> None:
        await asyncio.sleep(FIRST_S)
        while True:
            await self.once()
            await asyncio.sleep(EVERY_S)

    async def once(self) -> None:
        """A look that fails is made up for the next day."""
        try:
            found = await self._examine()
            before = await asyncio.to_thread(self._last)
            for event, finding in changes(before.items, found.items):
                level = log.warning if event == "doctor.found" else log.info
                level(event, group=finding.group, what=finding.text, next=finding.next)
            await asyncio.to_thread(self._keep, found)
        except (Failure, OSError) as error:
            log.error("doctor.failed", why=str(error))

    def _last(self) -> Findings:
        try:
            return Findings.model_validate_json(self._file.read_bytes())
        except (FileNotFoundError, ValueError):  # of another version, or cut off
            return Findings(items=[], to_fix=0)

    def _keep(self, found: Findings) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_bytes(found.octets())
        draft.replace(self._file)
