"""Octets on their way to one client: gathered into few writes, and never far ahead of its reader.

A pipelined group of small answers is one write and so one TLS record, or a few; a large message
goes out in pieces, so that a session holds little of it at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mail.lines import Stuffer, TopCut

if TYPE_CHECKING:
    from pop3d.engine import SendMessage
    from store.messages import OpenMessage

GATHERED = 64 * 1024  # octets, before they are written
HIGH_WATER = 64 * 1024  # octets that may wait in a transport before we wait too


class Outbox:
    """`use` comes first. The driver says when the transport pauses and resumes writing."""

    __slots__ = ("_gathered", "_resumed", "_transport", "halfway")

    def __init__(self) -> None:
        self.halfway = False  # a part of a message is written
        self._gathered = bytearray()
        self._resumed: asyncio.Event | None = None  # None: may write

    def use(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER)

    @property
    def writable(self) -> bool:
        return self._resumed is None

    def pause(self) -> None:
        self._resumed = self._resumed or asyncio.Event()

    def resume(self) -> None:
        if self._resumed:
            self._resumed.set()
        self._resumed = None

    def add(self, octets: bytes | bytearray) -> None:
        self._gathered += octets

    def flush(self) -> None:
        if self._gathered:
            octets, self._gathered = self._gathered, bytearray()
            self._transport.write(octets)

    async def flushed(self) -> None:
        """All is written, and the client has taken most of it."""
        self.flush()
        while self._resumed:
            await self._resumed.wait()

    async def settled(self) -> None:
        """`flushed`, once so much is gathered that it is worth a write."""
        if len(self._gathered) >= GATHERED:
            await self.flushed()

    async def add_listing(self, blocks: Iterator[bytes]) -> None:
        for block in blocks:
            self.add(block)
            await self.settled()
            await asyncio.sleep(0)  # nobody waits for a long one

    def add_whole(self, opened: OpenMessage, action: SendMessage) -> None:
        """First line, message, dot, of one whose octets are all here and not many."""
        message, octets = opened.message, opened.whole()
        if action.body_lines is not None:
            octets = TopCut(message.header_size, action.body_lines).feed(octets)
        if message.dotted:
            octets = Stuffer().feed(octets)
        self.add(action.reply + octets + b".\r\n")
        if len(self._gathered) >= GATHERED:
            self.flush()

    async def add_message(self, opened: OpenMessage, action: SendMessage) -> None:
        """First line, message, dot. Where it fails and `halfway` is not set, nothing was added."""
        message, body_lines = opened.message, action.body_lines
        stuffer = Stuffer() if message.dotted else None
        top = None if body_lines is None else TopCut(message.header_size, body_lines)
        waiting = bytearray(action.reply)
        async for block in opened.blocks():
            cut = top.feed(block) if top else block
            for start in range(0, len(cut), GATHERED):
                piece = cut[start : start + GATHERED]
                waiting += stuffer.feed(piece) if stuffer else piece
                if len(self._gathered) + len(waiting) >= GATHERED:
                    self.halfway = True
                    self.add(waiting)
                    waiting.clear()
                    await self.flushed()
            if top and top.done:
                break
        self.add(waiting + b".\r\n")
        self.halfway = False
        await self.settled()
