"""Work that somebody asked for and may watch: runs of collectors.

A job's row says how far each of its collectors is. Who asked reads it, whichever process works.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from mail.errors import NotFound
from store import schema
from store.database import Database
from store.records import Harvest, Job, JobState, microseconds, moment
from store.writer import Writer

KEPT = timedelta(hours=24)
LOOK_S = 0.2  # between two looks at a job that is waited for
COLLECT = 0  # job.kind
CANCELLED = Harvest(error="It was cancelled.", over=True)


class Jobs:
    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer

    async def get(self, account_id: int, job_id: int) -> Job:
        """Raises NotFound."""
        return await self._database.read(partial(_get, account_id, job_id))

    async def wait(self, job: Job, *, within_s: float) -> Job:
        """How it is when it is over, or so much later."""
        ends_at = asyncio.get_running_loop().time() + within_s
        while not job.over and asyncio.get_running_loop().time() < ends_at:
            await asyncio.sleep(LOOK_S)
            job = await self.get(job.account_id, job.id)
        return job

    async def cancel(self, account_id: int, job_id: int) -> None:
        """What runs for it ends at its next message; what was fetched stays. Raises NotFound."""
        await self._writer.run(partial(_cancel, account_id, job_id), frees=True)


def start(
    job_id: int, account_id: int, collectors: Sequence[int], now: datetime, connection: Connection
) -> Job:
    """A new job, which takes the place of old ones."""
    columns = schema.job.c
    forgotten = microseconds(now - KEPT)
    connection.execute(
        delete(schema.job).where(columns.account_id == account_id, columns.created_at < forgotten)
    )
    job = Job(job_id, account_id, JobState.QUEUED, dict.fromkeys(collectors, Harvest()), now)
    if read(job_id, connection) is None:  # else an earlier try whose answer was lost
        values = {"id": job_id, "account_id": account_id, "kind": COLLECT, "cancel": 0}
        created = {"created_at": microseconds(now)}
        connection.execute(insert(schema.job).values(**values, **created, **_told(job)))
    return job


def read(job_id: int, connection: Connection) -> Job | None:
    row = connection.execute(select(schema.job).where(schema.job.c.id == job_id)).one_or_none()
    return _record(row) if row else None


def tell(job_id: int, source_id: int, harvest: Harvest, connection: Connection) -> bool:
    """How far one collector of it is; False when it is to end."""
    rows = select(schema.job).where(schema.job.c.id == job_id).with_for_update()
    row = connection.execute(rows).one_or_none()
    if row is None:
        return False
    before = _record(row)
    harvests = {**before.harvests, source_id: harvest}
    job = replace(before, harvests=harvests, state=_state(harvests, cancelled=bool(row.cancel)))
    connection.execute(update(schema.job).where(schema.job.c.id == job_id).values(**_told(job)))
    return not row.cancel


def _state(harvests: dict[int, Harvest], *, cancelled: bool) -> JobState:
    if not all(each.over for each in harvests.values()):
        return JobState.RUNNING
    if cancelled:
        return JobState.CANCELLED
    failed = any(each.error for each in harvests.values())
    return JobState.FAILED if failed else JobState.DONE


def _get(account_id: int, job_id: int, connection: Connection) -> Job:
    job = read(job_id, connection)
    if job is None or job.account_id != account_id:
        raise NotFound("there is no such job")
    return job


def _cancel(account_id: int, job_id: int, connection: Connection) -> None:
    job = _get(account_id, job_id, connection)
    if job.over:
        return
    state: dict[str, Any] = {}
    if job.state is JobState.QUEUED:  # nobody works for it yet
        over = dict.fromkeys(job.harvests, CANCELLED)
        state = _told(replace(job, harvests=over, state=JobState.CANCELLED))
        sources = schema.source
        connection.execute(update(sources).where(sources.c.job_id == job_id).values(job_id=None))
    connection.execute(
        update(schema.job).where(schema.job.c.id == job_id).values(cancel=1, **state)
    )


def _told(job: Job) -> dict[str, Any]:
    harvests = {str(key): asdict(each) for key, each in job.harvests.items()}
    return {
        "state": int(job.state),
        "done": job.done,
        "total": job.total,
        "result": json.dumps(harvests),
    }


def _record(row: Any) -> Job:
    harvests = {int(key): Harvest(**each) for key, each in json.loads(row.result or "{}").items()}
    created = moment(row.created_at)
    return Job(row.id, row.account_id, JobState(row.state), harvests, created)
