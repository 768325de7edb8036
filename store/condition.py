"""How large a store is, how far its schema is, and bringing that up to date."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from store import schema
from store.database import Database, revision
from store.engines import StoreUnfit, backend
from store.migrating import SchemaStep, steps


@dataclass(frozen=True, slots=True)
class Size:
    """`octets` as clients count them, `plain` without what recipients share, `stored` packed."""

    accounts: int
    messages: int
    octets: int
    bodies: int
    plain: int
    stored: int
    file_octets: int | None  # of a database that is a file, with its log


@dataclass(frozen=True, slots=True)
class Standing:
    """`found` is None in a database without tables."""

    found: str | None
    newest: str
    missing: Sequence[SchemaStep]


def size(path: Path | None, connection: Connection) -> Size:
    message, body = schema.message.c, schema.body.c
    one = connection.execute(select(func.count()).select_from(schema.account)).scalar_one()
    [two] = connection.execute(select(func.count(), func.sum(message.size)))
    [three] = connection.execute(select(func.count(), func.sum(body.octets), func.sum(body.stored)))
    numbers = [int(number or 0) for number in (one, *two, *three)]
    files = [path, path.with_name(path.name + "-wal")] if path else []
    octets = sum(file.stat().st_size for file in files if file.exists())
    accounts, messages, used, bodies, plain, stored = numbers
    return Size(accounts, messages, used, bodies, plain, stored, octets if path else None)


def standing(url: str) -> Standing:
    """What `upgrade` would do. Changes nothing. Raises StoreUnfit."""
    known = steps()
    database = backend(url)
    found = None
    if not database.path or database.path.exists():
        engine = database.connect(writes=False, connections=1)
        try:
            with engine.connect() as connection:
                found = revision(connection)
        except DBAPIError as error:
            raise StoreUnfit(f"it cannot be read: {error.orig}") from error
        finally:
            engine.dispose()
    names = [step.revision for step in known]
    if found is not None and found not in names:
        raise StoreUnfit(f"its schema {found} is of another version of Restante")
    missing = known[names.index(found) + 1 :] if found else known
    return Standing(found, names[-1], missing)


def upgrade(url: str) -> tuple[Standing, Path | None]:
    """Brings the schema up to date; what was missing, and where a copy of before is.

    A database server has backups of its own. Raises StoreUnfit.
    """
    before = standing(url)
    with closing(Database(url)) as database:
        return before, database.copy
