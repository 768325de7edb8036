"""What is told of a message's content: its text, its HTML made safe, its attachments.

This runs where a stranger's message can do no harm (`store.content`); values in, values out.
"""

from __future__ import annotations

import base64
import html as entities
from dataclasses import dataclass

from mail import facts, header, html, parts
from mail.mime import LimitReached
from mail.parts import Part
from mail.people import Mailbox, mailboxes
from mail.text import plain, words

VERSION = 1  # raised when the same message is told otherwise than before
ADDRESSES_OCTETS = 64 * 1024  # of one field
PICTURES_OCTETS = 2 * 1024 * 1024  # of those that are shown within the HTML of one message

_ENDINGS = {
    "image/avif": ".avif",
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "application/pdf": ".pdf",
    "message/rfc822": ".eml",
    "text/calendar": ".ics",
    "text/html": ".html",
    "text/plain": ".txt",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted besides what costs little."""

    text: bool = False
    html: bool = False
    measures: bool = False
    pictures: bool = False  # those that came along stand in the HTML itself
    remote: bool = False  # those that lie elsewhere stay named in it
    words: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """`start`, `end` and `encoding` say where in the message it is, `size` and the rest what."""

    name: str
    type: str
    content_id: str
    start: int
    end: int
    encoding: str
    size: int = 0
    sha256: str = ""
    sniffed: str = ""


@dataclass(frozen=True, slots=True)
class Digest:
    """`limit` names the first limit that was met: what is behind it is None, empty or cut.

    `attachments` None: not even how many there are is known. `elsewhere`: pictures may lie on
    other machines. `words`: those of the text, folded, each once and with a space between them.
    """

    limit: str | None = None
    snippet: str = ""
    text: str | None = None
    html: str | None = None
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    attachments: tuple[Attachment, ...] | None = None
    elsewhere: bool = False
    words: str = ""


def digest(content: bytes, wish: Wish) -> Digest:
    """Of a canonical message. Never raises for what a message holds."""
    block = header.header_of(content[: facts.HEADER_OCTETS])
    told: list[str] = []
    text = markup = None
    attachments = None
    elsewhere = False
    try:
        arranged = parts.arrange(parts.read(content))
        attachments = tuple(
            _attachment(content, part, number, measured=wish.measures)
            for number, part in enumerate(arranged.attachments, 1)
        )
        text = _text(content, arranged.text, told)
        if wish.html and (found := _html(content, arranged.html, told)) is not None:
            pictures = _pictures(content, arranged.attachments) if wish.pictures else None
            markup, elsewhere = html.clean(found, pictures, remote=wish.remote)
    except LimitReached as reached:
        told.append(reached.name)
    return Digest(
        limit=told[0] if told else None,
        snippet=html.snippet(text or ""),
        text=text if wish.text else None,
        html=markup,
        to=_people(block, b"to"),
        cc=_people(block, b"cc"),
        reply_to=_people(block, b"reply-to"),
        attachments=attachments,
        elsewhere=elsewhere,
        words=" ".join(words(plain(content))) if wish.words else "",
    )


def _people(block: bytes, name: bytes) -> tuple[Mailbox, ...]:
    """Of the first field of that name."""
    [found] = header.fields(block, name, most=1)
    if not found:
        return ()
    value = found[0].value(ADDRESSES_OCTETS + 1)  # one more tells that it goes on
    return tuple(mailboxes(facts.decode(value, ADDRESSES_OCTETS)))


def _text(content: bytes, chosen: list[Part], told: list[str]) -> str | None:
    """None where there is no text; what is beyond a limit is not shown, and told."""
    texts = []
    for part in chosen:
        text, whole = parts.text_of(content, part)
        if not whole:
            told.append("text-size")
        try:
            texts.append(html.text(text) if part.type == "text/html" else text)
        except LimitReached as reached:
            told.append(reached.name)
        if sum(map(len, texts)) > parts.TEXT_OCTETS:
            told.append("text-size")
            break
    return "\n".join(texts)[: parts.TEXT_OCTETS] if texts else None


def _html(content: bytes, chosen: list[Part], told: list[str]) -> str | None:
    """None for a message that is text alone: there is nothing to be made safe."""
    if not any(part.type == "text/html" for part in chosen):
        return None
    markup = ""
    for part in chosen:
        text, whole = parts.text_of(content, part)
        if not whole or len(markup) > html.CHARACTERS:
            told.append("html-size")
            return None
        markup += text if part.type == "text/html" else f"<pre>{entities.escape(text)}</pre>"
    return markup


def _pictures(content: bytes, attached: list[Part]) -> dict[str, str]:
    """By Content-ID: the pictures that came along, as URLs that hold them."""
    found: dict[str, str] = {}
    left = PICTURES_OCTETS
    for part in attached:
        if not part.content_id or part.end - part.start > 2 * left:
            continue
        octets = b"".join(parts.blocks(content, part))
        kind = parts.sniff(octets[:16])
        if kind in parts.RASTER and len(octets) <= left:
            left -= len(octets)
            url = f"data:{kind};base64,{base64.b64encode(octets).decode()}"
            found.setdefault(part.content_id, url)
    return found


def _attachment(content: bytes, part: Part, number: int, *, measured: bool) -> Attachment:
    found = parts.measure(content, part) if measured else None
    return Attachment(
        name=part.name or f"attachment-{number}{_ENDINGS.get(part.type, '')}",
        type=part.type,
        content_id=part.content_id,
        start=part.start,
        end=part.end,
        encoding=part.encoding,
        size=found.size if found else 0,
        sha256=found.sha256 if found else "",
        sniffed=found.sniffed if found else "",
    )
