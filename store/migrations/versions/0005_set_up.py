"""What mail apps and senders are told of a domain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026.5"
down_revision = "2026.4"


def upgrade() -> None:
    text = sa.String(260).with_variant(sa.String(260, collation="C"), "postgresql")
    op.add_column(
        "domain", sa.Column("mta_sts", sa.SmallInteger, nullable=False, server_default="1")
    )
    op.add_column("domain", sa.Column("outgoing", text))
