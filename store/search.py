"""Finding messages by their words, with the full-text index that each engine has.

A document is a row of `search_doc`. Its words are the token of its maildrop and then, each behind
a "w", folded words (`mail.text`). So a maildrop's token is no word of anybody, nothing is a stop
word, and words of two letters are long enough for MariaDB. Words are letters and digits: nothing
that is searched for can be an operator of a query. To whom a message belongs is decided by the
row's maildrop_id; the token spares a look at the entries of other maildrops.

The index follows the rows within the same transaction. Rows go through `remember`, `forget` and
`forget_all` alone: on SQLite the index is a table of its own that must be told.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    column,
    delete,
    insert,
    select,
    table,
    text,
)
from sqlalchemy.exc import DBAPIError

from mail.errors import StorageBusy
from mail.ident import UniqueId, row_id_text
from mail.text import fold
from mail.text import words as words_in
from store import schema
from store.database import Database
from store.engines import Backend
from store.messages import COLUMNS, record
from store.moves import SHOWN
from store.records import Folder, Message

FOLLOWER = "search"  # follower.name
QUERY_WORDS = 20  # no more of what is searched for is looked at


@dataclass(frozen=True, slots=True)
class Sought:
    """What a message must have, all of it, without regard to case and accents.

    Words stand in subject, people or text; the last may be the beginning of one. Parts of header
    facts may begin and end within a word. To seek nothing, or nothing but signs, finds nothing.
    """

    words: Sequence[str] = ()
    from_text: str = ""
    to_text: str = ""
    subject: str = ""

    def terms(self) -> list[str]:
        return [word for each in self.words for word in words_in(each)][:QUERY_WORDS]

    def parts(self) -> list[ColumnElement[bool]]:
        doc = schema.search_doc.c
        facts = {
            doc.from_text: self.from_text,
            doc.to_text: self.to_text,
            doc.subject: self.subject,
        }
        return [
            fact.contains(part, autoescape=True)
            for fact, wanted in facts.items()
            if (part := _folded(wanted, 500))
        ]


@dataclass(frozen=True, slots=True)
class Document:
    """What is searched of one message: a row of `search_doc`."""

    maildrop_id: int
    uid: bytes
    from_text: str
    to_text: str
    subject: str
    words: str

    @classmethod
    def of(cls, message: Any, body: str) -> Document:
        """From a row of `message` and its text."""
        shown = f"{message.subject} {message.from_text} {message.to_text} {body}"
        words = ["w" + word for word in words_in(shown)]
        return cls(
            maildrop_id=message.maildrop_id,
            uid=message.uid,
            from_text=_folded(message.from_text, 320),
            to_text=_folded(message.to_text, 500),
            subject=_folded(message.subject, 500),
            words=" ".join([_token(message.maildrop_id), *words]),
        )


class Search:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self,
        maildrop_id: int,
        sought: Sought,
        *,
        folder: Folder | None = None,
        before: UniqueId | None = None,
        limit: int = 50,
    ) -> list[Message]:
        """At most `limit` messages, newest first, that arrived before `before`.

        Without a folder, all but purged messages are searched. What has just arrived is found
        once the indexer has seen it. Raises StorageBusy.
        """
        backend = self._database.backend
        query = _query(backend, maildrop_id, sought, before)
        if query is None:
            return []
        folders = sorted(SHOWN) if folder is None else [folder]
        query = query.where(schema.message.c.folder.in_(folders)).limit(limit)
        try:
            return await self._database.read(partial(_find, backend, maildrop_id, query))
        except DBAPIError as error:
            if damaged(error):
                raise StorageBusy("the search index is damaged") from error
            raise


def remember(connection: Connection, backend: Backend, documents: Sequence[Document]) -> None:
    """Adds documents that are not there yet."""
    rows = [asdict(document) for document in documents]
    if backend.name == "sqlite":
        connection.execute(_ADD_ROW, rows)
        connection.execute(_ADD_ENTRY, rows)
    else:
        connection.execute(insert(schema.search_doc), rows)


def forget(
    connection: Connection, backend: Backend, maildrop_id: int, uids: Sequence[bytes]
) -> None:
    """Removes the documents of some hundreds of messages; of those that have none, nothing."""
    doc = schema.search_doc.c
    chosen = (doc.maildrop_id == maildrop_id, doc.uid.in_(uids))
    if backend.name == "sqlite":
        # It is told the words that go: it does not keep them by message.
        entries = select(text("'delete', search_index_id, words")).select_from(schema.search_doc)
        connection.execute(insert(_INDEX).from_select(_INDEX.c.keys(), entries.where(*chosen)))
    connection.execute(delete(schema.search_doc).where(*chosen))


def forget_all(connection: Connection, backend: Backend) -> None:
    """Removes all documents; the indexer begins again."""
    connection.execute(delete(schema.search_doc))
    connection.execute(delete(schema.follower).where(schema.follower.c.name == FOLLOWER))
    if backend.name == "sqlite":
        connection.execute(text("INSERT INTO search_index (search_index) VALUES ('delete-all')"))


def damaged(error: DBAPIError) -> bool:
    """Whether it is the index that is damaged: `forget_all` mends that."""
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_CORRUPT_VTAB


def _query(
    backend: Backend, maildrop_id: int, sought: Sought, before: UniqueId | None
) -> Select[bytes] | None:
    """Ids of messages, newest first; None for what finds nothing."""
    terms, parts = sought.terms(), sought.parts()
    if not (terms or parts) or (any(sought.words) and not terms):
        return None
    doc, message = schema.search_doc.c, schema.message.c
    hits = select(doc.maildrop_id, doc.uid).where(*parts)
    if before:
        hits = hits.where(doc.uid < before.octets)
    hit: FromClause = hits.subquery("hit")
    if terms:
        # The index is asked first of all: to walk through the maildrop would be long for a rare
        # word.
        cte = hits.where(_match(backend, maildrop_id, terms)).cte("hit")
        for name in ("sqlite", "postgresql"):
            cte = cte.prefix_with("MATERIALIZED", dialect=name)
        hit = cte
    return (
        select(hit.c.uid)
        .join(
            schema.message,
            (message.maildrop_id == hit.c.maildrop_id) & (message.uid == hit.c.uid),
        )
        .where(hit.c.maildrop_id == maildrop_id)
        .order_by(hit.c.uid.desc())
    )


# For the transaction of one search.
_PLAN = {
    "postgresql": (
        # The plan goes by the words: those of one search are no guide to the next.
        "SET LOCAL plan_cache_mode = force_custom_plan",
        # A read of the whole table would take all documents apart again.
        "SET LOCAL enable_seqscan = off",
    )
}


def _find(
    backend: Backend, maildrop_id: int, query: Select[bytes], connection: Connection
) -> list[Message]:
    for statement in _PLAN.get(backend.name, ()):
        connection.exec_driver_sql(statement)
    message = schema.message
    # Ids first: what is sorted should be narrow.
    found = connection.execute(query).scalars().all()
    rows = connection.execute(
        select(*COLUMNS)
        .where(message.c.maildrop_id == maildrop_id, message.c.uid.in_(found))
        .order_by(message.c.uid.desc())
    )
    return [record(row) for row in rows]


# By engine: a word, the last word, what joins them, and the condition.
_MATCH = {
    "sqlite": (
        '"{}"',
        '"{}" *',
        " AND ",
        """search_doc.search_index_id IN
        (SELECT rowid FROM search_index WHERE search_index MATCH :words)""",
    ),
    "postgresql": (
        "'{}'",
        "'{}':*",
        " & ",
        "array_to_tsvector(string_to_array(search_doc.words, ' ')) @@ CAST(:words AS tsquery)",
    ),
    "mariadb": (
        "+{}",
        "+{}*",
        " ",
        "MATCH (search_doc.words) AGAINST (:words IN BOOLEAN MODE)",
    ),
}


def _match(backend: Backend, maildrop_id: int, words: Sequence[str]) -> ColumnElement[bool]:
    whole, beginning, joint, condition = _MATCH[backend.name]
    *others, last = ("w" + word for word in words)
    terms = [whole.format(term) for term in (_token(maildrop_id), *others)]
    query = joint.join([*terms, beginning.format(last)])
    return text(condition).bindparams(words=query)  # type: ignore[return-value]


def _token(maildrop_id: int) -> str:
    return "m" + row_id_text(maildrop_id)


def _folded(fact: str, length: int) -> str:
    """A header fact, or a part of one, in the form that is compared."""
    sound = fact[:length].encode("utf-8", "replace").decode().replace("\0", " ")
    return " ".join(fold(sound).split())[:length]


# SQLite: the index is an FTS5 table whose content is in `search_doc`, under a number.

_INDEX = table("search_index", column("search_index"), column("rowid"), column("words"))
_ADD_ROW = text(
    "INSERT INTO search_doc"
    " (maildrop_id, uid, from_text, to_text, subject, words, search_index_id)"
    " SELECT :maildrop_id, :uid, :from_text, :to_text, :subject, :words,"
    " coalesce(max(search_index_id), 0) + 1 FROM search_doc"
)
_ADD_ENTRY = text(
    "INSERT INTO search_index (rowid, words)"
    " SELECT search_index_id, words FROM search_doc WHERE maildrop_id = :maildrop_id AND uid = :uid"
)
