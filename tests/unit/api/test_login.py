"""POST /api/auth/login, and what its token is good for."""

from typing import Any

import pytest

from mail.ident import row_id_text
from tests.unit.api.conftest import SECRET, Api, Log, problem

PATH = "/api/auth/login"


@pytest.mark.parametrize("name", ["ann", "ANN", "ann@example.org", "Ann@Example.ORG"])
async def test_login_or_own_address_and_password_give_a_token(api: Api, name: str) -> None:
    account = await api.store.accounts.get("ann")
    async with api.client().post(PATH, json={"login": name, "password": SECRET}) as answer:
        assert answer.status == 200
        assert "Set-Cookie" not in answer.headers
        given = await answer.json()
    token = given.pop("access_token")
    assert given.pop("refresh_token")
    del given["user"]["last_seen_at"]  # it may be known by now
    created_at = account.created_at.isoformat().replace("+00:00", "Z")
    assert given == {
        "token_type": "Bearer",
        "expires_in": 3600,
        "refresh_expires_in": 30 * 24 * 3600,
        "user": {
            "id": row_id_text(account.id),
            "login": "ann",
            "display_name": "",
            "role": "user",
            "disabled": False,
            "must_change_password": False,
            "totp": False,
            "quota": None,
            "used": 0,
            "created_at": created_at,
        },
    }
    async with api.client(token).get("/api/emails") as answer:
        assert answer.status == 200


async def test_wrong_password_and_unknown_user_are_not_told_apart(api: Api) -> None:
    documents = []
    for login in ("ann", "nobody", "nobody@example.org"):
        credentials = {"login": login, "password": "wrong"}
        async with api.client().post(PATH, json=credentials) as answer:
            documents.append(await problem(answer, 401, "bad-credentials"))
    for document in documents:
        del document["request_id"]
    assert documents[1:] == documents[:1] * 2


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({"login": "ann", "pasword": "x"}, "/pasword", 'not known; did you mean "password"?'),
        ({"login": "ann", "log/in~": 1}, "/log~1in~0", 'not known; did you mean "login"?'),
        ({"login": "ann"}, "/password", "field required"),
        ({"login": "ann", "password": 5}, "/password", "input should be a valid string"),
        ({"login": None, "password": "x"}, "/login", "input should be a valid string"),
        ({"login": "", "password": "x"}, "/login", "string should have at least 1 character"),
    ],
)
async def test_a_body_is_taken_as_it_is_or_refused(
    api: Api, body: dict[str, Any], pointer: str, detail: str
) -> None:
    async with api.client().post(PATH, json=body) as answer:
        document = await problem(answer, 422, "invalid-body")
    assert {"pointer": pointer, "detail": detail} in document["errors"]


async def test_a_body_is_an_object(api: Api) -> None:
    async with api.client().post(PATH, json=["ann", SECRET]) as answer:
        document = await problem(answer, 422, "invalid-body")
    assert [error["pointer"] for error in document["errors"]] == [""]


async def test_no_more_errors_are_told_than_a_person_reads(api: Api) -> None:
    async with api.client().post(PATH, json={f"x{n}": n for n in range(500)}) as answer:
        assert len((await problem(answer, 422, "invalid-body"))["errors"]) == 20


async def test_a_new_password_ends_what_the_old_one_began(api: Api) -> None:
    client = await api.signed_in()
    await api.store.accounts.set_password("ann", await api.passwords.hash("another one"))
    async with client.get("/api/emails") as answer:
        await problem(answer, 401, "not-signed-in")


async def test_a_closed_account_is_out_at_once(api: Api) -> None:
    client = await api.signed_in()
    await api.store.accounts.close("ann")
    async with client.get("/api/emails") as answer:
        await problem(answer, 401, "not-signed-in")
    credentials = {"login": "ann", "password": SECRET}
    async with api.client().post(PATH, json=credentials) as answer:
        await problem(answer, 401, "bad-credentials")


async def test_the_log_knows_no_secret(api: Api, log: Log) -> None:
    token = await api.token("ann")
    for body in ({"login": "ann", "password": "hunter2 x"}, {"password": "hunter2 x"}):
        async with api.client().post(PATH, json=body) as answer:
            assert answer.status in (401, 422)
            assert "hunter2" not in await answer.text()
    await log.line(status=422)
    for secret in (token, SECRET, "hunter2"):
        assert secret not in str(log.lines)
