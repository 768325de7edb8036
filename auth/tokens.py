"""Access tokens: JWT with HS256 (RFC 7519), each tied to a session row in the store."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt

from auth.scopes import Scope, line, of_line
from mail.errors import NotPermitted
from mail.ident import parse_row_id, row_id_text
from net.keyfile import write_new
from store.records import LoginSession

LIFE = timedelta(hours=1)
LEEWAY_S = 30
AUDIENCE = "restante-api"
KEY_OCTETS = 32
OLD = ".old"  # added to the name of a key that is not used for new tokens any more
_CLAIMS = {"iss", "aud", "sub", "sid", "scope", "iat", "exp", "jti"}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of itself; whether its session lasts is the store's to say."""

    session_id: int
    account_id: int
    scopes: frozenset[Scope]


def load_key(path: Path) -> bytes:
    """A key, made on first use with mode 0400. Raises ValueError for any other size."""
    if not path.exists():
        write_new(path, secrets.token_bytes(KEY_OCTETS), mode=0o400)
    key = path.read_bytes()
    if len(key) != KEY_OCTETS:
        raise ValueError(f"{path} must hold {KEY_OCTETS} octets; remove it to get a new one")
    return key


def load_keys(path: Path) -> tuple[bytes, ...]:
    """The key that signs; and behind it, while keys are changed, the one that did before: whoever
    renames `path` to its old name lets the tokens that are out live to their end.
    """
    old = path.with_name(path.name + OLD)
    return (load_key(path), load_key(old)) if old.exists() else (load_key(path),)


class Tokens:
    """The first of `keys` signs; a token of any of them is good."""

    def __init__(
        self, keys: Sequence[bytes], *, issuer: str, clock: Callable[[], datetime]
    ) -> None:
        self._keys = {key_id(key): key for key in keys}
        self._signer = key_id(keys[0])
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
                "scope": line(of_line(session.scopes)),
                "iat": now,
                "exp": now + LIFE,
                "jti": secrets.token_urlsafe(12),
            },
            self._keys[self._signer],
            algorithm="HS256",
            headers={"kid": self._signer},
        )

    def read(self, token: str) -> Claims:
        """Raises NotPermitted."""
        try:
            key = self._keys.get(jwt.get_unverified_header(token).get("kid", ""))
            if key is None:
                raise jwt.InvalidTokenError("no key of ours")
            claims = jwt.decode(
                token,
                key,
                algorithms=["HS256"],
                audience=AUDIENCE,
                issuer=self._issuer,
                # Times are compared below, by our own clock.
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
            return self._checked(claims)
        except (jwt.InvalidTokenError, RecursionError, TypeError, ValueError) as error:
            raise NotPermitted("the access token is not valid", why=str(error)) from error

    def _checked(self, claims: dict[str, Any]) -> Claims:
        if claims.keys() != _CLAIMS:
            raise jwt.InvalidTokenError("not the claims of a token of ours")
        if not all(isinstance(claims[name], str) for name in ("sub", "sid", "scope", "jti")):
            raise jwt.InvalidTokenError("a claim of another type")
        issued, expires = int(claims["iat"]), int(claims["exp"])
        now = self._clock().timestamp()
        if not issued - LEEWAY_S <= now < expires + LEEWAY_S:
            raise jwt.InvalidTokenError("not at this time")
        return Claims(
            parse_row_id(claims["sid"]), parse_row_id(claims["sub"]), of_line(claims["scope"])
        )


def key_id(key: bytes) -> str:
    """What a token's header calls it by."""
    return hashlib.sha256(b"kid\0" + key).hexdigest()[:8]
