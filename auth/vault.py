"""Secrets that must be read again, sealed with AES-256-GCM under a key that is a file.

A record's id is sealed in with it, so that no secret can be put in the place of another's.
"""

from __future__ import annotations

import base64
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_OCTETS = 12


class Unsealable(Exception):
    """Sealed under another key, for another record, or changed since."""


class Vault:
    """`key` has 32 octets."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, secret: bytes, *, record: int) -> str:
        nonce = secrets.token_bytes(NONCE_OCTETS)
        sealed = self._cipher.encrypt(nonce, secret, _bound(record))
        return base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, *, record: int) -> bytes:
        """Raises Unsealable."""
        try:
            octets = base64.b64decode(sealed, validate=True)
            nonce, sealed_octets = octets[:NONCE_OCTETS], octets[NONCE_OCTETS:]
            return self._cipher.decrypt(nonce, sealed_octets, _bound(record))
        except (InvalidTag, ValueError) as error:
            raise Unsealable("a sealed secret cannot be opened; is vault.key another?") from error


def _bound(record: int) -> bytes:
    return record.to_bytes(8, "big")
