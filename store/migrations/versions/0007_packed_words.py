"""On SQLite, documents of the search keep their words compressed from here on.

Those that are there stay as they are. Nothing changes in the tables: the number keeps out programs
that would tell the index wrong words when a document goes.
"""

from __future__ import annotations

revision = "2026.7"
down_revision = "2026.6"


def upgrade() -> None:
    """Nothing."""
