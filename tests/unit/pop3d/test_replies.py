"""Every Failure has its reply, and no reply carries more than one line."""

from collections.abc import Iterator

import pytest

from mail.errors import (
    BadCredentials,
    Failure,
    MessageDamaged,
    NoSuchMessage,
    NotPermitted,
    OverQuota,
    StorageBusy,
    TooMany,
)
from pop3d import replies


def family(root: type[Failure]) -> Iterator[type[Failure]]:
    for child in root.__subclasses__():
        yield child
        yield from family(child)


def test_every_failure_has_a_row_or_cannot_occur() -> None:
    # Those of mail.errors; a class that a test makes for itself is none of ours.
    ours = {child for child in family(Failure) if child.__module__ == "mail.errors"}
    assert set(replies.ROWS) == ours


@pytest.mark.parametrize(
    ("failure", "start"),
    [
        (BadCredentials, b"-ERR [AUTH] "),
        (NotPermitted, b"-ERR [AUTH] "),
        (TooMany, b"-ERR [SYS/TEMP] "),
        (StorageBusy, b"-ERR [SYS/TEMP] "),
        (MessageDamaged, b"-ERR [SYS/TEMP] "),
        (OverQuota, b"-ERR [SYS/TEMP] local fault, try again\r\n"),
    ],
)
def test_codes(failure: type[Failure], start: bytes) -> None:
    assert replies.refused(failure("x")).startswith(start)


def test_a_message_that_is_not_there_has_no_code() -> None:
    assert replies.refused(NoSuchMessage("x")).startswith(b"-ERR no")


@pytest.mark.parametrize("failure", list(replies.ROWS))
def test_a_reply_is_one_short_line_whatever_the_failure_says(failure: type[Failure]) -> None:
    # RFC 2449 section 4: at most 512 octets with CRLF
    reply = replies.refused(failure("a\r\n+OK b" * 200, retry_after_s=10**6))
    assert reply.startswith(b"-ERR ")
    assert reply.endswith(b"\r\n")
    assert reply.count(b"\r") == reply.count(b"\n") == 1
    assert len(reply) <= 512
    assert b"+OK" not in reply


def test_a_retry_time_is_said_only_when_it_is_a_number() -> None:
    assert b"7 seconds" in replies.refused(TooMany("x", retry_after_s=7))
    assert b"seconds" not in replies.refused(TooMany("x", retry_after_s="7\r\n"))


def test_the_greeting_offers_no_apop() -> None:
    # RFC 1939 section 7: a timestamp in angle brackets would
    assert replies.GREETING.startswith(b"+OK ")
    assert b"<" not in replies.GREETING
