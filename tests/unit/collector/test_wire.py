"""POP3 as a client reads it: what fits, and what is refused."""

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import wire
from collector.plan import Entry
from collector.wire import Lines, Status
from mail.errors import UpstreamFailed


@given(st.binary(max_size=600), st.lists(st.integers(0, 600), max_size=5))
def test_lines_are_the_same_however_they_are_cut(octets: bytes, places: list[int]) -> None:
    cuts = [0, *sorted(min(place, len(octets)) for place in places), len(octets)]
    lines = Lines()
    found = []
    for start, end in pairwise(cuts):
        lines.feed(octets[start:end])
        while len(lines) < 700 and (line := lines.line(1000)) is not None:
            found.append(line)
    *whole, rest = octets.split(b"\r\n")
    assert (found, lines.rest()) == (whole, rest)


def test_a_line_has_its_limit() -> None:
    lines = Lines()
    lines.feed(b"x" * 511)
    assert lines.line(512) is None
    lines.feed(b"x")
    with pytest.raises(UpstreamFailed):
        lines.line(512)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"+OK", Status(True, "", "")),
        (b"+OK ready <1@x>", Status(True, "", "ready <1@x>")),
        (b"-ERR [AUTH] no \x1b[31m\xff way", Status(False, "AUTH", "no [31m\ufffd way")),
        (b"-ERR [login-delay] wait", Status(False, "LOGIN-DELAY", "wait")),
        (b"-ERR [SYS/TEMP]", Status(False, "SYS/TEMP", "")),
        (b"+ ", Status(True, "", "")),
    ],
)
def test_first_lines(line: bytes, found: Status) -> None:
    assert wire.status(line) == found


@pytest.mark.parametrize("line", [b"", b"OK", b"220 smtp", b"+ok", b"* OK imap", b"+OKAY"])
def test_what_is_not_pop3(line: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        wire.status(line)


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ([b"1 10"], [b"1 a", b"1 b"]),
        ([b"1 10"], [b"2 a"]),
        ([b"1 10", b"2 10"], [b"1 a"]),
        ([b"1 -10"], [b"1 a"]),
        ([b"0 10"], [b"0 a"]),
        ([b"1 " + b"9" * 16], [b"1 a"]),
        ([b"1 10"], [b"1 a b"]),
        ([b"1 10"], [b"1 \xff"]),
        ([b"1 10"], [b"1 " + b"a" * 256]),
        ([b"1"], [b"1 a"]),
    ],
)
def test_listings_that_contradict_themselves(sizes: list[bytes], names: list[bytes]) -> None:
    with pytest.raises(UpstreamFailed):
        wire.entries(sizes, names)


def test_a_listing() -> None:
    found = wire.entries([b"2 20 extra", b"1 10"], [b"1 a", b"2  b "])
    assert found == [Entry(1, 10, b"a"), Entry(2, 20, b"b")]


def test_capabilities() -> None:
    found = wire.capabilities(
        [b"SASL PLAIN LOGIN", b"uidl", b"LOGIN-DELAY 120 USER", b"EXPIRE 14", b"", b"\xff"]
    )
    assert ("UIDL" in found, found.plain, found.delay_s, found.expire_days) == (True, True, 120, 14)
    assert wire.capabilities([b"EXPIRE NEVER"]).expire_days is None
    assert wire.capabilities([b"LOGIN-DELAY 999999999"]).delay_s == 86_400
    assert not wire.Capabilities().plain


@pytest.mark.parametrize("bad", ["a\r\nDELE 1", "a\nb", "a\rb", "a\0b"])
def test_one_command_is_one_line(bad: str) -> None:
    with pytest.raises(UpstreamFailed):
        wire.command("USER", bad)
    if "\0" in bad:
        with pytest.raises(UpstreamFailed):
            wire.plain(bad, "x")


def test_a_secret_is_taken_out_of_what_a_server_says() -> None:
    secret = "s3cret  word"
    coded = base64.b64encode(secret.encode()).decode()
    words = wire.harmless(f"no: {secret} {coded}")
    assert wire.without(words, (secret,)) == "no: *** ***"
