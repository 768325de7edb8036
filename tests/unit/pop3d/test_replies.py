"""Every Failure has its reply, and no reply carries more than one line."""

import re
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
    assert replies.refused(failure("x"))["en"].startswith(start)


def test_a_message_that_is_not_there_has_no_code() -> None:
    assert replies.refused(NoSuchMessage("x"))["en"].startswith(b"-ERR no")


@pytest.mark.parametrize("language", replies.LANGUAGES)
@pytest.mark.parametrize("failure", list(replies.ROWS))
def test_a_reply_is_one_short_line_whatever_the_failure_says(
    failure: type[Failure], language: str
) -> None:
    # RFC 2449 section 4: at most 512 octets with CRLF
    reply = replies.refused(failure("a\r\n+OK b" * 200, retry_after_s=10**6))[language]
    assert reply.startswith(b"-ERR ")
    assert reply.endswith(b"\r\n")
    assert reply.count(b"\r") == reply.count(b"\n") == 1
    assert len(reply) <= 512
    assert b"+OK" not in reply


SAID = [reply for reply in vars(replies).values() if isinstance(reply, dict) and "en" in reply]
SAID.remove(replies.LANGUAGES)


@pytest.mark.parametrize("reply", [*SAID, *map(replies.refused, [TooMany("x"), OverQuota("x")])])
def test_a_reply_differs_between_languages_in_its_text_alone(reply: replies.Reply) -> None:
    # RFC 6856 section 3: LANG changes the text for people, in UTF-8; without it all is ASCII
    english, german = (reply[language].decode() for language in ("en", "de"))
    assert english.isascii()
    assert english != german
    start = re.compile(r"(\+OK|-ERR)( \[[A-Z/]+\])? ")
    assert start.match(english)[0] == start.match(german)[0]  # type: ignore[index]


def test_a_retry_time_is_said_only_when_it_is_a_number() -> None:
    assert b"7 seconds" in replies.refused(TooMany("x", retry_after_s=7))["en"]
    assert b"seconds" not in replies.refused(TooMany("x", retry_after_s="7\r\n"))["en"]


def test_the_greeting_offers_no_apop() -> None:
    # RFC 1939 section 7: a timestamp in angle brackets would
    assert replies.GREETING["en"].startswith(b"+OK ")
    assert b"<" not in replies.GREETING["en"]
