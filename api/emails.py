"""Mail: list, read, take as it is. Always that of the account that asks."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from api.call import Blocks, Call, Reply
from api.models import (
    Email,
    EmailPage,
    EmailQuery,
    EmailRow,
    EmailsQuery,
    HeaderField,
    Mailbox,
    Query,
)
from api.security import seal, unseal
from mail.errors import NoSuchMessage
from mail.facts import HEADER_OCTETS
from mail.ident import UniqueId
from store.messages import OpenMessage
from store.records import Folder, Message

HEADER_FIELDS = 1000

_PIECE = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^",;])+', re.DOTALL)
_ANGLE = re.compile(r"<([^<>]*)>")
_BARE = re.compile(r'[^\s<>()",;]+@[^\s<>()",;]+')
_GROUP = re.compile(r'[^"<>@:]*:')
_FOLD_END = re.compile(rb"\r\n(?![ \t])")


async def index(call: Call[EmailsQuery, None]) -> Reply:
    """GET /api/emails: newest first."""
    query, parts = call.query, call.parts
    maildrop_id = call.account.maildrop_id
    scope = f"emails {maildrop_id} {query.folder}"
    before = None if query.cursor is None else UniqueId(unseal(parts.key, query.cursor, scope))
    found = await parts.store.messages.page(
        maildrop_id, Folder[query.folder.upper()], before=before, limit=query.limit + 1
    )
    shown = found[: query.limit]
    following, link = None, {}
    if len(found) > query.limit:
        following = seal(parts.key, shown[-1].uid.octets, scope)
        place = urlencode({"folder": query.folder, "limit": query.limit, "cursor": following})
        link = {"Link": f'</api/emails?{place}>; rel="next"'}  # RFC 8288
    page = EmailPage(items=[EmailRow(**_row(each)) for each in shown], next=following, prev=None)
    return Reply(page, headers=link)


async def read(call: Call[EmailQuery, None]) -> Reply:
    """GET /api/emails/{id}"""
    messages, maildrop_id, uid = call.parts.store.messages, call.account.maildrop_id, _uid(call)
    if call.query.headers:
        opened = await messages.open(maildrop_id, uid)
        fields = {"headers": await _header(opened)}
        return Reply(_email(opened.message).model_copy(update=fields), versioned=True)
    return Reply(_email(await messages.read(maildrop_id, uid)), versioned=True)


async def raw(call: Call[Query, None]) -> Reply:
    """GET /api/emails/{id}/raw: what RETR sends, before dot-stuffing."""
    uid = _uid(call)
    opened = await call.parts.store.messages.open(call.account.maildrop_id, uid)
    return Reply(
        Blocks(opened.message.size, opened.blocks),
        content_type="message/rfc822",
        etag=str(uid),  # the octets of a message never change
        headers={
            "Accept-Ranges": "none",
            "Content-Disposition": f'attachment; filename="{uid}.eml"',
        },
    )


def _uid(call: Call[Any, Any]) -> UniqueId:
    try:
        return UniqueId.parse(call.path["id"])
    except ValueError as error:
        raise NoSuchMessage("no such message") from error


def _email(message: Message) -> Email:
    return Email(**_row(message), date=message.sent_at, message_id=message.message_id or None)


def _row(message: Message) -> dict[str, Any]:
    senders = mailboxes(message.from_text)
    return {
        "id": str(message.uid),
        "folder": message.folder.name.lower(),
        "unread": message.unread,
        "starred": message.starred,
        "from_": senders[0] if senders else Mailbox(name=message.from_text, address=""),
        "to": mailboxes(message.to_text),
        "delivered_to": [message.recipient],
        "subject": message.subject,
        "received_at": message.arrived,
        "size": message.size,
        "origin": ["smtp"],
    }


def mailboxes(text: str) -> list[Mailbox]:
    """The mailboxes that the text of an address field shows (RFC 5322 section 3.4).

    For people to read: the text is decoded already, so that a name may hold commas, and may be cut.
    """
    found: list[Mailbox] = []
    name = ""
    for match in _PIECE.finditer(text):
        group = _GROUP.match(match[0])
        piece = match[0][group.end() if group else 0 :].strip()
        angle, bare = _ANGLE.search(piece), _BARE.search(piece)
        if angle and angle[1].strip():
            name = _plain(name + piece[: angle.start()])
            found.append(Mailbox(name=name, address=angle[1].strip()))
        elif bare and "<" not in piece:
            found.append(Mailbox(name="", address=bare[0]))
        elif piece:
            name += f"{piece}, "
            continue
        name = ""
    return found


def _plain(phrase: str) -> str:
    """A display name without its quotes."""
    phrase = phrase.strip()
    if len(phrase) > 1 and phrase.startswith('"') and phrase.endswith('"'):
        return re.sub(r"\\(.)", r"\1", phrase[1:-1])
    return phrase


async def _header(opened: OpenMessage) -> list[HeaderField]:
    """The fields in their order; a line that is no field has no name."""
    wanted = min(opened.message.header_size, HEADER_OCTETS)
    octets = b""
    async for block in opened.blocks():
        octets += block
        if len(octets) >= wanted:
            break
    fields = []
    for line in _FOLD_END.split(octets[:wanted].rstrip(b"\r\n"))[:HEADER_FIELDS]:
        name, colon, rest = line.partition(b":")
        if not colon:
            name, rest = b"", line
        fields.append(
            HeaderField(
                name=name.decode("ascii", "replace").rstrip(),
                raw=rest.decode("utf-8", "replace"),
            )
        )
    return fields
