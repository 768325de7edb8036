"""When mail came that was kept elsewhere, and the line before each message of an mbox."""

from datetime import UTC, datetime

import pytest

from mail.address import Address
from mail.arrival import arrived, from_line, read_from_line
from mail.facts import HEADER_OCTETS

RECEIVED = b"Received: from a; by b\r\n\twith ESMTP id 1;\r\n\tFri, 2 Jan 2015 03:04:05 +0100\r\n"
DATE = b"Date: Thu, 1 Jan 2015 00:00:00 -0000\r\n"


@pytest.mark.parametrize(
    ("header", "moment"),
    [
        (RECEIVED + DATE, datetime(2015, 1, 2, 2, 4, 5, tzinfo=UTC)),
        (DATE + RECEIVED, datetime(2015, 1, 2, 2, 4, 5, tzinfo=UTC)),
        (RECEIVED + b"Received: x; Sat, 3 Jan 2015 00:00:00 +0000\r\n" + DATE,
         datetime(2015, 1, 2, 2, 4, 5, tzinfo=UTC)),
        (b"Received: by nobody\r\n" + DATE, datetime(2015, 1, 1, tzinfo=UTC)),
        (DATE, datetime(2015, 1, 1, tzinfo=UTC)),
        (b"Date: soon\r\n", None),
        (b"Date: Fri, 31 Dec 9999 23:00:00 -0200\r\n", None),
        (b"Subject: x\r\n", None),
        (b"X: y\r\n" * (HEADER_OCTETS // 6 + 1) + DATE, None),
    ],
)  # fmt: skip
def test_the_topmost_received_counts_then_the_date(header: bytes, moment: datetime | None) -> None:
    for content in (header, header + b"\r\n", header + b"\r\nDate: Fri, 2 Jan 2015 00:00:00 Z\r\n"):
        assert arrived(content) == moment


MONDAY = datetime(2026, 11, 23, 10, 52, 3, tzinfo=UTC)
BOB = Address.parse("bob@example.net")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"From bob@example.net Mon Nov 23 10:52:03 2026\n", (BOB, MONDAY)),
        (b"From bob@example.net  Mon Nov 23 10:52:03 2026\r\n", (BOB, MONDAY)),
        (b'From "b b"@example.net Mon Nov 23 10:52:03 2026\n',
         (Address.parse('"b b"@example.net'), MONDAY)),
        (b"From - Mon Nov 23 10:52:03 2026\n", (None, MONDAY)),
        (b"From MAILER-DAEMON Mon Nov 23 10:52:03 2026\n", (None, MONDAY)),
        (b"From 17@xxx Mon Nov 23 11:52:03 +0100 2026\n", None),
        (b"From bob@example.net Mon, 23 Nov 2026 11:52:03 +0100\n", (BOB, MONDAY)),
        (b"From Monday on it is 10:52 everywhere\n", None),
        (b"From here to there\n", None),
        (b">From bob@example.net Mon Nov 23 10:52:03 2026\n", None),
        (b"From bob@example.net Mon Nov 23 10:52:03 2026" + b" " * 1000, None),
    ],
)  # fmt: skip
def test_lines_between_messages(
    line: bytes, found: tuple[Address | None, datetime | None] | None
) -> None:
    read = read_from_line(line)
    if b"17@xxx" in line:  # a zone before the year: the line counts, its date need not be read
        assert read is not None
        assert read[0] == Address.parse("17@xxx")
    else:
        assert read == found


def test_what_is_written_is_read() -> None:
    for sender in ("bob@example.net", '"b b"@example.net', "jörg@example.net", ""):
        read = read_from_line(from_line(sender, MONDAY))
        assert read == (Address.parse(sender) if sender else None, MONDAY)
