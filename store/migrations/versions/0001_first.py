"""The first tables: accounts, addresses, maildrops, messages and their bodies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger
TS = sa.BigInteger
UID = sa.LargeBinary(16)


def _key(name: str, *constraints: sa.schema.SchemaItem) -> sa.Column[int]:
    return sa.Column(name, ID, *constraints, primary_key=True, autoincrement=False)


def upgrade() -> None:
    op.create_table(
        "store_fact",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("value", sa.String(200), nullable=False),
    )
    op.create_table(
        "account",
        _key("id"),
        sa.Column("login", sa.String(254), nullable=False, unique=True),
        sa.Column("role", sa.SmallInteger, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("close_at", TS),
        sa.Column("created_at", TS, nullable=False),
    )
    op.create_table(
        "credential",
        _key("id"),
        sa.Column("account_id", ID, sa.ForeignKey("account.id"), nullable=False, index=True),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("secret", sa.String(200), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", TS, nullable=False),
    )
    op.create_table(
        "session",
        _key("id"),
        sa.Column("credential_id", ID, nullable=False, index=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("peer", sa.String(45), nullable=False),
        sa.Column("created_at", TS, nullable=False),
        sa.Column("expires_at", TS, nullable=False),
    )
    op.create_table(
        "domain",
        _key("id"),
        sa.Column("name", sa.String(253), nullable=False, unique=True),
        sa.Column("created_at", TS, nullable=False),
    )
    op.create_table(
        "address",
        _key("domain_id", sa.ForeignKey("domain.id")),
        sa.Column("local_part", sa.String(64), primary_key=True),
        sa.Column("id", ID, nullable=False, unique=True),
        sa.Column("written", sa.String(64), nullable=False),
        sa.Column("maildrop_id", ID, nullable=False, index=True),
        sa.Column("created_at", TS, nullable=False),
    )
    op.create_table(
        "maildrop",
        _key("id"),
        sa.Column("account_id", ID, nullable=False, index=True),
        sa.Column("modseq", sa.BigInteger, nullable=False),
        sa.Column("messages", sa.BigInteger, nullable=False),
        sa.Column("octets", sa.BigInteger, nullable=False),
        sa.Column("trash_octets", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "message",
        _key("maildrop_id"),
        sa.Column("uid", UID, primary_key=True),
        sa.Column("home", ID, nullable=False),
        sa.Column("born", sa.BigInteger, nullable=False),
        sa.Column("modseq", sa.BigInteger, nullable=False),
        sa.Column("folder", sa.SmallInteger, nullable=False),
        sa.Column("flags", sa.SmallInteger, nullable=False),
        sa.Column("traits", sa.SmallInteger, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("header_size", sa.Integer, nullable=False),
        sa.Column("expires_at", TS),
        sa.Column("prefix", sa.LargeBinary, nullable=False),
        sa.Column("rcpt", sa.String(320), nullable=False),
        sa.Column("mail_from", sa.String(320), nullable=False),
        sa.Column("from_text", sa.String(320), nullable=False),
        sa.Column("to_text", sa.String(500), nullable=False),
        sa.Column("subject", sa.String(500), nullable=False),
        sa.Column("sent_at", TS),
        sa.Column("message_id", sa.String(250), nullable=False),
    )
    op.create_index(
        "message_folder", "message", ["maildrop_id", "folder", "uid", "size", "born", "flags"]
    )
    op.create_table(
        "body",
        _key("home"),
        sa.Column("uid", UID, primary_key=True),
        sa.Column("refs", sa.Integer, nullable=False),
        sa.Column("octets", sa.Integer, nullable=False),
        sa.Column("stored", sa.Integer, nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.CheckConstraint("refs >= 0", name="body_refs"),
    )
    op.create_table(
        "body_chunk",
        _key("home"),
        sa.Column("uid", UID, primary_key=True),
        sa.Column("n", sa.SmallInteger, primary_key=True),
        sa.Column("frame", sa.LargeBinary, nullable=False),
    )
