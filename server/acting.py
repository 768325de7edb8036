"""The server's end of the control socket: performs what `control.ask` asks for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from mail.errors import Failure
from server.control import SOCKET, TIMEOUT_S
from server.progress import Progress, followed

if TYPE_CHECKING:
    from server.admin import Act, Answer, LongAct

LINE_OCTETS = 1024 * 1024


class Control:
    """`acts` and `long_acts` may be asked for, by name."""

    def __init__(
        self, data_dir: Path, acts: Mapping[str, Act], long_acts: Mapping[str, LongAct]
    ) -> None:
        self._path = data_dir / SOCKET
        self._acts = acts
        self._long_acts = long_acts
        self._at_work: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """The data folder is claimed: a socket that is there was left by a dead server."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._converse, self._path, limit=LINE_OCTETS
        )

    async def stop(self) -> None:
        """Long work is stopped, at its next step."""
        if self._server:
            self._server.close()
            for task in self._at_work:
                task.cancel()
            await asyncio.gather(*self._at_work, return_exceptions=True)
            await self._server.wait_closed()
            self._path.unlink(missing_ok=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), TIMEOUT_S)
            if line:
                await _write(writer, await self._perform(line, writer))
        except (TimeoutError, ConnectionError, ValueError) as error:
            structlog.get_logger().warning("control.end", why=type(error).__name__)
        finally:
            writer.close()

    async def _perform(self, line: bytes, writer: asyncio.StreamWriter) -> dict[str, Any]:
        request = json.loads(line)
        name, given = request["act"], request["with"]
        try:
            if name in self._long_acts:
                answer = await self._work(self._long_acts[name], given, writer)
            else:
                answer = await self._acts[name](**given)
        except Failure as failure:
            return {"refused": {"kind": type(failure).__name__, "public": failure.public}}
        structlog.get_logger().info("control.done", act=request["act"])
        return {"answer": answer}

    async def _work(
        self, act: LongAct, given: Mapping[str, Any], writer: asyncio.StreamWriter
    ) -> Answer:
        async def tell(done: int, total: int) -> None:
            await _write(writer, {"progress": [done, total]})

        progress = Progress()
        task = asyncio.ensure_future(followed(act(progress=progress, **given), progress, tell))
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        return await task


async def _write(writer: asyncio.StreamWriter, line: dict[str, Any]) -> None:
    writer.write(json.dumps(line).encode() + b"\n")
    await writer.drain()


def bound(acts: Mapping[str, Act], desk: object) -> dict[str, Act]:
    """Acts that take a desk, with theirs filled in."""
    return {name: partial(act, desk) for name, act in acts.items()}
