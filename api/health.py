"""Is it there, and what is it."""

from __future__ import annotations

from api.call import Call, Reply
from api.models import Greeting, Query


async def greet(_call: Call[Query, None]) -> Greeting:
    """GET /api/"""
    return Greeting(name="Restante")


async def alive(_call: Call[Query, None]) -> Reply:
    """GET /healthz: the process lives; nothing is touched."""
    return Reply(b"ok", content_type="text/plain; charset=utf-8")
