"""Parts of long lists: by the key of the row at their edge, so that rows that come and go
meanwhile neither repeat nor hide another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, func, select, tuple_

T = TypeVar("T")
U = TypeVar("U")

Guard = Callable[[T], None]
"""Raises a Failure when what is to be changed is not what its caller has seen."""


def unguarded(_found: object) -> None:
    """For callers that have seen nothing."""


@dataclass(frozen=True, slots=True)
class Span:
    """What follows `key`, or with `back` what stands before it; from the start without a key."""

    limit: int
    key: tuple[str | int, ...] = ()
    back: bool = False
    counted: bool = False  # all of the list, too


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """`before` and `after`: whether there is more of the list on that side."""

    rows: Sequence[T]
    before: bool
    after: bool
    total: int | None

    def of(self, make: Callable[[T], U]) -> Part[U]:
        return Part([make(row) for row in self.rows], self.before, self.after, self.total)


def part(
    query: Select[*tuple[Any, ...]],
    key: Sequence[ColumnElement[Any]],
    span: Span,
    connection: Connection,
) -> Part[Any]:
    """Rows of `query` in the order of the columns `key`, which no two rows share."""
    total = None
    if span.counted:
        total = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    if span.key:
        edge = tuple_(*span.key)
        query = query.where(tuple_(*key) < edge if span.back else tuple_(*key) > edge)
    ordered = query.order_by(*(each.desc() if span.back else each.asc() for each in key))
    rows = list(connection.execute(ordered.limit(span.limit + 1)))
    more = len(rows) > span.limit
    del rows[span.limit :]
    if span.back:
        return Part(rows[::-1], before=more, after=True, total=total)
    return Part(rows, before=bool(span.key), after=more, total=total)
