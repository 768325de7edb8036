"""Whether an arrival is taken, and what is put on record of it: its sender, and what filters say.

IN        Arrival (before anything was taken out of it)
OUT       Admission: fields for the prefix, facts for the row, the maildrops that hold it
MAY       ask DNS servers and the filters of the configuration
FAILS     Unwanted: what the owner has chosen to refuse, and nothing else
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from intake.judge import Client, Findings
from intake.screen import Opinion, Screen
from intake.verify import Verifier
from mail import results, trace
from mail.errors import Unwanted
from mail.header import header_of
from net.limits import Network
from store.records import UNCHECKED, Authentication, OnSpam, Proof
from store.store import Store

if TYPE_CHECKING:
    from intake.deliver import Arrival

DEADLINE_S = 5.0  # from the final dot, for everything here
REASONS = 500  # characters of them that are kept


@dataclass(frozen=True, slots=True)
class Admission:
    """`held`: the maildrops that keep it apart, because it may be spam."""

    fields: tuple[str, ...] = ()
    authentication: Authentication = UNCHECKED
    held: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """`hops`: whose word is taken for the client that brought a message to them."""

    refuse_failed_dmarc: bool = False
    hops: Sequence[Network] = ()


@dataclass(frozen=True, slots=True)
class Checks:
    """`verifier` None: senders are not verified."""

    verifier: Verifier | None
    screen: Screen
    policy: Policy
    store: Store

    async def admit(self, arrival: Arrival, hostname: str) -> Admission:
        """Raises Unwanted, StorageBusy."""
        deadline = (arrival.ended or time.monotonic()) + DEADLINE_S
        client = self._client(arrival)
        addresses = [str(recipient.address) for recipient in arrival.recipients]
        content = arrival.content
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(self.screen.ask(client, addresses, content, deadline))
            findings = Findings()
            if self.verifier:
                findings = await self.verifier.examine(client, content, deadline)
        opinion = asked.result()
        if opinion.virus:
            raise Unwanted("refused: a virus was found in it", virus=opinion.virus)
        if findings.unwanted and self.policy.refuse_failed_dmarc:
            raise Unwanted("refused, as the domain in From asks (DMARC)", domain=findings.domain)
        held = await self._held(arrival, opinion)
        return Admission(
            _fields(findings, opinion, hostname), _authentication(findings, opinion), held
        )

    def _client(self, arrival: Arrival) -> Client:
        """Who brought it here, or to the first of our own servers that it met."""
        client = Client(arrival.peer_ip, arrival.helo, arrival.sender)
        hops = self.policy.hops
        if not _is_among(client.ip, hops):
            return client
        for ip, helo in trace.clients(header_of(arrival.content)):
            client = Client(ip, helo, arrival.sender)
            if not _is_among(ip, hops):
                break
        return client

    async def _held(self, arrival: Arrival, opinion: Opinion) -> set[int]:
        """Refused if all want that; who wants it among others holds it."""
        if not opinion.suspected:
            return set()
        drops = {drop for recipient in arrival.recipients for drop in recipient.maildrops}
        wishes = await self.store.maildrops.on_spam(drops)
        if set(wishes.values()) == {OnSpam.REFUSE}:
            raise Unwanted("refused: it looks like spam", by=", ".join(opinion.suspected))
        return {drop for drop, wish in wishes.items() if wish is not OnSpam.TAG}


def _is_among(ip: str, networks: Sequence[Network]) -> bool:
    address = ipaddress.ip_address(ip)
    return any(address in network for network in networks)


def _fields(findings: Findings, opinion: Opinion, hostname: str) -> tuple[str, ...]:
    fields = []
    if findings.results:
        fields.append(results.ours(hostname, findings.results))
    if opinion.suspected:
        fields += ["X-Spam-Flag: YES", f"X-Spam-Status: Yes ({'; '.join(opinion.suspected)})"]
    return tuple(fields)


def _authentication(findings: Findings, opinion: Opinion) -> Authentication:
    proven = findings.proof in (Proof.VERIFIED, Proof.FAILED)
    reasons = [*map(str, findings.results), *opinion.suspected]
    return Authentication(
        proof=findings.proof,
        domain=findings.domain if proven else "",
        suspected=bool(opinion.suspected),
        reasons="; ".join(reasons)[:REASONS],
    )
