"""A fetched message is made ready as one that came by SMTP, and says where it was."""

from datetime import UTC, datetime, timedelta

import pytest

from intake.collect import Fetched, Origin, prepare
from mail.address import Address

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
ORIGIN = Origin("pop.example.net", "192.0.2.7", "TLSv1.3", "TLS_AES_256_GCM_SHA384")
ADA = Address.parse("ada@example.net")


def ready(content: bytes) -> tuple[bytes, bytes]:
    """The prefix and the content."""
    new = prepare(Fetched(content, ORIGIN, 7, ADA), hostname="mail.example.org", now=NOW)
    [copy] = new.copies
    assert (copy.maildrop_id, copy.recipient) == (7, ADA)
    return copy.prefix, new.content


def test_two_trace_lines_in_front() -> None:
    prefix, content = ready(b"Subject: s\r\n\r\nx\r\n")
    first, *rest = prefix.decode().replace("\r\n\t", " ").split("\r\n")
    assert first == "Delivered-To: ada@example.net"
    assert rest[0].startswith("Received: from pop.example.net ([192.0.2.7]) by mail.example.org")
    assert " with POP3 id " in rest[0]
    assert rest[0].endswith(
        " for <ada@example.net> tls TLS_AES_256_GCM_SHA384 (TLSv1.3);"
        " Fri, 01 May 2026 12:00:00 +0000"
    )
    assert rest[1:] == [""]
    assert content == b"Subject: s\r\n\r\nx\r\n"


def test_results_in_our_name_go_and_theirs_stay() -> None:
    theirs = b"Authentication-Results: mx.example.net; spf=pass\r\n"
    ours = b"Authentication-Results: mail.example.org; spf=pass\r\n"
    assert ready(theirs + ours + b"\r\nx\r\n")[1] == theirs + b"\r\nx\r\n"


@pytest.mark.parametrize(
    ("header", "sender"),
    [
        (
            b"Return-Path: <bob@example.com>\r\nReturn-Path: <eve@example.com>\r\n",
            "bob@example.com",
        ),
        (b"Return-Path: <>\r\n", None),
        (b"Return-Path: bob\r\n", None),
        (b"Return-Path: <\xff@example.com>\r\n", None),
        (b"Subject: s\r\n", None),
    ],
)
def test_the_sender_is_the_providers(header: bytes, sender: str | None) -> None:
    fetched = Fetched(header + b"\r\nx\r\n", ORIGIN, 7, ADA)
    found = prepare(fetched, hostname="mail.example.org", now=NOW).mail_from
    assert (str(found) if found else None) == sender


@pytest.mark.parametrize(
    ("days", "expected"), [(-3, NOW - timedelta(days=3)), (3, NOW)], ids=["past", "future"]
)
def test_its_place_in_lists_is_when_the_provider_got_it(days: int, expected: datetime) -> None:
    at = NOW + timedelta(days=days)
    header = f"Received: from a by b;\r\n\t{at:%a, %d %b %Y %H:%M:%S} +0000\r\n".encode()
    new = prepare(Fetched(header + b"\r\n", ORIGIN, 7, ADA), hostname="mail.example.org", now=NOW)
    assert int.from_bytes(new.uid.octets[:6], "big") == int(expected.timestamp() * 1000)
