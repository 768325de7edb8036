"""Signing in."""

from __future__ import annotations

from typing import Literal

from api.call import Call
from api.models import Credentials, Query, SignedIn, User
from auth.tokens import LIFE
from mail.ident import row_id_text
from store.records import Account, Role

ROLES: dict[Role, Literal["user", "admin"]] = {Role.USER: "user", Role.ADMIN: "admin"}


def user(account: Account) -> User:
    return User(
        id=row_id_text(account.id),
        login=account.login,
        role=ROLES[account.role],
        created_at=account.created_at,
    )


async def sign_in(call: Call[Query, Credentials]) -> SignedIn:
    """POST /api/auth/login: a session, and an access token that names it."""
    parts = call.parts
    signed_in = await parts.login.check(
        call.body.login, call.body.password.get_secret_value(), call.peer
    )
    session = await parts.store.sessions.begin(
        signed_in.account, signed_in.credential, peer_ip=call.peer.ip, life=LIFE
    )
    return SignedIn(
        access_token=parts.tokens.issue(session),
        token_type="Bearer",  # noqa: S106 - the name of the scheme
        expires_in=int(LIFE.total_seconds()),
        user=user(signed_in.account),
    )
