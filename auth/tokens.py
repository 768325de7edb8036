"""Access tokens: JWT with HS256 (RFC 7519), each tied to a session row in the store."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import jwt

from mail.errors import NotPermitted
from mail.ident import parse_row_id, row_id_text
from net.keyfile import write_new
from store.records import LoginSession

LIFE = timedelta(hours=1)
LEEWAY_S = 30
AUDIENCE = "restante-api"
KEY_OCTETS = 32
_CLAIMS = {"iss", "aud", "sub", "sid", "iat", "exp", "jti"}


def load_key(path: Path) -> bytes:
    """The signing key, made on first use with mode 0400. Raises ValueError for any other size."""
    if not path.exists():
        write_new(path, secrets.token_bytes(KEY_OCTETS), mode=0o400)
    key = path.read_bytes()
    if len(key) != KEY_OCTETS:
        raise ValueError(f"{path} must hold {KEY_OCTETS} octets; remove it to get a new one")
    return key


class Tokens:
    def __init__(self, key: bytes, *, issuer: str, clock: Callable[[], datetime]) -> None:
        self._key = key
        self._issuer = issuer
        self._clock = clock

    def issue(self, session: LoginSession) -> str:
        """A token that lasts LIFE, or until the session ends."""
        now = self._clock()
        return jwt.encode(
            {
                "iss": self._issuer,
                "aud": AUDIENCE,
                "sub": row_id_text(session.account.id),
                "sid": row_id_text(session.id),
                "iat": now,
                "exp": now + LIFE,
                "jti": secrets.token_urlsafe(12),
            },
            self._key,
            algorithm="HS256",
        )

    def session_id(self, token: str) -> int:
        """The session that a token names. Raises NotPermitted; whether it lasts is the store's."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                audience=AUDIENCE,
                issuer=self._issuer,
                # Times are compared below, by our own clock.
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
            if claims.keys() != _CLAIMS:
                raise jwt.InvalidTokenError("not the claims of a token of ours")
            issued, expires = int(claims["iat"]), int(claims["exp"])
            now = self._clock().timestamp()
            if not issued - LEEWAY_S <= now < expires + LEEWAY_S:
                raise jwt.InvalidTokenError("not at this time")
            return parse_row_id(str(claims["sid"]))
        except (jwt.InvalidTokenError, TypeError, ValueError) as error:
            raise NotPermitted("the access token is not valid", why=str(error)) from error
