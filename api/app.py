"""The REST API: requests of the table in `api.routes`, answered one by one.

IN        listening sockets; ApiParts through the constructor
OUT       JSON and messages; for everything else problem documents; one `api.request` line in the
          log for each request, `api.refused` for octets or a connection that never became one
MAY       whatever a handler does: sign in, read messages
NEVER     log a body, a secret or a query; tell a fault of ours in detail; let a response that broke
          off look complete
FAILS     towards the client only: a problem document, or a connection that is cut
RFC       9110, 9112 (HTTP), 9457 (problem documents), 6750 (bearer tokens), 8288 (Link)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from socket import socket
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from api import models, problems, replies, security
from api.call import ApiParts, Call, Reply
from api.connection import Connection
from api.problems import Problem
from api.replies import TRAIL
from api.routes import BODY_OCTETS, ROUTES, Access, Route
from mail.errors import Failure, StorageBusy
from net.accept import Listener

PARTS: Final = web.AppKey("parts", ApiParts)
ANY_HOST: Final = frozenset(route.path for route in ROUTES if route.any_host)


class ApiServer:
    """Started once, stopped once, in one event loop."""

    def __init__(self, parts: ApiParts) -> None:
        self._runner = web.AppRunner(build(parts))
        self._listener = Listener(
            lambda visit: Connection(self._server, parts, visit), limiters=(parts.connections,)
        )

    async def start(self, sockets: Sequence[socket]) -> None:
        """Serves on bound sockets, which are ours from here on."""
        await self._runner.setup()
        self._listener.start(sockets)

    async def stop(self, grace_s: float) -> None:
        """No new connections; idle ones are closed; what is under way has `grace_s` to end."""
        self._listener.close()
        self._server.pre_shutdown()
        await self._server.shutdown(grace_s / 2)  # it waits for this long twice
        await self._runner.cleanup()

    @property
    def _server(self) -> web.Server:
        assert self._runner.server is not None
        return self._runner.server


def build(parts: ApiParts) -> web.Application:
    """An application with the routes of the table."""
    app = web.Application(middlewares=[top], client_max_size=BODY_OCTETS)
    app[PARTS] = parts
    app.on_response_prepare.append(replies.dress)
    for path in dict.fromkeys(route.path for route in ROUTES):
        methods: dict[str, Handler] = {
            route.method: partial(perform, route) for route in ROUTES if route.path == path
        }
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
    trail = replies.begin(request)
    stall_s = request.app[PARTS].limits.write_stall_s
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
        replies.log_line(request)
    return response


async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the handler makes of it, or the problem document of what it raised."""
    try:
        if request.path not in ANY_HOST:
            security.check_host(request, request.app[PARTS].hostname)
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


async def perform(route: Route[Any, Any], request: web.Request) -> web.StreamResponse:
    """One row of the table: what is looked at before its handler, the handler, its answer."""
    parts = request.app[PARTS]
    limits, trail = parts.limits, request[TRAIL]
    security.check_origin(request)
    security.refuse_encoded(request)
    session = None
    if route.access is Access.SIGNED_IN:
        session = await security.signed_in(request, parts)
        trail.account = session.account.id
    query = models.read_query(route.query or models.Query, request.query.items())
    body = None
    if route.body:
        octets = await security.read_json(
            request, limit=route.body_octets, patience_s=limits.body_s
        )
        body = models.read_body(route.body, octets)
    call = Call(parts, trail.peer, session, request.match_info, query, body)
    try:
        async with asyncio.timeout(limits.handler_s):
            given = await route.handler(call)
    except TimeoutError as error:
        raise StorageBusy("the server is busy", after_s=limits.handler_s) from error
    return replies.response_to(request, given if isinstance(given, Reply) else Reply(given))


async def options(allow: str, _request: web.Request) -> web.StreamResponse:
    return web.Response(status=204, headers={"Allow": allow})
