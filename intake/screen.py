"""What others say of a message: block lists of the DNS, rspamd, clamd. All by one deadline.

Who is silent by then, or not there, has said nothing: mail is never lost or held up for a filter.
"""

from __future__ import annotations

import asyncio
import io
import ipaddress
import json
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from intake.judge import Client
from net.listen import Endpoint
from net.resolve import NoAnswer, Resolver

BLOCK_OCTETS = 64 * 1024
ANSWER_OCTETS = 256 * 1024
_LISTED = ipaddress.ip_network("127.0.0.0/8")  # RFC 5782 section 2.1
# By these the public lists say that they do not answer whoever asks.
_BLOCKED = ipaddress.ip_network("127.255.255.0/24")
_SPAM_ACTIONS = frozenset({"reject", "add header", "rewrite subject"})

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Filters:
    """Where to ask; what is None or empty is not asked. `rspamd` is http and a host."""

    lists: Sequence[str] = ()
    rspamd: str = ""
    clamd: Endpoint | Path | None = None


@dataclass(slots=True)
class Opinion:
    """`suspected`: by whom, in printable ASCII; `virus`: its name, empty if there is none."""

    suspected: list[str]
    virus: str = ""


class Screen:
    def __init__(self, resolver: Resolver, filters: Filters) -> None:
        self._resolver = resolver
        self._filters = filters
        self._lists = list(filters.lists)

    async def test(self) -> None:
        """Drops each list that does not answer this resolver, or has everybody on it.

        RFC 5782 section 5: 127.0.0.2 is listed, 127.0.0.1 is not.
        """
        for zone in self._filters.lists:
            try:
                listed = await self._codes("127.0.0.2", zone)
                nobody = await self._codes("127.0.0.1", zone)
            except NoAnswer:
                log.warning("dnsbl.silent", zone=zone)
                continue
            if not _hits(listed) or _hits(nobody):
                why = "blocked" if set(listed) - set(_hits(listed)) else "wrong test entries"
                log.warning("dnsbl.not_used", zone=zone, why=why)
                self._lists.remove(zone)

    async def ask(
        self, client: Client, recipients: Sequence[str], content: bytes, deadline: float
    ) -> Opinion:
        """`deadline` is of `time.monotonic`."""
        opinion = Opinion([])
        work: list[Coroutine[Any, Any, None]] = [
            self._listed(client, zone, opinion) for zone in self._lists
        ]
        if self._filters.rspamd:
            work.append(self._spam(client, recipients, content, opinion))
        if self._filters.clamd:
            work.append(self._virus(self._filters.clamd, content, opinion))
        if not work:
            return opinion
        tasks = [asyncio.create_task(each) for each in work]
        try:
            _, late = await asyncio.wait(tasks, timeout=max(deadline - time.monotonic(), 0))
        finally:
            for task in tasks:
                task.cancel()
        if late:
            log.warning("screen.late", filters=len(late))
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()  # a fault of ours is told as one
        return opinion

    async def _codes(self, ip: str, zone: str) -> list[str]:
        address = ipaddress.ip_address(ip)
        backwards = address.reverse_pointer.rpartition(".")[0].rpartition(".")[0]
        return list((await self._resolver.ask(f"{backwards}.{zone}", "A")).texts)

    async def _listed(self, client: Client, zone: str, opinion: Opinion) -> None:
        try:
            if _hits(await self._codes(client.ip, zone)):
                opinion.suspected.append(f"listed by {zone}")
        except NoAnswer:
            return

    async def _spam(
        self, client: Client, recipients: Sequence[str], content: bytes, opinion: Opinion
    ) -> None:
        headers = {"IP": client.ip, "Helo": client.helo, "From": str(client.sender or "")}
        ascii_only = [each for each in recipients if each.isascii()]
        try:
            async with (
                aiohttp.ClientSession(auto_decompress=False) as session,
                session.post(
                    f"{self._filters.rspamd}/checkv2",
                    data=io.BytesIO(content),
                    headers=[
                        *((name, text) for name, text in headers.items() if text.isascii()),
                        *(("Rcpt", each) for each in ascii_only),
                    ],
                    allow_redirects=False,
                ) as answer,
            ):
                told = json.loads(await answer.content.read(ANSWER_OCTETS))
                action, score = told["action"], float(told["score"])
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
            log.warning("rspamd.failed", error=type(error).__name__)
            return
        if action in _SPAM_ACTIONS:
            opinion.suspected.append(f"rspamd, score {score:.1f}")

    async def _virus(self, clamd: Endpoint | Path, content: bytes, opinion: Opinion) -> None:
        try:
            told = await _scan(clamd, content)
        except (OSError, EOFError, asyncio.LimitOverrunError) as error:
            log.warning("clamd.failed", error=type(error).__name__)
            return
        if told.endswith(" FOUND"):
            opinion.virus = told.removeprefix("stream: ").removesuffix(" FOUND")
        elif told != "stream: OK":
            log.warning("clamd.failed", error=told[:200])


async def _scan(clamd: Endpoint | Path, content: bytes) -> str:
    """INSTREAM of clamd(8): pieces with their lengths, one of no length at the end."""
    if isinstance(clamd, Path):
        reader, writer = await asyncio.open_unix_connection(clamd)
    else:
        reader, writer = await asyncio.open_connection(clamd.host, clamd.port)
    try:
        writer.write(b"zINSTREAM\0")
        for at in range(0, len(content), BLOCK_OCTETS):
            piece = content[at : at + BLOCK_OCTETS]
            writer.write(len(piece).to_bytes(4, "big") + piece)
            await writer.drain()
        writer.write(bytes(4))
        return (await reader.readuntil(b"\0"))[:-1].decode("ascii", "replace")
    finally:
        writer.close()


def _hits(codes: Sequence[str]) -> list[str]:
    found = [(code, ipaddress.ip_address(code)) for code in codes]
    return [code for code, address in found if address in _LISTED and address not in _BLOCKED]
