"""One run of one collector: what is new is fetched and kept, then what may go there is deleted.

IN        a collector whose lease is held
OUT       a Harvest: what came, or why not all did
MAY       connect to its provider; write its messages to the store
NEVER     delete at the provider before the commit here, or anything that was not kept
FAILS     the Upstream family, TargetNotAllowed; OverQuota, StorageBusy, StorageFull, LeaseLost
RFC       1939, 2449 section 6.5 (LOGIN-DELAY), section 6.7 (EXPIRE)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import islice

from auth.vault import Unsealable, Vault
from collector import client
from collector.client import Account, Patience, Session
from collector.dial import Dialer
from collector.plan import Entry, Plan, Terms, is_due, plan
from intake.collect import Fetched, prepare
from intake.spool import Incoming, NoRoom, Spool
from mail.address import Address
from mail.errors import PasswordNeeded, StorageBusy, UpstreamTimeout
from store.collected import Notes
from store.leases import Lease
from store.records import Collector, Harvest
from store.store import Store

RUN_S = 600.0  # then no other message is begun; the next run goes on
HARD_S = 1500.0  # then it is cut
TELL_EVERY_S = 0.5
SLICE, SLICE_OCTETS = 16, 4 * 1024 * 1024  # asked for between two looks at the clock
WAIT_FOR_ROOM_S = 60.0  # of memory, for one message
PATIENCE, NOTHING = Patience(), Harvest()


@dataclass(frozen=True, slots=True)
class Tools:
    """What a run works with. `largest`: octets of a message."""

    store: Store
    dialer: Dialer
    vault: Vault
    spool: Spool
    hostname: str
    largest: int
    clock: Callable[[], datetime]
    patience: Patience = PATIENCE


@dataclass(slots=True)
class Run:
    """`harvest` and `delay_s` are right at every moment, also when the run has failed."""

    tools: Tools
    lease: Lease
    source: Collector
    harvest: Harvest = NOTHING
    delay_s: int = 0
    more: bool = False  # there was no time for all
    cancelled: bool = False
    _left: dict[str, int] = field(default_factory=dict)
    _told_at: float = 0.0

    async def run(self) -> None:
        """Raises what its module says."""
        tools, source = self.tools, self.source
        try:
            secret = tools.vault.open(source.sealed, record=source.id).decode()
        except Unsealable as error:
            raise PasswordNeeded("the password can be read no more; give it again") from error
        try:
            async with asyncio.timeout(HARD_S):
                target = await tools.dialer.look_up(source.host, source.port)
                opened = client.session(tools.dialer, target, source.port, tools.patience)
                async with opened as session:
                    await session.log_in(Account(source.username, secret))
                    self.delay_s = session.capable.delay_s
                    await self._collect(session)
        except TimeoutError as error:
            raise UpstreamTimeout("the provider is too slow") from error

    @property
    def note(self) -> str | None:
        """What was left at the provider and why, in one sentence."""
        told = [f"{count} {why}" for why, count in self._left.items() if count]
        return f"Left at the provider: {', '.join(told)}." if told else None

    async def _collect(self, session: Session) -> None:
        tools, source = self.tools, self.source
        listing = await session.listing()
        memory = await tools.store.collected.memory(source.id)
        terms = Terms(source.keep_days, tools.largest, tools.clock())
        found = await asyncio.to_thread(plan, listing, memory, terms)
        await tools.store.collected.note(
            self.lease, source, Notes(found.missed, found.back, found.forget)
        )
        self._left["too large"] = found.too_large
        self.harvest = replace(self.harvest, seen=found.seen, total=len(found.fetch))
        await self._tell(always=True)
        delete = [*found.delete, *await self._fetch(session, found)]
        if not self.cancelled:
            if await session.delete(delete) < len(delete):
                self._left["not deleted"] = 1
            await session.quit()
        await self._tell(always=True)

    async def _fetch(self, session: Session, found: Plan) -> list[int]:
        """Keeps what is new; the numbers of what may go at once."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + RUN_S
        delete: list[int] = []
        for some in _slices(found.fetch):
            if self.cancelled or loop.time() > ends_at:
                self.more = not self.cancelled
                break
            async for entry, incoming in session.messages(some, self._begin):
                if incoming is None:
                    self._count("refused")
                elif await self._keep(session, entry, incoming) and entry.key in found.single:
                    now = self.tools.clock()
                    if is_due(now, self.source.keep_days, now):
                        delete.append(entry.number)
                self.harvest = replace(self.harvest, done=self.harvest.done + 1)
                await self._tell()
        return delete

    def _begin(self, _entry: Entry) -> Incoming:
        return Incoming(self.tools.spool, self.tools.largest)

    async def _keep(self, session: Session, entry: Entry, incoming: Incoming) -> bool:
        """Whether it is here now, for good."""
        collected, source = self.tools.store.collected, self.source
        try:
            reader = incoming.reader
            if reader.too_large:
                self._count("too large")
                return False
            if not reader.keeping:
                raise NoRoom
            content, finding = await incoming.whole(WAIT_FOR_ROOM_S)
            if finding is not None or not content:
                self._count("not mail")
                await collected.unfit(self.lease, source, entry.key)
                return False
            fetched = Fetched(
                *(content, session.origin(source.host), source.maildrop_id),
                Address.parse(source.address),
            )
            ready = partial(prepare, fetched, hostname=self.tools.hostname, now=self.tools.clock())
            new = await collected.keep(
                self.lease, source, entry.key, await asyncio.to_thread(ready)
            )
        except NoRoom as error:
            raise StorageBusy("there is no room in memory for a message at the moment") from error
        finally:
            await incoming.close()
        harvest = self.harvest
        self.harvest = replace(
            harvest,
            new=harvest.new + new,
            seen=harvest.seen + (not new),
            octets=harvest.octets + len(content),
        )
        return True

    def _count(self, why: str) -> None:
        self._left[why] = self._left.get(why, 0) + 1

    async def _tell(self, *, always: bool = False) -> None:
        """To whoever asked for the run, who may not want it any more."""
        now = asyncio.get_running_loop().time()
        if always or now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            wanted = await self.tools.store.collectors.tell(self.lease, self.source, self.harvest)
            self.cancelled = not wanted


def _slices(wanted: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """In order: so many, or so many octets, together, but at least one."""
    rest = iter(wanted)
    while some := list(islice(rest, 1)):
        octets = some[0].size
        for entry in rest:
            some.append(entry)
            octets += entry.size
            if len(some) >= SLICE or octets >= SLICE_OCTETS:
                break
        yield some
