"""Values of MIME fields, file names, transfer encodings and charsets, right and wrong ones."""

import base64
import binascii
import quopri
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.mime import (
    LINE_OCTETS,
    Decoder,
    LimitReached,
    decoder,
    file_name,
    read_text,
    read_value,
)


@pytest.mark.parametrize(
    ("octets", "main", "parameters"),
    [
        (b"", "", {}),
        (b" Text/Plain", "text/plain", {}),
        (b" text/plain; charset=utf-8", "text/plain", {"charset": "utf-8"}),
        (b' text/plain;\r\n\tcharset="utf-8"\r\n ', "text/plain", {"charset": "utf-8"}),
        (b" text/plain (a comment); CHARSET = x", "text/plain", {"charset": "x"}),
        (b' a/b; name="x; y=z"; q=1', "a/b", {"name": "x; y=z", "q": "1"}),
        (rb' a/b; name="a\"b\\c\d"', "a/b", {"name": r'a"b\c\d'}),
        (b' a/b; name="not closed; q=1', "a/b", {"name": "not closed; q=1"}),
        (b" a/b; name=no quotes at all.txt", "a/b", {"name": "no quotes at all.txt"}),
        (b" a/b; name=one; name=two; alone; =x", "a/b", {"name": "one", "": "x"}),
        (" a/b; name=grün".encode(), "a/b", {"name": "grün"}),
        (" a/b; name=grün".encode("latin-1"), "a/b", {"name": "grün"}),
        (b"; name=x", "", {"name": "x"}),
        # RFC 2231 sections 3, 4 and 4.1
        (b" a/b; n*0=ab; n*1=cd", "a/b", {"n": "abcd"}),
        (b" a/b; n*1=cd; n*0=ab; n*3=x", "a/b", {"n": "abcd"}),
        (b" a/b; n*=us-ascii'en-us'This%20is%20%2A%2A%2Afun", "a/b", {"n": "This is ***fun"}),
        (b" a/b; n*0*=utf-8'en'%e2%82; n*1*=%ac; n*2=%41", "a/b", {"n": "€%41"}),
        (b" a/b; n*=%41", "a/b", {"n": "A"}),
        (b" a/b; n*=utf-7''+ADw-", "a/b", {"n": "+ADw-"}),
        (b" a/b; n=plain; n*=utf-8''%c3%a9", "a/b", {"n": "é"}),
        (b" a/b; n*1=x", "a/b", {"n": ""}),
    ],
)
def test_a_value_is_read_as_it_was_meant(
    octets: bytes, main: str, parameters: dict[str, str]
) -> None:
    found = read_value(octets)
    assert (found.main, found.parameters) == (main, parameters)


def test_a_token_has_no_comment() -> None:
    value = read_value(b"text/plain; charset=us-ascii (Plain text); boundary=a b")
    assert value.token("charset") == "us-ascii"
    assert value.token("boundary") == "a"
    assert value.token("name") == ""


def test_more_parameters_are_not_looked_at() -> None:
    assert len(read_value(b"a/b" + b"; a=b" * 256).parameters) == 1
    with pytest.raises(LimitReached, match="parameters"):
        read_value(b"a/b" + b"; a=b" * 257)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", ""),
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\TEMP\\a.png", "a.png"),
        ("..", ""),
        ("/", ""),
        (".bashrc", "bashrc"),
        ("a\r\nX: y\0.txt", "aX: y.txt"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("\u2066a\u2069", "a"),
        ("=?utf-8?b?w6kudHh0?=", "é.txt"),
        ("=?utf-8?q?..=2F..=2Fx?=", "x"),
        (" a . ", "a"),
        ("x" * 300 + ".pdf", "x" * 251 + ".pdf"),
        ("x" * 300, "x" * 255),
        ("x." + "y" * 300, "x." + "y" * 253),
        ("\ud800a", "a"),
    ],
)
def test_a_file_name_stays_where_it_is_put(text: str, name: str) -> None:
    assert file_name(text) == name


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        (b"abc", "", "abc"),
        ("é".encode(), "", "é"),
        (b"\xe9 \x80", "", "é €"),
        (b"\xe9 \x80", "iso-8859-1", "é €"),
        (b"\xe9", "us-ascii", "é"),
        ("é".encode(), "us-ascii", "é"),
        (b"\xe9", "utf-8", "\ufffd"),
        ("Привет".encode("koi8-r"), "KOI8-R", "Привет"),
        ("日本".encode("iso-2022-jp"), "ISO-2022-JP", "日本"),
        (b"+ADw-script+AD4-", "utf-7", "+ADw-script+AD4-"),
        (b"\\u003c", "unicode_escape", "\\u003c"),
        (b"xn--", "punycode", "xn--"),
        ("€".encode("gb18030"), "gb18030", "€"),
        (b"\x81", "no-such", "\ufffd"),
    ],
)
def test_text_is_read_by_the_charsets_of_mail_alone(octets: bytes, charset: str, text: str) -> None:
    assert read_text(octets, charset) == text


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b"<meta charset=koi8-r>", "Привет"),
        (b'<META content="text/html; charset=koi8-r">', "Привет"),
        (b"<meta charset=utf-7>", "ðÒÉ×ÅÔ"),
        (b"<p charset=koi8-r>", "ðÒÉ×ÅÔ"),
    ],
)
def test_markup_may_name_its_charset(head: bytes, text: str) -> None:
    octets = head + "Привет".encode("koi8-r")
    assert read_text(octets, "", markup=True).endswith(text)
    assert read_text(octets, "utf-8", markup=True).endswith("\ufffd")
    assert not read_text(octets, "").endswith("Привет")


def decoded(encoding: str, octets: bytes, cuts: list[int]) -> bytes:
    found: Decoder = decoder(encoding)
    edges = sorted({0, len(octets), *(cut % (len(octets) + 1) for cut in cuts)})
    blocks = [octets[a:b] for a, b in pairwise(edges)]
    return b"".join(found.feed(block) for block in blocks) + found.end()


CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(st.binary(max_size=400), CUTS)
def test_what_was_encoded_comes_out_wherever_it_is_cut(octets: bytes, cuts: list[int]) -> None:
    encoded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    assert decoded("base64", encoded, cuts) == octets
    text = octets.replace(b"\r", b"").replace(b"\n", b"")
    assert decoded("quoted-printable", quopri.encodestring(text), cuts) == text
    assert decoded("8bit", octets, cuts) == octets


@given(st.binary(max_size=200) | st.text("=AQ\r\n \t3D", max_size=200).map(str.encode), CUTS)
def test_no_octets_are_too_odd_and_no_cut_changes_them(octets: bytes, cuts: list[int]) -> None:
    for encoding in ("base64", "quoted-printable"):
        assert decoded(encoding, octets, cuts) == decoded(encoding, octets, [])


@pytest.mark.parametrize(
    ("encoded", "octets"),
    [
        (b"aGVs\r\nbG8=\r\n", b"hello"),
        (b"aGVs*!\r\n bG8", b"hello"),
        (b"aGVsbG8=QUJD", b"hello"),  # RFC 2045 section 6.8: "=" is the end
        (b"aGVsb", b"hel"),
        (b"=", b""),
    ],
)
def test_base64_with_rubbish(encoded: bytes, octets: bytes) -> None:
    assert decoded("base64", encoded, []) == octets
    assert decoded("base64", encoded, list(range(len(encoded)))) == octets


@pytest.mark.parametrize("end", [b"", b"=", b"=4", b"=41"])
def test_a_line_without_end_does_not_pile_up(end: bytes) -> None:
    found = decoder("quoted-printable")
    first = found.feed(b"x" * LINE_OCTETS + b"=41" + end)
    assert len(first) >= LINE_OCTETS
    rest = found.feed(b"41 ="[len(end) - 1 :] if end in (b"=", b"=4") else b" =") + found.end()
    whole = binascii.a2b_qp(b"x" * LINE_OCTETS + b"=41" + end)
    assert (first + rest).startswith(whole.rstrip(b"=4"))
