"""What collecting remembers: pauses and delays, who asked for a run, what the provider lists."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

revision = "2026.4"
down_revision = "2026.3"

UID = sa.LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb")


def text(characters: int) -> TypeEngine[str]:
    return sa.String(characters).with_variant(sa.String(characters, collation="C"), "postgresql")


def _column(name: str, kind: Any, *rest: sa.schema.SchemaItem, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, *rest, nullable=False, **options)


def _table(name: str, *parts: sa.schema.SchemaItem) -> None:
    op.create_table(
        name,
        *parts,
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def upgrade() -> None:
    op.drop_table("source_seen")  # neither was ever filled before this step
    op.drop_table("source")
    _table(
        "source",
        _column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        _column("maildrop_id", sa.BigInteger),
        _column("name", text(100)),
        _column("address", text(320)),
        _column("host", text(253)),
        _column("port", sa.Integer),
        _column("username", text(320)),
        _column("secret", sa.Text),
        sa.Column("keep_days", sa.SmallInteger),
        _column("interval_s", sa.Integer),
        _column("delay_s", sa.Integer),
        _column("next_at", sa.BigInteger, index=True),
        _column("paused", sa.SmallInteger),
        _column("state", sa.SmallInteger),
        _column("fails", sa.SmallInteger),
        _column("refused", sa.SmallInteger),
        sa.Column("job_id", sa.BigInteger),
        _column("created_at", sa.BigInteger),
        sa.Column("last_at", sa.BigInteger),
        sa.Column("last_new", sa.Integer),
        sa.Column("last_seen", sa.Integer),
        sa.Column("last_octets", sa.BigInteger),
        sa.Column("last_error", text(500)),
        sa.UniqueConstraint("maildrop_id", "host", "username", name="source_once"),
    )
    _table(
        "source_seen",
        _column(
            "source_id",
            sa.BigInteger,
            sa.ForeignKey("source.id"),
            primary_key=True,
            autoincrement=False,
        ),
        _column("uidl_hash", UID, primary_key=True),
        sa.Column("uid", UID),
        _column("seen_at", sa.BigInteger),
        sa.Column("missed_at", sa.BigInteger),
    )
