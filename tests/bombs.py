"""Messages made to cost whoever reads them more than they cost their sender."""

from __future__ import annotations

import base64
from collections.abc import Iterator

LARGE = 1_000_000
HTML = b"Content-Type: text/html; charset=utf-8\r\n\r\n"
MIXED = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'


# Nothing but its time stops this one: each attribute is compared with all before it.
ENDLESS = HTML + b"<a" + b"".join(b" a%d=b" % n for n in range(100_000)) + b">"


def nested(depth: int, *, boundary: bytes = b"b%d", kind: bytes = b"mixed") -> bytes:
    lines = []
    for level in range(depth):
        edge = boundary.replace(b"%d", b"%d" % level)
        lines.append(
            b'Content-Type: multipart/%s; boundary="%s"\r\n\r\n--%s\r\n' % (kind, edge, edge)
        )
    return b"".join(lines) + b"\r\nend\r\n"


def parts(count: int, part: bytes = b"\r\n") -> bytes:
    return MIXED + (b"--b\r\n" + part) * count + b"--b--\r\n"


def field(name: bytes, value: bytes) -> bytes:
    return name + b": " + value + b"\r\n\r\nbody\r\n"


def folded(value: bytes, width: int = 900) -> bytes:
    return b"\r\n ".join(value[at : at + width] for at in range(0, len(value), width))


def html(markup: bytes) -> bytes:
    return HTML + markup


def disposition(parameters: bytes) -> bytes:
    return parts(1, b"Content-Disposition: attachment" + parameters + b"\r\n\r\nx\r\n")


def bombs() -> Iterator[tuple[str, bytes]]:
    """Name and message."""
    yield from _structures()
    yield from _headers()
    yield from _parameters()
    yield from _texts()
    yield from _markup()


def _structures() -> Iterator[tuple[str, bytes]]:
    yield "nested-51", nested(51)
    yield "nested-2000", nested(2000)
    yield "nested-20000", nested(20_000)
    yield "nested-one-boundary", nested(3000, boundary=b"b")
    yield "nested-growing-boundary", nested(60, boundary=b"b" * 60 + b"%d")
    yield "nested-digest", nested(300, kind=b"digest")
    yield "nested-alternative", nested(300, kind=b"alternative")
    yield "nested-50-and-large", nested(50) + b"x" * 998 + b"\r\n" * LARGE
    yield "messages-in-messages", b"Content-Type: message/rfc822\r\n\r\n" * 5000
    yield "parts-1001", parts(1001)
    yield "parts-100000-empty", parts(100_000, b"")
    yield "parts-with-headers", parts(5000, b"Content-Type: text/plain\r\n\r\nx\r\n")
    yield "parts-texts", parts(900, b"\r\n" + b"x" * 1000 + b"\r\n")
    yield "parts-html", parts(900, b"Content-Type: text/html\r\n\r\n<b>x" + b"\r\n")
    yield "delimiters-almost", MIXED + b"--b\r\n" + b"--bx\r\n" * 200_000
    yield "delimiters-nested-almost", nested(49, boundary=b"b") + b"--bx\r\n" * 200_000
    yield "delimiters-dashes", b"Content-Type: multipart/mixed; boundary=-\r\n\r\n" + b"-" * LARGE
    yield (
        "boundary-long",
        b'Content-Type: multipart/mixed; boundary="'
        + b"b" * 60_000
        + b'"\r\n\r\n'
        + b"\r\n--b" * 100_000,
    )
    yield (
        "boundary-empty",
        b'Content-Type: multipart/mixed; boundary=""\r\n\r\n' + b"--\r\n" * 200_000,
    )
    yield "no-end", MIXED + b"--b\r\n" * 999


def _headers() -> Iterator[tuple[str, bytes]]:
    yield "header-large", b"X: " + b"x" * 20 * LARGE + b"\r\n\r\nbody\r\n"
    yield "header-without-end", b"X: y\r\n" * 500_000
    yield "fields-1001", b"X: y\r\n" * 1001 + b"\r\nbody\r\n"
    yield "fields-in-a-part", parts(1, b"X: y\r\n" * 100_000 + b"\r\n")
    yield "field-folded", b"Subject: x" + b"\r\n x" * 300_000 + b"\r\n\r\nbody\r\n"
    yield "field-of-white-space", b"Content-Type:" + b" " * LARGE + b"\r\n\r\nbody\r\n"
    yield "field-names", b"Content-Type" * 50_000 + b"\r\n\r\nbody\r\n"
    yield "addresses", field(b"Cc", folded(b"a@x.org, " * 7000))
    yield "addresses-without-at", field(b"Cc", folded(b"a" * 60_000))
    yield "addresses-quotes", field(b"Cc", folded(b'"' * 60_001))
    yield "addresses-escaped-quotes", field(b"Cc", folded(b'"\\' * 30_000))
    yield "addresses-angles", field(b"Cc", folded(b"<" * 60_000))
    yield "addresses-groups", field(b"Cc", folded(b"a:" * 30_000))
    yield "comments-nested", field(b"Content-Type", folded(b"text/plain; a=" + b"(" * 60_000))
    yield "comments-in-people", field(b"Reply-To", folded(b"(" * 30_000 + b")" * 30_000))
    yield "encoded-words", field(b"Cc", folded(b"=?utf-8?q?x?= " * 4000))
    yield "encoded-words-joined", field(b"Cc", folded(b"=?utf-8?b?eA==?=" * 4000))
    yield "encoded-words-half", field(b"Cc", folded(b"=?utf-8?q?" * 6000))
    yield "encoded-words-marks", field(b"Cc", folded(b"=?" * 30_000))
    yield "encoded-word-spaces", field(b"Cc", folded(b"?=" + b" " * 60_000 + b"=?"))


def _parameters() -> Iterator[tuple[str, bytes]]:
    pieces = b"".join(b"; filename*%d*=%%41" % n for n in range(5000))
    yield "pieces-5000", disposition(folded(pieces))
    yield "pieces-256", disposition(folded(b"".join(b"; filename*%d=x" % n for n in range(256))))
    yield "pieces-high", disposition(b"; filename*999*=x; filename*0*=utf-8''y")
    yield "pieces-all-one", disposition(b"; filename*0=x" * 250)
    yield "percents", disposition(folded(b"; filename*=utf-8''" + b"%" * 60_000))
    yield "parameters", disposition(folded(b"; a=b" * 10_000))
    yield "parameters-semicolons", disposition(folded(b";" * 60_000))
    yield "parameters-quotes", disposition(folded(b'; a="\\' * 15_000))
    yield "parameters-equals", disposition(folded(b"; " + b"=" * 60_000))
    yield "parameters-no-equals", disposition(folded(b"; " + b"a" * 60_000))
    yield "name-long", disposition(folded(b'; filename="' + b"n" * 60_000 + b'.txt"'))
    yield "name-of-words", disposition(folded(b'; filename="' + b"=?utf-8?q?x?= " * 4000 + b'"'))
    yield "name-of-folders", disposition(folded(b'; filename="' + b"../" * 20_000 + b'x"'))


def _texts() -> Iterator[tuple[str, bytes]]:
    plain = b"Content-Type: text/plain; charset=%s\r\n\r\n"
    for charset in ("utf-7", "unicode_escape", "punycode", "idna", "hz", "iso-2022-jp", "gb18030"):
        yield f"charset-{charset}", plain % charset.encode() + b"~{\x1b$B+ADw-\\u003c" * 60_000
    yield "charset-of-bytes", plain % b"zlib" + base64.b64encode(b"x" * LARGE)
    encoded = b"Content-Transfer-Encoding: %s\r\n\r\n"
    yield "base64-rubbish", encoded % b"base64" + b"\x80\r\n" * LARGE
    yield "base64-padding", encoded % b"base64" + b"QQ==" * LARGE
    yield "quoted-printable", encoded % b"quoted-printable" + b"=\r\n" * LARGE
    yield "quoted-printable-one-line", encoded % b"quoted-printable" + b"=" * 3 * LARGE
    yield "uuencode", encoded % b"x-uuencode" + b"begin 644 x\r\n" * 100_000
    yield "text-large", b"\r\n" + b"x" * 20 * LARGE


def _markup() -> Iterator[tuple[str, bytes]]:
    yield "html-deep", html(b"<div>" * 50_000)
    yield "html-deep-stray-ends", html(b"<div></b>" * 50_000)
    yield "html-deep-tables", html(b"<div><table><tr><td></div>" * 30_000)
    yield "html-deep-formats", html(b"<b><div></b>" * 50_000)
    yield "html-lists", html(b"<ul><li>" * 499 + b"x")
    formats = b"".join(b"<b a=%d>" % n for n in range(490))
    yield "html-formats-repeated", html(formats + b"</p><p>x" * 60_000)
    yield "html-formats-and-blocks", html(formats + b"<div>x</div>" * 50_000)
    yield "html-fonts-in-cells", html(b"<table>" + (formats + b"<tr><td>x") * 20)
    yield "html-foster", html(b"<table>" * 490 + b"x<i>" * 20_000)
    yield "html-attributes", html(b"<a" + b" a=b" * 200_000 + b">")
    yield "html-entities", html(b"&amp;" * 200_000)
    yield "html-angles", html(b"<" * LARGE)
    yield "html-comments", html(b"<!--" * 250_000)
    yield "html-links", html(b"<a href='http://x.example'>x</a>" * 30_000)
    yield "html-large", html(b"<p>x</p>" * 3 * LARGE)
    yield "html-svg", html(b"<svg><g>" * 400)
    yield "html-mathml", html(b"<math><mtext><table><mglyph><style>" * 400)
    yield "html-select", html(b"<select><option>" * 60_000)
    yield "html-template", html(b"<template>" * 60_000)
