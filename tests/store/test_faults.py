"""What an error of the database says in the log: which rule was broken, never what was written."""

import io
from collections.abc import Iterator

import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from server import logs
from store.engines import backend

CANARY = "canary:x"
TWICE = "INSERT INTO store_fact (name, value) VALUES (:value, :value)"
WRONG = {  # texts in which an engine quotes what it was given
    "sqlite": "SELECT rowid FROM search_index WHERE search_index MATCH :value",
    "postgresql": "SELECT CAST(:value AS bigint)",
    "mariadb": "INSERT INTO lease (name, node, fence, expires_at) VALUES ('x', '', :value, 0)",
}
NAMED = {
    "sqlite": ("UNIQUE constraint failed: store_fact.name", "OperationalError, SQLITE_ERROR"),
    "postgresql": ("UniqueViolation, 23505, store_fact_pkey", "InvalidTextRepresentation, 22P02"),
    "mariadb": ("IntegrityError, 1062, PRIMARY", "1366"),
}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure("error", stream=stream)
    yield stream
    structlog.reset_defaults()


@pytest.mark.parametrize("number", [0, 1])
def test_a_broken_rule_is_named_without_a_value(url: str, log: io.StringIO, number: int) -> None:
    store = backend(url)
    statement = (TWICE, WRONG[store.name])[number]
    engine = store.connect(writes=True, connections=1)
    try:
        with engine.begin() as connection:
            for _ in range(2):
                connection.execute(text(statement), {"value": CANARY})
    except DBAPIError as error:
        structlog.get_logger().exception("fault", error=str(error.orig))
    finally:
        engine.dispose()
    assert NAMED[store.name][number] in log.getvalue()
    assert "canary" not in log.getvalue()
