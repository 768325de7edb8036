"""Who sends mail as a domain, which its DNS records follow from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2026.6"
down_revision = "2026.5"


def upgrade() -> None:
    text = sa.String(400).with_variant(sa.String(400, collation="C"), "postgresql")
    op.add_column("domain", sa.Column("sends_via", text))
