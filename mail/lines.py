"""Line ends and dots: the only place that knows how octets change between wire and store.

Stored content is canonical: every line ends in CRLF, the last one included, and CR and LF
appear nowhere else. So the octets that RETR sends, dots aside, are exactly the stored ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\r|\n")


def canonical(octets: bytes) -> bytes:
    """Bare CR and bare LF become CRLF, a missing last CRLF is added. Empty stays empty."""
    pairs = octets.count(b"\r\n")
    if octets.count(b"\r") != pairs or octets.count(b"\n") != pairs:
        octets = _LINE_END.sub(b"\r\n", octets)
    if octets and not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    return octets


def unstuff(octets: bytes) -> bytes:
    """Undoes dot-stuffing after true CRLF only (RFC 5321 section 4.5.2).

    `octets` are what came between the reply to DATA and the final dot line. To be called before
    `canonical`: a dot after a bare LF belongs to the content.
    """
    if octets.startswith(b"."):
        octets = octets[1:]
    return octets.replace(b"\r\n.", b"\r\n")


@dataclass(frozen=True, slots=True)
class Measures:
    """Worked out once at arrival, so that the common RETR and TOP are plain copies."""

    size: int  # octets before dot-stuffing: what LIST says
    header_size: int  # through the blank line; the whole size when there is none
    dotted: bool  # some line starts with "."


def measure(prefix: bytes, content: bytes) -> Measures:
    """Measures of canonical `prefix` + `content`. The prefix has no blank and no dotted line."""
    size = len(prefix) + len(content)
    if content.startswith(b"\r\n"):
        header_size = len(prefix) + 2
    else:
        blank = content.find(b"\r\n\r\n")
        header_size = size if blank < 0 else len(prefix) + blank + 4
    return Measures(size, header_size, content.startswith(b".") or b"\r\n." in content)


class Stuffer:
    """Dot-stuffing of one canonical message that comes in blocks (RFC 1939 section 3)."""

    def __init__(self) -> None:
        self._tail = b"\r\n"  # a message begins at a line start

    def feed(self, block: bytes) -> bytes:
        """The block with a dot added to each line that starts with one."""
        joined = self._tail + block
        stuffed = joined.replace(b"\r\n.", b"\r\n..")[len(self._tail) :]
        self._tail = joined[-2:]
        return stuffed


class TopCut:
    """The part of a message that TOP sends: header, blank line, `lines` lines of the body.

    RFC 1939 section 7. Fed with the blocks of a canonical message until `done`.
    """

    def __init__(self, header_size: int, lines: int) -> None:
        self._header_left = header_size
        self._lines_left = lines

    @property
    def done(self) -> bool:
        return self._header_left == 0 and self._lines_left == 0

    def feed(self, block: bytes) -> bytes:
        """The octets of this block that still belong to the answer."""
        at = min(self._header_left, len(block))
        self._header_left -= at
        while self._lines_left and self._header_left == 0:
            line_feed = block.find(b"\n", at)
            if line_feed < 0:
                return block
            at = line_feed + 1
            self._lines_left -= 1
        return block[:at]
