"""A domain's DNS records over the API: what should be there, and what is."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from api.models_dns import (
    Check,
    CheckedDetail,
    KeyName,
    SightingDetail,
    StateName,
    entered,
    fine,
    spread,
)
from server.config import Config
from server.domain_dns import DomainDns
from tests.nameservers import nameservers
from tests.unit.api.admin import made, signed_in_admin
from tests.unit.api.conftest import Api, House, problem

ZONE = """\
@ MX 10 mail.example.org.
@ TXT "v=spf1 +all"
"""


async def test_records_follow_from_who_sends_for_the_domain(api: Api) -> None:
    admin = await signed_in_admin(api)
    path = "/api/domains/example.org"
    for sends_via, spf in (
        (None, []),
        ("", ["v=spf1 -all"] * 2),
        ("include:a.example", ["v=spf1 include:a.example -all", "v=spf1 -all"]),
    ):
        async with admin.put(path, json={"sends_via": sends_via}) as answer:
            assert (answer.status, (await answer.json())["sends_via"]) == (200, sends_via)
        async with admin.get(f"{path}/dns?only=spf") as answer:
            assert [each["values"][0] for each in (await answer.json())["items"]] == spf
    async with admin.put(path, json={"sends_via": "v=spf1 mx"}) as answer:
        await problem(answer, 422, "invalid-body")
    async with admin.get(f"{path}/dns") as answer:
        first = (await answer.json())["items"][0]
    assert first == {
        "key": "mx",
        "tier": 1,
        "name": "example.org",
        "type": "MX",
        "values": ["10 mail.example.org."],
        "why": "where mail goes",
    }


async def test_records_are_there_as_text_for_eyes_and_for_zone_files(api: Api) -> None:
    admin = await signed_in_admin(api)
    for form, line in (
        ("zone", "example.org. 3600 IN MX 10 mail.example.org.\n"),
        ("csv", "1,example.org,MX,10 mail.example.org.,where mail goes\n"),
        ("table", "MX"),
    ):
        async with admin.get(f"/api/domains/example.org/dns?format={form}") as answer:
            assert (answer.status, answer.content_type) == (200, "text/plain")
            assert line in await answer.text()
    for query in ("format=xml", "only=ptr"):
        async with admin.get(f"/api/domains/example.org/dns?{query}") as answer:
            await problem(answer, 400, "bad-query")


async def test_records_are_compared_with_what_is_there(
    api: Api, tmp_path: Path, needs: Callable[[str], str]
) -> None:
    admin = await signed_in_admin(api)
    await made(admin, "/api/domains", {"name": "signed.test", "sends_via": ""})
    path = "/api/domains/signed.test/dns/check"
    with nameservers(tmp_path, {"signed.test": ZONE}, needs) as dns:
        house = api.parts.house
        assert isinstance(house, House)
        server = {"hostname": "mail.example.org", "resolvers": [str(dns.resolver)]}
        house.dns = DomainDns(Config.model_validate({"server": server}))
        async with admin.post(f"{path}?resolver=configured") as answer:
            assert answer.status == 200
            found = {each["key"]: each for each in reversed((await answer.json())["items"])}
    assert found["mx"]["state"] == "ok"
    assert found["spf"]["state"] == "wrong"
    assert found["dmarc"]["state"] == "missing"
    [told] = found["spf"]["answers"]
    assert (told["source"], told["found"]) == ("configured", ["v=spf1 +all"])
    assert 0 < told["ttl_s"] <= 300
    async with admin.post(f"{path}?resolver=mine") as answer:
        await problem(answer, 400, "bad-query")


async def test_where_nobody_answers_nothing_is_said_of_the_records(api: Api) -> None:
    admin = await signed_in_admin(api)
    async with admin.post("/api/domains/example.org/dns/check") as answer:
        assert answer.status == 200
        items = (await answer.json())["items"]
    assert {each["state"] for each in items} == {"skipped"}


def checked(
    key: KeyName, tier: Literal[1, 2, 3], state: StateName, resolver: StateName | None = None
) -> CheckedDetail:
    """`resolver`: what that side says; the same, unless it says something else."""
    zone = SightingDetail(source="authoritative", state=state, found=[], ttl_s=300, problem="")
    answers = [zone, zone.model_copy(update={"source": "configured", "state": resolver or state})]
    return CheckedDetail(
        key=key,
        tier=tier,
        name="example.org",
        type="TXT",
        values=[],
        why="",
        state=state,
        reason="",
        answers=answers,
    )


@pytest.mark.parametrize(
    ("key", "tier", "state", "nothing_to_do", "known"),
    [
        ("mx", 1, "ok", True, True),
        ("mx", 1, "skipped", True, False),  # nobody answered
        ("spf", 2, "missing", False, False),
        ("tlsa", 3, "missing", True, True),
        ("tlsa", 3, "skipped", True, True),  # the zone is not signed
        ("tlsa", 3, "wrong", False, False),  # senders that look at it stay away
        ("caa", 3, "wrong", False, False),  # the authority will not renew
        ("srv", 3, "wrong", True, True),
    ],
)
def test_what_is_to_be_done_about_a_record(
    *, key: KeyName, tier: Literal[1, 2, 3], state: StateName, nothing_to_do: bool, known: bool
) -> None:
    item = checked(key, tier, state)
    assert fine(item) is nothing_to_do
    assert entered(Check(items=[item], problems=[], behind=False)) is known


def test_records_that_were_entered_are_everywhere_when_every_server_has_them() -> None:
    everywhere = Check(items=[checked("mx", 1, "ok")], problems=[], behind=False)
    assert spread(everywhere)
    for still_not in (
        Check(items=[checked("mx", 1, "ok", "wrong")], problems=[], behind=False),
        Check(items=[checked("mx", 1, "ok")], problems=["ns2 has an older zone"], behind=True),
    ):
        assert entered(still_not)
        assert not spread(still_not)
    assert not spread(Check(items=[checked("mx", 1, "skipped")], problems=[], behind=False))
    # What brings little may differ; and who does not answer is no reason to wait.
    little = [checked("srv", 3, "missing"), checked("mx", 1, "ok", "skipped")]
    assert spread(Check(items=little, problems=["ns2 does not answer"], behind=False))
