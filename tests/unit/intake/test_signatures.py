"""Signatures made by dkimpy, keys of every kind, the canonical forms of RFC 6376 section 3.4."""

import base64
import hashlib
from collections.abc import Sequence

import dkim  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from intake.signatures import (
    BLOCK_OCTETS,
    Canon,
    Field,
    Refused,
    body_hash,
    dkim_signature,
    fields_of,
    key_of,
    signed_header,
    verify,
)
from mail.header import header_of

KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
RECORD = b"v=DKIM1; p=" + base64.b64encode(
    KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
)
FORMS: Sequence[Canon] = ("simple", "relaxed")

lines = st.text(" \tab.", max_size=6).map(str.encode)
bodies = st.lists(lines, max_size=8).map(lambda found: b"".join(line + b"\r\n" for line in found))


def in_time() -> bool:
    return False


def check(message: bytes) -> None:
    """Raises Refused unless the first field is a signature that holds."""
    header = header_of(message)
    fields = fields_of(header, 1000)
    signature = dkim_signature(fields[0])
    found = body_hash(memoryview(message)[len(header) + 2 :], signature.body_form, in_time)
    assert found
    assert found.digest == signature.body_hash
    verify(key_of([RECORD], signature), signature, signed_header(fields, signature))


def signed(message: bytes, header_form: str = "simple", body_form: str = "simple") -> bytes:
    field: bytes = dkim.sign(
        message,
        b"s",
        b"a.test",
        PEM,
        canonicalize=(header_form.encode(), body_form.encode()),
        include_headers=[b"from", b"subject", b"x"],
    )
    return field + message


@pytest.mark.parametrize("header_form", FORMS)
@pytest.mark.parametrize("body_form", FORMS)
@given(body=bodies, value=st.text(" \ta:", max_size=5))
@settings(max_examples=40)
def test_what_dkimpy_signs_holds(
    header_form: Canon, body_form: Canon, body: bytes, value: str
) -> None:
    header = f"From:  <x@a.test>\r\nSubject: a{value}\r\n\t b{value}\r\nx:{value}\r\n".encode()
    check(signed(header + b"\r\n" + body, header_form, body_form))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("around", range(-3, 4))
@pytest.mark.parametrize("end", [b"", b"\r\n", b" \t\r\n", b"\r\n\r\n", b" x\r\n"])
def test_a_body_is_the_same_wherever_its_blocks_end(form: Canon, around: int, end: bytes) -> None:
    text = (b"a  b \t" * BLOCK_OCTETS)[: BLOCK_OCTETS + around - 2]
    body = text + b"\r\n" + end + b"last\r\n" + b"\r\n" * BLOCK_OCTETS
    plain = body.rstrip(b"\r\n") + b"\r\n"
    if form == "relaxed":
        plain = b"\r\n".join(map(squeezed, plain.split(b"\r\n")))
    found = body_hash(memoryview(body), form, in_time)
    assert found
    assert (found.octets, found.digest) == (len(plain), hashlib.sha256(plain).digest())


def squeezed(line: bytes) -> bytes:
    line = line.replace(b"\t", b" ")
    while b"  " in line:
        line = line.replace(b"  ", b" ")
    return line.rstrip(b" ")


def test_the_empty_bodies_of_the_rfc() -> None:
    # RFC 6376 sections 3.4.3 and 3.4.4.
    simple, relaxed = (body_hash(memoryview(b""), form, in_time) for form in FORMS)
    assert simple
    assert relaxed
    assert base64.b64encode(simple.digest) == b"frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="
    assert base64.b64encode(relaxed.digest) == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_a_hash_that_is_late_is_none() -> None:
    assert body_hash(memoryview(b"a\r\n"), "simple", lambda: True) is None


GOOD = b"v=1; a=rsa-sha256; d=a.test; s=s; h=from; bh=AAAA; b=AAAA"


@pytest.mark.parametrize(
    ("old", "new", "outcome"),
    [
        (b"v=1", b"v=2", "permerror"),
        (b"v=1; ", b"", "permerror"),
        (b"a=rsa-sha256", b"a=rsa-sha1", "policy"),  # RFC 8301 section 3.1
        (b"a=rsa-sha256", b"a=rsa-md5", "permerror"),
        (b"d=a.test", b"d=a..test", "permerror"),
        (b"d=a.test", b"d=a.test; i=x@b.test", "permerror"),
        (b"d=a.test", b"d=a.test; i=x@ba.test", "permerror"),
        (b"d=a.test; ", b"", "permerror"),
        (b"s=s", b"s=../x", "permerror"),
        (b"h=from", b"h=subject", "permerror"),
        (b"h=from; ", b"", "permerror"),
        (b"bh=AAAA", b"bh=A*AA", "permerror"),
        (b"b=AAAA", b"b=AAAA; b=BBBB", "permerror"),
        (b"b=AAAA", b"b=AAAA; l=x", "permerror"),
        (b"b=AAAA", b"b=AAAA; t=10; x=9", "permerror"),
        (b"b=AAAA", b"b=AAAA; c=nowsp", "permerror"),
        (b"b=AAAA", b"b=AAAA; q=http", "permerror"),
        (b"b=AAAA", b"b=AAAA; ; z", "permerror"),
    ],
)
def test_a_signature_that_is_none_is_refused(old: bytes, new: bytes, outcome: str) -> None:
    assert old in GOOD
    with pytest.raises(Refused) as refused:
        dkim_signature(Field(b"dkim-signature", b"DKIM-Signature: " + GOOD.replace(old, new)))
    assert refused.value.outcome == outcome


def rsa_record(bits: int) -> bytes:
    # OpenSSL makes none of 512 bits any more; what counts here is only its length.
    modulus = (1 << bits) - 159
    key = rsa.RSAPublicNumbers(65537, modulus)
    try:
        der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except ValueError:
        der = (
            bytes.fromhex("305c300d06092a864886f70d0101010500034b00304802")
            + b"\x41\x00"
            + modulus.to_bytes(64, "big")
            + bytes.fromhex("0203010001")
        )
    return b"p=" + base64.b64encode(der)


@pytest.mark.parametrize(
    ("records", "outcome"),
    [
        ([], "permerror"),
        ([b"v=DKIM1; p="], "fail"),  # revoked: RFC 6376 section 3.6.1
        ([b"v=DKIM2; " + RECORD[9:]], "permerror"),
        ([RECORD[9:] + b"; v=DKIM1"], "permerror"),
        ([RECORD + b"; k=ed25519"], "permerror"),
        ([RECORD + b"; h=sha1"], "permerror"),
        ([RECORD + b"; s=other"], "permerror"),
        ([b"v=DKIM1; p=AAAA"], "permerror"),
        ([b"v=DKIM1; k=rsa"], "permerror"),
        ([b"nonsense"], "permerror"),
        ([rsa_record(512)], "policy"),  # RFC 8301 section 3.2
        ([rsa_record(8192)], "policy"),
    ],
)
def test_a_key_that_is_none_is_refused(records: Sequence[bytes], outcome: str) -> None:
    signature = dkim_signature(Field(b"dkim-signature", b"DKIM-Signature: " + GOOD))
    with pytest.raises(Refused) as refused:
        key_of(records, signature)
    assert refused.value.outcome == outcome


def test_a_key_for_its_domain_alone_is_not_for_those_below() -> None:
    below = GOOD.replace(b"d=a.test", b"d=a.test; i=x@b.a.test")
    signature = dkim_signature(Field(b"dkim-signature", b"DKIM-Signature: " + below))
    key_of([RECORD], signature)
    with pytest.raises(Refused):
        key_of([RECORD + b"; t=y:s"], signature)
