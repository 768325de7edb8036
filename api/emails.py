"""Mail: list, search, read, change, delete. Always that of the account that asks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import reduce
from typing import Any, Final, NoReturn
from urllib.parse import urlencode

from api import mail_answers
from api.call import Call, Reply
from api.models_mail import (
    DeleteQuery,
    Email,
    EmailChange,
    EmailPage,
    EmailQuery,
    EmailRow,
    EmailsQuery,
)
from api.problems import Problem
from api.security import seal, unseal
from auth.scopes import Scope
from mail import query as search
from mail.digest import VERSION, Wish
from mail.errors import MessageDeleted, NoSuchMessage, OtherVersion
from mail.ident import UniqueId
from store.changes import Wanted
from store.listing import Place, Selection
from store.moves import SHOWN
from store.records import Folder, Listed

ALL_FIELDS: Final = frozenset(EmailRow.model_fields)
BY_ALIAS: Final = {
    field.serialization_alias or name: name for name, field in EmailRow.model_fields.items()
}


async def index(call: Call[EmailsQuery, None]) -> Reply:
    """GET /api/emails: newest first unless `sort` says otherwise."""
    query, listing, maildrop_id = call.query, call.parts.store.listing, call.account.maildrop_id
    chosen = selection(call)
    scope = "emails " + json.dumps([maildrop_id, *_filter(call)])
    after, back = None, False
    if query.cursor is not None:
        after, back = _position(unseal(call.parts.key, query.cursor, scope))
    # What stands before a place is what stands behind it in the other order.
    order = replace(chosen, ascending=not chosen.ascending) if back else chosen
    page = await listing.page(maildrop_id, order, after=after, limit=query.limit)
    items = page.items[::-1] if back else page.items
    following, before = page.next, chosen.place(items[0]) if items and after else None
    if back:
        following, before = chosen.place(items[-1]) if items else None, page.next
    cursors = {
        name: seal(call.parts.key, _octets(place, back=name == "prev"), scope)
        for name, place in (("next", following), ("prev", before))
        if place
    }
    links = [
        f'</api/emails?{_target(query, cursor)}>; rel="{name}"'  # RFC 8288
        for name, cursor in cursors.items()
    ]
    wanted = {BY_ALIAS[name] for name in query.fields} if query.fields else set(ALL_FIELDS)
    answer = EmailPage(
        items=[EmailRow.model_construct(wanted, **mail_answers.row(each)) for each in items],
        next=cursors.get("next"),
        prev=cursors.get("prev"),
    )
    if query.total:
        total = await listing.count(maildrop_id, chosen)
        answer = answer.model_copy(update={"total": total})
    return Reply(answer, headers={"Link": ", ".join(links)} if links else {})


def selection(call: Call[EmailsQuery, None]) -> Selection:
    """Raises BadQuery."""
    query = call.query
    wanted = [search.parse(query.q)] if query.q else []
    told = query.folder is not None or any(map(search.folders, wanted))
    if query.address is not None:
        wanted.append(search.DeliveredTo(query.address.lower()))
    if query.unread is not None:
        wanted.append(search.Is("unread", query.unread))
    if query.starred is not None:
        wanted.append(search.Is("starred", query.starred))
    if query.since is not None:
        wanted.append(search.Since(query.since))
    folders = SHOWN
    if not told or query.folder not in (None, "all"):
        folders = frozenset({Folder[(query.folder or "inbox").upper()]})
    return Selection(
        folders=folders,
        # Terms that stand beside each other are looked for together.
        query=reduce(_and, wanted, search.All()),
        addresses=call.who.addresses,
        by_size=query.sort.endswith("size"),
        ascending=not query.sort.startswith("-"),
    )


def _and(one: search.Query, other: search.Query) -> search.All:
    first = one.terms if isinstance(one, search.All) else (one,)
    second = other.terms if isinstance(other, search.All) else (other,)
    return search.All((*first, *second))


def _filter(call: Call[EmailsQuery, None]) -> list[object]:
    """Whatever decides which messages are in a list, and in what order."""
    query = call.query
    since = query.since.isoformat() if query.since else None
    return [
        query.folder or "inbox",
        *(query.q, query.address, query.unread, query.starred, since, query.sort),
        sorted(call.who.addresses) if call.who.addresses is not None else None,
    ]


def _target(query: EmailsQuery, cursor: str) -> str:
    """The query of the next page."""
    given = query.model_dump(exclude_unset=True, mode="json")
    if query.fields:
        given["fields"] = ",".join(sorted(query.fields))
    texts = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in given.items()
        if value is not None
    }
    return urlencode(texts | {"cursor": cursor})


def _octets(place: Place, *, back: bool) -> bytes:
    return bytes([back]) + place.size.to_bytes(8, "big") + place.uid.octets


def _position(octets: bytes) -> tuple[Place, bool]:
    return Place(int.from_bytes(octets[1:9], "big"), UniqueId(octets[9:])), bool(octets[0])


async def read(call: Call[EmailQuery, None]) -> Reply:
    """GET /api/emails/{id}: one message; reading it does not mark it as read."""
    return await _answer(call, await own(call), call.query)


async def change(call: Call[EmailQuery, EmailChange]) -> Reply:
    """PUT /api/emails/{id}: marks it read or starred, or moves it; its content never changes."""
    await apply(call)
    return await _answer(call, await own(call), call.query)


async def apply(call: Call[Any, EmailChange]) -> None:
    """Changes it. Raises what `own` raises, OtherVersion, OverQuota."""
    listed, body = await own(call), call.body
    wanted = Wanted(
        unread=body.unread,
        starred=body.starred,
        folder=Folder[body.folder.upper()] if body.folder else None,
    )
    try:
        await call.parts.store.messages.change(
            listed.message.maildrop_id,
            listed.message.uid,
            wanted,
            version=await _version(call, listed),
        )
    except OtherVersion:
        await _refuse(call)


async def remove(call: Call[DeleteQuery, None]) -> Reply:
    """DELETE /api/emails/{id}: to the trash, or for good. To do it again changes nothing."""
    final = call.query.final
    if final and Scope.MAIL_DELETE not in call.who.scopes:
        raise Problem("scope-missing", f"Final deletion needs the scope {Scope.MAIL_DELETE}.")
    try:
        listed = await own(call)
        await call.parts.store.messages.change(
            listed.message.maildrop_id,
            listed.message.uid,
            Wanted(folder=Folder.PURGED if final else Folder.TRASH),
            version=await _version(call, listed),
        )
    except MessageDeleted:
        pass
    except OtherVersion:
        await _refuse(call)
    return Reply(None)


async def own(call: Call[Any, Any]) -> Listed:
    """The message of the path, if the caller may see it. Raises NoSuchMessage, MessageDeleted."""
    try:
        uid = UniqueId.parse(call.path["id"])
    except ValueError as error:
        raise NoSuchMessage("no such message") from error
    listed = await call.parts.store.listing.message(call.account.maildrop_id, uid)
    addresses = call.who.addresses
    if addresses is not None and listed.message.recipient.lower() not in addresses:
        raise NoSuchMessage("no such message", uid=str(uid))
    return listed


async def _answer(call: Call[Any, Any], listed: Listed, query: EmailQuery) -> Reply:
    message, store = listed.message, call.parts.store
    opened = await store.messages.open(message.maildrop_id, message.uid)
    wish = Wish(text=query.body in (None, "text"), html=query.body in (None, "html"), measures=True)
    found = await store.content.digest(opened, wish)
    members = mail_answers.email(message, found, with_body=query.body != "none")
    if query.headers:
        members["headers"] = await mail_answers.header(opened)
    # What met a limit of time may be told otherwise the next time.
    etag = None if found.limit else _etag(listed, query)
    return Reply(Email(**members), etag=etag)


def _etag(listed: Listed, query: EmailQuery) -> str:
    """Strong: all that is told follows from the message, its modseq, our version and the query."""
    return f"{listed.message.modseq}-{VERSION}-{query.body or 'all'}{'-h' * query.headers}"


async def _version(call: Call[Any, Any], listed: Listed) -> int | None:
    """The modseq that If-Match asks for, of any form of the email; None: any will do."""
    match, none_match = call.preconditions.match, call.preconditions.none_match
    modseq = str(listed.message.modseq)
    if (match is not None and not _named(modseq, match)) or _named(modseq, none_match or ()):
        await _refuse(call)
    return None if match is None or "*" in match else listed.message.modseq


def _named(modseq: str, tags: Iterable[str]) -> bool:
    return any(tag == "*" or tag.partition("-")[0] == modseq for tag in tags)


async def _refuse(call: Call[Any, Any]) -> NoReturn:
    """412, with the email as it is now (RFC 9110 section 13.1.1)."""
    reply = await _answer(call, await own(call), EmailQuery(body="none"))
    assert isinstance(reply.body, Email)
    raise OtherVersion(
        "it has been changed since; this is what it is", current=json.loads(reply.body.octets())
    )
