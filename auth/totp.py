"""One-time codes of an authenticator app (RFC 6238, on RFC 4226): SHA-1, 30 seconds, six digits,
which is what every such app takes.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from urllib.parse import quote, urlencode

SECRET_OCTETS = 20  # RFC 4226 section 4: 160 bits are recommended
STEP_S = 30
DIGITS = 6
DRIFT_STEPS = 1  # RFC 6238 section 5.2: one to each side, for clocks that are off and slow hands


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_OCTETS)


def shown(secret: bytes) -> str:
    """As people type it into an app."""
    return base64.b32encode(secret).decode().rstrip("=")


def uri(secret: bytes, *, account: str, issuer: str) -> str:
    """What a QR code for the app holds."""
    label = quote(f"{issuer}:{account}", safe=":@")
    return f"otpauth://totp/{label}?" + urlencode({"secret": shown(secret), "issuer": issuer})


def code(secret: bytes, step: int) -> str:
    """RFC 4226 section 5.3, of the time step as counter."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    start = digest[-1] & 15
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def step_of(given: str, secret: bytes, *, now_s: float) -> int | None:
    """The time step that a code is of, near now; None for a wrong one. Spaces do not count."""
    digits = given.replace(" ", "").encode("utf-8", "surrogatepass")
    here = int(now_s) // STEP_S
    found = None
    for step in range(here - DRIFT_STEPS, here + DRIFT_STEPS + 1):
        if hmac.compare_digest(code(secret, step).encode(), digits):
            found = step
    return found
