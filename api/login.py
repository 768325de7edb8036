"""Signing in and out, and making an account."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any, Final

from api.call import ApiParts, Call, Reply
from api.models import Query
from api.models_auth import (
    CodesLeft,
    Credentials,
    Logout,
    NewAccount,
    Recovery,
    Refresh,
    Registered,
    Renewed,
    SignedIn,
)
from api.problems import Problem
from api.users import detail
from auth import codes, login
from auth.scopes import line, of_line, of_role
from auth.tokens import LIFE
from auth.users import read_login
from mail.address import Address
from mail.errors import InviteInvalid
from mail.ident import parse_row_id, row_id_text
from store.records import LoginSession, NewSession, Registration, SessionKind

REFRESH_LIFE: Final = timedelta(days=30)


async def sign_in(call: Call[Query, Credentials]) -> SignedIn:
    """POST /api/auth/login: a session, an access token that names it, and one to renew it."""
    body, parts = call.body, call.parts
    signed_in = await check(call, body.totp.get_secret_value() if body.totp else None)
    given = of_role(signed_in.account.role)
    if body.scope is not None:
        if not of_line(body.scope) <= given:
            raise Problem("scope-missing", f"The account has the scopes {line(given)}.")
        given = of_line(body.scope)
    session, refresh_token = await _begin(call, signed_in, line(given), body.device or "")
    user = detail(await parts.store.profiles.get(signed_in.account.id))
    return SignedIn(**_renewed(parts, session, refresh_token), user=user)


async def check(call: Call[Query, Any], code: str | None) -> login.SignedIn:
    """Whose login and password the body has, and the code where one is asked for."""
    second = call.parts.second
    return await call.parts.login.check(
        call.body.login,
        call.body.password.get_secret_value(),
        call.peer,
        second=None if code is None else lambda account: second.accepts(account, code),
    )


async def register(call: Call[Query, Registered]) -> Reply:
    """POST /api/auth/register: an account for whom it is open, who is invited, or the first."""
    parts = call.parts
    signed_in, shown = await new_account(call)
    account = signed_in.account
    session, refresh_token = await _begin(call, signed_in, line(of_role(account.role)), "")
    user = detail(await parts.store.profiles.get(account.id))
    members = _renewed(parts, session, refresh_token)
    return Reply(NewAccount(**members, user=user, recovery_codes=shown), status=201)


async def new_account(call: Call[Query, Registered]) -> tuple[login.SignedIn, list[str]]:
    """Makes the account that is wished for; and its recovery codes, which are told this once."""
    body, parts = call.body, call.parts
    wish_by = await _right_to_register(call)
    name = read_login(body.login)
    address = Address.parse(body.address) if body.address else wish_by.get("address")
    secret = body.password.get_secret_value()
    known = (name, str(address), address.domain) if address else (name,)
    await parts.passwords.refuse_weak(secret, *known)
    shown, hashed = codes.recovery_codes(parts.secrets_key)
    wish = Registration(
        name,
        await parts.passwords.hash(secret),
        address,
        body.display_name or "",
        hashed,
        invite_id=wish_by.get("invite_id"),
        first=wish_by.get("first", False),
    )
    return login.SignedIn(*await parts.store.accounts.register(wish)), shown


async def _right_to_register(call: Call[Query, Registered]) -> dict[str, Any]:
    """By what right: with the set-up code, by an invitation, or because anybody may."""
    body, parts = call.body, call.parts
    if body.setup_code is not None:
        given = body.setup_code.get_secret_value()
        right = codes.is_setup_code(parts.secrets_key, given)
        if not right or await parts.store.accounts.has_admin():
            raise InviteInvalid("the set-up code is not valid")
        return {"first": True}
    if parts.site.registration == "closed":
        raise Problem("registration-closed", "Accounts here are made by the administrator.")
    if body.invite is not None:
        hashed = codes.invite_hash(parts.secrets_key, body.invite.get_secret_value())
        invite = await parts.store.invites.find(hashed)
        if invite is None:
            raise InviteInvalid("the invitation is not valid, or was used before")
        return {"invite_id": invite.id, "address": invite.address}
    if parts.site.registration == "invite":
        raise Problem("registration-closed", "Accounts here are made by invitation.")
    return {}


async def refresh(call: Call[Query, Refresh]) -> Renewed:
    """POST /api/auth/refresh: each refresh token is good once; the second use ends the session."""
    parts = call.parts
    name, _, secret = call.body.refresh_token.get_secret_value().partition(".")
    try:
        session_id = parse_row_id(name)
    except ValueError:
        raise Problem("session-ended") from None
    fresh = secrets.token_urlsafe(32)
    session = await parts.store.sessions.renew(
        session_id,
        codes.keyed(parts.secrets_key, "refresh", secret),
        codes.keyed(parts.secrets_key, "refresh", fresh),
        life=REFRESH_LIFE,
    )
    if session is None:
        raise Problem("session-ended", "Sign in again.")
    return Renewed(**_renewed(parts, session, f"{name}.{fresh}"))


async def _begin(
    call: Call[Query, Any], signed_in: login.SignedIn, scopes: str, device: str
) -> tuple[LoginSession, str]:
    """A session, and its first refresh token."""
    secret = secrets.token_urlsafe(32)
    new = NewSession(
        SessionKind.LOGIN,
        codes.keyed(call.parts.secrets_key, "refresh", secret),
        call.peer.ip,
        REFRESH_LIFE,
        scopes,
        device=device,
    )
    session = await call.parts.store.sessions.begin(signed_in.account, signed_in.credential, new)
    return session, f"{row_id_text(session.id)}.{secret}"


def _renewed(parts: ApiParts, session: LoginSession, refresh_token: str) -> dict[str, Any]:
    return {
        "access_token": parts.tokens.issue(session),
        "token_type": "Bearer",
        "expires_in": int(LIFE.total_seconds()),
        "refresh_token": refresh_token,
        "refresh_expires_in": int(REFRESH_LIFE.total_seconds()),
    }


async def sign_out(call: Call[Query, Logout]) -> Reply:
    """POST /api/auth/logout: ends the session, or with `everywhere` all of the account."""
    session, sessions = call.who.session, call.parts.store.sessions
    assert session is not None
    which = () if call.body.everywhere else (session.id,)
    await sessions.end(call.account, *which)
    return Reply(None)


async def recover(call: Call[Query, Recovery]) -> CodesLeft:
    """POST /api/auth/recover: a new password for a recovery code."""
    body, parts = call.body, call.parts
    new = body.new.get_secret_value()
    await parts.passwords.refuse_weak(new, body.login)
    left = await parts.login.recover(
        body.login, body.recovery_code.get_secret_value(), new, call.peer
    )
    return CodesLeft(recovery_codes_left=left)
