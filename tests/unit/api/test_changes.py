"""Changing and deleting mail: what is asked for and nothing else, and nobody else's."""

import asyncio
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from mail.ident import UniqueId
from store.records import Folder
from tests.unit.api.conftest import Api, now, problem

CONTENT = b"From: Bob <bob@example.net>\r\nSubject: x\r\n\r\nhello\r\n"


async def email(client: aiohttp.ClientSession, uid: str) -> tuple[dict[str, Any], str]:
    async with client.get(f"/api/emails/{uid}") as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json(), answer.headers["ETag"]


async def put(
    client: aiohttp.ClientSession, uid: str, change: dict[str, object], **headers: str
) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.put(f"/api/emails/{uid}", json=change, headers=named) as answer:
        assert answer.status == 200, await answer.text()
        told: dict[str, Any] = await answer.json()
        assert answer.headers["ETag"]
        return told


@pytest.mark.parametrize(
    ("change", "member", "value"),
    [
        ({"unread": False}, "unread", False),
        ({"starred": True}, "starred", True),
        ({"folder": "archive"}, "folder", "archive"),
        ({"folder": "trash"}, "folder", "trash"),
    ],
)
async def test_what_is_given_is_changed_and_the_rest_stays(
    api: Api, change: dict[str, object], member: str, value: object
) -> None:
    uid = await api.deliver(CONTENT)
    client = await api.signed_in()
    before, _ = await email(client, uid)
    after = await put(client, uid, change)
    shown, _ = await email(client, uid)
    assert after == shown
    purged = after.pop("purge_at", None)
    assert (purged is not None) == (value == "trash")
    assert after == before | {member: value}
    assert await put(client, uid, change) == shown  # once more changes nothing
    assert await put(client, uid, {}) == shown


async def test_patch_is_the_same(api: Api) -> None:
    uid = await api.deliver(CONTENT)
    client = await api.signed_in()
    async with client.patch(f"/api/emails/{uid}", json={"starred": True}) as answer:
        assert (answer.status, (await answer.json())["starred"]) == (200, True)


async def test_reading_does_not_mark_as_read(api: Api) -> None:
    uid = await api.deliver(CONTENT)
    client = await api.signed_in()
    for _ in range(2):
        assert (await email(client, uid))[0]["unread"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"unred": False}, "/unred"),
        ({"unread": "false"}, "/unread"),
        ({"unread": 0}, "/unread"),
        ({"folder": "held"}, "/folder"),
        ({"folder": "purged"}, "/folder"),
        ({"subject": "y"}, "/subject"),
        ({"size": 1}, "/size"),
    ],
)
async def test_content_and_odd_values_cannot_be_put(
    api: Api, change: dict[str, object], pointer: str
) -> None:
    uid = await api.deliver(CONTENT)
    client = await api.signed_in()
    before = await email(client, uid)
    async with client.put(f"/api/emails/{uid}", json=change) as answer:
        document = await problem(answer, 422, "invalid-body")
    assert [error["pointer"] for error in document["errors"]] == [pointer]
    assert await email(client, uid) == before


async def test_a_change_holds_only_for_the_version_it_was_made_for(api: Api) -> None:
    uid = await api.deliver(CONTENT)
    client = await api.signed_in()
    _, first = await email(client, uid)
    path = f"/api/emails/{uid}"
    async with client.get(f"{path}?body=none&headers=true") as answer:
        other_form = answer.headers["ETag"]
    await put(client, uid, {"starred": True}, If_Match=other_form)
    for tags in (first, f'"x", {first}', '"x"', f"W/{first}"):
        async with client.put(path, json={"unread": False}, headers={"If-Match": tags}) as answer:
            document = await problem(answer, 412, "version-mismatch")
        current = document["current"]
        assert (current["id"], current["starred"], current["unread"]) == (uid, True, True)
        async with client.delete(path, headers={"If-Match": tags}) as answer:
            await problem(answer, 412, "version-mismatch")
    _, second = await email(client, uid)
    assert second != first
    await put(client, uid, {"unread": False}, If_Match=f'"x", {second}')
    await put(client, uid, {"unread": True}, If_Match="*")


async def test_of_two_who_saw_the_same_one_is_refused(api: Api) -> None:
    uid = await api.deliver(CONTENT)
    client = await api.signed_in()
    _, tag = await email(client, uid)

    async def star(folder: str) -> int:
        headers = {"If-Match": tag}
        path = f"/api/emails/{uid}"
        async with client.put(path, json={"folder": folder}, headers=headers) as answer:
            return answer.status

    assert sorted(await asyncio.gather(star("archive"), star("trash"))) == [200, 412]


async def test_out_of_the_trash_it_comes_back_as_it_was(api: Api) -> None:
    uid = await api.deliver(CONTENT)
    client = await api.signed_in()
    before, _ = await email(client, uid)
    for _ in range(2):  # to delete it again changes nothing
        async with client.delete(f"/api/emails/{uid}") as answer:
            assert (answer.status, await answer.read()) == (204, b"")
    trashed, tag = await email(client, uid)
    assert trashed["folder"] == "trash"
    days = timedelta(days=30)
    purge_at = now().fromisoformat(trashed["purge_at"].replace("Z", "+00:00"))
    assert abs(purge_at - now() - days) < timedelta(hours=1)
    assert await put(client, uid, {"folder": "inbox"}, If_Match=tag) == before


async def test_deleted_for_good_is_told_from_never_there(api: Api) -> None:
    uid = await api.deliver(CONTENT, "ann@example.org", "bob@example.org")
    client, bob = await api.signed_in(), await api.signed_in("bob")
    for _ in range(2):
        async with client.delete(f"/api/emails/{uid}?final=true") as answer:
            assert answer.status == 204
    for tail in ("", "/raw", "/headers", "/attachments", "/attachments/1"):
        async with client.get(f"/api/emails/{uid}{tail}") as answer:
            await problem(answer, 410, "deleted")
    async with client.put(f"/api/emails/{uid}", json={"folder": "inbox"}) as answer:
        await problem(answer, 410, "deleted")
    async with client.get("/api/emails?folder=all") as answer:
        assert (await answer.json())["items"] == []
    assert (await email(bob, uid))[0]["folder"] == "inbox"
    async with client.delete(f"/api/emails/{'0' * 26}") as answer:
        await problem(answer, 404, "not-found")


async def test_what_is_a_tombstone_is_deleted_still(api: Api) -> None:
    uid = await api.deliver(CONTENT)
    account = await api.store.accounts.get("ann")
    client = await api.signed_in()
    await api.store.messages.move(account.maildrop_id, [UniqueId.parse(uid)], Folder.PURGED)
    api.spoil("UPDATE message SET expires_at = 0")
    api.spoil("UPDATE maildrop SET sweep_at = 0")
    await api.store.upkeep.run_once()
    async with client.get(f"/api/emails/{uid}") as answer:
        await problem(answer, 410, "deleted")
    api.spoil("DELETE FROM tombstone")
    async with client.get(f"/api/emails/{uid}") as answer:
        await problem(answer, 404, "not-found")


async def test_a_full_mailbox_takes_nothing_out_of_the_trash(api: Api) -> None:
    uid = await api.deliver(CONTENT)
    client = await api.signed_in()
    await put(client, uid, {"folder": "trash"})
    api.spoil("UPDATE maildrop SET quota_octets = 1")
    async with client.put(f"/api/emails/{uid}", json={"folder": "inbox"}) as answer:
        await problem(answer, 507, "over-quota")
    assert (await email(client, uid))[0]["folder"] == "trash"


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_nobody_changes_the_mail_of_another(api: Api, method: str) -> None:
    uid = await api.deliver(CONTENT, "bob@example.org")
    ann, bob = await api.signed_in(), await api.signed_in("bob")
    before = await email(bob, uid)
    body = {"folder": "trash"} if method == "PUT" else None
    async with ann.request(method, f"/api/emails/{uid}", json=body) as answer:
        await problem(answer, 404, "not-found")
    assert await email(bob, uid) == before
