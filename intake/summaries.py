"""One message a day to whoever has suspected spam held, so that nothing lies there unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from intake.deliver import Arrival, deliver
from intake.recipients import Recipient
from mail.address import Address
from mail.errors import Failure
from mail.trace import letter
from store.held import Held
from store.store import Store

LOOK_S = 900
EVERY = timedelta(hours=24)
SHOWN = 50  # messages that a summary names

log = structlog.get_logger()


class Summaries:
    """Run by `start` until `stop`, or once. One process has the role at a time."""

    def __init__(self, store: Store, *, hostname: str, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._hostname = hostname
        self._clock = clock
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._serving = asyncio.create_task(self._serve(), name="summaries")

    async def stop(self) -> None:
        if self._serving:
            self._serving.cancel()
            await asyncio.wait([self._serving])

    async def run_once(self) -> None:
        """Writes to everybody who is due. Raises StorageBusy, StorageFull."""
        if not await self._store.leases.take("summaries"):
            return
        now = self._clock()
        for held in await self._store.held.due(now - EVERY, limit=SHOWN):
            try:
                await self._tell(held, now)
            except Failure as failure:  # as a full mailbox, which is no reason to pass over others
                log.warning("summaries.put_off", maildrop=held.maildrop_id, why=failure.public)
                continue
            # Afterwards: a crash between the two writes it twice, and never not at all.
            await self._store.held.told(held.maildrop_id, now)

    async def _serve(self) -> None:
        while True:
            try:
                await self.run_once()
            except Failure as failure:
                log.warning("summaries.put_off", why=failure.public)
            await asyncio.sleep(LOOK_S)

    async def _tell(self, held: Held, now: datetime) -> None:
        address = Address.parse(held.recipient)
        content = letter(
            sender=f'"Restante" <postmaster@{self._hostname}>',
            recipient=address,
            subject=f"Held as suspected spam: {held.count} new",
            at=now,
            text=_text(held),
        )
        arrival = Arrival(
            peer_ip="127.0.0.1",
            helo=self._hostname,
            protocol="local",
            sender=None,
            recipients=(Recipient(address, (held.maildrop_id,)),),
            content=content,
            smtputf8=True,
        )
        await deliver(arrival, self._store, hostname=self._hostname, clock=self._clock)


def _text(held: Held) -> str:
    lines = ["These messages came in and look like spam. They are kept in the folder held:", ""]
    lines += [f"  {each.sender}\n    {each.subject}" for each in held.messages]
    if held.count > len(held.messages):
        lines.append(f"  and {held.count - len(held.messages)} more")
    lines += ["", "What is no spam can be moved to the inbox there."]
    return "\n".join(lines)
