"""What a stranger writes runs nowhere: in all places together, and behind each wall alone.

RESTANTE_PAYLOADS=all takes all of tests/page/payloads.py; else it is a part of them.
"""

import base64
import os
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Route, expect

from api.frame import POLICY
from mail import html
from tests.kit import Live
from tests.page.driving import context_of, page_of, sign_in
from tests.page.payloads import EVIL, payloads

ALL = os.environ.get("RESTANTE_PAYLOADS") == "all"
PAYLOADS = payloads()
MANY = PAYLOADS if ALL else PAYLOADS[::2]
FEW = PAYLOADS if ALL else PAYLOADS[::30]
AT_ONCE = 50  # frames of one page

ORIGIN = "https://walls.example"
LOCKED = 'sandbox="allow-popups allow-popups-to-escape-sandbox"'
FRAME_POLICY = POLICY.format(pictures="data:")

Made = tuple[str, dict[str, str], str]  # document, its fields, attributes of its frame


def nothing(payload: str) -> Made:
    return payload, {}, ""


def sanitiser(payload: str) -> Made:
    return html.clean(payload).html, {}, ""


def own_policy(payload: str) -> Made:
    return payload, {"Content-Security-Policy": FRAME_POLICY.replace("'self'", "*")}, ""


def locked_frame(payload: str) -> Made:
    return payload, {}, LOCKED


def ran(browser: Browser, wall: Callable[[str], Made], chosen: Sequence[str]) -> list[str]:
    """What happened: dialogs, pages that were left, and what was asked of another machine."""
    made = [wall(payload) for payload in chosen]
    found: list[str] = []
    context = context_of(browser)

    def answer(route: Route) -> None:
        url = route.request.url
        if not url.startswith(f"{ORIGIN}/"):
            found.append(f"request: {route.request.resource_type} {url}")
            route.abort()
        elif match := re.fullmatch(r"/(\d+)", url.removeprefix(ORIGIN)):
            document, fields, _ = made[int(match[1])]
            body = f"<!doctype html><meta charset=utf-8>{document}"
            route.fulfill(body=body, content_type="text/html; charset=utf-8", headers=fields)
        elif url == f"{ORIGIN}/all":
            frames = "".join(
                f'<iframe src="/{n}" {each[2]}></iframe>' for n, each in enumerate(made)
            )
            route.fulfill(body=f"<!doctype html>{frames}", content_type="text/html")
        else:
            route.fulfill(status=404, body="")

    def dialog(shown: Any) -> None:
        found.append(f"dialog: {shown.message}")
        shown.dismiss()

    context.on("dialog", dialog)
    context.route("**/*", answer)
    page = context.new_page()
    page.goto(f"{ORIGIN}/all", wait_until="load")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    if page.url != f"{ORIGIN}/all":
        found.append(f"left for {page.url}")
    context.close()
    return found


def groups(chosen: Sequence[str]) -> list[Sequence[str]]:
    return [chosen[at : at + AT_ONCE] for at in range(0, len(chosen), AT_ONCE)]


def test_without_a_wall_they_do_run(browser: Browser) -> None:
    """Or the tests below would show nothing."""
    found = ran(browser, nothing, ["<img src=x onerror=alert(1)>", f"<img src={EVIL}/loaded>"])
    assert "dialog: 1" in found
    assert f"request: image {EVIL}/loaded" in found


@pytest.mark.parametrize("wall", [sanitiser, own_policy])
def test_a_wall_alone_is_enough(browser: Browser, wall: Callable[[str], Made]) -> None:
    assert [ran(browser, wall, group) for group in groups(MANY)] == [[]] * len(groups(MANY))


def test_the_locked_frame_alone_runs_nothing(browser: Browser) -> None:
    """It lets pictures be fetched and itself be led elsewhere; the other two walls do not."""
    for group in groups(MANY):
        for what in ran(browser, locked_frame, group):
            assert not what.startswith(("dialog", "left")), what
            assert " fetch " not in what, what


def letter(payload: str, number: int) -> bytes:
    """With the payload in each place where a stranger's words are shown."""
    word = base64.b64encode(payload.encode()).decode()
    encoded = f"=?utf-8?B?{word}?="
    charset = ("utf-8", "utf-7", "utf-16", "iso-2022-jp", "x-unknown", '"><script>')[number % 6]
    name = quote(payload, safe="")
    cid = re.sub(r"[^!-;=?-~]", "", payload)[:100] or "x"
    pixel = "R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    head = (
        f"From: {encoded} <stranger{number}@evil.example>\r\nSubject: {encoded}\r\n"
        f"Reply-To: {encoded} <a@evil.example>\r\nCc: {encoded} <b@evil.example>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n"
    )
    text = f"--b\r\nContent-Type: text/html; charset={charset}\r\n\r\n"
    markup = f'{payload}<img src="cid:{cid}">\r\n'
    picture = (
        f"--b\r\nContent-Type: image/gif\r\nContent-ID: <{cid}>\r\n"
        f"Content-Disposition: attachment; filename*=utf-8''{name}\r\n"
        f"Content-Transfer-Encoding: base64\r\n\r\n{pixel}\r\n--b--\r\n"
    )
    body = markup.encode("utf-8" if number % 6 != 2 else "utf-16", "replace")
    whole = head.encode() + text.encode() + body + picture.encode()
    return re.sub(rb"\r?\n|\r", b"\r\n", whole)


@pytest.mark.parametrize("group", groups(FEW), ids=lambda group: str(len(group)))
def test_in_every_place_of_a_message(
    browser: Browser, base: str, live: Live, group: Sequence[str]
) -> None:
    sent = [live.send(letter(each, n), "shop@example.test") for n, each in enumerate(group)]
    with page_of(browser, base) as page:  # which fails for a dialog, a report, a foreign request
        sign_in(page, base)
        expect(page.locator(".row").first).to_be_visible()
        for uid in sent:
            for view in ("", "?view=text", "?view=headers"):
                page.goto(f"/m/{uid}{view}")
                assert page.url == f"{base}/m/{uid}{view}"
                expect(page.locator("#subject")).to_be_visible()
            page.goto(f"/api/emails/{uid}/body")  # opened by itself
            assert page.url == f"{base}/api/emails/{uid}/body"
