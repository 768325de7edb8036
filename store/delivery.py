"""The delivery transaction: body, rows and counters of all recipients, all or none.

Bodies go first: the maildrops' counter rows are locked from then until the commit, in ascending
order, so that no two batches wait for each other in a circle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, text

from mail.address import Address
from mail.errors import Failure, OverQuota
from mail.facts import Facts
from mail.ident import UniqueId
from mail.lines import Measures, measure
from store import schema
from store.bodies import Packed
from store.changed import TOUCHED
from store.prepared import Prepared, PreparedUpdate
from store.records import UNCHECKED, Authentication, Folder, microseconds

UNREAD, STARRED = 1, 2  # message.flags
DOTTED, NOT_ASCII, IMPORTED, COLLECTED, BY_SMTP, REPEAT = 1, 2, 4, 8, 16, 32  # message.traits
SUSPECTED = 64  # the same, of being spam
ZSTD = 1  # body.codec
IN_DATABASE = 0  # body.place

# At RCPT a full maildrop is refused; what is on its way then may go over by a tenth.
QUOTA_SLACK = 1.1
REPEAT_WITHIN = timedelta(hours=24)
KEYS_AT_ONCE = 128  # in one statement


@dataclass(frozen=True, slots=True)
class Copy:
    """One maildrop that a message goes to, with the trace lines of its own."""

    maildrop_id: int
    recipient: Address
    prefix: bytes
    held: bool = False  # apart from the inbox: suspected spam


@dataclass(frozen=True, slots=True)
class NewMessage:
    """An arrival as the store takes it: canonical content, one copy for each maildrop."""

    uid: UniqueId
    mail_from: Address | None
    content: bytes
    facts: Facts
    copies: Sequence[Copy]
    authentication: Authentication = UNCHECKED


@dataclass(frozen=True, slots=True)
class Delivery:
    """One arrival on its way into the database."""

    new: NewMessage
    packed: Packed
    measures: dict[int, Measures]  # by maildrop
    fingerprint: bytes
    quota_octets: int  # of maildrops that have none of their own; 0: none
    now: datetime

    @classmethod
    def of(cls, new: NewMessage, packed: Packed, *, quota_octets: int, now: datetime) -> Delivery:
        measures = {copy.maildrop_id: measure(copy.prefix, new.content) for copy in new.copies}
        return cls(new, packed, measures, fingerprint(new), quota_octets, now)

    @property
    def size(self) -> int:
        """Octets in the first recipient's maildrop."""
        return self.measures[self.new.copies[0].maildrop_id].size

    @property
    def key(self) -> dict[str, object]:
        """Of the body, under the lowest maildrop."""
        return {"home": min(self.measures), "uid": self.new.uid.octets}

    def landed(self, connection: Connection) -> int | None:
        """The size if an earlier try has kept the whole arrival, else None."""
        message = schema.message.c
        there = connection.execute(
            select(func.count()).where(
                message.maildrop_id.in_(self.measures), message.uid == self.new.uid.octets
            )
        ).scalar_one()
        return self.size if there == len(self.measures) else None


def deliver(connection: Connection, deliveries: Sequence[Delivery]) -> list[int | Failure]:
    """The sizes of what was kept, or OverQuota for one arrival alone, of which nothing is left.

    The arrivals of a batch go through in their order, and each table gets one statement.
    """
    ADD_BODY.run_many(connection, [body_row(delivery) for delivery in deliveries])
    chunks = [
        delivery.key | {"n": n, "frame": frame}
        for delivery in deliveries
        for n, frame in enumerate(delivery.packed.frames)
    ]
    if chunks:
        ADD_CHUNK.run_many(connection, chunks)
    wanted = {maildrop_id for delivery in deliveries for maildrop_id in delivery.measures}
    counters = {
        maildrop_id: Counters.of(row)
        for maildrop_id, row in lock_maildrops(connection, wanted).items()
    }
    seen = _seen(connection, deliveries)
    outcomes: list[int | Failure] = []
    rows: list[dict[str, Any]] = []
    for delivery in deliveries:
        if full := _full(delivery, counters):
            _delete_body(connection, delivery)
            outcomes.append(full)
            continue
        for copy in delivery.new.copies:
            drop = counters[copy.maildrop_id]
            drop.take(delivery.measures[copy.maildrop_id].size, delivery)
            print_key = (copy.maildrop_id, delivery.fingerprint)
            rows.append(message_row(delivery, copy, drop.modseq, repeats=print_key in seen))
            seen.add(print_key)
        outcomes.append(delivery.size)
    if rows:
        ADD_MESSAGE.run_many(connection, rows)
        COUNT.run_many(connection, [drop.values() for drop in counters.values() if drop.changed])
    return outcomes


@dataclass(slots=True)
class Counters:
    """A counter row while a batch goes by."""

    id: int
    modseq: int
    messages: int
    octets: int
    quota_octets: int | None
    quota_messages: int | None
    full_since: int | None
    changed: bool = False

    @classmethod
    def of(cls, row: Any) -> Counters:
        return cls(
            *(row.id, row.modseq, row.messages, row.octets),
            *(row.quota_octets, row.quota_messages, row.full_since),
        )

    def has_room(self, size: int, configured: int) -> bool:
        quota = configured if self.quota_octets is None else self.quota_octets
        if quota and self.octets + size > quota * QUOTA_SLACK:
            return False
        return self.quota_messages is None or self.messages < self.quota_messages

    def take(self, size: int, delivery: Delivery) -> None:
        self.modseq += 1
        self.messages += 1
        self.octets += size
        self.changed = True
        quota = delivery.quota_octets if self.quota_octets is None else self.quota_octets
        if self.full_since is None and quota and self.octets >= quota:
            self.full_since = microseconds(delivery.now)

    def values(self) -> dict[str, object]:
        return {
            "id": self.id,
            "modseq": self.modseq,
            "messages": self.messages,
            "octets": self.octets,
            "full_since": self.full_since,
        }


ADD_BODY = Prepared(insert(schema.body))
ADD_CHUNK = Prepared(insert(schema.body_chunk))
ADD_MESSAGE = Prepared(insert(schema.message))
COUNT = PreparedUpdate(schema.maildrop, "id", "modseq", "messages", "octets", "full_since")


def body_row(delivery: Delivery) -> dict[str, object]:
    packed = delivery.packed
    return delivery.key | {
        "refs": len(delivery.measures),
        "octets": packed.octets,
        "stored": packed.stored,
        "codec": ZSTD,
        "place": IN_DATABASE,
        "sha256": packed.sha256,
        "frames": None,
    }


def _delete_body(connection: Connection, delivery: Delivery) -> None:
    key = delivery.key
    for table in (schema.body_chunk, schema.body):
        connection.execute(
            delete(table).where(table.c.home == key["home"], table.c.uid == key["uid"])
        )


def _full(delivery: Delivery, counters: dict[int, Counters]) -> OverQuota | None:
    for maildrop_id, measures in delivery.measures.items():
        if not counters[maildrop_id].has_room(measures.size, delivery.quota_octets):
            return OverQuota("mailbox full", maildrop=maildrop_id)
    return None


def _seen(connection: Connection, deliveries: Sequence[Delivery]) -> set[tuple[int, bytes]]:
    """Of these messages, the ones that have arrived in these maildrops within REPEAT_WITHIN."""
    since = UniqueId.first_of(min(delivery.now for delivery in deliveries) - REPEAT_WITHIN)
    keys = list({(drop, each.fingerprint) for each in deliveries for drop in each.measures})
    seen: set[tuple[int, bytes]] = set()
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[start : start + KEYS_AT_ONCE]
        values: dict[str, object] = {"since": since.octets}
        for n, (drop, mark) in enumerate(some):
            values |= {f"drop{n}": drop, f"mark{n}": mark}
        seen.update((drop, mark) for drop, mark in _look_up(len(some)).run(connection, values))
    return seen


@cache
def _look_up(count: int) -> Prepared:
    """Which of so many fingerprints are there: one seek each, however often one has come before."""
    keys = ", ".join(f"(:drop{n}, :mark{n})" for n in range(count))
    return Prepared(
        text(
            f"WITH wanted (drop_id, mark) AS (VALUES {keys}) SELECT drop_id, mark FROM wanted"  # noqa: S608 - names
            " WHERE (SELECT message.uid FROM message WHERE message.maildrop_id = wanted.drop_id"
            " AND message.fingerprint = wanted.mark AND message.uid >= :since LIMIT 1) IS NOT NULL"
        )
    )


def message_row(delivery: Delivery, copy: Copy, modseq: int, *, repeats: bool) -> dict[str, Any]:
    measures, facts = delivery.measures[copy.maildrop_id], delivery.new.facts
    shown = delivery.new.authentication
    return delivery.key | {
        "maildrop_id": copy.maildrop_id,
        "born": modseq,
        "modseq": modseq,
        "folder": (Folder.HELD if copy.held else Folder.INBOX).value,
        "flags": UNREAD,
        "traits": BY_SMTP
        | (DOTTED if measures.dotted else 0)
        | (REPEAT if repeats else 0)
        | (SUSPECTED if shown.suspected else 0),
        "size": measures.size,
        "header_size": measures.header_size,
        "expires_at": None,
        "prefix": copy.prefix,
        "rcpt": str(copy.recipient),
        "mail_from": str(delivery.new.mail_from or ""),
        "from_text": facts.from_text,
        "to_text": facts.to_text,
        "subject": facts.subject,
        "sent_at": microseconds(facts.sent_at) if facts.sent_at else None,
        "message_id": facts.message_id,
        "fingerprint": delivery.fingerprint,
        "proof": shown.proof.value or None,
        "author_domain": shown.domain or None,
        "reasons": shown.reasons or None,
    }


def lock_maildrops(connection: Connection, ids: Collection[int]) -> dict[int, Any]:
    """Their counter rows by id, held until the end of the transaction; taken in ascending order."""
    ordered = sorted(ids)
    connection.info.setdefault(TOUCHED, set()).update(ordered)
    rows: dict[int, Any] = {}
    for start in range(0, len(ordered), KEYS_AT_ONCE):
        values = {f"id{n}": key for n, key in enumerate(ordered[start : start + KEYS_AT_ONCE])}
        rows |= {row.id: row for row in _lock(len(values)).run(connection, values)}
    return rows


@cache
def _lock(count: int) -> Prepared:
    drops = schema.maildrop
    ids = [bindparam(f"id{n}", type_=drops.c.id.type) for n in range(count)]
    return Prepared(select(drops).where(drops.c.id.in_(ids)).order_by(drops.c.id).with_for_update())


def fingerprint(new: NewMessage) -> bytes:
    """The same for a message that a sender brings twice, whatever way it takes."""
    facts = new.facts
    digest = hashlib.blake2b(digest_size=16)
    sent = facts.sent_at.isoformat() if facts.sent_at else ""
    told = (facts.from_text, sent, facts.subject, facts.message_id)
    for fact in told:
        digest.update(fact.encode() + b"\0")
    if any(told):
        blank = new.content.find(b"\r\n\r\n")
        body = blank + 4 if blank >= 0 else len(new.content)
    else:  # only all its octets tell it from another
        body = 0
    digest.update(memoryview(new.content)[body:])
    return digest.digest()
