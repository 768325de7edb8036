"""Finding messages by their words, with the full-text index that each engine has.

A document is a row of `search_doc`. Its words are the token of its maildrop and then, each behind
a "w", folded words (`mail.text`). So a maildrop's token is no word of anybody, nothing is a stop
word, and words of two letters are long enough for MariaDB. Words are letters and digits: nothing
that is searched for can be an operator of a query. To whom a message belongs is decided by the
row's maildrop_id; the token spares a look at the entries of other maildrops.

The index follows the rows within the same transaction. Rows go through `remember`, `forget` and
`forget_all` alone: on SQLite the index is a table of its own that must be told, with the very words
when a document goes. Only a search for a phrase reads them there too: they are kept compressed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    delete,
    insert,
    literal_column,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from mail.ident import row_id_text
from mail.text import fold
from mail.text import words as words_in
from store import schema
from store.engines import Backend
from store.packed_words import packed, unpacked

FOLLOWER = "search"  # follower.name


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
        """From a row of `message` and the words of its text."""
        facts = words_in(f"{message.subject} {message.from_text} {message.to_text}")
        words = ["w" + word for word in dict.fromkeys([*facts, *body.split()])]
        return cls(
            maildrop_id=message.maildrop_id,
            uid=message.uid,
            from_text=folded(message.from_text, 320),
            to_text=folded(message.to_text, 500),
            subject=folded(message.subject, 500),
            words=" ".join([_token(message.maildrop_id), *words]),
        )


def remember(connection: Connection, backend: Backend, documents: Sequence[Document]) -> None:
    """Adds documents that are not there yet."""
    rows = [asdict(document) for document in documents]
    if backend.name == "sqlite":
        connection.execute(_ADD_ROW, [row | {"words": packed(row["words"])} for row in rows])
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
        entries = [
            {"id": number, "words": unpacked(words)}
            for number, words in connection.execute(select(_NUMBER, doc.words).where(*chosen))
        ]
        if entries:
            connection.execute(_DROP_ENTRY, entries)
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


# For the transaction of one search.
PLAN = {
    "postgresql": (
        # The plan goes by the words: those of one search are no guide to the next.
        "SET LOCAL plan_cache_mode = force_custom_plan",
        # A read of the whole table would take all documents apart again.
        "SET LOCAL enable_seqscan = off",
    )
}


# By engine: a word, a beginning, what joins them, the same of words of which one does, and the
# condition.
_MATCH = {
    "sqlite": (
        '"{}"',
        '"{}" *',
        " AND ",
        ('"{}"', '"{}" *', " OR ", " AND ({})"),
        """search_doc.search_index_id IN
        (SELECT rowid FROM search_index WHERE search_index MATCH :words)""",
    ),
    "postgresql": (
        "'{}'",
        "'{}':*",
        " & ",
        ("'{}'", "'{}':*", " | ", " & ({})"),
        "array_to_tsvector(string_to_array(search_doc.words, ' ')) @@ CAST(:words AS tsquery)",
    ),
    "mariadb": (
        "+{}",
        "+{}*",
        " ",
        ("{}", "{}*", " ", " +({})"),
        "MATCH (search_doc.words) AGAINST (:words IN BOOLEAN MODE)",
    ),
}


def match(
    backend: Backend,
    maildrop_id: int,
    terms: Sequence[tuple[str, bool]],
    name: str,
    *,
    either: bool = False,
) -> ColumnElement[bool]:
    """That a document holds all these folded words, or words that begin so; with `either` one of
    them.

    `name` is that of the condition's one parameter.
    """
    whole, beginning, joint, one_of, condition = _MATCH[backend.name]
    sought = whole.format(_token(maildrop_id))
    group = joint + "{}"
    if either:
        whole, beginning, joint, group = one_of
    found = [(beginning if part else whole).format("w" + word) for word, part in terms]
    sought += group.format(joint.join(found))
    clause = text(condition.replace(":words", f":{name}"))
    return clause.bindparams(**{name: sought})  # type: ignore[return-value]


def _token(maildrop_id: int) -> str:
    return "m" + row_id_text(maildrop_id)


def folded(fact: str, length: int) -> str:
    """A header fact, or a part of one, in the form that is compared."""
    sound = fact[:length].encode("utf-8", "replace").decode().replace("\0", " ")
    return " ".join(fold(sound).split())[:length]


# SQLite: the index is an FTS5 table whose content is in `search_doc`, under a number.

_NUMBER: ColumnElement[int] = literal_column("search_index_id")
_ADD_ROW = text(
    "INSERT INTO search_doc"
    " (maildrop_id, uid, from_text, to_text, subject, words, search_index_id)"
    " SELECT :maildrop_id, :uid, :from_text, :to_text, :subject, :words,"
    " coalesce(max(search_index_id), 0) + 1 FROM search_doc"
)
_ADD_ENTRY = text(
    "INSERT INTO search_index (rowid, words)"
    " SELECT search_index_id, :words FROM search_doc"
    " WHERE maildrop_id = :maildrop_id AND uid = :uid"
)
_DROP_ENTRY = text(
    "INSERT INTO search_index (search_index, rowid, words) VALUES ('delete', :id, :words)"
)
