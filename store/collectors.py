"""Remote accounts that mail is fetched from: what is said of them, and when they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Unpack

from sqlalchemy import Connection, Select, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from mail.errors import AlreadyRunning, NameTaken, NotFound
from mail.ident import new_row_id, row_id_text
from store import jobs, schema
from store.database import Database
from store.leases import Lease, hold
from store.lists import Guard, Part, Span, part, unguarded
from store.records import (
    AccountState,
    Collector,
    CollectorRun,
    CollectorSettings,
    CollectorState,
    Harvest,
    Job,
    microseconds,
    moment,
)
from store.writer import Writer

ERROR_CHARACTERS = 500
GONE = Harvest(error="The collector was removed.", over=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, and what follows from it."""

    run: CollectorRun
    state: CollectorState
    fails: int
    refused: int
    delay_s: int
    next_at: datetime


class Collectors:
    """Everything but what the worker asks goes by the maildrop that a collector fills."""

    def __init__(
        self, database: Database, writer: Writer, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock
        # Told when a run was asked for.
        self.asked: Callable[[], None] | None = None

    async def add(self, made: Collector) -> None:
        """Raises NameTaken: the maildrop has one of this host and user name."""
        try:
            await self._writer.run(partial(_add, made))
        except IntegrityError as error:
            raise NameTaken("there is a collector of this account already") from error
        self._ask()

    async def change(
        self,
        maildrop_id: int,
        source_id: int,
        *,
        guard: Guard[Collector] = unguarded,
        **settings: Unpack[CollectorSettings],
    ) -> Collector:
        """What is not given stays. A new secret, or the end of a pause, is a new beginning.

        Raises NotFound, NameTaken, and what `guard` raises.
        """
        now = self._clock()
        try:
            changed = await self._writer.run(
                partial(_change, (maildrop_id, source_id), settings, guard, now)
            )
        except IntegrityError as error:
            raise NameTaken("there is a collector of this account already") from error
        self._ask()
        return changed

    async def remove(
        self, maildrop_id: int, source_id: int, *, guard: Guard[Collector] = unguarded
    ) -> None:
        """With what it remembers; the mail stays. Raises NotFound, and what `guard` raises."""
        await self._writer.run(partial(_remove, maildrop_id, source_id, guard), frees=True)

    async def get(self, maildrop_id: int, source_id: int) -> Collector:
        """Raises NotFound."""
        return await self._database.read(partial(_get, maildrop_id, source_id))

    async def page(self, maildrop_id: int, span: Span) -> Part[Collector]:
        """In the order in which they were made."""
        return await self._database.read(partial(_page, maildrop_id, span))

    async def of(self, maildrop_id: int | None) -> list[Collector]:
        """All of one maildrop, or all there are."""
        return await self._database.read(partial(_of, maildrop_id))

    async def ask(self, account_id: int, maildrop_id: int, source_id: int | None) -> Job:
        """A run at once, or as soon as the provider's delay allows: of one, or of all that are
        neither paused nor stopped. Raises NotFound, AlreadyRunning.
        """
        made = (new_row_id(), account_id)
        asked = partial(_asked, made, maildrop_id, source_id, self._clock())
        job: Job = await self._writer.run(asked)
        self._ask()
        return job

    async def due(self, limit: int) -> list[Collector]:
        """Those whose time has come, the longest overdue first."""
        return await self._database.read(partial(_due, microseconds(self._clock()), limit))

    async def tell(self, lease: Lease, found: Collector, harvest: Harvest) -> bool:
        """How far a run that somebody asked for is; False when it is to end. Raises LeaseLost."""
        if found.job_id is None:
            return True
        return await self._writer.run(partial(_tell, lease, found, harvest))

    async def finish(
        self, lease: Lease, found: Collector, outcome: Outcome, harvest: Harvest
    ) -> None:
        """Raises LeaseLost."""
        work = partial(_finish, lease, found, outcome, harvest)
        await self._writer.run(work, frees=True)

    def _ask(self) -> None:
        if self.asked:
            self.asked()


_S = schema.source.c


def _values(settings: CollectorSettings) -> dict[str, Any]:
    names = {"sealed": "secret", "every_s": "interval_s"}
    return {names.get(name, name): value for name, value in settings.items()}


def _record(row: Any) -> Collector:
    last = None
    if row.last_at is not None:
        counts = (row.last_new or 0, row.last_seen or 0, row.last_octets or 0)
        last = CollectorRun(moment(row.last_at), *counts, row.last_error)
    return Collector(
        id=row.id,
        maildrop_id=row.maildrop_id,
        name=row.name,
        address=row.address,
        host=row.host,
        port=row.port,
        username=row.username,
        sealed=row.secret,
        keep_days=row.keep_days,
        every_s=row.interval_s,
        created_at=moment(row.created_at),
        next_at=moment(row.next_at),
        paused=bool(row.paused),
        state=CollectorState(row.state),
        fails=row.fails,
        refused=row.refused,
        delay_s=row.delay_s,
        job_id=row.job_id,
        last=last,
    )


def _add(made: Collector, connection: Connection) -> None:
    if connection.execute(select(_S.id).where(_S.id == made.id)).first():
        return  # an earlier try whose answer was lost
    connection.execute(
        insert(schema.source).values(
            id=made.id,
            maildrop_id=made.maildrop_id,
            name=made.name,
            address=made.address,
            host=made.host,
            port=made.port,
            username=made.username,
            secret=made.sealed,
            keep_days=made.keep_days,
            interval_s=made.every_s,
            delay_s=0,
            next_at=microseconds(made.next_at),
            paused=int(made.paused),
            state=int(made.state),
            fails=0,
            refused=0,
            created_at=microseconds(made.created_at),
        )
    )


def _one(maildrop_id: int, source_id: int) -> Select[*tuple[Any, ...]]:
    return select(schema.source).where(_S.id == source_id, _S.maildrop_id == maildrop_id)


def _get(maildrop_id: int, source_id: int, connection: Connection) -> Collector:
    row = connection.execute(_one(maildrop_id, source_id)).one_or_none()
    if row is None:
        raise NotFound("there is no such collector")
    return _record(row)


def _change(
    which: tuple[int, int],
    settings: CollectorSettings,
    guard: Guard[Collector],
    now: datetime,
    connection: Connection,
) -> Collector:
    maildrop_id, source_id = which
    found = _get(maildrop_id, source_id, connection)
    guard(found)
    values = _values(settings)
    anew = "sealed" in settings or (found.paused and settings.get("paused") is False)
    if anew:
        values |= {"state": int(CollectorState.OK), "fails": 0, "refused": 0}
        values["next_at"] = microseconds(_earliest(found, now))
    if (settings.get("host", found.host), settings.get("username", found.username)) != (
        *(found.host, found.username),
    ):
        # Another account: names of messages mean nothing there.
        seen = schema.source_seen
        connection.execute(delete(seen).where(seen.c.source_id == source_id))
    if values:
        connection.execute(update(schema.source).where(_S.id == source_id).values(**values))
    return _get(maildrop_id, source_id, connection)


def _remove(
    maildrop_id: int, source_id: int, guard: Guard[Collector], connection: Connection
) -> None:
    found = _get(maildrop_id, source_id, connection)
    guard(found)
    if found.job_id is not None:
        jobs.tell(found.job_id, source_id, GONE, connection)
    seen = schema.source_seen
    connection.execute(delete(seen).where(seen.c.source_id == source_id))
    connection.execute(delete(schema.source).where(_S.id == source_id))


def _page(maildrop_id: int, span: Span, connection: Connection) -> Part[Collector]:
    mine = select(schema.source).where(_S.maildrop_id == maildrop_id)
    return part(mine, [_S.created_at, _S.id], span, connection).of(_record)


def _of(maildrop_id: int | None, connection: Connection) -> list[Collector]:
    query = select(schema.source).order_by(_S.created_at, _S.id)
    if maildrop_id is not None:
        query = query.where(_S.maildrop_id == maildrop_id)
    return [_record(row) for row in connection.execute(query)]


def _earliest(found: Collector, now: datetime) -> datetime:
    """RFC 2449 section 6.5: whoever asks, the provider's delay holds."""
    if found.last is None or not found.delay_s:
        return now
    return max(now, found.last.at + timedelta(seconds=found.delay_s))


def _asked(
    made: tuple[int, int],
    maildrop_id: int,
    source_id: int | None,
    now: datetime,
    connection: Connection,
) -> Job:
    job_id, account_id = made
    if source_id is not None:
        chosen = [_get(maildrop_id, source_id, connection)]
    else:
        mine = _of(maildrop_id, connection)
        chosen = [
            each for each in mine if not each.paused and each.state is not CollectorState.STOPPED
        ]
    if not chosen:
        raise NotFound("there is no collector that could run")
    for each in chosen:
        if each.job_id is not None and each.job_id != job_id:
            other = row_id_text(each.job_id)
            raise AlreadyRunning(f"it is under way: job {other}", job=other)
    job = jobs.start(job_id, account_id, [each.id for each in chosen], now, connection)
    for each in chosen:
        connection.execute(
            update(schema.source)
            .where(_S.id == each.id)
            .values(job_id=job_id, next_at=microseconds(_earliest(each, now)))
        )
    return job


def _due(now: int, limit: int, connection: Connection) -> list[Collector]:
    drops, accounts = schema.maildrop.c, schema.account.c
    by_itself = and_(_S.paused == 0, _S.state != int(CollectorState.STOPPED))
    query = (
        select(schema.source)
        .join(schema.maildrop, drops.id == _S.maildrop_id)
        .join(schema.account, accounts.id == drops.account_id)
        .where(
            _S.next_at <= now,
            or_(_S.job_id.is_not(None), by_itself),
            accounts.state != int(AccountState.CLOSED),
        )
        .order_by(_S.next_at, _S.id)
        .limit(limit)
    )
    return [_record(row) for row in connection.execute(query)]


def _tell(lease: Lease, found: Collector, harvest: Harvest, connection: Connection) -> bool:
    hold(connection, lease)
    assert found.job_id is not None
    there = connection.execute(_one(found.maildrop_id, found.id)).first()
    return there is not None and jobs.tell(found.job_id, found.id, harvest, connection)


def _finish(
    lease: Lease, found: Collector, outcome: Outcome, harvest: Harvest, connection: Connection
) -> None:
    hold(connection, lease)
    row = connection.execute(_one(found.maildrop_id, found.id)).one_or_none()
    if row is None:
        return  # removed meanwhile
    if found.job_id is not None:
        jobs.tell(found.job_id, found.id, replace(harvest, over=True), connection)
    run = outcome.run
    values: dict[str, Any] = {
        "state": int(outcome.state),
        "fails": outcome.fails,
        "refused": outcome.refused,
        "next_at": microseconds(outcome.next_at),
    }
    if row.secret != found.sealed:  # it was given anew meanwhile, and starts afresh
        values = {}
    elif row.job_id is not None and row.job_id != found.job_id:  # asked for during this run
        values["next_at"] = microseconds(run.at + timedelta(seconds=outcome.delay_s))
    connection.execute(
        update(schema.source)
        .where(_S.id == found.id)
        .values(
            **values,
            job_id=None if row.job_id == found.job_id else row.job_id,
            delay_s=outcome.delay_s,
            last_at=microseconds(run.at),
            last_new=run.new,
            last_seen=run.seen,
            last_octets=run.octets,
            last_error=run.error[:ERROR_CHARACTERS] if run.error else None,
        )
    )
