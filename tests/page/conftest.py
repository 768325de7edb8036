"""One server with a mailbox, and one browser, for all tests of a file."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from mail.address import Address
from tests.browser import chromium
from tests.kit import Live, live_server
from tests.page.driving import page_of, sign_in
from tests.page.elsewhere import collectors, providers, trusted
from tests.page.sample import YOU, fill

# A page asks every ten seconds whether there is something new, and a machine may be busy.
expect.set_options(timeout=60_000)

AXE = Path(__file__).parents[2] / ".venv/aside/page/node_modules/axe-core/axe.min.js"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """`you` is an administrator with some mail."""
    config = "auth = 1000\npage = 100000\ngeneral = 100000\n"
    folder = tmp_path_factory.mktemp("page")
    with live_server(folder, config=config, dialer=trusted(folder)) as live:
        live.add_user("you", YOU, "bank@example.test", "shop@example.test", admin_role=True)
        live.add_user("ingrid", "ingrid@example.test")
        for name in ("library", "travel", "bread"):
            live.run(_add(live, f"{name}@example.test"))
        live.run(fill(live))
        yield live


async def _add(live: Live, address: str) -> None:
    await live.store.domains.add_address(Address.parse(address), "you")


@pytest.fixture(scope="module")
def ports(live: Live) -> Iterator[Mapping[str, int]]:
    """Of providers that `you` collects from."""
    folder = live.server.config.server.data_dir.parent
    with providers(live, folder) as found:
        collectors(live, "you", found["stuck"])
        yield found


@pytest.fixture(scope="module")
def base(live: Live) -> str:
    return f"http://{live.http}"


@pytest.fixture(scope="module")
def browser(needs: Callable[[str], str]) -> Iterator[Browser]:
    with chromium(needs) as found:
        yield found


@pytest.fixture
def page(browser: Browser, base: str) -> Iterator[Page]:
    """Signed in; with no trouble at the end."""
    with page_of(browser, base) as page:
        sign_in(page, base)
        yield page


@pytest.fixture(scope="session")
def axe() -> str:
    """The script that looks for barriers."""
    if not AXE.exists():
        reason = "axe-core was not fetched (make test)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return AXE.read_text()
