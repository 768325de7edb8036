"""Browser sessions: aiohttp-session over the store.

The cookie holds a random id and nothing else; the store knows its hash. An id that the store does
not know ties the form before the sign-in to its browser, and becomes nothing more: whoever signs in
gets a new one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from aiohttp import web
from aiohttp_session import AbstractStorage, Session, get_session, new_session

from auth.login import SignedIn
from auth.scopes import line, of_role
from mail.errors import Failure, NotFound
from net.limits import Peer
from store.records import LoginSession, NewSession, SessionKind
from store.sessions import Sessions
from store.store import Store

# aiohttp-session keeps its own under plain names, which aiohttp advises against.
warnings.filterwarnings("ignore", category=web.NotAppKeyWarning, module="aiohttp_session")

SECURE: Final = "__Host-restante"  # RFC 6265bis section 4.1.3.2: from this host alone, over TLS
LOCAL: Final = "restante_local"
LIFE: Final = timedelta(days=30)
DEVICE_CHARACTERS: Final = 100
_ID = re.compile(r"[A-Za-z0-9_-]{43}")
_ROLE = "role"  # at the sign-in: another one now ends the session

Client = Callable[[web.BaseRequest], tuple[Peer, str]]
"""Who a request comes from, and by which scheme."""


class Storage(AbstractStorage):
    """Keeps sessions in the store. A session's identity is its LoginSession; that of one which
    begins with this answer is the SignedIn.
    """

    def __init__(self, store: Store, client: Client) -> None:
        super().__init__(cookie_name=SECURE, max_age=None)
        self._sessions = store.sessions
        self._client = client

    async def load_session(self, request: web.Request) -> Session:
        cookie = cookie_of(request, self._client)
        kept = await self._sessions.of_cookie(_hash(cookie)) if cookie else None
        data = json.loads(kept.data) if kept and kept.data else {}
        if kept is None or data.get(_ROLE) != kept.account.role:
            return Session(None, data=None, new=True)
        with suppress(Failure):  # nobody's request depends on it
            await self._sessions.note_seen(kept)
        created = int(kept.created_at.timestamp())
        return Session(kept, data={"created": created, "session": data}, new=False)

    async def save_session(
        self, request: web.Request, response: web.StreamResponse, session: Session
    ) -> None:
        found = session.identity
        if isinstance(found, SignedIn):
            cookie = await self._begin(request, found, json.dumps(dict(session)))
            name, secure = cookie_name(request, self._client)
            response.set_cookie(name, cookie, httponly=True, secure=secure, samesite="Lax")
        elif isinstance(found, LoginSession) and session.empty:
            await _end(self._sessions, found)
            name, secure = cookie_name(request, self._client)
            response.del_cookie(name, httponly=True, secure=secure, samesite="Lax")
        elif isinstance(found, LoginSession):
            await self._sessions.keep(found, json.dumps(dict(session)))

    async def _begin(self, request: web.Request, signed_in: SignedIn, data: str) -> str:
        cookie = secrets.token_urlsafe(32)
        peer, _ = self._client(request)
        new = NewSession(
            SessionKind.PAGE,
            _hash(cookie),
            peer.ip,
            LIFE,
            line(of_role(signed_in.account.role)),
            device=request.headers.get("User-Agent", "")[:DEVICE_CHARACTERS],
            data=data,
        )
        await self._sessions.begin(signed_in.account, signed_in.credential, new)
        return cookie


class Page:
    """The browser session of one request, if there is one."""

    def __init__(self, request: web.Request, client: Client, key: bytes) -> None:
        self._request = request
        self._client = client
        self._key = key

    async def session(self) -> LoginSession | None:
        """Of the cookie, when it still lasts."""
        found = (await get_session(self._request)).identity
        return found if isinstance(found, LoginSession) else None

    async def sign_in(self, signed_in: SignedIn) -> None:
        """The answer gets a new cookie; the session that was there before ends."""
        if before := await self.session():
            await _end(self._request.app[STORE].sessions, before)
        session = await new_session(self._request)
        session.set_new_identity(signed_in)
        session[_ROLE] = signed_in.account.role

    async def sign_out(self) -> None:
        (await get_session(self._request)).invalidate()

    def form_token(self) -> tuple[str, dict[str, str]]:
        """What a form must send back, and the fields of the answer that tie it to this browser."""
        cookie, fields = cookie_of(self._request, self._client), {}
        if cookie is None:
            cookie = secrets.token_urlsafe(32)
            name, secure = cookie_name(self._request, self._client)
            flags = "; Secure" if secure else ""
            fields["Set-Cookie"] = f"{name}={cookie}; HttpOnly; Path=/; SameSite=Lax{flags}"
        return self._token(cookie), fields

    def is_form_token(self, token: str) -> bool:
        cookie = cookie_of(self._request, self._client)
        given = token.encode("utf-8", "surrogateescape")
        return cookie is not None and hmac.compare_digest(self._token(cookie).encode(), given)

    def _token(self, cookie: str) -> str:
        return hmac.digest(self._key, b"form\0" + cookie.encode(), "sha256").hex()


STORE: Final = web.AppKey("store", Store)


async def _end(sessions: Sessions, found: LoginSession) -> None:
    with suppress(NotFound):  # another request has ended it meanwhile
        await sessions.end(found.account, found.id)


def cookie_name(request: web.BaseRequest, client: Client) -> tuple[str, bool]:
    """And whether it goes over TLS alone: always, but for a browser on this machine."""
    peer, scheme = client(request)
    secure = scheme == "https" or not peer.address.is_loopback
    return (SECURE if secure else LOCAL), secure


def cookie_of(request: web.BaseRequest, client: Client) -> str | None:
    """The id in the cookie, if it has the shape of one."""
    cookie = request.cookies.get(cookie_name(request, client)[0], "")
    return cookie if _ID.fullmatch(cookie) else None


def _hash(cookie: str) -> bytes:
    return hashlib.sha256(b"page\0" + cookie.encode()).digest()
