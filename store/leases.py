"""Singleton roles across processes: a row, a fence, an expiry by the database's clock.

Each taking of a role raises its fence. Every write of the role reads the row under its lock first
(`hold`): who lost the role without noticing writes nothing, so safety rests on no timer.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy import BigInteger, Connection, insert, literal_column, or_, select, update
from sqlalchemy.exc import IntegrityError

from mail.errors import Failure, LeaseLost
from store import schema
from store.database import Database
from store.writer import Writer

LIFE_S = 60
RENEW_S = 20

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Lease:
    """One holder's right to a role, as long as `hold` agrees."""

    name: str
    holder: bytes
    fence: int


def hold(connection: Connection, lease: Lease) -> None:
    """Keeps the role until the end of the transaction. Raises LeaseLost, before any write."""
    columns = schema.lease.c
    row = connection.execute(
        select(columns.holder, columns.fence).where(columns.name == lease.name).with_for_update()
    ).one_or_none()
    if row is None or (row.holder, row.fence) != (lease.holder, lease.fence):
        raise LeaseLost("another process has this role", lease=lease.name)


class Leases:
    """The roles of one holder, usually a process."""

    def __init__(self, database: Database, writer: Writer) -> None:
        self._writer = writer
        self._holder = secrets.token_bytes(16)
        self._node = socket.gethostname()[:100]  # for who reads the table
        self._alone = not database.backend.shared
        self._now = literal_column(database.backend.now, BigInteger)
        self._until = self._now + LIFE_S * 1_000_000
        self._renewing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Renews from now on whatever is taken."""
        self._renewing = asyncio.create_task(self._renew_always(), name="leases")

    async def stop(self) -> None:
        """Gives everything back; what cannot be given back runs out."""
        if self._renewing:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        try:
            await self._writer.run(self._release, frees=True)
        except Failure as failure:
            log.warning("lease.not_released", why=failure.public)

    async def take(self, name: str) -> Lease | None:
        """The role, also when it is ours already; None while another has it."""
        try:
            return await self._writer.run(partial(self._take, name), frees=True)
        except IntegrityError:
            return None  # another process made the row at this moment

    async def renew(self) -> None:
        """All roles of this holder, by one statement."""
        await self._writer.run(self._renew, frees=True)

    async def _renew_always(self) -> None:
        # We hold the lock file of a store that is a file: whoever the table names has ended.
        work = _free_all if self._alone else self._renew
        while True:
            try:
                await self._writer.run(work, frees=True)
            except Failure as failure:
                log.warning("lease.not_renewed", why=failure.public)
            else:
                work = self._renew
            await asyncio.sleep(RENEW_S)

    def _take(self, name: str, connection: Connection) -> Lease | None:
        lease = schema.lease
        connection.execute(
            update(lease)
            .where(
                lease.c.name == name,
                or_(lease.c.holder.is_(None), lease.c.expires_at < self._now),
            )
            .values(
                holder=self._holder,
                node=self._node,
                fence=lease.c.fence + 1,
                expires_at=self._until,
            )
        )
        # The row and not the count of rows decides: the job may run again after it has run.
        row = connection.execute(
            select(lease.c.holder, lease.c.fence).where(lease.c.name == name)
        ).one_or_none()
        if row is None:
            connection.execute(
                insert(lease).values(
                    name=name,
                    holder=self._holder,
                    node=self._node,
                    fence=1,
                    expires_at=self._until,
                )
            )
            return Lease(name, self._holder, 1)
        return Lease(name, self._holder, row.fence) if row.holder == self._holder else None

    def _renew(self, connection: Connection) -> None:
        lease = schema.lease
        connection.execute(
            update(lease).where(lease.c.holder == self._holder).values(expires_at=self._until)
        )

    def _release(self, connection: Connection) -> None:
        lease = schema.lease
        connection.execute(update(lease).where(lease.c.holder == self._holder).values(holder=None))


def _free_all(connection: Connection) -> None:
    columns = schema.lease.c
    connection.execute(update(schema.lease).where(columns.holder.is_not(None)).values(holder=None))
