"""How values look on the page."""

from datetime import UTC, datetime, timedelta

import pytest

from api import plots, shown
from api.call import Sample
from api.models_mail import Mailbox

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "zone", "text"),
    [
        (datetime(2026, 3, 1, 9, 5, tzinfo=UTC), "", "09:05"),
        (datetime(2026, 2, 28, 23, 30, tzinfo=UTC), "", "28 Feb"),
        (datetime(2026, 2, 28, 23, 30, tzinfo=UTC), "Europe/Berlin", "00:30"),
        (datetime(2025, 12, 31, 23, 59, tzinfo=UTC), "", "31 Dec 2025"),
        (datetime(2026, 3, 1, 9, 5, tzinfo=UTC), "No/Where", "09:05"),
    ],
)
def test_a_moment_is_as_short_as_it_may_be(at: datetime, zone: str, text: str) -> None:
    assert shown.moment(at, NOW, shown.zone(zone)) == text


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1024, "1.0 KB"),
        (1536, "1.5 KB"),
        (20 * 1024, "20 KB"),
        (5 * 1024**2, "5.0 MB"),
        (3 * 1024**5, "3072 TB"),
    ],
)
def test_a_size_has_two_digits_or_so(octets: int, text: str) -> None:
    assert shown.size(octets) == text


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("bob@example.org", "bob@example.org"),
        ("bob@bücher.example", "bob@bücher.example"),
        ("bob@例え.example", "bob@例え.example"),
        # The first letter of the domain is Cyrillic.
        ("bob@\u0430pple.example", "bob@xn--pple-43d.example"),
        ("bob\u202e@example.org", "bob@example.org"),
    ],
)
def test_an_address_reads_as_what_it_is(address: str, text: str) -> None:
    assert shown.address(address) == text


def test_a_text_can_be_followed_and_marks_nothing_up() -> None:
    text = 'See https://a.example/x?y=1&z=2. <b>"javascript:alert(1)"</b> (http://b.example/)'
    assert shown.linked(text) == (
        'See <a href="https://a.example/x?y=1&amp;z=2" target="_blank" rel="noopener noreferrer">'
        "https://a.example/x?y=1&amp;z=2</a>. &lt;b&gt;&#34;javascript:alert(1)&#34;&lt;/b&gt; ("
        '<a href="http://b.example/" target="_blank" rel="noopener noreferrer">'
        "http://b.example/</a>)"
    )


@pytest.mark.parametrize(
    ("subject", "text", "code"),
    [
        ("Your sign-in code is 482913", "", "482913"),
        ("Sign in", "Use this one-time password:\n 0042\n", ""),
        ("Sign in", "Your code: 0042", "0042"),
        ("Sign in", "771234 is your verification code", "771234"),
        ("Invoice 20418", "Please pay 1200 until May.", ""),
        ("The postcode", "is barcode 12345", ""),
    ],
)
def test_a_code_is_found_where_a_message_is_about_one(subject: str, text: str, code: str) -> None:
    assert shown.sign_in_code(subject, text) == code


def test_who_has_no_name_is_shown_by_the_address() -> None:
    assert shown.person(Mailbox(name="", address="a@b.example")) == "a@b.example"
    assert shown.person(Mailbox(name="", address="")) == "(no sender)"
    assert shown.initial(Mailbox(name='"ü', address="")) == "Ü"


def test_a_plot_has_a_bar_for_each_hour_and_the_highest_reaches_the_top() -> None:
    history = [
        Sample(NOW - timedelta(hours=3), kept=4, stored_octets=1000, connections=1),
        Sample(NOW - timedelta(hours=1, minutes=5), kept=1, stored_octets=1500, connections=3),
        Sample(NOW - timedelta(hours=1), kept=1, stored_octets=2000, connections=3),
        Sample(NOW, kept=2, stored_octets=2000, connections=2),
    ]
    mail, store, connections = plots.day(history)
    assert [height for _, _, height in mail.bars][-4:] == [64.0, 16.0, 16.0, 32.0]
    assert (mail.latest, mail.most) == ("2 this hour", "most 4")
    assert (store.latest, connections.most) == ("2.0 KB", "most 3")
    assert store.line.split()[-1].startswith("288.0,")
    assert plots.day([]) == []
