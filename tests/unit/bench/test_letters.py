"""A letter that comes back is whole, or it is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.letters import DOT_LINE, LONG, Wrong, check, wire
from mail.lines import measure

TRACE = (
    b"Return-Path: <bob@example.net>\r\nDelivered-To: ann@example.test\r\n"
    b"Received: from client.example.net\r\n\tby mail.example.test;\r\n\tMon, 5 Oct 2026\r\n"
)
SIZES = st.sampled_from([4096, LONG])


@given(st.integers(0, 99_999_999), SIZES)
def test_a_letter_is_mail_of_about_the_size_asked_for(number: int, octets: int) -> None:
    letter = wire(number, octets)
    assert abs(len(letter) - octets) < octets / 20
    assert letter.endswith(b"\r\n" + DOT_LINE)
    assert letter.count(b"\r\n" + DOT_LINE) == 1
    content = letter.removesuffix(DOT_LINE).replace(b"\r\n..", b"\r\n.")
    assert measure(b"", content).dotted == (b"\r\n.." in letter)
    assert b"\n" not in content.replace(b"\r\n", b"")


def test_some_letters_have_a_line_that_begins_with_a_dot() -> None:
    assert b"\r\n..\r\n" in wire(10, 4096)


@given(st.integers(0, 1000), SIZES)
def test_a_whole_letter_is_known_with_and_without_trace_fields(number: int, octets: int) -> None:
    assert check(wire(number, octets), octets) == number
    assert check(TRACE + wire(number, octets), octets) == number


@given(st.integers(0, 1000), st.data())
def test_a_changed_octet_is_noticed(number: int, data: st.DataObject) -> None:
    served = bytearray(TRACE + wire(number, 4096))
    place = data.draw(st.integers(len(TRACE), len(served) - 1))
    served[place] ^= data.draw(st.integers(1, 255))
    try:
        assert check(bytes(served), 4096) != number  # then it lacks in the set of those wanted
    except Wrong:
        return
    raise AssertionError("a letter with an octet changed was taken for another one")


@given(st.integers(0, 1000), st.data())
def test_a_lost_or_added_octet_is_noticed(number: int, data: st.DataObject) -> None:
    served = TRACE + wire(number, 4096)
    place = data.draw(st.integers(len(TRACE), len(served) - 1))
    for other in (served[:place] + served[place + 1 :], served[:place] + b"\0" + served[place:]):
        with pytest.raises(Wrong):
            check(other, 4096)


@pytest.mark.parametrize(
    "before",
    [wire(7, 4096), b"Subject: another\r\n", b"\r\n", b"Received: x", b"Received: \nx\r\n"],
)
def test_more_than_trace_fields_before_it_is_noticed(before: bytes) -> None:
    with pytest.raises(Wrong):
        check(before + wire(8, 4096), 4096)
