"""Every screen can be used by everybody: axe finds no barrier, and a narrow one shows it whole."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.kit import Live, live_server
from tests.page.driving import page_of, sign_in
from tests.page.screens import DOORS, screens

# Each one that WCAG 2.2 AA asks for, and what axe calls good practice.
RUN = "() => axe.run(document, { iframes: false, resultTypes: ['violations'] })"


def barriers(page: Page, axe: str) -> list[str]:
    page.evaluate("document.getAnimations().forEach((each) => each.finish())")
    page.evaluate(axe)
    return [
        f"{found['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for found in page.evaluate(RUN)["violations"]
        for node in found["nodes"]
    ]


def judged(page: Page, axe: str) -> list[str]:
    """What is wrong with the screen that is shown."""
    found = barriers(page, axe)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    if wide > 0:
        found.append(f"scrolls sideways by {wide}")
    return found


@pytest.mark.parametrize(
    ("size", "scheme"), [("desktop", "light"), ("phone", "dark"), ("narrow", "light")]
)
def test_every_screen(
    browser: Browser,
    base: str,
    live: Live,
    ports: Mapping[str, int],
    axe: str,
    size: str,
    scheme: str,
) -> None:
    troubles = {}
    with page_of(browser, base, size=size, scheme=scheme) as page:
        for name, path in DOORS:
            page.goto(path)
            troubles[name] = judged(page, axe)
        sign_in(page, base)
        for name, path, act in screens(live, ports):
            page.goto(path)
            act(page)
            troubles[name] = judged(page, axe)
    assert {name: found for name, found in troubles.items() if found} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_first_screens(
    browser: Browser, axe: str, tmp_path: Path, scheme: str, needs: Callable[[str], str]
) -> None:
    with live_server(tmp_path) as live:
        base = f"http://{live.http}"
        with page_of(browser, base, size="narrow", scheme=scheme) as page:
            page.goto("/setup")
            assert judged(page, axe) == []
            live.add_user("you", "you@example.test", admin_role=True)
            sign_in(page, base)
            assert judged(page, axe) == []
            page.goto("/collect")
            assert judged(page, axe) == []
