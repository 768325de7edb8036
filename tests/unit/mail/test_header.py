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
    found = [(HEADER[each.start : each.end], each.value) for each in fields(HEADER, b"a")]
    assert found == [
        (b"A: 1\r\n", b" 1"),
        (b"a : 2\r\n", b" 2"),
        (b"A\t :\r\n 4\r\n\t5 a:\r\n", b"\r\n 4\r\n\t5 a:"),
        (b"A:\r\n", b""),
    ]
    assert not list(fields(HEADER, b"c"))
    assert not list(fields(b"", b"a"))
