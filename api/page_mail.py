"""The lists of mail, one message, and what is done with them."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from api import emails, shown
from api.call import Call, Reply
from api.mail_answers import email, header
from api.models import Query
from api.models_mail import DeleteQuery, EmailChange, EmailPage, EmailsQuery
from api.models_page import ListPlace, LiveQuery, MailForm, MessagePlace
from api.page_frame import BACK, answer, asked, framed, inner, to, words
from api.problems import Problem
from mail.digest import Wish
from mail.errors import BadQuery
from store.records import Listed

ROWS: Final = 50
SOURCE_OCTETS: Final = 256 * 1024  # shown of a message; all of it can be fetched
BULK: Final = 200
TITLES: Final = {
    "inbox": "Inbox",
    "archive": "Archive",
    "trash": "Trash",
    "held": "Held",
    "all": "All mail",
}
CHANGES: Final = {
    "read": EmailChange(unread=False),
    "unread": EmailChange(unread=True),
    "star": EmailChange(starred=True),
    "unstar": EmailChange(starred=False),
    "archive": EmailChange(folder="archive"),
    "trash": EmailChange(folder="trash"),
    "inbox": EmailChange(folder="inbox"),
}
_CONTEXT: Final = ("folder", "q", "cursor")
MOVES: Final = ("archive", "trash", "inbox")


async def index(call: Call[ListPlace, None]) -> Reply:
    """GET /: a folder, or what a search finds."""
    version = await _version(call)
    try:
        found = await _list(call, call.query)
    except BadQuery as failure:
        empty = EmailPage(items=[], next=None, prev=None)
        return await _screen(call, version, empty, failed=words(failure))
    return await _screen(call, version, found)


async def _version(call: Call[Any, Any]) -> int:
    """Before anything else is read: what changes while a page is made is then news to it."""
    return await call.parts.store.maildrops.modseq(call.account.maildrop_id)


async def _list(call: Call[Any, Any], place: ListPlace) -> EmailPage:
    query = asked(
        EmailsQuery, folder=place.folder, q=place.q or None, limit=ROWS, cursor=place.cursor
    )
    return await answer(emails.index, inner(call, query=query), EmailPage)


async def _screen(
    call: Call[Any, Any],
    version: int,
    found: EmailPage,
    *,
    message: dict[str, Any] | None = None,
    failed: tuple[int, str] = (200, ""),
) -> Reply:
    place: ListPlace = call.query
    status, text = failed
    folder = place.folder or ("" if place.q else "inbox")
    context = _context(place)
    return await framed(
        call,
        "mail.html",
        status=status,
        here=_here(place, folder),
        title=f"Search: {place.q}" if place.q else TITLES[folder or "inbox"],
        place=place,
        folder=folder,
        found=found,
        message=message,
        context=context,
        back=f"/?{context}" if context else "/",
        version=version,
        narrower=_narrower(place.q) if place.q and not found.items else "",
        done=_done(place),
        failed=text,
    )


def _here(place: ListPlace, folder: str) -> str:
    if place.q == "is:starred":
        return "starred"
    return f"q:{place.q}" if place.q else folder


def _context(place: ListPlace) -> str:
    """The query that names the list, and nothing of what was done in it."""
    given = {"folder": place.folder, "q": place.q, "cursor": place.cursor}
    return urlencode({name: text for name, text in given.items() if text})


def _narrower(q: str) -> str:
    """The same search without its last word."""
    return " ".join(q.split()[:-1])


def _done(place: ListPlace) -> dict[str, str] | None:
    """What was done, in words, and how it is undone."""
    if place.done is None:
        return None
    count = len(place.ids.split(",")) if place.ids else 0
    many = "1 message" if count == 1 else f"{count} messages"
    texts = {
        "archive": f"Archived {many}.",
        "trash": f"Moved {many} to the trash.",
        "inbox": f"Moved {many} to the inbox.",
        "delete": f"Deleted {many} for good.",
        "undone": "Undone.",
    }
    undo = place.was if place.was in MOVES and place.done in MOVES else None
    return {"text": texts[place.done], "undo": undo or "", "ids": place.ids}


async def show(call: Call[MessagePlace, None]) -> Reply:
    """GET /m/{id}: one message beside its list; reading it does not mark it as read."""
    version = await _version(call)
    listed = await emails.own(call)
    try:
        found = await _list(call, call.query)
    except (BadQuery, Problem):
        found = EmailPage(items=[], next=None, prev=None)
    return await _screen(call, version, found, message=await _message(call, listed))


async def _message(call: Call[MessagePlace, None], listed: Listed) -> dict[str, Any]:
    message, place, store = listed.message, call.query, call.parts.store
    opened = await store.messages.open(message.maildrop_id, message.uid)
    digest = await store.content.digest(opened, Wish(text=True, html=True, measures=True))
    view = place.view or ("html" if digest.html is not None else "text")
    members: dict[str, Any] = email(message, digest, with_body=False) | {
        "view": view,
        "remote": place.images == "1",
        "elsewhere": digest.elsewhere,
        "has_html": digest.html is not None,
        "text": digest.text or "",
        "code": shown.sign_in_code(message.subject, digest.text or ""),
    }
    if view == "headers":
        members["headers"] = await header(opened)
    if view == "source":
        source = b""
        async for block in opened.blocks():
            source += block
            if len(source) >= SOURCE_OCTETS:
                break
        members["source"] = source[:SOURCE_OCTETS].decode("utf-8", "replace")
        members["cut"] = message.size > SOURCE_OCTETS
    return members


async def change(call: Call[Query, MailForm]) -> Reply:
    """POST /m: marks, stars or moves messages, and goes back to where that was asked."""
    form = call.body
    back = form.back if BACK.fullmatch(form.back) else "/"
    verb, _, one = form.act.partition(":")
    undone = verb.startswith("undo")
    verb = verb.removeprefix("undo")
    ids = [one] if one else [each for each in form.ids.split(",") if each][:BULK]
    if verb != "delete" and verb not in CHANGES:
        raise Problem("invalid-body", errors=[("/act", "is nothing that can be done")])
    before = set()
    for each in ids:
        path = {"id": each}
        before.add((await emails.own(inner(call, path=path))).message.folder.name.lower())
        if verb == "delete":
            await emails.remove(inner(call, query=asked(DeleteQuery, final="true"), path=path))
        else:
            await emails.apply(inner(call, body=CHANGES[verb], path=path))
    if undone:
        return to(_list_of(back), done="undone")
    if verb not in (*MOVES, "delete") or not ids:
        return to(back)
    was = before.pop() if len(before) == 1 else ""
    told = {"done": verb, "ids": ",".join(ids)} | ({"was": was} if was in TITLES else {})
    return to(_list_of(back), **told)


def _list_of(back: str) -> str:
    """The list that a message was opened from: what is moved away is in it no more."""
    given = dict(parse_qsl(back.partition("?")[2]))
    kept: dict[str, str] = {name: given[name] for name in _CONTEXT if name in given}
    return f"/?{urlencode(kept)}" if kept else "/"


async def live(call: Call[LiveQuery, None]) -> Reply:
    """GET /live: the number of the last change, and how much is unread if it is another one."""
    store, maildrop_id = call.parts.store, call.account.maildrop_id
    told = {"version": await store.maildrops.modseq(maildrop_id)}
    if told["version"] != call.query.version:
        told["unread"], _ = await store.messages.waiting(maildrop_id)
    return Reply(json.dumps(told).encode())
