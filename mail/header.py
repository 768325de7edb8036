"""Fields of a canonical header block by their name, in time that grows with its octets alone.

White space before the colon is read too (RFC 5322 section 4.5): others read it, so it cannot hide
a field from us.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

_END = re.compile(rb"\r\n(?![ \t])")


@dataclass(frozen=True, slots=True)
class Field:
    """A field in its block, of which no more is looked at than is asked for."""

    header: bytes
    start: int
    colon: int  # what follows it is the value

    @property
    def end(self) -> int:
        last = _END.search(self.header, self.colon)
        return last.end() if last else len(self.header)

    def value(self, octets: int) -> bytes:
        """So many octets of what follows the colon at the most, folded as they came."""
        part = self.header[self.colon : self.colon + octets + 2]
        last = _END.search(part)
        return part[: last.start() if last else octets]


def header_of(content: bytes) -> bytes:
    """What stands before the blank line, as whole lines; all of it when there is none."""
    if content.startswith(b"\r\n"):
        return b""
    blank = content.find(b"\r\n\r\n")
    return content if blank < 0 else content[: blank + 2]


def fields(header: bytes, *names: bytes, most: int | None = None) -> list[list[Field]]:
    """For each name, which is given in lower case, its fields from the top: `most` of them."""
    # An expression that ignores case, or has no text to begin with, takes ten times as long.
    lowered = b"\r\n" + header.lower()
    return [
        [
            Field(header, found.start(), found.end() - 2)
            for found in islice(re.finditer(rb"\r\n%b[ \t]*+:" % name, lowered), most)
        ]
        for name in names
    ]
