"""Listing and reading mail, and taking it octet for octet."""

import asyncio
import re
from contextlib import suppress

import aiohttp
import pytest
from yarl import URL

from api.call import HttpLimits
from mail.ident import UniqueId
from tests.sessions import remove
from tests.unit.api.conftest import WAIT_S, Api, Log, problem

CONTENT = (
    b"From: Bob <bob@example.net>\r\nTo: ann@example.org, Carol <carol@example.net>\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Fri, 01 May 2026 12:00:00 +0200\r\n"
    b"Message-ID: <1@example.net>\r\n\r\n.one\r\ntwo\r\n"
)


async def ids(client: aiohttp.ClientSession, path: str) -> list[str]:
    async with client.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return [item["id"] for item in (await answer.json())["items"]]


async def test_a_row_has_these_members(api: Api) -> None:
    uid = await api.deliver(CONTENT)
    client = await api.signed_in()
    async with client.get("/api/emails") as answer:
        assert answer.content_type == "application/json"
        page = await answer.json()
    (row,) = page.pop("items")
    assert page == {"next": None, "prev": None}
    assert row.pop("received_at").endswith("Z")
    assert row.pop("size") > len(CONTENT)
    assert row == {
        "id": uid,
        "folder": "inbox",
        "unread": True,
        "starred": False,
        "from": {"name": "Bob", "address": "bob@example.net"},
        "to": [
            {"name": "", "address": "ann@example.org"},
            {"name": "Carol", "address": "carol@example.net"},
        ],
        "delivered_to": ["ann@example.org"],
        "subject": "Grüße",
        "snippet": None,
        "attachment_count": None,
        "origin": ["smtp"],
        "repeat": False,
        "auth": {
            "verdict": "unchecked",
            "domain": None,
            "suspected_spam": False,
            "reasons": "",
        },
    }
    await api.store.indexer.catch_up()
    async with client.get("/api/emails") as answer:
        (row,) = (await answer.json())["items"]
    assert (row["snippet"], row["attachment_count"]) == (".one two", 0)


async def test_an_email_has_more(api: Api) -> None:
    uid = await api.deliver(CONTENT)
    await api.store.indexer.catch_up()
    client = await api.signed_in()
    async with client.get("/api/emails") as answer:
        (row,) = (await answer.json())["items"]
    async with client.get(f"/api/emails/{uid}") as answer:
        email = await answer.json()
    assert email == row | {
        "date": "2026-05-01T10:00:00Z",
        "message_id": "<1@example.net>",
        "cc": [],
        "reply_to": [],
        "body": {"text": ".one\ntwo\n", "html": None},
        "attachments": [],
        "limit": None,
    }


async def test_what_a_header_does_not_say_is_null_or_empty(api: Api) -> None:
    uid = await api.deliver(b"\r\nno header\r\n")
    client = await api.signed_in()
    async with client.get(f"/api/emails/{uid}") as answer:
        email = await answer.json()
    assert (email["date"], email["message_id"], email["subject"]) == (None, None, "")
    assert email["from"] == {"name": "", "address": ""}
    assert email["to"] == []


async def test_pages_are_newest_first_and_survive_new_mail(api: Api) -> None:
    delivered = [await api.deliver(CONTENT) for _ in range(5)]
    client = await api.signed_in()
    seen: list[str] = []
    path = "/api/emails?limit=2"
    link = None
    for size in (2, 2, 1):
        async with client.get(path) as answer:
            page = await answer.json()
            link = answer.links.get("next")
        seen += [item["id"] for item in page["items"]]
        assert len(page["items"]) == size
        assert (link is not None) == (page["next"] is not None)
        if link:
            target = link["url"]
            assert isinstance(target, URL)
            assert target.query["cursor"] == page["next"]
            path = target.path_qs
        await api.deliver(CONTENT)
    assert link is None
    assert seen == delivered[::-1]


async def test_a_page_that_is_just_full_has_none_behind_it(api: Api) -> None:
    await api.deliver(CONTENT)
    client = await api.signed_in()
    async with client.get("/api/emails?limit=1") as answer:
        page = await answer.json()
        assert (len(page["items"]), page["next"]) == (1, None)
        assert "Link" not in answer.headers


async def test_folders_are_apart(api: Api) -> None:
    account = await api.store.accounts.get("ann")
    first, second = [await api.deliver(CONTENT) for _ in range(2)]
    await remove(api.store, account.maildrop_id, [UniqueId.parse(first)])
    client = await api.signed_in()
    assert await ids(client, "/api/emails?folder=inbox") == [second]
    assert await ids(client, "/api/emails?folder=trash") == [first]
    assert await ids(client, "/api/emails?folder=archive") == []


async def test_a_cursor_is_good_for_its_own_list_only(api: Api) -> None:
    for _ in range(2):
        await api.deliver(CONTENT, "ann@example.org", "bob@example.org")
    ann, bob = await api.signed_in("ann"), await api.signed_in("bob")
    async with ann.get("/api/emails?limit=1") as answer:
        cursor = (await answer.json())["next"]
    assert len(await ids(ann, f"/api/emails?limit=50&cursor={cursor}")) == 1
    forged = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    for client, query in (
        (bob, f"cursor={cursor}"),
        (ann, f"folder=trash&cursor={cursor}"),
        (ann, f"cursor={forged}"),
        (ann, f"cursor={cursor}AAAA"),
        (ann, f"cursor={cursor[:20]}"),
        (ann, "cursor="),
        (ann, "cursor=%20"),
        (ann, "cursor=%ff%C3%A9"),
    ):
        async with client.get(f"/api/emails?{query}") as answer:
            await problem(answer, 400, "cursor-mismatch")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("limit=0", "limit: input should be greater than or equal to 1"),
        ("limit=201", "limit: input should be less than or equal to 200"),
        ("limit=5.0", "limit: must be a whole number"),
        ("limit=%205", "limit: must be a whole number"),
        ("limit=-5", "limit: must be a whole number"),
        ("limit=", "limit: must be a whole number"),
        ("limit=%D9%A5", "limit: must be a whole number"),
        ("limit=5&limit=5", "limit: given more than once"),
        ("folder=Inbox", "folder: input should be 'inbox', 'archive', 'trash', 'held' or 'all'"),
        ("foldr=inbox", 'foldr: not known; did you mean "folder"?'),
    ],
)
async def test_a_query_is_taken_as_it_is_or_refused(api: Api, query: str, detail: str) -> None:
    client = await api.signed_in()
    async with client.get(URL(f"/api/emails?{query}", encoded=True)) as answer:
        assert (await problem(answer, 400, "bad-query"))["detail"] == detail


@pytest.mark.parametrize("tail", ["", "/raw", "?headers=true"])
async def test_what_is_not_ones_own_does_not_exist(api: Api, tail: str) -> None:
    uid = await api.deliver(CONTENT, "bob@example.org")
    client = await api.signed_in("ann")
    unknown = "0" * 26
    for name in (uid, unknown, uid.upper(), uid[:-1], "z" * 26, "%00", "..%2f", "%F0%9F%93%A7"):
        async with client.get(URL(f"/api/emails/{name}{tail}", encoded=True)) as answer:
            await problem(answer, 404, "not-found")


async def test_an_etag_stands_for_every_octet(api: Api) -> None:
    uid = await api.deliver(CONTENT)
    account = await api.store.accounts.get("ann")
    client = await api.signed_in()
    path = f"/api/emails/{uid}"

    async def tag(path: str) -> str:
        async with client.get(path) as answer:
            assert answer.status == 200
            etag = answer.headers["ETag"]
        assert etag.startswith('"')
        async with client.get(path, headers={"If-None-Match": f'"x", {etag}'}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
            assert answer.headers["ETag"] == etag
            assert answer.headers["Cache-Control"] == "no-store"
        async with client.get(path, headers={"If-None-Match": '"x"'}) as answer:
            assert answer.status == 200
        return etag

    before = await tag(path)
    assert before == await tag(path)
    tags = {before, await tag(f"{path}?headers=true"), await tag(f"{path}/raw")}
    await remove(api.store, account.maildrop_id, [UniqueId.parse(uid)])
    tags.add(await tag(path))
    assert len(tags) == 4


async def test_header_fields_come_in_order_and_as_stored(api: Api) -> None:
    uid = await api.deliver(
        b"X-One: 1\r\nx-two :a\r\n\tb\r\nno field\r\nX-One:\xff\r\n\r\nX-Body: no\r\n"
    )
    client = await api.signed_in()
    async with client.get(f"/api/emails/{uid}?headers=true") as answer:
        fields = (await answer.json())["headers"]
    assert [field["name"] for field in fields[:3]] == ["Return-Path", "Delivered-To", "Received"]
    assert fields[3:] == [
        {"name": "X-One", "value": "1", "raw": " 1"},
        {"name": "x-two", "value": "a b", "raw": "a\r\n\tb"},
        {"name": "", "value": "no field", "raw": "no field"},
        {"name": "X-One", "value": "\u00ff", "raw": "\ufffd"},
    ]
    async with client.get(f"/api/emails/{uid}/headers") as answer:
        assert (await answer.json()) == {"items": fields, "next": None, "prev": None}


async def test_a_header_without_end_is_read_to_its_limit(api: Api) -> None:
    uid = await api.deliver(b"X: y\r\n" * 300_000)
    client = await api.signed_in()
    async with client.get(f"/api/emails/{uid}?headers=true") as answer:
        assert len((await answer.json())["headers"]) == 1000


@pytest.mark.parametrize("content", [CONTENT, CONTENT + b"." * 70 + b"\r\n" * 500_000, b""])
async def test_raw_is_what_was_stored(api: Api, content: bytes) -> None:
    uid = await api.deliver(content)
    client = await api.signed_in()
    async with client.get(f"/api/emails/{uid}/raw") as answer:
        octets = await answer.read()
        head = answer.headers
    async with client.get(f"/api/emails/{uid}") as answer:
        size = (await answer.json())["size"]
    assert octets.startswith(b"Return-Path: <bob@example.net>\r\n")
    assert octets.endswith(content)
    assert head["Content-Type"] == "message/rfc822"
    assert head["Content-Length"] == str(size) == str(len(octets))
    assert head["Accept-Ranges"] == "bytes"
    assert head["Content-Disposition"] == f'attachment; filename="{uid}.eml"'
    async with client.head(f"/api/emails/{uid}/raw") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert answer.headers["Content-Length"] == str(size)


@pytest.mark.parametrize(
    ("content", "harm"),
    [
        (CONTENT + b"x\r\n" * 200_000, "UPDATE body SET sha256 = zeroblob(32)"),
        (CONTENT + b"x\r\n" * 200_000, "DELETE FROM body_chunk WHERE n = 2"),
    ],
)
async def test_a_damaged_message_never_looks_complete(
    idle: Api, log: Log, content: bytes, harm: str
) -> None:
    await idle.start(limits=HttpLimits(idle_s=2 * WAIT_S))
    uid = await idle.deliver(content)
    client = await idle.signed_in()
    idle.spoil(harm)
    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.get(f"/api/emails/{uid}/raw") as answer:
            await answer.read()
    line = await log.line(path="/api/emails/{id}/raw")
    assert (line["level"], line["status"], line["cut"]) == ("error", 200, "message broken off")
    assert line["facts"]["uid"] == uid
    async with client.get("/api/emails") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    "harm", ["DELETE FROM body_chunk", "UPDATE body SET sha256 = zeroblob(32)"]
)
async def test_a_message_that_cannot_be_opened_is_a_fault_without_detail(
    api: Api, log: Log, harm: str
) -> None:
    uid = await api.deliver(CONTENT)
    client = await api.signed_in()
    api.spoil(harm)
    async with client.get(f"/api/emails/{uid}/raw") as answer:
        await problem(answer, 500, "internal-error")
    assert (await log.line(status=500))["level"] == "error"


LARGE = CONTENT + b"x" * 998 + b"\r\n" * 8_000_000  # more than the system buffers


async def asked(api: Api) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
    """A connection on which LARGE has begun to come, and what is still to come of it."""
    uid = await api.deliver(LARGE)
    token = await api.token("ann")
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        f"GET /api/emails/{uid}/raw HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length
    return reader, writer, int(length[1])


async def test_a_reader_that_stops_reading_is_cut(idle: Api, log: Log) -> None:
    await idle.start(limits=HttpLimits(write_stall_s=0.2))
    reader, writer, length = await asked(idle)
    assert (await log.line(path="/api/emails/{id}/raw"))["cut"] == "write stall"
    async with asyncio.timeout(WAIT_S):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(length)
    writer.close()


async def test_a_slow_reader_is_not(idle: Api, log: Log) -> None:
    await idle.start(limits=HttpLimits(write_stall_s=0.6))
    reader, writer, left = await asked(idle)
    while left:
        left -= len(await reader.readexactly(min(left, 1_000_000)))
        with suppress(TimeoutError):
            async with asyncio.timeout(0.06):  # the pace: slower in all than the limit
                await asyncio.Event().wait()
    assert "cut" not in await log.line(path="/api/emails/{id}/raw")
    writer.close()
