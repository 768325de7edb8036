"""Collectors: a user's accounts at other providers, and mail fetched from them now."""

from __future__ import annotations

from typing import Any, Final, cast

from api.call import Call, Reply
from api.lists import Listing
from api.models import Query
from api.models_admin import ListQuery
from api.models_collect import (
    CollectorChange,
    CollectorDetail,
    CollectorPage,
    CollectorStateName,
    DiscoverWish,
    JobDetail,
    JobProblem,
    JobResult,
    JobStateName,
    LastRun,
    NewCollector,
    Provider,
    Received,
    ReceiveWish,
    Receiving,
    RunWish,
    Tested,
    TestStep,
)
from api.problems import slug_of
from auth.scopes import Scope
from mail.errors import NotFound
from mail.ident import parse_row_id, row_id_text
from store.records import (
    Collector,
    CollectorOwner,
    CollectorRun,
    CollectorWish,
    Job,
    microseconds,
)


def detail(source: Collector) -> CollectorDetail:
    return CollectorDetail(
        id=row_id_text(source.id),
        name=source.name,
        address=source.address,
        host=source.host,
        port=source.port,
        username=source.username,
        keep_days=source.keep_days,
        every_s=source.every_s,
        paused=source.paused,
        state=cast(CollectorStateName, source.state.name.lower()),
        last_run=_last_run(source.last) if source.last else None,
        next_run_at=source.next_at,
    )


def _last_run(run: CollectorRun) -> LastRun:
    return LastRun(at=run.at, new=run.new, seen=run.seen, fetched=run.octets, error=run.error)


LIST: Final[Listing[Collector]] = Listing(
    "/api/collectors",
    CollectorPage,
    detail,
    lambda source: (microseconds(source.created_at), source.id),
)


async def index(call: Call[ListQuery, None]) -> Reply:
    """GET /api/collectors: one's own, the oldest first."""
    found = await call.parts.store.collectors.page(call.account.maildrop_id, LIST.span(call))
    return LIST.reply(call, found)


async def create(call: Call[Query, NewCollector]) -> Reply:
    """POST /api/collectors: fetches at once, and then by itself."""
    made = await call.parts.collecting.create(_owner(call), _wish(call.body), test=call.body.test)
    return _made(made)


async def configure(call: Call[Query, NewCollector]) -> Reply:
    """POST /api/email-receive/configure: a new collector, or a change of that account's."""
    found, new = await call.parts.collecting.configure(
        _owner(call), _wish(call.body), test=call.body.test
    )
    return _made(found) if new else Reply(detail(found))


async def read(call: Call[Query, None]) -> Reply:
    """GET /api/collectors/{id}: with its last run and the next."""
    found = await call.parts.store.collectors.get(call.account.maildrop_id, _id(call))
    return Reply(detail(found), versioned=True)


async def change(call: Call[Query, CollectorChange]) -> Reply:
    """PUT /api/collectors/{id}: a new password, or the end of a pause, lets it run at once."""
    changed = await call.parts.collecting.change(
        _owner(call), _id(call), _wish(call.body), guard=call.guard(detail), test=call.body.test
    )
    return Reply(detail(changed), versioned=True)


async def remove(call: Call[Query, None]) -> Reply:
    """DELETE /api/collectors/{id}: mail stays, here and there."""
    await call.parts.store.collectors.remove(
        call.account.maildrop_id, _id(call), guard=call.guard(detail)
    )
    return Reply(None)


async def run(call: Call[Query, RunWish]) -> Reply:
    """POST /api/collectors/{id}/run: fetches now, also from one that is paused or stopped."""
    return await _receive(call, _id(call), call.body.wait_s)


async def receive(call: Call[Query, ReceiveWish]) -> Reply:
    """POST /api/email-receive/receive: fetches now, from one account or all of them."""
    wanted = call.body.collector_id
    return await _receive(call, None if wanted is None else _parsed(wanted), call.body.wait_s)


async def test(call: Call[Query, None]) -> Reply:
    """POST /api/collectors/{id}/test: step by step; nothing is fetched."""
    steps = await call.parts.collecting.test(_owner(call), _id(call))
    told = [TestStep(step=each.step, ok=each.ok, detail=each.detail) for each in steps]
    return Reply(Tested(ok=all(each.ok for each in steps), steps=told))


async def discover(call: Call[Query, DiscoverWish]) -> Reply:
    """POST /api/collectors/discover: what is known of an address's provider."""
    found = call.parts.collecting.discover(call.body.address)
    return Reply(
        Provider(
            host=found.host,
            port=found.port,
            username=found.username,
            needs=found.needs,
            help=found.help,
        )
    )


async def job(call: Call[Query, None]) -> Reply:
    """GET /api/jobs/{id}: how far it is. Kept for a day."""
    found = await call.parts.store.jobs.get(call.account.id, _id(call, "job"))
    return Reply(_job(found))


async def cancel(call: Call[Query, None]) -> Reply:
    """DELETE /api/jobs/{id}: ends it at its next message; what was fetched stays."""
    await call.parts.store.jobs.cancel(call.account.id, _id(call, "job"))
    return Reply(None)


async def _receive(call: Call[Any, Any], source_id: int | None, wait_s: int) -> Reply:
    store, account = call.parts.store, call.account
    job = await store.collectors.ask(account.id, account.maildrop_id, source_id)
    job = await store.jobs.wait(job, within_s=wait_s)
    told = Receiving(job_id=row_id_text(job.id), collectors=_received(job))
    return Reply(told, status=200 if job.over else 202)


def _made(made: Collector) -> Reply:
    location = {"Location": f"/api/collectors/{row_id_text(made.id)}"}
    return Reply(detail(made), status=201, headers=location)


def _owner(call: Call[Any, Any]) -> CollectorOwner:
    account = call.account
    admin = Scope.ADMIN_WRITE in call.who.scopes
    return CollectorOwner(account.id, account.maildrop_id, admin=admin)


def _wish(body: NewCollector | CollectorChange) -> CollectorWish:
    given = body.model_dump(include=body.model_fields_set - {"test", "password"})
    if "password" in body.model_fields_set:
        given["password"] = body.password.get_secret_value()
    return cast(CollectorWish, given)


def _received(job: Job) -> list[Received]:
    return [
        Received(
            id=row_id_text(key),
            new=harvest.new,
            seen=harvest.seen,
            fetched=harvest.octets,
            error=harvest.error,
        )
        for key, harvest in job.harvests.items()
    ]


def _job(job: Job) -> JobDetail:
    failed = [each for each in job.harvests.values() if each.problem]
    return JobDetail(
        id=row_id_text(job.id),
        kind="collect",
        state=cast(JobStateName, job.state.name.lower()),
        done=job.done,
        total=job.total,
        result=JobResult(collectors=_received(job)),
        problem=JobProblem(code=slug_of(failed[0].problem or ""), detail=failed[0].error or "")
        if failed
        else None,
    )


def _id(call: Call[Any, Any], what: str = "collector") -> int:
    return _parsed(call.path["id"], what)


def _parsed(text: str, what: str = "collector") -> int:
    try:
        return parse_row_id(text)
    except ValueError as error:
        raise NotFound(f"there is no such {what}") from error
