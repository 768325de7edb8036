"""What describes the API: made from the table of routes, and so imported after it."""

from __future__ import annotations

from collections.abc import Mapping

from api.call import Call, Reply
from api.models import Query, tag_of
from api.problems import Problem

HTML = "text/html; charset=utf-8"


async def openapi(_call: Call[Query, None]) -> Reply:
    """GET /api/openapi.json: this, for programs."""
    from api import description

    octets = description.octets()
    return Reply(octets, etag=tag_of(octets))


async def docs(_call: Call[Query, None]) -> Reply:
    """GET /api/docs: this, for people, with an example of each."""
    from api import manual

    return _html(manual.docs(), manual.HEADERS)


async def problem(call: Call[Query, None]) -> Reply:
    """GET /problems/{slug}: what a problem means, and what to do about it."""
    from api import manual

    try:
        octets = manual.problem(call.path["slug"])
    except KeyError:
        raise Problem("not-found") from None
    return _html(octets, manual.HEADERS)


def _html(octets: bytes, headers: Mapping[str, str]) -> Reply:
    return Reply(octets, content_type=HTML, etag=tag_of(octets), headers=headers)
