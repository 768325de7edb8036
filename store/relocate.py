"""A whole store from one database to another, of whatever engines, with nothing but a copy made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import Connection, func, select

from mail.errors import NotEmpty
from store import schema
from store.copying import (
    MADE_AGAIN,
    Ledger,
    finish,
    insert_rows,
    is_empty,
    make_empty,
    slices,
)
from store.database import Database, is_unfinished

MOVED = [table for table in schema.METADATA.sorted_tables if table not in MADE_AGAIN]

Step = Callable[[int, int], None]
"""Told how many rows are done, and of how many. It ends the work by raising."""


@dataclass(slots=True)
class Moved:
    """`different` names what is not equal in both: a table, and a maildrop where it has those."""

    rows: int = 0
    messages: int = 0
    octets: int = 0
    different: list[tuple[str, int]] = field(default_factory=list)


def move(url: str, to: str, *, step: Step) -> Moved:
    """Copies the store at `url`, which nobody may use, to an empty database; compares both.

    The old one stays as it is. The new one is unfinished, and refused by a server, until both have
    been found equal. Raises NotEmpty, StoreUnfit.
    """
    with closing(Database(url)) as old, closing(Database(to, filling=True)) as new:
        with new.writer.begin() as connection:
            if not (is_empty(connection) or is_unfinished(connection)):
                raise NotEmpty("that database holds a store already")
        make_empty(new)
        moved = Moved()
        there = old.read_now(partial(_copy, new, moved, step))
        here = new.read_now(partial(_read, moved.rows, step))
        moved.different = there.differences(here)
        totals = old.read_now(_totals), new.read_now(_totals)
        if totals[0] != totals[1]:
            moved.different.append(("totals", 0))
        moved.messages, moved.octets = totals[0][:2]
        if not moved.different:
            with new.writer.begin() as connection:
                finish(connection)
        return moved


def _copy(new: Database, moved: Moved, step: Step, connection: Connection) -> Ledger:
    total = _count(connection)
    ledger = Ledger()
    for table in MOVED:
        for rows in ledger.rows(table, slices(connection, table)):
            with new.writer.begin() as target:
                insert_rows(target, table, [row._asdict() for row in rows])
            moved.rows += len(rows)
            step(moved.rows, 2 * total)
    return ledger


def _read(total: int, step: Step, connection: Connection) -> Ledger:
    ledger = Ledger()
    done = total
    for table in MOVED:
        for rows in ledger.rows(table, slices(connection, table)):
            done += len(rows)
            step(done, 2 * total)
    return ledger


def _count(connection: Connection) -> int:
    return sum(
        connection.execute(select(func.count()).select_from(table)).scalar_one() for table in MOVED
    )


def _totals(connection: Connection) -> tuple[int, ...]:
    """Messages and their octets, bodies and their octets."""
    message, body = schema.message.c, schema.body.c
    [messages] = connection.execute(select(func.count(), func.sum(message.size)))
    [bodies] = connection.execute(select(func.count(), func.sum(body.octets), func.sum(body.refs)))
    return tuple(int(number or 0) for number in (*messages, *bodies))
