"""What is known of the sender of a message, and what an account wants done with spam."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "2026.3"
down_revision = "2026.2"


def text(characters: int) -> TypeEngine[str]:
    return sa.String(characters).with_variant(sa.String(characters, collation="C"), "postgresql")


def upgrade() -> None:
    # All may be NULL: no row of before is written again.
    for table, name, kind in (
        ("message", "proof", sa.SmallInteger()),
        ("message", "author_domain", text(253)),
        ("message", "reasons", text(500)),
        ("maildrop", "on_spam", sa.SmallInteger()),
        ("maildrop", "held_told_at", sa.BigInteger()),
    ):
        op.add_column(table, sa.Column(name, kind, nullable=True))
