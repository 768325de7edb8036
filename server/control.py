"""A socket in the data folder: the command line tells the running server what to do.

One request a connection: a line of JSON `{"act": ..., "with": {...}}`, then a line of JSON
`{"answer": ...}` or `{"refused": {"kind": ..., "public": ...}}`. Long work says how far it is in
lines `{"progress": [done, total]}` before its answer, and ends when the connection does. The folder
and the socket are open to the owner of the server alone; whoever can write there needs no further
proof.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import structlog

from mail import errors
from mail.errors import Failure
from server.progress import Progress, followed

if TYPE_CHECKING:
    from server.admin import Act, Answer, LongAct

SOCKET = "control"
LINE_OCTETS = 1024 * 1024
TIMEOUT_S = 60
PATH_OCTETS = 107  # what a Unix socket's address can hold


class NotRunning(Exception):
    """No server has this data folder open."""


class Broken(Exception):
    """The server met a fault of its own; its log has the trace."""


class Control:
    """The server's end. `acts` and `long_acts` may be asked for, by name."""

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


def ask(
    data_dir: Path,
    act: str,
    arguments: Mapping[str, object],
    *,
    told: Callable[[int, int], None] = lambda _done, _total: None,
    patience_s: float = TIMEOUT_S,
) -> Answer:
    """The command line's end: runs `act` in the server. `told` hears how far long work is.

    Raises NotRunning, Broken, or the Failure that the act raised there.
    """
    path = data_dir / SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience_s)
        try:
            connection.connect(str(path))
        except OSError as error:
            raise NotRunning(str(data_dir)) from error
        try:
            connection.sendall(json.dumps({"act": act, "with": arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                reply = _reply(stream, told)
        except OSError as error:
            raise Broken(f"the server did not answer: {error.strerror}") from error
    if reply is None:
        raise Broken("the server met a fault; its log says more")
    if refused := reply.get("refused"):
        raise _failure(refused["kind"])(refused["public"])
    answer: Answer = reply["answer"]
    return answer


def _reply(stream: IO[bytes], told: Callable[[int, int], None]) -> dict[str, Any] | None:
    """What comes after the progress; None if the connection ends before."""
    for line in stream:
        reply: dict[str, Any] = json.loads(line)
        if "progress" not in reply:
            return reply
        told(*reply["progress"])
    return None


def running(data_dir: Path) -> bool:
    """Whether a server has this data folder open."""
    try:
        ask(data_dir, "status", {})
    except NotRunning:
        return False
    except (Broken, Failure):
        return True
    return True


def bound(acts: Mapping[str, Act], desk: object) -> dict[str, Act]:
    """Acts that take a desk, with theirs filled in."""
    return {name: partial(act, desk) for name, act in acts.items()}


def _failure(kind: str) -> type[Failure]:
    found = getattr(errors, kind, Failure)
    return found if isinstance(found, type) and issubclass(found, Failure) else Failure
