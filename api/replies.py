"""What goes out for a request: its response or problem document, and its line in the log."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog
from aiohttp import web

from api import page_frame
from api.call import Blocks, Reply
from api.models import Answer
from api.problems import MEDIA_TYPE, Problem
from mail.errors import Failure
from net.limits import Peer

_RANGE = re.compile(r"bytes=([0-9]{0,12})-([0-9]{0,12})")

log = structlog.get_logger()


@dataclass(slots=True)
class Trail:
    """What the log will say about a request."""

    peer: Peer
    request_id: str
    began: float
    status: int | None = None
    account: int | None = None
    why: str | None = None  # the slug of a problem
    facts: dict[str, object] = field(default_factory=dict)
    cut: str | None = None  # why the connection was cut
    fault: BaseException | None = None  # that a person should look at
    fields: dict[str, str] = field(default_factory=dict)  # of the answer, whatever it is


TRAIL: Final = web.RequestKey("trail", Trail)


class Stream(web.StreamResponse):
    """A response whose body is read while it is sent."""

    def __init__(self, blocks: Blocks, headers: dict[str, str], *, status: int = 200) -> None:
        super().__init__(status=status, headers=headers)
        self.content_length = blocks.size
        self.blocks = blocks


def begin(request: web.Request, peer: Peer) -> Trail:
    """The trail of a request, with an id that its client may have chosen."""
    wished = request.headers.get("X-Request-Id", "")
    trail = Trail(
        peer=peer,
        request_id=wished if re.fullmatch("[A-Za-z0-9-]{1,64}", wished) else new_request_id(),
        began=asyncio.get_running_loop().time(),
    )
    # aiohttp runs each request in a context of its own.
    structlog.contextvars.bind_contextvars(request_id=trail.request_id)
    request[TRAIL] = trail
    return trail


def new_request_id() -> str:
    return secrets.token_hex(8)


def response_to(request: web.Request, reply: Reply) -> web.StreamResponse:
    body = reply.body.octets() if isinstance(reply.body, Answer) else reply.body
    etag = reply.etag
    if reply.versioned and isinstance(reply.body, Answer):
        etag = reply.body.tag
    headers = dict(reply.headers)
    if etag is not None:
        headers["ETag"] = f'"{etag}"'
        known = {each.value for each in request.if_none_match or ()}
        if request.method in ("GET", "HEAD") and known & {etag, "*"}:
            return web.Response(status=304, headers=headers)
    if body is None:
        return web.Response(status=204, headers=headers)
    headers["Content-Type"] = reply.content_type
    if isinstance(body, Blocks):
        return _stream(request, body, headers)
    return web.Response(status=reply.status, body=body, headers=headers)


def _stream(request: web.Request, blocks: Blocks, headers: dict[str, str]) -> Stream:
    """All of it, or the one range that was asked for (RFC 9110 section 14).

    Several ranges at once, which are ever so many small answers, are answered with all of it.
    """
    headers["Accept-Ranges"] = "bytes"
    wanted = _RANGE.fullmatch(request.headers.get("Range", ""))
    unchanged = request.headers.get("If-Range", headers.get("ETag")) == headers.get("ETag")
    if request.method != "GET" or not wanted or not unchanged or not (wanted[1] or wanted[2]):
        return Stream(blocks, headers)
    size = blocks.size
    if wanted[1]:
        first, last = int(wanted[1]), min(int(wanted[2] or size), size - 1)
    else:
        first, last = max(size - int(wanted[2]), 0), size - 1
    if wanted[1] and wanted[2] and int(wanted[1]) > int(wanted[2]):
        return Stream(blocks, headers)  # no range at all
    if first > last:
        raise Problem("range-not-satisfiable", headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    count = last - first + 1
    part = Blocks(count, partial(_cut_out, blocks, first, count))
    return Stream(part, headers, status=206)


async def _cut_out(blocks: Blocks, first: int, count: int) -> AsyncIterator[bytes]:
    async for block in blocks.read():
        part = block[first : first + count]
        first = max(first - len(block), 0)
        count -= len(part)
        if part:
            yield part
        if not count:
            break


def refusal(request: web.Request, problem: Problem) -> web.StreamResponse:
    """A problem document; a page for a browser that asked for one."""
    trail = request[TRAIL]
    trail.why = problem.slug
    if _shows_pages(request):
        if (place := _elsewhere(request, problem)) is not None:
            return web.Response(status=303, headers={"Location": place})
        body, headers = page_frame.refusal(problem, trail.request_id)
        return web.Response(
            status=problem.status, body=body, headers=problem.headers | dict(headers)
        )
    return web.Response(
        status=problem.status,
        body=problem.document(instance=request.rel_url.raw_path, request_id=trail.request_id),
        headers=problem.headers | {"Content-Type": MEDIA_TYPE},
    )


def _shows_pages(request: web.Request) -> bool:
    page = not request.path.startswith("/api/") or request.path.endswith("/body")
    return page and "text/html" in request.headers.get("Accept", "")


def _elsewhere(request: web.Request, problem: Problem) -> str | None:
    """Where a browser can mend it."""
    if problem.slug == "not-signed-in":
        return "/login"
    return "/password" if problem.more.get("change_password") else None


async def dress(request: web.Request, response: web.StreamResponse) -> None:
    """Signal of aiohttp, which has put its name and version into every response by then."""
    response.headers.popall("Server", None)
    trail = request[TRAIL]
    for name, value in (header_fields(trail.request_id) | trail.fields).items():
        response.headers.setdefault(name, value)


def header_fields(request_id: str) -> dict[str, str]:
    """Those of every answer."""
    return {
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Request-Id": request_id,
    }


async def send(request: web.Request, response: web.StreamResponse, *, stall_s: float) -> None:
    """Sends all of it or cuts the connection, so that no part can be taken for the whole.

    A client that takes nothing for `stall_s` is not waited for.
    """
    if request.writer.output_size:
        return cut(request, "fault")  # that came after a part of another response
    trail = request[TRAIL]
    trail.status = response.status
    try:
        async with asyncio.timeout(stall_s) as deadline:
            await response.prepare(request)
            if isinstance(response, Stream) and request.method != "HEAD":
                async for block in response.blocks.read():
                    await response.write(block)
                    deadline.reschedule(asyncio.get_running_loop().time() + stall_s)
            await response.write_eof()
    except TimeoutError:
        cut(request, "write stall")
    except ConnectionError:
        cut(request, "lost")
    except Failure as failure:
        trail.fault, trail.facts = failure, failure.facts
        cut(request, "message broken off")


def cut(request: web.Request, why: str) -> None:
    request[TRAIL].cut = why
    if request.transport:
        request.transport.abort()


def log_line(request: web.Request) -> None:
    """`request_id` comes from the context, as in every line that a request causes."""
    trail = request[TRAIL]
    resource = request.match_info.route.resource
    fields = {
        "method": request.method,
        "path": resource.canonical if resource else None,
        "status": trail.status,
        "ms": round((asyncio.get_running_loop().time() - trail.began) * 1000),
        "peer": trail.peer.ip,
        "account": trail.account,
        "why": trail.why,
        "cut": trail.cut,
        "facts": trail.facts or None,
        "exc_info": trail.fault,
    }
    level = log.error if trail.fault else log.warning if (trail.status or 0) >= 500 else log.info
    level("api.request", **{name: value for name, value in fields.items() if value is not None})
