"""Style, script and the pages that say the same to everybody."""

from __future__ import annotations

from typing import Final

from api.call import Call, Reply
from api.models import Query
from api.page_frame import FIELDS, FILES, STATIC, framed
from api.problems import Problem

_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}
_YEAR_S: Final = 365 * 24 * 3600


async def static(call: Call[Query, None]) -> Reply:
    """GET /static/{version}/{name}: style and script; what has this name never changes."""
    name, version = call.path["name"], call.path["version"]
    octets = FILES.get(name)
    if octets is None or not STATIC.endswith(f"/{version}"):
        raise Problem("not-found")
    return Reply(
        octets,
        content_type=_TYPES[name.rpartition(".")[2]],
        headers={
            "Cache-Control": f"public, max-age={_YEAR_S}, immutable",
            "Cross-Origin-Resource-Policy": FIELDS["Cross-Origin-Resource-Policy"],
        },
    )


async def show_help(call: Call[Query, None]) -> Reply:
    """GET /help: keys, searches, and why there is no reply."""
    return await framed(call, "help.html", here="help")


async def menu(call: Call[Query, None]) -> Reply:
    """GET /menu: all places, for a narrow screen."""
    return await framed(call, "menu.html", here="menu")
