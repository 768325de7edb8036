"""A socket in the data folder: the command line tells the running server what to do.

One request a connection: a line of JSON `{"act": ..., "with": {...}}`, then a line of JSON
`{"answer": ...}` or `{"refused": {"kind": ..., "public": ...}}`. Long work says how far it is in
lines `{"progress": [done, total]}` before its answer, and ends when the connection does. The folder
and the socket are open to the owner of the server alone; whoever can write there needs no further
proof.

Here is the end of the command line, which imports little. That of the server is in `acting`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mail import errors
from mail.errors import Failure

if TYPE_CHECKING:
    from server.admin import Answer

SOCKET = "control"
TIMEOUT_S = 60


class NotRunning(Exception):
    """No server has this data folder open."""


class Broken(Exception):
    """The server met a fault of its own; its log has the trace."""


def ask(
    data_dir: Path,
    act: str,
    arguments: Mapping[str, object],
    *,
    told: Callable[[int, int], None] = lambda _done, _total: None,
    patience_s: float = TIMEOUT_S,
) -> Answer:
    """Runs `act` in the server. `told` hears how far long work is.

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


def _failure(kind: str) -> type[Failure]:
    found = getattr(errors, kind, Failure)
    return found if isinstance(found, type) and issubclass(found, Failure) else Failure
