"""What the parts of a message are, and which of them is its text."""

# ruff: noqa: E501 - one line a message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import parts
from mail.digest import Digest, Wish, digest
from mail.lines import canonical
from mail.mime import LimitReached

ALL = Wish(text=True, html=True, measures=True)


def told(text: str) -> Digest:
    """Of a message that is written with bare line ends."""
    return digest(canonical(text.encode()), ALL)


def multi(kind: str, *contents: str, edge: str = "b") -> str:
    head = f'Content-Type: multipart/{kind}; boundary="{edge}"\n\npreamble\n'
    return head + "".join(f"--{edge}\n{each}\n" for each in contents) + f"--{edge}--\nepilogue\n"


EDGE = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
NESTED = b"".join(EDGE.replace(b"=b", b"=b%d" % n) + b"--b%d\r\n" % n for n in range(51))
PLAIN = "Content-Type: text/plain\n\nplain"
HTML = "Content-Type: text/html\n\n<b>html</b>"
PICTURE = "Content-Type: image/png\nContent-ID: <p@x>\n\npixels"
NAMED = 'Content-Type: text/plain; name="a.txt"\n\nnamed'
ATTACHED = "Content-Type: text/plain\nContent-Disposition: attachment\n\nattached"


@pytest.mark.parametrize(
    ("message", "text", "html", "names"),
    [
        ("\nhello\n", "hello\n", None, []),
        ("hello", "", None, []),
        (PLAIN, "plain\n", None, []),
        (HTML, "html", "<b>html</b>\n", []),
        ("Content-Type: text\n\nx", "x\n", None, []),
        (NAMED, "named\n", None, []),
        (ATTACHED, None, None, ["attachment-1.txt"]),
        (PICTURE, None, None, ["attachment-1.png"]),
        (multi("alternative", PLAIN, HTML), "plain", "<b>html</b>", []),
        (multi("alternative", HTML), "html", "<b>html</b>", []),
        (multi("alternative", PLAIN), "plain", None, []),
        (multi("mixed", PLAIN, PICTURE, ATTACHED), "plain", None, ["attachment-1.png", "attachment-2.txt"]),
        (multi("mixed", PLAIN, PLAIN), "plain\nplain", None, []),
        (multi("mixed", PLAIN, NAMED), "plain", None, ["a.txt"]),
        (multi("mixed", PLAIN, HTML), "plain\nhtml", "<pre>plain</pre><b>html</b>", []),
        (multi("related", HTML, PICTURE), "html", "<b>html</b>", ["attachment-1.png"]),
        (multi("related", HTML, PLAIN), "html", "<b>html</b>", ["attachment-1.txt"]),
        (
            multi("mixed", multi("alternative", PLAIN, multi("related", HTML, PICTURE, edge="r"), edge="a"), PICTURE),
            "plain",
            "<b>html</b>",
            ["attachment-1.png", "attachment-2.png"],
        ),
        (
            multi("alternative", PLAIN, multi("mixed", HTML, PLAIN, edge="m")),
            "plain",
            "<b>html</b><pre>plain</pre>",
            [],
        ),
        (
            multi("alternative", multi("mixed", PLAIN, PICTURE, PLAIN, edge="m"), HTML),
            "plain\nplain",
            "<b>html</b>",
            ["attachment-1.png"],
        ),
        (
            multi("alternative", PLAIN, multi("mixed", PICTURE, edge="m")),
            "plain",
            None,
            ["attachment-1.png"],
        ),
        (
            multi("alternative", PLAIN, multi("related", HTML, PICTURE, multi("mixed", PLAIN, edge="n"), edge="m")),
            "plain",
            "<b>html</b><pre>plain</pre>",
            ["attachment-1.png"],
        ),
        (multi("alternative", PLAIN, PICTURE), "plain", None, ["attachment-1.png"]),
        (multi("digest", "\nSubject: x\n\ny", PLAIN), "plain", None, ["attachment-1.eml"]),
        (multi("mixed", "Content-Type: message/rfc822\n\n" + PLAIN), None, None, ["attachment-1.eml"]),
        # What is wrong is read as it was meant, or shown as it came.
        (multi("mixed", PLAIN).replace("--b--\nepilogue\n", ""), "plain\n", None, []),
        (multi("mixed", "no header"), "no header", None, []),
        (multi("mixed", "Content-Type: text/plain"), "", None, []),
        (multi("mixed", "Content-Type: text/plain\nX: y"), "", None, []),
        ("Content-Type: multipart/mixed\n\n--b\n\nx\n", "--b\n\nx\n", None, []),
        ('Content-Type: multipart/mixed; boundary="b"\n\nno parts\n', "no parts\n", None, []),
        ('Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\nx\n--b--', "\nx", None, []),
        ('Content-Type: multipart/mixed; boundary=b\n\n--b  \n\nx\n--bb\n--b-- \n', "x\n--bb", None, []),
        ('Content-Type: multipart/mixed; boundary=b\n\n--b junk\n\nx\n--b--\n--b\n\ny\n--b--\n', "x\ny", None, []),
    ],
)  # fmt: skip
def test_what_a_reader_sees(
    message: str, text: str | None, html: str | None, names: list[str]
) -> None:
    found = told(message)
    assert found.limit is None
    assert (found.text, found.html) == (text, html)
    assert [each.name for each in found.attachments or ()] == names


def test_an_attachment_is_where_it_says() -> None:
    content = canonical(
        multi(
            "mixed",
            PLAIN,
            "Content-Type: image/gif\nContent-ID: <p@x>\nContent-Transfer-Encoding: base64\n\nR0lGODlh",
        ).encode()
    )
    [found] = digest(content, ALL).attachments or ()
    assert content[found.start : found.end] == b"R0lGODlh"
    assert (found.size, found.sniffed, found.content_id) == (6, "image/gif", "p@x")
    assert found.encoding == "base64"
    [unmeasured] = digest(content, Wish()).attachments or ()
    assert (unmeasured.size, unmeasured.sha256) == (0, "")


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"RIFF\n\r\0\0WEBPVP8", "image/webp"),
        (b"\0\0\0\x1cftypavif", "image/avif"),
        (b"BM\x46\0\0\0\0\0\0\0", "image/bmp"),
        (b"%PDF-1.4", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"<svg", ""),
        (b"<html", ""),
        (b"BM is no picture", ""),
        (b" GIF89a", ""),
        (b"", ""),
    ],
)
def test_a_type_is_told_by_the_first_octets(first: bytes, kind: str) -> None:
    assert parts.sniff(first) == kind


def test_a_type_is_told_from_small_pieces_too() -> None:
    lines = b"R0lG\r\n" + b"\r\n" * parts.BLOCK + b"ODlh\r\n"
    content = b"Content-Type: image/gif\r\nContent-Transfer-Encoding: base64\r\n\r\n" + lines
    [found] = digest(content, ALL).attachments or ()
    assert found.sniffed == "image/gif"


@pytest.mark.parametrize(
    ("content", "limit"),
    [
        (b"X: y\r\n" * 1001 + b"\r\n", "fields"),
        (b"X: " + b"y" * 64 * 1024 + b"\r\n\r\n", "field-size"),
        (b"A: b\r\nX: " + b"y" * 64 * 1024 + b"\r\nA: b\r\n\r\n", "field-size"),
        (EDGE + b"--b\r\nX: " + b"y" * 64 * 1024 + b"\r\n--b--\r\n", "field-size"),
        (EDGE + b"--b\r\n" * 1001, "parts"),
        (EDGE + b"--bx\r\n" * 20_001, "parts"),
        (NESTED, "nesting"),
        (b"Content-Type: a/b" + b"; a=b" * 300 + b"\r\n\r\n", "parameters"),
    ],
)
def test_limits_are_named(content: bytes, limit: str) -> None:
    with pytest.raises(LimitReached, match=limit):
        parts.read(content)
    found = digest(content, ALL)
    assert (found.limit, found.text, found.attachments) == (limit, None, None)


def test_as_much_as_is_allowed_is_read() -> None:
    nested = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(parts.NESTING)
    )
    assert digest(nested + b"\r\nthe end\r\n", ALL).text == "the end\n"
    many = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 999
    assert digest(many, ALL).limit is None
    fields = b"X: y\r\n" * 999 + b"Subject: x\r\n\r\nhello\r\n"
    assert digest(fields, ALL).text == "hello\n"


def test_long_text_is_cut_and_it_is_told() -> None:
    content = b"\r\n" + b"x" * 3_000_000 + b"\r\n"
    found = digest(content, ALL)
    assert found.limit == "text-size"
    assert found.text == "x" * parts.TEXT_OCTETS
    content = canonical(multi("mixed", *["\n" + "x" * 500_000] * 4).encode())
    found = digest(content, ALL)
    assert found.limit == "text-size"
    assert len(found.text or "") == parts.TEXT_OCTETS
    assert found.attachments == ()  # they are known all the same


@pytest.mark.parametrize(
    ("markup", "limit"),
    [("<p>" + "x" * 2_000_000, "text-size"), ("<div>" * 501, "html-depth")],
)
def test_html_beyond_a_limit_leaves_the_text(markup: str, limit: str) -> None:
    found = told(multi("alternative", PLAIN, f"Content-Type: text/html\n\n{markup}"))
    assert (found.text, found.html, found.snippet) == ("plain", None, "plain")
    assert found.limit == limit.replace("text", "html")
    alone = told(f"Content-Type: text/html\n\n{markup}")
    assert (alone.limit, alone.html) == (limit, None)
    several = multi("mixed", *["Content-Type: text/html\n\n" + "y" * 900_000] * 3)
    assert told(several).html is None


def test_the_people_are_told() -> None:
    found = told(
        "To: Ann <a@x.org>,\n b@x.org\nCc: =?utf-8?q?J=C3=BCrgen?= <j@x.org>\nTo: z@x.org\n\n"
    )
    assert found.to == (("Ann", "a@x.org"), ("", "b@x.org"))
    assert found.cc == (("Jürgen", "j@x.org"),)
    assert found.reply_to == ()


LINES = st.sampled_from(
    [
        *(
            b"Content-Type: multipart/%s; boundary=%s" % (k, b)
            for k in (b"mixed", b"alternative", b"related", b"digest")
            for b in (b"b", b"bb")
        ),
        *(
            b"",
            b"--b",
            b"--b--",
            b"--bb",
            b"--bb--",
            b"--",
            b"text",
            b"<b>",
            b"=41",
            b"QUJD",
            b" x",
        ),
        *(
            b"Content-Type: text/html",
            b"Content-Type: text/plain; charset=gb18030",
            b"\xff\x810\xc00",
        ),
        *(b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: quoted-printable"),
        *(b"Content-Disposition: attachment; filename*=utf-8''a%2Fb", b"Content-ID: <a@b>"),
    ]
)


@given(st.lists(LINES, max_size=30).map(b"\r\n".join) | st.binary(max_size=200))
def test_any_octets_are_told(content: bytes) -> None:
    found = digest(canonical(content), ALL)
    for each in found.attachments or ():
        assert 0 <= each.start <= each.end <= len(canonical(content))
        assert each.name
    for text in (found.text, found.html, found.snippet):
        (text or "").encode()
