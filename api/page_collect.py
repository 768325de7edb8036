"""Mail from elsewhere on the page: a user's accounts at other providers, and runs as they go."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from api import collectors
from api.call import Call, Reply
from api.models import Query, read_body
from api.models_admin import ListQuery
from api.models_collect import (
    CollectorChange,
    CollectorDetail,
    CollectorPage,
    DiscoverWish,
    JobDetail,
    NewCollector,
    Provider,
    Receiving,
    RunWish,
    Tested,
)
from api.models_page import CollectForm, CollectPlace
from api.page_frame import answer, asked, framed, inner, to, wish
from api.page_login import tried
from api.problems import Problem, of_failure
from mail.errors import AlreadyRunning, NotFound, UpstreamFailed

TOLD: Final = {
    "change": "Kept.",
    "pause": "Paused. Nothing is fetched by itself.",
    "resume": "It is fetched by itself again.",
    "remove": "Removed. The mail stays, here and there.",
    "stop": "It ends with the message it is at. What was fetched stays.",
}
STEPS: Final = {
    "name": "Find the server",
    "connection": "Connect",
    "certificate": "Check the certificate",
    "login": "Sign in",
    "count": "Count the messages",
}


async def show(call: Call[CollectPlace, None]) -> Reply:
    """GET /collect: each account with its last run, and how far the run is that was asked for."""
    try:
        path = {"id": call.query.job}
        job = await answer(collectors.job, inner(call, path=path), JobDetail)
    except NotFound:
        return await _screen(call, told=TOLD.get(call.query.told, ""))
    if job.state in ("queued", "running"):
        return await _screen(call, job=job, told=TOLD.get(call.query.told, ""))
    return await _screen(call, **_outcome(job))


def _outcome(job: JobDetail) -> dict[str, str]:
    """A run that is over, in a sentence."""
    new = sum(each.new for each in job.result.collectors)
    seen = sum(each.seen for each in job.result.collectors)
    text = f"{new:,} new message{'' if new == 1 else 's'}" if new else "Nothing new"
    text += f"; {seen:,} {'was' if seen == 1 else 'were'} here already." if seen else "."
    errors = [each.error for each in job.result.collectors if each.error]
    if errors:
        return {"failed": " ".join(errors), "told": text if new else ""}
    return {"told": text}


async def _screen(call: Call[Any, Any], **more: Any) -> Reply:
    cursor = call.query.cursor if isinstance(call.query, CollectPlace) else None
    query = asked(ListQuery, limit=100, cursor=cursor)
    found = await answer(collectors.index, inner(call, query=query), CollectorPage)
    values = {"job": None, "provider": None, "steps": (), "tested": None, "given": {}} | more
    return await framed(
        call, "collect.html", here="collect", found=found, now=call.parts.clock(), **values
    )


async def change(call: Call[Query, CollectForm]) -> Reply:
    """POST /collect: looks an address up, adds its account, or does something with one there is."""
    form, path = call.body, {"id": call.body.id}

    async def work() -> Reply:
        match form.act:
            case "find":
                return await _screen(
                    call, provider=await _provider(call), given={"address": form.address}
                )
            case "new":
                return await _add(call)
            case "run":
                return await _run(call, form.id)
            case "test":
                found = await answer(collectors.read, inner(call, path=path), CollectorDetail)
                tested = await answer(collectors.test, inner(call, path=path), Tested)
                steps = [(STEPS[each.step], each.ok, each.detail) for each in tested.steps]
                return await _screen(call, tested=found, steps=steps)
            case "stop":
                await collectors.cancel(inner(call, path={"id": form.job}))
                return to("/collect", job=form.job, told="stop")
            case "remove":
                await collectors.remove(inner(call, path=path))
            case "change":
                settings = _settings(form)
                settings |= {"keep_days": settings.get("keep_days"), "test": "password" in settings}
                await _change(call, form.id, settings)
            case _:
                await _change(call, form.id, {"paused": form.act == "pause"})
        return to("/collect", told=form.act)

    async def again(status: int, failed: str, *, step: str = "") -> Reply:
        adding = form.act == "new"
        return await _screen(
            call,
            status=status,
            failed=failed,
            provider=await _provider(call) if adding else None,
            steps=_as_far_as(step) if adding and step else (),
            given=form.model_dump(),
        )

    return await _tried(work, again)


class Again(Protocol):
    async def __call__(self, status: int, failed: str, *, step: str = "") -> Reply: ...


async def _tried(work: Callable[[], Awaitable[Reply]], again: Again) -> Reply:
    """As `tried`; and a provider's fault is no fault of ours: its words, and what helps."""
    from api.problem_pages import PAGES

    try:
        return await tried(work, again)
    except UpstreamFailed as failure:
        problem = of_failure(failure)
        words = f"{problem.title}: {failure.public.removesuffix('.')}. {PAGES[problem.slug].cure}"
        return await again(422, words, step=str(failure.facts.get("step", "")))


def _as_far_as(step: str) -> list[tuple[str, bool, str]]:
    """The steps of a test that went well, and the one that did not."""
    names = list(STEPS)
    return [(STEPS[each], each != step, "") for each in names[: names.index(step) + 1]]


async def _provider(call: Call[Query, CollectForm]) -> Provider:
    body = wish(DiscoverWish, address=call.body.address)
    return await answer(collectors.discover, inner(call, body=body), Provider)


async def _run(call: Call[Any, Any], collector_id: str) -> Reply:
    """A run, or the one that there is, is what is shown next."""
    try:
        started = await answer(
            collectors.run, inner(call, body=RunWish(), path={"id": collector_id}), Receiving
        )
    except AlreadyRunning as running:
        return to("/collect", job=str(running.facts["job"]))
    return to("/collect", job=started.job_id)


async def _add(call: Call[Any, CollectForm]) -> Reply:
    """Paused until its first run was asked for: one that nobody watches would bring the mail."""
    body = wish(NewCollector, address=call.body.address, paused=True, **_settings(call.body))
    made = await answer(collectors.create, inner(call, body=body), CollectorDetail)
    shown = await _run(call, made.id)
    await _change(call, made.id, {"paused": False})
    return shown


async def _change(call: Call[Any, Any], collector_id: str, settings: dict[str, Any]) -> None:
    body = read_body(CollectorChange, json.dumps(settings).encode())
    await collectors.change(inner(call, body=body, path={"id": collector_id}))


def _settings(form: CollectForm) -> dict[str, Any]:
    """What was filled in, as the API takes it."""
    given: dict[str, Any] = {
        "name": form.name,
        "host": form.host,
        "port": _number("port", form.port),
        "username": form.username,
        "password": form.password.get_secret_value(),
        "every_s": _number("every_s", form.every),
    }
    given = {name: value for name, value in given.items() if value}
    return given if form.keep == "all" else given | {"keep_days": _number("keep_days", form.keep)}


def _number(name: str, text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Problem("invalid-body", errors=[(f"/{name}", "must be a whole number")])
    return int(text)
