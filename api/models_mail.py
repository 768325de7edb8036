"""Bodies and queries of mail."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from api.models import Answer, Body, Number, Query, Truth

TargetName = Literal["inbox", "archive", "trash"]
FolderName = Literal["inbox", "archive", "trash", "held"]

_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z", re.ASCII
)


def _moment(text: str) -> datetime:
    found = _MOMENT.fullmatch(text)
    if found:
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
        except ValueError:
            found = None
        else:
            if moment.year >= 1970:
                return moment
    raise ValueError("must be a time as 2026-05-01T10:00:00Z")


def _names(text: str) -> frozenset[str]:
    """Of members of a row."""
    wanted = frozenset(text.split(","))
    known = {field.serialization_alias or name for name, field in EmailRow.model_fields.items()}
    if unknown := wanted - known:
        raise ValueError(f"there is no member {min(unknown)[:80]}; {', '.join(sorted(known))}")
    return wanted


class EmailsQuery(Query):
    """`folder` None: the inbox, unless `q` says itself where to look."""

    folder: Literal["inbox", "archive", "trash", "held", "all"] | None = None
    q: str | None = None
    address: Annotated[str, Field(min_length=3, max_length=320)] | None = None
    unread: Truth | None = None
    starred: Truth | None = None
    since: Annotated[datetime, BeforeValidator(_moment)] | None = None
    sort: Literal["-received_at", "received_at", "-size", "size"] = "-received_at"
    fields: Annotated[frozenset[str], BeforeValidator(_names)] | None = None
    limit: Annotated[Number, Field(ge=1, le=200)] = 50
    cursor: str | None = None
    total: Truth = False


class EmailQuery(Query):
    """`body` None: text and HTML."""

    body: Literal["text", "html", "none"] | None = None
    headers: Truth = False


class DeleteQuery(Query):
    final: Truth = False


def _one(text: str) -> bool:
    if text != "1":
        raise ValueError("must be 1")
    return True


class AttachmentQuery(Query):
    inline: Annotated[bool, BeforeValidator(_one)] = False


class EmailChange(Body):
    unread: bool | None = None
    starred: bool | None = None
    folder: TargetName | None = None


class Mailbox(Answer):
    """Either may be empty."""

    name: str
    address: str


Verdict = Literal["unchecked", "verified", "failed", "unproven", "unknown"]


class Auth(Answer):
    """Who a message is really from. `domain` is the one in From, where something is known of it."""

    verdict: Verdict
    domain: str | None
    suspected_spam: bool
    reasons: str


class EmailRow(Answer):
    """`snippet` and `attachment_count` are null until somebody has looked into the message, which
    takes seconds after it has come; the count stays null where a limit hides the parts.
    """

    id: str
    folder: FolderName
    unread: bool
    starred: bool
    from_: Mailbox = Field(serialization_alias="from")
    to: list[Mailbox]
    delivered_to: list[str]
    subject: str
    snippet: str | None
    received_at: datetime
    size: int
    attachment_count: int | None
    origin: list[str]
    repeat: bool
    auth: Auth


class HeaderField(Answer):
    """`raw` is all behind the colon, as stored; octets that are no UTF-8 show as U+FFFD. `value` is
    for people to read.
    """

    name: str
    value: str
    raw: str


class Content(Answer):
    """`html` is made safe. Null: there is none, or it was not asked for, or is beyond a limit."""

    text: str | None
    html: str | None


class Attachment(Answer):
    """`n` is its place in the message, from 1; `sniffed_type` is by its octets, null if unknown."""

    n: int
    name: str
    type: str
    sniffed_type: str | None
    size: int
    sha256: str
    content_id: str | None


class Email(EmailRow):
    """`limit` names the limit that the content has met, if it has: what is beyond it is null, empty
    or cut. The message as it is can be had under /raw.
    """

    date: datetime | None
    message_id: str | None
    cc: list[Mailbox]
    reply_to: list[Mailbox]
    body: Content | None
    attachments: list[Attachment]
    limit: str | None
    headers: Annotated[list[HeaderField], Field(default_factory=list)]
    purge_at: datetime | None = None


class EmailPage(Answer):
    items: list[EmailRow]
    next: str | None
    prev: str | None
    total: int = 0


class HeaderPage(Answer):
    items: list[HeaderField]
    next: None
    prev: None


class AttachmentPage(Answer):
    items: list[Attachment]
    next: None
    prev: None
