"""Is it there, and what is it."""

from __future__ import annotations

from api.call import Call, Reply
from api.models import Query
from api.models_auth import Greeting
from auth.scopes import Scope


async def greet(call: Call[Query, None]) -> Greeting:
    """GET /api/: what this server is, and how one gets in."""
    return Greeting(
        name="Restante",
        registration=call.parts.site.registration,
        setup_needed=not await call.parts.store.accounts.has_admin(),
        scopes=list(Scope),
    )


async def alive(_call: Call[Query, None]) -> Reply:
    """GET /healthz: the process lives; nothing is touched."""
    return Reply(b"ok", content_type="text/plain; charset=utf-8")
