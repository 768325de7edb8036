"""Who asks, from where, and with how many octets: all that is looked at before a handler runs.

Nothing here knows what a request is about. What does not fit raises `Problem`.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import math
import re
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl

from aiohttp import web

from api.call import Preconditions
from api.problems import Problem
from net.limits import Peer

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")

KIB: Final = 1024
JSON_DEPTH: Final = 32
JSON_MEMBERS: Final = 1000
JSON_INTEGER: Final = 2**53  # beyond it a JavaScript client reads another number than was sent

SEAL_OCTETS: Final = 16
FORM_FIELDS: Final = 20


def host_name(host: str) -> str:
    """Of a host that may have a port behind it; "" for what is none."""
    match = _HOST.fullmatch(host)
    return match["name"].lower() if match else ""


def check_host(request: web.BaseRequest, names: frozenset[str], peer: Peer) -> None:
    """A page of another site can reach us under its own name (DNS rebinding), not under ours."""
    name = host_name(request.headers.get("Host", ""))
    here = name in LOOPBACK_NAMES and peer.address.is_loopback
    if name not in names and not here:
        raise Problem("wrong-host")


def preconditions(request: web.BaseRequest) -> Preconditions:
    """A tag that is weak, or none at all, is no version of ours; If-Match then fails."""
    match = {tag.value for tag in request.if_match or () if not tag.is_weak}
    none_match = {tag.value for tag in request.if_none_match or ()}
    return Preconditions(
        frozenset(match) if "If-Match" in request.headers else None,
        frozenset(none_match) if "If-None-Match" in request.headers else None,
    )


def refuse_encoded(request: web.BaseRequest) -> None:
    """Nothing is unpacked for a stranger."""
    if "Content-Encoding" in request.headers:
        raise Problem("unsupported-media-type", "Send the body without a Content-Encoding.")


async def read_json(request: web.BaseRequest, *, limit: int, patience_s: float) -> bytes:
    """The octets of a body that is JSON within our limits (RFC 8259)."""
    if request.content_type != "application/json":
        raise Problem("unsupported-media-type", "Send application/json.")
    octets = await _read(request, limit=limit, patience_s=patience_s)
    try:
        _check_json(octets)
    except (ValueError, RecursionError):
        raise Problem(
            "malformed-request",
            f"The body is not JSON, or is beyond a limit: depth {JSON_DEPTH}, {JSON_MEMBERS}"
            " members, each name once, whole numbers to 2^53, no lone surrogates.",
        ) from None
    return octets


async def read_form(
    request: web.BaseRequest, *, limit: int, patience_s: float
) -> list[tuple[str, str]]:
    """The fields of a page's form."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise Problem("unsupported-media-type", "Send the form of the page.")
    octets = await _read(request, limit=limit, patience_s=patience_s)
    try:
        return parse_qsl(
            octets.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(octets),
            errors="strict",
            max_num_fields=FORM_FIELDS,
        )
    except ValueError:
        raise Problem("malformed-request", "The body is no form.") from None


async def _read(request: web.BaseRequest, *, limit: int, patience_s: float) -> bytes:
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    body = bytearray()
    began = asyncio.get_running_loop().time()
    try:
        while True:
            async with asyncio.timeout_at(began + patience_s + len(body) / KIB):
                block = await request.content.readany()
            if not block:
                break
            body += block
            if len(body) > limit:
                raise _too_large(limit)
    except TimeoutError:
        raise Problem("too-slow") from None
    except (web.RequestPayloadError, ConnectionError):
        raise Problem("malformed-request", "The body is not complete.") from None
    return bytes(body)


def _too_large(limit: int) -> Problem:
    return Problem("body-too-large", f"At most {limit} octets are taken here.")


def _check_json(octets: bytes) -> None:
    value = json.loads(
        octets.decode(),
        object_pairs_hook=_object,
        parse_int=_integer,
        parse_float=_real,
        parse_constant=_no_number,
    )
    if _members(value, 0) > JSON_MEMBERS:
        raise ValueError("too many members")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name is given twice")
    return members


def _integer(text: str) -> int:
    number = int(text)
    if abs(number) > JSON_INTEGER:
        raise ValueError("not exact everywhere")
    return number


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("too large")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _members(value: object, depth: int) -> int:
    """How many members there are in it. Raises ValueError for a depth or text beyond the limits."""
    match value:
        case str():
            value.encode()  # a lone surrogate cannot be
        case dict() | list() if depth == JSON_DEPTH:
            raise ValueError("too deep")
        case dict():
            return len(value) + sum(
                _members(name, depth) + _members(member, depth + 1)
                for name, member in value.items()
            )
        case list():
            return sum(_members(each, depth + 1) for each in value)
    return 0


def seal(key: bytes, position: bytes, scope: str) -> str:
    """A cursor: a place in one list. `scope` names the list, its filter and whose it is."""
    proof = hmac.digest(key, b"cursor\0" + scope.encode() + b"\0" + position, "sha256")
    return base64.urlsafe_b64encode(proof[:SEAL_OCTETS] + position).decode().rstrip("=")


def unseal(key: bytes, cursor: str, scope: str) -> bytes:
    """The position in a cursor that `seal` made for this scope."""
    try:
        position = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[SEAL_OCTETS:]
    except ValueError:
        raise Problem("cursor-mismatch") from None
    if not hmac.compare_digest(seal(key, position, scope).encode(), cursor.encode()):
        raise Problem("cursor-mismatch")
    return position
