"""The DNS records of a domain, as its administrator enters and checks them in a browser."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from tests.kit import CONFIG, live_server
from tests.nameservers import nameservers
from tests.page.driving import page_of, sign_in
from tests.program import restante

ZONE = """\
@ MX 10 mail.example.test.
_dmarc TXT "v=DMARC1; p=none"
@ TXT "v=spf1 +all"
"""


def record(page: Page, name: str, kind: str) -> Locator:
    """The item of a record."""
    named = page.locator(".thing").filter(has=page.get_by_text(name, exact=True))
    return named.filter(has=page.locator("dt", has_text=kind))


def test_records_are_shown_copied_and_looked_up(
    browser: Browser, tmp_path: Path, needs: Callable[[str], str]
) -> None:
    with nameservers(tmp_path, {"signed.test": ZONE}, needs) as dns:
        config = CONFIG.format(smtp=0, pop3=0, http=0)
        resolvers = f'[server]\nresolvers = ["{dns.resolver}"]\n'
        (tmp_path / "config.toml").write_text(config.replace("[server]\n", resolvers))
        with live_server(tmp_path) as live:
            live.add_user("you", "you@example.test", admin_role=True)
            base = f"http://{live.http}"
            with page_of(browser, base, permissions=["clipboard-read", "clipboard-write"]) as page:
                sign_in(page, base)
                page.goto("/admin/domains")
                page.get_by_label("Domain").fill("signed.test")
                page.get_by_role("button", name="Add").click()
                page.get_by_role("link", name="DNS of signed.test").click()
                enter_and_look(page)
        command = restante("dns", "check", "signed.test", folder=tmp_path).stdout
    for line in ("ok       signed.test", "wrong    signed.test", "wrong    _dmarc.signed.test"):
        assert line in command  # it says the same


def enter_and_look(page: Page) -> None:
    mx = record(page, "signed.test", "MX")
    expect(mx.locator("code")).to_have_text("10 mail.example.test.")
    mx.get_by_role("button", name="Copy the MX value of signed.test").click()
    assert page.evaluate("navigator.clipboard.readText()") == "10 mail.example.test."
    expect(page.get_by_text("v=spf1")).to_have_count(0)  # nobody has said yet who sends

    page.get_by_label("A service does").check()
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_role("alert")).to_contain_text("in terms of SPF")
    page.get_by_label("Nobody does").check()
    page.get_by_role("button", name="Keep").click()
    expect(record(page, "signed.test", "TXT").locator("code")).to_have_text("v=spf1 -all")
    expect(page.get_by_label("Nobody does")).to_be_checked()

    page.get_by_role("button", name="Look whether they are there").click()
    expect(mx.locator(".tag")).to_have_text("ok")
    spf = record(page, "signed.test", "TXT")
    expect(spf.locator(".tag")).to_have_text("wrong")
    expect(spf.locator("div", has_text="At the resolver").last).to_contain_text("v=spf1 +all")
    missing = record(page, "autoconfig.signed.test", "CNAME")
    expect(missing.locator(".tag")).to_have_text("missing")
