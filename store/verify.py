"""Whether the store holds what it says: counters, references, bodies.

Rows are checked within one read transaction, page by page in the order of their keys; then bodies
are unpacked one after the other, each in a transaction of its own. What is kept in memory is one
page, the keys of bodies that several maildrops share, and those of bodies that wait for removal.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select, update

from mail.errors import MessageDamaged
from mail.ident import UniqueId
from store import schema
from store.bodies import CHUNK_OCTETS, unpack
from store.database import Database
from store.delivery import lock_maildrops
from store.moves import COUNTED
from store.records import Folder, Usage
from store.writer import Writer

PAGE = 1000
PROBLEMS_LISTED = 1000

Progress = Callable[[str, int], None]
"""Called with what is checked and how many have been."""


class Wrong(StrEnum):
    COUNTERS = "the maildrop's counters differ from a recount"
    REFERENCES = "the body counts other references than there are"
    NO_BODY = "the message has no body"
    NO_MESSAGE = "no message has the body, and nothing will remove it"
    CHUNKS = "the body's chunks have a gap or another length"
    NO_OWNER = "the chunks have no body"
    UIDL = "two messages have one UIDL, or it is not one"
    DAMAGED = "the body is not what was stored"


@dataclass(frozen=True, slots=True)
class Problem:
    """`place` is a maildrop, or of a body its home."""

    wrong: Wrong
    place: int
    uid: UniqueId | None = None
    detail: str = ""


@dataclass(slots=True)
class Report:
    """`found` problems, the first of them in `problems`; `mended` maildrops were recounted."""

    maildrops: int = 0
    messages: int = 0
    bodies: int = 0
    unpacked: int = 0
    found: int = 0
    mended: int = 0
    problems: list[Problem] = field(default_factory=list)

    def add(self, wrong: Wrong, place: int, uid: bytes | None = None, detail: str = "") -> None:
        self.found += 1
        if len(self.problems) < PROBLEMS_LISTED:
            self.problems.append(Problem(wrong, place, UniqueId(uid) if uid else None, detail))


@dataclass(frozen=True, slots=True)
class _Paged:
    """A query whose rows are found page by page through an index that starts with its key.

    The key, two columns, is also what each row begins with.
    """

    query: Select[*tuple[Any, ...]]
    first: ColumnElement[Any]
    second: ColumnElement[Any]

    def after(self, key: tuple[int, bytes] | None, connection: Connection) -> list[Any]:
        query = self.query.order_by(self.first, self.second).limit(PAGE)
        if key is None:
            return list(connection.execute(query))
        # Not one condition on both: engines read the whole index for that.
        same = query.where(self.first == key[0], self.second > key[1])
        return list(connection.execute(same)) or list(
            connection.execute(query.where(self.first > key[0]))
        )

    def pages(self, connection: Connection) -> Iterator[list[Any]]:
        key = None
        while page := self.after(key, connection):
            yield page
            key = (page[-1][0], page[-1][1])


async def verify(
    database: Database,
    writer: Writer,
    *,
    bodies: float = 100,
    fix: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Checks all rows and `bodies` per cent of the bodies, while mail comes and goes.

    `fix` sets the counters of maildrops, under their locks, to what a recount gives; nothing else
    is changed. Raises StorageBusy.
    """
    loop = asyncio.get_running_loop()

    def tell(what: str, count: int) -> None:
        if progress:
            loop.call_soon_threadsafe(progress, what, count)

    report, miscounted = await database.read(partial(_check_rows, tell))
    if fix:
        for drop in miscounted:
            report.mended += await writer.run(partial(_recount, drop))
    await _check_bodies(database, bodies, report, tell)
    return report


def _check_rows(tell: Progress, connection: Connection) -> tuple[Report, list[int]]:
    """Also tells which maildrops are miscounted."""
    report = Report()
    miscounted = _check_counters(report, tell, connection)
    guests = _check_messages(report, tell, connection)
    _check_references(guests, report, tell, connection)
    _check_chunks(report, tell, connection)
    _check_uidls(report, connection)
    return report, miscounted


def _check_counters(report: Report, tell: Progress, connection: Connection) -> list[int]:
    drops = schema.maildrop.c
    miscounted = []
    last = -(2**63)
    query = select(drops.id, drops.messages, drops.octets, drops.trash_octets)
    while page := connection.execute(
        query.where(drops.id > last).order_by(drops.id).limit(PAGE)
    ).all():
        counted = _count(last, page[-1].id, connection)
        last = page[-1].id
        for drop, *kept in page:
            usage, recount = Usage(*kept), counted.get(drop, Usage(0, 0, 0))
            if usage != recount:
                miscounted.append(drop)
                report.add(Wrong.COUNTERS, drop, detail=f"{usage}, counted {recount}")
        report.maildrops += len(page)
        tell("maildrops", report.maildrops)
    return miscounted


def _count(above: int, upto: int, connection: Connection) -> dict[int, Usage]:
    """What the counters of these maildrops should be; those without messages are not in it."""
    message = schema.message.c
    found: dict[int, Usage] = {}
    for drop, folder, number, size in connection.execute(
        select(message.maildrop_id, message.folder, func.count(), func.sum(message.size))
        .where(message.maildrop_id > above, message.maildrop_id <= upto)
        .group_by(message.maildrop_id, message.folder)
    ):
        old = found.get(drop, Usage(0, 0, 0))
        octets = int(size)
        if folder in COUNTED:
            found[drop] = Usage(old.messages + number, old.octets + octets, old.trash_octets)
        elif folder == Folder.TRASH:
            found[drop] = Usage(old.messages, old.octets, old.trash_octets + octets)
    return found


def _recount(drop: int, connection: Connection) -> bool:
    if not lock_maildrops(connection, [drop]):
        return False
    usage = _count(drop - 1, drop, connection).get(drop, Usage(0, 0, 0))
    connection.execute(
        update(schema.maildrop)
        .where(schema.maildrop.c.id == drop)
        .values(
            messages=usage.messages,
            octets=usage.octets,
            trash_octets=usage.trash_octets,
            full_since=None,  # the next delivery to a full maildrop sets it
        )
    )
    return True


def _check_messages(
    report: Report, tell: Progress, connection: Connection
) -> Counter[tuple[int, bytes]]:
    """Returns how often each body is needed outside of its home."""
    message, body = schema.message.c, schema.body.c
    query = select(message.maildrop_id, message.uid, message.home, body.refs).outerjoin(
        schema.body, and_(body.home == message.home, body.uid == message.uid)
    )
    guests: Counter[tuple[int, bytes]] = Counter()
    for page in _Paged(query, message.maildrop_id, message.uid).pages(connection):
        for drop, uid, home, refs in page:
            if refs is None:
                report.add(Wrong.NO_BODY, drop, uid)
            elif home != drop:
                guests[home, uid] += 1
        report.messages += len(page)
        tell("messages", report.messages)
    return guests


def _check_references(
    guests: Counter[tuple[int, bytes]], report: Report, tell: Progress, connection: Connection
) -> None:
    body, message, chunk = schema.body.c, schema.message.c, schema.body_chunk.c
    gone = schema.body_gone.c
    to_go = {(home, uid) for home, uid in connection.execute(select(gone.home, gone.uid))}
    at_home = and_(message.maildrop_id == body.home, message.uid == body.uid)
    query = (
        select(body.home, body.uid, body.refs, body.octets, message.home, chunk.n)
        .outerjoin(schema.message, and_(at_home, message.home == body.home))
        .outerjoin(
            schema.body_chunk, and_(chunk.home == body.home, chunk.uid == body.uid, chunk.n == 0)
        )
    )
    for page in _Paged(query, body.home, body.uid).pages(connection):
        for home, uid, refs, octets, own, n in page:
            needed = guests[home, uid] + (own is not None)
            if not needed and (home, uid) not in to_go:
                report.add(Wrong.NO_MESSAGE, home, uid)
            elif refs != needed:
                report.add(Wrong.REFERENCES, home, uid, f"{refs}, counted {needed}")
            if octets and n is None:
                report.add(Wrong.CHUNKS, home, uid, "there is no first chunk")
        report.bodies += len(page)
        tell("bodies", report.bodies)


def _check_chunks(report: Report, tell: Progress, connection: Connection) -> None:
    body, chunk = schema.body.c, schema.body_chunk.c
    query = (
        select(
            *(chunk.home, chunk.uid, func.count(), func.min(chunk.n), func.max(chunk.n)),
            *(func.sum(func.length(chunk.frame)), func.max(body.octets), func.max(body.stored)),
        )
        .outerjoin(schema.body, and_(body.home == chunk.home, body.uid == chunk.uid))
        .group_by(chunk.home, chunk.uid)
    )
    checked = 0
    for page in _Paged(query, chunk.home, chunk.uid).pages(connection):
        for home, uid, number, first, last, length, octets, stored in page:
            if octets is None:
                report.add(Wrong.NO_OWNER, home, uid)
            # A body without its first chunk has been told of.
            elif first == 0 and (
                number != -(-octets // CHUNK_OCTETS) or last != number - 1 or length != stored
            ):
                report.add(Wrong.CHUNKS, home, uid, f"{number} chunks, {length} of {stored} octets")
        checked += len(page)
        tell("chunks", checked)


def _check_uidls(report: Report, connection: Connection) -> None:
    """The database keeps overrides apart; one may still be what another message has by itself."""
    override, message = schema.uidl_override.c, schema.message.c
    query = select(override.maildrop_id, override.uid, override.uidl)
    for page in _Paged(query, override.maildrop_id, override.uid).pages(connection):
        for drop, uid, uidl in page:
            if not 1 <= len(uidl) <= 70 or any(not "!" <= letter <= "~" for letter in uidl):
                report.add(Wrong.UIDL, drop, uid, uidl)  # RFC 1939 section 7
            try:
                same = UniqueId.parse(uidl)
            except ValueError:
                continue
            if connection.execute(
                select(message.uid)
                .outerjoin(
                    schema.uidl_override,
                    and_(override.maildrop_id == drop, override.uid == message.uid),
                )
                .where(
                    message.maildrop_id == drop,
                    message.uid == same.octets,
                    override.uid.is_(None),
                )
            ).first():
                report.add(Wrong.UIDL, drop, uid, uidl)


async def _check_bodies(database: Database, percent: float, report: Report, tell: Progress) -> None:
    body = schema.body.c
    paged = _Paged(select(body.home, body.uid), body.home, body.uid)
    key = None
    while percent > 0 and (page := await database.read(partial(paged.after, key))):
        for home, uid in page:
            if random.random() * 100 >= percent:  # noqa: S311 - a sample
                continue
            try:
                report.unpacked += await database.read(partial(_unpack, home, uid))
            except MessageDamaged as damage:
                report.unpacked += 1
                report.add(Wrong.DAMAGED, home, uid, str(damage.facts))
        key = (page[-1][0], page[-1][1])
        tell("unpacked", report.unpacked)


def _unpack(home: int, uid: bytes, connection: Connection) -> bool:
    """Whether the body was still there. One chunk at a time. Raises MessageDamaged."""
    body, chunk = schema.body.c, schema.body_chunk.c
    row = connection.execute(
        select(body.octets, body.sha256).where(body.home == home, body.uid == uid)
    ).one_or_none()
    if row is None:
        return False
    digest = hashlib.sha256()
    for n, start in enumerate(range(0, row.octets, CHUNK_OCTETS)):
        frame = connection.execute(
            select(chunk.frame).where(chunk.home == home, chunk.uid == uid, chunk.n == n)
        ).scalar_one_or_none()
        if frame is None:
            raise MessageDamaged("a stored message is damaged", chunk=n)
        digest.update(unpack(frame, min(row.octets - start, CHUNK_OCTETS)))
    if digest.digest() != row.sha256:
        raise MessageDamaged("a stored message is damaged", sha256=digest.hexdigest())
    return True
