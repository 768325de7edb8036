"""The REST API: requests of the table in `api.routes`, answered one by one.

IN        listening sockets; ApiParts through the constructor
OUT       JSON and messages; for everything else problem documents; one `api.request` line in the
          log for each request, `api.refused` for octets or a connection that never became one
MAY       whatever a handler does: sign in, read messages
NEVER     log a body, a secret or a query; tell a fault of ours in detail; let a response that broke
          off look complete
FAILS     towards the client only: a problem document, or a connection that is cut
RFC       9110, 9112 (HTTP), 9457 (problem documents), 6750 (bearer tokens), 8288 (Link), 6797
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from socket import socket
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp_session import session_middleware

from api import discovery, doors, models, problems, replies, security
from api.call import ApiParts, Call, Door, Reply
from api.connection import Connection
from api.page_session import STORE, Page, Storage
from api.problems import Problem
from api.replies import TRAIL
from api.routes import BODY_OCTETS, ROUTES, Route
from mail.errors import Failure, StorageBusy
from net.accept import Listener, Tls, Visit
from net.metrics import HTTP_ANSWERS

PARTS: Final = web.AppKey("parts", ApiParts)
NAMES: Final = web.AppKey("names", frozenset[str])
PAGE: Final = web.RequestKey("page", Page)
HSTS: Final = "max-age=31536000"  # RFC 6797 section 6.1.1
ANY_HOST: Final = frozenset(route.path for route in ROUTES if route.any_host)
DISCOVERY: Final = frozenset(route.path for route in ROUTES if route.discovery)


class ApiServer:
    """Started once, stopped once, in one event loop."""

    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts
        self._runner = web.AppRunner(build(parts))
        self._listeners: list[Listener] = []

    async def start(
        self, sockets: Sequence[socket], secure: Sequence[socket] = (), tls: Tls | None = None
    ) -> None:
        """Serves on bound sockets, which are ours from here on: the first ones without TLS."""
        await self._runner.setup()
        for some, way in ((sockets, None), (secure, tls)):
            listener = Listener(self._connection, limiters=(self._parts.connections,), tls=way)
            listener.start(some)
            self._listeners.append(listener)

    async def stop(self, grace_s: float) -> None:
        """No new connections; idle ones are closed; what is under way has `grace_s` to end."""
        for listener in self._listeners:
            listener.close()
        self._server.pre_shutdown()
        await self._server.shutdown(grace_s / 2)  # it waits for this long twice
        await self._runner.cleanup()

    def _connection(self, visit: Visit) -> Connection:
        return Connection(self._server, self._parts, visit)

    @property
    def _server(self) -> web.Server:
        assert self._runner.server is not None
        return self._runner.server


def build(parts: ApiParts) -> web.Application:
    """An application with the routes of the table."""
    client = partial(doors.client_of, proxies=parts.site.proxies)
    browsers = session_middleware(Storage(parts.store, client))
    app = web.Application(middlewares=[top, browsers, counted], client_max_size=BODY_OCTETS)
    app[PARTS] = parts
    public = security.host_name(parts.site.public_url.partition("://")[2])
    app[NAMES] = frozenset({parts.hostname.lower(), public})
    app[STORE] = parts.store
    app.on_response_prepare.append(replies.dress)
    for path in dict.fromkeys(route.path for route in ROUTES):
        methods: dict[str, Handler] = {
            route.method: partial(perform, route) for route in ROUTES if route.path == path
        }
        if "PUT" in methods:  # it merges
            methods["PATCH"] = methods["PUT"]
        if "GET" in methods:
            methods["HEAD"] = methods["GET"]
        methods["OPTIONS"] = partial(options, ", ".join(sorted([*methods, "OPTIONS"])))
        resource = app.router.add_resource(path)
        for method, handler in methods.items():
            resource.add_route(method, handler)
    return app


@web.middleware
async def top(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The top of a request: whatever becomes of it is answered or cut, and logged once."""
    parts = request.app[PARTS]
    peer, scheme = doors.client_of(request, parts.site.proxies)
    trail = replies.begin(request, peer)
    if parts.site.hsts and scheme == "https":
        trail.fields["Strict-Transport-Security"] = HSTS
    stall_s = parts.limits.write_stall_s
    try:
        response = await answer(request, handler)
        await replies.send(request, response, stall_s=stall_s)
    except asyncio.CancelledError:
        trail.cut = "shutdown"
        raise
    except Exception as fault:  # noqa: BLE001 - any fault of ours is told without detail
        trail.fault = fault
        response = replies.refusal(request, Problem("internal-error"))
        await replies.send(request, response, stall_s=stall_s)
    finally:
        request.app[PARTS].house.metrics.add(HTTP_ANSWERS, f"{(trail.status or 0) // 100}xx")
        replies.log_line(request)
    return response


async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the handler makes of it, or the problem document of what it raised."""
    try:
        parts = request.app[PARTS]
        resource = request.match_info.route.resource
        if resource is None or resource.canonical not in ANY_HOST:
            await _check_host(request)
            if not doors.check_way(request, parts.site.proxies):
                place = f"{parts.site.public_url}{request.rel_url.raw_path_qs}"
                return web.Response(status=308, headers={"Location": place})
        return await handler(request)
    except Problem as raised:
        problem = raised
    except Failure as failure:
        problem = problems.of_failure(failure)
        request[TRAIL].facts = failure.facts
        if problem.status == 500:
            request[TRAIL].fault = failure
    except web.HTTPMethodNotAllowed as refused:
        allowed = ", ".join(sorted(refused.allowed_methods))
        problem = Problem("method-not-allowed", headers={"Allow": allowed})
    except web.HTTPNotFound:
        problem = Problem("not-found")
    return replies.refusal(request, problem)


async def _check_host(request: web.Request) -> None:
    host = security.host_name(request.headers.get("Host", ""))
    if request.path not in DISCOVERY or not await discovery.ours(request.app[PARTS], host):
        security.check_host(request, request.app[NAMES], request[TRAIL].peer)


@web.middleware
async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Counts it for its client or browser session, before anything else is done for it."""
    parts, trail = request.app[PARTS], request[TRAIL]
    page = request[PAGE] = _page(request)
    charged = await doors.charge(request, parts, trail.peer, await page.session())
    if charged is None:
        return await handler(request)
    kind, key, taken = charged
    trail.fields |= doors.rate_fields(kind, taken)
    if taken.wait_s:
        raise doors.too_many(kind, taken, now=parts.clock())
    if kind != "auth" or not parts.site.failures_only:
        return await handler(request)
    status = 500
    try:
        response = await handler(request)
        status = response.status
    except Problem as problem:
        status = problem.status
        raise
    except Failure as failure:
        status = problems.of_failure(failure).status
        raise
    finally:
        if not 400 <= status < 500:
            await parts.rates.give_back(kind, key)
    return response


def _page(request: web.Request) -> Page:
    parts = request.app[PARTS]
    return Page(request, partial(doors.client_of, proxies=parts.site.proxies), parts.key)


async def perform(route: Route[Any, Any], request: web.Request) -> web.StreamResponse:
    """One row of the table: what is looked at before its handler, the handler, its answer."""
    parts, page = request.app[PARTS], request[PAGE]
    limits, trail = parts.limits, request[TRAIL]
    _, scheme = doors.client_of(request, parts.site.proxies)
    doors.check_origin(request, scheme)
    security.refuse_encoded(request)
    caller = await doors.enter(request, parts, await page.session(), route)
    if caller:
        trail.account = caller.account.id
    if caller and caller.door is Door.PAGE and not route.form:
        doors.check_form_token(request, page, request.headers.get("X-CSRF-Token"))
    query = models.read_query(route.query or models.Query, request.query.items())
    body = await _body(route, request, page)
    call = Call(
        *(parts, trail.peer, caller, page, request.match_info, query, body),
        preconditions=security.preconditions(request),
        host=security.host_name(request.headers.get("Host", "")),
    )
    try:
        async with asyncio.timeout(limits.handler_s + route.waits_s):
            given = await route.handler(call)
    except TimeoutError as error:
        raise StorageBusy("the server is busy", after_s=limits.handler_s) from error
    return replies.response_to(request, given if isinstance(given, Reply) else Reply(given))


async def _body(route: Route[Any, Any], request: web.Request, page: Page) -> models.Body | None:
    if route.body is None:
        return None
    limit, patience_s = route.body_octets, request.app[PARTS].limits.body_s
    model: type[models.Body] = route.body
    if not route.form:
        octets = await security.read_json(request, limit=limit, patience_s=patience_s)
        return models.read_body(model, octets)
    fields = await security.read_form(request, limit=limit, patience_s=patience_s)
    doors.check_form_token(request, page, dict(fields).pop("csrf_token", None))
    return models.read_form(model, [each for each in fields if each[0] != "csrf_token"])


async def options(allow: str, _request: web.Request) -> web.StreamResponse:
    return web.Response(status=204, headers={"Allow": allow})
