"""The prefix: RFC 5321 section 4.4 as a pattern, and strangers who type what they like."""

import re
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mail.address import Address, DomainName
from mail.ident import UniqueId
from mail.lines import canonical, measure
from mail.results import without_ours
from mail.trace import HOPS, Hop, clients, letter, loops, prefix

AT = datetime(2026, 5, 1, 10, 2, 3, tzinfo=UTC)
UID = UniqueId.first_of(AT)
ANN = Address("ann", DomainName("example.org"))
BOB = Address("bob", DomainName("example.net"))
HOP = Hop("192.0.2.7", "mx.example.net", "mail.example.org", "ESMTP", None, UID, AT)

_SUB = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_DOMAIN = rf"{_SUB}(?:\.{_SUB})*"
_LITERAL = r"\[(?:[0-9.]+|IPv6:[0-9a-fA-F:.]+)\]"
_DATE = r"[A-Z][a-z]{2}, \d\d? [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}"
_FWS = r"(?: |\r\n\t)"
# RFC 5321 section 4.4, RFC 3848 and 6531 (protocols), RFC 8314 section 4.3 (tls).
RECEIVED = re.compile(
    rf"Received: from (?:{_DOMAIN}|{_LITERAL}){_FWS}\({_LITERAL}\)\r\n"
    rf"\tby {_DOMAIN}{_FWS}with (?:SMTP|ESMTPS?|UTF8SMTPS?){_FWS}id [0-9a-z]+"
    r"(?:\r\n\tfor <[^\r\n]+>)?"
    rf"(?:\r\n\ttls [A-Za-z][A-Za-z0-9_]*(?:{_FWS}\(TLSv1\.[0-9]\))?)?"
    rf";\r\n\t{_DATE}\r\n"
)


def received(octets: bytes) -> str:
    """The third of the three fields, after a look at the first two."""
    text = octets.decode()
    path, delivered, rest = re.split(r"\r\n(?!\t)", text, maxsplit=2)
    assert re.match(rf"Return-Path:{_FWS}<", path)
    assert re.match(rf"Delivered-To:{_FWS}[^ ]", delivered)
    assert RECEIVED.fullmatch(rest), rest
    return rest


def test_what_a_prefix_looks_like() -> None:
    assert prefix(HOP, sender=BOB, recipient=ANN, shown=True).decode() == (
        "Return-Path: <bob@example.net>\r\n"
        "Delivered-To: ann@example.org\r\n"
        "Received: from mx.example.net ([192.0.2.7])\r\n"
        f"\tby mail.example.org with ESMTP id {UID}\r\n"
        "\tfor <ann@example.org>;\r\n"
        "\tFri, 01 May 2026 10:02:03 +0000\r\n"
    )


def test_a_bounce_has_an_empty_return_path() -> None:
    octets = prefix(HOP, sender=None, recipient=ANN, shown=False)
    assert octets.startswith(b"Return-Path: <>\r\n")


def test_several_recipients_are_not_told_of_each_other() -> None:
    # RFC 5321 section 7.2
    assert "for" not in received(prefix(HOP, sender=BOB, recipient=ANN, shown=False)).split()


@pytest.mark.parametrize(
    ("helo", "expected"),
    [
        ("MX.Example.NET", "mx.example.net"),
        ("localhost", "localhost"),
        ("my_host.example", "my_host.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("[192.0.2.9]", "[192.0.2.9]"),
        ("[IPv6:2001:DB8::9]", "[IPv6:2001:db8::9]"),
        ("", "unknown"),
        ("mx example net", "unknown"),
        ("mx.example.net.", "unknown"),
        ("[192.0.2.999]", "unknown"),
        ("[IPv6:fe80::1%(]", "unknown"),
        ("mx.example.net\r\nX-Forged: yes", "unknown"),
        ("mx.example.net\n\nbody", "unknown"),
        ("mx\0.example.net", "unknown"),
        ("mx.example.net) by bank.example (", "unknown"),
    ],
)
def test_from_names_a_host_or_nobody(helo: str, expected: str) -> None:
    field = received(prefix(replace(HOP, helo=helo), sender=BOB, recipient=ANN, shown=True))
    assert field.startswith(f"Received: from {expected} ([192.0.2.7])\r\n")


@pytest.mark.parametrize(
    ("peer_ip", "literal"),
    [
        ("192.0.2.7", "[192.0.2.7]"),
        ("2001:db8::7", "[IPv6:2001:db8::7]"),
        ("::1", "[IPv6:::1]"),
        ("::ffff:192.0.2.7", "[192.0.2.7]"),
    ],
)
def test_the_peer_is_an_address_literal(peer_ip: str, literal: str) -> None:
    # RFC 5321 section 4.1.3
    field = received(prefix(replace(HOP, peer_ip=peer_ip), sender=BOB, recipient=ANN, shown=True))
    assert f" ({literal})\r\n" in field


@pytest.mark.parametrize(
    ("cipher", "registered"),
    [
        ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
        # OpenSSL has names of its own for TLS 1.2; the clause has those of the IANA registry.
        ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
        ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ],
)
@pytest.mark.parametrize("shown", [True, False])
def test_the_cipher_suite_is_named(cipher: str, registered: str, *, shown: bool) -> None:
    # RFC 8314 section 4.3
    hop = replace(HOP, protocol="ESMTPS", cipher=cipher)
    field = received(prefix(hop, sender=BOB, recipient=ANN, shown=shown))
    assert f"\r\n\ttls {registered};\r\n" in field


def test_the_version_of_tls_stands_beside_its_cipher_suite() -> None:
    hop = replace(HOP, protocol="ESMTPS", cipher="TLS_AES_256_GCM_SHA384", tls_version="TLSv1.3")
    field = received(prefix(hop, sender=BOB, recipient=ANN, shown=True))
    assert "\r\n\ttls TLS_AES_256_GCM_SHA384 (TLSv1.3);\r\n" in field


@pytest.mark.parametrize(
    ("protocol", "shown"),
    [("SMTP", "SMTP"), ("ESMTP", "UTF8SMTP"), ("ESMTPS", "UTF8SMTPS")],
)
def test_a_transaction_of_smtputf8_is_called_so(protocol: str, shown: str) -> None:
    # RFC 6531 section 3.7.3; without EHLO there is no such transaction.
    hop = replace(HOP, protocol=protocol, smtputf8=True)
    assert f" with {shown} id " in received(prefix(hop, sender=BOB, recipient=ANN, shown=True))


def test_utf_8_stands_only_in_a_message_whose_transaction_asked_for_it() -> None:
    # RFC 6531 section 3.7.3, RFC 6532 section 3.6
    rene = Address("rené", DomainName("example.org"))
    hop = replace(HOP, smtputf8=True)
    for sender, recipient, lost in (
        (BOB, rene, {"Delivered-To: rené@example.org", "\tfor <rené@example.org>;"}),
        (rene, ANN, {"Return-Path: <rené@example.org>"}),
    ):
        whole = prefix(hop, sender=sender, recipient=recipient, shown=True).decode().split("\r\n")
        assert lost <= set(whole)
        octets = prefix(HOP, sender=sender, recipient=recipient, shown=True)
        assert octets.isascii()
        shown = f"with ESMTP id {UID}"
        assert shown in octets.decode()
        left = {line.replace("UTF8SMTP", "ESMTP").rstrip(";") for line in whole} - {
            line.rstrip(";") for line in lost
        }
        assert {line.rstrip(";") for line in octets.decode().split("\r\n")} == left


@pytest.mark.parametrize("ip", ["192.0.2.7", "2001:db8:1234:5678:9abc:def0:1234:5678"])
@pytest.mark.parametrize("host", ["mx.example.net", "a" * 40 + ".example.net", "b" * 63 + ".org"])
def test_lines_are_short_where_a_space_lets_them_be(ip: str, host: str) -> None:
    # RFC 5322 section 2.1.1: 78 characters; a word of ours alone may be longer.
    hop = Hop(
        *(ip, host, host, "ESMTPS", "ECDHE-RSA-CHACHA20-POLY1305", UID, AT),
        tls_version="TLSv1.2",
    )
    octets = prefix(hop, sender=BOB, recipient=Address("ann", DomainName(host)), shown=True)
    received(octets)
    for line in octets.decode().split("\r\n"):
        assert len(line) <= 78 or (host in line and len(line.split()) <= 3), line


def test_the_longest_names_stay_within_what_a_line_may_have() -> None:
    # RFC 5322 section 2.1.1: 998
    longest = DomainName(".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61]))
    hop = replace(HOP, helo=longest, by=longest, protocol="ESMTPS", cipher="TLS_AES_128_GCM_SHA256")
    address = Address("q" * 64, longest)
    octets = prefix(hop, sender=address, recipient=address, shown=True)
    received(octets)
    assert max(map(len, octets.split(b"\r\n"))) < 400


def test_the_date_keeps_its_zone() -> None:
    hop = replace(HOP, at=AT.astimezone(timezone(timedelta(hours=-7))))
    field = received(prefix(hop, sender=BOB, recipient=ANN, shown=True))
    assert field.endswith("\tFri, 01 May 2026 03:02:03 -0700\r\n")


@given(st.text(max_size=60))
@example("a\r\n b")
@example("[IPv6:::1]\r\nX: y")
@example("é\u2028\u0085")
def test_nothing_typed_at_helo_adds_a_line(helo: str) -> None:
    octets = prefix(replace(HOP, helo=helo), sender=BOB, recipient=ANN, shown=True)
    received(octets)
    assert octets.count(b"\r\n") == 6


LOCALS = st.text(
    st.characters(min_codepoint=0x20, exclude_characters="\x7f", exclude_categories=["Cc", "Cs"]),
    max_size=16,
)


@given(LOCALS, LOCALS)
def test_a_prefix_is_canonical_and_only_header_whatever_the_addresses(
    sender: str, recipient: str
) -> None:
    octets = prefix(
        replace(HOP, smtputf8=True),
        sender=Address(sender, DomainName("example.net")),
        recipient=Address(recipient, DomainName("example.org")),
        shown=True,
    )
    assert canonical(octets) == octets
    assert all(len(line) <= 998 for line in octets.split(b"\r\n"))  # RFC 5322 section 2.1.1
    measures = measure(octets, b"")
    assert (measures.header_size, measures.dotted) == (len(octets), False)
    lines = octets.decode().split("\r\n")
    assert lines[0] == f"Return-Path: <{Address(sender, DomainName('example.net'))}>"
    assert lines[1] == f"Delivered-To: {Address(recipient, DomainName('example.org'))}"


RECEIVED_FIELD = b"Received: from a.example by b.example;\r\n\tFri, 01 May 2026 10:02:03 +0000\r\n"


@pytest.mark.parametrize(
    ("header", "circle"),
    [
        # RFC 5321 section 6.3: the limit is no lower than 100.
        (RECEIVED_FIELD * 100, False),
        (RECEIVED_FIELD * 101, True),
        (b"X-Received: x\r\n" * 200, False),
        (b"Received-SPF: pass\r\n" * 200, False),
        (b"X: y\r\n Received: x\r\n" * 200, False),
        (b"rEcEiVeD \t: x\r\n" * 101, True),
        (b"Delivered-To: eve@example.org\r\n" * 100, False),
        (b"Delivered-To: eve@example.org\r\n" * 101, True),
        (b"Authentication-Results: x\r\n" * 100, False),
        (b"Authentication-Results: x\r\n" * 101, True),
        (b"Delivered-To: ann@example.org\r\n", True),
        (b"Subject: x\r\ndelivered-to:\r\n\t<ANN@Example.ORG>\r\n", True),
        (b'Delivered-To: "ann"@example.org\r\n', True),
        (b"Delivered-To: eve@example.org\r\nDelivered-To: ann@example.org\r\n", True),
        (b"Delivered-To: ann+x@example.org\r\n", False),
        (b"Delivered-To: ann@example.net\r\n", False),
        (b"Delivered-To: ann\r\n", False),
        (b"Delivered-To: \xff\r\n", False),
        (b"X-Delivered-To: ann@example.org\r\n", False),
        (b"To: ann@example.org\r\n", False),
        (b"", False),
    ],
)
def test_circles(header: bytes, circle: bool) -> None:  # noqa: FBT001
    assert loops(header, [BOB, ANN]) == circle


@pytest.mark.parametrize(
    "piece",
    [
        *(b"Received: x\r\n", b"Received\r\n", b"Received ", b"Received"),
        *(b"Delivered-To: x@y\r\n", b"Delivered-To:\r\n ann@example.com\r\n", b"Delivered-To:"),
        *(b"Authentication-Results: x\r\n", b"Authentication-Results: mail.example.org\r\n"),
        *(b"x", b"x\r\n", b"\r\n ", b"\r\n\t", b"("),
    ],
)
@pytest.mark.parametrize("first", [b"X:", b"Delivered-To: ", b"Authentication-Results: (x)"])
def test_a_hostile_header_is_no_more_work_for_being_longer(first: bytes, piece: bytes) -> None:
    """What is done for each octet is done in C; what is done in Python has a bound."""

    header = first + b"\r\n" * piece.endswith(b"\n") + piece * 20_000 + b"\r\n"
    steps = 0

    def step(*_: object) -> None:
        nonlocal steps
        steps += 1

    before = sys.getprofile()
    sys.setprofile(step)
    try:
        if not loops(header, [ANN]):
            without_ours(header, HOP.by)
    finally:
        sys.setprofile(before)
    assert steps < 30 * HOPS


def test_what_we_write_is_what_we_know_a_circle_by() -> None:
    rene = Address("René x", DomainName("example.org"))
    hop = replace(HOP, smtputf8=True)
    long = Address("q" * 64, DomainName(".".join(["a" * 63] * 3)))
    for recipient in (ANN, rene, long):
        header = prefix(hop, sender=BOB, recipient=recipient, shown=False)
        assert loops(header, [recipient])
        assert not loops(header, [BOB])


def test_a_letter_is_canonical_utf_8() -> None:
    octets = letter(
        sender="Restante <postmaster@example.org>",
        recipient=ANN,
        subject="Welcome",
        at=AT,
        text="Grüße,\n\n.dotted\nthe end",
    )
    assert canonical(octets) == octets
    head, _, body = octets.decode().partition("\r\n\r\n")
    assert body == "Grüße,\r\n\r\n.dotted\r\nthe end\r\n"
    fields = dict(line.split(": ", 1) for line in head.split("\r\n"))
    assert fields["To"] == "<ann@example.org>"
    assert fields["Date"] == "Fri, 01 May 2026 10:02:03 +0000"
    assert fields["Content-Type"] == "text/plain; charset=utf-8"
    assert fields["Content-Transfer-Encoding"] == "8bit"


def test_what_was_found_stands_above_received() -> None:
    found = ["Authentication-Results: mail.example.org; none", "X-Spam-Flag: YES"]
    text = prefix(HOP, sender=BOB, recipient=ANN, shown=True, found=found).decode()
    names = [line.partition(":")[0] for line in text.splitlines() if not line.startswith("\t")]
    assert names == [
        *("Return-Path", "Delivered-To", "Authentication-Results", "X-Spam-Flag", "Received"),
    ]


def test_the_clients_of_the_servers_before_us() -> None:
    header = (
        b"Received: from a.test (a.test [192.0.2.7])\r\n\tby mx; x\r\n"
        b"Subject: hello\r\n"
        b"Received: from b.test ([IPv6:2001:db8::1])\r\n\tby a; x\r\n"
        b"Received: by b.test with HTTP; x\r\n"
        b"Received: from c.test ([192.0.2.9]) by b; x\r\n"
    )
    assert list(clients(header)) == [("192.0.2.7", "a.test"), ("2001:db8::1", "b.test")]
    assert list(clients(b"Received: from a.test ([192.0.2.999]) by mx; x\r\n")) == []


def test_the_clients_of_a_server_like_us() -> None:
    header = prefix(HOP, sender=BOB, recipient=ANN, shown=True)
    assert list(clients(header)) == [("192.0.2.7", "mx.example.net")]
