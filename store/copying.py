"""Whole tables on their way from one database to another, in slices in the order of their keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, text

from store import schema
from store.database import UNFINISHED, Database
from store.migrating import migrate

SLICE = 1000
FRAMES = 32  # body_chunk has rows of up to 256 KiB

# Made again from the rest, or of no use in another place or at another time.
MADE_AGAIN = frozenset({schema.search_doc, schema.follower, schema.lease})
OWN_FACTS = frozenset({"probe", UNFINISHED})  # of one database, not of what it holds
FILLED = (schema.account, schema.domain, schema.maildrop, schema.message, schema.body)


def slices(connection: Connection, table: Table) -> Iterator[list[Any]]:
    """Every row, in the order of the primary key.

    Each query asks for one range that the key's index has in one piece: first what is behind the
    last row with the same leading columns, then with fewer of them. One comparison of whole keys
    is the same on paper, but MariaDB reads the table from its beginning for it.
    """
    size = FRAMES if table is schema.body_chunk else SLICE
    keys = list(table.primary_key.columns)
    last: tuple[Any, ...] = ()
    depth = 0
    while True:
        query = select(table).order_by(*keys).limit(size)
        if last:
            same = [column == value for column, value in zip(keys[:depth], last, strict=False)]
            query = query.where(*same, keys[depth] > last[depth])
        rows: list[Any] = list(connection.execute(query))
        if rows:
            last = tuple(getattr(rows[-1], column.name) for column in keys)
            yield rows
        if len(rows) == size:
            depth = len(keys) - 1
        elif depth == 0:
            return
        else:
            depth -= 1


def is_empty(connection: Connection) -> bool:
    """Whether nobody and nothing lives in this store."""
    return all(connection.execute(select(table).limit(1)).first() is None for table in FILLED)


def make_empty(database: Database) -> None:
    """Takes everything out of a store, and marks it unfinished."""
    with database.writer.begin() as connection:
        if database.backend.shared and not is_empty(connection):
            # On a server deleting rows may take longer than a statement may.
            schema.METADATA.drop_all(connection)
            connection.execute(text("DROP TABLE alembic_version"))
            migrate(connection)
        for table in reversed(schema.METADATA.sorted_tables):
            connection.execute(delete(table))
        connection.execute(insert(schema.store_fact).values(name=UNFINISHED, value=""))


def insert_rows(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Rows from elsewhere. Facts of this database stay as they are."""
    if table is schema.store_fact:
        rows = [row for row in rows if row["name"] not in OWN_FACTS]
        names = [row["name"] for row in rows]
        connection.execute(delete(table).where(table.c.name.in_(names)))
    if rows:
        connection.execute(insert(table), rows)


def finish(connection: Connection) -> None:
    fact = schema.store_fact
    connection.execute(delete(fact).where(fact.c.name == UNFINISHED))


@dataclass(slots=True)
class Ledger:
    """Count and hash of the rows of each table, apart for each maildrop where they have one."""

    sums: dict[tuple[str, int], tuple[int, bytes]] = field(default_factory=dict)

    def rows(self, table: Table, found: Iterator[list[Any]]) -> Iterator[list[Any]]:
        """Writes down rows that come by in the order of their keys."""
        leading = next(iter(table.primary_key.columns)).name
        apart = leading in ("maildrop_id", "home") or table is schema.maildrop
        group, count, digest = 0, 0, hashlib.blake2b(digest_size=16)
        for rows in found:
            for row in rows:
                if table is schema.store_fact and row.name in OWN_FACTS:
                    continue
                other = getattr(row, leading) if apart else 0
                if other != group:
                    self._close(table, group, count, digest.digest())
                    group, count, digest = other, 0, hashlib.blake2b(digest_size=16)
                count += 1
                for value in row:
                    digest.update(_plain(value))
            yield rows
        self._close(table, group, count, digest.digest())

    def _close(self, table: Table, group: int, count: int, digest: bytes) -> None:
        if count:
            self.sums[table.name, group] = (count, digest)

    def differences(self, other: Ledger) -> list[tuple[str, int]]:
        """Tables, with the maildrop, that are not equal in both."""
        places = self.sums.keys() | other.sums.keys()
        return sorted(place for place in places if self.sums.get(place) != other.sums.get(place))


def _plain(value: object) -> bytes:
    """The same octets for the same value, whatever driver it comes from."""
    if value is None:
        return b"-"
    octets = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
    return b"%d:%b" % (len(octets), octets)
