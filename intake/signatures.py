"""Signatures over a message: reading, canonical forms and checking (RFC 6376, 8463, 8301).

Pure. DKIM and ARC (`intake/chain.py`) share it. The body is gone through once for each of its two
canonical forms, in blocks, however many signatures there are: between blocks a thread gives way.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mail.address import DomainName, parse_domain
from mail.errors import BadAddress

Outcome = Literal["pass", "fail", "none", "policy", "permerror", "temperror"]
Canon = Literal["simple", "relaxed"]

KEY_BITS = range(1024, 4097)  # RFC 8301 section 3.2; a longer one costs too much
RECORD_OCTETS = 4096  # in DNS; the longest key takes a fifth of it
BLOCK_OCTETS = 64 * 1024

_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_SPACES = re.compile(rb"[ \t\r\n]+")
_FWS = re.compile(rb"[ \t\r\n]+")
_TAG = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_B_TAG = re.compile(rb"(?:(?<=;)|\A)([ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_SELECTOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_NUMBER = re.compile(rb"[0-9]{1,18}")


class Refused(Exception):
    """A signature that does not count; `why` is one of few constant texts."""

    def __init__(self, outcome: Outcome, why: str) -> None:
        super().__init__(why)
        self.outcome: Outcome = outcome
        self.why = why


@dataclass(frozen=True, slots=True)
class Field:
    """One header field as it came, without its last CRLF."""

    name: bytes  # lower case, without white space
    octets: bytes

    @property
    def value(self) -> bytes:
        return self.octets.partition(b":")[2]

    def canonical(self, form: Canon) -> bytes:
        """RFC 6376 section 3.4.1 and 3.4.2, without the last CRLF."""
        if form == "simple":
            return self.octets
        return self.name + b":" + _SPACES.sub(b" ", self.value).strip(b" ")


def fields_of(header: bytes, most: int) -> list[Field]:
    """The first fields of a canonical header block; lines that are none are left out."""
    found = []
    at = 0
    for end in _FIELD_END.finditer(header):
        octets = header[at : end.start()]
        at = end.end()
        name, colon, _ = octets.partition(b":")
        if colon:
            found.append(Field(name.rstrip(b" \t").lower(), octets))
        if len(found) == most:
            break
    return found


def tags_of(value: bytes) -> dict[bytes, bytes]:
    """Section 3.2: `tag=value;`. Raises Refused."""
    tags: dict[bytes, bytes] = {}
    parts = value.split(b";")
    if not parts[-1].strip(b" \t\r\n"):
        parts.pop()
    for part in parts:
        name, equals, text = part.partition(b"=")
        name = name.strip(b" \t\r\n")
        if not equals or not _TAG.fullmatch(name) or name in tags:
            raise Refused("permerror", "syntax of the tags")
        tags[name] = text.strip(b" \t\r\n")
    return tags


@dataclass(frozen=True, slots=True)
class Signature:
    """What one signature field says. `domain` and `selector` are safe to show."""

    field: Field
    domain: DomainName
    selector: str
    algorithm: Literal["rsa-sha256", "ed25519-sha256"]
    value: bytes
    body_hash: bytes = b""
    header_form: Canon = "simple"
    body_form: Canon = "simple"
    names: tuple[bytes, ...] = ()
    length: int | None = None
    identity: str = ""  # the domain of i=
    until: int | None = None

    @property
    def key_name(self) -> str:
        return f"{self.selector}._domainkey.{self.domain}"


def basics(field: Field, tags: dict[bytes, bytes]) -> Signature:
    """The tags that every kind of signature has. Raises Refused."""
    try:
        algorithm = tags[b"a"].decode("ascii").lower()
        domain = parse_domain(tags[b"d"].decode("utf-8"))
        selector = tags[b"s"].decode("ascii")
        value = _decoded(tags[b"b"])
    except KeyError as error:
        raise Refused("permerror", "a tag is missing") from error
    except (BadAddress, UnicodeDecodeError) as error:
        raise Refused("permerror", "syntax of a tag") from error
    if not _SELECTOR.fullmatch(selector):
        raise Refused("permerror", "syntax of a tag")
    if algorithm == "rsa-sha1":
        raise Refused("policy", "rsa-sha1 is not taken")  # RFC 8301 section 3.1
    if algorithm not in ("rsa-sha256", "ed25519-sha256"):
        raise Refused("permerror", "algorithm not known")
    return Signature(field, domain, selector, algorithm, value)  # type: ignore[arg-type]


def whole(field: Field, tags: dict[bytes, bytes]) -> Signature:
    """A signature over header fields and body: DKIM-Signature, ARC-Message-Signature."""
    known = basics(field, tags)
    if b"bh" not in tags or b"h" not in tags:
        raise Refused("permerror", "a tag is missing")
    forms = tags.get(b"c", b"simple/simple").split(b"/")
    if len(forms) > 2 or not {*forms} <= {b"simple", b"relaxed"}:
        raise Refused("permerror", "canonical form not known")
    for name in (b"l", b"t", b"x"):
        if name in tags and not _NUMBER.fullmatch(tags[name]):
            raise Refused("permerror", "syntax of a tag")
    if b"t" in tags and b"x" in tags and int(tags[b"x"]) < int(tags[b"t"]):
        raise Refused("permerror", "it ends before it begins")
    names = tuple(_FWS.sub(b"", name).lower() for name in tags[b"h"].split(b":"))
    return Signature(
        field,
        known.domain,
        known.selector,
        known.algorithm,
        known.value,
        body_hash=_decoded(tags[b"bh"]),
        header_form="relaxed" if forms[0] == b"relaxed" else "simple",
        body_form="relaxed" if forms[1:] == [b"relaxed"] else "simple",
        names=names,
        length=int(tags[b"l"]) if b"l" in tags else None,
        until=int(tags[b"x"]) if b"x" in tags else None,
    )


def _decoded(value: bytes) -> bytes:
    try:
        return base64.b64decode(_FWS.sub(b"", value), validate=True)
    except binascii.Error as error:
        raise Refused("permerror", "syntax of a tag") from error


def dkim_signature(field: Field) -> Signature:
    """RFC 6376 section 6.1.1. Raises Refused."""
    tags = tags_of(field.value)
    if tags.get(b"v") != b"1":
        raise Refused("permerror", "version not known")
    found = whole(field, tags)
    if b"from" not in found.names:
        raise Refused("permerror", "From is not signed")
    methods = tags.get(b"q", b"dns/txt").split(b":")
    if b"dns/txt" not in [method.strip(b" \t\r\n") for method in methods]:
        raise Refused("permerror", "no way to the key")
    if b"i" not in tags:
        return found
    try:
        identity = parse_domain(tags[b"i"].rpartition(b"@")[2].decode("utf-8"))
    except (BadAddress, UnicodeDecodeError) as error:
        raise Refused("permerror", "syntax of a tag") from error
    if identity != found.domain and not identity.endswith(f".{found.domain}"):
        raise Refused("permerror", "its identity is not of its domain")
    return replace(found, identity=identity)


Key = rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def key_of(records: Sequence[bytes], signature: Signature) -> Key:
    """RFC 6376 sections 3.6.1 and 6.1.2, from the TXT records of `key_name`. Raises Refused."""
    if not records:
        raise Refused("permerror", "no key")
    if len(records[0]) > RECORD_OCTETS:
        raise Refused("permerror", "the record of the key is too long")
    tags = tags_of(records[0].strip(b" \t\r\n"))
    kind, hashing = signature.algorithm.split("-")
    if b"v" in tags and (tags[b"v"] != b"DKIM1" or next(iter(tags)) != b"v"):
        raise Refused("permerror", "version of the key not known")
    if b"p" not in tags:
        raise Refused("permerror", "syntax of the key")
    if not tags[b"p"]:
        raise Refused("fail", "the key was revoked")
    if tags.get(b"k", b"rsa") != kind.encode():
        raise Refused("permerror", "the key is of another algorithm")
    for tag, wanted in ((b"h", {hashing.encode()}), (b"s", {b"*", b"email"})):
        listed = {name.strip(b" \t\r\n") for name in tags[tag].split(b":")} if tag in tags else None
        if listed is not None and not listed & wanted:
            raise Refused("permerror", "the key is not for this")
    flags = {flag.strip(b" \t\r\n") for flag in tags.get(b"t", b"").split(b":")}
    if b"s" in flags and signature.identity not in ("", signature.domain):
        raise Refused("permerror", "the key is not for this")
    octets = _decoded(tags[b"p"])
    try:
        if kind == "ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(octets)
        key = load_der_public_key(octets)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Refused("permerror", "the key cannot be used") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise Refused("permerror", "the key is of another algorithm")
    if key.key_size not in KEY_BITS:
        raise Refused("policy", "the key is too short or too long")
    return key


def verify(key: Key, signature: Signature, signed: bytes) -> None:
    """Raises Refused."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature.value, signed, padding.PKCS1v15(), hashes.SHA256())
        else:
            # RFC 8463 section 3: the hash is what is signed.
            key.verify(signature.value, hashlib.sha256(signed).digest())
    except InvalidSignature as error:
        raise Refused("fail", "the signature does not fit") from error


def signed_header(fields: Sequence[Field], signature: Signature) -> bytes:
    """Sections 3.5 and 3.7: the fields of h= from the bottom up, then the signature without b=."""
    left: dict[bytes, list[Field]] = {}
    for field in fields:
        if field is not signature.field:
            left.setdefault(field.name, []).append(field)
    chosen = [left[name].pop() for name in signature.names if left.get(name)]
    form = signature.header_form
    lines = [field.canonical(form) + b"\r\n" for field in chosen]
    return b"".join([*lines, unsigned(signature.field).canonical(form)])


def unsigned(field: Field) -> Field:
    """The field as it was when it was signed: without the value of b=."""
    name, _, value = field.octets.partition(b":")
    return Field(field.name, name + b":" + _B_TAG.sub(rb"\1", value, count=1))


@dataclass(frozen=True, slots=True)
class BodyHash:
    octets: int
    digest: bytes


def body_hash(body: memoryview, form: Canon, is_late: Callable[[], bool]) -> BodyHash | None:
    """Section 3.4.3 and 3.4.4; None when it became late before the end."""
    digest = hashlib.sha256()
    octets = 0
    for piece in _without_end(_canonical_blocks(body, form)):
        if is_late():
            return None
        digest.update(piece)
        octets += len(piece)
    if octets or form == "simple":
        digest.update(b"\r\n")
        octets += 2
    return BodyHash(octets, digest.digest())


def _canonical_blocks(body: memoryview, form: Canon) -> Iterator[bytes]:
    """Whole lines; what follows the last line end, which the canonical form adds, comes alone."""
    rest = b""
    for at in range(0, len(body), BLOCK_OCTETS):
        block = rest + bytes(body[at : at + BLOCK_OCTETS])
        end = block.rfind(b"\r\n") + 2
        if end == 1:
            rest = block
            continue
        rest = block[end:]
        yield block[:end] if form == "simple" else _relaxed(block[:end])
    if rest:
        yield rest if form == "simple" else _relaxed(rest + b"\r\n")


def _relaxed(lines: bytes) -> bytes:
    # Each of these runs through the octets in C: an expression takes ten times as long.
    lines = lines.replace(b"\t", b" ")
    while b"  " in lines:
        lines = lines.replace(b"  ", b" ")
    return lines.replace(b" \r\n", b"\r\n")


def _without_end(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same without the line ends behind the last line that has anything in it."""
    held = 0
    for block in blocks:
        kept = block.rstrip(b"\r\n")
        if not kept:
            held += len(block)
            continue
        while held:
            piece = min(held, BLOCK_OCTETS)
            yield b"\r\n" * (piece // 2)
            held -= piece
        yield kept
        held = len(block) - len(kept)
