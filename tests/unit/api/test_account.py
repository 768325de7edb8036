"""One's own account: making it, its sessions, its second factor, credentials that never grow."""

from base64 import b32decode
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from api.call import Site
from auth import codes, totp
from mail.address import Address, parse_domain
from net.limits import Peer
from store.records import Role
from tests.unit.api.admin import pages_are_a_list
from tests.unit.api.conftest import SECRET, SECRETS_KEY, Api, now, problem

HERE = Peer("127.0.0.1", 0)
NEW = "quiet-lantern-harbor-9"
Document = dict[str, Any]


async def sent(
    client: aiohttp.ClientSession, method: str, path: str, status: int, body: object = None
) -> Document:
    """The answer, which has this status."""
    async with client.request(method, path, json=body) as answer:
        assert answer.status == status, await answer.text()
        return dict(await answer.json()) if status != 204 else {}


async def refused(
    client: aiohttp.ClientSession, method: str, path: str, status: int, slug: str, body: object
) -> None:
    async with client.request(method, path, json=body) as answer:
        await problem(answer, status, slug)


async def login(api: Api, name: str = "ann", **more: object) -> Document:
    body = {"login": name, "password": SECRET} | more
    return await sent(api.client(), "POST", "/api/auth/login", 200, body)


async def test_the_setup_code_makes_the_first_administrator_and_the_domain(api: Api) -> None:
    body = {"login": "root", "password": NEW, "address": "Root@New.example"}
    client = api.client()
    code = codes.setup_code(SECRETS_KEY)
    path = "/api/auth/register"
    await refused(client, "POST", path, 403, "registration-closed", body)
    await refused(client, "POST", path, 403, "invite-invalid", body | {"setup_code": "0000"})
    weak = body | {"setup_code": code, "password": "root@new.example"}
    await refused(client, "POST", path, 422, "weak-password", weak)
    made = await sent(client, "POST", path, 201, body | {"setup_code": code.upper()})
    assert made["user"]["role"] == "admin"
    assert len(set(made["recovery_codes"])) == 10
    assert parse_domain("new.example") in {each.name for each in await api.store.domains.all()}
    me = await sent(api.client(made["access_token"]), "GET", "/api/me", 200)
    assert me["addresses"] == ["Root@new.example"]
    assert "admin:write" in me["scopes"]
    again = {"login": "toor", "password": NEW, "setup_code": code}
    await refused(client, "POST", path, 403, "invite-invalid", again)
    assert not (await sent(client, "GET", "/api/", 200))["setup_needed"]


async def test_an_invitation_makes_one_account(api: Api) -> None:
    invite = codes.generate(codes.INVITE)
    await api.store.invites.add(
        codes.invite_hash(SECRETS_KEY, invite),
        address=Address.parse("kim@example.org"),
        uses=1,
        life=timedelta(days=1),
    )
    path, client = "/api/auth/register", api.client()
    body = {"login": "kim", "password": NEW, "invite": invite}
    wrong = body | {"invite": "0000-0000-0000-0000"}
    await refused(client, "POST", path, 403, "invite-invalid", wrong)
    await refused(client, "POST", path, 409, "name-taken", body | {"login": "ann"})
    other = body | {"address": "bob2@example.org"}
    await refused(client, "POST", path, 403, "domain-not-open", other)
    made = await sent(client, "POST", path, 201, body | {"display_name": "Kim"})
    assert (made["user"]["login"], made["user"]["display_name"]) == ("kim", "Kim")
    assert made["user"]["role"] == "user"
    me = await sent(api.client(made["access_token"]), "GET", "/api/me", 200)
    assert me["addresses"] == ["kim@example.org"]
    await refused(client, "POST", path, 403, "invite-invalid", body | {"login": "pat"})


async def test_where_registration_is_open_or_closed(idle: Api) -> None:
    await idle.start(site=Site(registration="open"))
    await idle.store.domains.change(parse_domain("example.org"), self_service=True)
    client, path = idle.client(), "/api/auth/register"
    body = {"login": "kim", "password": NEW}
    taken = body | {"address": "ann@example.org"}
    await refused(client, "POST", path, 409, "address-taken", taken)
    elsewhere = body | {"address": "kim@example.net"}
    await refused(client, "POST", path, 403, "domain-not-open", elsewhere)
    for role in ({"role": "admin"}, {"is_admin": True}, {"user": {"role": "admin"}}):
        await refused(client, "POST", path, 422, "invalid-body", body | role)
    await sent(client, "POST", path, 201, body | {"address": "kim@example.org"})


async def test_closed_is_closed_to_guests_too(idle: Api) -> None:
    await idle.start(site=Site(registration="closed"))
    body = {"login": "kim", "password": NEW, "invite": "0000-0000-0000-0000"}
    path = "/api/auth/register"
    await refused(idle.client(), "POST", path, 403, "registration-closed", body)


async def test_a_login_is_narrowed_and_never_widened(api: Api) -> None:
    narrow = api.client((await login(api, scope="mail:read"))["access_token"])
    assert (await sent(narrow, "GET", "/api/me", 200))["scopes"] == ["mail:read"]
    await sent(narrow, "GET", "/api/emails", 200)
    await refused(narrow, "GET", "/api/tokens", 403, "scope-missing", None)
    body = {"login": "ann", "password": SECRET, "scope": "mail:read admin:write"}
    await refused(api.client(), "POST", "/api/auth/login", 403, "scope-missing", body)
    body["scope"] = "everything"
    await refused(api.client(), "POST", "/api/auth/login", 422, "invalid-body", body)


async def test_a_refresh_token_is_good_once(api: Api) -> None:
    given = await login(api, scope="mail:read", device="curl")
    client, path = api.client(), "/api/auth/refresh"
    renewed = await sent(client, "POST", path, 200, {"refresh_token": given["refresh_token"]})
    assert "user" not in renewed
    assert renewed["refresh_token"] != given["refresh_token"]
    fresh = api.client(renewed["access_token"])
    assert (await sent(fresh, "GET", "/api/me", 200))["scopes"] == ["mail:read"]
    for token in (given["refresh_token"], renewed["refresh_token"], "", "x.y", "\ud83d\ude00."):
        await refused(client, "POST", path, 401, "session-ended", {"refresh_token": token})
    await refused(fresh, "GET", "/api/me", 401, "not-signed-in", None)


async def test_signing_out_ends_this_session_or_all(api: Api) -> None:
    one, other = await api.signed_in(), await api.signed_in()
    await sent(one, "POST", "/api/auth/logout", 204, {})
    await refused(one, "GET", "/api/me", 401, "not-signed-in", None)
    third = await api.signed_in()
    await sent(other, "POST", "/api/auth/logout", 204, {"everywhere": True})
    await refused(third, "GET", "/api/me", 401, "not-signed-in", None)


async def test_sessions_are_listed_and_ended_one_by_one(api: Api) -> None:
    bob, ann = (
        await api.signed_in("bob"),
        api.client((await login(api, device="x"))["access_token"]),
    )
    await login(api, device="curl")
    listed = (await sent(ann, "GET", "/api/sessions", 200))["items"]
    assert [(each["device"], each["kind"], each["current"]) for each in listed] == [
        ("curl", "login", False),
        ("x", "login", True),
    ]
    assert {each["ip"] for each in listed} == {"127.0.0.1"}
    path = f"/api/sessions/{listed[0]['id']}"
    await refused(bob, "DELETE", path, 404, "not-found", None)
    await sent(ann, "DELETE", path, 204)
    await refused(ann, "DELETE", path, 404, "not-found", None)
    await refused(ann, "DELETE", "/api/sessions/x", 404, "not-found", None)
    assert len((await sent(ann, "GET", "/api/sessions", 200))["items"]) == 1


async def test_a_new_password_keeps_this_session_alone(api: Api) -> None:
    here, there = await api.signed_in(), await api.signed_in()
    path = "/api/auth/password"
    wrong = {"current": "wrong", "new": NEW}
    await refused(here, "POST", path, 401, "bad-credentials", wrong)
    for weak in ("short", "password123", "ann@example.org"):
        body = {"current": SECRET, "new": weak}
        await refused(here, "POST", path, 422, "weak-password", body)
    await sent(here, "POST", path, 204, {"current": SECRET, "new": NEW})
    await sent(here, "GET", "/api/me", 200)
    await refused(there, "GET", "/api/me", 401, "not-signed-in", None)
    body = {"login": "ann", "password": SECRET}
    await refused(api.client(), "POST", "/api/auth/login", 401, "bad-credentials", body)


async def test_who_must_change_the_password_can_do_nothing_else(api: Api) -> None:
    client = await api.signed_in()
    await api.store.profiles.change("ann", must_change_password=True)
    for path in ("/api/me", "/api/emails", "/api/sessions", "/api/limits"):
        await refused(client, "GET", path, 403, "not-permitted", None)
    await sent(client, "POST", "/api/auth/password", 204, {"current": SECRET, "new": NEW})
    await sent(client, "GET", "/api/me", 200)


async def test_a_disabled_user_hears_it_after_the_right_password(api: Api) -> None:
    client, bob = await api.signed_in(), await api.signed_in("bob")
    token = (await sent(client, "POST", "/api/tokens", 201, wish()))["token"]
    await api.add_user("root", None, role=Role.ADMIN)
    admin = await api.signed_in("root")
    await sent(admin, "PUT", "/api/users/ann", 200, {"disabled": True})
    for each in (client, api.client(token)):
        await refused(each, "GET", "/api/me", 401, "not-signed-in", None)
    path = "/api/auth/login"
    body = {"login": "ann", "password": "wrong"}
    await refused(api.client(), "POST", path, 401, "bad-credentials", body)
    await refused(api.client(), "POST", path, 403, "account-disabled", body | {"password": SECRET})
    await sent(bob, "GET", "/api/me", 200)


async def test_recovery_ends_all_and_switches_the_second_factor_off(api: Api) -> None:
    client = await api.signed_in()
    path = "/api/auth/recovery-codes"
    await refused(client, "POST", path, 401, "bad-credentials", {"current": "x"})
    before = (await sent(client, "POST", path, 201, {"current": SECRET}))["recovery_codes"]
    shown = (await sent(client, "POST", path, 201, {"current": SECRET}))["recovery_codes"]
    await turned_on(client)
    path, stranger = "/api/auth/recover", api.client()
    body = {"login": "ann@example.org", "recovery_code": before[0], "new": NEW}
    await refused(stranger, "POST", path, 401, "bad-credentials", body)
    body["recovery_code"] = shown[3].upper()
    await refused(stranger, "POST", path, 422, "weak-password", body | {"new": "1234567890"})
    await refused(stranger, "POST", path, 401, "bad-credentials", body | {"login": "bob"})
    assert await sent(stranger, "POST", path, 200, body) == {"recovery_codes_left": 9}
    await refused(stranger, "POST", path, 401, "bad-credentials", body)
    await refused(client, "GET", "/api/me", 401, "not-signed-in", None)
    assert not (await login(api, password=NEW))["user"]["totp"]


async def turned_on(client: aiohttp.ClientSession) -> tuple[bytes, int]:
    """TOTP is on now: its secret, and the step whose code was spent for that."""
    given = await sent(client, "POST", "/api/auth/totp", 200, {"current": SECRET})
    secret = b32decode(given["secret"])
    step = int(now().timestamp()) // totp.STEP_S
    body = {"enabled": True, "code": totp.code(secret, step)}
    await sent(client, "PUT", "/api/auth/totp", 204, body)
    return secret, step


async def test_the_second_factor(api: Api) -> None:
    client, path = await api.signed_in(), "/api/auth/totp"
    await refused(client, "POST", path, 401, "bad-credentials", {"current": "x"})
    early = {"enabled": True, "code": "123456"}
    await refused(client, "PUT", path, 401, "bad-credentials", early)
    api.parts.login.forgive(HERE)
    secret, step = await turned_on(client)
    assert secret.hex() not in api.file.read_bytes().hex()
    await refused(client, "POST", path, 409, "already-on", {"current": SECRET})
    stranger, body = api.client(), {"login": "ann", "password": SECRET}
    await refused(stranger, "POST", "/api/auth/login", 401, "totp-required", body)
    wrong = {"login": "ann", "password": "wrong"}
    await refused(stranger, "POST", "/api/auth/login", 401, "bad-credentials", wrong)
    for code in (totp.code(secret, step), totp.code(secret, step - 2), "x"):  # one was used
        api.parts.login.forgive(HERE)  # each makes the answer to the next one later
        again = body | {"totp": code}
        await refused(stranger, "POST", "/api/auth/login", 401, "bad-credentials", again)
    api.parts.login.forgive(HERE)
    assert (await login(api, totp=totp.code(secret, step + 1)))["user"]["totp"]
    off = {"enabled": False, "current": "wrong"}
    await refused(client, "PUT", path, 401, "bad-credentials", off)
    await refused(client, "PUT", path, 422, "invalid-body", {"enabled": False})
    await sent(client, "PUT", path, 204, off | {"current": SECRET})
    await login(api)


def wish(**changes: object) -> Document:
    return {"name": "ci", "scopes": ["mail:read", "account"]} | changes


async def test_a_token_reaches_as_far_as_it_says_and_is_shown_once(api: Api) -> None:
    client = await api.signed_in()
    made = await sent(client, "POST", "/api/tokens", 201, wish(scopes=["mail:read"]))
    secret = made.pop("token")
    assert (await sent(client, "GET", "/api/tokens", 200))["items"] == [made]
    assert secret not in api.file.read_bytes().decode("latin-1")
    token = api.client(secret)
    await sent(token, "GET", "/api/emails", 200)
    for path, slug in (("/api/tokens", "scope-missing"), ("/api/users", "scope-missing")):
        await refused(token, "GET", path, 403, slug, None)
    await refused(token, "POST", "/api/auth/logout", 403, "not-permitted", {})
    await refused(client, "POST", "/api/tokens", 409, "name-taken", wish())
    for wrong in ("rst_", secret[:-1], secret + "0", "rst_" + "0" * 26, secret.upper()):
        await refused(api.client(wrong), "GET", "/api/me", 401, "not-signed-in", None)
    bob = await api.signed_in("bob")
    path = f"/api/tokens/{made['id']}"
    await refused(bob, "DELETE", path, 404, "not-found", None)
    await sent(client, "DELETE", path, 204)
    await refused(token, "GET", "/api/me", 401, "not-signed-in", None)


async def test_no_credential_makes_a_stronger_one(api: Api) -> None:
    client = await api.signed_in()
    path = "/api/tokens"
    await refused(client, "POST", path, 403, "scope-missing", wish(scopes=["admin:read"]))
    ends = now() + timedelta(hours=1)
    body = wish(addresses=["ann@example.org"], expires_at=ends.isoformat())
    maker = api.client((await sent(client, "POST", path, 201, body))["token"])
    for wider in (
        {"scopes": ["mail:write"]},
        {"addresses": None},
        {"addresses": ["bob@example.org"]},
        {"addresses": ["ann@example.org", "bob@example.org"]},
        {"addresses": ["ann@example.org"], "expires_at": (ends + timedelta(1)).isoformat()},
    ):
        await refused(maker, "POST", path, 403, "scope-missing", wish(name="x") | wider)
    narrower = wish(name="y", scopes=["mail:read"], addresses=["ANN@example.org"])
    made = await sent(maker, "POST", path, 201, narrower)
    assert made["expires_at"] is not None  # its maker's
    await refused(maker, "POST", "/api/app-passwords", 403, "scope-missing", {"name": "phone"})
    assert "unread" not in await sent(maker, "GET", "/api/me", 200)


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"scopes": []},
        {"scopes": ["mail"]},
        {"scopes": "mail:read"},
        {"addresses": []},
        {"addresses": ["x"]},
        {"ip_allow": ["example.org"]},
        {"expires_at": "tomorrow"},
        {"expires_at": "2030-01-01T00:00:00"},
        {"account_id": 1},
        {"id": "00000000001"},
        {"secret": "x"},
    ],
)
async def test_a_token_is_made_of_what_is_known(api: Api, change: Document) -> None:
    client = await api.signed_in()
    await refused(client, "POST", "/api/tokens", 422, "invalid-body", wish() | change)


async def test_a_token_ends_and_keeps_to_its_networks(api: Api) -> None:
    client, path = await api.signed_in(), "/api/tokens"
    over = wish(expires_at=(now() - timedelta(seconds=1)).isoformat())
    ended = api.client((await sent(client, "POST", path, 201, over))["token"])
    await refused(ended, "GET", "/api/me", 401, "not-signed-in", None)
    for name, network, status in (("a", "192.0.2.0/24", 403), ("b", "127.0.0.1", 200)):
        made = await sent(client, "POST", path, 201, wish(name=name, ip_allow=[network]))
        async with api.client(made["token"]).get("/api/me") as answer:
            assert answer.status == status


async def test_an_app_password_opens_pop3_and_comes_with_the_card(api: Api) -> None:
    client, path = await api.signed_in(), "/api/app-passwords"
    made = await sent(client, "POST", path, 201, {"name": "phone", "ip_allow": ["192.0.2.7/24"]})
    assert made["ip_allow"] == ["192.0.2.0/24"]
    card = await sent(client, "GET", "/api/me/client-config", 200)
    assert made["client_config"] == card
    assert card["incoming"] == {
        "protocol": "pop3",
        "host": "mail.example.org",
        "port": 995,
        "security": "SSL/TLS",
        "authentication": "normal password",
        "username": "ann",
    }
    async with client.get("/api/me/client-config?format=text") as answer:
        assert "mail.example.org" in await answer.text()
    body = {"login": "ann", "password": made["password"]}
    await refused(api.client(), "POST", "/api/auth/login", 401, "bad-credentials", body)
    listed = (await sent(client, "GET", path, 200))["items"]
    assert [each["name"] for each in listed] == ["phone"]
    assert made["password"] not in str(listed)
    await sent(client, "DELETE", f"{path}/{made['id']}", 204)
    await refused(client, "DELETE", f"{path}/{made['id']}", 404, "not-found", None)


async def test_me_is_changed_in_the_version_that_was_seen(api: Api) -> None:
    client, other = await api.signed_in(), await api.signed_in()
    path, change = "/api/me", {"display_name": "Ann"}
    async with client.get(path) as answer:
        seen = answer.headers["ETag"]
    await sent(other, "PUT", path, 200, {"language": "de"})
    async with client.put(path, json=change, headers={"If-Match": seen}) as answer:
        document = await problem(answer, 412, "version-mismatch")
    assert document["current"] == await sent(client, "GET", path, 200)
    assert (document["current"]["language"], document["current"]["display_name"]) == ("de", "")
    async with client.get(path) as answer:
        seen = answer.headers["ETag"]
    async with client.put(path, json=change, headers={"If-Match": seen}) as answer:
        assert answer.status == 200
        assert (await answer.json())["display_name"] == "Ann"
        assert answer.headers["ETag"] != seen


async def test_credentials_and_sessions_are_lists(api: Api) -> None:
    client = await api.signed_in()
    for name in ("b", "c", "a"):
        await sent(client, "POST", "/api/tokens", 201, wish(name=name))
        await sent(client, "POST", "/api/app-passwords", 201, {"name": name})
        await login(api, device=name)
    for path in ("/api/tokens?", "/api/app-passwords?"):
        await pages_are_a_list(client, path, ["a", "b", "c"], "name")
    devices = ["a", "c", "b"]  # the newest first
    here = (await sent(client, "GET", "/api/sessions", 200))["items"][-1]
    assert here["current"]
    await pages_are_a_list(client, "/api/sessions?", [*devices, here["device"]], "device")


async def test_me_is_changed_in_what_is_mine(api: Api) -> None:
    client = await api.signed_in()
    await api.deliver(b"Subject: one\r\n\r\n")
    body = {"display_name": "Ann", "timezone": "Europe/Vienna"}
    changed = await sent(client, "PUT", "/api/me", 200, body)
    assert (changed["display_name"], changed["timezone"]) == ("Ann", "Europe/Vienna")
    assert (changed["unread"], changed["language"]) == (1, "")
    assert (await sent(client, "PATCH", "/api/me", 200, {"language": "de"}))["timezone"]
    for theirs in ("role", "login", "id", "quota", "totp", "must_change_password", "scopes"):
        await refused(client, "PUT", "/api/me", 422, "invalid-body", {theirs: "admin"})
