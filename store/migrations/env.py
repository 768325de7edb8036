"""Alembic runs each step inside the transaction that `store.database` opened."""

from __future__ import annotations

from alembic import context

from store.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
