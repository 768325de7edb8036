"""Errors of the database without the values that it quotes: they go to the log.

A server names the key that is taken, and the text that is no number: an address, a subject, a hash.
What is left is the class of the error, its code and the constraint; SQLAlchemy adds the statement,
in which values are placeholders.
"""

from __future__ import annotations

import re
import sqlite3

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

# The last words of MariaDB's text; what stands before them may be anything.
_MARIA_KEY = re.compile(r"for key '([\w.]+)'\Z|CONSTRAINT `(\w+)`")


def hide_values(engine: Engine) -> None:
    """Errors of statements of this engine are made plain, before anybody sees them."""

    @event.listens_for(engine, "handle_error")
    def make_plain(context: ExceptionContext) -> None:
        error, shown = context.original_exception, context.sqlalchemy_exception
        if context.statement is None or shown is None:
            return  # connecting and committing: no values are there
        if parts := _parts(error):
            plain = ", ".join((type(error).__name__, *(part for part in parts if part)))
            number = [code for code in error.args[:1] if isinstance(code, int)]
            error.args = (*number, plain)
            shown.args = (plain,)


def _parts(error: BaseException) -> tuple[str | None, ...]:
    """The code and the constraint; nothing where the text can stay."""
    if isinstance(error, sqlite3.Error):
        # SQLite quotes in this one alone: words that its full-text index cannot read.
        quotes = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
        return (error.sqlite_errorname,) if quotes else ()
    if len(error.args) == 2 and isinstance(error.args[0], int):  # PyMySQL
        key = _MARIA_KEY.search(str(error.args[1]))
        return (str(error.args[0]), (key[1] or key[2]) if key else None)
    if state := getattr(error, "sqlstate", None):  # psycopg
        return (state, getattr(error, "diag").constraint_name)  # noqa: B009 - not in every class
    return ()
