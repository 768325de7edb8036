"""Tables and indexes, the same on every engine.

ID: 52 random bits made by us. UID: 16 octets. TS: microseconds since 1970 UTC. "Octets" are wire
octets, CRLF included, before dot-stuffing. Text is compared octet by octet. Which numbers a state,
kind or folder has is said in `records`.
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
    Text,
    TypedColumns,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

METADATA = MetaData()
NEWEST = "2026.7"  # the last step of store/migrations


def text(characters: int) -> TypeEngine[str]:
    """VARCHAR, compared octet by octet: PostgreSQL would else ask the language of its cluster."""
    return String(characters).with_variant(String(characters, collation="C"), "postgresql")


def fixed(length: int) -> TypeEngine[bytes]:
    """Exactly so many octets; MariaDB cannot have a BLOB in a key."""
    return LargeBinary(length).with_variant(mysql.BINARY(length), "mysql", "mariadb")


UID = fixed(16)
FRAME = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")


class _StoreFact(TypedColumns):
    name = Column(text(40), primary_key=True)
    value = Column(text(200), nullable=False)


class _Account(TypedColumns):
    id = Column(BigInteger, primary_key=True, autoincrement=False)
    login = Column(text(254), nullable=False, unique=True)
    role = Column(SmallInteger, nullable=False)
    state = Column(SmallInteger, nullable=False)
    must_change = Column(SmallInteger, nullable=False, default=0)
    display_name = Column(text(100), nullable=False, default="")
    language = Column(text(20), nullable=False, default="")
    timezone = Column(text(60), nullable=False, default="")
    close_at = Column(BigInteger)  # TS: when a closed account's mail goes
    created_at = Column(BigInteger, nullable=False)


class _Credential(TypedColumns):
    id = Column(BigInteger, primary_key=True, autoincrement=False)
    account_id = Column(BigInteger, ForeignKey("account.id"), nullable=False, index=True)
    kind = Column(SmallInteger, nullable=False)
    name = Column(text(100), nullable=False, default="")
    scheme = Column(SmallInteger, nullable=False, default=0)
    secret = Column(text(200), nullable=False, unique=True)
    version = Column(Integer, nullable=False)  # raised to end sessions
    scopes = Column(text(400), nullable=False, default="")
    addresses = Column(Text)
    ip_allow = Column(Text)
    created_at = Column(BigInteger, nullable=False)
    expires_at = Column(BigInteger)
    used_at = Column(BigInteger)
    used_ip = Column(text(45))


class _Session(TypedColumns):
    id = Column(BigInteger, primary_key=True, autoincrement=False)
    kind = Column(SmallInteger, nullable=False)
    key_hash = Column(fixed(32), nullable=False, unique=True)
    credential_id = Column(BigInteger, nullable=False, index=True)
    version = Column(Integer, nullable=False)  # the credential's when the session began
    scopes = Column(text(400), nullable=False, default="")
    device = Column(text(100), nullable=False, default="")
    data = Column(Text, nullable=False, default="")
    peer = Column(text(45), nullable=False)
    created_at = Column(BigInteger, nullable=False)
    seen_at = Column(BigInteger, nullable=False)
    expires_at = Column(BigInteger, nullable=False)


class _Invite(TypedColumns):
    id = Column(BigInteger, primary_key=True, autoincrement=False)
    key_hash = Column(fixed(32), nullable=False, unique=True)
    address = Column(text(320))
    uses = Column(Integer, nullable=False)
    made_by = Column(BigInteger, nullable=False)
    created_at = Column(BigInteger, nullable=False)
    expires_at = Column(BigInteger, nullable=False)


class _Job(TypedColumns):
    id = Column(BigInteger, primary_key=True, autoincrement=False)
    account_id = Column(BigInteger, nullable=False)
    kind = Column(SmallInteger, nullable=False)
    state = Column(SmallInteger, nullable=False)
    done = Column(BigInteger, nullable=False)
    total = Column(BigInteger, nullable=False)
    result = Column(Text)
    cancel = Column(SmallInteger, nullable=False)
    created_at = Column(BigInteger, nullable=False)


class _Domain(TypedColumns):
    id = Column(BigInteger, primary_key=True, autoincrement=False)
    name = Column(text(253), nullable=False, unique=True)  # folded A-label
    state = Column(SmallInteger, nullable=False, default=0)
    catch_all = Column(SmallInteger, nullable=False, default=0)
    catch_all_maildrop_id = Column(BigInteger)
    plus = Column(text(8), nullable=False, default="+")  # separators of sub-addresses
    alias_of_id = Column(BigInteger)
    sends_via = Column(text(400))  # SPF terms; empty: nobody sends for it; NULL: not known
    self_service = Column(SmallInteger, nullable=False, default=0)
    max_message = Column(Integer)
    require_tls = Column(SmallInteger, nullable=False, default=0)
    mta_sts = Column(SmallInteger, nullable=False, default=1)
    outgoing = Column(text(260))  # host and port of a server that sends for it
    created_at = Column(BigInteger, nullable=False)


class _Address(TypedColumns):
    domain_id = Column(BigInteger, ForeignKey("domain.id"), primary_key=True, autoincrement=False)
    local_part = Column(text(64), primary_key=True)  # folded
    id = Column(BigInteger, nullable=False, unique=True)
    written = Column(text(64), nullable=False)
    kind = Column(SmallInteger, nullable=False, default=0)
    maildrop_id = Column(BigInteger, index=True)
    state = Column(SmallInteger, nullable=False, default=0)
    note = Column(text(500))
    created_at = Column(BigInteger, nullable=False)


class _AddressTarget(TypedColumns):
    domain_id = Column(BigInteger, primary_key=True, autoincrement=False)
    local_part = Column(text(64), primary_key=True)
    maildrop_id = Column(BigInteger, primary_key=True, autoincrement=False)


class _Maildrop(TypedColumns):
    """Whoever changes anything in a maildrop holds this row first."""

    id = Column(BigInteger, primary_key=True, autoincrement=False)
    account_id = Column(BigInteger, nullable=False, index=True)
    state = Column(SmallInteger, nullable=False, default=0)
    traits = Column(SmallInteger, nullable=False, default=0)
    modseq = Column(BigInteger, nullable=False, default=0)  # the last number handed out; no gaps
    messages = Column(BigInteger, nullable=False, default=0)  # inbox, archive and held
    octets = Column(BigInteger, nullable=False, default=0)
    trash_octets = Column(BigInteger, nullable=False, default=0)
    quota_octets = Column(BigInteger)  # NULL: as configured
    quota_messages = Column(BigInteger)
    full_since = Column(BigInteger)  # TS
    trash_days = Column(SmallInteger)
    on_delete = Column(SmallInteger)
    keep_days = Column(SmallInteger)
    # Tombstones are complete above it.
    tombstone_floor = Column(BigInteger, nullable=False, default=0)
    sweep_at = Column(BigInteger, index=True)  # TS: the earliest moment upkeep must look here
    on_spam = Column(SmallInteger)  # NULL: tagged
    held_told_at = Column(BigInteger)  # TS: of the last summary of what is held


class _Message(TypedColumns):
    maildrop_id = Column(BigInteger, primary_key=True, autoincrement=False)
    uid = Column(UID, primary_key=True)
    # With uid the key of the body: the lowest maildrop of the arrival.
    home = Column(BigInteger, nullable=False)
    born = Column(BigInteger, nullable=False)  # modseq at the first commit
    modseq = Column(BigInteger, nullable=False)  # of the last change
    folder = Column(SmallInteger, nullable=False)
    flags = Column(SmallInteger, nullable=False)
    traits = Column(SmallInteger, nullable=False)
    size = Column(Integer, nullable=False)  # prefix and body
    header_size = Column(Integer, nullable=False)
    expires_at = Column(BigInteger)  # TS: in trash and purged
    prefix = Column(LargeBinary, nullable=False)
    rcpt = Column(text(320), nullable=False)  # the address really used
    mail_from = Column(text(320), nullable=False)
    from_text = Column(text(320), nullable=False)
    to_text = Column(text(500), nullable=False)
    subject = Column(text(500), nullable=False)
    sent_at = Column(BigInteger)
    message_id = Column(text(250), nullable=False)
    fingerprint = Column(UID, nullable=False)
    # NULL: its sender was not verified.
    proof = Column(SmallInteger)
    author_domain = Column(text(253))
    reasons = Column(text(500))


class _UidlOverride(TypedColumns):
    maildrop_id = Column(BigInteger, primary_key=True, autoincrement=False)
    uid = Column(UID, primary_key=True)
    uidl = Column(text(70), nullable=False)


class _Tombstone(TypedColumns):
    maildrop_id = Column(BigInteger, primary_key=True, autoincrement=False)
    modseq = Column(BigInteger, primary_key=True, autoincrement=False)
    uid = Column(UID, primary_key=True)
    at = Column(BigInteger, nullable=False)


class _Body(TypedColumns):
    home = Column(BigInteger, primary_key=True, autoincrement=False)
    uid = Column(UID, primary_key=True)
    refs = Column(Integer, nullable=False)  # message rows that need it; only ever decreases
    octets = Column(Integer, nullable=False)  # plain
    stored = Column(Integer, nullable=False)  # compressed
    codec = Column(SmallInteger, nullable=False)
    place = Column(SmallInteger, nullable=False)
    sha256 = Column(fixed(32), nullable=False)  # of the plain body
    frames = Column(LargeBinary)  # frame lengths of an object


class _BodyChunk(TypedColumns):
    home = Column(BigInteger, primary_key=True, autoincrement=False)
    uid = Column(UID, primary_key=True)
    n = Column(SmallInteger, primary_key=True, autoincrement=False)
    frame = Column(FRAME, nullable=False)  # one zstd frame over at most 255 KiB plain


class _BodyGone(TypedColumns):
    """Bodies that nothing refers to any more, to be removed when their time has come."""

    shard = Column(SmallInteger, primary_key=True, autoincrement=False)  # last octet of uid mod 16
    not_before = Column(BigInteger, primary_key=True, autoincrement=False)
    home = Column(BigInteger, primary_key=True, autoincrement=False)
    uid = Column(UID, primary_key=True)


class _Digest(TypedColumns):
    home = Column(BigInteger, primary_key=True, autoincrement=False)
    uid = Column(UID, primary_key=True)
    snippet = Column(text(300), nullable=False)
    attachments = Column(Text, nullable=False)  # JSON
    parser = Column(SmallInteger, nullable=False)


class _SearchDoc(TypedColumns):
    """Made from the messages, and made again when it is lost. `search` says what the words are."""

    maildrop_id = Column(BigInteger, primary_key=True, autoincrement=False)
    uid = Column(UID, primary_key=True)
    # Header facts, folded; ahead of the words, which would have to be read through.
    from_text = Column(text(320), nullable=False)
    to_text = Column(text(500), nullable=False)
    subject = Column(text(500), nullable=False)
    words = Column(Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"), nullable=False)


class _Follower(TypedColumns):
    maildrop_id = Column(BigInteger, primary_key=True, autoincrement=False)
    name = Column(text(20), primary_key=True)
    modseq = Column(BigInteger, nullable=False)


class _Device(TypedColumns):
    maildrop_id = Column(BigInteger, primary_key=True, autoincrement=False)
    credential_id = Column(BigInteger, primary_key=True, autoincrement=False)
    start = Column(BigInteger, nullable=False)
    floor = Column(BigInteger, nullable=False)
    used_at = Column(BigInteger, nullable=False)


class _DeviceMark(TypedColumns):
    maildrop_id = Column(BigInteger, primary_key=True, autoincrement=False)
    credential_id = Column(BigInteger, primary_key=True, autoincrement=False)
    kind = Column(SmallInteger, primary_key=True, autoincrement=False)
    chunk = Column(Integer, primary_key=True, autoincrement=False)  # born / 8192
    bits = Column(LargeBinary, nullable=False)


class _Lease(TypedColumns):
    name = Column(text(60), primary_key=True)
    holder = Column(UID)
    node = Column(text(100), nullable=False)
    fence = Column(BigInteger, nullable=False)
    expires_at = Column(BigInteger, nullable=False)


class _Source(TypedColumns):
    id = Column(BigInteger, primary_key=True, autoincrement=False)
    maildrop_id = Column(BigInteger, nullable=False)
    name = Column(text(100), nullable=False)
    address = Column(text(320), nullable=False)
    host = Column(text(253), nullable=False)
    port = Column(Integer, nullable=False)
    username = Column(text(320), nullable=False)
    secret = Column(Text, nullable=False)  # sealed
    keep_days = Column(SmallInteger)  # at the provider; NULL: for good
    interval_s = Column(Integer, nullable=False)
    delay_s = Column(Integer, nullable=False)  # what the provider wants between two logins
    next_at = Column(BigInteger, nullable=False, index=True)
    paused = Column(SmallInteger, nullable=False)
    state = Column(SmallInteger, nullable=False)
    fails = Column(SmallInteger, nullable=False)
    refused = Column(SmallInteger, nullable=False)  # logins, one after the other
    job_id = Column(BigInteger)  # what asked for the next run
    created_at = Column(BigInteger, nullable=False)
    last_at = Column(BigInteger)
    last_new = Column(Integer)
    last_seen = Column(Integer)
    last_octets = Column(BigInteger)
    last_error = Column(text(500))


class _SourceSeen(TypedColumns):
    source_id = Column(BigInteger, ForeignKey("source.id"), primary_key=True, autoincrement=False)
    uidl_hash = Column(UID, primary_key=True)
    uid = Column(UID)  # of the message; NULL: it could not be kept, and stays at the provider
    seen_at = Column(BigInteger, nullable=False)  # when it was taken
    missed_at = Column(BigInteger)  # since when the provider lists it no more


store_fact = Table("store_fact", METADATA, _StoreFact)
account = Table("account", METADATA, _Account)
credential = Table("credential", METADATA, _Credential)
session = Table("session", METADATA, _Session)
invite = Table("invite", METADATA, _Invite)
job = Table("job", METADATA, _Job)
domain = Table("domain", METADATA, _Domain)
address = Table("address", METADATA, _Address)
address_target = Table("address_target", METADATA, _AddressTarget)
maildrop = Table("maildrop", METADATA, _Maildrop)
message = Table("message", METADATA, _Message)
uidl_override = Table(
    "uidl_override",
    METADATA,
    _UidlOverride,
    UniqueConstraint("maildrop_id", "uidl", name="uidl_once"),
)
tombstone = Table("tombstone", METADATA, _Tombstone)
body = Table("body", METADATA, _Body, CheckConstraint("refs >= 0", name="body_refs"))
body_chunk = Table("body_chunk", METADATA, _BodyChunk)
body_gone = Table("body_gone", METADATA, _BodyGone)
digest = Table("digest", METADATA, _Digest)
search_doc = Table("search_doc", METADATA, _SearchDoc)
follower = Table("follower", METADATA, _Follower)
device = Table("device", METADATA, _Device)
device_mark = Table("device_mark", METADATA, _DeviceMark)
lease = Table("lease", METADATA, _Lease)
source = Table(
    "source",
    METADATA,
    _Source,
    UniqueConstraint("maildrop_id", "host", "username", name="source_once"),
)
source_seen = Table("source_seen", METADATA, _SourceSeen)

# utf8mb4_nopad_bin: the padding kind takes `a` and `a ` for equal.
MARIADB = {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_nopad_bin"}
for _table in METADATA.tables.values():
    _table.dialect_options["mariadb"].update(MARIADB)

_M = message.c
# Rows are about 850 octets wide: a listing reads this index alone.
Index(
    "message_folder",
    *(_M.maildrop_id, _M.folder, _M.uid, _M.size, _M.born, _M.flags),
)
# uid order is the order of arrival, not of commits: who follows changes goes by this.
Index("message_changes", _M.maildrop_id, _M.modseq, _M.uid)
Index("message_print", _M.maildrop_id, _M.fingerprint, _M.uid)
