"""The steps of removing: plain functions of a connection, each safe to run again.

In a maildrop:

    expired, in trash or purged   its rows go, a tombstone stays, its body has one reference less
    trash above the quota's size  what would go first is purged now
    tombstones above their age    go, and the floor says up to where

A body that nothing refers to waits for BODY_GRACE: until then a backup may still copy it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby, takewhile
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from mail.ident import UniqueId
from store import schema, search
from store.delivery import lock_maildrops
from store.engines import Backend
from store.moves import SHOWN, SLICE
from store.records import AccountState, Folder
from store.writer import Work

T = TypeVar("T")

BODY_GRACE = timedelta(hours=72)
TOMBSTONES_KEPT = timedelta(days=30)
REMOVED_AT_ONCE = 1000
ACCOUNTS_A_RUN = 100
BODIES_AT_ONCE = 100
BODY_OCTETS_AT_ONCE = 8 * 1024 * 1024
SHARDS = 16

EXPIRING = (Folder.TRASH, Folder.PURGED)


def us(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Look:
    """What is due in a maildrop. The first that is not empty comes first."""

    modseq: int  # of the maildrop when this was read
    expired: Sequence[bytes] = ()
    above: Sequence[UniqueId] = ()
    forget: int = 0  # tombstones up to this modseq
    next: int | None = None  # TS


def look(drop: int, now: int, quota_octets: int, connection: Connection) -> Look | None:
    """None when the maildrop is not there any more. Read outside the row's lock: a look is long."""
    drops, message, tombstone = schema.maildrop.c, schema.message.c, schema.tombstone.c
    counters = connection.execute(
        select(drops.modseq, drops.trash_octets, drops.quota_octets).where(drops.id == drop)
    ).one_or_none()
    if counters is None:
        return None
    expiring = (message.maildrop_id == drop, message.folder.in_(EXPIRING))
    expired = connection.execute(
        select(message.uid).where(*expiring, message.expires_at <= now).limit(REMOVED_AT_ONCE)
    ).scalars()
    if uids := list(expired):
        return Look(counters.modseq, expired=uids)
    quota = quota_octets if counters.quota_octets is None else counters.quota_octets
    excess = counters.trash_octets - quota if quota else 0
    if above := list(_longest_in_trash(drop, excess, connection)):
        return Look(counters.modseq, above=above)
    if modseq := old_tombstones(drop, now - us(TOMBSTONES_KEPT), connection):
        return Look(counters.modseq, forget=modseq)
    expiry = connection.execute(select(func.min(message.expires_at)).where(*expiring)).scalar_one()
    oldest = connection.execute(
        select(tombstone.at)
        .where(tombstone.maildrop_id == drop)
        .order_by(tombstone.modseq)
        .limit(1)
    ).scalar_one_or_none()
    moments = [expiry, None if oldest is None else oldest + us(TOMBSTONES_KEPT)]
    return Look(counters.modseq, next=min((at for at in moments if at is not None), default=None))


def _longest_in_trash(drop: int, octets: int, connection: Connection) -> Iterator[UniqueId]:
    """At least so many octets of what would expire first, as far as one step goes."""
    if octets <= 0:
        return
    message = schema.message.c
    for uid, size in connection.execute(
        select(message.uid, message.size)
        .where(message.maildrop_id == drop, message.folder == Folder.TRASH)
        .order_by(message.expires_at, message.uid)
        .limit(REMOVED_AT_ONCE)
    ):
        if octets <= 0:
            return
        octets -= size
        yield UniqueId(uid)


def old_tombstones(drop: int, until: int, connection: Connection) -> int:
    """The modseq up to which the oldest tombstones, about one step of them, are that old; or 0."""
    columns = schema.tombstone.c
    rows = connection.execute(
        select(columns.modseq, columns.at)
        .where(columns.maildrop_id == drop)
        .order_by(columns.modseq, columns.uid)
        .limit(REMOVED_AT_ONCE)
    ).all()
    return max((row.modseq for row in takewhile(lambda row: row.at <= until, rows)), default=0)


def remove(
    drop: int, uids: Sequence[bytes], now: int, backend: Backend, connection: Connection
) -> None:
    """Final removal; what was restored meanwhile stays."""
    message, drops = schema.message.c, schema.maildrop.c
    counters = lock_maildrops(connection, [drop])[drop]
    if backend.long_lists:
        connection.exec_driver_sql(backend.long_lists)
    rows: list[Any] = []
    for keys in slices(uids):
        rows += connection.execute(
            select(message.home, message.uid, message.size, message.folder).where(
                message.maildrop_id == drop,
                message.uid.in_(keys),
                message.folder.in_(EXPIRING),
                message.expires_at <= now,
            )
        )
    if not rows:
        return
    modseq = counters.modseq + 1
    gone = [row.uid for row in rows]
    for keys in slices(gone):
        search.forget(connection, backend, drop, keys)
        for table in (schema.message, schema.uidl_override):
            connection.execute(
                delete(table).where(table.c.maildrop_id == drop, table.c.uid.in_(keys))
            )
    connection.execute(
        insert(schema.tombstone),
        [{"maildrop_id": drop, "modseq": modseq, "uid": uid, "at": now} for uid in gone],
    )
    connection.execute(
        update(schema.maildrop)
        .where(drops.id == drop)
        .values(
            modseq=modseq,
            trash_octets=drops.trash_octets
            - sum(row.size for row in rows if row.folder == Folder.TRASH),
        )
    )
    rows.sort(key=lambda row: (row.home, row.uid))
    for home, shared in groupby(rows, key=attrgetter("home")):
        for keys in slices([row.uid for row in shared]):
            _release_bodies(home, keys, now, connection)


def _release_bodies(home: int, uids: Sequence[bytes], now: int, connection: Connection) -> None:
    """One reference less. The lock of its row lets one transaction alone see 0, which is final."""
    body = schema.body.c
    these = and_(body.home == home, body.uid.in_(uids))
    connection.execute(update(schema.body).where(these, body.refs > 0).values(refs=body.refs - 1))
    unused = connection.execute(select(body.uid).where(these, body.refs == 0)).scalars().all()
    if unused:
        not_before = now + us(BODY_GRACE)
        connection.execute(
            insert(schema.body_gone),
            [
                {"shard": uid[-1] % SHARDS, "not_before": not_before, "home": home, "uid": uid}
                for uid in unused
            ],
        )


def if_unchanged(drop: int, modseq: int, work: Work[object], connection: Connection) -> None:
    """Runs `work` under the maildrop's lock if nothing has changed since it was looked at."""
    counters = lock_maildrops(connection, [drop]).get(drop)
    if counters is not None and counters.modseq == modseq:
        work(connection)


def look_again(drop: int, at: int | None, connection: Connection) -> None:
    connection.execute(
        update(schema.maildrop).where(schema.maildrop.c.id == drop).values(sweep_at=at)
    )


def forget_tombstones(drop: int, modseq: int, connection: Connection) -> None:
    """Tombstones up to `modseq` go; a reader of changes who stands below starts over."""
    drops, tombstone = schema.maildrop.c, schema.tombstone.c
    lock_maildrops(connection, [drop])
    connection.execute(
        delete(schema.tombstone).where(tombstone.maildrop_id == drop, tombstone.modseq <= modseq)
    )
    connection.execute(
        update(schema.maildrop)
        .where(drops.id == drop, drops.tombstone_floor < modseq)
        .values(tombstone_floor=modseq)
    )


def oldest_trash(until: int, octets: int, connection: Connection) -> dict[int, list[bytes]]:
    """What would go first of the trash that expires `until` then, by maildrop: enough of it that
    its bodies have so many octets. Nothing where all of it has less.

    It reads every row: for a full disk only.
    """
    message, body = schema.message.c, schema.body.c
    found: dict[int, list[bytes]] = {}
    for drop, uid, stored, refs in connection.execute(
        select(message.maildrop_id, message.uid, body.stored, body.refs)
        .join(schema.body, and_(body.home == message.home, body.uid == message.uid))
        .where(message.folder == Folder.TRASH, message.expires_at <= until)
        .order_by(message.expires_at, message.uid)
    ):
        found.setdefault(drop, []).append(bytes(uid))
        octets -= stored // max(refs, 1)  # of a shared one this much, if the others go too
        if octets <= 0:
            return found
    return {}


def closed(now: int, connection: Connection) -> list[tuple[int, int]]:
    """Accounts to be removed now, with their maildrops."""
    account, drops = schema.account.c, schema.maildrop.c
    rows = connection.execute(
        select(account.id, drops.id)
        .join(schema.maildrop, drops.account_id == account.id)
        .where(account.state == AccountState.CLOSED, account.close_at <= now)
        .limit(ACCOUNTS_A_RUN)
    )
    return [(account_id, drop) for account_id, drop in rows]


def shown(drop: int, connection: Connection) -> list[UniqueId]:
    message = schema.message.c
    found = connection.execute(
        select(message.uid)
        .where(message.maildrop_id == drop, message.folder.in_(list(SHOWN)))
        .limit(REMOVED_AT_ONCE)
    )
    return [UniqueId(uid) for uid in found.scalars()]


def erase(account_id: int, drop: int, connection: Connection) -> None:
    """The rows of an account without mail. Where mail has just come, the next run tries again."""
    lock_maildrops(connection, [drop])
    message, drops = schema.message.c, schema.maildrop.c
    if connection.execute(select(message.uid).where(message.maildrop_id == drop).limit(1)).first():
        return
    source = schema.source.c
    sources = select(source.id).where(source.maildrop_id == drop)
    connection.execute(
        delete(schema.source_seen).where(schema.source_seen.c.source_id.in_(sources))
    )
    for table in (
        schema.source,
        schema.follower,
        schema.device,
        schema.device_mark,
        schema.address,
        schema.address_target,
        schema.tombstone,
    ):
        connection.execute(delete(table).where(table.c.maildrop_id == drop))
    connection.execute(delete(schema.maildrop).where(drops.id == drop))
    if connection.execute(select(drops.id).where(drops.account_id == account_id)).first():
        return
    for owned in (schema.credential, schema.job):
        connection.execute(delete(owned).where(owned.c.account_id == account_id))
    connection.execute(delete(schema.account).where(schema.account.c.id == account_id))


def unused_bodies(shard: int, now: int, connection: Connection) -> list[Any]:
    """The next bodies to remove: few enough for a short transaction, but at least one."""
    gone, body = schema.body_gone.c, schema.body.c
    rows = connection.execute(
        select(gone.not_before, gone.home, gone.uid, body.stored)
        .outerjoin(schema.body, and_(body.home == gone.home, body.uid == gone.uid))
        .where(gone.shard == shard, gone.not_before <= now)
        .order_by(gone.not_before, gone.home, gone.uid)
        .limit(BODIES_AT_ONCE)
    ).all()
    octets = 0
    for number, row in enumerate(rows):
        octets += row.stored or 0
        if octets > BODY_OCTETS_AT_ONCE:
            return list(rows[: max(number, 1)])
    return list(rows)


def remove_bodies(shard: int, bodies: Sequence[Any], connection: Connection) -> None:
    body, gone = schema.body.c, schema.body_gone.c
    for row in bodies:
        this = and_(body.home == row.home, body.uid == row.uid)
        connection.execute(delete(schema.body).where(this, body.refs == 0))
        if connection.execute(select(body.refs).where(this)).first() is None:
            for table in (schema.body_chunk, schema.digest):
                connection.execute(
                    delete(table).where(table.c.home == row.home, table.c.uid == row.uid)
                )
        connection.execute(
            delete(schema.body_gone).where(
                gone.shard == shard,
                gone.not_before == row.not_before,
                gone.home == row.home,
                gone.uid == row.uid,
            )
        )


def slices(keys: Sequence[T]) -> Iterator[list[T]]:
    for start in range(0, len(keys), SLICE):
        yield list(keys[start : start + SLICE])
