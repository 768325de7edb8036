"""RFC 8601: our results, and that nothing from outside may speak in our name (section 5)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.results import GAP_OCTETS, Result, ours, without_ours

OURS = "mail.example.org"

FORGED = [
    # RFC 8601 appendix B: the ordinary forms
    b"Authentication-Results: mail.example.org; spf=pass smtp.mailfrom=example.net\r\n",
    b"Authentication-Results: mail.example.org; none\r\n",
    b"Authentication-Results: mail.example.org 1; dkim=pass\r\n",  # a version
    b"Authentication-Results: mail.example.org\r\n",
    b"Authentication-Results:mail.example.org;none\r\n",
    b"AUTHENTICATION-results :\t MAIL.Example.ORG ; none\r\n",
    b"authentication-results:\r\n\tmail.example.org;\r\n\tspf=pass;\r\n dkim=pass\r\n",
    b"Authentication-Results: (a (nested \\) one)) mail.example.org (x) 1 (y); none\r\n",
    b"Authentication-Results: (a)\r\n (b)mail.example.org(c);none\r\n",
    b'Authentication-Results: "mail.example.org"; none\r\n',
    b'Authentication-Results: "m\\ail.example.org" 1; none\r\n',
    b"Authentication-Results: mail.example.org.; none\r\n",  # the root label written out
    b"Authentication-Results: mail.example.org/1; none\r\n",  # our name, whatever that is
    # Deeper, or further on, than anybody honest goes: who knows what others read there
    b"Authentication-Results: " + b"(" * 9 + b")" * 9 + b" mail.example.org; none\r\n",
    b"Authentication-Results: (" + b"x" * GAP_OCTETS + b") mail.example.org; none\r\n",
    b"Authentication-Results: " + b" " * GAP_OCTETS + b"mail.example.org; none\r\n",
]
# No octet of the gap's limit lets a name slip through in two parts.
FORGED += [
    b"Authentication-Results: (" + b"x" * (GAP_OCTETS - less) + b")mail.example.org; none\r\n"
    for less in range(30)
]

OTHERS = [
    b"Authentication-Results: mx.example.net; spf=pass\r\n",
    b"Authentication-Results: mail.example.org.example.net; none\r\n",
    b"Authentication-Results: mail.example.orgy; none\r\n",
    b"Authentication-Results: xmail.example.org; none\r\n",
    b"Authentication-Results: example.org; none\r\n",
    b"Authentication-Results: mx.example.net; x=y (mail.example.org)\r\n",
    b"Authentication-Results: (mail.example.org) mx.example.net; none\r\n",
    b"Authentication-Results: mx.example.net;\r\n mail.example.org; none\r\n",
    b"Authentication-Results: \xff\xfe; none\r\n",
    b"Authentication-Results: ; mail.example.org\r\n",
    b"Authentication-Results:\r\n",
    b'Authentication-Results: "mail.example.org\r\n',
    b"ARC-Authentication-Results: i=1; mail.example.org; none\r\n",
    b"X-Authentication-Results: mail.example.org; none\r\n",
    b"Authentication-Results-Original: mail.example.org; none\r\n",
    b"Authentication-Results mail.example.org; none\r\n",
    b"Subject: Authentication-Results: mail.example.org; none\r\n",
    b"Subject: x\r\n Authentication-Results: mail.example.org; none\r\n",
]
BODY = b"\r\nAuthentication-Results: mail.example.org; none\r\n\r\n" + FORGED[0]


@pytest.mark.parametrize("field", FORGED, ids=lambda field: ascii(field[24:60]))
def test_a_field_in_our_name_goes(field: bytes) -> None:
    assert without_ours(field + BODY, OURS) == BODY
    around = b"A: 1\r\n" + field + b"B: 2\r\n" + field + field + b"C: 3\r\n" + BODY
    assert without_ours(around, OURS) == b"A: 1\r\nB: 2\r\nC: 3\r\n" + BODY
    assert without_ours(field, OURS) == b""  # a header and nothing else


@pytest.mark.parametrize("field", OTHERS, ids=lambda field: ascii(field[:60]))
def test_any_other_stays_octet_for_octet(field: bytes) -> None:
    for content in (field, field + BODY, b"A: 1\r\n" + field + b"B: 2\r\n" + BODY):
        assert without_ours(content, OURS) == content


@given(st.lists(st.sampled_from(FORGED + OTHERS), max_size=8))
def test_of_any_mixture_ours_go_and_others_stay_in_their_order(chosen: list[bytes]) -> None:
    left = b"".join(field for field in chosen if field in OTHERS)
    assert without_ours(b"".join(chosen) + BODY, OURS) == left + BODY


@pytest.mark.parametrize("name", ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example"])
@pytest.mark.parametrize("hostname", ["bücher.example", "xn--bcher-kva.example"])
def test_a_name_of_other_letters_is_one_name(name: str, hostname: str) -> None:
    # RFC 8601 section 2.5
    field = f"Authentication-Results: {name}; none\r\n".encode()
    assert without_ours(field + BODY, hostname) == BODY


@pytest.mark.parametrize(
    "piece",
    [b"(", b"()", b"(\\", b'"', b"a", b"\\", b"\r\n ", b"Authentication-Results:\r\n", b"\xc3"],
)
def test_hostile_fields_come_to_an_end(piece: bytes) -> None:
    content = b"Authentication-Results: " + piece * (1_000_000 // len(piece)) + b"\r\n\r\n"
    left = without_ours(content, OURS)
    assert re.fullmatch(rb"(?:Authentication-Results: .*)?\r\n", left, re.DOTALL)


def test_our_field() -> None:
    # RFC 8601 sections 2.2 and 2.6: a result a line, and a word for no results.
    results = [
        Result("spf", "pass", properties=(("smtp.mailfrom", "example.net"),)),
        Result("dkim", "fail", "the body was changed", (("header.d", "a.test"), ("header.s", "s"))),
        Result("x-a", "pass", "", (("policy.b", 'a "b" \\ c'),)),
    ]
    assert ours(OURS, results) == (
        "Authentication-Results: mail.example.org;\r\n"
        "\tspf=pass smtp.mailfrom=example.net;\r\n"
        "\tdkim=fail (the body was changed) header.d=a.test header.s=s;\r\n"
        '\tx-a=pass policy.b="a \\"b\\" \\\\ c"'
    )
    assert ours(OURS, []) == "Authentication-Results: mail.example.org; none"


def test_what_we_say_would_be_taken_from_others() -> None:
    field = ours(OURS, [Result("spf", "pass")]).encode() + b"\r\n"
    assert without_ours(field + b"\r\nhello\r\n", OURS) == b"\r\nhello\r\n"
