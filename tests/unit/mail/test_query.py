"""The search language: what a search means, and where one cannot be read."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import query
from mail.errors import BadQuery
from mail.query import (
    All,
    Any,
    Before,
    DeliveredTo,
    Fact,
    HasAttachment,
    In,
    Is,
    Larger,
    Not,
    Query,
    Since,
    Smaller,
    Words,
    parse,
)

MAY = datetime(2026, 5, 1, tzinfo=UTC)


def word(*words: str, beginning: bool = False) -> Words:
    return Words(words, beginning)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", All()),
        ("  ", All()),
        ("fox", word("fox", beginning=True)),
        ("fox ", word("fox", beginning=True)),
        ('"fox"', word("fox")),
        ("Été", word("ete", beginning=True)),
        ("red fox", All((word("red"), word("fox", beginning=True)))),
        ('"Red  Fox"', word("red", "fox")),
        ("bob@example.net", word("bob", "example", "net", beginning=True)),
        ("a-b-cd", word("cd", beginning=True)),
        ("-fox", Not(word("fox", beginning=True))),
        ("-(red fox)", Not(All((word("red"), word("fox"))))),
        ("red OR blue fox", Any((word("red"), All((word("blue"), word("fox", beginning=True)))))),
        ("red OR blue OR fox is:unread", None),
        ("(red OR blue) is:unread", All((Any((word("red"), word("blue"))), Is("unread")))),
        ("red or blue", All((word("red"), word("or"), word("blue", beginning=True)))),
        ('"OR" fox', All((word("or"), word("fox", beginning=True)))),
        ("from:bob", Fact("from", "bob")),
        ("FROM:Bob", Fact("from", "Bob")),
        ('to:"Ann Lee"', Fact("to", "Ann Lee")),
        ("subject:re:", Fact("subject", "re:")),
        ("subject:-", Fact("subject", "-")),
        ("subject:-5", Fact("subject", "-5")),
        ("address:Shop@Example.org", DeliveredTo("shop@example.org")),
        ("in:trash", In("trash")),
        ("in:ALL", In("all")),
        ("is:starred", Is("starred")),
        ("-is:unread", Not(Is("unread"))),
        ("has:attachment", HasAttachment()),
        ("before:2026-05-01", Before(MAY)),
        ("after:2026-05-01", Since(MAY)),
        ("larger:5M", Larger(5 * 1024 * 1024)),
        ("larger:500", Larger(500)),
        ("smaller:20k", Smaller(20 * 1024)),
        ("12:30", word("12", "30", beginning=True)),
        ('"http://x.example"', word("http", "example")),
    ],
)
def test_a_search_means(text: str, meaning: Query | None) -> None:
    found = parse(text)
    assert meaning is None or found == meaning


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x", "column 1: a word to search for has two letters or digits at least"),
        ("fox &", "column 5: a word to search for has two letters or digits at least"),
        ('""', "column 1: a word to search for has two letters or digits at least"),
        ('fox "red', "column 5: this quote is not closed"),
        ('from:"bob', "column 6: this quote is not closed"),
        ("(fox", "column 1: this bracket is not closed"),
        ("fox)", "column 4: this bracket was not opened"),
        ("fox ()", "column 5: there is nothing in these brackets"),
        ("(-)", "column 2: there is nothing behind the -"),
        ("OR fox", "column 1: OR stands between two things"),
        ("fox OR", "column 5: OR stands between two things"),
        ("fox OR OR red", "column 5: OR stands between two things"),
        ("from:", 'column 1: "from:" needs something behind it, without a space'),
        ("from: bob", 'column 1: "from:" needs something behind it, without a space'),
        ("from:(bob)", 'column 1: "from:" needs something behind it, without a space'),
        ('from:" "', 'column 6: "from:" needs a text'),
        ("address:@", 'column 9: "address:" needs a text'),
        ("in:spam", 'column 4: "in:" is one of inbox, archive, trash, held, all'),
        ("is:read", 'column 4: "is:" is unread or starred'),
        ("has:body", 'column 5: "has:" is attachment'),
        ("before:yesterday", 'column 8: "before:" needs a day, as 2026-05-01'),
        ("after:2026-02-30", 'column 7: "after:" needs a day, as 2026-05-01'),
        ("after:1969-12-31", 'column 7: "after:" needs a day, as 2026-05-01'),
        ("larger:-5", 'column 8: "larger:" needs a size, as 500, 20K or 5M'),
        ("smaller:5T", 'column 9: "smaller:" needs a size, as 500, 20K or 5M'),
        ("formm:bob", 'column 1: "formm:" is not known; did you mean "from:"'),
        (
            "see http://x.example",
            'column 5: "http:" is not known; put quotes around it to search for it',
        ),
        ("fox " * 51, "column 201: at most 50 things can be searched for at once"),
        ("(" * 11 + "fox", "column 11: brackets go 10 deep at most"),
        ("x" * 1001, "column 1001: a search has at most 1000 characters"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_column(text: str, why: str) -> None:
    with pytest.raises(BadQuery) as refused:
        parse(text)
    assert refused.value.public == why


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fox", False),
        ("in:trash", True),
        ("fox -in:trash", True),
        ("fox (red OR in:all)", True),
        ("-(red blue)", False),
    ],
)
def test_it_says_itself_where_to_look(text: str, told: bool) -> None:  # noqa: FBT001
    assert query.folders(parse(text)) == told


WORDS = [*query.NAMES, "fox", "OR", "-", "(", ")", '"', ":", " ", "é", "\0", "2026-05-01", "5M"]


@given(st.lists(st.sampled_from(WORDS), max_size=30).map("".join) | st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(BadQuery):
        parse(text)
