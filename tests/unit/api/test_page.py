"""Browser sessions: the form, its token, the cookie, what each door needs to change anything."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from typing import Any

import aiohttp
import pytest

from api.page_mail import ROWS
from api.page_session import LOCAL, SECURE
from store.records import Role
from tests.unit.api.conftest import SECRET, Api, problem

FORM = {"login": "ann", "password": SECRET}


class Browser:
    """Keeps what cookies it is given, as they were given, and sends the token of the last form."""

    def __init__(self, api: Api) -> None:
        self.client = api.client()
        self.client.cookie_jar.clear()
        self.cookies: dict[str, str] = {}
        self.given: list[str] = []
        self.token = ""

    @asynccontextmanager
    async def ask(
        self, method: str, path: str, **more: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = more.pop("headers", {})
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={text}" for name, text in self.cookies.items())
        self.client.cookie_jar.clear()
        async with self.client.request(
            method, path, headers=headers, allow_redirects=False, **more
        ) as answer:
            for field in answer.headers.getall("Set-Cookie", []):
                self.given.append(field)
                for name, morsel in SimpleCookie(field).items():
                    self.cookies[name] = morsel.value
                    if morsel["max-age"] == "0":
                        del self.cookies[name]
            yield answer

    async def form(self) -> None:
        async with self.ask("GET", "/login") as answer:
            assert answer.status == 200
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            found = re.search('name="csrf_token" value="([0-9a-f]{64})"', await answer.text())
        assert found
        self.token = found[1]

    async def send(self, **changes: str) -> int:
        """Sends the sign-in form."""
        body = FORM | {"csrf_token": self.token} | changes
        async with self.ask("POST", "/login", data=body) as answer:
            return answer.status

    async def sign_in(self) -> None:
        await self.form()
        assert await self.send() == 303
        await self.form()  # its token is that of the new session

    async def status(self, method: str, path: str, **more: Any) -> int:
        async with self.ask(method, path, **more) as answer:
            return answer.status


@pytest.fixture
async def browser(api: Api) -> Browser:
    return Browser(api)


async def test_the_form_signs_in_with_a_new_id(api: Api, browser: Browser) -> None:
    await browser.form()
    before = browser.cookies[LOCAL]
    assert await browser.send() == 303
    after = browser.cookies[LOCAL]
    assert after != before
    assert await browser.status("GET", "/api/me") == 200
    # Whoever had planted the first one has nothing.
    planted = Browser(api)
    planted.cookies[LOCAL] = before
    assert await planted.status("GET", "/api/me") == 401
    for field in browser.given:
        assert re.fullmatch(r"restante_local=[\w-]{43}; HttpOnly; Path=/; SameSite=Lax", field), (
            field
        )
    octets = api.file.read_bytes() + api.file.with_name(api.file.name + "-wal").read_bytes()
    assert after.encode() not in octets


async def test_signing_in_again_ends_the_session_before(api: Api, browser: Browser) -> None:
    await browser.sign_in()
    other = Browser(api)
    other.cookies = dict(browser.cookies)
    assert await browser.send() == 303
    assert browser.cookies != other.cookies
    assert await other.status("GET", "/api/me") == 401


async def test_wrong_words_show_the_form_again(browser: Browser) -> None:
    await browser.form()
    cookie = dict(browser.cookies)
    assert await browser.send(password="wrong") == 401
    assert await browser.send(login="nobody", password="wrong") == 401
    assert browser.cookies == cookie
    assert await browser.status("GET", "/api/me") == 401
    assert await browser.send() == 303


async def test_a_form_without_its_token_does_nothing(api: Api, browser: Browser) -> None:
    assert await browser.send(csrf_token="0" * 64) == 403  # no cookie either
    await browser.form()
    stranger = Browser(api)
    await stranger.form()
    for token in ("", "x", "\u00e9", stranger.token):
        assert await browser.send(csrf_token=token) == 403
    async with browser.ask("POST", "/login", json=FORM | {"csrf_token": browser.token}) as answer:
        await problem(answer, 415, "unsupported-media-type")
    old = browser.token
    await browser.sign_in()
    assert await browser.status("POST", "/logout", data={"csrf_token": old}) == 403
    assert await browser.status("GET", "/api/me") == 200
    assert await browser.status("POST", "/logout", data={"csrf_token": browser.token}) == 303
    assert LOCAL not in browser.cookies


async def test_signing_out_ends_it_in_every_process(api: Api, browser: Browser) -> None:
    await browser.sign_in()
    kept = Browser(api)
    kept.cookies, kept.token = dict(browser.cookies), browser.token
    assert await browser.status("POST", "/logout", data={"csrf_token": browser.token}) == 303
    assert await kept.status("GET", "/api/me") == 401


CHANGE = {"json": {"display_name": "x"}}


async def test_with_a_cookie_a_change_needs_the_token(api: Api, browser: Browser) -> None:
    await browser.sign_in()
    stranger = Browser(api)
    await stranger.sign_in()
    assert await browser.status("GET", "/api/me") == 200
    for token in (None, "", "x", stranger.token):
        headers = {} if token is None else {"X-CSRF-Token": token}
        async with browser.ask("PUT", "/api/me", headers=headers, **CHANGE) as answer:
            await problem(answer, 403, "csrf-failed")
    headers = {"X-CSRF-Token": browser.token}
    assert await browser.status("PUT", "/api/me", headers=headers, **CHANGE) == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_site_changes_nothing_by_any_door(
    api: Api, browser: Browser, fields: dict[str, str]
) -> None:
    await browser.sign_in()
    token = await api.token("ann")
    for headers in (
        fields | {"X-CSRF-Token": browser.token},
        fields | {"Authorization": f"Bearer {token}"},
    ):
        async with browser.ask("PUT", "/api/me", headers=headers, **CHANGE) as answer:
            await problem(answer, 403, "csrf-failed")
    async with browser.ask("POST", "/api/auth/login", headers=fields, json=FORM) as answer:
        await problem(answer, 403, "csrf-failed")
    data = FORM | {"csrf_token": browser.token}
    async with browser.ask("POST", "/login", headers=fields, data=data) as answer:
        await problem(answer, 403, "csrf-failed")


async def test_with_authorization_cookies_do_not_count(api: Api, browser: Browser) -> None:
    await browser.sign_in()
    bob = {"Authorization": f"Bearer {await api.token('bob')}"}
    async with browser.ask("PUT", "/api/me", headers=dict(bob), **CHANGE) as answer:
        assert (await answer.json())["login"] == "bob"  # and no token of the page was asked for
    assert await browser.status("GET", "/api/me", headers={"Authorization": "Bearer x"}) == 401
    assert await browser.status("GET", "/api/me", headers={"Authorization": ""}) == 401


async def test_the_json_login_sets_no_cookie(api: Api, browser: Browser) -> None:
    async with browser.ask("POST", "/api/auth/login", json=FORM) as answer:
        assert answer.status == 200
    assert browser.given == []


async def test_another_role_ends_the_session(api: Api, browser: Browser) -> None:
    await api.add_user("root", None, role=Role.ADMIN)
    await browser.sign_in()
    await api.store.profiles.change("ann", role=Role.ADMIN)
    assert await browser.status("GET", "/api/me") == 401
    await browser.sign_in()
    assert await browser.status("GET", "/api/users") == 200


async def test_page_sessions_are_among_the_sessions(api: Api, browser: Browser) -> None:
    await browser.sign_in()
    async with browser.ask("GET", "/api/sessions") as answer:
        [session] = (await answer.json())["items"]
    assert (session["kind"], session["current"], session["ip"]) == ("page", True, "127.0.0.1")
    path = f"/api/sessions/{session['id']}"
    headers = {"X-CSRF-Token": browser.token}
    assert await browser.status("DELETE", path, headers=headers) == 204
    assert await browser.status("GET", "/api/me") == 401


@pytest.mark.parametrize("cookie", ["", "x", "x" * 42, "x" * 43, "x" * 44, '"' + "x" * 43 + '"'])
async def test_a_cookie_of_another_making_opens_nothing(browser: Browser, cookie: str) -> None:
    for name in (LOCAL, SECURE):
        browser.cookies = {name: cookie}
        assert await browser.status("GET", "/api/me") == 401


async def test_a_page_is_never_older_than_its_number(api: Api, browser: Browser) -> None:
    """Else what came while it was made would not be in it, and it would not ask again."""
    await browser.sign_in()
    drop = (await api.store.accounts.get("ann")).maildrop_id
    known = {await api.store.maildrops.modseq(drop): 0}
    seen: list[tuple[int, int]] = []

    async def look() -> None:
        while len(known) <= ROWS:
            async with browser.ask("GET", "/") as answer:
                text = await answer.text()
            found = re.search(r'data-version="(\d+)"', text)
            assert found
            seen.append((int(found[1]), text.count("<li class")))

    looks = [asyncio.create_task(look()) for _ in range(4)]
    for count in range(1, ROWS + 1):
        await api.deliver(b"Subject: x\r\n\r\n")
        known[await api.store.maildrops.modseq(drop)] = count
    await asyncio.gather(*looks)
    assert [each for each in seen if each[1] < known[each[0]]] == []


async def test_who_clicks_twice_meets_no_fault(api: Api, browser: Browser) -> None:
    """A session that the first click has ended is no trouble to the second."""
    for _ in range(5):
        await browser.sign_in()
        twin = Browser(api)
        twin.cookies, twin.token = dict(browser.cookies), browser.token
        assert set(await asyncio.gather(browser.send(), twin.send())) == {303}
        await browser.form()
        twin.cookies = dict(browser.cookies)
        form = {"csrf_token": browser.token}
        ends = [each.status("POST", "/logout", data=form) for each in (browser, twin)]
        # 401: it came when the session was over.
        assert {303} <= set(await asyncio.gather(*ends)) <= {303, 401}
