"""Addresses, mail apps, the second factor, the server: as their owner does it in a browser."""

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from auth import totp
from tests.kit import PASSWORD, Live, live_server
from tests.page.driving import page_of, sign_in

STRONG = "quiet-lantern-harbor-9"


def text_of(page: Page) -> str:
    """The secret that is shown this once."""
    return page.locator(".secret code").first.inner_text()


def test_from_the_set_up_code_to_the_first_mail(
    browser: Browser, tmp_path: Path, needs: Callable[[str], str]
) -> None:
    with live_server(tmp_path) as live, page_of(browser, f"http://{live.http}") as page:
        code = live.run(live.server.setup_code())
        assert code
        page.goto("/")
        page.get_by_role("link", name="Set it up").click()
        page.get_by_label("Set-up code").fill("wrong")
        page.get_by_label("Login").fill("ada")
        page.get_by_label("Address").fill("ada@analytical.example")
        page.get_by_label("Password").fill(STRONG)
        page.get_by_role("button", name="Set up this server").click()
        expect(page.get_by_role("alert")).to_be_visible()
        page.get_by_label("Set-up code").fill(code.upper())
        page.get_by_label("Password").fill(STRONG)
        page.get_by_role("button", name="Set up this server").click()
        expect(page.locator(".codes li")).to_have_count(10)
        page.get_by_role("link", name="I have kept them").click()
        expect(page.get_by_text("Nothing here. Mail will come.")).to_be_visible()
        live.send(b"Subject: The first one\r\n\r\nHello.\r\n", "ada@analytical.example")
        page.locator(".row", has_text="The first one").get_by_role("link").click()
        expect(page.get_by_role("region", name="The message")).to_have_text("Hello.")
        page.goto("/setup")
        expect(page).to_have_url(re.compile("/login$"))


def test_an_address_is_made_closed_and_opened(page: Page, live: Live) -> None:
    page.get_by_role("link", name="Addresses", exact=True).first.click()
    page.get_by_label("New address").fill("market")
    page.get_by_label("Note for you alone").fill("the fish market")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_text("market@example.test takes mail now.")).to_be_visible()
    live.send(b"Subject: Herring\r\n\r\n.\r\n", "market@example.test")
    page.get_by_role("button", name="Close market@example.test").click()
    expect(page.locator(".thing", has_text="market@").get_by_text("closed")).to_be_visible()
    with pytest.raises(AssertionError, match=r"5\.\d\.\d"):
        live.send(b"Subject: x\r\n\r\n.\r\n", "market@example.test")
    page.get_by_role("button", name="Open market@example.test").click()
    expect(page.get_by_role("button", name="Close market@example.test")).to_be_visible()
    page.get_by_label("New address").fill("market")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("alert")).to_be_visible()


def test_an_app_password_fetches_the_mail(page: Page, live: Live) -> None:
    page.get_by_role("link", name="Connect an app").first.click()
    page.get_by_label("Which app or device?").fill("poplib")
    page.get_by_role("button", name="Make a password").click()
    page.locator(".secret").wait_for()
    card = page.locator(".set-up")
    expect(card).to_contain_text(str(live.pop3.port))
    client = live.pop3_client("you", text_of(page))
    assert client.stat()[0] > 10
    client.quit()
    page.get_by_role("link", name="Security").first.click()
    page.get_by_role("button", name="Remove: poplib").click()
    expect(page.get_by_text("That app cannot sign in any more.")).to_be_visible()


def test_the_second_factor_is_set_up_and_asked_for(browser: Browser, base: str, live: Live) -> None:
    live.add_user("kim")
    with page_of(browser, base) as page:
        sign_in(page, base, "kim")
        page.goto("/security")
        form = page.locator("form", has=page.get_by_role("button", name="Set it up"))
        form.get_by_label("Password").fill(PASSWORD)
        form.get_by_role("button").click()
        expect(page.get_by_role("img", name="QR code of the secret")).to_be_visible()
        secret = base64.b32decode(text_of(page))

        def code(later: int = 0) -> str:
            return totp.code(secret, int(datetime.now(UTC).timestamp()) // totp.STEP_S + later)

        page.get_by_label("Code of the app").fill(code())
        page.get_by_role("button", name="Switch it on").click()
        expect(page.get_by_text("Signing in asks for a code from now on.")).to_be_visible()
        page.locator("#side").get_by_role("button", name="Sign out").click()
        page.get_by_label("Login or address").fill("kim")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("code")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_label("Code if the account asks for one").fill(code(1))
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Inbox")).to_be_visible()


def test_the_password_is_recovered_by_a_code(browser: Browser, base: str, live: Live) -> None:
    live.add_user("lee")
    with page_of(browser, base) as page:
        sign_in(page, base, "lee")
        page.goto("/security")
        form = page.locator("form", has=page.get_by_role("button", name="Make ten new codes"))
        form.get_by_label("Password").fill(PASSWORD)
        form.get_by_role("button").click()
        code = page.locator(".codes li").first.inner_text()
        page.locator("#side").get_by_role("button", name="Sign out").click()
        page.get_by_role("link", name="Forgot the password?").click()
        page.get_by_label("Login or address").fill("lee")
        page.get_by_label("Recovery code").fill(code)
        page.get_by_label("New password").fill(STRONG)
        page.get_by_role("button", name="Set the password").click()
        expect(page.get_by_text("9 recovery codes are left")).to_be_visible()
        sign_in(page, base, "lee", STRONG)


def test_an_administrator_adds_a_domain_a_user_and_a_guest(
    page: Page, browser: Browser, base: str, live: Live
) -> None:
    page.get_by_role("link", name="Domains").click()
    page.get_by_label("Domain", exact=True).fill("harbour.example")
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".thing", has_text="harbour.example")).to_be_visible()
    page.get_by_role("link", name="Users").click()
    page.get_by_label("Login").fill("ines")
    page.get_by_label("Address if wanted now").fill("ines@harbour.example")
    page.get_by_role("button", name="Add").click()
    page.locator(".secret").wait_for()
    password = text_of(page)
    live.send(b"Subject: x\r\n\r\n.\r\n", "ines@harbour.example")
    with page_of(browser, base) as other:
        sign_in(other, base, "ines", password)
        expect(other.locator(".row")).to_have_count(1)
        expect(other.get_by_role("link", name="Users")).to_have_count(0)
        other.goto("/admin/users")
        expect(other.get_by_role("heading", level=1)).to_have_text(
            "The credential does not reach so far"
        )
    page.get_by_role("link", name="Invitations").click()
    page.get_by_label(re.compile("^Address")).fill("guest@harbour.example")
    page.get_by_role("button", name="Make a link").click()
    page.locator(".secret").wait_for()
    link = text_of(page)
    with page_of(browser, base) as guest:
        guest.goto(link.partition("mail.example.test")[2])
        guest.get_by_label("Login").fill("guest")
        guest.get_by_label("Password").fill(STRONG)
        guest.get_by_role("button", name="Make the account").click()
        guest.get_by_role("link", name="I have kept them").click()
        expect(guest.get_by_text("guest@harbour.example").first).to_be_visible()
    page.get_by_role("link", name="Status").click()
    expect(page.get_by_role("img", name=re.compile("Mail per hour"))).to_be_visible()


def test_who_must_change_the_password_is_led_there(
    page: Page, browser: Browser, base: str, live: Live
) -> None:
    live.add_user("max")
    page.goto("/admin/users")
    page.locator("summary[aria-label='Change max']").click()
    page.locator(".thing", has_text="max").get_by_role("button", name="New password").click()
    page.locator(".secret").wait_for()
    password = text_of(page)
    with page_of(browser, base) as other:
        other.goto("/login")
        other.get_by_label("Login or address").fill("max")
        other.get_by_label("Password").fill(password)
        other.get_by_role("button", name="Sign in").click()
        other.get_by_label("Password now").fill(password)
        other.get_by_label("New password").fill(STRONG)
        other.get_by_role("button", name="Change it").click()
        expect(other.get_by_role("heading", name="Inbox")).to_be_visible()
