"""Lists of messages: one folder or all, everything or what a search finds, page by page.

The entries of a page are chosen from the index `message_folder` as far as it goes, folder by
folder; then their rows are read. A place in a list is the sort key and uid of an entry, so that
pages neither repeat nor leave out what was there all the time, whatever arrives meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select
from sqlalchemy.exc import DBAPIError

from mail.errors import MessageDeleted, NoSuchMessage, StorageBusy
from mail.ident import UniqueId
from mail.query import All, Query
from store import schema
from store.database import Database
from store.messages import COLUMNS, record
from store.moves import SHOWN
from store.prepared import Prepared
from store.queries import Conditions, needs_rows
from store.records import Folder, Listed
from store.search import PLAN, damaged

T = TypeVar("T")

EVERYTHING = All()
LOOKED_AT = 5000  # rows that one page looks at, where rows must be looked at


@dataclass(frozen=True, slots=True)
class Selection:
    """What is listed, and how. `addresses` None: whatever address it came to; else folded ones."""

    folders: frozenset[Folder] = SHOWN
    query: Query = EVERYTHING
    addresses: frozenset[str] | None = None
    by_size: bool = False
    ascending: bool = False

    def place(self, listed: Listed) -> Place:
        """Of one of its entries."""
        return Place(listed.message.size if self.by_size else 0, listed.message.uid)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Of an entry in a list; `size` is 0 where entries are not sorted by it."""

    size: int
    uid: UniqueId


@dataclass(frozen=True, slots=True)
class Page:
    """`next` is the place to go on behind, None at the end. A page before it may be empty."""

    items: list[Listed]
    next: Place | None


class Listing:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        maildrop_id: int,
        selection: Selection,
        *,
        after: Place | None = None,
        limit: int = 50,
        looked_at: int = LOOKED_AT,
    ) -> Page:
        """`looked_at`: no more rows of a folder, where rows must be read. Raises StorageBusy."""
        chosen = _Chosen(self._database, maildrop_id, selection, looked_at)
        return await self._read(partial(chosen.page, after, limit))

    async def count(self, maildrop_id: int, selection: Selection) -> int:
        """Raises StorageBusy."""
        chosen = _Chosen(self._database, maildrop_id, selection)
        return await self._read(chosen.count)

    async def message(self, maildrop_id: int, uid: UniqueId) -> Listed:
        """Raises NoSuchMessage, MessageDeleted for as long as it is known that there was one."""
        return await self._database.read(partial(_message, maildrop_id, uid))

    async def _read(self, query: Callable[[Connection], T]) -> T:
        try:
            return await self._database.read(query)
        except DBAPIError as error:
            if damaged(error):
                raise StorageBusy("the search index is damaged") from error
            raise


_M, _D = schema.message.c, schema.digest.c
_WITH_DIGEST = schema.message.outerjoin(schema.digest, and_(_D.home == _M.home, _D.uid == _M.uid))
_ROWS = select(*COLUMNS, _D.snippet, _D.attachments).select_from(_WITH_DIGEST)
_ONE = Prepared(_ROWS.where(_M.maildrop_id == bindparam("maildrop"), _M.uid == bindparam("uid")))


def _plain(*, ascending: bool, behind: bool) -> Prepared:
    """The next rows of one folder, all that is in it, in one statement: most pages are this one."""
    chosen = select(_M.uid).where(
        _M.maildrop_id == bindparam("maildrop"), _M.folder == bindparam("folder")
    )
    if behind:
        edge: ColumnElement[Any] = bindparam("after")
        chosen = chosen.where(_M.uid > edge if ascending else _M.uid < edge)
    order = _M.uid.asc() if ascending else _M.uid.desc()
    # The limit holds the index `message_folder` to its part, whatever a planner thinks of the rest.
    some = chosen.order_by(order).limit(bindparam("most")).subquery()
    return Prepared(
        _ROWS.join(some, some.c.uid == _M.uid)
        .where(_M.maildrop_id == bindparam("maildrop"))
        .order_by(order)
    )


_PLAIN = {
    (ascending, behind): _plain(ascending=ascending, behind=behind)
    for ascending in (False, True)
    for behind in (False, True)
}


class _Chosen:
    def __init__(
        self, database: Database, maildrop_id: int, selection: Selection, looked_at: int = 0
    ) -> None:
        self._looked_at = looked_at
        self._backend = database.backend
        self._maildrop_id = maildrop_id
        self._selection = selection

    def page(self, after: Place | None, limit: int, connection: Connection) -> Page:
        selection = self._selection
        plain = Selection(selection.folders, ascending=selection.ascending)
        if selection == plain and len(selection.folders) == 1:
            return self._plain(after, limit, connection)
        conditions = self._conditions(connection)
        slow = not selection.by_size and (
            selection.addresses is not None or needs_rows(selection.query)
        )
        places: list[Place] = []
        ends: list[Place] = []
        for folder in sorted(selection.folders):
            end = self._end(folder, after, connection) if slow else None
            ends += [end] if end else []
            places += self._places(folder, conditions, (after, end), limit + 1, connection)
        descending = not selection.ascending
        places.sort(reverse=descending)
        following = None
        if ends:
            # Behind the nearest end a folder was not looked at: there may be more before the rest.
            following = max(ends) if descending else min(ends)
            places = [
                place
                for place in places
                if (place >= following if descending else place <= following)
            ]
        if len(places) > limit:
            following = places[limit - 1]
        return Page(self._rows(places[:limit], connection), following)

    def _plain(self, after: Place | None, limit: int, connection: Connection) -> Page:
        [folder] = self._selection.folders
        values: dict[str, object] = {"maildrop": self._maildrop_id, "folder": int(folder)}
        values |= {"most": limit + 1} | ({"after": after.uid.octets} if after else {})
        found = _PLAIN[self._selection.ascending, after is not None].run(connection, values)
        rows = list(map(_listed, found))
        following = self._selection.place(rows[limit - 1]) if len(rows) > limit else None
        return Page(rows[:limit], following)

    def count(self, connection: Connection) -> int:
        conditions = self._conditions(connection)
        folders = _M.folder.in_(sorted(self._selection.folders))
        found: int = connection.execute(
            select(func.count()).select_from(schema.message).where(self._mine, folders, *conditions)
        ).scalar_one()
        return found

    @property
    def _mine(self) -> ColumnElement[bool]:
        return _M.maildrop_id == self._maildrop_id

    def _conditions(self, connection: Connection) -> list[ColumnElement[bool]]:
        selection = self._selection
        conditions = []
        if selection.query != EVERYTHING:
            for statement in PLAN.get(self._backend.name, ()):
                connection.exec_driver_sql(statement)
            conditions.append(Conditions(self._backend, self._maildrop_id).of(selection.query))
        if selection.addresses is not None:
            conditions.append(func.lower(_M.rcpt).in_(sorted(selection.addresses)))
        return conditions

    def _places(
        self,
        folder: Folder,
        conditions: Sequence[ColumnElement[bool]],
        between: tuple[Place | None, Place | None],
        limit: int,
        connection: Connection,
    ) -> list[Place]:
        """The next entries of a folder behind the first of two places, up to the second."""
        after, end = between
        statement = select(_M.uid, _M.size).where(self._mine, _M.folder == folder, *conditions)
        if after:
            statement = statement.where(self._behind(after))
        if end:
            last = end.uid.octets
            statement = statement.where(
                _M.uid <= last if self._selection.ascending else _M.uid >= last
            )
        keys: list[ColumnElement[Any]] = [_M.size, _M.uid] if self._selection.by_size else [_M.uid]
        order = keys if self._selection.ascending else [key.desc() for key in keys]
        rows = connection.execute(statement.order_by(*order).limit(limit))
        by_size = self._selection.by_size
        return [Place(size if by_size else 0, UniqueId(uid)) for uid, size in rows]

    def _behind(self, after: Place) -> ColumnElement[bool]:
        uid, size = after.uid.octets, after.size
        beyond = _M.uid > uid if self._selection.ascending else _M.uid < uid
        if not self._selection.by_size:
            return beyond
        other = _M.size > size if self._selection.ascending else _M.size < size
        return or_(other, and_(_M.size == size, beyond))

    def _end(self, folder: Folder, after: Place | None, connection: Connection) -> Place | None:
        """How far rows are looked at; None: to the end of the folder."""
        places = self._places(folder, (), (after, None), self._looked_at, connection)
        return places[-1] if len(places) == self._looked_at else None

    def _rows(self, places: Sequence[Place], connection: Connection) -> list[Listed]:
        if not places:
            return []
        uids = [place.uid.octets for place in places]
        rows = connection.execute(_ROWS.where(self._mine, _M.uid.in_(uids)))
        found = {each.message.uid: each for each in map(_listed, rows)}
        # In a transaction that sees one state, each is there.
        return [found[place.uid] for place in places if place.uid in found]


def _listed(row: Sequence[Any]) -> Listed:
    *columns, snippet, attachments = row
    count = None if attachments is None else json.loads(attachments)["count"]
    return Listed(record(columns), snippet, count)


def _message(maildrop_id: int, uid: UniqueId, connection: Connection) -> Listed:
    row = _ONE.run(connection, {"maildrop": maildrop_id, "uid": uid.octets}).one_or_none()
    listed = None if row is None else _listed(row)
    if listed and listed.message.folder in SHOWN:
        return listed
    tombstone = schema.tombstone.c
    gone = select(tombstone.at).where(
        tombstone.maildrop_id == maildrop_id, tombstone.uid == uid.octets
    )
    if listed or connection.execute(gone).first():
        raise MessageDeleted("it has been deleted", uid=str(uid))
    raise NoSuchMessage("no such message", uid=str(uid))
