"""Reading and sorting mail in a browser: with a pointer, by keys alone, without script."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.kit import Live
from tests.page.driving import context_of, page_of, sign_in
from tests.page.sample import Letter, send

_NUMBERS = count(1)
DEFAULT_LIMIT = 1000  # limits.page


@pytest.fixture
def letter(live: Live) -> str:
    """A message of the test's own; its subject."""
    subject = f"Letter {next(_NUMBERS)}."
    live.run(
        send(live, Letter("Ada", "ada@analytical.example", subject, "Words."), datetime.now(UTC))
    )
    return subject


def rows(page: Page) -> list[str]:
    return page.locator(".row .subject").all_text_contents()


def row(page: Page, subject: str):  # type: ignore[no-untyped-def]
    return page.locator(".row", has_text=subject)


def test_a_message_is_opened_beside_its_list_and_is_read_then(letter: str, page: Page) -> None:
    unread, count = row(page, letter), page.locator(".side [data-unread] span").first
    expect(unread).to_have_class(re.compile("unread"))
    before = int(count.inner_text())
    unread.get_by_role("link").click()
    expect(count).to_have_text(str(before - 1))
    expect(page.get_by_role("heading", name=letter)).to_be_visible()
    expect(page.get_by_role("region", name="The message")).to_have_text("Words.")
    expect(row(page, letter)).not_to_have_class(re.compile("unread"))
    page.reload()
    expect(row(page, letter)).not_to_have_class(re.compile("unread"))
    page.go_back()
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    expect(page.locator("#message")).to_have_count(0)


def test_who_sent_it_is_told_where_it_was_checked(page: Page) -> None:
    message = page.locator("#message")
    row(page, "The Harbour Letter").get_by_role("link").click()
    expect(message.get_by_text("verified", exact=True)).to_be_visible()
    row(page, "Your sign-in code").get_by_role("link").click()
    expect(message.get_by_text("Nothing shows that this is from fernbank.example")).to_be_visible()
    row(page, "Sunday lunch?").get_by_role("link").click()
    expect(page.get_by_role("heading", name="Sunday lunch?")).to_be_visible()
    expect(message.get_by_text("verified", exact=True)).to_have_count(0)
    page.goto("/?folder=trash")
    row(page, "You have won!!").get_by_role("link").click()
    expect(message.get_by_text("This may be spam.")).to_be_visible()


def test_archived_by_a_click_and_undone(letter: str, page: Page) -> None:
    row(page, letter).get_by_role("link").click()
    page.get_by_role("button", name="Archive", exact=True).click()
    expect(page.locator("#toast")).to_contain_text("Archived 1 message.")
    expect(row(page, letter)).to_have_count(0)
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(row(page, letter)).to_have_count(1)


def test_to_the_trash_and_restored_from_there(letter: str, page: Page) -> None:
    row(page, letter).get_by_role("link").click()
    page.get_by_role("button", name="Trash", exact=True).click()
    expect(row(page, letter)).to_have_count(0)
    page.get_by_role("link", name="Trash", exact=True).click()
    expect(page.get_by_role("heading", name="Trash", exact=True)).to_be_visible()
    row(page, letter).get_by_role("link").click()
    page.get_by_role("button", name="Restore", exact=True).first.click()
    expect(row(page, letter)).to_have_count(0)
    page.get_by_role("link", name="Inbox").first.click()
    expect(row(page, letter)).to_have_count(1)


def test_final_deletion_asks_first(letter: str, page: Page) -> None:
    row(page, letter).get_by_role("link").click()
    page.get_by_role("button", name="Trash", exact=True).click()
    expect(row(page, letter)).to_have_count(0)
    page.get_by_role("link", name="Trash", exact=True).click()
    expect(page.get_by_role("heading", name="Trash", exact=True)).to_be_visible()
    row(page, letter).get_by_role("link").click()
    page.locator("summary", has_text="Delete").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("Deleted 1 message for good.").first).to_be_visible()
    expect(row(page, letter)).to_have_count(0)


def test_stars_stay(letter: str, page: Page) -> None:
    star = row(page, letter).get_by_role("button")
    star.click()
    expect(row(page, letter).get_by_role("button")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("link", name="Starred").click()
    expect(row(page, letter)).to_have_count(1)


def test_several_at_once(letter: str, page: Page) -> None:
    for subject in (letter, "Order 20418"):
        row(page, subject).hover()
        row(page, subject).get_by_role("checkbox").check()
    expect(page.get_by_text("2 selected")).to_be_visible()
    page.locator("#bulk").get_by_role("button", name="Archive", exact=True).click()
    expect(page.get_by_text("Archived 2 messages.").first).to_be_visible()
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(row(page, "Order 20418")).to_have_count(1)


def test_search_and_what_helps_when_nothing_is_found(page: Page) -> None:
    search = page.get_by_role("searchbox", name="Search mail")
    search.fill("from:ada notes")
    search.press("Enter")
    expect(page.get_by_role("heading", name="Search: from:ada notes")).to_be_visible()
    assert [text for text in rows(page) if "Notes for the sketch" in text] == rows(page)
    search.fill("from:ada zeppelin")
    search.press("Enter")
    page.get_by_role("link", name="from:ada", exact=True).click()
    expect(page.get_by_role("heading", name="Search: from:ada")).to_be_visible()
    page.goto('/?q="unfinished')
    expect(page.get_by_role("alert")).to_be_visible()


def test_mail_shows_up_by_itself(page: Page, live: Live) -> None:
    fresh = Letter("Ada", "ada@analytical.example", "Just come in", "Now.")
    live.run(send(live, fresh, datetime.now(UTC)))
    expect(row(page, "Just come in")).to_have_count(1)


def test_by_keys_alone(letter: str, page: Page) -> None:
    def press(*keys: str) -> None:
        for key in keys:
            page.keyboard.press(key)

    press("j")
    expect(row(page, letter).get_by_role("link")).to_be_focused()
    press("j", "k", "s")
    expect(row(page, letter).get_by_role("button")).to_have_attribute("aria-pressed", "true")
    page.locator(".open:focus, .star:focus").wait_for()
    press("Enter") if page.locator(".open:focus").count() else press("j", "k", "Enter")
    expect(page.get_by_role("heading", name=letter)).to_be_visible()
    press("e")
    expect(row(page, letter)).to_have_count(0)
    press("z")
    expect(row(page, letter)).to_have_count(1)
    press("/")
    expect(page.get_by_role("searchbox", name="Search mail")).to_be_focused()
    page.keyboard.type("jke")  # a field takes them as they are
    expect(page.get_by_role("searchbox", name="Search mail")).to_have_value("jke")
    page.keyboard.press("Tab")
    press("g", "a")
    page.wait_for_url("**/addresses")  # loaded: its keys are heard
    expect(page.get_by_role("heading", name="Addresses")).to_be_visible()
    press("?")
    page.wait_for_url("**/help")
    page.get_by_label("Use keys in this browser").uncheck()
    press("g", "i")
    expect(page.get_by_role("heading", name="Help")).to_be_visible()


def test_without_script(browser: Browser, base: str, letter: str) -> None:
    with page_of(browser, base, java_script_enabled=False) as page:
        sign_in(page, base)
        page.get_by_role("searchbox", name="Search mail").fill(f'"{letter}"')
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("Search:")
        page.goto("/")
        row(page, letter).get_by_role("link").click()
        expect(page.get_by_role("region", name="The message")).to_have_text("Words.")
        page.get_by_role("button", name="Mark read", exact=True).click()
        expect(page.get_by_role("button", name="Mark unread")).to_be_visible()
        page.get_by_role("button", name="Star", exact=True).click()
        expect(page.get_by_role("button", name="Unstar")).to_be_visible()
        page.get_by_role("button", name="Archive", exact=True).click()
        page.get_by_role("button", name="Undo", exact=True).click()
        row(page, letter).get_by_role("link").click()
        page.get_by_role("button", name="Trash", exact=True).click()
        expect(row(page, letter)).to_have_count(0)
        page.locator("#side").get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_on_a_phone(browser: Browser, base: str, letter: str) -> None:
    with page_of(browser, base, size="phone", scheme="dark") as page:
        sign_in(page, base)
        row(page, letter).get_by_role("link").tap()
        expect(page.get_by_role("heading", name=letter)).to_be_visible()
        expect(page.get_by_role("heading", name="Inbox")).to_be_hidden()
        page.get_by_role("link", name="Back", exact=True).tap()
        expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
        page.get_by_role("link", name="More", exact=True).tap()
        page.get_by_role("main").get_by_role("link", name="Archive", exact=True).tap()
        expect(page.get_by_role("heading", name="Archive", exact=True)).to_be_visible()


def test_a_lost_connection_is_told_and_what_was_to_do_is_done_later(
    letter: str, page: Page
) -> None:
    page.context.set_offline(True)
    row(page, letter).get_by_role("button").click()
    expect(page.get_by_text(re.compile("Not connected. Last update .* 1 to do"))).to_be_visible()
    page.context.set_offline(False)
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(row(page, letter).get_by_role("button")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#bar")).to_be_hidden()


def look(page: Page) -> None:
    """Has the page ask for what is new."""
    page.evaluate("dispatchEvent(new Event('online'))")


def held(page: Page, where: str) -> Callable[[], Route]:
    """The requests to a place wait from now on; each call gives the next of them."""
    waiting: list[Route] = []
    page.route(f"**{where}", lambda route: waiting.append(route))  # noqa: PLW0108 - it is wrapped

    def next_one() -> Route:
        while not waiting:
            page.evaluate("0")  # what happened is told in between
        return waiting.pop(0)

    return next_one


def answered(page: Page, route: Route) -> None:
    """Lets a request go, and returns when the page has dealt with its answer."""
    with page.expect_event("requestfinished", lambda each: each == route.request):
        route.continue_()
    page.evaluate("new Promise((done) => setTimeout(done))")


def test_what_is_new_comes_too_late_to_close_what_was_opened(
    letter: str, page: Page, live: Live
) -> None:
    lists = held(page, "/")
    live.run(send(live, Letter("Ada", "ada@x.example", "Too late", "Now."), datetime.now(UTC)))
    look(page)
    late = lists()
    row(page, letter).get_by_role("link").click()
    expect(page.get_by_role("heading", name=letter)).to_be_visible()
    answered(page, late)
    assert page.get_by_role("heading", name=letter).is_visible()
    expect(row(page, "Too late")).to_have_count(1)


def test_the_last_message_that_was_asked_for_is_shown(letter: str, page: Page) -> None:
    messages = held(page, "/m/*")
    row(page, letter).get_by_role("link").click()
    slow = messages()
    row(page, "Sunday lunch?").get_by_role("link").click()
    messages().continue_()
    expect(page.get_by_role("heading", name="Sunday lunch?")).to_be_visible()
    answered(page, slow)
    assert page.get_by_role("heading", name="Sunday lunch?").is_visible()


def test_what_was_done_can_be_undone_though_mail_comes(letter: str, page: Page, live: Live) -> None:
    row(page, letter).get_by_role("link").click()
    page.get_by_role("button", name="Archive", exact=True).click()
    expect(page.locator("#toast")).to_contain_text("Archived 1 message.")
    live.run(send(live, Letter("Ada", "ada@x.example", "Meanwhile", "Now."), datetime.now(UTC)))
    look(page)
    expect(row(page, "Meanwhile")).to_have_count(1)
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(row(page, letter)).to_have_count(1)


def test_what_was_to_do_is_done_once(letter: str, page: Page) -> None:
    page.context.set_offline(True)
    row(page, letter).get_by_role("button").click()
    expect(page.get_by_text(re.compile("1 to do"))).to_be_visible()
    acts = held(page, "/m")
    page.context.set_offline(False)
    look(page)
    first = acts()
    again: list[Request] = []
    page.on("request", lambda each: again.append(each) if each.method == "POST" else None)
    with page.expect_response("**/live?*"):
        look(page)
    page.evaluate("new Promise((done) => setTimeout(done))")
    assert again == []
    first.continue_()
    expect(row(page, letter).get_by_role("button")).to_have_attribute("aria-pressed", "true")


def test_html_has_its_pictures_and_fetches_none(page: Page) -> None:
    row(page, "The Harbour Letter").get_by_role("link").click()
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="The Harbour Letter")).to_be_visible()
    bay = frame.get_by_alt_text("The bay in the morning")
    expect(bay).to_have_js_property("naturalWidth", 480)
    expect(page.get_by_role("link", name="Show once")).to_be_visible()
    page.get_by_role("link", name="Text", exact=True).click()
    expect(page.get_by_role("region", name="The message")).to_contain_text("Good morning.")
    page.get_by_role("link", name="Headers").click()
    expect(page.get_by_role("region", name="Headers")).to_contain_text("Message-ID")
    page.get_by_role("link", name="Source").click()
    expect(page.get_by_role("region", name="Source")).to_contain_text("Received: from")


def test_pictures_elsewhere_are_loaded_when_they_are_asked_for(browser: Browser, base: str) -> None:
    asked: list[Request] = []
    context = context_of(browser)
    context.on("request", lambda each: asked.append(each) if each.url[:5] == "https" else None)
    page = context.new_page()
    sign_in(page, base)
    row(page, "The Harbour Letter").get_by_role("link").click()
    expect(page.frame_locator("iframe").get_by_role("heading").first).to_be_visible()
    assert asked == []
    with context.expect_event("requestfailed"):
        page.get_by_role("link", name="Show once").click()
    expect(page.get_by_text("Pictures are loaded from other servers this once.")).to_be_visible()
    assert [each.url for each in asked] == ["https://track.example/pixel.png"]
    assert not asked[0].headers.get("referer")
    context.close()


def test_reading_150_messages_in_15_minutes_stays_in_the_limit(page: Page) -> None:
    """What some of them cost, and what the page asks for by itself in that time."""
    subjects = rows(page)[:6]
    before = left(page)
    for subject in subjects:
        row(page, subject).get_by_role("link").click()
        expect(page.get_by_role("heading", level=1, name=subject, exact=True)).to_be_visible()
        page.wait_for_load_state("networkidle")
    asked = before - left(page)
    polls = 15 * 60 // 10
    assert asked / len(subjects) * 150 + polls < DEFAULT_LIMIT


def left(page: Page) -> int:
    items = page.evaluate("fetch('/api/limits').then((answer) => answer.json())")["items"]
    return int(next(each["left"] for each in items if each["class"] == "page"))
