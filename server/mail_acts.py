"""What the command line does with a user's mail, by the functions that the API answers with."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from api import mail_answers
from api.models_mail import Email, EmailRow
from mail import query
from mail.digest import Wish
from mail.errors import NoSuchMessage, NotFound
from mail.ident import UniqueId
from store.changes import Wanted
from store.listing import Selection
from store.moves import SHOWN
from store.records import Folder

if TYPE_CHECKING:
    from server.admin import Answer, Desk


async def mail_list(
    desk: Desk, *, login: str | None, folder: str = "inbox", limit: int = 50
) -> Answer:
    """The newest messages of a folder."""
    return await _rows(desk, login, _folders(folder), query.All(), limit)


async def mail_search(desk: Desk, *, login: str | None, q: str, limit: int = 50) -> Answer:
    """In all folders, unless the search says otherwise."""
    return await _rows(desk, login, SHOWN, query.parse(q), limit)


async def mail_show(desk: Desk, *, login: str | None, uid: str) -> Answer:
    maildrop_id = await _maildrop(desk, login)
    listed = await desk.store.listing.message(maildrop_id, _uid(uid))
    opened = await desk.store.messages.open(maildrop_id, listed.message.uid)
    found = await desk.store.content.digest(opened, Wish(text=True, measures=True))
    email = Email(**mail_answers.email(listed.message, found, with_body=True))
    return email.model_dump(mode="json", by_alias=True, exclude_unset=True)


async def mail_raw(desk: Desk, *, login: str | None, uid: str) -> Answer:
    maildrop_id = await _maildrop(desk, login)
    listed = await desk.store.listing.message(maildrop_id, _uid(uid))
    opened = await desk.store.messages.open(maildrop_id, listed.message.uid)
    octets = b"".join([block async for block in opened.blocks()])
    return {"base64": base64.b64encode(octets).decode()}


async def mail_move(desk: Desk, *, login: str | None, uids: list[str], to: str) -> Answer:
    return await _move(desk, login, uids, Folder[to.upper()])


async def mail_rm(desk: Desk, *, login: str | None, uids: list[str], final: bool) -> Answer:
    """To the trash, or for good."""
    return await _move(desk, login, uids, Folder.PURGED if final else Folder.TRASH)


async def _rows(
    desk: Desk,
    login: str | None,
    folders: frozenset[Folder],
    wanted: query.Query,
    limit: int,
) -> Answer:
    maildrop_id = await _maildrop(desk, login)
    selection = Selection(folders=folders, query=wanted)
    rows: list[Mapping[str, Any]] = []
    after = None
    while len(rows) < limit:
        page = await desk.store.listing.page(
            maildrop_id, selection, after=after, limit=limit - len(rows)
        )
        rows += [
            EmailRow(**mail_answers.row(listed)).model_dump(mode="json", by_alias=True)
            for listed in page.items
        ]
        after = page.next
        if after is None:
            break
    return {"items": rows}


async def _move(desk: Desk, login: str | None, uids: Sequence[str], to: Folder) -> Answer:
    """All that are named are there, or none is moved."""
    maildrop_id = await _maildrop(desk, login)
    named = [_uid(uid) for uid in uids]
    for uid in named:
        await desk.store.listing.message(maildrop_id, uid)
    for uid in named:
        await desk.store.messages.change(maildrop_id, uid, Wanted(folder=to))
    return {"ids": [str(uid) for uid in named], "folder": to.name.lower()}


def _folders(name: str) -> frozenset[Folder]:
    return SHOWN if name == "all" else frozenset({Folder[name.upper()]})


def _uid(text: str) -> UniqueId:
    try:
        return UniqueId.parse(text)
    except ValueError as error:
        raise NoSuchMessage(f"{text[:40]} is no id of a message") from error


async def _maildrop(desk: Desk, login: str | None) -> int:
    """Of a user; without a login of the only one there is."""
    if login is not None:
        return (await desk.store.accounts.get(login)).maildrop_id
    accounts = await desk.store.accounts.all()
    if len(accounts) != 1:
        raise NotFound("there are several users; say whose mail: --user LOGIN")
    return accounts[0].maildrop_id


ACTS: Mapping[str, Callable[..., Any]] = {
    "mail list": mail_list,
    "mail search": mail_search,
    "mail show": mail_show,
    "mail raw": mail_raw,
    "mail move": mail_move,
    "mail rm": mail_rm,
}
