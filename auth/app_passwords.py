"""App passwords: 26 random base-32 characters, 130 bits, kept and found as a keyed hash.

Nobody can guess so many bits, so no slow hash is needed: a device that polls costs next to nothing.
The key is a file in the data folder; the database alone does not tell which secrets it would take.
"""

from __future__ import annotations

import hmac
import secrets

CHARACTERS = 26
GROUPS = (5, 5, 5, 5, 6)  # as it is shown
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: nothing in it is read for another
_READ = str.maketrans("oil", "011", " -")


def generate() -> str:
    """A new app password as it is shown, once."""
    characters = "".join(secrets.choice(_ALPHABET) for _ in range(CHARACTERS))
    starts = [sum(GROUPS[:n]) for n in range(len(GROUPS))]
    return "-".join(characters[at : at + size] for at, size in zip(starts, GROUPS, strict=True))


def keyed(secret: str, key: bytes) -> str | None:
    """The form to keep and to find it by; None for what cannot be an app password.

    Case, spaces and hyphens do not count; `o` is read as 0, `i` and `l` as 1.
    """
    characters = secret.lower().translate(_READ)
    if len(characters) != CHARACTERS or not set(characters) <= set(_ALPHABET):
        return None
    return hmac.digest(key, characters.encode("ascii"), "sha256").hex()
