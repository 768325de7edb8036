"""What is told of a domain's records, as a real name server and a real resolver have them."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from mail.mta_sts import policy_id, policy_text
from net.listen import Endpoint
from net.lookup import look
from net.resolve import NoAnswer, Resolver
from server.domain_dns import check_detail, check_table
from server.zone import NOBODY, Plan, wanted
from server.zone_survey import Survey, Surveyor
from tests.nameservers import BEHIND, SILENT, Nameservers, nameservers

HASH = "ab" * 32
POLICY = policy_id(policy_text("mail.right.test", "testing"))

RIGHT = f"""\
@ MX 10 mail
mail A 192.0.2.10
mail AAAA 2001:db8::10
@ TXT "some-site-verification=1"
@ TXT "v=spf1  -ALL"
mail TXT "v=spf1 -all"
_dmarc TXT "v=DMARC1;p=reject" "; rua=mailto:reports@else.example"
*._domainkey TXT "v=DKIM1; p="
_smtp._tls TXT "v=TLSRPTv1; rua=mailto:tlsrpt@right.test"
mta-sts A 192.0.2.10
autoconfig CNAME mail
_25._tcp.mail TLSA 3 1 1 {HASH}
_25._tcp.mail TLSA 3 1 1 {"cd" * 32}
@ CAA 0 iodef "mailto:x@right.test"
@ CAA 0 issue "LetsEncrypt.org; validationmethods=http-01"
@ CAA 0 issue "other.example"
_pop3s._tcp SRV 5 0 995 mail
"""

ZONES = {
    "right.test": RIGHT + f'_mta-sts TXT "v=STSv1; id={POLICY};"\n',
    "signed.test": RIGHT,
    "halved.test": f"@ NS ns2\nns2 A {SILENT}\n" + RIGHT,
    "missing.test": '@ TXT "v=spf10 -all"\n',
    "wrong.test": """\
@ MX 10 mail.old.example.
mail A 192.0.2.99
@ TXT "v=spf1 include:_spf.else.example -all"
mail TXT "v=spf1 +all"
_dmarc TXT "v=DMARC1; p=none"
*._domainkey TXT "v=DKIM1; p=MIIB"
_mta-sts TXT "v=STSv1; id=1"
_smtp._tls TXT "v=TLSRPTv1"
mta-sts CNAME www.else.example.
autoconfig A 192.0.2.99
_25._tcp.mail TLSA 3 1 1 cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
@ CAA 0 issue ";"
_pop3s._tcp SRV 0 1 110 mail
""",
    "extra.test": """\
@ MX 10 mail
@ MX 20 mail.old.example.
mail A 192.0.2.10
mail A 192.0.2.99
@ TXT "v=spf1 -all"
@ TXT "v=spf1 mx -all"
_dmarc TXT "v=DMARC1; p=reject"
_dmarc TXT "v=DMARC1; p=none"
""",
    "moved.test": f"@ NS ns0\nns0 A {BEHIND}\n" + RIGHT,
}
BEFORE = {"moved.test": f"@ NS ns0\nns0 A {BEHIND}\n@ MX 10 mail.old.example.\n"}


@pytest.fixture(scope="module")
def dns(
    tmp_path_factory: pytest.TempPathFactory, needs: Callable[[str], str]
) -> Iterator[Nameservers]:
    with nameservers(tmp_path_factory.mktemp("dns"), ZONES, needs, BEFORE) as found:
        yield found


def plan(domain: str) -> Plan:
    return Plan(
        domain,
        f"mail.{domain}",
        addresses=("192.0.2.10", "192.0.2.11", "2001:db8::10"),
        sends_via=NOBODY,
        mta_sts="testing",
        tlsa=HASH,
        ca="letsencrypt.org",
    )


async def survey(dns: Nameservers, wish: Plan) -> Survey:
    surveyor = Surveyor([dns.resolver], port=dns.authority.port)
    return await surveyor.survey(wanted(wish), wish.host)


def states(found: Survey) -> dict[str, str]:
    """By name without its domain, and type."""
    told: dict[str, str] = {
        f"{checked.record.name.removesuffix('.test').rpartition('.')[0] or '@'} "
        f"{checked.record.kinds[0]}": checked.state
        for checked in found.checked
        if checked.record.key != "spf"
    }
    return told | {
        f"spf {checked.record.name.partition('.')[0]}": checked.state
        for checked in found.checked
        if checked.record.key == "spf"
    }


def every(domain: str, state: str) -> dict[str, str]:
    names = """@ MX, mail A, _dmarc TXT, *._domainkey TXT, _mta-sts TXT, mta-sts CNAME,
    _smtp._tls TXT, autoconfig CNAME, _25._tcp.mail TLSA, @ CAA, _pop3s._tcp SRV,
    spf mail"""
    words = [" ".join(name.split()) for name in names.split(",")]
    return dict.fromkeys([*words, f"spf {domain}"], state)


UNSIGNED = {"_25._tcp.mail TLSA": "skipped"}


async def test_every_record_that_is_right_is_ok(dns: Nameservers) -> None:
    found = await survey(dns, plan("right.test"))
    assert states(found) == every("right", "ok") | UNSIGNED
    assert found.problems == ()
    [tlsa] = [each for each in found.checked if each.record.key == "tlsa"]
    assert tlsa.reason == "the zone is not signed"


async def test_every_record_that_is_missing_is_told(dns: Nameservers) -> None:
    found = await survey(dns, plan("missing.test"))
    assert states(found) == every("missing", "missing") | UNSIGNED


async def test_every_record_that_is_wrong_is_told_with_what_is_there(dns: Nameservers) -> None:
    found = await survey(dns, plan("wrong.test"))
    assert states(found) == every("wrong", "wrong") | UNSIGNED
    [mx] = [each for each in found.checked if each.record.key == "mx"]
    assert [each.found.values for each in mx.sightings] == [("10 mail.old.example.",)] * 2


async def test_what_is_there_beside_the_right_is_told(dns: Nameservers) -> None:
    found = states(await survey(dns, plan("extra.test")))
    assert [found[name] for name in ("@ MX", "mail A", "spf extra", "_dmarc TXT")] == ["extra"] * 4


async def test_keys_of_listeners_are_compared_where_the_zone_is_signed(dns: Nameservers) -> None:
    wish = plan("signed.test")
    assert states(await survey(dns, wish))["_25._tcp.mail TLSA"] == "ok"
    other = await survey(dns, replace(wish, tlsa="ef" * 32))
    assert states(other)["_25._tcp.mail TLSA"] == "wrong"


async def test_both_sides_are_shown_with_the_time_left(dns: Nameservers) -> None:
    first = await Resolver([dns.resolver]).ask("right.test", "MX")
    assert first.texts == ("mail.right.test",)
    found = await survey(dns, plan("right.test"))
    zone, resolver = found.checked[0].sightings
    assert (zone.source, resolver.source) == ("authoritative", "configured")
    assert zone.found.values == resolver.found.values == ("10 mail.right.test.",)
    assert zone.found.ttl_s == 300
    assert 0 < resolver.found.ttl_s <= 300


async def test_a_name_server_that_is_silent_is_named_and_holds_up_nobody(dns: Nameservers) -> None:
    found = await survey(dns, plan("halved.test"))
    assert found.problems == (f"ns2.halved.test ({SILENT}) does not answer",)
    assert not found.behind  # who asks it asks another then
    assert states(found)["@ MX"] == "ok"
    assert {each.state for checked in found.checked for each in checked.sightings} <= {
        *("ok", "missing", "wrong")  # and none that is skipped
    }


async def test_a_name_server_that_is_behind_is_named_and_not_believed(dns: Nameservers) -> None:
    found = await survey(dns, plan("moved.test"))
    [mx] = [each for each in found.checked if each.record.key == "mx"]
    [zone] = [each for each in mx.sightings if each.source == "authoritative"]
    assert zone.found.values == ("10 mail.moved.test.",)
    told = f"ns0.moved.test ({BEHIND}) has an older zone: 4, not 5"
    assert found.problems == (told,)
    assert check_detail(found).behind
    assert told in check_table(check_detail(found)).splitlines()  # what `dns check` prints


async def test_a_resolver_that_is_silent_leaves_what_the_other_says(dns: Nameservers) -> None:
    silent = Endpoint(SILENT, dns.authority.port)
    wish = plan("right.test")
    surveyor = Surveyor([silent, dns.resolver], port=dns.authority.port)
    found = await surveyor.survey(wanted(wish)[:1], wish.host)
    assert states(found) == {"@ MX": "ok"}
    assert found.problems == (f"the resolver {silent} does not answer",)
    nobody = await Surveyor([silent]).survey(wanted(wish)[:1], wish.host)
    assert [(each.state, each.reason) for each in nobody.checked] == [
        ("skipped", "its name servers are not known: no resolver answers; no resolver answers")
    ]


async def test_a_server_that_does_not_have_the_zone_is_not_believed(dns: Nameservers) -> None:
    await look("right.test", "MX", [dns.resolver], recursive=True)  # which it remembers now
    for name, server, why in (
        ("right.test", dns.resolver, "does not have the zone of this name"),
        ("else.example", dns.authority, "answers REFUSED"),
    ):
        with pytest.raises(NoAnswer, match=why):
            await look(name, "MX", [server], recursive=False)


async def test_only_the_side_that_is_wished_is_asked(dns: Nameservers) -> None:
    surveyor, wish = Surveyor([dns.resolver]), plan("right.test")  # no port of a name server
    found = await surveyor.survey(wanted(wish), wish.host, ["configured"])
    assert states(found) == every("right", "ok") | UNSIGNED
    assert {each.source for checked in found.checked for each in checked.sightings} == {
        "configured"
    }


async def test_who_sends_for_the_domain_is_left_able_to(dns: Nameservers) -> None:
    sends = replace(plan("wrong.test"), sends_via="include:_spf.else.example")
    found = states(await survey(dns, sends))
    assert found["spf wrong"] == "ok"
    assert found["_dmarc TXT"] == "ok"
    assert "*._domainkey TXT" not in found
    unsure = states(await survey(dns, replace(sends, sends_via=None)))
    assert unsure["_dmarc TXT"] == "ok"
    assert not {name for name in unsure if "spf" in name or "domainkey" in name}
