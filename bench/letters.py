"""The letters that the benchmark delivers: English text, each of its own, known by its number.

A letter is made as it stands on the wire: dots are stuffed, and the dot line is its end. So what
a client sends and what it must get back are compared without touching an octet.
"""

from __future__ import annotations

import base64
import random
import re
from functools import cache
from pydoc_data.topics import topics

LONG = 20_000  # octets; a longer letter has a short text and an attachment
DOT_LINE = b".\r\n"
_HEAD = """\
Received: from out7.example.net (out7.example.net [192.0.2.7])\r
\tby relay.example.org with ESMTPS id 4Xq{number:08d}; Mon, 5 Oct 2026 09:41:07 +0000\r
From: =?utf-8?Q?J=C3=B6rg_Example?= <bob@example.net>\r
To: Ann <ann@example.test>\r
Subject: Chapter {number} of the documentation\r
Date: Mon, 5 Oct 2026 09:41:00 +0000\r
Message-ID: <{number:08d}.7c1f@example.net>\r
User-Agent: Example Mail 9.1\r
MIME-Version: 1.0\r
X-Bench: {number:08d}\r
"""
_NUMBER = re.compile(rb"\r\nX-Bench: (\d{8})\r\n")
# What a server may put before a letter, and nothing else: fields of a trace, each whole.
_TRACE = re.compile(
    rb"(?:(?:Return-Path|Delivered-To|X-Original-To|Received|Authentication-Results):"
    rb"[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*"
)
_BORDER = b"=_border_7c1f"
_TEXT_PART = b"Content-Type: text/plain; charset=utf-8\r\n\r\n"


class Wrong(Exception):
    """What a server said or served is not what it should be."""


@cache
def wire(number: int, octets: int) -> bytes:
    """A letter of about so many octets, with dots stuffed and the dot line at its end."""
    head = _HEAD.format(number=number).encode()
    if octets >= LONG:
        return head + _mixed(number % 16, octets)
    return head + _TEXT_PART + _prose(number, octets - len(head)) + DOT_LINE


def number_of(served: bytes) -> int:
    """Raises Wrong for what is no letter."""
    found = _NUMBER.search(served, 0, 4096)
    if not found:
        raise Wrong(f"no letter: {served[:200]!r}")
    return int(found[1])


def check(served: bytes, octets: int) -> int:
    """The number of a letter that came back, dot line and all. Raises Wrong unless it is whole."""
    number = number_of(served)
    sent = wire(number, octets)
    if not served.endswith(sent):
        raise Wrong(f"letter {number} came back changed")
    if not _TRACE.fullmatch(served, 0, len(served) - len(sent)):
        raise Wrong(f"letter {number} has more than trace fields before it")
    return number


@cache
def _text() -> tuple[bytes, list[int]]:
    """What Python says of itself, with CRLF; and where its lines begin."""
    lines = [line.encode("ascii", "ignore") for line in "\n".join(topics.values()).split("\n")]
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 2)
    return b"\r\n".join(lines) + b"\r\n", starts


def _prose(number: int, octets: int) -> bytes:
    text, starts = _text()
    chance = random.Random(number)
    while True:
        start = starts[chance.randrange(len(starts))]
        end = text.find(b"\r\n", start + octets) + 2
        if end > 1:
            break
    # No line of the text begins with a dot; every tenth letter has one that does.
    return text[start:end] + (b"..\r\n" if number % 10 == 0 else b"")


@cache
def _mixed(kind: int, octets: int) -> bytes:
    """A short text and an attachment that no compression makes smaller than its octets."""
    text = b"Content-Type: multipart/mixed; boundary=" + b'"' + _BORDER + b'"\r\n\r\n'
    text += b"--" + _BORDER + b"\r\n" + _TEXT_PART + _prose(kind, 3000)
    text += b"--" + _BORDER + b"\r\nContent-Type: application/pdf; name=a.pdf\r\n"
    text += b"Content-Disposition: attachment; filename=a.pdf\r\n"
    text += b"Content-Transfer-Encoding: base64\r\n\r\n"
    attached = random.Random(kind).randbytes((octets - len(text)) * 57 // 78)
    coded = base64.encodebytes(attached).replace(b"\n", b"\r\n")
    return text + coded + b"--" + _BORDER + b"--\r\n" + DOT_LINE
