"""The words of a message: folded, capped, and without surprises for hostile octets."""

import base64
import quopri
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.text import ENCODED_OCTETS, PARTS, TEXT_OCTETS, WORD_LENGTH, fold, plain, words

PLAIN = b"Content-Type: text/plain; charset="


def multipart(*parts: bytes, boundary: bytes = b"b1", kind: bytes = b"mixed") -> bytes:
    header = b'Content-Type: multipart/%s; boundary="%s"\r\n\r\npreamble\r\n' % (kind, boundary)
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts)
    return header + body + b"--%s--\r\nepilogue\r\n" % boundary


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Été À ZÜRICH", "ete a zurich"),
        ("Straße", "strasse"),
        ("İstanbul", "istanbul"),
        ("ﬁne ２０", "fine 20"),  # compatibility forms
        ("Ελλάς", "ελλασ"),
        ("", ""),
    ],
)
def test_folding(text: str, folded: str) -> None:
    assert fold(text) == folded


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One, two_three: bob@example.net!", ["one", "two", "three", "bob", "example", "net"]),
        ("a b c 12 7", ["12"]),  # one letter is no word
        ("naïve_día", ["naive", "dia"]),
        ("привет, мир 日本語", ["привет", "мир", "日本語"]),
        ("x" * 1000, ["x" * WORD_LENGTH]),
        ("\"'*()%\\\0\ud800 +-", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Subject: x\r\n\r\nhello\r\n", "hello\r\n"),
        (b"\r\nhello\r\n", "hello\r\n"),
        (b"", ""),
        (b"Subject: without a blank line\r\n", ""),
        (b"\r\n" + "grün".encode(), "grün"),
        (b"\r\n" + "grün".encode("latin-1"), "grün"),
        (PLAIN + b"iso-8859-15\r\n\r\n\xa4", "€"),
        (PLAIN + b'"koi8-r"\r\n\r\n\xd0\xd2\xc9', "при"),
        (PLAIN + b"us-ascii\r\n\r\n" + "grün".encode(), "grün"),
        (PLAIN + b"no-such\r\n\r\nhello", "hello"),
        (PLAIN + b"utf-7\r\n\r\n+AGE-", "+AGE-"),  # no charset of mail (RFC 2152: may be markup)
        (b"CONTENT-TYPE: Text/Plain;\r\n Charset=iso-8859-15\r\n\r\n\xa4", "€"),
        (b"Content-Type: text/html\r\n\r\n<p>hello</p>", ""),
        (b"Content-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=\r\n", "hello"),
        (b"Content-Transfer-Encoding: BASE64 \r\n\r\naGVsbG8", "hello"),
        (b"Content-Transfer-Encoding: base64\r\n\r\n!!aGVsbG8hx", "hello!"),
        (b"Content-Transfer-Encoding: quoted-printable\r\n\r\ngr=C3=BCn=\r\nes", "grünes"),
        (b"Content-Transfer-Encoding: 8bit\r\n\r\nhello", "hello"),
    ],
)
def test_a_single_part(content: bytes, expected: str) -> None:
    assert plain(content) == expected


HTML = b"Content-Type: text/html\r\n\r\n<p>hello</p>"
TEXT = b"Content-Type: text/plain\r\n\r\nhello"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (multipart(TEXT, HTML, kind=b"alternative"), "hello"),
        (multipart(HTML, TEXT, kind=b"alternative"), "hello"),
        (multipart(b"\r\nhello"), "hello"),  # RFC 2046 section 5.1: without a header it is text
        (multipart(HTML), ""),
        (multipart(), ""),
        (multipart(multipart(multipart(TEXT, boundary=b"b3"), boundary=b"b2")), "hello"),
        (multipart(HTML, multipart(HTML, TEXT, boundary=b"b2")), "hello"),
        (
            multipart(b"Content-Disposition: attachment; filename=a.txt\r\n" + TEXT, TEXT + b"2"),
            "hello2",
        ),
        (multipart(TEXT).split(b"--b1--")[0], "hello\r\n"),  # cut off before its end
        (multipart(TEXT).split(b"\r\n--b1--")[0][:-2], "hel"),
        (b"Content-Type: multipart/mixed\r\n\r\n--\r\n\r\nhello", ""),  # no boundary
        (b"Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\n\r\nhello\r\n--b1--", "hello"),
        (b"Content-Type: multipart/mixed; charset=x; boundary=b1\r\n\r\nnothing\r\n", ""),
        (b"Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1", ""),
        (b"Content-Type: multipart/mixed; x=y; boundary=b1\r\n\r\n--b1\r\nA: b\r\n", ""),
    ],
)
def test_the_first_text_of_a_multipart(content: bytes, expected: str) -> None:
    assert plain(content) == expected


def test_a_part_ends_where_its_boundary_is() -> None:
    content = multipart(multipart(TEXT, HTML, boundary=b"inner"), HTML, boundary=b"outer")
    assert plain(content) == "hello"


def test_what_is_looked_at_has_an_end() -> None:
    assert plain(b"\r\n" + b"x" * 10 * TEXT_OCTETS) == "x" * TEXT_OCTETS
    euro = "€" * TEXT_OCTETS
    assert plain(b"\r\n" + euro.encode()) == "€" * (TEXT_OCTETS // 3)  # no half character
    for encoding, encoded in (
        (b"base64", base64.encodebytes(b"y" * 10 * TEXT_OCTETS)),
        (b"quoted-printable", quopri.encodestring(b"y" * 10 * TEXT_OCTETS)),
        (b"quoted-printable", b"=79" * ENCODED_OCTETS),
    ):
        content = b"Content-Transfer-Encoding: %s\r\n\r\n%s" % (encoding, encoded)
        assert plain(content) == "y" * TEXT_OCTETS
    assert plain(multipart(*[HTML] * (PARTS - 2), TEXT)) == "hello"
    assert plain(multipart(*[HTML] * PARTS, TEXT)) == ""


BITS = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: text/plain; charset=iso-2022-jp\r\n",
        b"Content-Type: text/plain; charset=hz\r\n",
        b"Content-Type: text/plain; charset=big5\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"\r\n",
        b"\r\n--b\r\n",
        b"--b--",
        b"=",
        b"=3D",
        b"QUJD",
    ]
)


@given(st.lists(st.one_of(st.binary(max_size=20), BITS), max_size=30).map(b"".join))
def test_nothing_is_raised(content: bytes) -> None:
    for word in words(plain(content)):
        assert 2 <= len(word) <= WORD_LENGTH
        word.encode()


@given(st.text())
def test_folded_is_folded(text: str) -> None:
    assert words(" ".join(words(text))) == words(text)


@pytest.mark.parametrize(
    "part",
    [
        b"--b\r\n",
        b"\r\n--b\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n",
        b"Content-Type:\r\n ",
        b"Content-Type: a; boundary=",
        b";boundary=",
        b"=",
        b"\r\n ",
        "é".encode(),
        "ﷺ".encode(),
    ],
)
def test_the_work_is_linear_in_the_octets(part: bytes) -> None:
    start = b"Content-Type: multipart/mixed; boundary=b\r\n"

    def seconds(octets: int) -> float:
        content = start + part * (octets // len(part))
        begun = time.process_time()
        for _ in range(3):
            words(plain(content))
        return time.process_time() - begun

    seconds(20_000)
    assert seconds(400_000) < 100 * max(seconds(20_000), 0.001)  # quadratic would be 400
