"""A socket in the data folder: the command line tells the running server what to do.

One request a connection: a line of JSON `{"act": ..., "with": {...}}`, then a line of JSON
`{"answer": ...}` or `{"refused": {"kind": ..., "public": ...}}`. The folder and the socket are
open to the owner of the server alone; whoever can write there needs no further proof.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from mail import errors
from mail.errors import Failure

if TYPE_CHECKING:
    from server.admin import Act, Answer

SOCKET = "control"
LINE_OCTETS = 1024 * 1024
TIMEOUT_S = 60
PATH_OCTETS = 107  # what a Unix socket's address can hold


class NotRunning(Exception):
    """No server has this data folder open."""


class Broken(Exception):
    """The server met a fault of its own; its log has the trace."""


class Control:
    """The server's end. `acts` are the functions that may be asked for, by name."""

    def __init__(self, data_dir: Path, acts: Mapping[str, Act]) -> None:
        self._path = data_dir / SOCKET
        self._acts = acts
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """The store's lock is held: a socket that is there was left by a dead server."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._converse, self._path, limit=LINE_OCTETS
        )

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            await self._server.wait_closed()
            self._path.unlink(missing_ok=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), TIMEOUT_S)
            if line:
                writer.write(json.dumps(await self._perform(line)).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError) as error:
            structlog.get_logger().warning("control.end", why=type(error).__name__)
        finally:
            writer.close()

    async def _perform(self, line: bytes) -> dict[str, Any]:
        request = json.loads(line)
        act = self._acts[request["act"]]
        try:
            answer = await act(**request["with"])
        except Failure as failure:
            return {"refused": {"kind": type(failure).__name__, "public": failure.public}}
        structlog.get_logger().info("control.done", act=request["act"])
        return {"answer": answer}


def ask(data_dir: Path, act: str, arguments: Mapping[str, object]) -> Answer:
    """The command line's end: runs `act` in the server.

    Raises NotRunning, Broken, or the Failure that the act raised there.
    """
    path = data_dir / SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(str(path))
        except OSError as error:
            raise NotRunning(str(data_dir)) from error
        try:
            connection.sendall(json.dumps({"act": act, "with": arguments}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except OSError as error:
            raise Broken(f"the server did not answer: {error.strerror}") from error
    if not line:
        raise Broken("the server met a fault; its log says more")
    reply = json.loads(line)
    if refused := reply.get("refused"):
        raise _failure(refused["kind"])(refused["public"])
    answer: Answer = reply["answer"]
    return answer


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
