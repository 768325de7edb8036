"""Lines and dots: octets change here and nowhere else, so every rule has a naive second reading."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mail.lines import Stuffer, TopCut, canonical, measure, unstuff

PREFIX = b"Return-Path: <>\r\nDelivered-To: ann@example.org\r\n"

# Pieces from which odd line ends and dotted lines arise often.
PIECES = st.sampled_from([b"\r", b"\n", b".", b"..", b"\r\n", b"\r\n.", b"a", b" ", b"\0", b"\xe9"])
OCTETS = st.lists(PIECES, max_size=40).map(b"".join)
# The lines of a canonical message, without their CRLF.
LINES = st.lists(
    st.sampled_from([b"", b"", b".", b"..", b".a", b"a", b"a.b", b"Subject: x", b"\0\xff"]),
    max_size=15,
)
CUTS = st.lists(st.integers(0, 200), max_size=8)


def joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\r\n" for line in lines)


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    """The octets in blocks, some of them empty."""
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    return [octets[start:stop] for start, stop in pairwise(edges)]


def lines_of(octets: bytes) -> list[bytes]:
    """Octet by octet: CRLF, bare CR and bare LF each end a line, and so does the end."""
    lines, line, at = [], b"", 0
    while at < len(octets):
        if octets[at : at + 1] in (b"\r", b"\n"):
            at += 2 if octets[at : at + 2] == b"\r\n" else 1
            lines.append(line)
            line = b""
        else:
            line += octets[at : at + 1]
            at += 1
    return [*lines, line] if line else lines


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"", b""),
        (b"a", b"a\r\n"),
        (b"a\r\n", b"a\r\n"),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\rb\r", b"a\r\nb\r\n"),
        (b"\r", b"\r\n"),
        (b"\n", b"\r\n"),
        (b"a\r\r\nb", b"a\r\n\r\nb\r\n"),
        (b"a\n\rb", b"a\r\n\r\nb\r\n"),
        (b"\n\n", b"\r\n\r\n"),
        (b"a\r\nb\r\nc\r", b"a\r\nb\r\nc\r\n"),
        (b"\0\xff\x85\x0b\x0c\x1c", b"\0\xff\x85\x0b\x0c\x1c\r\n"),  # no line ends of mail
    ],
)
def test_canonical(octets: bytes, expected: bytes) -> None:
    assert canonical(octets) == expected


@given(OCTETS)
def test_canonical_has_crlf_only_and_keeps_the_rest(octets: bytes) -> None:
    result = canonical(octets)
    assert result == joined(lines_of(octets))
    assert canonical(result) == result


@pytest.mark.parametrize(
    ("wire", "content"),
    [
        # RFC 5321 section 4.5.2: a leading dot with something behind it is taken away.
        (b"", b""),
        (b"..\r\n", b".\r\n"),
        (b"...\r\n", b"..\r\n"),
        (b".a\r\n", b"a\r\n"),  # a sender that did not stuff
        (b"a\r\n..b\r\n", b"a\r\n.b\r\n"),
        (b"a..b\r\n", b"a..b\r\n"),
        (b"a\n..b\r\n", b"a\n..b\r\n"),  # only CRLF ends a line
        (b"a\r..b\r\n", b"a\r..b\r\n"),
        (b"\r\n..\r\n..\r\n", b"\r\n.\r\n.\r\n"),
    ],
)
def test_unstuff(wire: bytes, content: bytes) -> None:
    assert unstuff(wire) == content


@given(LINES)
def test_unstuff_undoes_stuff(lines: list[bytes]) -> None:
    assert unstuff(Stuffer().feed(joined(lines))) == joined(lines)


@given(LINES, CUTS)
@example([b".", b".."], [1, 2, 3, 4, 5])
def test_stuffing_of_blocks_is_that_of_lines(lines: list[bytes], places: list[int]) -> None:
    # RFC 1939 section 3: a line that begins with the termination octet gets one more.
    expected = joined([b"." + line if line.startswith(b".") else line for line in lines])
    stuffer = Stuffer()
    assert b"".join(map(stuffer.feed, cut(joined(lines), places))) == expected


@given(LINES, st.sampled_from([b"", PREFIX]), CUTS)
def test_measures_agree_with_a_recount_of_what_is_sent(
    lines: list[bytes], prefix: bytes, places: list[int]
) -> None:
    content = joined(lines)
    stuffer = Stuffer()
    sent = b"".join(map(stuffer.feed, cut(prefix + content, places)))
    dots = sum(line.startswith(b".") for line in lines)
    header = lines[: lines.index(b"") + 1] if b"" in lines else lines

    measures = measure(prefix, content)
    # RFC 1939 section 11: octets of the message, not of its transmission.
    assert measures.size == len(sent) - dots
    assert measures.dotted == (dots > 0)
    assert measures.header_size == len(prefix + joined(header))


def test_measures_of_odd_messages() -> None:
    for content, header_size, dotted in [
        (b"", 0, False),
        (b"\r\n", 2, False),
        (b"\r\n\r\n", 2, False),
        (b"\r\n.\r\n", 2, True),
        (b".\r\n", 3, True),
        (b"a: b\r\n", 6, False),
        (b"a: b\r\n\r\n.", 8, True),
    ]:
        measures = measure(PREFIX, content)
        assert (measures.header_size, measures.dotted) == (len(PREFIX) + header_size, dotted)
        assert measures.size == len(PREFIX) + len(content)


def top(lines: list[bytes], count: int) -> list[bytes]:
    """RFC 1939 section 7: the headers, the blank line, then `count` lines of the body."""
    if b"" not in lines:
        return lines
    return lines[: lines.index(b"") + 1 + count]


@given(LINES, st.integers(0, 20), CUTS)
@example([], 0, [])
@example([], 3, [0])
@example([b""], 0, [0, 1, 1, 2])
@example([b"Subject: x"], 0, [5])
@example([b"Subject: x"], 4, [5])
@example([b"Subject: x", b"", b"a", b""], 1, [12, 14, 15, 16, 17])
def test_top_of_blocks_is_that_of_lines(lines: list[bytes], count: int, places: list[int]) -> None:
    message = joined(lines)
    expected = joined(top(lines, count))
    answer = TopCut(measure(b"", message).header_size, count)
    sent = b""
    for block in cut(message, places):
        # Done exactly when no line is missing: no block is read in vain, none too few.
        assert not answer.done or sent == expected
        sent += answer.feed(block)
    assert sent == expected
    assert answer.done or len(top(lines, count)) < len(top(lines, 0)) + count


@given(LINES, st.integers(0, 3))
def test_nothing_follows_a_finished_top(lines: list[bytes], count: int) -> None:
    answer = TopCut(2, count)
    answer.feed(b"\r\n" + b"line\r\n" * count)
    assert answer.done
    assert answer.feed(joined(lines)) == b""
