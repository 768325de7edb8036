"""The octets of a message and of its attachments, as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from api import mail_answers
from api.call import Blocks, Call, Reply
from api.emails import own
from api.models import Query
from api.models_mail import AttachmentPage, AttachmentQuery, HeaderPage
from api.problems import Problem
from mail import mime
from mail.digest import Attachment, Digest, Wish
from mail.parts import RASTER
from store.messages import OpenMessage


async def raw(call: Call[Query, None]) -> Reply:
    """GET /api/emails/{id}/raw: what RETR sends, before dot-stuffing."""
    opened = await _open(call)
    uid = opened.message.uid
    return Reply(
        Blocks(opened.message.size, opened.blocks),
        content_type="message/rfc822",
        etag=str(uid),  # the octets of a message never change
        headers={"Content-Disposition": f'attachment; filename="{uid}.eml"'},
    )


async def headers(call: Call[Query, None]) -> HeaderPage:
    """GET /api/emails/{id}/headers: its header fields in their order."""
    fields = await mail_answers.header(await _open(call))
    return HeaderPage(items=fields, next=None, prev=None)


async def index(call: Call[Query, None]) -> AttachmentPage:
    """GET /api/emails/{id}/attachments: none of a message that is beyond a limit."""
    found = await _digest(call, await _open(call))
    return AttachmentPage(items=mail_answers.attachments(found), next=None, prev=None)


async def read(call: Call[AttachmentQuery, None]) -> Reply:
    """GET /api/emails/{id}/attachments/{n}: never in a form that a browser would run."""
    opened = await _open(call)
    found = await _digest(call, opened)
    by_number = {str(n): each for n, each in enumerate(found.attachments or (), 1)}
    attachment = by_number.get(call.path["n"])
    if attachment is None:
        raise Problem("not-found")
    inline = call.query.inline and attachment.sniffed in RASTER
    return Reply(
        Blocks(attachment.size, partial(_decoded, opened, attachment)),
        content_type=attachment.sniffed if inline else "application/octet-stream",
        etag=attachment.sha256 + "-i" * inline,
        headers={
            "Content-Disposition": mail_answers.disposition(attachment, inline=inline),
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "Cross-Origin-Resource-Policy": "same-origin",
        },
    )


async def _open(call: Call[Any, Any]) -> OpenMessage:
    message = (await own(call)).message
    return await call.parts.store.messages.open(message.maildrop_id, message.uid)


async def _digest(call: Call[Any, Any], opened: OpenMessage) -> Digest:
    return await call.parts.store.content.digest(opened, Wish(measures=True))


async def _decoded(opened: OpenMessage, attachment: Attachment) -> AsyncIterator[bytes]:
    """Exactly as many octets as were counted when it was measured."""
    decoder = mime.decoder(attachment.encoding)
    at = 0
    async for block in opened.blocks():
        part = block[max(attachment.start - at, 0) : max(attachment.end - at, 0)]
        if part:
            yield decoder.feed(part)
        at += len(block)
        if at >= attachment.end:
            break
    yield decoder.end()
