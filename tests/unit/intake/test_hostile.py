"""Whatever strangers publish or send has a result: nothing of it is a fault of ours."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from intake import chain, dmarc, spf
from intake.judge import Answers, Client, judge
from intake.signatures import BodyHash, Refused, fields_of, key_of
from intake.verify import read_marks
from mail.address import Address, parse_domain
from mail.results import ours
from net.resolve import Answer, Kind, NoAnswer

NOW = datetime(2026, 5, 1, tzinfo=UTC).timestamp()
RESULTS = {"pass", "fail", "softfail", "neutral", "none", "permerror", "temperror"}

pieces = st.sampled_from(
    [
        *(
            "a",
            "mx",
            "ptr",
            "all",
            "include:",
            "exists:",
            "redirect=",
            "exp=",
            "ip4:",
            "ip6:",
            "x=",
        ),
        *("%{", "%%", "%_", "%-", "}", "%{d}", "%{i}", "%{p}", "%{l1r-}", "%{S0}", "%{h99999999r}"),
        *("/", "//", "0", "32", "033", "129", ":", ".", "..", "-", "+", "~", "?", " ", "=", ","),
        *("a.test", "b.test", "192.0.2.1", "2001:db8::1", "é", "\0", "\x7f", "A" * 70),
    ]
)
records = st.lists(pieces, max_size=12).map(lambda found: ("v=spf1 " + "".join(found)).encode())


@given(
    zone=st.dictionaries(st.sampled_from(["a.test", "b.test", "_spf.test"]), records),
    ip=st.sampled_from(["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"]),
    sender=st.sampled_from(["x@a.test", "@a.test", "ä@a.test", "x@a", "x@", "", "a b@b.test"]),
    helo=st.sampled_from(["a.test", "[192.0.2.1]", "x", "%{d}"]),
)
@settings(max_examples=300)
@example({"a.test": b"v=spf1 exists:%{d" + b"9" * 5000 + b"}.x.test"}, "192.0.2.1", "x@a.test", "a")
def test_any_record_of_spf_has_a_result(
    zone: Mapping[str, bytes], ip: str, sender: str, helo: str
) -> None:
    asked = 0

    async def ask(name: str, kind: Kind) -> Answer:
        nonlocal asked
        asked += 1
        if kind == "TXT":
            return Answer((zone[name],)) if name in zone else Answer(name_exists=False)
        if name == "b.test":
            raise NoAnswer
        texts = {"A": "192.0.2.1", "AAAA": "2001:db8::1"}.get(kind, "a.test")
        return Answer((texts.encode(),))

    verdict = asyncio.run(spf.check(ask, ip, sender=sender, helo=helo))
    assert verdict.result in RESULTS
    assert asked < 100


tags = st.sampled_from(
    [
        *("v=1", "a=rsa-sha256", "a=ed25519-sha256", "d=a.test", "s=s", "bh=AAAA", "b=AAAA", "b="),
        *("h=from", "h=from:from:x", "h=arc-seal:from", "c=relaxed", "c=relaxed/simple", "l=3"),
        *("x=1", "t=99", "i=1", "i=2", "i=51", "i=x@a.test", "cv=none", "cv=pass", "cv=fail"),
        *(
            " ",
            "=",
            "q",
            "a b=c",
            "\r\n\t",
            "é",
            "d=" + "a" * 300,
            "s=../x",
            "l=99999999999999999999",
        ),
    ]
)
values = st.lists(tags, max_size=9).map(";".join)
names = st.sampled_from(
    [
        *("DKIM-Signature", "ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"),
        *("From", "from ", "X", ""),
    ]
)
headers = st.lists(st.tuples(names, values), max_size=8).map(
    lambda found: "".join(f"{name}:{value}\r\n" for name, value in found).encode()
)
GOOD = "v=1; a=rsa-sha256; d=a.test; s=s; h=from; bh=AAAA; b=AAAA"


@given(
    header=headers,
    record=st.one_of(st.binary(max_size=60), values.map(str.encode), st.just(b"p=AAAA")),
    policy=st.one_of(st.binary(max_size=60), st.just(b"v=DMARC1; p=reject")),
)
@settings(max_examples=300)
@example(f"From: x@a.test\r\nDKIM-Signature: {GOOD}\r\n".encode(), b"p=", b"v=DMARC1; p=none")
def test_any_header_has_results_that_can_be_shown(
    header: bytes, record: bytes, policy: bytes
) -> None:
    async def ask(_name: str, _kind: Kind) -> Answer:
        return Answer((policy,))

    marks = read_marks(header)
    answers = Answers(
        spf={"helo": spf.Verdict("pass"), "mailfrom": spf.Verdict("pass")},
        bodies={form: BodyHash(2, b"\0\0\0") for form in marks.forms},
        policy=asyncio.run(dmarc.find(ask, parse_domain("a.test"))),
        policy_known=True,
    )
    answers.keys.update({"s._domainkey.a.test": (record,)})
    client = Client("192.0.2.1", "a.test", Address.parse("x@a.test"))
    found = judge(client, marks, answers, ["a.test"], NOW)
    shown = ours("mail.example.test", found.results)
    assert shown.isascii()
    assert shown.replace("\r\n\t", "").isprintable()


@given(header=headers)
def test_a_chain_is_read_or_refused(header: bytes) -> None:
    try:
        found = chain.read(fields_of(header, 1000))
    except Refused:
        return
    assert found is None or list(found.sealed())


@given(record=st.one_of(st.binary(max_size=200), values.map(str.encode)))
def test_a_key_is_read_or_refused(record: bytes) -> None:
    marks = read_marks(f"DKIM-Signature: {GOOD}\r\n".encode())
    [signature] = marks.signatures
    with pytest.raises(Refused):
        key_of([record], signature)  # type: ignore[arg-type]
