"""RFC 5322 section 3.6.2: From, of which DMARC needs just one mailbox (RFC 7489 section 6.6.1)."""

import pytest

from mail.address import Address
from mail.author import author


def read(*lines: str) -> Address | None:
    return author("".join(f"{line}\r\n" for line in lines).encode())


@pytest.mark.parametrize(
    "value",
    [
        "x@a.test",
        "<x@a.test>",
        " <x@a.test> ",
        "Ann <x@a.test>",
        '"Ann, of A" <x@a.test>',
        '"Ann \\" <y@b.test>" <x@a.test>',
        "Ann (of (the) B) <x@a.test> (and so on)",
        "(<y@b.test>) x@a.test (y@b.test)",
        "y@b.test <x@a.test>",
        "Ann: of A <x@a.test>",
        "Ann\r\n <x@a.test>",
        "<x@A.Test>",
        "A. Nn <x@a.test>",
    ],
)
def test_one_mailbox(value: str) -> None:
    found = read("Subject: hello", f"From: {value}")
    assert found
    assert str(found) == "x@a.test"


def test_other_local_parts_and_domains() -> None:
    assert str(read('From: "a b"@a.test')) == '"a b"@a.test'
    found = read("From: <x@bücher.test>")
    assert found
    assert found.domain == "xn--bcher-kva.test"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "   ",
        "x",
        "@",
        "<x@a.test>, <y@b.test>",
        "x@a.test, y@b.test",
        "x@a.test y@b.test",
        "<x@a.test> <y@b.test>",
        "Ann: <x@a.test>, <y@b.test>;",
        "undisclosed:;",
        "<x@a.test",
        "(x@a.test",
        "x@a.test>",
        "<x@[192.0.2.1]>",
        "<@b.test:x@a.test>",
        '"x@a.test',
    ],
)
def test_nobody(value: str) -> None:
    assert read(f"From: {value}") is None


def test_two_fields_are_nobody_and_so_is_none() -> None:
    assert read("From: <x@a.test>", "From: <x@a.test>") is None
    assert read("From: <x@a.test>", "from : <y@b.test>") is None
    assert read("Subject: From: <x@a.test>") is None
    assert author(b"From: <x@a.test>\r\nFrom: \xff\xfe\r\n") is None
    assert author(b"From: <\xff@a.test>\r\n") is None


def test_a_field_too_long_to_be_read_is_nobody() -> None:
    # Somebody else may stand where we do not look.
    long = "(" + "x" * 70_000 + ")"
    assert author(f"From: {long} ann@example.org\r\n".encode()) is None
    assert author(f"From: ann@example.org {long}\r\n".encode()) is None
