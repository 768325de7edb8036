"""What the API says of messages: rows of lists, whole emails, header fields, file names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from api.models_mail import Attachment, Auth, Content, HeaderField, Mailbox, Verdict
from mail import digest, facts
from mail.digest import Digest
from mail.facts import HEADER_OCTETS
from mail.people import mailboxes
from store.messages import OpenMessage
from store.records import Authentication, Listed, Message, Proof

HEADER_FIELDS: Final = 1000

_FOLD_END = re.compile(rb"\r\n(?![ \t])")
_PLAIN_NAME = re.compile(r"[^A-Za-z0-9 ._()+-]")


def row(listed: Listed) -> dict[str, Any]:
    """The members of a row."""
    message = listed.message
    senders = _people(message.from_text)
    return {
        "id": str(message.uid),
        "folder": message.folder.name.lower(),
        "unread": message.unread,
        "starred": message.starred,
        "from_": senders[0] if senders else Mailbox(name=message.from_text, address=""),
        "to": _people(message.to_text),
        "delivered_to": [message.recipient],
        "subject": message.subject,
        "snippet": listed.snippet,
        "received_at": message.arrived,
        "size": message.size,
        "attachment_count": listed.attachments,
        "origin": list(message.origin),
        "repeat": message.repeat,
        "auth": _auth(message.authentication),
    }


VERDICTS: Final[dict[Proof, Verdict]] = {
    Proof.UNCHECKED: "unchecked",
    Proof.VERIFIED: "verified",
    Proof.FAILED: "failed",
    Proof.UNPROVEN: "unproven",
    Proof.UNKNOWN: "unknown",
}


def _auth(found: Authentication) -> Auth:
    return Auth(
        verdict=VERDICTS[found.proof],
        domain=found.domain or None,
        suspected_spam=found.suspected,
        reasons=found.reasons,
    )


def email(message: Message, found: Digest, *, with_body: bool) -> dict[str, Any]:
    """The members of a whole email, its header fields excepted."""
    count = None if found.attachments is None else len(found.attachments)
    listed = Listed(message, found.snippet, count)
    members = row(listed) | {
        "date": message.sent_at,
        "message_id": message.message_id or None,
        "cc": _mailboxes(found.cc),
        "reply_to": _mailboxes(found.reply_to),
        "body": Content(text=found.text, html=found.html) if with_body else None,
        "attachments": attachments(found),
        "limit": found.limit,
    }
    if found.to:  # the list has its beginning alone
        members["to"] = _mailboxes(found.to)
    if message.expires_at:
        members["purge_at"] = message.expires_at
    return members


def attachments(found: Digest) -> list[Attachment]:
    return [
        Attachment(
            n=number,
            name=each.name,
            type=each.type,
            sniffed_type=each.sniffed or None,
            size=each.size,
            sha256=each.sha256,
            content_id=each.content_id or None,
        )
        for number, each in enumerate(found.attachments or (), 1)
    ]


def disposition(attachment: digest.Attachment, *, inline: bool) -> str:
    """RFC 6266: a name that any client can read, and the true one (RFC 8187)."""
    plain = _PLAIN_NAME.sub("_", attachment.name)
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(attachment.name, safe='')}"


# A list shows the same people again and again; each text is at most 500 characters.
@lru_cache(2000)
def _people(text: str) -> list[Mailbox]:
    return _mailboxes(mailboxes(text))


def _mailboxes(people: Iterable[tuple[str, str]]) -> list[Mailbox]:
    return [Mailbox(name=name, address=address) for name, address in people]


async def header(opened: OpenMessage) -> list[HeaderField]:
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
                value=facts.decode(rest, HEADER_OCTETS),
                raw=rest.decode("utf-8", "replace"),
            )
        )
    return fields
