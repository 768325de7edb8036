"""POP3 as its client reads and writes it (RFC 1939, RFC 2449, RFC 5034): octets to values. Pure.

Whatever a server sends is held to a limit before it is kept.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from collector.plan import Entry
from mail.errors import UpstreamFailed

STATUS_OCTETS = 512  # RFC 2449 section 4
LINE_OCTETS = 512  # of a listing
LISTED = 100_000  # messages
CAPABILITIES = 100
WORDS_TOLD = 200  # characters of a server's own words
INITIAL_OCTETS = 255  # RFC 5034 section 4: a command with more is too long

_CODE = re.compile(r"\[([A-Z0-9/-]+)\][ \t]*", re.IGNORECASE)
# RFC 1939 section 7: 1 to 70 characters; longer ones are in use.
_UIDL = re.compile(rb"([1-9][0-9]{0,8})[ \t]+([!-~]{1,255})[ \t]*")
_LIST = re.compile(rb"([1-9][0-9]{0,8})[ \t]+([0-9]{1,15})(?:[ \t].*)?")


@dataclass(frozen=True, slots=True)
class Status:
    """A first line. `code` of RFC 2449 section 8 in upper case, or empty; `words` made harmless."""

    ok: bool
    code: str
    words: str


class Lines:
    """Octets as they come, to lines. What is left over is the next answer's."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def __len__(self) -> int:
        return len(self._octets)

    def feed(self, block: bytes) -> None:
        self._octets += block

    def line(self, most: int) -> bytes | None:
        """The next line without its end, None while it is not whole. Raises UpstreamFailed."""
        end = self._octets.find(b"\r\n", 0, most)
        if end < 0:
            if len(self._octets) >= most:
                raise UpstreamFailed("the provider sent a line without an end")
            return None
        line = bytes(self._octets[:end])
        del self._octets[: end + 2]
        return line

    def rest(self) -> bytes:
        """Takes everything that has come."""
        octets = bytes(self._octets)
        self._octets.clear()
        return octets


def status(line: bytes) -> Status:
    """Raises UpstreamFailed for what is no answer of POP3."""
    text = line.decode("utf-8", "replace")
    first, _, rest = text.partition(" ")
    if first not in ("+OK", "-ERR", "+"):
        raise UpstreamFailed("the provider does not speak POP3")
    code = _CODE.match(rest)
    words = harmless(rest[code.end() if code else 0 :])
    return Status(first != "-ERR", code[1].upper() if code else "", words)


def harmless(text: str) -> str:
    """For a person to read: no controls, in one line."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())


def without(words: str, secrets: Iterable[str]) -> str:
    """What may be shown: servers have been seen to repeat what was typed."""
    for secret in secrets:
        forms = (secret, base64.b64encode(secret.encode()).decode())
        for form in (*forms, harmless(secret)):
            if form:
                words = words.replace(form, "***")
    return words[:WORDS_TOLD]


def command(verb: str, *arguments: str | int) -> bytes:
    """One command. Raises UpstreamFailed for what would be two."""
    text = " ".join([verb, *map(str, arguments)])
    if not set("\r\n\0").isdisjoint(text):
        raise UpstreamFailed("a user name or password cannot have a line end in it")
    return text.encode() + b"\r\n"


def plain(username: str, secret: str) -> str:
    """RFC 4616: the response of AUTH PLAIN."""
    if "\0" in username + secret:
        raise UpstreamFailed("a user name or password cannot have a NUL in it")
    return base64.b64encode(f"\0{username}\0{secret}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """RFC 2449; `known` is False for a server that has no CAPA. Seconds and days as told."""

    known: bool = False
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.named

    @property
    def plain(self) -> bool:
        return "PLAIN" in self.named.get("SASL", ())

    @property
    def delay_s(self) -> int:
        """LOGIN-DELAY (RFC 2449 section 6.5), a day at most; 0 without one."""
        return min(_number(self.named.get("LOGIN-DELAY", ())) or 0, 86_400)

    @property
    def expire_days(self) -> int | None:
        """EXPIRE (RFC 2449 section 6.7): None for never, or without a word of it."""
        return _number(self.named.get("EXPIRE", ()))


def capabilities(lines: Iterable[bytes]) -> Capabilities:
    named = {}
    for line in lines:
        name, *arguments = line.decode("ascii", "replace").upper().split() or [""]
        named[name] = tuple(arguments)
    return Capabilities(known=True, named=named)


def _number(arguments: tuple[str, ...]) -> int | None:
    first = arguments[0] if arguments else ""
    return int(first) if re.fullmatch("[0-9]{1,9}", first) else None


def entries(sizes: Iterable[bytes], names: Iterable[bytes]) -> list[Entry]:
    """The answers to LIST and UIDL as one listing. Raises UpstreamFailed if they do not agree."""
    by_number: dict[int, int] = {}
    for line in sizes:
        number, size = _pair(_LIST, line)
        by_number[int(number)] = int(size)
    listing: dict[int, Entry] = {}
    for line in names:
        number, uidl = _pair(_UIDL, line)
        place = int(number)
        if place not in by_number or place in listing:
            raise UpstreamFailed("the provider's listing contradicts itself")
        listing[place] = Entry(place, by_number[place], uidl)
    if len(listing) != len(by_number):
        raise UpstreamFailed("the provider's listing contradicts itself")
    return [listing[number] for number in sorted(listing)]


def _pair(pattern: re.Pattern[bytes], line: bytes) -> tuple[bytes, bytes]:
    match = pattern.fullmatch(line)
    if not match:
        raise UpstreamFailed("the provider's listing cannot be read")
    return match[1], match[2]
