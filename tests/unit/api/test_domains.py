"""Domains and addresses: what an administrator sets, and what is a user's own."""

from typing import Any

import aiohttp
import pytest

from mail.address import Address, parse_domain
from tests.unit.api.admin import (
    Document,
    made,
    pages_are_a_list,
    signed_in_admin,
    versions_are_kept,
)
from tests.unit.api.conftest import Api, problem

ORG = parse_domain("example.org")


async def reaches(api: Api, text: str) -> int | None:
    """How many maildrops mail to it reaches; None when the domain is not ours."""
    found = await api.store.directory.find(Address.parse(text).folded)
    return len(found.maildrops) if found.ours else None


async def address_of(client: aiohttp.ClientSession, text: str) -> Document:
    async with client.get("/api/addresses?all=true&limit=200") as answer:
        [found] = [each for each in (await answer.json())["items"] if each["address"] == text]
    return dict(found)


async def test_a_domain_is_made_changed_and_removed(api: Api) -> None:
    admin = await signed_in_admin(api)
    domain = await made(admin, "/api/domains", {"name": "Bücher.Example", "catch_all": "ann"})
    assert (
        domain.items()
        >= {
            "name": "xn--bcher-kva.example",
            "catch_all": "ann",
            "plus": "+",
            "alias_of": None,
            "self_service": False,
            "max_message": None,
            "require_tls": False,
        }.items()
    )
    assert await reaches(api, "x@bücher.example") == 1
    path = f"/api/domains/{domain['id']}"
    await versions_are_kept(
        admin,
        path,
        {"plus": "+-", "self_service": True, "max_message": 2048, "require_tls": True},
        other={"catch_all": None, "max_message": None},
    )
    async with admin.get("/api/domains/xn--bcher-kva.example") as answer:
        assert (await answer.json())["id"] == domain["id"]
    assert await reaches(api, "x@bücher.example") == 0
    async with admin.delete(path) as answer:
        assert answer.status == 204
    assert await reaches(api, "x@bücher.example") is None
    for method in ("GET", "DELETE"):
        async with admin.request(method, path) as answer:
            await problem(answer, 404, "not-found")


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        ({"name": "example.org"}, 409, "domain-taken"),
        ({"name": "EXAMPLE.ORG"}, 409, "domain-taken"),
        ({"name": "no domain"}, 422, "invalid-body"),
        ({"name": ""}, 422, "invalid-body"),
        ({"name": "a.example", "catch_all": "nobody"}, 422, "invalid-body"),
        ({"name": "a.example", "plus": "++"}, 422, "invalid-body"),
        ({"name": "a.example", "alias_of": "b.example"}, 422, "invalid-body"),
        ({"name": "a.example", "self_service": 1}, 422, "invalid-body"),
        ({"name": "a.example", "max_message": 0}, 422, "invalid-body"),
        ({"name": "a.example", "pluss": "+"}, 422, "invalid-body"),
        ({}, 422, "invalid-body"),
    ],
)
async def test_a_domain_that_cannot_be_is_not_made(
    api: Api, body: Document, status: int, slug: str
) -> None:
    admin = await signed_in_admin(api)
    async with admin.post("/api/domains", json=body) as answer:
        document = await problem(answer, status, slug)
    if "pluss" in body:
        [error] = document["errors"]
        assert error == {"pointer": "/pluss", "detail": 'not known; did you mean "plus"?'}
    async with admin.get("/api/domains/a.example") as answer:
        await problem(answer, 404, "not-found")


async def test_a_domain_in_use_goes_only_by_force(api: Api) -> None:
    admin = await signed_in_admin(api)
    async with admin.delete("/api/domains/example.org") as answer:
        await problem(answer, 409, "domain-in-use")
    async with admin.delete("/api/domains/example.org?force=true") as answer:
        assert answer.status == 204
    assert await reaches(api, "ann@example.org") is None


async def test_a_user_sees_the_domains_of_his_addresses(api: Api) -> None:
    admin, ann = await signed_in_admin(api), await api.signed_in("ann")
    for name in ("b.example", "c.example"):
        await made(admin, "/api/domains", {"name": name, "catch_all": "bob"})
    team = {"address": "team@c.example", "to": ["bob", "ann"]}
    await made(admin, "/api/addresses", team)
    async with ann.get("/api/domains?total=true") as answer:
        page = await answer.json()
    assert [domain["name"] for domain in page["items"]] == ["c.example", "example.org"]
    assert page["total"] == 2
    assert not [domain for domain in page["items"] if "catch_all" in domain]
    await pages_are_a_list(
        admin, "/api/domains?", ["b.example", "c.example", "example.org"], "name"
    )
    async with ann.get("/api/domains/example.org") as answer:
        await problem(answer, 403, "scope-missing")


async def test_an_address_is_in_force_when_it_is_answered(api: Api) -> None:
    admin = await signed_in_admin(api)
    body = {"address": "Shop@example.org", "to": ["ann"], "note": "shoes"}
    address = await made(admin, "/api/addresses", body)
    assert address.items() >= {**body, "state": "open"}.items()
    assert await reaches(api, "shop@example.org") == 1
    path = f"/api/addresses/{address['id']}"
    await versions_are_kept(
        admin, path, {"state": "closed", "note": "no shoes"}, other={"to": ["ann", "bob"]}
    )
    assert await reaches(api, "shop@example.org") == 0
    async with admin.put(path, json={"state": "open"}) as answer:
        assert answer.status == 200
    assert await reaches(api, "shop@example.org") == 2
    async with admin.delete(path) as answer:
        assert answer.status == 204
    assert await reaches(api, "shop@example.org") == 0


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        ({"address": "ANN@example.org"}, 409, "address-taken"),
        ({"address": "x@example.net"}, 422, "invalid-body"),
        ({"address": "x"}, 422, "invalid-body"),
        ({"address": "x@example.org", "to": ["nobody"]}, 422, "invalid-body"),
        ({"address": "x@example.org", "to": []}, 422, "invalid-body"),
        ({"address": "x@example.org", "note": "a\u0000b"}, 422, "invalid-body"),
        ({"address": "x@example.org", "note": "x" * 501}, 422, "invalid-body"),
        ({"address": "x@example.org", "random": True}, 422, "invalid-body"),
        ({"address": "x@example.org", "domain": "example.org"}, 422, "invalid-body"),
        ({"domain": "example.org"}, 422, "invalid-body"),
        ({"domain": "example.net", "random": True}, 422, "invalid-body"),
        ({}, 422, "invalid-body"),
    ],
)
async def test_an_address_that_cannot_be_is_not_made(
    api: Api, body: Document, status: int, slug: str
) -> None:
    admin = await signed_in_admin(api)
    async with admin.post("/api/addresses", json=body) as answer:
        await problem(answer, status, slug)
    assert await reaches(api, "x@example.org") == 0


async def test_postmaster_takes_mail(api: Api) -> None:
    admin = await signed_in_admin(api)
    address = await made(admin, "/api/addresses", {"address": "postmaster@example.org"})
    async with admin.put(f"/api/addresses/{address['id']}", json={"state": "closed"}) as answer:
        await problem(answer, 403, "not-permitted")


async def test_users_make_addresses_in_open_domains(api: Api) -> None:
    ann = await api.signed_in("ann")
    for body in ({"address": "a2@example.org"}, {"domain": "example.org", "random": True}):
        async with ann.post("/api/addresses", json=body) as answer:
            await problem(answer, 403, "domain-not-open")
    await api.store.domains.change(ORG, self_service=True)
    first = await made(ann, "/api/addresses", {"address": "a2@example.org", "to": ["ann"]})
    guessed = {(await made(ann, "/api/addresses", random_one()))["address"] for _ in range(3)}
    assert len(guessed) == 3
    assert first["to"] == ["ann"]
    assert await reaches(api, guessed.pop()) == 1
    for to in (["bob"], ["ann", "bob"]):
        theirs = {"address": "a3@example.org", "to": to}
        async with ann.post("/api/addresses", json=theirs) as answer:
            await problem(answer, 403, "not-permitted")
    async with ann.delete(f"/api/addresses/{first['id']}") as answer:
        assert answer.status == 204


def random_one() -> dict[str, Any]:
    return {"domain": "example.org", "random": True, "note": "forum"}


async def test_an_address_of_somebody_else_is_not_there(api: Api) -> None:
    admin, ann = await signed_in_admin(api), await api.signed_in("ann")
    await made(admin, "/api/addresses", {"address": "team@example.org", "to": ["ann", "bob"]})
    bobs = await address_of(admin, "bob@example.org")
    for method, body in (("GET", None), ("PUT", {"note": "x"}), ("DELETE", None)):
        for each in (bobs["id"], "00000000000", "x"):
            async with ann.request(method, f"/api/addresses/{each}", json=body) as answer:
                await problem(answer, 404, "not-found")
    for query in ("?", "?all=true&"):
        await pages_are_a_list(
            ann, f"/api/addresses{query}", ["ann@example.org", "team@example.org"], "address"
        )
    everybody = ["ann@example.org", "bob@example.org", "team@example.org"]
    await pages_are_a_list(admin, "/api/addresses?all=true&", everybody, "address")
    await pages_are_a_list(admin, "/api/addresses?", [], "address")


async def test_a_user_changes_what_reaches_nobody_else(api: Api) -> None:
    admin, ann = await signed_in_admin(api), await api.signed_in("ann")
    team = await made(
        admin, "/api/addresses", {"address": "team@example.org", "to": ["ann", "bob"]}
    )
    mine = f"/api/addresses/{(await address_of(admin, 'ann@example.org'))['id']}"
    for method, body in (("PUT", {"note": "x"}), ("DELETE", None)):
        async with ann.request(method, f"/api/addresses/{team['id']}", json=body) as answer:
            await problem(answer, 403, "not-permitted")
    async with ann.put(mine, json={"note": "mine", "state": "closed", "to": ["ann"]}) as answer:
        assert answer.status == 200
    assert await reaches(api, "ann@example.org") == 0
    async with ann.put(mine, json={"to": ["bob"]}) as answer:
        await problem(answer, 403, "not-permitted")
    async with ann.delete(mine) as answer:
        await problem(answer, 403, "domain-not-open")
