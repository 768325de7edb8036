"""Pictures of every screen: python -m tests.page.screens FOLDER [NAME ...]"""

import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from playwright.sync_api import Browser, Page

from store.listing import Selection
from store.records import Listed
from tests.browser import chromium
from tests.conftest import program
from tests.kit import PASSWORD, Live, live_server
from tests.page.driving import context_of, sign_in
from tests.page.elsewhere import collectors, providers, trusted
from tests.page.sample import YOU, fill, yesterday

Act = Callable[[Page], object]


def _nothing(_page: Page) -> None: ...


def screens(live: Live, ports: Mapping[str, int]) -> Iterator[tuple[str, str, Act]]:
    """Name, path, what is done there before the picture is taken."""
    drop = live.run(live.store.accounts.get("you")).maildrop_id
    found = {each.message.subject[:8]: str(each.message.uid) for each in _listed(live, drop)}
    yield "inbox", "/", _nothing
    yield "html", f"/m/{found['The Harb']}", lambda page: page.wait_for_timeout(400)
    yield "attachments", f"/m/{found['Photos f']}", _nothing
    yield "code", f"/m/{found['Your sig']}", _nothing
    yield "headers", f"/m/{found['The Harb']}?view=headers", _nothing
    yield "source", f"/m/{found['The Harb']}?view=source", _nothing
    yield "search", "/?q=notes", _nothing
    yield "nothing-found", "/?q=notes+zeppelin", _nothing
    yield "trash", "/?folder=trash", _nothing
    yield "toast", "/?done=archive&ids=01m815pwc8r84p57vfqvc2r1yd&was=inbox", _nothing
    yield "addresses", "/addresses", _nothing
    yield "collect", "/collect", _nothing
    yield "collect-change", "/collect", _open
    yield "collect-add", "/collect", partial(_find, "ada.lovelace@gmail.com")
    yield "collect-oauth", "/collect", partial(_find, "ada@outlook.com")
    yield "collect-refused", "/collect", partial(_refused, ports["refusing"])
    yield "collect-run", "/collect", _fetching
    yield "connect", "/connect", _nothing
    yield "connect-made", "/connect", _made
    yield "security", "/security", _nothing
    yield "totp", "/security", _totp
    yield "users", "/admin/users", _open
    yield "domains", "/admin/domains", _open
    yield "dns", "/admin/domains/example.test", _nothing
    yield "dns-checked", "/admin/domains/example.test", _looked
    yield "invites", "/admin/invites", _invited
    yield "server", "/admin/server", _nothing
    yield "help", "/help", _nothing
    yield "menu", "/menu", _nothing
    yield "gone", "/m/01m815pwc8r84p57vfqvc2r1yd", _nothing
    yield "password", "/password", _nothing


def _listed(live: Live, drop: int) -> list[Listed]:
    return live.run(live.store.listing.page(drop, Selection())).items


def _made(page: Page) -> None:
    page.get_by_label("Which app or device?").fill(f"Phone {secrets.token_hex(2)}")
    page.get_by_role("button", name="Make a password").click()
    page.get_by_text("It is shown this once").wait_for()


def _totp(page: Page) -> None:
    form = page.locator("form", has=page.get_by_role("button", name="Set it up"))
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button").click()
    page.get_by_label("Code of the app").wait_for()


def _open(page: Page) -> None:
    page.locator(".actions > summary").first.click()


def _looked(page: Page) -> None:
    page.get_by_role("button", name="Look whether they are there").click()
    page.get_by_role("button", name="Look again").wait_for()


def _find(address: str, page: Page) -> None:
    page.get_by_label("Address of the account").fill(address)
    page.get_by_role("button", name="Go on").click()
    page.locator(".card .notice").wait_for()


def _refused(port: int, page: Page) -> None:
    _find("ada@example.net", page)
    page.locator("summary", has_text="port 995").click()
    form = page.locator("form", has=page.get_by_role("button", name="Sign in there"))
    form.get_by_label("Port").fill(str(port))
    form.get_by_label("Password there").fill("wrong")
    form.get_by_role("button", name="Sign in there").click()
    page.get_by_role("alert").wait_for()


def _fetching(page: Page) -> None:
    page.get_by_role("button", name="Fetch now: ada@club.example").click()
    page.get_by_text("0 of 3").wait_for()


def _invited(page: Page) -> None:
    page.get_by_role("button", name="Make a link").click()
    page.get_by_text("Give this link").wait_for()


DOORS = (
    ("login", "/login"),
    ("register", "/register?invite=abcd-efgh-jkmn-pqrs"),
    ("recover", "/recover"),
)


def take(
    live: Live, ports: Mapping[str, int], browser: Browser, folder: Path, wanted: list[str]
) -> None:
    base = f"http://{live.http}"
    for scheme in ("light", "dark"):
        for size in ("desktop", "phone"):
            page = context_of(browser, size=size, scheme=scheme).new_page()
            for name, path in DOORS:
                if not wanted or name in wanted:
                    page.goto(base + path)
                    page.screenshot(path=folder / f"{name}-{size}-{scheme}.png")
            sign_in(page, base)
            for name, path, act in screens(live, ports):
                if wanted and name not in wanted:
                    continue
                page.goto(base + path)
                act(page)
                page.screenshot(path=folder / f"{name}-{size}-{scheme}.png")


def take_empty(browser: Browser, folder: Path) -> None:
    """The first minutes: no administrator, then no mail."""
    with tempfile.TemporaryDirectory() as data, live_server(Path(data)) as live:
        for scheme in ("light", "dark"):
            for size in ("desktop", "phone"):
                page = context_of(browser, size=size, scheme=scheme).new_page()
                page.goto(f"http://{live.http}/setup")
                page.screenshot(path=folder / f"setup-{size}-{scheme}.png")
        live.add_user("you", YOU, admin_role=True)
        for scheme in ("light", "dark"):
            for size in ("desktop", "phone"):
                page = context_of(browser, size=size, scheme=scheme).new_page()
                sign_in(page, f"http://{live.http}")
                page.screenshot(path=folder / f"empty-{size}-{scheme}.png")
                page.goto(f"http://{live.http}/collect")
                page.screenshot(path=folder / f"collect-empty-{size}-{scheme}.png")


def prepare(live: Live, ports: Mapping[str, int]) -> None:
    addresses = [f"{name}@example.test" for name in ("bank", "bread", "library", "shop", "travel")]
    live.add_user("you", YOU, *addresses, admin_role=True)
    live.add_user("ingrid", "ingrid@example.test")
    live.run(fill(live))
    collectors(live, "you", ports["stuck"])
    for sample in yesterday(datetime.now(UTC)):
        live.server.past.add(sample)


def main(folder: str, *wanted: str) -> None:
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data:
        here = Path(data)
        with (
            live_server(here, dialer=trusted(here)) as live,
            providers(live, here) as ports,
            chromium(program) as browser,
        ):
            prepare(live, ports)
            take(live, ports, browser, target, list(wanted))
            if not wanted or "empty" in wanted or "setup" in wanted:
                take_empty(browser, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
