"""The first tables. What each column means is said in `store.schema`."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

revision = "2026.1"
down_revision = None


def text(characters: int) -> TypeEngine[str]:
    return sa.String(characters).with_variant(sa.String(characters, collation="C"), "postgresql")


def fixed(length: int) -> TypeEngine[bytes]:
    return sa.LargeBinary(length).with_variant(mysql.BINARY(length), "mysql", "mariadb")


UID = fixed(16)
FRAME = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


def _column(name: str, kind: Any, *rest: sa.schema.SchemaItem, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, *rest, nullable=False, **options)


def _key(name: str, kind: Any, *rest: sa.schema.SchemaItem) -> sa.Column[Any]:
    return sa.Column(name, kind, *rest, primary_key=True, autoincrement=False)


def _table(name: str, *parts: sa.schema.SchemaItem) -> None:
    op.create_table(
        name,
        *parts,
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def upgrade() -> None:
    _table(
        "store_fact",
        _key("name", text(40)),
        _column("value", text(200)),
    )
    _table(
        "account",
        _key("id", sa.BigInteger),
        _column("login", text(254), unique=True),
        _column("role", sa.SmallInteger),
        _column("state", sa.SmallInteger),
        _column("must_change", sa.SmallInteger),
        _column("display_name", text(100)),
        _column("language", text(20)),
        _column("timezone", text(60)),
        sa.Column("close_at", sa.BigInteger),
        _column("created_at", sa.BigInteger),
    )
    _table(
        "credential",
        _key("id", sa.BigInteger),
        _column("account_id", sa.BigInteger, sa.ForeignKey("account.id"), index=True),
        _column("kind", sa.SmallInteger),
        _column("name", text(100)),
        _column("scheme", sa.SmallInteger),
        _column("secret", text(200), unique=True),
        _column("version", sa.Integer),
        _column("scopes", text(400)),
        sa.Column("addresses", sa.Text),
        sa.Column("ip_allow", sa.Text),
        _column("created_at", sa.BigInteger),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("used_at", sa.BigInteger),
        sa.Column("used_ip", text(45)),
    )
    _table(
        "session",
        _key("id", sa.BigInteger),
        _column("kind", sa.SmallInteger),
        _column("key_hash", fixed(32), unique=True),
        _column("credential_id", sa.BigInteger, index=True),
        _column("version", sa.Integer),
        _column("scopes", text(400)),
        _column("device", text(100)),
        _column("data", sa.Text),
        _column("peer", text(45)),
        _column("created_at", sa.BigInteger),
        _column("seen_at", sa.BigInteger),
        _column("expires_at", sa.BigInteger),
    )
    _table(
        "invite",
        _key("id", sa.BigInteger),
        _column("key_hash", fixed(32), unique=True),
        sa.Column("address", text(320)),
        _column("uses", sa.Integer),
        _column("made_by", sa.BigInteger),
        _column("created_at", sa.BigInteger),
        _column("expires_at", sa.BigInteger),
    )
    _table(
        "job",
        _key("id", sa.BigInteger),
        _column("account_id", sa.BigInteger),
        _column("kind", sa.SmallInteger),
        _column("state", sa.SmallInteger),
        _column("done", sa.BigInteger),
        _column("total", sa.BigInteger),
        sa.Column("result", sa.Text),
        _column("cancel", sa.SmallInteger),
        _column("created_at", sa.BigInteger),
    )
    _table(
        "domain",
        _key("id", sa.BigInteger),
        _column("name", text(253), unique=True),
        _column("state", sa.SmallInteger),
        _column("catch_all", sa.SmallInteger),
        sa.Column("catch_all_maildrop_id", sa.BigInteger),
        _column("plus", text(8)),
        sa.Column("alias_of_id", sa.BigInteger),
        _column("self_service", sa.SmallInteger),
        sa.Column("max_message", sa.Integer),
        _column("require_tls", sa.SmallInteger),
        _column("created_at", sa.BigInteger),
    )
    _table(
        "address",
        _key("domain_id", sa.BigInteger, sa.ForeignKey("domain.id")),
        _key("local_part", text(64)),
        _column("id", sa.BigInteger, unique=True),
        _column("written", text(64)),
        _column("kind", sa.SmallInteger),
        sa.Column("maildrop_id", sa.BigInteger, index=True),
        _column("state", sa.SmallInteger),
        sa.Column("note", text(500)),
        _column("created_at", sa.BigInteger),
    )
    _table(
        "address_target",
        _key("domain_id", sa.BigInteger),
        _key("local_part", text(64)),
        _key("maildrop_id", sa.BigInteger),
    )
    _table(
        "maildrop",
        _key("id", sa.BigInteger),
        _column("account_id", sa.BigInteger, index=True),
        _column("state", sa.SmallInteger),
        _column("traits", sa.SmallInteger),
        _column("modseq", sa.BigInteger),
        _column("messages", sa.BigInteger),
        _column("octets", sa.BigInteger),
        _column("trash_octets", sa.BigInteger),
        sa.Column("quota_octets", sa.BigInteger),
        sa.Column("quota_messages", sa.BigInteger),
        sa.Column("full_since", sa.BigInteger),
        sa.Column("trash_days", sa.SmallInteger),
        sa.Column("on_delete", sa.SmallInteger),
        sa.Column("keep_days", sa.SmallInteger),
        _column("tombstone_floor", sa.BigInteger),
        sa.Column("sweep_at", sa.BigInteger, index=True),
    )
    _table(
        "message",
        _key("maildrop_id", sa.BigInteger),
        _key("uid", UID),
        _column("home", sa.BigInteger),
        _column("born", sa.BigInteger),
        _column("modseq", sa.BigInteger),
        _column("folder", sa.SmallInteger),
        _column("flags", sa.SmallInteger),
        _column("traits", sa.SmallInteger),
        _column("size", sa.Integer),
        _column("header_size", sa.Integer),
        sa.Column("expires_at", sa.BigInteger),
        _column("prefix", sa.LargeBinary),
        _column("rcpt", text(320)),
        _column("mail_from", text(320)),
        _column("from_text", text(320)),
        _column("to_text", text(500)),
        _column("subject", text(500)),
        sa.Column("sent_at", sa.BigInteger),
        _column("message_id", text(250)),
        _column("fingerprint", UID),
    )
    _table(
        "uidl_override",
        _key("maildrop_id", sa.BigInteger),
        _key("uid", UID),
        _column("uidl", text(70)),
        sa.UniqueConstraint("maildrop_id", "uidl", name="uidl_once"),
    )
    _table(
        "tombstone",
        _key("maildrop_id", sa.BigInteger),
        _key("modseq", sa.BigInteger),
        _key("uid", UID),
        _column("at", sa.BigInteger),
    )
    _table(
        "body",
        _key("home", sa.BigInteger),
        _key("uid", UID),
        _column("refs", sa.Integer),
        _column("octets", sa.Integer),
        _column("stored", sa.Integer),
        _column("codec", sa.SmallInteger),
        _column("place", sa.SmallInteger),
        _column("sha256", fixed(32)),
        sa.Column("frames", sa.LargeBinary),
        sa.CheckConstraint("refs >= 0", name="body_refs"),
    )
    _table(
        "body_chunk",
        _key("home", sa.BigInteger),
        _key("uid", UID),
        _key("n", sa.SmallInteger),
        _column("frame", FRAME),
    )
    _table(
        "body_gone",
        _key("shard", sa.SmallInteger),
        _key("not_before", sa.BigInteger),
        _key("home", sa.BigInteger),
        _key("uid", UID),
    )
    _table(
        "digest",
        _key("home", sa.BigInteger),
        _key("uid", UID),
        _column("snippet", text(300)),
        _column("attachments", sa.Text),
        _column("parser", sa.SmallInteger),
    )
    _table(
        "search_doc",
        _key("maildrop_id", sa.BigInteger),
        _key("uid", UID),
        _column("words", LONG_TEXT),
    )
    _table(
        "follower",
        _key("maildrop_id", sa.BigInteger),
        _key("name", text(20)),
        _column("modseq", sa.BigInteger),
    )
    _table(
        "device",
        _key("maildrop_id", sa.BigInteger),
        _key("credential_id", sa.BigInteger),
        _column("start", sa.BigInteger),
        _column("floor", sa.BigInteger),
        _column("used_at", sa.BigInteger),
    )
    _table(
        "device_mark",
        _key("maildrop_id", sa.BigInteger),
        _key("credential_id", sa.BigInteger),
        _key("kind", sa.SmallInteger),
        _key("chunk", sa.Integer),
        _column("bits", sa.LargeBinary),
    )
    _table(
        "lease",
        _key("name", text(60)),
        sa.Column("holder", UID),
        _column("node", text(100)),
        _column("fence", sa.BigInteger),
        _column("expires_at", sa.BigInteger),
    )
    _table(
        "source",
        _key("id", sa.BigInteger),
        _column("maildrop_id", sa.BigInteger),
        _column("name", text(100)),
        _column("address", text(320)),
        _column("host", text(253)),
        _column("port", sa.Integer),
        _column("username", text(320)),
        _column("secret", sa.LargeBinary),
        sa.Column("keep_days", sa.SmallInteger),
        _column("interval_s", sa.Integer),
        _column("next_at", sa.BigInteger, index=True),
        _column("state", sa.SmallInteger),
        _column("fails", sa.SmallInteger),
        sa.Column("last_at", sa.BigInteger),
        sa.Column("last_new", sa.Integer),
        sa.Column("last_seen", sa.Integer),
        sa.Column("last_octets", sa.BigInteger),
        sa.Column("last_error", text(500)),
    )
    _table(
        "source_seen",
        _key("source_id", sa.BigInteger, sa.ForeignKey("source.id")),
        _key("uidl_hash", UID),
        sa.Column("uid", UID),
        _column("seen_at", sa.BigInteger),
    )
    op.create_index("message_changes", "message", ["maildrop_id", "modseq", "uid"])
    op.create_index("message_print", "message", ["maildrop_id", "fingerprint", "uid"])
    op.create_index(
        "message_folder", "message", ["maildrop_id", "folder", "uid", "size", "born", "flags"]
    )
    if op.get_bind().dialect.name == "postgresql":
        # Frames are compressed already.
        op.execute("ALTER TABLE body_chunk ALTER COLUMN frame SET STORAGE EXTERNAL")
        # Listings are read from the index alone only where vacuum has been.
        op.execute("ALTER TABLE message SET (autovacuum_vacuum_insert_scale_factor = 0.02)")
