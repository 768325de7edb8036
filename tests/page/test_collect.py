"""Mail from elsewhere: an account is added, run, tested, paused and removed in a browser."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.kit import PASSWORD, Live, live_server
from tests.page.driving import page_of, sign_in
from tests.page.elsewhere import collectors, providers, reaching, trusted

HOST = "mail.example.test"  # of the other


@dataclass
class Two:
    """One that collects, and one that it collects from."""

    live: Live
    other: Live

    @property
    def base(self) -> str:
        return f"http://{self.live.http}"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("other")
    with live_server(folder) as other:
        found = reaching(folder / "data" / "tls" / "self-signed.crt")
        config = "auth = 1000\npage = 100000\ngeneral = 100000\n"
        with live_server(tmp_path_factory.mktemp("here"), config=config, dialer=found) as live:
            yield Two(live, other)


def begin(page: Page, two: Two, user: str) -> None:
    """A user here, with an account there that has two messages."""
    two.live.add_user(user)
    two.other.add_user(user, f"{user}@example.test")
    for name in ("one", "two"):
        two.other.send(b"Subject: Message %b\r\n\r\n.\r\n" % name.encode(), f"{user}@example.test")
    sign_in(page, two.base, user)
    page.goto("/collect")


def add(page: Page, two: Two, user: str, password: str = PASSWORD) -> None:
    page.get_by_label("Address of the account").fill(f"{user}@elsewhere.example")
    page.get_by_role("button", name="Go on").click()
    page.locator("summary", has_text="port 995").click()
    page.get_by_label("Server").fill(HOST)
    page.get_by_label("Port").fill(str(two.other.pop3.port))
    page.get_by_label("User name").fill(user)
    page.get_by_label("Password there").fill(password)
    follow(page, page.get_by_role("button", name="Sign in there and fetch"))


@pytest.mark.parametrize("user", ["ann", "ben"])
def test_an_account_is_added_and_its_mail_is_here(browser: Browser, two: Two, user: str) -> None:
    script = user == "ann"  # ben has none
    with page_of(browser, two.base, java_script_enabled=script) as page:
        begin(page, two, user)
        expect(page.get_by_role("heading", name="No account yet")).to_be_visible()
        add(page, two, user, "not-the-password")
        expect(page.get_by_role("alert")).to_contain_text("The provider refused the sign-in")
        expect(page.locator(".walked li")).to_have_text(
            [
                re.compile("Went well: Find the server"),
                re.compile("Went well: Connect"),
                re.compile("Went well: Check the certificate"),
                re.compile("Failed: Sign in"),
            ]
        )
        assert "not-the-password" not in page.content()
        expect(page.get_by_label("Server")).to_have_value(HOST)
        page.get_by_label("Password there").fill(PASSWORD)
        follow(page, page.get_by_role("button", name="Sign in there and fetch"))
        watch(page, script=script)
        expect(page.get_by_role("status").first).to_have_text("2 new messages.")
        two.other.send(b"Subject: Later\r\n\r\n.\r\n", f"{user}@example.test")
        follow(page, page.get_by_role("button", name="Fetch now"))
        watch(page, script=script)
        expect(page.get_by_role("status").first).to_have_text(re.compile("^1 new message; 2 were"))
        expect(page.locator(".thing")).to_contain_text(re.compile("1 new\\s*Next run"))
        page.goto("/")
        expect(page.locator(".row")).to_have_count(3)


def watch(page: Page, *, script: bool) -> None:
    """Until the run is over: with script it shows itself."""
    again = page.get_by_role("link", name="Look again")
    while not script and again.count():
        follow(page, again)
    expect(page.get_by_role("heading", name=re.compile("^Fetching"))).to_have_count(0)


def follow(page: Page, there: Locator) -> None:
    """Clicks, and returns when what it leads to is there."""
    with page.expect_navigation():
        there.click()


def test_it_is_tested_paused_renamed_and_removed(browser: Browser, two: Two) -> None:
    with page_of(browser, two.base) as page:
        begin(page, two, "cleo")
        add(page, two, "cleo")
        watch(page, script=True)
        thing = page.locator(".thing", has_text="cleo@elsewhere.example")

        def change(button: str) -> None:
            thing.locator("summary.button").click()
            thing.get_by_role("button", name=button).click()

        change("Test")
        expect(page.locator(".walked li")).to_have_count(5)
        expect(page.locator(".walked")).to_contain_text("2 messages")
        change("Pause")
        expect(thing.get_by_text("paused")).to_be_visible()
        change("Go on")
        expect(thing).to_contain_text("Next run")
        thing.locator("summary.button").click()
        thing.get_by_label("Name", exact=True).fill("The club")
        thing.get_by_label("Once fetched").select_option("0")
        thing.get_by_role("button", name="Keep", exact=True).click()
        expect(thing).to_contain_text("The club")
        follow(page, page.get_by_role("button", name="Fetch now"))
        watch(page, script=True)
        assert two.other.fetch("cleo") == {}
        thing.locator("summary.button").click()
        thing.get_by_label("User name").fill("ann")
        thing.get_by_role("button", name="Keep", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("needs the password again")
        thing.locator("summary", has_text="Remove").click()
        thing.get_by_role("button", name="Remove it").click()
        expect(page.get_by_role("heading", name="No account yet")).to_be_visible()
        page.goto("/")
        expect(page.locator(".row")).to_have_count(2)


@pytest.mark.parametrize(
    ("address", "told", "password"),
    [
        ("ada@gmail.com", "It wants an app password.", "App password there"),
        ("ada@outlook.com", "OAuth2", None),
        ("ada@icloud.com", "iCloud has no POP3.", None),
        ("ada@elsewhere.example", "are a guess", "Password there"),
    ],
)
def test_what_a_provider_wants_is_told_before_the_password(
    page: Page, address: str, told: str, password: str | None
) -> None:
    page.goto("/collect")
    page.get_by_label("Address of the account").fill(address)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".card .notice")).to_contain_text(told)
    labels = page.locator(".card").first.get_by_label(re.compile("[Pp]assword there"))
    expect(labels).to_have_count(1 if password else 0)
    if password:
        expect(page.get_by_label(password, exact=True)).to_be_focused()


def test_how_far_a_run_is_and_its_end(browser: Browser, tmp_path: Path) -> None:
    with (
        live_server(tmp_path, dialer=trusted(tmp_path)) as live,
        providers(live, tmp_path) as ports,
        page_of(browser, f"http://{live.http}") as page,
    ):
        live.add_user("you")
        collectors(live, "you", ports["stuck"])
        sign_in(page, f"http://{live.http}")
        page.goto("/collect")
        expect(page.locator(".thing", has_text="gmail")).to_contain_text(
            "It is tried no more: give the password again."
        )
        page.get_by_role("button", name="Fetch now: ada@club.example").click()
        expect(page.locator("[data-far]")).to_have_text("0 of 3")
        page.get_by_role("button", name="Fetch now: ada@club.example").click()
        expect(page.locator("[data-far]")).to_have_text("0 of 3")
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_role("status").first).to_contain_text("What was fetched stays.")
