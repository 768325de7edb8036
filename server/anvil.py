"""The parent's counts, asked by its workers over a socket pair, in lines of JSON.

A worker says `{"ask": [name, verb, arguments...]}`, and the answers come in the order of the
questions, or `{"tell": [...]}`, which has no answer. When it hangs up, in whatever way, all that it
held is given back.

Nothing here grows without bound: the parent reads no more from a worker that does not take its
answers, and a worker has at most one question, and one thing to tell, for each of its connections.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import astuple, fields
from inspect import isawaitable
from socket import socket
from typing import Any

from net.limits import ACCOUNT_CHARACTERS, Peer, Refused, Streak
from net.metrics import Count, Metric
from net.rates import Taken
from server.counters import Counters

LINE_OCTETS = 64 * 1024


class Book:
    """What one worker has of the parent's counters. `parent` performs what is no counter's."""

    def __init__(self, counters: Counters, parent: object) -> None:
        self._named = {each.name: getattr(counters, each.name) for each in fields(counters)}
        self._named["parent"] = parent
        self._held: Counter[tuple[Any, ...]] = Counter()

    async def attend(self, opened: socket) -> None:
        """Performs what the worker says until it hangs up. `opened` is ours from here on.

        A line that makes no sense is a fault of ours: it ends the worker, and is raised.
        """
        reader, writer = await asyncio.open_unix_connection(sock=opened, limit=LINE_OCTETS)
        try:
            with suppress(ConnectionError):
                while (line := await reader.readline()).endswith(b"\n"):
                    said = json.loads(line)
                    result = await self._perform(*said.get("ask") or said["tell"])
                    if "ask" in said:
                        writer.write(_line(result))
                        await writer.drain()
        finally:
            writer.close()
            for name, peer in self._held.elements():
                self._named[name].release(peer)
            self._held.clear()

    async def _perform(self, name: str, verb: str, *plain: Any) -> Any:
        arguments = [Peer(*each) if isinstance(each, list) else each for each in plain]
        held = (name, *arguments)
        if verb == "release":
            self._held[held] -= 1
            if self._held[held] < 0:
                raise LookupError(f"not held: {held}")
            if not self._held[held]:
                del self._held[held]
        result = getattr(self._named[name], verb)(*arguments)
        if isawaitable(result):
            result = await result
        if verb == "admit" and result is None:
            self._held[held] += 1
        return result


class Line:
    """The worker's end. `open`, then `close`, once each; `hung_up` is called if the parent ends."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        hung_up: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._hung_up = hung_up
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._gone = False
        self._hearing = asyncio.create_task(self._hear(), name="anvil")

    @classmethod
    async def open(cls, opened: socket, *, hung_up: Callable[[], None]) -> Line:
        streams = await asyncio.open_unix_connection(sock=opened, limit=LINE_OCTETS)
        return cls(*streams, hung_up=hung_up)

    async def close(self) -> None:
        """What was told before reaches the parent."""
        self._hearing.cancel()
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    def ask(self, *words: object) -> asyncio.Future[Any]:
        """Its result is the answer, or ConnectionResetError if the parent ends."""
        answer = asyncio.get_running_loop().create_future()
        if self._gone:
            answer.set_exception(ConnectionResetError("the parent has ended"))
            return answer
        self._asked.append(answer)
        self._writer.write(_line({"ask": words}))
        return answer

    def tell(self, *words: object) -> None:
        if not self._gone:
            self._writer.write(_line({"tell": words}))

    async def _hear(self) -> None:
        with suppress(ConnectionError):
            while (line := await self._reader.readline()).endswith(b"\n"):
                answer = self._asked.popleft()
                if not answer.done():  # whoever asked may be gone
                    answer.set_result(json.loads(line))
        self._gone = True
        while self._asked:
            answer = self._asked.popleft()
            if not answer.done():
                answer.set_exception(ConnectionResetError("the parent has ended"))
        self._hung_up()

    def counters(self) -> Counters:
        """Those of the parent."""
        return Counters(
            smtp=_AskedLimiter(self, "smtp"),
            pop3=_AskedLimiter(self, "pop3"),
            pop3_strangers=_AskedLimiter(self, "pop3_strangers"),
            refuser=_AskedLimiter(self, "refuser"),
            http=_AskedLimiter(self, "http"),
            sign_ins=_AskedFailures(self, "sign_ins"),
            rates=_AskedRates(self, "rates"),
            metrics=_AskedMetrics(self),
        )


class _AskedMetrics:
    """A net.metrics.Counts."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def add(self, metric: Metric, value: str = "", by: int = 1) -> None:
        self._line.tell("metrics", "count", metric.name, value, by)

    async def read(self) -> list[Count]:
        return [tuple(each) for each in await self._line.ask("metrics", "read")]


class _AskedLimiter:
    """A net.limits.Counted."""

    def __init__(self, line: Line, name: str) -> None:
        self._line = line
        self._name = name

    async def count(self) -> int:
        return int(await self._line.ask(self._name, "count"))

    async def streak(self) -> Streak:
        return Streak(*await self._line.ask(self._name, "streak"))

    async def admit(self, peer: Peer) -> Refused | None:
        answer = self._line.ask(self._name, "admit", peer)
        try:
            refused = await asyncio.shield(answer)
        except asyncio.CancelledError:
            # It may be let in all the same, and nobody would give that back.
            answer.add_done_callback(lambda late: self._unwanted(late, peer))
            raise
        return refused and Refused(*refused)

    def release(self, peer: Peer) -> None:
        self._line.tell(self._name, "release", peer)

    def _unwanted(self, answer: asyncio.Future[Any], peer: Peer) -> None:
        if answer.exception() is None and answer.result() is None:
            self.release(peer)


class _AskedFailures:
    """A net.limits.FailureCounts."""

    def __init__(self, line: Line, name: str) -> None:
        self._line = line
        self._name = name

    async def next_try(self, account: str, peer: Peer) -> int | Refused:
        name = account[:ACCOUNT_CHARACTERS]
        answer = await self._line.ask(self._name, "next_try", name, peer)
        return Refused(*answer) if isinstance(answer, list) else int(answer)

    def add(self, account: str, peer: Peer, secret_hash: int = 0) -> None:
        self._line.tell(self._name, "add", account[:ACCOUNT_CHARACTERS], peer, secret_hash)

    def forget(self, account: str, peer: Peer) -> None:
        self._line.tell(self._name, "forget", account[:ACCOUNT_CHARACTERS], peer)

    def forgive(self, peer: Peer) -> None:
        self._line.tell(self._name, "forgive", peer)


class _AskedRates:
    """A net.rates.RateCounts."""

    def __init__(self, line: Line, name: str) -> None:
        self._line = line
        self._name = name

    async def take(self, kind: str, key: str) -> Taken | None:
        return _taken(await self._line.ask(self._name, "take", kind, key))

    async def look(self, kind: str, key: str) -> Taken | None:
        return _taken(await self._line.ask(self._name, "look", kind, key))

    async def give_back(self, kind: str, key: str) -> None:
        await self._line.ask(self._name, "give_back", kind, key)

    async def clear(self, key: str) -> None:
        await self._line.ask(self._name, "clear", key)


def _taken(answer: Sequence[int] | None) -> Taken | None:
    return Taken(*answer) if answer else None


def _line(said: object) -> bytes:
    return json.dumps(said, default=_as_list).encode("ascii") + b"\n"


def _as_list(value: object) -> list[Any]:
    """A Peer or a Refused."""
    assert isinstance(value, Peer | Refused)
    return list(astuple(value))
