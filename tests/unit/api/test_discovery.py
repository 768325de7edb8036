"""What programs of strangers look for, and what a person gives a mail app."""

import plistlib
import re
from datetime import timedelta
from xml.etree import ElementTree

import aiohttp
import pytest

from mail.address import parse_domain
from mail.mta_sts import policy_id, policy_text
from store.records import MtaSts
from tests.unit.api.conftest import HOSTNAME, Api, now, problem

AUTOCONFIG = "/mail/config-v1.1.xml"
WELL_KNOWN = "/.well-known/autoconfig/mail/config-v1.1.xml"
MTA_STS = "/.well-known/mta-sts.txt"


async def asked(
    client: aiohttp.ClientSession, host: str, path: str, status: int = 200
) -> tuple[str, str]:
    """The text and its media type."""
    async with client.get(path, headers={"Host": host}) as answer:
        assert answer.status == status, await answer.text()
        return await answer.text(), answer.headers["Content-Type"]


def leaves(text: str) -> dict[str, str]:
    """Every element without children, by its path."""
    root = ElementTree.fromstring(text)
    found = {}

    def walk(element: ElementTree.Element, path: str) -> None:
        if not len(element):
            found[path] = element.text or ""
        for child in element:
            walk(child, f"{path}/{child.tag}")

    walk(root, "")
    return found


async def test_thunderbird_is_told_what_it_accepts(api: Api) -> None:
    for host, path in (("autoconfig.example.org", AUTOCONFIG), (HOSTNAME, WELL_KNOWN)):
        text, kind = await asked(api.client(), host, f"{path}?emailaddress=ann%40example.org")
        assert kind == "text/xml; charset=utf-8"
        root = ElementTree.fromstring(text)
        assert (root.tag, root.attrib) == ("clientConfig", {"version": "1.1"})
        provider = "/emailProvider"
        come, go = f"{provider}/incomingServer", f"{provider}/outgoingServer"
        assert leaves(text) == {
            f"{provider}/domain": "example.org",
            f"{provider}/displayName": "example.org",
            f"{provider}/displayShortName": "example.org",
            f"{come}/hostname": HOSTNAME,
            f"{come}/port": "995",
            f"{come}/socketType": "SSL",
            f"{come}/username": "%EMAILADDRESS%",
            f"{come}/authentication": "password-cleartext",
            f"{come}/pop3/leaveMessagesOnServer": "true",
            f"{come}/pop3/daysToLeaveMessagesOnServer": "3650",
            f"{go}/hostname": HOSTNAME,
            f"{go}/port": "465",
            f"{go}/socketType": "SSL",
            f"{go}/authentication": "none",
            f"{go}/useGlobalPreferredServer": "true",
        }


async def test_whether_an_address_exists_is_not_told(api: Api) -> None:
    host = "autoconfig.example.org"
    texts = {
        (await asked(api.client(), host, f"{path}{query}"))[0]
        for path in (AUTOCONFIG, WELL_KNOWN)
        for query in (
            "",
            "?emailaddress=ann%40example.org",
            "?emailaddress=nobody%40example.org",
            "?emailaddress=x%40elsewhere.example",
            "?emailaddress=%3Cx%3E",
        )
    }
    assert len(texts) == 1


async def test_the_address_goes_before_the_name_that_was_asked(api: Api) -> None:
    # Thunderbird asks under the domain of the MX too.
    await api.store.domains.add(parse_domain("second.example"), outgoing="smtp.example.net:587")
    query = "?emailaddress=ann%40second.example"
    for host in ("autoconfig.example.org", HOSTNAME):
        found = leaves((await asked(api.client(), host, AUTOCONFIG + query))[0])
        assert found["/emailProvider/domain"] == "second.example"
        go = "/emailProvider/outgoingServer"
        assert found[f"{go}/hostname"] == "smtp.example.net"
        assert found[f"{go}/port"] == "587"
        assert found[f"{go}/socketType"] == "STARTTLS"
        assert found[f"{go}/authentication"] == "password-cleartext"
        assert found[f"{go}/username"] == "%EMAILADDRESS%"
        assert found[f"{go}/useGlobalPreferredServer"] == "false"


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("autoconfig.elsewhere.example", AUTOCONFIG),  # not a domain of ours
        ("mta-sts.elsewhere.example", MTA_STS),
        ("mta-sts.", MTA_STS),
        ("example.org", AUTOCONFIG),
        ("autoconfig.example.org", "/api/"),  # nothing else is served under these names
        ("mta-sts.example.org", "/login"),
        ("mta-sts.example.org", "/nothing"),
    ],
)
async def test_other_names_and_paths_are_not_answered(api: Api, host: str, path: str) -> None:
    async with api.client().get(path, headers={"Host": host}) as answer:
        await problem(answer, 421, "wrong-host")


async def test_a_policy_for_senders_is_there_for_each_domain(api: Api) -> None:
    # RFC 8461 section 3.2
    host = "mta-sts.example.org"
    await asked(api.client(), HOSTNAME, MTA_STS, 404)
    await asked(api.client(), "autoconfig.example.org", MTA_STS, 404)
    seen = []
    for mode, word in ((None, "testing"), (MtaSts.ENFORCE, "enforce"), (MtaSts.OFF, "none")):
        if mode is not None:
            await api.store.domains.change(parse_domain("example.org"), mta_sts=mode)
        text, kind = await asked(api.client(), host, MTA_STS)
        assert kind == "text/plain"
        version, told, mx, age = text.split("\r\n")[:-1]
        assert (version, told, mx) == ("version: STSv1", f"mode: {word}", f"mx: {HOSTNAME}")
        assert 86_400 <= int(age.removeprefix("max_age: ")) <= 31_557_600
        seen.append(policy_id(text))
    assert len(set(seen)) == 3
    assert all(re.fullmatch("[A-Za-z0-9]{1,32}", each) for each in seen)
    assert seen[0] == policy_id(policy_text(HOSTNAME, "testing"))


async def test_whom_to_tell_of_a_fault_and_what_search_engines_may(api: Api) -> None:
    for host in (HOSTNAME, "mta-sts.example.org"):
        text, kind = await asked(api.client(), host, "/.well-known/security.txt")
        assert kind == "text/plain; charset=utf-8"
        fields = dict(line.split(": ", 1) for line in text.splitlines())
        assert fields["Contact"] == "mailto:postmaster@example.org"
        soon, late = (f"{now() + timedelta(days=days):%Y-%m-%d}" for days in (30, 365))
        assert soon < fields["Expires"] < late
        assert (await asked(api.client(), host, "/robots.txt"))[0].endswith("Disallow: /\n")


async def test_a_challenge_is_answered_under_any_name(api: Api) -> None:
    path = "/.well-known/acme-challenge"
    text, _ = await asked(api.client(), "mta-sts.example.org", f"{path}/token")
    assert text == "token.print"
    await asked(api.client(), "any.example", f"{path}/other", 404)


async def test_the_card_in_every_form(api: Api) -> None:
    client, path = await api.signed_in(), "/api/me/client-config"
    async with client.get(path) as answer:
        card = await answer.json()
    assert card["outgoing"] == {
        "host": HOSTNAME,
        "port": 465,
        "security": "SSL/TLS",
        "authentication": "none",
        "sends": False,
    }
    async with client.get(f"{path}?format=text") as answer:
        assert "only says that nothing is sent" in await answer.text()
    async with client.get(f"{path}?format=thunderbird") as answer:
        found = leaves(await answer.text())
    assert found["/emailProvider/incomingServer/username"] == "ann"
    async with client.get(f"{path}?format=apple") as answer:
        assert answer.headers["Content-Type"] == "application/x-apple-aspen-config"
        profile = plistlib.loads(await answer.read())
    assert profile["PayloadType"] == "Configuration"
    [account] = profile["PayloadContent"]
    assert account["PayloadType"] == "com.apple.mail.managed"
    assert account["EmailAccountType"] == "EmailTypePOP"
    assert account["EmailAddress"] == "ann@example.org"
    assert account["IncomingMailServerHostName"] == HOSTNAME
    assert account["IncomingMailServerPortNumber"] == 995
    assert account["IncomingMailServerUseSSL"] is True
    assert account["IncomingMailServerUsername"] == "ann"
    assert account["OutgoingMailServerAuthentication"] == "EmailAuthNone"
    assert account["OutgoingMailServerPortNumber"] == 465
