"""The MIME parts of a stored message (RFC 2045, 2046), where they stand, and which are its text.

One descent through the structure, under limits; parts stay octets of the message until somebody
wants them. `LimitReached` names the limit that was met: then nothing of the structure is told.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mail import header, mime
from mail.mime import LimitReached

NESTING = 50
PARTS = 1000
DELIMITERS = 20 * PARTS  # lines that begin like a delimiter, looked at in all
FIELDS = 1000  # of one part
FIELD_OCTETS = 64 * 1024
TEXT_OCTETS = 1024 * 1024  # of the text, and of the HTML, that is shown
BLOCK = 256 * 1024

_FIELD_START = re.compile(rb"\r\n(?![ \t])")
_LINE_OF_FIELD = re.compile(rb"[!-9;-~]{1,100}[ \t]*:")
_IDENTITY = re.compile(rb"<([!-;=?-~]{1,250})>")
# Longer boundaries may begin like this one; what follows white space is passed over.
_DELIMITER_END = re.compile(rb"(--)?(?:[ \t][^\r\n]*)?(?:\r\n|\Z)")

# What a browser may be shown of an attachment, by its first octets; and two that are common.
_SIGNATURES = (
    ("image/png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("image/jpeg", re.compile(rb"\xff\xd8\xff")),
    ("image/gif", re.compile(rb"GIF8[79]a")),
    ("image/webp", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ("image/avif", re.compile(rb".{4}ftypavi[fs]", re.DOTALL)),
    ("image/bmp", re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL)),
    ("application/pdf", re.compile(rb"%PDF-")),
    ("application/zip", re.compile(rb"PK\x03\x04")),
)
RASTER = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"}
)


@dataclass(frozen=True, slots=True)
class Part:
    """A part without parts. Its octets, encoded, are those of the message from `start` to `end`."""

    type: str
    start: int
    end: int
    encoding: str = ""
    charset: str = ""
    attached: bool = False  # it is said to be no text of the message
    name: str = ""
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class Multipart:
    subtype: str
    parts: list[Part | Multipart] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Arranged:
    """What stands for what. Every part is in one of the three at least."""

    text: list[Part]
    html: list[Part]
    attachments: list[Part]


@dataclass(frozen=True, slots=True)
class Measured:
    """What is to be known of an attachment before it is sent."""

    size: int
    sha256: str
    sniffed: str  # its type by its octets; empty if that is none of the known ones


def read(content: bytes) -> Part | Multipart:
    """The structure of a canonical message. Raises LimitReached."""
    return _Reader(content).read(0, len(content), "text/plain", 0)


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._parts = 0
        self._delimiters = 0

    def read(self, start: int, end: int, usual: str, depth: int) -> Part | Multipart:
        """The part between; it is of the `usual` type unless its header says another one."""
        self._parts += 1
        if self._parts > PARTS:
            raise LimitReached("parts")
        block, body = self._header(start, end, depth)
        kind = mime.read_value(_first(block, b"content-type"))
        main = kind.main if "/" in kind.main else usual
        boundary = kind.parameters.get("boundary", "").rstrip()
        if main.startswith("multipart/"):
            if boundary:
                if depth == NESTING:
                    raise LimitReached("nesting")
                among = "message/rfc822" if main == "multipart/digest" else "text/plain"
                ranges = self._ranges(body, end, boundary.encode("utf-8", "replace"))
                parts = [self.read(*each, among, depth + 1) for each in ranges]
                if parts:
                    return Multipart(main.removeprefix("multipart/"), parts)
            main = "text/plain"  # to be read as it came
        disposition = mime.read_value(_first(block, b"content-disposition"))
        given = disposition.parameters.get("filename") or kind.parameters.get("name", "")
        return Part(
            type=main,
            start=body,
            end=end,
            encoding=mime.read_value(_first(block, b"content-transfer-encoding")).main,
            charset=kind.token("charset"),
            attached=disposition.main == "attachment",
            name=mime.file_name(given),
            content_id=_identity(_first(block, b"content-id")),
        )

    def _header(self, start: int, end: int, depth: int) -> tuple[bytes, int]:
        """The header block, and where the body behind it starts."""
        content = self._content
        if content.startswith(b"\r\n", start, end):
            return b"", start + 2
        if depth and not _LINE_OF_FIELD.match(content, start, end):
            return b"", start  # a body alone, as some make it
        blank = content.find(b"\r\n\r\n", start, end)
        stop, body = (blank + 2, blank + 4) if blank >= 0 else (end, end)
        at = start
        for number, found in enumerate(_FIELD_START.finditer(content, start, stop), 1):
            if number > FIELDS:
                raise LimitReached("fields")
            if found.end() - at > FIELD_OCTETS:
                raise LimitReached("field-size")
            at = found.end()
        if stop - at > FIELD_OCTETS:
            raise LimitReached("field-size")
        block = content[start:stop]
        return block if block.endswith(b"\r\n") else block + b"\r\n", body

    def _ranges(self, start: int, end: int, boundary: bytes) -> Iterator[tuple[int, int]]:
        """The parts between the delimiters. The last one may have none behind it."""
        content, mark = self._content, b"\r\n--" + boundary
        begin: int | None = None
        at = content.find(mark, start - 2, end)  # what begins the body may be a delimiter
        while at >= 0:
            self._delimiters += 1
            if self._delimiters > DELIMITERS:
                raise LimitReached("parts")
            after = at + len(mark)
            if ending := _DELIMITER_END.match(content, after, end):
                if begin is not None:
                    yield begin, max(begin, at)
                # What claims to be the last may be that of a part inside with the same boundary.
                begin = None if ending[1] else ending.end()
                after = max(after, ending.end() - 2)  # the next line may be one too
            at = content.find(mark, after, end)
        if begin is not None:
            yield begin, end


def _first(block: bytes, name: bytes) -> bytes:
    [found] = header.fields(block, name, most=1)
    return found[0].value(FIELD_OCTETS) if found else b""


def _identity(value: bytes) -> str:
    found = _IDENTITY.search(value)
    return found[1].decode("ascii") if found else ""


def arrange(message: Part | Multipart) -> Arranged:
    """Which parts are the text, as text and as HTML (RFC 8621 section 4.1.4).

    Unlike there, media that is shown within the text can be had as an attachment too.
    """
    text: list[Part] = []
    html: list[Part] = []
    outermost = message if isinstance(message, Multipart) else Multipart("mixed", [message])
    _sort(outermost, text, html, chosen=False)
    shown = {id(part) for part in (*text, *html)}
    rest = [part for part in _leaves(message) if id(part) not in shown]
    return Arranged(text, html, rest)


def _sort(
    parent: Multipart, text: list[Part] | None, html: list[Part] | None, *, chosen: bool
) -> None:
    """Adds to both lists what stands for both; None: what is met here does not stand for it.

    `chosen`: it is one of several alternatives, so that it stands for one of them alone.
    """
    alternative = parent.subtype == "alternative"
    before = (len(text or ()), len(html or ()))
    for place, part in enumerate(parent.parts):
        if isinstance(part, Multipart):
            _sort(part, text, html, chosen=chosen or alternative)
        elif _is_text(part, parent.subtype, place):
            plain = part.type == "text/plain"
            first, second = (text, html) if plain else (html, text)
            if alternative:
                second = None
            elif chosen and first is not None:
                second = None
                text, html = (text, None) if plain else (None, html)
            for shown in (first, second):
                if shown is not None:
                    shown.append(part)
    if alternative and text is not None and html is not None:
        plain_parts, marked = text[before[0] :], html[before[1] :]
        if not plain_parts:
            text += marked
        if not marked:
            html += plain_parts


def _is_text(part: Part, around: str, place: int) -> bool:
    return (
        part.type in ("text/plain", "text/html")
        and not part.attached
        and (place == 0 or (around != "related" and not part.name))
    )


def _leaves(message: Part | Multipart) -> Iterator[Part]:
    if isinstance(message, Part):
        yield message
    else:
        for part in message.parts:
            yield from _leaves(part)


def blocks(content: bytes, part: Part) -> Iterator[bytes]:
    """The octets of a part, decoded."""
    decoder = mime.decoder(part.encoding)
    for at in range(part.start, part.end, BLOCK):
        yield decoder.feed(content[at : min(at + BLOCK, part.end)])
    yield decoder.end()


def measure(content: bytes, part: Part) -> Measured:
    digest = hashlib.sha256()
    size = 0
    first = b""
    for block in blocks(content, part):
        if len(first) < 16:
            first += block[:16]
        digest.update(block)
        size += len(block)
    return Measured(size, digest.hexdigest(), sniff(first))


def sniff(first: bytes) -> str:
    return next((name for name, signature in _SIGNATURES if signature.match(first)), "")


def text_of(content: bytes, part: Part) -> tuple[str, bool]:
    """A text part with line ends of one character, and whether all of it is there."""
    octets = b""
    for block in blocks(content, part):
        octets += block
        if len(octets) > TEXT_OCTETS:
            break
    whole = len(octets) <= TEXT_OCTETS
    text = mime.read_text(octets[:TEXT_OCTETS], part.charset, markup=part.type == "text/html")
    return text.replace("\r\n", "\n").replace("\0", ""), whole
