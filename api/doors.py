"""Who asks, from where, by which door, and how often: all that is known before a route's handler.

What does not fit raises `Problem`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web

from api.call import ApiParts, Caller, Door
from api.page_session import Page
from api.problems import Problem
from api.routes import Access, Route, Rule
from auth.codes import TOKEN_PREFIX, token_hash
from auth.login import allowed
from auth.scopes import Scope, of_line, of_role
from mail.errors import Failure, NotPermitted
from net.limits import Network, Peer
from net.rates import WINDOW_S, Taken
from store.records import LoginSession

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
SIGN_IN_PATHS: Final = frozenset(
    {
        *("/api/auth/login", "/api/auth/register", "/api/auth/recover"),
        *("/login", "/setup", "/register", "/recover"),
    }
)
PROBES: Final = ("/healthz", "/readyz", "/metrics")
PASSWORD_PATH: Final = "/api/auth/password"  # noqa: S105 - a path
# What somebody may still do who must change the password first.
WHILE_IT_MUST_CHANGE: Final = (PASSWORD_PATH, "/password", "/logout")
FORWARDED_FOR, FORWARDED_PROTO = "X-Forwarded-For", "X-Forwarded-Proto"


def client_of(request: web.BaseRequest, proxies: Sequence[Network]) -> tuple[Peer, str]:
    """The client and the scheme it used: a trusted proxy is asked, and those before it in turn."""
    peer = Peer.of(request.get_extra_info("peername"))
    if not peer.within(proxies):
        return peer, request.scheme
    hops = ",".join(request.headers.getall(FORWARDED_FOR, [])).split(",")
    for hop in reversed(hops):
        try:
            peer = Peer(str(ipaddress.ip_address(hop.strip())), 0)
        except ValueError:
            break
        if not peer.within(proxies):
            break
    told = request.headers.get(FORWARDED_PROTO, request.scheme).strip().lower()
    return peer, "https" if told == "https" else "http"


def check_way(request: web.BaseRequest, proxies: Sequence[Network]) -> bool:
    """Whether it came in a way that it may. Plain HTTP is for this machine and trusted proxies.

    Raises Problem for a proxy that nobody trusts: its clients would all count as one, and that one
    as this machine.
    """
    peer = Peer.of(request.get_extra_info("peername"))
    if request.scheme == "https" or peer.within(proxies):
        return True
    if peer.address.is_loopback and FORWARDED_FOR in request.headers:
        raise Problem("proxy-not-trusted", "Name the proxy in api.trusted_proxies.")
    return peer.address.is_loopback


def check_origin(request: web.BaseRequest, scheme: str) -> None:
    """Browsers say which page a request comes from; what is no browser says nothing."""
    ours = f"{scheme}://{request.headers.get('Host', '')}".lower()
    origin = request.headers.get("Origin", ours).lower()
    site = request.headers.get("Sec-Fetch-Site", "none")
    if request.method not in SAFE_METHODS and (
        origin != ours or site not in ("same-origin", "none")
    ):
        raise Problem("csrf-failed")


async def charge(
    request: web.BaseRequest, parts: ApiParts, peer: Peer, session: LoginSession | None
) -> tuple[str, str, Taken] | None:
    """Counts the request in the class that it belongs to; None where nothing is counted."""
    kind, key = _class_of(request, peer, session)
    if kind != "page" and peer.within(parts.site.exempt):
        return None
    if request.path in PROBES and peer.address.is_loopback:
        return None
    taken = await parts.rates.take(kind, key)
    return (kind, key, taken) if taken else None


def _class_of(
    request: web.BaseRequest, peer: Peer, session: LoginSession | None
) -> tuple[str, str]:
    if request.method == "POST" and request.path in SIGN_IN_PATHS:
        return "auth", peer.key
    if session and "Authorization" not in request.headers:
        return "page", str(session.id)
    return ("api" if request.path.startswith("/api/") else "general"), peer.key


def rate_fields(kind: str, taken: Taken) -> dict[str, str]:
    """draft-ietf-httpapi-ratelimit-headers."""
    return {
        "RateLimit-Policy": f'"{kind}";q={taken.limit};w={WINDOW_S}',
        "RateLimit": f'"{kind}";r={taken.left};t={taken.reset_s}',
    }


def too_many(kind: str, taken: Taken, *, now: datetime) -> Problem:
    back = (now + timedelta(seconds=taken.wait_s)).astimezone(UTC)
    return Problem(
        "rate-limited",
        f"At most {taken.limit} requests of this kind are taken in {WINDOW_S // 60} minutes.",
        headers={"Retry-After": str(taken.wait_s)},
        more={
            "class": kind,
            "limit": taken.limit,
            "window_s": WINDOW_S,
            "retry_at": f"{back:%Y-%m-%dT%H:%M:%SZ}",
        },
    )


async def enter(
    request: web.BaseRequest,
    parts: ApiParts,
    page: LoginSession | None,
    route: Route[Any, Any],
) -> Caller | None:
    """Whoever the request shows itself to be of, once the route lets them; read anew each time."""
    peer, _ = client_of(request, parts.site.proxies)
    if not _asks_who(request, peer, page, route):
        return None
    if "Authorization" in request.headers:
        caller = await _bearer(request.headers["Authorization"], parts, peer)
    elif page:
        role = page.account.role
        caller = Caller(page.account, Door.PAGE, of_role(role), session=page)
    else:
        raise Problem("not-signed-in", "Send an access token: Authorization: Bearer <token>.")
    _permit(caller, route.access)
    if caller.account.must_change and request.path not in WHILE_IT_MUST_CHANGE:
        raise Problem(
            "not-permitted",
            f"Change the password first: POST {PASSWORD_PATH}.",
            more={"change_password": True},
        )
    return caller


def _asks_who(
    request: web.BaseRequest, peer: Peer, page: LoginSession | None, route: Route[Any, Any]
) -> bool:
    """Whether a credential is needed, or, where none is, was sent to be told more."""
    if route.access is Rule.NONE:
        return False
    spared = route.access is Rule.OPTIONAL or (route.local and peer.address.is_loopback)
    return not spared or "Authorization" in request.headers or page is not None


async def _bearer(header: str, parts: ApiParts, peer: Peer) -> Caller:
    """RFC 6750 section 2.1."""
    scheme, _, text = header.partition(" ")
    token = text.strip(" ")
    found = None
    if scheme.lower() == "bearer":
        found = await (_api_token if token.startswith(TOKEN_PREFIX) else _access_token)(
            token, parts, peer
        )
    if found is None:
        raise Problem("not-signed-in", "The token is not valid or has ended.")
    return found


async def _access_token(token: str, parts: ApiParts, _peer: Peer) -> Caller | None:
    try:
        claims = parts.tokens.read(token)
    except NotPermitted:
        return None
    session = await parts.store.sessions.read(claims.session_id)
    if session is None or session.account.id != claims.account_id:
        return None
    scopes = claims.scopes & of_line(session.scopes) & of_role(session.account.role)
    with suppress(Failure):  # nobody's request depends on it
        await parts.store.sessions.note_seen(session)
    return Caller(session.account, Door.LOGIN, scopes, session=session)


async def _api_token(token: str, parts: ApiParts, peer: Peer) -> Caller | None:
    found = await parts.store.tokens.find(token_hash(parts.secrets_key, token))
    if found is None:
        return None
    account, kept = found
    if not allowed(peer, kept.ip_allow):
        raise Problem("not-permitted", "This token may not be used from your address.")
    if parts.store.credentials.use_is_due(kept):
        parts.login.note_use(kept, peer)
    return Caller(
        account,
        Door.TOKEN,
        of_line(kept.scopes) & of_role(account.role),
        addresses=None if kept.addresses is None else frozenset(kept.addresses),
        until=kept.expires_at,
    )


def _permit(caller: Caller, access: Access) -> None:
    if access is Rule.SESSION and caller.door is Door.TOKEN:
        raise Problem("not-permitted", "This needs a sign-in with the password.")
    if isinstance(access, Scope) and access not in caller.scopes:
        raise Problem("scope-missing", f"This needs the scope {access}.")


def check_form_token(request: web.BaseRequest, page: Page, token: str | None) -> None:
    """What a browser session must show besides its cookie, to change anything."""
    if request.method not in SAFE_METHODS and not page.is_form_token(token or ""):
        raise Problem("csrf-failed", "Send the token of the page: X-CSRF-Token, or csrf_token.")
