"""What a list of mail can be asked for."""

from typing import Any

import aiohttp
import pytest

from mail.address import Address
from mail.ident import UniqueId
from store.changes import Wanted
from store.records import Folder
from tests.unit.api.admin import pages_are_a_list
from tests.unit.api.conftest import Api, problem

BOB = b"From: Bob <bob@example.net>\r\nSubject: Invoice\r\n\r\nhello\r\n"
CAROL = b"From: Carol <carol@example.net>\r\nSubject: Lunch\r\n\r\n" + b"x" * 2000 + b"\r\n"


async def listed(client: aiohttp.ClientSession, **query: str) -> list[str]:
    async with client.get("/api/emails", params=query) as answer:
        assert answer.status == 200, await answer.text()
        return [item["id"] for item in (await answer.json())["items"]]


async def filled(api: Api) -> tuple[aiohttp.ClientSession, list[str]]:
    """Bob's, Carol's that was read and starred, and one in each of archive and trash."""
    uids = [await api.deliver(content) for content in (BOB, CAROL, BOB, BOB)]
    drop = (await api.store.accounts.get("ann")).maildrop_id
    for uid, wanted in zip(
        uids[1:],
        [
            Wanted(unread=False, starred=True),
            Wanted(folder=Folder.ARCHIVE),
            Wanted(folder=Folder.TRASH),
        ],
        strict=True,
    ):
        await api.store.messages.change(drop, UniqueId.parse(uid), wanted)
    await api.store.indexer.catch_up()
    return await api.signed_in(), uids


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [1, 0]),
        ({"folder": "all"}, [3, 2, 1, 0]),
        ({"folder": "trash"}, [3]),
        ({"folder": "held"}, []),
        ({"q": "invoice"}, [0]),
        ({"q": "invoice", "folder": "all"}, [3, 2, 0]),
        ({"q": "in:archive invoice"}, [2]),
        ({"q": "in:archive invoice", "folder": "trash"}, []),
        ({"q": "in:all -is:unread"}, [1]),
        ({"unread": "true"}, [0]),
        ({"unread": "false"}, [1]),
        ({"starred": "true", "folder": "all"}, [1]),
        ({"starred": "false", "q": "from:bob OR from:carol"}, [0]),
        ({"address": "ANN@example.org"}, [1, 0]),
        ({"address": "bob@example.org"}, []),
        ({"since": "2000-01-01T00:00:00Z"}, [1, 0]),
        ({"since": "2999-01-01T00:00:00.5Z"}, []),
        ({"sort": "received_at"}, [0, 1]),
        ({"sort": "-size"}, [1, 0]),
        ({"sort": "size"}, [0, 1]),
    ],
)
async def test_a_list_holds_what_it_was_asked_for(
    api: Api, query: dict[str, str], expected: list[int]
) -> None:
    client, uids = await filled(api)
    assert [uids.index(uid) for uid in await listed(client, **query)] == expected
    page: list[str] = []
    params = query | {"limit": "1", "total": "true"}
    while True:
        async with client.get("/api/emails", params=params) as answer:
            told = await answer.json()
            link = answer.links.get("next")
        assert told["total"] == len(expected)
        page += [item["id"] for item in told["items"]]
        if link is None:
            break
        params = dict(link["url"].query)  # type: ignore[union-attr]
        assert params.pop("cursor") == told["next"]
        assert params == query | {"limit": "1", "total": "true"}
        params["cursor"] = told["next"]
    assert [uids.index(uid) for uid in page] == expected


@pytest.mark.parametrize("sort", ["-received_at", "received_at", "-size", "size"])
@pytest.mark.parametrize("query", ["", "folder=all&q=is:unread&"])
async def test_a_list_is_walked_through_both_ways(api: Api, sort: str, query: str) -> None:
    client = await api.signed_in()
    for octets in (30, 10, 20, 10, 10):
        await api.deliver(b"Subject: x\r\n\r\n" + b"x" * octets)
    uids = await listed(client, sort=sort)
    await pages_are_a_list(client, f"/api/emails?{query}sort={sort}&", uids, "id")


async def test_the_way_back_survives_new_mail(api: Api) -> None:
    uids = [await api.deliver(b"Subject: x\r\n\r\n") for _ in range(3)][::-1]
    client = await api.signed_in()
    async with client.get("/api/emails?limit=2") as answer:
        cursor = (await answer.json())["next"]
    async with client.get(f"/api/emails?limit=2&cursor={cursor}") as answer:
        second = await answer.json()
    assert [each["id"] for each in second["items"]] == uids[2:]
    new = await api.deliver(b"Subject: x\r\n\r\n")
    async with client.get(f"/api/emails?limit=2&cursor={second['prev']}") as answer:
        first = await answer.json()
    assert [each["id"] for each in first["items"]] == uids[:2]
    assert await listed(client, limit="2", cursor=first["prev"]) == [new]


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"q": "invoice ("}, "column 9: this bracket is not closed"),
        ({"q": "frm:bob"}, 'column 1: "frm:" is not known; did you mean "from:"'),
        ({"q": "x" * 1001}, "column 1001: a search has at most 1000 characters"),
        ({"since": "2026-05-01"}, "since: must be a time as 2026-05-01T10:00:00Z"),
        ({"since": "2026-02-30T10:00:00Z"}, "since: must be a time as 2026-05-01T10:00:00Z"),
        ({"since": "1969-01-01T00:00:00Z"}, "since: must be a time as 2026-05-01T10:00:00Z"),
        ({"unread": "1"}, "unread: must be true or false"),
        ({"sort": "id"}, None),
        ({"fields": "id,prefix"}, None),
    ],
)
async def test_what_cannot_be_asked_is_said(
    api: Api, query: dict[str, str], detail: str | None
) -> None:
    client = await api.signed_in()
    async with client.get("/api/emails", params=query) as answer:
        document = await problem(answer, 400, "bad-query")
    assert detail is None or document["detail"] == detail


async def test_a_cursor_goes_with_its_filter(api: Api) -> None:
    client, _ = await filled(api)
    async with client.get("/api/emails?folder=all&limit=1") as answer:
        cursor = (await answer.json())["next"]
    for other in (
        *({"folder": "trash"}, {"q": "x invoice"}, {"unread": "true"}, {"sort": "size"}),
        {"address": "ann@example.org"},
    ):
        query = {"folder": "all", "cursor": cursor} | other
        async with client.get("/api/emails", params=query) as answer:
            slug = "bad-query" if other.get("q") == "x invoice" else "cursor-mismatch"
            await problem(answer, 400, slug)
    assert len(await listed(client, folder="all", cursor=cursor, limit="7", total="true")) == 3


async def test_fields_are_told_as_they_are_asked_for(api: Api) -> None:
    client, uids = await filled(api)
    async with client.get("/api/emails?fields=id,from") as answer:
        rows = (await answer.json())["items"]
    assert rows[1] == {"id": uids[0], "from": {"name": "Bob", "address": "bob@example.net"}}


async def test_a_token_for_one_address_sees_no_other_mail(api: Api) -> None:
    await api.store.domains.add_address(Address.parse("shop@example.org"), "ann")
    mine = await api.deliver(BOB, "shop@example.org")
    other = await api.deliver(BOB, "ann@example.org")
    client = await api.signed_in()
    wish: dict[str, Any] = {"name": "shop", "addresses": ["shop@example.org"]}
    wish["scopes"] = ["mail:read", "mail:write", "mail:delete"]
    async with client.post("/api/tokens", json=wish) as answer:
        assert answer.status == 201, await answer.text()
        shop = api.client((await answer.json())["token"])
    assert await listed(shop, folder="all") == [mine]
    for tail in ("", "/raw", "/headers", "/attachments", "/attachments/1"):
        async with shop.get(f"/api/emails/{other}{tail}") as answer:
            await problem(answer, 404, "not-found")
    async with shop.put(f"/api/emails/{other}", json={"starred": True}) as answer:
        await problem(answer, 404, "not-found")
    async with shop.delete(f"/api/emails/{other}?final=true") as answer:
        await problem(answer, 404, "not-found")
    async with shop.put(f"/api/emails/{mine}", json={"starred": True}) as answer:
        assert answer.status == 200
    assert await listed(client) == [other, mine]


@pytest.mark.parametrize(
    ("scopes", "method", "path", "status"),
    [
        (["mail:read"], "PUT", "", 403),
        (["mail:read"], "DELETE", "", 403),
        (["mail:read", "mail:write"], "DELETE", "", 204),
        (["mail:read", "mail:write"], "DELETE", "?final=true", 403),
        (["mail:write", "mail:delete"], "DELETE", "?final=true", 204),
    ],
)
async def test_final_deletion_has_a_scope_of_its_own(
    api: Api, scopes: list[str], method: str, path: str, status: int
) -> None:
    uid = await api.deliver(BOB)
    client = await api.signed_in()
    async with client.post("/api/tokens", json={"name": "t", "scopes": scopes}) as answer:
        token = api.client((await answer.json())["token"])
    body = {"starred": True} if method == "PUT" else None
    async with token.request(method, f"/api/emails/{uid}{path}", json=body) as answer:
        if status == 403:
            await problem(answer, 403, "scope-missing")
        assert answer.status == status
