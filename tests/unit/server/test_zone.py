"""What one record may look like, where RFCs or taste allow for several; and the texts of a zone."""

import csv
import io

import pytest

from server.zone import NOBODY, Found, Plan, Record, as_csv, as_zone, judge, wanted

PLAN = Plan(
    "example.org",
    "mail.example.org",
    addresses=("192.0.2.10",),
    sends_via=NOBODY,
    mta_sts="enforce",
    tlsa="ab" * 32,
    ca="letsencrypt.org",
)


def record(key: str, plan: Plan = PLAN) -> Record:
    return next(each for each in wanted(plan) if each.key == key)


@pytest.mark.parametrize(
    ("key", "value", "state"),
    [
        ("mx", "0 mail.example.org.", "ok"),
        ("mx", "0 .", "wrong"),  # RFC 7505: takes no mail
        ("spf", "V=SPF1 -all", "ok"),
        ("spf", "v=spf1 ~all", "wrong"),
        ("spf", "v=spf1", "wrong"),
        ("spf", "v=spf2.0/pra -all", "missing"),
        ("dmarc", "v=DMARC1; p=reject; sp=none", "wrong"),
        ("dmarc", "v=DMARC1; p=reject; pct=10", "wrong"),
        ("dmarc", "v=DMARC1; p=Reject; aspf=r", "ok"),
        ("dmarc", "v=DMARC1; rua=mailto:x@example.org", "wrong"),
        ("dkim", "p=", "ok"),
        ("dkim", "v=DKIM1; k=rsa; p=AAAA", "wrong"),
        ("tls-rpt", "v=TLSRPTv1;rua=https://reports.example/", "ok"),
        ("caa", '128 issue "letsencrypt.org"', "ok"),
        ("caa", '0 issuewild "letsencrypt.org"', "missing"),
        ("srv", "9 9 995 mail.example.org.", "ok"),
        ("srv", "0 0 0 .", "wrong"),  # RFC 6186 section 3.4: there is no such service
        ("autoconfig", "192.0.2.10", "ok"),
        ("autoconfig", "192.0.2.11", "wrong"),
    ],
)
def test_a_record_may_say_the_same_in_other_words(key: str, value: str, state: str) -> None:
    assert judge(record(key), Found((value,))) == state


def test_two_texts_where_one_may_be_void_each_other() -> None:
    for key, text in (("spf", "v=spf1 -all"), ("dmarc", "v=DMARC1; p=reject")):
        assert judge(record(key), Found((text, text + " "))) == "extra"


def test_without_known_addresses_any_will_do() -> None:
    unknown = record("address", Plan("example.org", "mail.example.org"))
    assert judge(unknown, Found(("198.51.100.7",))) == "ok"
    assert judge(unknown, Found()) == "missing"


def test_who_sends_for_the_domain_is_named_and_may_prefer_softfail() -> None:
    plan = Plan("example.org", "mail.example.org", sends_via="include:a.example ip4:192.0.2.0/24")
    spf = record("spf", plan)
    assert spf.values == ("v=spf1 include:a.example ip4:192.0.2.0/24 -all",)
    both = "v=spf1 ip4:192.0.2.0/24 include:a.example"
    assert judge(spf, Found((f"{both} ~all",))) == "ok"
    assert judge(spf, Found((f"{both} ?all",))) == "wrong"
    assert judge(spf, Found(("v=spf1 include:a.example -all",))) == "wrong"
    assert "p=none" in record("dmarc", plan).values[0]


def test_what_would_break_mail_is_not_there_while_nobody_knows_who_sends() -> None:
    keys = {each.key for each in wanted(Plan("example.org", "mail.example.org"))}
    assert not keys & {"spf", "dkim"}
    assert {"mx", "address", "dmarc"} <= keys


def test_the_host_may_be_the_domain_itself() -> None:
    plan = Plan("example.org", "example.org", sends_via=NOBODY)
    assert [each.name for each in wanted(plan) if each.key == "spf"] == ["example.org"]


def test_a_zone_file_has_every_record_once() -> None:
    text = as_zone(wanted(PLAN))
    lines = [line for line in text.splitlines() if not line.startswith(";")]
    assert "example.org. 3600 IN MX 10 mail.example.org." in lines
    assert "mail.example.org. 3600 IN A 192.0.2.10" in lines
    assert 'example.org. 3600 IN TXT "v=spf1 -all"' in lines
    assert len(lines) == len(set(lines)) == sum(len(each.values) for each in wanted(PLAN))


def test_a_long_text_is_several_strings_and_quotes_are_escaped() -> None:
    long = Plan("example.org", "mail.example.org", sends_via=" ".join(["ip4:192.0.2.1"] * 30))
    [line] = [each for each in as_zone(wanted(long)).splitlines() if "192.0.2.1 ip4" in each]
    strings = line.partition("TXT ")[2].removeprefix('"').removesuffix('"').split('" "')
    assert max(map(len, strings)) == 255
    assert "".join(strings) == record("spf", long).values[0]


def test_csv_has_a_line_for_each_value() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(wanted(PLAN)))))
    assert rows[0] == {
        "tier": "1",
        "name": "example.org",
        "type": "MX",
        "value": "10 mail.example.org.",
        "why": "where mail goes",
    }
    assert len(rows) == sum(len(each.values) for each in wanted(PLAN))
