"""A browser that is driven: what each test of the page begins with, and what none may see."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page

from tests.kit import PASSWORD

SIZES = {"desktop": (1360, 860), "phone": (390, 844), "narrow": (320, 640)}


def context_of(
    browser: Browser, *, size: str = "desktop", scheme: str = "light", **more: Any
) -> BrowserContext:
    width, height = SIZES[size]
    return browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
        has_touch=size == "phone",
        **more,
    )


@dataclass
class Watch:
    """What a page did that none of ours may do. `refusals`: answers of 4xx that a test expects."""

    base: str
    troubles: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        context.on("console", lambda told: self._console(told.type, told.text))
        context.on("weberror", lambda error: self.troubles.append(f"error: {error.error}"))
        context.on("request", lambda request: self._request(request.url))
        context.on("dialog", self._dialog)

    def _console(self, kind: str, text: str) -> None:
        # The browser writes a line for each 4xx that a test has asked for.
        if kind in ("error", "warning") and "Failed to load resource" not in text:
            self.troubles.append(f"console: {text}")

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "about") and not url.startswith(f"{self.base}/"):
            self.troubles.append(f"request: {url}")

    def _dialog(self, dialog: Any) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@contextmanager
def page_of(browser: Browser, base: str, **more: Any) -> Iterator[Page]:
    """A page in a context of its own that must have kept the rules when it is closed."""
    context = context_of(browser, base_url=base, **more)
    context.set_default_timeout(60_000)
    watch = Watch(base)
    watch.over(context)
    try:
        yield context.new_page()
    finally:
        context.close()
    assert not watch.troubles, watch.troubles


def sign_in(page: Page, base: str, login: str = "you", password: str = PASSWORD) -> None:
    page.goto(f"{base}/login")
    page.get_by_label("Login or address").fill(login)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{base}/")
