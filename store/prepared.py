"""Statements of the paths every message takes: compiled once, their rows given to the driver as is.

SQLAlchemy would look at each value of each row on its way to the driver and back, which costs more
than the database does. Errors are still its errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect, Executable

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
        connection.exec_driver_sql(text, [row(each) for each in values])

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


def _with(constants: Values, pick: Callable[[Values], Any], values: Values) -> Any:
    return pick({**constants, **values})


def _by_name(values: Values) -> Values:
    return values


def _by_place(names: Sequence[str]) -> Callable[[Values], Any]:
    if len(names) == 1:  # itemgetter would give the value alone
        [name] = names
        return lambda values: (values[name],)
    return itemgetter(*names)
