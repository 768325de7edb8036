"""What is looked at before a handler runs."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.call import HttpLimits
from api.problems import Problem
from api.security import seal, unseal
from auth.tokens import AUDIENCE, key_id
from mail.ident import row_id_text
from tests.unit.api.conftest import HOSTNAME, KEY, SECRET, Api, Log, now, problem

LOGIN = "/api/auth/login"
CREDENTIALS = {"login": "ann", "password": SECRET}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        (HOSTNAME, True),
        (HOSTNAME.upper(), True),
        (f"{HOSTNAME}:8080", True),
        ("localhost", True),
        ("localhost:2080", True),
        ("127.0.0.1", True),
        ("[::1]:80", True),
        ("evil.example", False),
        (f"{HOSTNAME}.evil.example", False),
        (f"{HOSTNAME}:x", False),
        (f"user@{HOSTNAME}", False),
        ("", False),
    ],
)
async def test_only_our_own_names_are_answered(api: Api, host: str, *, ours: bool) -> None:
    async with api.client().get("/api/", headers={"Host": host}) as answer:
        if ours:
            assert answer.status == 200
        else:
            await problem(answer, 421, "wrong-host")
    async with api.client().get("/healthz", headers={"Host": host}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({}, True),
        ({"Origin": f"http://{HOSTNAME}"}, True),
        ({"Origin": f"http://{HOSTNAME}", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": f"https://{HOSTNAME}"}, False),
        ({"Origin": f"http://{HOSTNAME}:81"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": f"http://{HOSTNAME}", "Sec-Fetch-Site": "cross-site"}, False),
    ],
)
async def test_no_other_page_can_sign_in(api: Api, headers: dict[str, str], *, ours: bool) -> None:
    sent = headers | {"Host": HOSTNAME}
    async with api.client().post(LOGIN, json=CREDENTIALS, headers=sent) as answer:
        if ours:
            assert answer.status == 200
        else:
            await problem(answer, 403, "csrf-failed")
    async with api.client().get("/api/", headers=sent) as answer:
        assert answer.status == 200


async def forged(api: Api, **changes: Any) -> str:
    """A token with our key and other claims; None leaves one out."""
    claims = jwt.decode(await api.token("ann"), options={"verify_signature": False})
    claims |= changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, KEY, algorithm="HS256", headers={"kid": key_id(KEY)})


async def test_only_a_token_of_ours_opens_the_door(api: Api) -> None:
    good = await api.token("ann")
    head, claims, signature = good.split(".")
    bad = [
        "",
        "x",
        "a.b.c",
        f"{head}.{claims}.",
        f"{head}.{claims}.{signature[::-1]}",
        jwt.encode({"sid": "0" * 11}, "", algorithm="none"),
        jwt.encode({"sid": "0" * 11}, KEY * 2, algorithm="HS512"),
        await forged(api, aud="another"),
        await forged(api, iss="another"),
        await forged(api, sid="0" * 11),
        await forged(api, sub=row_id_text((await api.store.accounts.get("bob")).id)),
        await forged(api, scope="mail:read everything"),
        await forged(api, sid=None),
        await forged(api, exp=None),
        await forged(api, exp=now() - timedelta(seconds=60)),
        "\u00e9",
    ]
    client = api.client()
    for value in [*(f"Bearer {token}" for token in bad), f"Basic {good}", good, "Bearer"]:
        headers = {"Authorization": value}
        async with client.get("/api/emails", headers=headers) as answer:
            await problem(answer, 401, "not-signed-in")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    async with client.get("/api/emails") as answer:
        await problem(answer, 401, "not-signed-in")
    for value in (f"bearer {good}", f"Bearer  {good}", f"Bearer {await forged(api, aud=AUDIENCE)}"):
        async with client.get("/api/emails", headers={"Authorization": value}) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "text/json", "application/*", ""]
)
async def test_json_is_called_json(api: Api, kind: str) -> None:
    headers = {"Content-Type": kind}
    body = json.dumps(CREDENTIALS)
    async with api.client().post(LOGIN, data=body, headers=headers) as answer:
        await problem(answer, 415, "unsupported-media-type")


async def test_json_with_a_charset_is_json(api: Api) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    body = json.dumps(CREDENTIALS)
    async with api.client().post(LOGIN, data=body, headers=headers) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity"])
async def test_nothing_is_unpacked(api: Api, coding: str) -> None:
    headers = JSON | {"Content-Encoding": coding}
    async with api.client().post(LOGIN, data=b"x" * 100, headers=headers) as answer:
        await problem(answer, 415, "unsupported-media-type")


def padded(octets: int) -> bytes:
    body = json.dumps(CREDENTIALS).encode()
    return body + b" " * (octets - len(body))


async def in_blocks(octets: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(octets), 4096):
        yield octets[start : start + 4096]


async def test_a_body_may_have_16_kib_and_not_an_octet_more(api: Api) -> None:
    for octets, fits in ((16 * 1024, True), (16 * 1024 + 1, False)):
        for data in (padded(octets), in_blocks(padded(octets))):
            async with api.client().post(LOGIN, data=data, headers=JSON) as answer:
                if fits:
                    assert answer.status == 200
                else:
                    await problem(answer, 413, "body-too-large")


def nested(depth: int) -> bytes:
    return b'{"login":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def with_members(count: int) -> bytes:
    return json.dumps({str(n): {} for n in range(count)}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b'{"login":"\xff"}',
        b'{"login":"\xed\xa0\x80"}',
        rb'{"login":"\ud800"}',
        rb'{"\udc00x":1}',
        rb'{"login":["\udc00"]}',
        b'{"login":NaN}',
        b'{"login":-Infinity}',
        b'{"login":1e999}',
        b'{"login":9007199254740993}',
        b'{"login":-9007199254740993}',
        b'{"login":' + b"9" * 5000 + b"}",
        b'{"login":"a","login":"b"}',
        b"{'login':1}",
        nested(33),
        b"[" * 16_000,
        with_members(1001),
        b'{"login":[' + with_members(600) + b"," + with_members(600) + b"]}",
    ],
)
async def test_what_is_no_json_or_beyond_a_limit_is_400(api: Api, body: bytes) -> None:
    async with api.client().post(LOGIN, data=body, headers=JSON) as answer:
        await problem(answer, 400, "malformed-request")


@pytest.mark.parametrize(
    "body",
    [
        b'{"login":9007199254740992}',
        rb'{"login":"\ud83d\ude00"}',
        b'{"login":1.5e300}',
        nested(32),
        with_members(1000),
    ],
)
async def test_what_is_within_the_limits_goes_on(api: Api, body: bytes) -> None:
    async with api.client().post(LOGIN, data=body, headers=JSON) as answer:
        await problem(answer, 422, "invalid-body")


async def test_a_body_that_does_not_come_is_not_waited_for(idle: Api) -> None:
    await idle.start(limits=HttpLimits(body_s=0.1, linger_s=0.1))
    head = b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for rest in (b"Content-Length: 40\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"):
        answer = await idle.exchange(head + rest)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"too-slow"' in answer


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(idle: Api) -> None:
    await idle.start(limits=HttpLimits(body_s=99, linger_s=0.1))
    answer = await idle.exchange(
        b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 16385\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_breaks_off_is_no_body(api: Api, log: Log) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        b"POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 40\r\n\r\n{"
    )
    writer.close()
    await writer.wait_closed()
    line = await log.line(path="/api/auth/login")
    assert (line["status"], line["why"], line["cut"]) == (400, "malformed-request", "lost")


@given(st.binary(max_size=40), st.text(max_size=20), st.text(max_size=20), st.text(max_size=80))
def test_a_cursor_opens_where_it_was_sealed(
    position: bytes, scope: str, other: str, junk: str
) -> None:
    cursor = seal(KEY, position, scope)
    assert unseal(KEY, cursor, scope) == position
    for key, text, place in ((KEY, cursor, other), (KEY[::-1], cursor, scope), (KEY, junk, scope)):
        if (key, text, place) != (KEY, cursor, scope):
            with pytest.raises(Problem):
                unseal(key, text, place)
