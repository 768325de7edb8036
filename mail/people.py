"""The mailboxes that the text of an address field shows (RFC 5322 section 3.4), in linear time.

For people to read: the text is decoded already, so that a name may hold commas, and may be cut.
"""

from __future__ import annotations

import re
from typing import NamedTuple

ADDRESSES = 1000  # of one field

_PIECE = re.compile(r'(?:[^",;]|"(?:[^"\\]|\\.)*(?:"|\\?\Z))+', re.DOTALL)
_ANGLE = re.compile(r"<([^<>]*)>")
_BARE = re.compile(r'(?<![^\s<>()",;])[^\s<>()",;@]++@[^\s<>()",;]+')
_GROUP = re.compile(r'[^"<>@:]*:')


class Mailbox(NamedTuple):
    """Either may be empty."""

    name: str
    address: str


def mailboxes(text: str) -> list[Mailbox]:
    found: list[Mailbox] = []
    name = ""
    for match in _PIECE.finditer(text):
        group = _GROUP.match(match[0])
        piece = match[0][group.end() if group else 0 :].strip()
        angle, bare = _ANGLE.search(piece), _BARE.search(piece)
        if angle and angle[1].strip():
            name = _plain(name + piece[: angle.start()])
            found.append(Mailbox(name, angle[1].strip()))
        elif bare and "<" not in piece:
            found.append(Mailbox("", bare[0]))
        elif piece:
            name += f"{piece}, "
            continue
        name = ""
        if len(found) == ADDRESSES:
            break
    return found


def _plain(phrase: str) -> str:
    """A display name without its quotes."""
    phrase = phrase.strip()
    if len(phrase) > 1 and phrase.startswith('"') and phrase.endswith('"'):
        return re.sub(r"\\(.)", r"\1", phrase[1:-1])
    return phrase.removeprefix('"')
