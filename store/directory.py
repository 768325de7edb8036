"""Where mail to an address goes, and who signs in: looked up once, then remembered until anything
changes.

`store_fact` has a row `directory` that gets another value with each change of a domain, an address
or an account, in the same transaction. Every process reads it every POLL_S. Nothing remembered is
given out unless that row was read within FRESH_S, so a change is in force everywhere by then, and
while the database is gone nobody is answered from memory.

Who signs in has to be right at once, so that is remembered only where no other process writes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, bindparam, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from mail.address import Address
from mail.errors import Failure
from store import schema
from store.database import Database
from store.prepared import Prepared
from store.records import Account, AccountState, AddressState, Credential, Role
from store.writer import Writer

K = TypeVar("K")
T = TypeVar("T")
Work = Callable[[Connection], T]

FACT = "directory"
POLL_S = 0.5
FRESH_S = 1.0
NAMES = 50_000  # remembered, unknown ones too, in 13 to 25 MiB; the longest unasked is forgotten
ENTRANCES = 10_000

POSTMASTER = "postmaster"
# RFC 5321 section 4.5.1, RFC 2142 section 4; and those that our DNS records send reports to.
ROLES = frozenset((POSTMASTER, "abuse", "dmarc", "tlsrpt"))

ONE, GROUP = 0, 1  # address.kind


@dataclass(frozen=True, slots=True)
class Reach:
    """What mail to an address reaches; no maildrops: there is no such address, or it is closed.

    `max_octets` and `tls` are what its domain asks of a message, an alias those of the domain that
    it stands for.
    """

    ours: bool  # mail is taken for its domain
    maildrops: tuple[int, ...] = ()
    max_octets: int | None = None
    tls: bool = False


class Entrance(NamedTuple):
    """An account, what to check, and until which moment, in microseconds, both are remembered."""

    account: Account
    credential: Credential
    until: int


ELSEWHERE = Reach(ours=False)
NOBODY = Reach(ours=True)


class Directory:
    """`elapsed` gives seconds that never go back."""

    def __init__(self, database: Database, writer: Writer, *, elapsed: Callable[[], float]) -> None:
        self._database = database
        self._writer = writer
        self._elapsed = elapsed
        self._names: OrderedDict[Address, Reach] = OrderedDict()
        self._entrances: OrderedDict[Hashable, Entrance] = OrderedDict()
        self._value: str | None = None  # of the row, when what is remembered was read
        self._read_at = -FRESH_S
        self._life = 0  # how often all was forgotten
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Reads the row from now on; without it every look-up after FRESH_S does."""
        self._watching = asyncio.create_task(self._watch(), name="directory")

    async def stop(self) -> None:
        if self._watching:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def find(self, address: Address) -> Reach:
        """Where mail to a folded address goes. Raises StorageBusy."""
        known = self._names.get(address)
        if known and self._fresh:
            self._names.move_to_end(address)
            return known
        return await self._look_up(address, partial(_find, address))

    async def entrance(
        self, key: Hashable, query: Work[Entrance | None], now: int
    ) -> Entrance | None:
        """What `query` finds, or found under this key. Raises StorageBusy."""
        if not self._database.alone:
            return await self._database.read(query)
        known = self._entrances.get(key)
        if known and self._fresh and now < known.until:
            self._entrances.move_to_end(key)
            return known
        found, current = await self._read(query)
        if current and found:
            _remember(self._entrances, key, found, most=ENTRANCES)
        return found

    async def change(self, work: Work[T], *, frees: bool = False) -> T:
        """Runs a change of domains, addresses, accounts or what signs them in, in a transaction of
        the writer's.
        """
        try:
            try:
                return await self._writer.run(partial(_change, work), frees=frees)
            except IntegrityError:  # another process made the row at this moment
                return await self._writer.run(partial(_change, work), frees=frees)
        finally:
            self._forget()  # also when it is not known whether it took place

    async def _watch(self) -> None:
        while True:
            with suppress(Failure):  # told by whoever looks something up
                await self._read(lambda _connection: None)
            await asyncio.sleep(POLL_S)

    @property
    def _fresh(self) -> bool:
        return self._elapsed() - self._read_at < FRESH_S

    async def _look_up(self, address: Address, query: Work[Reach]) -> Reach:
        found, current = await self._read(query)
        if current:
            _remember(self._names, address, found, most=NAMES)
        return found

    async def _read(self, query: Work[T]) -> tuple[T, bool]:
        """What is found, and whether it may be remembered."""
        began, life = self._elapsed(), self._life
        value, found = await self._database.read(partial(_with_value, query))
        if life != self._life:
            return found, False  # it may be older than what made us forget
        if value != self._value:
            self._forget()
            self._value = value
        self._read_at = max(self._read_at, began)
        return found, True

    def _forget(self) -> None:
        self._names.clear()
        self._entrances.clear()
        self._value = None
        self._life += 1


def _remember(known: OrderedDict[K, T], key: K, found: T, *, most: int) -> None:
    known[key] = found
    known.move_to_end(key)
    if len(known) > most:
        known.popitem(last=False)


def _change(work: Work[T], connection: Connection) -> T:
    result = work(connection)
    fact = schema.store_fact
    value = secrets.token_hex(16)  # never seen before, so no two changes look like none
    changed = connection.execute(update(fact).where(fact.c.name == FACT).values(value=value))
    if not changed.rowcount:
        connection.execute(insert(fact).values(name=FACT, value=value))
    return result


_VALUE = Prepared(
    select(schema.store_fact.c.value).where(schema.store_fact.c.name == bindparam("fact"))
)


def _with_value(query: Work[T], connection: Connection) -> tuple[str, T]:
    """The row first: what is read after it is as new at least."""
    value = _VALUE.run(connection, {"fact": FACT}).scalar_one_or_none()
    return value or "", query(connection)


def _find(address: Address, connection: Connection) -> Reach:
    """An address that exists goes first, then that of a sub-address, a role, the catch-all."""
    if not address.domain:
        return Reach(ours=True, maildrops=_administrator(None, connection))
    domain = home_domain(address.domain, connection)
    if domain is None:
        return ELSEWHERE
    found = _in_domain(address, domain, connection)
    return replace(found, max_octets=domain.max_message, tls=bool(domain.require_tls))


def _in_domain(address: Address, domain: Any, connection: Connection) -> Reach:
    names = [address.local, *_shorter(address.local, domain.plus)]
    columns = schema.address.c
    rows = connection.execute(
        select(schema.address).where(columns.domain_id == domain.id, columns.local_part.in_(names))
    ).all()
    if rows:
        return _of_row(max(rows, key=lambda row: len(row.local_part)), connection)
    if address.local in ROLES:
        maildrops = _administrator(domain.id, connection)
        if maildrops:
            return Reach(ours=True, maildrops=maildrops)
    if domain.catch_all_maildrop_id is not None:
        return Reach(ours=True, maildrops=(domain.catch_all_maildrop_id,))
    return NOBODY


def home_domain(name: str, connection: Connection) -> Any:
    """The row of the domain whose addresses count under this name; None if it is not ours."""
    domain = schema.domain
    row = connection.execute(select(domain).where(domain.c.name == name)).one_or_none()
    if row is None or row.alias_of_id is None:
        return row
    return connection.execute(select(domain).where(domain.c.id == row.alias_of_id)).one_or_none()


def _shorter(local: str, separators: str) -> list[str]:
    """What stands before each separator (RFC 5233 section 4 leaves to us which of several ends
    the name: the longest that exists does).
    """
    return [local[:at] for at in range(1, len(local)) if local[at] in separators]


def _of_row(row: Any, connection: Connection) -> Reach:
    if row.state == AddressState.CLOSED:
        return NOBODY
    if row.kind == ONE:
        return Reach(ours=True, maildrops=(row.maildrop_id,))
    target = schema.address_target.c
    found = connection.execute(
        select(target.maildrop_id)
        .where(target.domain_id == row.domain_id, target.local_part == row.local_part)
        .order_by(target.maildrop_id)
    )
    return Reach(ours=True, maildrops=tuple(found.scalars()))


def _administrator(domain_id: int | None, connection: Connection) -> tuple[int, ...]:
    """The first administrator with an address in the domain, else the first of all."""
    account, maildrop, address = schema.account.c, schema.maildrop.c, schema.address.c
    administrators = (
        select(maildrop.id)
        .join(schema.account, account.id == maildrop.account_id)
        .where(account.role == Role.ADMIN, account.state == AccountState.OPEN)
        .order_by(account.created_at, account.id)
        .limit(1)
    )
    of_domain = exists().where(address.domain_id == domain_id, address.maildrop_id == maildrop.id)
    for query in (administrators.where(of_domain), administrators):
        found = connection.execute(query).scalar_one_or_none()
        if found is not None:
            return (found,)
    return ()
