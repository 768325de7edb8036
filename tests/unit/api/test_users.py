"""Users and invitations, as an administrator manages them."""

from datetime import UTC, datetime, timedelta

import pytest

from mail.address import Address, parse_domain
from store.records import Role
from tests.unit.api.admin import made, pages_are_a_list, signed_in_admin, versions_are_kept
from tests.unit.api.conftest import SECRET, Api, problem

PLAIN = {
    "display_name": "",
    "role": "user",
    "disabled": False,
    "must_change_password": False,
    "totp": False,
    "quota": None,
    "used": 0,
    "last_seen_at": None,
}


async def test_a_user_is_made_with_a_password_or_gets_one(api: Api) -> None:
    admin = await signed_in_admin(api)
    mine = await made(admin, "/api/users", {"login": "Cid", "password": SECRET})
    assert mine.keys() == PLAIN.keys() | {"id", "login", "created_at"}
    assert PLAIN.items() <= mine.items()
    assert (mine["login"], len(mine["id"])) == ("cid", 11)
    given = {"login": "dora", "generate": True, "address": "dora@example.org", "quota": 5000}
    theirs = await made(admin, "/api/users", {**given, "role": "admin"})
    assert (theirs["role"], theirs["quota"]) == ("admin", 5000)
    credentials = {"login": "dora@example.org", "password": theirs["password"]}
    async with api.client().post("/api/auth/login", json=credentials) as answer:
        assert answer.status == 200
    async with admin.get("/api/users/dora") as answer:
        assert "password" not in await answer.json()


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        ({"login": "ann", "generate": True}, 409, "name-taken"),
        ({"login": "cid", "generate": True, "address": "ann@example.org"}, 409, "address-taken"),
        ({"login": "cid", "generate": True, "address": "c@example.net"}, 422, "invalid-body"),
        ({"login": "cid", "generate": True, "address": "cid"}, 422, "invalid-body"),
        ({"login": "cid"}, 422, "invalid-body"),
        ({"login": "cid", "password": SECRET, "generate": True}, 422, "invalid-body"),
        ({"login": "cid", "password": "short"}, 422, "weak-password"),
        ({"login": "two words", "generate": True}, 422, "invalid-body"),
        ({"login": "c\u0000", "generate": True}, 422, "invalid-body"),
        ({"login": "0123456789a", "generate": True}, 422, "invalid-body"),
        ({"login": "cid", "generate": True, "quota": -1}, 422, "invalid-body"),
        ({"login": "cid", "generate": True, "quota": "5"}, 422, "invalid-body"),
        ({"login": "cid", "generate": True, "role": "root"}, 422, "invalid-body"),
    ],
)
async def test_a_user_that_cannot_be_is_not_made(
    api: Api, body: dict[str, object], status: int, slug: str
) -> None:
    admin = await signed_in_admin(api)
    async with admin.post("/api/users", json=body) as answer:
        await problem(answer, status, slug)
    async with admin.get("/api/users/cid") as answer:
        await problem(answer, 404, "not-found")


async def test_users_by_id_or_login_in_versions(api: Api) -> None:
    admin = await signed_in_admin(api)
    async with admin.get("/api/users/ann") as answer:
        user = await answer.json()
    async with admin.get(f"/api/users/{user['id']}") as answer:
        assert await answer.json() == user
    async with admin.get("/api/users/ANN") as answer:
        assert answer.status == 200
    for path in ("nobody", "00000000000", "%00", "x/y", "%C3%A9", "ann%40example.org"):
        async with admin.get(f"http://127.0.0.1:{api.port}/api/users/{path}") as answer:
            await problem(answer, 404, "not-found")
    await versions_are_kept(
        admin, "/api/users/ann", {"quota": 5, "disabled": True}, other={"quota": None}
    )
    for role in (None, 1):
        async with admin.put("/api/users/ann", json={"role": role}) as answer:
            await problem(answer, 422, "invalid-body")
    for path in ("nobody", "00000000000"):
        async with admin.put(f"/api/users/{path}", json={}) as answer:
            await problem(answer, 404, "not-found")


async def test_who_is_disabled_is_signed_out_and_still_receives(api: Api) -> None:
    admin, ann = await signed_in_admin(api), await api.signed_in("ann")
    async with admin.put("/api/users/ann", json={"disabled": True}) as answer:
        assert answer.status == 200
    async with ann.get("/api/emails") as answer:
        await problem(answer, 401, "not-signed-in")
    uid = await api.deliver(b"Subject: later\r\n\r\n")
    async with admin.put("/api/users/ann", json={"disabled": False}) as answer:
        assert answer.status == 200
    async with ann.get("/api/emails") as answer:
        assert answer.status == 401  # what has ended does not begin again
    again = await api.signed_in("ann")
    async with again.get("/api/emails") as answer:
        assert [row["id"] for row in (await answer.json())["items"]] == [uid]
    async with admin.get("/api/users/ann") as answer:
        assert (await answer.json())["used"] > 0


async def test_a_role_counts_from_the_next_request(api: Api) -> None:
    admin, ann = await signed_in_admin(api), await api.signed_in("ann")
    async with ann.get("/api/users") as answer:
        await problem(answer, 403, "scope-missing")
    async with admin.put("/api/users/ann", json={"role": "admin"}) as answer:
        assert answer.status == 200
    ann = await api.signed_in("ann")
    async with ann.put("/api/users/root", json={"role": "user"}) as answer:
        assert answer.status == 200
    async with admin.get("/api/users") as answer:
        await problem(answer, 403, "scope-missing")


async def test_the_last_administrator_stays(api: Api) -> None:
    admin = await signed_in_admin(api)
    for change in ({"role": "user"}, {"disabled": True}):
        async with admin.put("/api/users/root", json=change) as answer:
            await problem(answer, 409, "last-admin")
    async with admin.delete("/api/users/root") as answer:
        await problem(answer, 409, "last-admin")
    async with admin.put("/api/users/ann", json={"role": "admin", "disabled": True}) as answer:
        assert answer.status == 200
    async with admin.delete("/api/users/root") as answer:
        await problem(answer, 409, "last-admin")  # who is disabled manages nothing
    async with admin.put("/api/users/ann", json={"disabled": False}) as answer:
        assert answer.status == 200
    async with admin.delete("/api/users/root") as answer:
        assert answer.status == 204
    async with admin.get("/api/users") as answer:
        await problem(answer, 401, "not-signed-in")


@pytest.mark.parametrize(
    ("mail", "goes_now"), [("", False), ("?mail=keep", False), ("?mail=purge", True)]
)
async def test_a_user_goes_with_or_without_mail(api: Api, mail: str, *, goes_now: bool) -> None:
    admin, ann = await signed_in_admin(api), await api.signed_in("ann")
    await api.deliver(b"Subject: x\r\n\r\n")
    async with admin.delete(f"/api/users/ann{mail}") as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    async with ann.get("/api/emails") as answer:
        await problem(answer, 401, "not-signed-in")
    for method in ("GET", "DELETE"):
        async with admin.request(method, "/api/users/ann") as answer:
            await problem(answer, 404, "not-found")
    await api.store.upkeep.run_once()
    size = await api.store.size()
    assert (size.messages == 0) == goes_now


async def test_a_new_password_ends_the_sessions(api: Api) -> None:
    admin, ann = await signed_in_admin(api), await api.signed_in("ann")
    path = "/api/users/ann/password"
    for body, status, slug in (
        ({"new": "short"}, 422, "weak-password"),
        ({}, 422, "invalid-body"),
        ({"new": SECRET, "generate": True}, 422, "invalid-body"),
    ):
        async with admin.post(path, json=body) as answer:
            await problem(answer, status, slug)
    async with admin.post("/api/users/nobody/password", json={"generate": True}) as answer:
        await problem(answer, 404, "not-found")
    async with admin.post(path, json={"generate": True}) as answer:
        assert answer.status == 200
        password = (await answer.json())["password"]
    async with ann.get("/api/emails") as answer:
        await problem(answer, 401, "not-signed-in")
    credentials = {"login": "ann", "password": password}
    async with api.client().post("/api/auth/login", json=credentials) as answer:
        assert answer.status == 200
    async with admin.post(path, json={"new": SECRET}) as answer:
        assert await answer.json() == {}
    await api.signed_in("ann")


async def test_the_list_of_users(api: Api) -> None:
    admin = await signed_in_admin(api)
    await api.add_user("cid", None)
    await pages_are_a_list(admin, "/api/users?", ["ann", "bob", "cid", "root"], "login")
    # A page stands still while others come and go.
    async with admin.get("/api/users?limit=2") as answer:
        following = (await answer.json())["next"]
    await api.add_user("abe", None)
    await api.store.accounts.close("bob")
    async with admin.get(f"/api/users?limit=2&cursor={following}") as answer:
        page = await answer.json()
    assert [user["login"] for user in page["items"]] == ["cid", "root"]
    # A cursor is good for who got it, and for its list.
    await api.add_user("eve", None, role=Role.ADMIN)
    other = await api.signed_in("eve")
    async with other.get(f"/api/users?cursor={following}") as answer:
        await problem(answer, 400, "cursor-mismatch")
    async with admin.get(f"/api/domains?cursor={following}") as answer:
        await problem(answer, 400, "cursor-mismatch")


async def test_invitations(api: Api) -> None:
    admin = await signed_in_admin(api)
    made_ids, links = [], []
    wishes: list[dict[str, object]] = [{}, {"uses": 5, "address": "new@example.org"}]
    for body in wishes:
        one = await made(admin, "/api/invites", body)
        assert one["link"].startswith("https://mail.example.org/register?invite=")
        assert one["uses"] == body.get("uses", 1)
        assert one["address"] == body.get("address")
        made_ids.append(one["id"])
        links.append(one["link"])
    guest = {"login": "new", "password": SECRET, "invite": links[1].partition("=")[2]}
    async with api.client().post("/api/auth/register", json=guest) as answer:
        assert answer.status == 201
        assert (await answer.json())["user"]["login"] == "new"
    await pages_are_a_list(admin, "/api/invites?", made_ids, "id")
    async with admin.get("/api/invites") as answer:
        assert "link" not in (await answer.json())["items"][0]
    now = datetime.now(UTC)
    wishes = [
        {"uses": 0},
        {"expires_at": "tomorrow"},
        {"expires_at": "2100-01-01T00:00:00"},
        {"expires_at": (now - timedelta(hours=1)).isoformat()},
        {"expires_at": (now + timedelta(days=400)).isoformat()},
        {"address": "x"},
    ]
    for body in wishes:
        async with admin.post("/api/invites", json=body) as answer:
            await problem(answer, 422, "invalid-body")
    async with admin.delete(f"/api/invites/{made_ids[0]}") as answer:
        assert answer.status == 204
    for wrong in (made_ids[0], "x"):
        async with admin.delete(f"/api/invites/{wrong}") as answer:
            await problem(answer, 404, "not-found")


async def test_an_address_in_another_form_signs_in(api: Api) -> None:
    """What an administrator gives is what the mail finds, also under an alias of the domain."""
    admin = await signed_in_admin(api)
    await api.store.domains.add(parse_domain("example.com"), alias_of=parse_domain("example.org"))
    await made(
        admin, "/api/users", {"login": "cid", "password": SECRET, "address": "Cid@example.org"}
    )
    reach = await api.store.directory.find(Address.parse("cid@example.com"))
    assert len(reach.maildrops) == 1
