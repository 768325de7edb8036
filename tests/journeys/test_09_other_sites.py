"""What a page of another origin can do to somebody who is signed in: nothing.

A real browser sends what it would send, with its cookies: forms of each encoding, and requests that
need no leave of ours. A page on another port of this machine is of the same site, so that cookies
come along whatever SameSite says; one on another address is of another site.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response

from api.operations import OPERATIONS, name
from api.page_session import LOCAL
from api.routes import ROUTES
from tests.browser import chromium, elsewhere
from tests.kit import DOMAIN, PASSWORD, Live, live_server
from tests.sessions import listed

CHANGES = [route for route in ROUTES if route.method != "GET"]
WAYS = sorted({route.path for route in CHANGES})
POSTED = {route.path for route in CHANGES if route.method == "POST"}
ENCODINGS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")

# Each form goes into a frame of its own, and is done when the answer is there.
SEND_FORMS = """async forms => { await Promise.all(forms.map(([action, enctype, fields], n) =>
  new Promise(done => {
    const frame = document.createElement('iframe');
    frame.name = `frame${n}`;
    const form = document.createElement('form');
    Object.assign(form, {method: 'post', action, enctype, target: frame.name});
    for (const [name, value] of Object.entries(fields)) {
      const input = document.createElement('input');
      Object.assign(input, {type: 'hidden', name, value});
      form.append(input);
    }
    document.body.append(frame, form);
    frame.addEventListener('load', () => done());
    form.submit();
  })));
}"""
SEND_REQUESTS = """async requests => Promise.all(requests.map(([url, options]) =>
  fetch(url, {credentials: 'include', ...options}).then(answer => answer.type, () => 'blocked')))"""
CONTENT = "SELECT * FROM {} ORDER BY 1, 2"
TABLES = ("account", "credential", "session", "domain", "address", "invite", "message", "totp")


@pytest.fixture(scope="module")
def browser(needs: Callable[[str], str]) -> Iterator[Browser]:
    with chromium(needs) as found:
        yield found


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with closing(browser.new_context()) as found:
        yield found


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with live_server(tmp_path) as found:
        found.add_user("root", f"root@{DOMAIN}", admin_role=True)
        found.add_user("eve", f"eve@{DOMAIN}")
        found.send(b"Subject: x\r\n\r\nhello\r\n", f"root@{DOMAIN}")
        yield found


def signed_in(page: Page, base: str, login: str = "root") -> str:
    """Signs in by the form as a person does; returns the token of the page after it."""
    page.goto(f"{base}/login")
    page.fill("input[name=login]", login)
    page.fill("input[name=password]", PASSWORD)
    page.click("button")
    page.goto(f"{base}/login")
    token = page.get_attribute("input[name=csrf_token]", "value")
    assert token
    page.goto(f"{base}/api/me")
    assert f'"login":"{login}"' in page.content()
    return token


def cookie(context: BrowserContext) -> str:
    [found] = [each["value"] for each in context.cookies() if each["name"] == LOCAL]
    return found


def kept(live: Live) -> dict[str, list[Any]]:
    """All that a request could have changed."""
    file = live.server.config.store.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file)) as database:
        names = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
        return {
            table: database.execute(CONTENT.format(table)).fetchall()
            for table in TABLES
            if table in names
        }


def example(live: Live, path: str) -> str:
    """The path of something that is there."""
    maildrop = live.run(live.store.accounts.get("root")).maildrop_id
    [mail] = live.run(listed(live.store, maildrop))
    things = {"/api/users": "eve", "/api/domains": DOMAIN, "/api/emails": str(mail.uid)}
    return re.sub("{.*?}", things.get(path.partition("/{")[0], "00000000000"), path)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
def test_forms_and_requests_of_another_origin(
    live: Live, context: BrowserContext, host: str
) -> None:
    base, page = f"http://{live.http}", context.new_page()
    signed_in(page, base)
    before = kept(live)
    seen: list[tuple[str, str, int]] = []

    def note(answer: Response) -> None:
        if answer.url.startswith(base):
            seen.append((answer.request.method, answer.url.removeprefix(base), answer.status))

    bodies = {
        route.path: OPERATIONS[name(route)].body or {}
        for route in CHANGES
        if route.method == "POST"
    }
    places = {path: base + example(live, path) for path in WAYS}
    with elsewhere(host) as origin:
        page.goto(origin)
        page.on("response", note)
        forms = [
            [place, encoding, {key: str(value) for key, value in bodies.get(path, {}).items()}]
            for path, place in places.items()
            for encoding in ENCODINGS
        ]
        page.evaluate(SEND_FORMS, forms)
        assert len(seen) == len(forms)
        simple = [
            [place, {"method": "POST", "mode": "no-cors", "body": "{}", "headers": fields}]
            for place in places.values()
            for fields in ({}, *({"Content-Type": kind} for kind in ENCODINGS))
        ]
        assert set(page.evaluate(SEND_REQUESTS, simple)) == {"opaque"}
        assert len(seen) == len(forms) + len(simple)
        for method, path, status in seen:
            own = next(each for each, place in places.items() if place == base + path)
            assert (method, status) == ("POST", 403 if own in POSTED else 405), path
        # All others need our leave, which the browser asks for and does not get.
        asking = [
            [
                base + example(live, route.path),
                {"method": route.method, "headers": {"Content-Type": "application/json"}},
            ]
            for route in CHANGES
        ]
        asked = page.evaluate(SEND_REQUESTS, asking)
        assert set(asked) == {"blocked"}
    assert {method for method, _, _ in seen[len(forms) + len(simple) :]} <= {"OPTIONS"}
    assert kept(live) == before


def test_the_page_itself_may(live: Live, context: BrowserContext) -> None:
    """The same request that another origin is refused."""
    base, page = f"http://{live.http}", context.new_page()
    token = signed_in(page, base)
    before = kept(live)
    options: dict[str, Any] = {"method": "POST", "body": '{"name": "ci", "scopes": ["account"]}'}
    fields = {"Content-Type": "application/json"}
    for more, changed in (({}, False), ({"X-CSRF-Token": token}, True)):
        request = [f"{base}/api/tokens", options | {"headers": fields | more}]
        assert page.evaluate(SEND_REQUESTS, [request]) == ["basic"]
        assert (kept(live)["credential"] != before["credential"]) == changed


def test_a_planted_cookie_opens_nothing(
    live: Live, browser: Browser, context: BrowserContext
) -> None:
    """Session fixation, and signing somebody in as somebody else."""
    base = f"http://{live.http}"
    with closing(browser.new_context()) as attacker:
        page = attacker.new_page()
        page.goto(f"{base}/login")
        planted = cookie(attacker)
        token = page.get_attribute("input[name=csrf_token]", "value")
        context.add_cookies([{"name": LOCAL, "value": planted, "url": base}])
        victim = context.new_page()
        with elsewhere("127.0.0.1") as origin:
            victim.goto(origin)
            fields = {"login": "eve", "password": PASSWORD, "csrf_token": token}
            victim.evaluate(SEND_FORMS, [[f"{base}/login", ENCODINGS[0], fields]])
        assert cookie(context) == planted
        signed_in(victim, base)
        assert cookie(context) != planted
        page.goto(f"{base}/api/me")
        assert "not-signed-in" in page.content()
