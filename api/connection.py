"""The HTTP connection: admitted by our count, and without the pages that aiohttp writes.

Its page for octets that are no request holds these octets, and every one holds its version.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from api.call import ApiParts
from api.problems import MEDIA_TYPE, Problem
from api.replies import header_fields, new_request_id
from api.routes import BODY_OCTETS
from net.accept import Visit

HEADER_OCTETS: Final = 8190  # of a request line, and of one field
HEADER_FIELDS: Final = 64
# Since the last answer. One request fits, however large; a queue of large ones does not.
UNANSWERED_OCTETS: Final = BODY_OCTETS + HEADER_FIELDS * HEADER_OCTETS

log = structlog.get_logger()


class Connection(web.RequestHandler):
    """One client. A response that was not sent when aiohttp finishes it, never was in our hands."""

    def __init__(self, server: web.Server, parts: ApiParts, visit: Visit) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=parts.limits.idle_s,
            access_log=None,  # type: ignore[arg-type] # its way to say: none
            max_line_size=HEADER_OCTETS,
            max_field_size=HEADER_OCTETS,
            max_headers=HEADER_FIELDS,
            lingering_time=parts.limits.linger_s,
            auto_decompress=False,
        )
        self._parts = parts
        self._visit = visit
        self._peer = visit.peer
        self._unanswered = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        refused = self._visit.refused
        if refused is None:
            super().connection_made(transport)
            return
        self.transport = cast("asyncio.Transport", transport)
        retry = {"Retry-After": str(refused.retry_after_s)}
        self._refuse(Problem("rate-limited", refused.reason, headers=retry))
        self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._visit.leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unanswered += len(data)
        if self._unanswered <= UNANSWERED_OCTETS:
            super().data_received(data)
        elif self.transport:
            log.info("api.refused", peer=self._peer.ip, why="too many octets unanswered")
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A response for `finish_response` to replace; only its status counts."""
        if isinstance(exc, LineTooLong):
            return web.Response(status=431)
        if isinstance(exc, HttpProcessingError):
            return web.Response(status=400)
        if not isinstance(exc, ConnectionError):
            log.error("api.fault", peer=self._peer.ip, exc_info=exc)
        raise ConnectionResetError from exc

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Ours are sent by now. What is not: no request, or an Expect that aiohttp refused."""
        self._unanswered = 0
        if resp.prepared:
            return await super().finish_response(request, resp, start_time)
        self._refuse(Problem("header-too-large" if resp.status == 431 else "malformed-request"))
        return resp, True

    def _refuse(self, problem: Problem) -> None:
        """Answers outside of any request; the connection is closed next."""
        request_id = new_request_id()
        body = problem.document(instance=None, request_id=request_id)
        headers = problem.headers | header_fields(request_id)
        headers |= {
            "Content-Type": MEDIA_TYPE,
            "Content-Length": str(len(body)),
            "Connection": "close",
            "Date": f"{self._parts.clock():%a, %d %b %Y %H:%M:%S} GMT",
        }
        lines = (f"{name}: {value}\r\n" for name, value in headers.items())
        start = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n"
        if self.transport:
            self.transport.write((start + "".join(lines) + "\r\n").encode("ascii") + body)
        log.info(
            "api.refused",
            status=problem.status,
            peer=self._peer.ip,
            request_id=request_id,
            why=problem.slug,
        )
