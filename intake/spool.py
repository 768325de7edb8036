"""Where a message waits for its end: the first octets in memory, those of a large one in a file.

A stranger may send as slowly as the minimum rate allows, so what waits for him has to be cheap. The
file has no name: nothing is left of it after a crash. Whole, a message is in memory again, for as
long as it takes to keep it; large ones wait for their turn there.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

from mail.data import DataReader, Finding, content, finding
from net.limits import OctetBudget

SPOOL_FROM = 256 * 1024
SPOOL_OCTETS = 1024 * 1024 * 1024  # of all files together
WHOLE_TIMES = 4  # of its size: what keeping a large message takes in memory, measured
WHOLE_SHARE = 0.75  # of all memory, at most: the rest is for those that are small yet
THREADS = 2  # a slow disk delays no other user of threads

T = TypeVar("T")


class NoRoom(Exception):
    """Neither memory nor disk has room for this message."""


class Spool:
    """What all messages on their way in may take together: `memory`, and files in `folder`.

    Files stop growing when the disk has `floor` octets left.
    """

    def __init__(self, memory: OctetBudget, folder: Path, *, floor: int = 0) -> None:
        self.memory = memory
        self.files = OctetBudget(SPOOL_OCTETS)
        self.folder = folder
        self.floor = floor
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="smtp-spool")

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Ends with the work, cancelled or not: what it works on is the caller's to close."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})
            raise

    def close(self) -> None:
        self._threads.shutdown()


class Incoming:
    """One message on its way in. To be closed whatever becomes of it."""

    def __init__(self, spool: Spool, limit: int) -> None:
        self.reader = DataReader(limit)
        self._spool = spool
        self._in_memory = 0  # octets of the budgets
        self._in_file = 0
        self._file: IO[bytes] | None = None

    async def feed(self, block: bytes) -> None:
        """Takes the next octets. Those there is no room for are not kept, nor any others then."""
        reader = self.reader
        if reader.keeping and not self._take(len(block)):
            reader.discard()
        reader.feed(block)
        if reader.keeping and not reader.ended and reader.held > SPOOL_FROM:
            try:
                await self._spill()
            except NoRoom:
                reader.discard()
        if not reader.keeping:
            await self.close()

    async def whole(self, patience_s: float) -> tuple[bytes, Finding | None]:
        """The content, once the reader has ended, and what forbids keeping it. Raises NoRoom."""
        if self._file is None:
            return _read(self.reader.wire())
        most = int(WHOLE_SHARE * self._spool.memory.total)
        needed = min(WHOLE_TIMES * self._in_file, most)
        self._give_memory()
        try:
            await asyncio.wait_for(self._spool.memory.take_in_turn(needed), patience_s)
        except TimeoutError as error:
            raise NoRoom from error
        self._in_memory = needed
        found = await self._spool.in_thread(self._read_file)
        # Before it is kept: the store asks how much room the disk has.
        await self._close_file()
        return found

    async def close(self) -> None:
        """Holds nothing any more."""
        self._give_memory()
        await self._close_file()

    async def _close_file(self) -> None:
        self._spool.files.give(self._in_file)
        self._in_file = 0
        if self._file is not None:
            file, self._file = self._file, None
            await self._spool.in_thread(file.close)

    def _take(self, octets: int) -> bool:
        taken = self._spool.memory.take(octets)
        self._in_memory += octets if taken else 0
        return taken

    def _give_memory(self) -> None:
        self._spool.memory.give(self._in_memory)
        self._in_memory = 0

    async def _spill(self) -> None:
        octets = self.reader.spill()
        if not self._spool.files.take(len(octets)):
            raise NoRoom
        self._in_file += len(octets)
        await self._spool.in_thread(lambda: self._write(octets))
        self._give_memory()

    def _write(self, octets: bytes) -> None:
        try:
            if self._file is None:
                folder = self._spool.folder
                self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
            disk = os.fstatvfs(self._file.fileno())
            if disk.f_bavail * disk.f_frsize < self._spool.floor + len(octets):
                raise NoRoom
            while octets:
                octets = octets[self._file.write(octets) :]
        except OSError as error:
            raise NoRoom from error

    def _read_file(self) -> tuple[bytes, Finding | None]:
        assert self._file is not None
        self._write(self.reader.wire())
        self._file.seek(0)
        return _read(self._file.read())


def _read(wire: bytes) -> tuple[bytes, Finding | None]:
    octets = content(wire)
    return octets, finding(octets)
