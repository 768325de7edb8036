"""Keys of senders, made once, and dkimpy to sign with them: it shares no code with ours."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import dkim  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


@dataclass(frozen=True)
class Keys:
    """An RSA key for dkimpy, and what DNS has of it; an Ed25519 key in the same two forms."""

    pem: bytes
    record: str
    ed25519: bytes
    ed25519_record: str

    def sign(
        self,
        message: bytes,
        domain: str,
        *,
        selector: str = "s",
        names: Sequence[bytes] = (b"from",),
        forms: tuple[bytes, bytes] = (b"relaxed", b"simple"),
        length: bool = False,
        elliptic: bool = False,
    ) -> bytes:
        """The message with one more signature in front."""
        field: bytes = dkim.sign(
            message,
            selector.encode(),
            domain.encode(),
            self.ed25519 if elliptic else self.pem,
            canonicalize=forms,
            signature_algorithm=b"ed25519-sha256" if elliptic else b"rsa-sha256",
            include_headers=list(names),
            length=length,
        )
        return field + message


def rsa_pair(bits: int) -> tuple[bytes, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return pem, f"v=DKIM1; k=rsa; p={base64.b64encode(der).decode()}"


@pytest.fixture(scope="session")
def keys() -> Keys:
    return made_keys()


def made_keys() -> Keys:
    pem, record = rsa_pair(2048)
    key = ed25519.Ed25519PrivateKey.generate()
    raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    text = f"v=DKIM1; k=ed25519; p={base64.b64encode(public).decode()}"
    return Keys(pem, record, base64.b64encode(raw), text)
