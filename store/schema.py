"""Tables and indexes.

ID: 52 random bits made by us. UID: 16 octets. TS: microseconds since 1970 UTC. "Octets"
are wire octets, CRLF included, before dot-stuffing.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    TypedColumns,
)

METADATA = MetaData()


class _StoreFact(TypedColumns):
    name = Column(String(40), primary_key=True)
    value = Column(String(200), nullable=False)


class _Account(TypedColumns):
    id = Column(BigInteger, primary_key=True, autoincrement=False)
    login = Column(String(254), nullable=False, unique=True)
    role = Column(SmallInteger, nullable=False)  # records.Role
    state = Column(SmallInteger, nullable=False)  # records.AccountState
    close_at = Column(BigInteger)  # TS: when a closed account's mail goes
    created_at = Column(BigInteger, nullable=False)


class _Credential(TypedColumns):
    id = Column(BigInteger, primary_key=True, autoincrement=False)
    account_id = Column(BigInteger, ForeignKey("account.id"), nullable=False, index=True)
    kind = Column(SmallInteger, nullable=False)  # 0: the account's password
    secret = Column(String(200), nullable=False)
    version = Column(Integer, nullable=False)  # raised to end sessions
    created_at = Column(BigInteger, nullable=False)


class _Session(TypedColumns):
    id = Column(BigInteger, primary_key=True, autoincrement=False)
    credential_id = Column(BigInteger, nullable=False, index=True)
    version = Column(Integer, nullable=False)  # the credential's when the session began
    peer = Column(String(45), nullable=False)
    created_at = Column(BigInteger, nullable=False)
    expires_at = Column(BigInteger, nullable=False)


class _Domain(TypedColumns):
    id = Column(BigInteger, primary_key=True, autoincrement=False)
    name = Column(String(253), nullable=False, unique=True)  # folded A-label
    created_at = Column(BigInteger, nullable=False)


class _Address(TypedColumns):
    domain_id = Column(BigInteger, ForeignKey("domain.id"), primary_key=True, autoincrement=False)
    local_part = Column(String(64), primary_key=True)  # folded
    id = Column(BigInteger, nullable=False, unique=True)
    written = Column(String(64), nullable=False)
    maildrop_id = Column(BigInteger, nullable=False, index=True)
    created_at = Column(BigInteger, nullable=False)


class _Maildrop(TypedColumns):
    """Whoever changes anything in a maildrop changes its counter row in the same transaction."""

    id = Column(BigInteger, primary_key=True, autoincrement=False)
    account_id = Column(BigInteger, nullable=False, index=True)
    modseq = Column(BigInteger, nullable=False)  # the last number handed out; no gaps
    messages = Column(BigInteger, nullable=False)  # inbox and archive
    octets = Column(BigInteger, nullable=False)
    trash_octets = Column(BigInteger, nullable=False)


class _Message(TypedColumns):
    maildrop_id = Column(BigInteger, primary_key=True, autoincrement=False)
    uid = Column(LargeBinary(16), primary_key=True)
    home = Column(
        BigInteger, nullable=False
    )  # with uid the body's key: lowest maildrop of the arrival
    born = Column(BigInteger, nullable=False)  # modseq at the first commit
    modseq = Column(BigInteger, nullable=False)  # of the last change
    folder = Column(SmallInteger, nullable=False)  # records.Folder
    flags = Column(SmallInteger, nullable=False)  # bit 1 unread, 2 starred
    traits = Column(SmallInteger, nullable=False)  # bit 1 dotted
    size = Column(Integer, nullable=False)  # prefix and body
    header_size = Column(Integer, nullable=False)
    expires_at = Column(BigInteger)  # TS: end of its time in the trash
    prefix = Column(LargeBinary, nullable=False)
    rcpt = Column(String(320), nullable=False)  # the address really used
    mail_from = Column(String(320), nullable=False)
    from_text = Column(String(320), nullable=False)
    to_text = Column(String(500), nullable=False)
    subject = Column(String(500), nullable=False)
    sent_at = Column(BigInteger)
    message_id = Column(String(250), nullable=False)


class _Body(TypedColumns):
    home = Column(BigInteger, primary_key=True, autoincrement=False)
    uid = Column(LargeBinary(16), primary_key=True)
    refs = Column(Integer, nullable=False)  # message rows that need it; only ever decreases
    octets = Column(Integer, nullable=False)  # plain
    stored = Column(Integer, nullable=False)  # compressed
    sha256 = Column(LargeBinary(32), nullable=False)  # of the plain body


class _BodyChunk(TypedColumns):
    home = Column(BigInteger, primary_key=True, autoincrement=False)
    uid = Column(LargeBinary(16), primary_key=True)
    n = Column(SmallInteger, primary_key=True)
    frame = Column(LargeBinary, nullable=False)  # one zstd frame over at most 255 KiB plain


store_fact = Table("store_fact", METADATA, _StoreFact)
account = Table("account", METADATA, _Account)
credential = Table("credential", METADATA, _Credential)
session = Table("session", METADATA, _Session)
domain = Table("domain", METADATA, _Domain)
address = Table("address", METADATA, _Address)
maildrop = Table("maildrop", METADATA, _Maildrop)
message = Table("message", METADATA, _Message)
body = Table("body", METADATA, _Body, CheckConstraint("refs >= 0", name="body_refs"))
body_chunk = Table("body_chunk", METADATA, _BodyChunk)

# Rows are about 850 octets wide: a listing reads this index alone.
Index(
    "message_folder",
    message.c.maildrop_id,
    message.c.folder,
    message.c.uid,
    message.c.size,
    message.c.born,
    message.c.flags,
)
