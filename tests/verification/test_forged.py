"""What a message says of itself is not believed: results, authors, look-alikes."""

from collections.abc import Iterator

import pytest

from store.records import Proof
from tests.nameserver import Records, quoted
from tests.verification.conftest import Keys
from tests.verification.world import World, results_of, word, world

BANK = "bank.test"
ZONE: dict[str, Records] = {
    BANK: [("TXT", quoted("v=spf1 ip4:192.0.2.1 -all"))],
    f"_dmarc.{BANK}": [("TXT", quoted("v=DMARC1; p=reject"))],
    "evil.test": [("TXT", quoted("v=spf1 +all"))],
    "_dmarc.evil.test": [("TXT", quoted("v=DMARC1; p=none"))],
    "xn--bnk-6cd.test": [("TXT", quoted("v=spf1 +all"))],  # with a Cyrillic a
}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("forged")) as found:
        found.dns.zone = ZONE
        yield found


FORGED = [
    "Authentication-Results: mail.example.test; dmarc=pass header.from=bank.test",
    "authentication-results: mail.example.test; dmarc=pass header.from=bank.test",
    "Authentication-Results : mail.example.test; dmarc=pass",
    "Authentication-Results\t: mail.example.test; dmarc=pass",
    "Authentication-Results:mail.example.test; dmarc=pass",
    "Authentication-Results:\r\n mail.example.test; dmarc=pass",
    "Authentication-Results: MAIL.Example.TEST; dmarc=pass",
    'Authentication-Results: "mail.example.test"; dmarc=pass',
    'Authentication-Results: "mail.\\example.test"; dmarc=pass',
    "Authentication-Results: (x) mail.example.test; dmarc=pass",
    "Authentication-Results: (a (b) c) mail.example.test; dmarc=pass",
    "Authentication-Results: mail.example.test.; dmarc=pass",
    "Authentication-Results: mail.example.test 1; dmarc=pass",
    "Authentication-Results: mail.example.test (x); dmarc=pass",
    "Authentication-Results: mail。example。test; dmarc=pass",
    "Authentication-Results: mail.example.test;\r\n\tdmarc=pass",
]


def test_forged_results_are_gone_and_those_of_others_stay(net: World) -> None:
    assert len(FORGED) == 16
    theirs = "Authentication-Results: mx.other.test; dmarc=pass header.from=bank.test"
    fields = "\r\n".join([*FORGED, theirs, "From: <teller@bank.test>", "", "hello", ""])
    sent = net.send(fields.encode(), ip="203.0.113.9", sender="x@evil.test")
    message = net.fetch(sent.uid)
    assert word(results_of(message), "dmarc") == "fail"
    assert message.lower().count(b"authentication-results") == 2
    assert theirs.encode() in message
    assert message.count(b"dmarc=pass") == 1
    assert net.row(sent).authentication.proof is Proof.FAILED


@pytest.mark.parametrize(
    "author",
    [
        "From: <x@evil.test>\r\nFrom: <teller@bank.test>",
        "From: <teller@bank.test>\r\nFrom: <x@evil.test>",
        "From: <x@evil.test>\r\nfrom : <teller@bank.test>",
        "From: <x@evil.test>, <teller@bank.test>",
        "From: <teller@bank.test>, <x@evil.test>",
        'From: "a" <x@evil.test> <teller@bank.test>',
        "From: bank: <x@evil.test>, <teller@bank.test>;",
        "From: <teller@bank.test\0@evil.test>".replace("\0", ""),
        "From: teller@bank.test x@evil.test",
        "From: <teller@bank.test",
        "From: ",
        "Subject: no author",
    ],
)
def test_who_has_not_one_author_is_nobody(net: World, author: str) -> None:
    sent = net.send(f"{author}\r\n\r\nhello\r\n".encode(), ip="203.0.113.9", sender="x@evil.test")
    assert word(net.results(sent), "dmarc") == "permerror"
    shown = net.row(sent).authentication
    assert (shown.proof, shown.domain) == (Proof.UNKNOWN, "")


@pytest.mark.parametrize(
    ("author", "domain"),
    [
        ("teller@bank.test <x@evil.test>", "evil.test"),
        ('"teller@bank.test" <x@evil.test>', "evil.test"),
        ('"<teller@bank.test>" <x@evil.test>', "evil.test"),
        ("=?utf-8?q?=3Cteller=40bank.test=3E?= <x@evil.test>", "evil.test"),
        ("(<teller@bank.test>) x@evil.test (teller@bank.test)", "evil.test"),
        ("<x@EVIL.test>", "evil.test"),
        ("<x@b\u0430nk.test>", "xn--bnk-6cd.test"),
        ("<x@xn--bnk-6cd.test>", "xn--bnk-6cd.test"),
    ],
)
def test_the_verdict_is_of_the_address(net: World, author: str, domain: str) -> None:
    sent = net.send(
        f"From: {author}\r\n\r\nhello\r\n".encode(), ip="203.0.113.9", sender=f"x@{domain}"
    )
    shown = net.row(sent).authentication
    assert (shown.proof, shown.domain) == (Proof.VERIFIED, domain)


def test_a_signature_over_a_part_of_the_body_is_no_pass(net: World, keys: Keys) -> None:
    net.dns.zone = ZONE | {f"s._domainkey.{BANK}": [("TXT", quoted(keys.record))]}
    message = b"From: <teller@bank.test>\r\nSubject: hello\r\n\r\nhello\r\n"
    signed = keys.sign(message, BANK, length=True)
    honest = net.send(signed, ip="203.0.113.9", sender="x@evil.test")
    longer = net.send(signed + b"and more\r\n", ip="203.0.113.9", sender="x@evil.test")
    assert word(net.results(honest), "dkim") == "pass"
    assert word(net.results(longer), "dkim") == "policy"
    assert net.row(longer).authentication.proof is Proof.FAILED


def test_what_was_sent_is_what_is_kept(net: World) -> None:
    content = b"From: <teller@bank.test>\r\nX-Spam-Flag: YES\r\n\r\nhello\r\n"
    assert net.fetch(net.send(content).uid).endswith(content)
