"""Processes that read the content of messages, and can be killed (`store.content_worker`).

A message may be made to take hours and all memory of whoever reads it. So it is read elsewhere: the
process that is beyond a limit is gone and the next message gets a new one. Who asked is told which
limit it was; the message itself stays as it is.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from mail.digest import Attachment, Digest, Wish
from mail.errors import StorageBusy
from mail.people import Mailbox
from store.content_worker import ANSWER_OCTETS, OUT_OF_MEMORY
from store.messages import OpenMessage

T = TypeVar("T")

PROCESSES = 2
WALL_S = 5.0
START_S = 60.0
AHEAD_OCTETS = 64 * 1024  # of a message, before they are sent
# What its end says of a process that has ended by itself. Anything else is a fault of ours.
LIMITS = {
    -signal.SIGPROF: "cpu",
    -signal.SIGABRT: "memory",
    -signal.SIGKILL: "memory",
    OUT_OF_MEMORY: "memory",
}
FAULT = "fault"
ROOT = Path(__file__).resolve().parents[1]


class _Overrun(Exception):
    """The process has met a limit, and is gone."""


class Content:
    """Processes are started when they are first needed. To be closed once."""

    def __init__(self, *, processes: int = PROCESSES, wall_s: float = WALL_S) -> None:
        self._readers = [_Reader(wall_s) for _ in range(processes)]
        self._free: asyncio.LifoQueue[_Reader] = asyncio.LifoQueue()
        for reader in self._readers:
            self._free.put_nowait(reader)

    async def digest(self, opened: OpenMessage, wish: Wish) -> Digest:
        """What is told of a message, or no more than which limit it met.

        Raises MessageDamaged, StorageBusy.
        """
        reader = await self._free.get()
        try:
            found = await reader.digest(opened.message.size, opened.blocks(), wish)
        finally:
            self._free.put_nowait(reader)
        if found.limit == FAULT:
            structlog.get_logger().error("content.fault", uid=str(opened.message.uid))
        return found

    def close(self) -> None:
        for reader in self._readers:
            reader.close()


class _Reader:
    """One process and the thread that speaks with it, so that nothing here waits for a pipe."""

    def __init__(self, wall_s: float) -> None:
        self._wall_s = wall_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="content")
        self._process: subprocess.Popen[bytes] | None = None

    async def digest(self, octets: int, blocks: AsyncIterator[bytes], wish: Wish) -> Digest:
        ahead = json.dumps({"octets": octets, "wish": asdict(wish)}).encode() + b"\n"
        send = self._begin
        try:
            # A change of thread costs more than a short message.
            async for block in blocks:
                ahead += block
                if len(ahead) > AHEAD_OCTETS:
                    await self._run(partial(send, ahead))
                    ahead, send = b"", self._send
            answer = await self._run(partial(self._end_of, send, ahead))
        except _Overrun as overrun:
            return Digest(limit=str(overrun))
        except BaseException:
            # The process stands in the middle of a message.
            self._thread.submit(self._end)
            raise
        return _read(answer)

    def close(self) -> None:
        if self._process:
            self._process.kill()  # whatever the thread waits for ends now
        self._thread.shutdown()
        self._end()

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _begin(self, octets: bytes) -> None:
        self._start()
        self._send(octets)

    def _end_of(self, send: Callable[[bytes], None], octets: bytes) -> bytes:
        send(octets)
        return self._receive()

    def _send(self, octets: bytes) -> None:
        assert self._process
        pipe = self._process.stdin
        assert pipe
        left = memoryview(octets)
        deadline = time.monotonic() + self._wall_s
        try:
            while left:
                if not select.select([], [pipe], [], max(deadline - time.monotonic(), 0))[1]:
                    raise self._overrun("time")
                left = left[pipe.write(left) or 0 :]
        except BrokenPipeError:
            raise self._overrun() from None

    def _receive(self) -> bytes:
        assert self._process
        pipe = self._process.stdout
        assert pipe
        answer = bytearray()
        deadline = time.monotonic() + self._wall_s
        while not answer.endswith(b"\n"):
            if not select.select([pipe], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise self._overrun("time")
            block = pipe.read(1024 * 1024)
            if not block:
                raise self._overrun()
            answer += block
            if len(answer) > ANSWER_OCTETS:
                raise self._overrun("output")
        return bytes(answer)

    def _start(self) -> None:
        """Once for a message: what is left of one is nothing to another process."""
        if self._process and self._process.poll() is None:
            return
        self._end()
        # Isolated: neither the environment nor the folder it starts in say what is imported.
        self._process = subprocess.Popen(  # noqa: S603 - the interpreter that runs us
            [sys.executable, "-I", "-c", _START.format(str(ROOT))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env={},
        )
        assert self._process.stdin
        os.set_blocking(self._process.stdin.fileno(), False)  # it takes what it has room for
        pipe = self._process.stdout
        assert pipe
        # On a busy machine this may take its time, for which no message is to blame.
        if not select.select([pipe], [], [], START_S)[0]:
            raise StorageBusy("the process that reads messages does not start")
        pipe.read(1)  # READY; one that has ended is found out by what is sent to it

    def _overrun(self, limit: str = "") -> _Overrun:
        """Ends the process; why it had ended by itself is told by how."""
        process = self._process
        assert process
        if limit:
            process.kill()
        status = process.wait()
        self._end()
        return _Overrun(limit or LIMITS.get(status, FAULT))

    def _end(self) -> None:
        if self._process:
            self._process.kill()
            with self._process:  # closes its pipes and waits for it
                self._process = None


_START = (
    "import sys; sys.path.insert(0, {!r}); from store.content_worker import main; sys.exit(main())"
)


def _read(answer: bytes) -> Digest:
    found = json.loads(answer)
    if (attachments := found.get("attachments")) is not None:
        found["attachments"] = tuple(Attachment(**each) for each in attachments)
    for field in ("to", "cc", "reply_to"):
        found[field] = tuple(Mailbox(*each) for each in found.get(field, ()))
    return Digest(**found)
