"""Statements of the paths every message takes: compiled once, their rows given to the driver as is.

SQLAlchemy would look at each value of each row on its way to the driver and back, which costs more
than the database does. Errors are still its errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Dialect, Executable, Table, bindparam, update

ROWS = 64  # in one statement

T = TypeVar("T")
Values = Mapping[str, object]


class Prepared:
    """One statement, whose parameters are `bindparam`s or the columns of an INSERT.

    Values and results are the driver's own: octets, text and plain integers on every engine.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, Callable[[Values], Any]]] = {}

    def run(self, connection: Connection, values: Values) -> CursorResult[*tuple[Any, ...]]:
        text, row = self._of(connection.dialect)
        return connection.exec_driver_sql(text, row(values))

    def run_many(self, connection: Connection, values: Sequence[Values]) -> None:
        text, row = self._of(connection.dialect)
        rows = [row(each) for each in values]
        if connection.dialect.name == "sqlite" and text.endswith("?)"):
            for some in _slices(rows):
                flat = tuple(chain.from_iterable(some))
                connection.exec_driver_sql(_rows(text, len(some)), flat)
        else:
            connection.exec_driver_sql(text, rows)

    def _of(self, dialect: Dialect) -> tuple[str, Callable[[Values], Any]]:
        found = self._compiled.get(dialect.name)
        if found is None:
            compiled: Any = self._statement.compile(dialect=dialect)  # type: ignore[attr-defined]
            constants = {
                name: value for name, value in compiled.params.items() if value is not None
            }
            pick = _by_place(compiled.positiontup) if compiled.positional else _by_name
            row = partial(_with, constants, pick) if constants else pick
            found = self._compiled[dialect.name] = compiled.string, row
        return found


class PreparedUpdate:
    """Some columns of rows that are named by their key, each row with values of its own."""

    def __init__(self, table: Table, key: str, *columns: str) -> None:
        self._names = (key, *columns)
        self._table = table.name
        changes: dict[str, Any] = {name: bindparam(f"new_{name}") for name in columns}
        self._each = Prepared(
            update(table).where(table.c[key] == bindparam(f"new_{key}")).values(changes)
        )

    def run_many(self, connection: Connection, values: Sequence[Values]) -> None:
        """`values` by the names of the columns."""
        if connection.dialect.name == "sqlite":
            for some in _slices(values):
                flat = tuple(each[name] for each in some for name in self._names)
                connection.exec_driver_sql(_update(self._table, self._names, len(some)), flat)
        else:
            named = [{f"new_{name}": each[name] for name in self._names} for each in values]
            self._each.run_many(connection, named)


# SQLite's driver gives the interpreter away for every row that it writes, and has to wait until it
# gets it back: so there is one statement for several rows.


def _slices(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + ROWS] for start in range(0, len(rows), ROWS))


@cache
def _rows(text: str, count: int) -> str:
    """The same INSERT for so many rows."""
    head, values, row = text.rpartition(" VALUES ")
    return head + values + ", ".join([row] * count)


@cache
def _update(table: str, names: tuple[str, ...], count: int) -> str:
    rows = ", ".join([f"({', '.join('?' * len(names))})"] * count)
    changes = ", ".join(f"{name} = new.{name}" for name in names[1:])
    return (
        f"WITH new ({', '.join(names)}) AS (VALUES {rows}) UPDATE {table} SET {changes}"  # noqa: S608 - names
        f" FROM new WHERE {table}.{names[0]} = new.{names[0]}"
    )


def _with(constants: Values, pick: Callable[[Values], Any], values: Values) -> Any:
    return pick({**constants, **values})


def _by_name(values: Values) -> Values:
    return values


def _by_place(names: Sequence[str]) -> Callable[[Values], Any]:
    if len(names) == 1:  # itemgetter would give the value alone
        [name] = names
        return lambda values: (values[name],)
    return itemgetter(*names)
