"""Who may ask for what: every row of the table against every kind of credential.

What must happen is worked out from the rule of the row alone.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import aiohttp
import jwt
import pytest

from api.routes import ROUTES, Route, Rule
from auth.scopes import Scope, of_role
from store.records import Role
from tests.unit.api.admin import ATTACHED
from tests.unit.api.conftest import KEY, SECRET, Api, now

Refusal = tuple[int, str] | None
NOT_SIGNED_IN = (401, "not-signed-in")
SCOPE_MISSING = (403, "scope-missing")
NOT_PERMITTED = (403, "not-permitted")
NOBODY = "00000000000"
OPEN_RULES = (Rule.NONE, Rule.OPTIONAL)
SIGNED_IN_RULES = (Rule.ANY, Rule.SESSION)


def rows() -> Iterator[tuple[Route[Any, Any], str, str]]:
    """Each row, and with PUT its twin; the path is that of something that is not there."""
    for route in ROUTES:
        if route.form:
            continue  # of the page: tests of the browser session
        path = route.path
        for name in ("id", "name", "n", "slug"):
            path = path.replace(f"{{{name}}}", NOBODY)
        for method in (route.method, *(["PATCH"] if route.method == "PUT" else [])):
            yield route, method, path


async def refusal(client: aiohttp.ClientSession, method: str, path: str) -> Refusal:
    """None when it was let in, whatever became of it then. It has no body, so nothing changes."""
    async with client.request(method, path) as answer:
        if answer.status not in (401, 403):
            return None
        code = (await answer.json())["code"]
        return (answer.status, code) if code != "csrf-failed" else None


def by_scopes(route: Route[Any, Any], scopes: frozenset[Scope], *, session: bool) -> Refusal:
    if route.access in OPEN_RULES or route.access is Rule.ANY:
        return None
    if route.access is Rule.SESSION:
        return None if session else NOT_PERMITTED
    return None if route.access in scopes else SCOPE_MISSING


def without_a_credential(route: Route[Any, Any]) -> Refusal:
    return None if route.access in OPEN_RULES or route.local else NOT_SIGNED_IN


def with_one_that_is_over(route: Route[Any, Any]) -> Refusal:
    """Who sends one is not let in as a stranger instead."""
    return None if route.access is Rule.NONE else NOT_SIGNED_IN


def while_it_must_change(route: Route[Any, Any]) -> Refusal:
    free = route.access is Rule.NONE or route.path in ("/api/auth/password", "/password")
    return None if free else NOT_PERMITTED


async def test_nobody(api: Api) -> None:
    client = api.client()
    for route, method, path in rows():
        found = await refusal(client, method, path)
        assert found == without_a_credential(route), (method, path)


@pytest.mark.parametrize("role", list(Role))
async def test_who_is_signed_in(api: Api, role: Role) -> None:
    await api.add_user("cid", None, role=role)
    client = await api.signed_in("cid")
    for route, method, path in rows():
        found = await refusal(client, method, path)
        assert found == by_scopes(route, of_role(role), session=True), (method, path)


async def ended(api: Api, how: str) -> str:
    """The token of an account of an administrator, which was good and is not any more."""
    account = await api.add_user("cid", None, role=Role.ADMIN)
    await api.add_user("root", None, role=Role.ADMIN)
    token = await api.token("cid")
    match how:
        case "expired":
            claims = jwt.decode(token, options={"verify_signature": False})
            head = jwt.get_unverified_header(token)
            claims["exp"] = now() - timedelta(minutes=1)
            claims["iat"] = now() - timedelta(hours=1)
            return jwt.encode(claims, KEY, algorithm="HS256", headers={"kid": head["kid"]})
        case "signed out":
            await api.store.sessions.end(account)
        case "new password":
            await api.store.accounts.set_password("cid", await api.passwords.hash(SECRET))
        case "disabled":
            root = await api.signed_in("root")
            async with root.put("/api/users/cid", json={"disabled": True}) as answer:
                assert answer.status == 200
        case "closed":
            await api.store.accounts.close("cid")
        case "forged":
            return token[:-4] + "AAAA"
    return token


@pytest.mark.parametrize(
    "how", ["expired", "signed out", "new password", "disabled", "closed", "forged"]
)
async def test_a_credential_that_is_over(api: Api, how: str) -> None:
    client = api.client(await ended(api, how))
    for route, method, path in rows():
        found = await refusal(client, method, path)
        assert found == with_one_that_is_over(route), (method, path)


async def test_who_must_change_the_password(api: Api) -> None:
    await api.add_user("cid", None, role=Role.ADMIN)
    client = await api.signed_in("cid")
    await api.store.profiles.change("cid", must_change_password=True)
    for route, method, path in rows():
        found = await refusal(client, method, path)
        assert found == while_it_must_change(route), (method, path)


async def test_a_token_narrowed_to_each_scope(api: Api) -> None:
    await api.add_user("cid", None, role=Role.ADMIN)
    admin = await api.signed_in("cid")
    for scope in Scope:
        wish = {"name": str(scope), "scopes": [scope]}
        async with admin.post("/api/tokens", json=wish) as answer:
            assert answer.status == 201, await answer.text()
            client = api.client((await answer.json())["token"])
        for route, method, path in rows():
            found = await refusal(client, method, path)
            expected = by_scopes(route, frozenset({scope}), session=False)
            assert found == expected, (scope, method, path)


async def test_a_sign_in_narrowed_to_one_scope(api: Api) -> None:
    body = {"login": "ann", "password": SECRET, "scope": "mail:read"}
    async with api.client().post("/api/auth/login", json=body) as answer:
        client = api.client((await answer.json())["access_token"])
    for route, method, path in rows():
        found = await refusal(client, method, path)
        expected = by_scopes(route, frozenset({Scope.MAIL_READ}), session=True)
        assert found == expected, (method, path)


async def test_a_users_token_never_manages(api: Api) -> None:
    """Not even one that was made while its owner was an administrator."""
    await api.add_user("root", None, role=Role.ADMIN)
    await api.store.profiles.change("ann", role=Role.ADMIN)
    ann = await api.signed_in("ann")
    wish = {"name": "all", "scopes": [str(scope) for scope in Scope]}
    async with ann.post("/api/tokens", json=wish) as answer:
        client = api.client((await answer.json())["token"])
    await api.store.profiles.change("ann", role=Role.USER)
    for route, method, path in rows():
        found = await refusal(client, method, path)
        assert found == by_scopes(route, of_role(Role.USER), session=False), (method, path)


async def owned(api: Api, client: aiohttp.ClientSession) -> dict[str, str]:
    """Something of ann's behind each path that has an id and is not an administrator's."""
    ids = {"/api/emails/{id}": await api.deliver(ATTACHED)}
    ids["/m/{id}"] = ids["/api/emails/{id}"]
    for path, body in (
        ("/api/tokens", {"name": "t", "scopes": ["account"]}),
        ("/api/app-passwords", {"name": "p"}),
    ):
        async with client.post(path, json=body) as answer:
            ids[f"{path}/{{id}}"] = (await answer.json())["id"]
    remote = {"address": "a@example.net", "password": "s", "test": False}
    async with client.post("/api/collectors", json=remote) as answer:
        ids["/api/collectors/{id}"] = (await answer.json())["id"]
    async with client.post("/api/email-receive/receive", json={}) as answer:
        ids["/api/jobs/{id}"] = (await answer.json())["job_id"]
    await api.token("ann")
    for path in ("/api/sessions", "/api/addresses"):
        async with client.get(path) as answer:
            ids[f"{path}/{{id}}"] = (await answer.json())["items"][-1]["id"]
    return ids


async def test_what_is_another_accounts_is_not_there(api: Api) -> None:
    """For the other account 404, and never 403; for its owner anything else."""
    ann, bob = await api.signed_in("ann"), await api.signed_in("bob")
    ids = await owned(api, ann)
    managed = (Scope.ADMIN_READ, Scope.ADMIN_WRITE)
    closed = [
        route for route in ROUTES if "{" in route.path and route.access not in (*managed, Rule.NONE)
    ]
    for route in sorted(closed, key=lambda each: each.method == "DELETE"):
        [base] = [path for path in ids if route.path.startswith(path)]
        path = route.path.replace("{id}", ids[base]).replace("{n}", "1")
        body: dict[str, object] | None = {} if route.body else None
        for client, there in ((bob, False), (ann, True)):
            async with client.request(route.method, path, json=body) as answer:
                assert (answer.status != 404) == there, (route.method, path, answer.status)
                if not there:
                    assert (await answer.json())["code"] == "not-found"
