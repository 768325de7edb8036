"""Secrets made here, which people copy and nobody can guess: so no slow hash is needed for them.

What is kept of one, and found by, is a hash under a key that is a file in the data folder: the
database alone does not tell which secrets it would take. `kind` keeps one kind of secret from being
taken for another.
"""

from __future__ import annotations

import hmac
import secrets

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: nothing in it is read for another
_READ = str.maketrans("oil", "011", " -")

RECOVERY = (5, 5, 5)  # 75 bits
INVITE = (4, 4, 4, 4)  # 80 bits
SETUP = (4, 4, 4, 4)
START = (4, 4, 4)  # 60 bits, for ten minutes, from this machine alone
TOKEN_PREFIX = "rst_"  # noqa: S105 - what an API token begins with
TOKEN_CHARACTERS = 26
RECOVERY_CODES = 10


def generate(groups: tuple[int, ...]) -> str:
    """Random base-32 characters, five bits each, as they are shown."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(size)) for size in groups)


def read(text: str, groups: tuple[int, ...]) -> str | None:
    """The characters of such a code as somebody typed it; None for what cannot be one.

    Case, spaces and hyphens do not count; `o` is read as 0, `i` and `l` as 1.
    """
    characters = text.lower().translate(_READ)
    fits = len(characters) == sum(groups) and set(characters) <= set(ALPHABET)
    return characters if fits else None


def keyed(key: bytes, kind: str, text: str) -> bytes:
    """The hash to keep and to find it by. Any text has one."""
    return hmac.digest(key, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), "sha256")


def api_token() -> str:
    return TOKEN_PREFIX + generate((TOKEN_CHARACTERS,))


def token_hash(key: bytes, token: str) -> str:
    return keyed(key, "token", token.removeprefix(TOKEN_PREFIX)).hex()


def recovery_codes(key: bytes) -> tuple[list[str], tuple[str, ...]]:
    """Ten, as they are shown, and their hashes."""
    shown = [generate(RECOVERY) for _ in range(RECOVERY_CODES)]
    return shown, tuple(recovery_hash(key, code) for code in shown)


def recovery_hash(key: bytes, text: str) -> str:
    return keyed(key, "recovery", read(text, RECOVERY) or "").hex()


def invite_hash(key: bytes, text: str) -> bytes:
    return keyed(key, "invite", read(text, INVITE) or "")


def setup_code(key: bytes) -> str:
    """That which makes the first administrator: one for each installation, the same in each of its
    processes, and good for nothing once there is an administrator.
    """
    octets = keyed(key, "setup", "")
    characters = "".join(ALPHABET[octet & 31] for octet in octets[: sum(SETUP)])
    starts = range(0, len(characters), SETUP[0])
    return "-".join(characters[at : at + SETUP[0]] for at in starts)


def is_setup_code(key: bytes, text: str) -> bool:
    given = read(text, SETUP) or ""
    return hmac.compare_digest(given, setup_code(key).replace("-", ""))
