"""The people of an address field, as far as they can be read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.people import ADDRESSES, mailboxes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a@x.org", [("", "a@x.org")]),
        ("Ann <a@x.org>", [("Ann", "a@x.org")]),
        ("<a@x.org>", [("", "a@x.org")]),
        ('"Doe, Jane" <j@x.org>, b@x.org', [("Doe, Jane", "j@x.org"), ("", "b@x.org")]),
        ("Doe, Jane <j@x.org>", [("Doe, Jane", "j@x.org")]),
        (r'"J \"Q\" D" <j@x.org>', [('J "Q" D', "j@x.org")]),
        ("Friends: a@x.org, B <b@x.org>;", [("", "a@x.org"), ("B", "b@x.org")]),
        ("undisclosed-recipients:;", []),
        ("undisclosed-recipients:; Bob <b@x.org>", [("Bob", "b@x.org")]),
        ("a@x.org (Ann)", [("", "a@x.org")]),
        ("Bob <b@x.o", []),
        ('"Bob <b@x.org>', [("Bob", "b@x.org")]),
        ("a@[IPv6:2001:db8::1]", [("", "a@[IPv6:2001:db8::1]")]),
        ("grüße@bücher.example", [("", "grüße@bücher.example")]),
    ],
)
def test_mailboxes_are_told_as_far_as_they_can(text: str, expected: list[Any]) -> None:
    assert mailboxes(text) == expected


@given(st.text(alphabet='ab@.,;:<>"\\() ', max_size=500))
def test_no_text_is_too_odd_for_mailboxes(text: str) -> None:
    for _, address in mailboxes(text):
        assert address


@pytest.mark.parametrize("piece", ["a", "<", '"', '"\\', "@", "a@", "(", "a:", ";", "\\"])
def test_its_time_grows_with_the_text_alone(piece: str) -> None:
    """What is quadratic would take hours here."""
    mailboxes(piece * 1_000_001)


def test_no_more_than_a_thousand_are_told() -> None:
    assert len(mailboxes("a@x.org, " * 3000)) == ADDRESSES == 1000
