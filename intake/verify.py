"""Whom a message is really from: SPF, DKIM, DMARC and ARC of one arrival, by one deadline.

What is not known by then is `temperror`: mail never waits longer for the DNS of others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from intake import chain, dmarc, spf
from intake.chain import Chain
from intake.judge import Answers, Client, Findings, Marks, judge
from intake.lookups import Exhausted, Lookups
from intake.signatures import (
    Canon,
    Field,
    Refused,
    Signature,
    body_hash,
    dkim_signature,
    fields_of,
)
from mail.address import Address
from mail.author import author
from mail.header import header_of
from mail.results import Result
from net.resolve import NoAnswer, Resolver

T = TypeVar("T")

HEADER_OCTETS = 256 * 1024
HEADER_FIELDS = 1000
SIGNATURES = 5
SHORT_OCTETS = 32 * 1024  # of a message: what takes longer than this does is a thread's


class Verifier:
    """`trusted`: hosts whose word on DMARC counts where a message was changed on its way."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        trusted: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._resolver = resolver
        self._trusted = trusted
        self._clock = clock

    async def examine(self, client: Client, content: bytes, deadline: float) -> Findings:
        """`deadline` is of `time.monotonic`. Raises nothing that a sender can cause."""
        header = header_of(content)
        at_once = len(content) <= SHORT_OCTETS
        marks = await _worked(partial(read_marks, header), at_once=at_once)
        body = memoryview(content)[len(header) + 2 :]
        answers = Answers()
        await self._ask(client, marks, body, answers, deadline)
        work = partial(judge, client, marks, answers, self._trusted, self._clock())
        return await _worked(work, at_once=at_once)

    async def _ask(
        self,
        client: Client,
        marks: Marks,
        body: memoryview,
        answers: Answers,
        deadline: float,
    ) -> None:
        """Everything at the same time, until the deadline."""
        ask = Lookups(self._resolver).ask
        work: list[Coroutine[Any, Any, None]] = [_hosts(ask, client, answers)]
        names = {each.key_name for each in marks.signatures if isinstance(each, Signature)}
        if isinstance(marks.chain, Chain):
            names |= {link.seal.key_name for link in marks.chain.links}
            names.add(marks.chain.newest.key_name)
        work += [_key(ask, name, answers) for name in names]
        if marks.author:
            work.append(_policy(ask, marks.author, answers))
        if marks.forms:
            work.append(_bodies(body, marks.forms, answers, deadline))
        tasks = [asyncio.create_task(each) for each in work]
        try:
            await asyncio.wait(tasks, timeout=max(deadline - time.monotonic(), 0))
        finally:
            for task in tasks:
                task.cancel()
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()  # a fault of ours is told as one


async def _worked(work: Callable[[], T], *, at_once: bool) -> T:
    return work() if at_once else await asyncio.to_thread(work)


def read_marks(header: bytes) -> Marks:
    """All that is looked for in a header; of one that is too large nothing is."""
    fields = fields_of(header[:HEADER_OCTETS], HEADER_FIELDS + 1)
    if len(header) > HEADER_OCTETS or len(fields) > HEADER_FIELDS:
        return Marks((), whole=False, author=None, signatures=(), ignored=0, chain=None)
    found = [each for each in fields if each.name == b"dkim-signature"]
    try:
        links: Chain | Refused | None = chain.read(fields)
    except Refused as refused:
        links = refused
    return Marks(
        fields=tuple(fields),
        whole=True,
        author=author(header),
        signatures=tuple(map(_signature, found[:SIGNATURES])),
        ignored=len(found[SIGNATURES:]),
        chain=links,
    )


def _signature(found: Field) -> Signature | Result:
    try:
        return dkim_signature(found)
    except Refused as refused:
        return Result("dkim", refused.outcome, refused.why)


async def _hosts(ask: spf.Ask, client: Client, answers: Answers) -> None:
    checks = {"helo": f"postmaster@{client.helo}"}
    if client.sender:
        # The local part as it is meant: quoting is not of the address.
        checks["mailfrom"] = f"{client.sender.local}@{client.sender.domain}"

    async def one(identity: str, sender: str) -> None:
        try:
            verdict = await spf.check(ask, client.ip, sender=sender, helo=client.helo)
        except Exhausted:
            verdict = spf.Verdict("permerror", "too many look-ups")
        answers.spf[identity] = verdict

    async with asyncio.TaskGroup() as group:
        for identity, sender in checks.items():
            group.create_task(one(identity, sender))


async def _key(ask: spf.Ask, name: str, answers: Answers) -> None:
    try:
        answers.keys[name] = (await ask(name, "TXT")).records
    except NoAnswer:
        answers.keys[name] = Refused("temperror", "DNS did not answer")
    except Exhausted:
        answers.keys[name] = Refused("permerror", "too many look-ups")


async def _policy(ask: spf.Ask, of: Address, answers: Answers) -> None:
    try:
        answers.policy = await dmarc.find(ask, of.domain)
    except NoAnswer:
        answers.policy = Refused("temperror", "DNS did not answer")
    except Exhausted:
        answers.policy = Refused("permerror", "too many look-ups")
    answers.policy_known = True


async def _bodies(body: memoryview, forms: set[Canon], answers: Answers, deadline: float) -> None:
    def is_late() -> bool:
        return time.monotonic() > deadline

    for form in forms:
        at_once = len(body) <= SHORT_OCTETS
        found = await _worked(partial(body_hash, body, form, is_late), at_once=at_once)
        if found:
            answers.bodies[form] = found
