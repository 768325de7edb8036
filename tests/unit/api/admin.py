"""An administrator of a test, and what every change of a single resource must honour."""

from typing import Any

import aiohttp

from store.records import Role
from tests.unit.api.conftest import Api, problem

Document = dict[str, Any]

# A message with an attachment.
ATTACHED = (
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n"
    b"--b\r\nContent-Disposition: attachment; filename=a.bin\r\n\r\nabc\r\n--b--\r\n"
)


async def signed_in_admin(api: Api) -> aiohttp.ClientSession:
    await api.add_user("root", None, role=Role.ADMIN)
    return await api.signed_in("root")


async def made(client: aiohttp.ClientSession, path: str, body: Document) -> Document:
    """What a POST makes; it must be readable at its Location, where it has one."""
    async with client.post(path, json=body) as answer:
        assert answer.status == 201, await answer.text()
        document: Document = await answer.json()
    if location := answer.headers.get("Location"):
        async with client.get(location) as found:
            assert found.status == 200
            assert (await found.json()).items() <= document.items()
    return document


async def versions_are_kept(
    client: aiohttp.ClientSession, path: str, change: Document, *, other: Document
) -> None:
    """ETag, If-None-Match and If-Match of a resource (RFC 9110 section 13)."""
    async with client.get(path) as answer:
        before = answer.headers["ETag"]
    for tags, status in ((before, 304), ("*", 304), (f'W/{before}, "x"', 304), ('"x"', 200)):
        async with client.get(path, headers={"If-None-Match": tags}) as answer:
            assert (answer.status, answer.headers["ETag"]) == (status, before)
    for wrong in ('"x"', f"W/{before}", "x", ""):
        for method in ("PUT", "PATCH", "DELETE"):
            body = None if method == "DELETE" else change
            async with client.request(
                method, path, headers={"If-Match": wrong}, json=body
            ) as answer:
                document = await problem(answer, 412, "version-mismatch")
            async with client.get(path) as answer:
                assert answer.headers["ETag"] == before
                assert document["current"] == await answer.json()
    async with client.put(path, json=change, headers={"If-None-Match": before}) as answer:
        await problem(answer, 412, "version-mismatch")
    async with client.put(path, json=change, headers={"If-Match": f'"x", {before}'}) as answer:
        assert answer.status == 200, await answer.text()
        after = answer.headers["ETag"]
        assert after != before
        assert change.items() <= (await answer.json()).items()
    async with client.get(path) as answer:
        assert answer.headers["ETag"] == after
    async with client.patch(path, json=other, headers={"If-Match": "*"}) as answer:
        assert answer.status == 200
        assert (change | other).items() <= (await answer.json()).items()
    async with client.put(path, json={"no-such": 1}) as answer:
        document = await problem(answer, 422, "invalid-body")
        assert document["errors"][0]["pointer"] == "/no-such"


async def pages_are_a_list(
    client: aiohttp.ClientSession, path: str, names: list[str], member: str
) -> None:
    """Every way through a list in parts of one and of two gives all of it once, in order."""
    for limit in (1, 2, 3):
        found: list[str] = []
        back: list[str] = []
        url = last = f"{path}limit={limit}&total=true"
        while url:
            async with client.get(url) as answer:
                assert answer.status == 200, await answer.text()
                page = await answer.json()
                links = answer.links
            assert page.get("total", len(names)) == len(names)
            found += [item[member] for item in page["items"]]
            assert ("next" in links) == (page["next"] is not None)
            assert ("prev" in links) == (page["prev"] is not None)
            last, url = url, _place(links, "next")
        assert found == names
        url = last
        while url:
            async with client.get(url) as answer:
                page = await answer.json()
                links = answer.links
            back = [item[member] for item in page["items"]] + back
            url = _place(links, "prev")
        assert back == names
    async with client.get(f"{path}cursor=AAAA") as answer:
        await problem(answer, 400, "cursor-mismatch")
    for wrong in ("limit=0", "limit=201", "limit=x", "total=1", "no-such=1", "limit=1&limit=1"):
        async with client.get(f"{path}{wrong}") as answer:
            await problem(answer, 400, "bad-query")


def _place(links: Any, name: str) -> str:
    return str(links[name]["url"].relative()) if name in links else ""
