"""The octets after 354: where the message ends, how large it is, what cannot be kept.

Only CRLF.CRLF ends a message (RFC 5321 section 4.1.1.4). Everything that looks like it, with a
bare CR or a bare LF in it, is content; a reader that ends there lets one message carry another.
"""

from __future__ import annotations

from enum import Enum

from mail.lines import canonical, unstuff

LINE_OCTETS = 65_536  # a line with its CRLF; real mail exceeds RFC 5321's 1,000
_CRLF = b"\r\n"
_END = b"\r\n.\r\n"
_STUFFED = b"\r\n."


class Finding(Enum):
    """Why whole content cannot be kept."""

    NUL_IN_HEADER = "nul in header"
    LINE_TOO_LONG = "line too long"


class DataReader:
    """One message, fed in blocks until `ended`; then `wire`, and `rest`, the octets behind it.

    `size` is what the message has so far, dots that stuffing added not counted (RFC 1870
    section 5); exact once `ended`, never too high before. Above `limit` the message is `too_large`
    and no longer kept; above twice that it is `hopeless`: its end is not worth waiting for.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # The end mark's first CRLF is that of the last line; in an empty message that of DATA.
        self._octets = bytearray(_CRLF)
        self._lead = len(_CRLF)  # octets at the start that are none of the message
        self._at = 0  # the end mark cannot start before here
        self.size = 0
        self.keeping = True
        self.ended = False
        self.rest = b""

    @property
    def too_large(self) -> bool:
        return self.size > self._limit

    @property
    def hopeless(self) -> bool:
        return self.size > 2 * self._limit

    def feed(self, block: bytes) -> None:
        """Takes the next octets. Not to be called again once `ended`."""
        octets = self._octets
        octets += block
        end = octets.find(_END, self._at)
        self.ended = end >= 0
        at = end if self.ended else max(len(octets) - len(_END) + 1, 0)
        stuffed = octets.count(_STUFFED, self._at, at + len(_STUFFED) - 1)
        self.size += at - self._at - stuffed
        self._at = at
        if self.ended:
            self.rest = bytes(octets[end + len(_END) :])
            del octets[end + len(_CRLF) :]
        if self.too_large:
            self.discard()
        if not self.keeping:
            del octets[:at]
            self._at = 0

    def discard(self) -> None:
        """Keeps no content from now on; the end is still looked for."""
        self.keeping = False

    @property
    def held(self) -> int:
        """Octets in memory."""
        return len(self._octets)

    def spill(self) -> bytes:
        """Gives away what is held, as it came, for the caller to keep in its order.

        The last octets stay, for the end mark may have begun in them.
        """
        octets = bytes(memoryview(self._octets)[self._lead : self._at])
        del self._octets[: self._at]
        self._lead = max(self._lead - self._at, 0)
        self._at = 0
        return octets

    def wire(self) -> bytes:
        """What is held, as it came: all that was not spilled. Once, when `ended` and `keeping`."""
        octets = bytes(memoryview(self._octets)[self._lead :])
        self._octets.clear()
        return octets


def content(wire: bytes) -> bytes:
    """The message in the octets as they came: dots undone, then canonical."""
    return canonical(unstuff(wire))


def finding(content: bytes) -> Finding | None:
    """What forbids keeping this canonical content, if anything does."""
    blank = 0 if content.startswith(_CRLF) else content.find(_CRLF + _CRLF)
    if content.find(b"\0", 0, len(content) if blank < 0 else blank) >= 0:
        return Finding.NUL_IN_HEADER
    at = 0
    while len(content) - at > LINE_OCTETS:
        line_end = content.rfind(_CRLF, at, at + LINE_OCTETS)
        if line_end < 0:
            return Finding.LINE_TOO_LONG
        at = line_end + len(_CRLF)
    return None
