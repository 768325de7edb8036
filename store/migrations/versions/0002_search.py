"""The full-text index over `search_doc`, with what each engine has for it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

revision = "2026.2"
down_revision = "2026.1"

LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
UID = sa.LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb")


def text(characters: int) -> TypeEngine[str]:
    return sa.String(characters).with_variant(sa.String(characters, collation="C"), "postgresql")


def _column(name: str, kind: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, **options)


INDEX = {
    "sqlite": (
        # A rowid of the table's own may change; the index reads keys by this number alone.
        "ALTER TABLE search_doc ADD COLUMN search_index_id INTEGER",
        "CREATE UNIQUE INDEX search_index_key ON search_doc (search_index_id, maildrop_id, uid)",
        # Words are folded and cut by us: this tokenizer takes what lies between spaces as it is.
        # No places in a document are kept (detail), nor its length.
        """CREATE VIRTUAL TABLE search_index USING fts5(words, content='search_doc',
        content_rowid='search_index_id', tokenize='ascii', detail=none, columnsize=0)""",
    ),
    "postgresql": (
        # Not to_tsvector: its parser would take addresses and names of hosts for one word.
        """CREATE INDEX search_index ON search_doc
        USING gin (array_to_tsvector(string_to_array(words, ' ')))""",
    ),
    "mariadb": ("CREATE FULLTEXT INDEX search_index ON search_doc (words)",),
}


def upgrade() -> None:
    op.drop_table("search_doc")  # never filled before this step
    op.create_table(
        "search_doc",
        _column("maildrop_id", sa.BigInteger, primary_key=True, autoincrement=False),
        _column("uid", UID, primary_key=True),
        _column("from_text", text(320)),
        _column("to_text", text(500)),
        _column("subject", text(500)),
        _column("words", LONG_TEXT),
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )
    for statement in INDEX[op.get_bind().dialect.name]:
        op.execute(statement)
