"""Pictures that come with a message are shown in its HTML; test_html has what becomes of it."""

import base64
from email.message import EmailMessage

import pytest

from mail.digest import PICTURES_OCTETS, Wish, digest

PNG = b"\x89PNG\r\n\x1a\n"
IN_PLACE = Wish(html=True, pictures=True)


def letter(*pictures: tuple[str, bytes], html: str) -> bytes:
    message = EmailMessage()
    message["From"] = "ann@example.org"
    message.set_content("words")
    message.add_alternative(html, subtype="html")
    body = message.get_payload(1)
    assert isinstance(body, EmailMessage)
    for cid, octets in pictures:
        body.add_related(octets, "image", "png", cid=f"<{cid}>" if cid else None)
    return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def shown(*pictures: tuple[str, bytes], wish: Wish = IN_PLACE) -> str:
    names = dict.fromkeys(cid for cid, _ in pictures)
    html = "".join(f'<img src="cid:{cid}">' for cid in names)
    return digest(letter(*pictures, html=f"<p>x</p>{html}"), wish).html or ""


def url(octets: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(octets).decode()}"


def test_they_stand_in_the_html_where_that_is_wished() -> None:
    one, other = PNG + b"one", PNG + b"other"
    html = shown(("a@x", one), ("b@x", other))
    assert url(one) in html
    assert url(other) in html
    assert "data:" not in shown(("a@x", one), wish=Wish(html=True))


def test_the_first_of_one_name_is_it() -> None:
    assert url(PNG + b"one") in shown(("a@x", PNG + b"one"), ("a@x", PNG + b"other"))


@pytest.mark.parametrize("octets", [b"<svg onload=alert(1)>", PNG + bytes(PICTURES_OCTETS)])
def test_what_is_no_picture_or_too_large_is_not(octets: bytes) -> None:
    assert "data:" not in shown(("a@x", octets))


def test_all_together_have_a_limit() -> None:
    large, small = PNG + bytes(PICTURES_OCTETS // 2), PNG + b"small"
    html = shown(("a@x", large), ("b@x", large), ("c@x", small), ("", PNG + b"attached"))
    assert html.count("data:") == 2
    assert url(small) in html
