"""Fields by their name: found wherever another reader would find them, in linear time."""

import pytest

from mail.header import fields, header_of


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (b"A: 1\r\n\r\nA: 2\r\n", b"A: 1\r\n"),
        (b"A: 1\r\nB: 2\r\n", b"A: 1\r\nB: 2\r\n"),
        (b"\r\nA: 1\r\n\r\n", b""),
        (b"", b""),
    ],
)
def test_the_header_ends_at_the_blank_line(content: bytes, header: bytes) -> None:
    assert header_of(content) == header


HEADER = (
    b"A: 1\r\n"
    b"a : 2\r\n"
    b"Ab: 3\r\n"
    b"X: a: no\r\n"
    b"\ta: no\r\n"
    b"a no\r\n"
    b"A\t :\r\n"
    b" 4\r\n"
    b"\t5 a:\r\n"
    b"b: a:\r\n"
    b"A:\r\n"
)


def test_fields() -> None:
    # RFC 5322 section 2.2.3 (folding), section 4.5 (white space before the colon)
    whole = [b"A: 1\r\n", b"a : 2\r\n", b"A\t :\r\n 4\r\n\t5 a:\r\n", b"A:\r\n"]
    [found] = fields(HEADER, b"a")
    assert [HEADER[each.start : each.end] for each in found] == whole
    assert [each.value(99) for each in found] == [b" 1", b" 2", b"\r\n 4\r\n\t5 a:", b""]
    assert [each.value(3) for each in found] == [b" 1", b" 2", b"\r\n ", b""]
    assert fields(HEADER, b"a", b"ab", most=2) == [found[:2], fields(HEADER, b"ab")[0]]
    assert fields(HEADER, b"c") == fields(b"", b"a") == [[]]


def test_a_last_line_that_does_not_end_is_one_all_the_same() -> None:
    [[last]] = fields(b"B: 1\r\nA: 2\r\n 3", b"a")
    assert (last.start, last.end, last.value(99)) == (6, 14, b" 2\r\n 3")
