"""App passwords: 26 random base-32 characters, 130 bits, kept and found as a keyed hash.

Nobody can guess so many bits, so no slow hash is needed: a device that polls costs next to nothing.
"""

from __future__ import annotations

import hmac

from auth import codes

CHARACTERS = 26
GROUPS = (5, 5, 5, 5, 6)  # as it is shown


def generate() -> str:
    """A new app password as it is shown, once."""
    return codes.generate(GROUPS)


def keyed(secret: str, key: bytes) -> str | None:
    """The form to keep and to find it by; None for what cannot be an app password."""
    characters = codes.read(secret, GROUPS)
    if characters is None:
        return None
    return hmac.digest(key, characters.encode("ascii"), "sha256").hex()
