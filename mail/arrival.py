"""When and from whom mail came that was kept elsewhere: its trace fields, and mbox's "From " line.

The line is that of RFC 4155: "From ", the envelope sender, a date as `asctime` writes it. What
others write differs in sender and zone; a day of the week, a time and a year are always there.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from mail.address import Address
from mail.errors import BadAddress
from mail.facts import HEADER_OCTETS, date

FROM_LINE_OCTETS = 1000

_TRACE = re.compile(rb"(?im)^(received|date)[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)")
_FROM_LINE = re.compile(
    r"From (.*?) *\b((?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? .*?\d?\d:\d\d.*?\b\d{4}\b.*)"
)


def arrived(content: bytes) -> datetime | None:
    """The date of the topmost Received field, else that of the Date field."""
    blank = content.find(b"\r\n\r\n", 0, HEADER_OCTETS)
    header = content[: HEADER_OCTETS if blank < 0 else blank]
    dates: dict[bytes, datetime | None] = {}
    for match in _TRACE.finditer(header):
        # RFC 5322 section 3.6.7: the date follows the last semicolon.
        octets = match[2].rpartition(b";")[2].replace(b"\r\n", b"")
        dates.setdefault(match[1].lower(), date(octets.decode("latin-1")))
    return dates.get(b"received") or dates.get(b"date")


def read_from_line(line: bytes) -> tuple[Address | None, datetime | None] | None:
    """Sender and date of a line that begins a message in an mbox; None if it is no such line."""
    if len(line) > FROM_LINE_OCTETS:
        return None
    match = _FROM_LINE.fullmatch(line.decode("utf-8", "surrogateescape").rstrip("\r\n"))
    if not match:
        return None
    try:
        sender = Address.parse(match[1])
    except BadAddress:
        sender = None
    return sender, date(match[2])


def from_line(sender: str, at: datetime) -> bytes:
    """The line before a message in an mbox, with LF. `sender` is empty for the null sender."""
    text = f"From {sender or 'MAILER-DAEMON'} {at.astimezone(UTC).ctime()}\n"
    return text.encode("utf-8", "surrogateescape")
