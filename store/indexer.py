"""Fills the search index and the digests behind the mail: after the commit, in small writes.

`follower` says for each maildrop up to which modseq every message has its document and its body a
digest. Whatever changes later has a higher number, so one walk through the changes above it finds
all that is missing; what is there already is left alone. Hints tell of fresh mail, and are taken
up when no more comes for a moment; whoever is behind without one is found at the start and in
rounds. Neither mail nor the next round is the worse for a write that fails.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mail.digest import VERSION, Digest, Wish
from mail.errors import Failure, MessageDamaged
from mail.ident import UniqueId
from store import schema
from store.content import Content
from store.database import Database
from store.delivery import lock_maildrops
from store.engines import Backend
from store.messages import OpenMessage, open_some
from store.records import Folder
from store.search import FOLLOWER, Document, damaged, forget_all, remember
from store.writer import Writer

HINTS = 10_000
ROUND_S = 600
QUIET_S, LATEST_S = 0.1, 5.0  # mail that still comes in goes first, but not for ever
TOGETHER = 4  # maildrops at a time
CHANGES = 500  # rows looked at in one read
MESSAGES = 25  # bodies held at a time
PORTION_OCTETS = 128 * 1024  # of documents in one write: mail waits behind it


@dataclass(frozen=True, slots=True)
class Found:
    """What was missing of one message."""

    uid: bytes
    document: Document | None
    digest: dict[str, Any] | None

    @property
    def octets(self) -> int:
        return len(self.document.words) if self.document else 0


class Indexer:
    """To be started and stopped once, in the loop in which hints are given."""

    def __init__(self, database: Database, writer: Writer, content: Content) -> None:
        self._database = database
        self._writer = writer
        self._content = content
        self._hints: set[int] = set()
        self._hinted = 0  # times
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def hint(self, maildrop_id: int) -> None:
        """There is fresh mail. What no longer fits is found by the next round."""
        if self._task and len(self._hints) < HINTS:
            self._hints.add(maildrop_id)
            self._hinted += 1
            self._woken.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """What is not done is found at the next start."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def catch_up(self) -> None:
        """Indexes what is missing in all maildrops. Raises StorageBusy."""
        await self._writer.run(partial(_begin, self._database.backend))
        behind: list[int] = [0]
        while behind := await self._database.read(partial(_behind, behind[-1])):
            await self._follow_all(behind)

    async def _serve(self) -> None:
        while True:
            with suppress(Failure, SQLAlchemyError):  # the next round finds it again
                await self.catch_up()
            with suppress(TimeoutError):
                async with asyncio.timeout(ROUND_S):
                    await self._serve_hints()

    async def _serve_hints(self) -> None:
        while True:
            await self._woken.wait()
            await self._quiet()
            self._woken.clear()
            hints, self._hints = list(self._hints), set()
            await self._follow_all(hints)

    async def _quiet(self) -> None:
        """Waits until no mail has come in for a moment."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + LATEST_S
        seen = 0
        while seen != self._hinted and loop.time() < latest:
            seen = self._hinted
            await asyncio.sleep(QUIET_S)

    async def _follow_all(self, maildrops: Sequence[int]) -> None:
        for some in _slices(maildrops, TOGETHER):
            # Their writes meet in one batch of the writer.
            await asyncio.gather(*map(self._try_to_follow, some))

    async def _try_to_follow(self, maildrop_id: int) -> None:
        with suppress(Failure, SQLAlchemyError):  # the next round finds it again
            try:
                await self._follow(maildrop_id)
            except DBAPIError as error:
                if damaged(error):
                    await self._writer.run(partial(forget_all, backend=self._database.backend))

    async def _follow(self, maildrop_id: int) -> None:
        """One walk through the changes of a maildrop, from where it was left to the end."""
        place = await self._database.read(partial(_place, maildrop_id))
        after = (place, _LAST_UID)
        while True:
            newest, changes = await self._database.read(partial(_changes, maildrop_id, after))
            more = len(changes) == CHANGES
            # One number can be that of many changes: some of the last may be still to come.
            end = max(place, changes[-1].modseq - 1) if more else newest
            missing = [change for change in changes if change.undocumented or change.undigested]
            done = 0
            for some in _slices(missing, MESSAGES):
                for portion in _portions(await self._look(some)):
                    done += len(portion)
                    to = max(place, missing[done].modseq - 1) if done < len(missing) else end
                    if not await self._write(maildrop_id, portion, place, to):
                        return
                    place = to
            if end > place and not await self._write(maildrop_id, [], place, end):
                return
            if not more:
                return
            place = end
            after = (changes[-1].modseq, changes[-1].uid)

    async def _look(self, changes: Sequence[Any]) -> list[Found]:
        """What is missing of these messages, one for each."""
        uids = [UniqueId(change.uid) for change in changes]
        reading = partial(open_some, self._database, changes[0].maildrop_id, uids)
        opened = await self._database.read(reading)
        return [
            await self._found(change, opened.get(uid))
            for change, uid in zip(changes, uids, strict=True)
        ]

    async def _found(self, change: Any, opened: OpenMessage | None) -> Found:
        """A message that is damaged or has just gone has no digest, and the words of its header."""
        read = None
        if opened:
            with suppress(MessageDamaged):
                read = await self._content.digest(opened, Wish(words=True))
        return Found(
            change.uid,
            Document.of(change, read.words if read else "") if change.undocumented else None,
            _row(change, read) if read and change.undigested else None,
        )

    async def _write(self, maildrop_id: int, found: Sequence[Found], place: int, to: int) -> bool:
        """Whether the walk may go on: nobody else has moved the follower meanwhile."""
        write = partial(_keep, self._database.backend, maildrop_id, found, (place, to))
        return await self._writer.run(write, octets=sum(each.octets for each in found))


_LAST_UID = b"\xff" * 16


def _slices(things: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (things[start : start + size] for start in range(0, len(things), size))


def _begin(backend: Backend, connection: Connection) -> None:
    """What has been dropped is all made again."""
    if connection.execute(select(schema.search_doc.c.uid).limit(1)).first() is None:
        forget_all(connection, backend)
    if connection.execute(select(schema.digest.c.uid).limit(1)).first() is None:
        connection.execute(delete(schema.follower).where(schema.follower.c.name == FOLLOWER))


def _behind(after: int, connection: Connection) -> list[int]:
    """The next maildrops, by id, with changes that were not looked at."""
    drop, follower = schema.maildrop.c, schema.follower.c
    return list(
        connection.execute(
            select(drop.id)
            .outerjoin(
                schema.follower,
                and_(follower.maildrop_id == drop.id, follower.name == FOLLOWER),
            )
            .where(drop.id > after, drop.modseq > func.coalesce(follower.modseq, 0))
            .order_by(drop.id)
            .limit(CHANGES)
        ).scalars()
    )


def _place(maildrop_id: int, connection: Connection) -> int:
    follower = schema.follower.c
    found: int | None = connection.execute(
        select(follower.modseq).where(
            follower.maildrop_id == maildrop_id, follower.name == FOLLOWER
        )
    ).scalar_one_or_none()
    return found or 0


def _changes(
    maildrop_id: int, after: tuple[int, bytes], connection: Connection
) -> tuple[int, Sequence[Any]]:
    """The maildrop's modseq, and the next changed messages in order of (modseq, uid)."""
    message, doc, drop = schema.message.c, schema.search_doc.c, schema.maildrop.c
    digest, shown = schema.digest.c, schema.message.c.folder != Folder.PURGED
    newest: int = (
        connection.execute(select(drop.modseq).where(drop.id == maildrop_id)).scalar_one_or_none()
        or 0
    )
    changes = connection.execute(
        select(
            *(message.maildrop_id, message.uid, message.home, message.modseq),
            *(message.from_text, message.to_text, message.subject),
            and_(doc.uid.is_(None), shown).label("undocumented"),
            and_(digest.uid.is_(None), shown).label("undigested"),
        )
        .outerjoin(
            schema.search_doc,
            and_(doc.maildrop_id == message.maildrop_id, doc.uid == message.uid),
        )
        .outerjoin(schema.digest, and_(digest.home == message.home, digest.uid == message.uid))
        .where(
            message.maildrop_id == maildrop_id,
            message.modseq >= after[0],
            or_(message.modseq > after[0], message.uid > after[1]),
        )
        .order_by(message.modseq, message.uid)
        .limit(CHANGES)
    ).all()
    return newest, changes


def _row(change: Any, read: Digest) -> dict[str, Any]:
    """Of `digest`."""
    unknown = read.attachments is None
    told: dict[str, Any] = {"count": None if unknown else len(read.attachments or ())}
    if read.limit:
        told["limit"] = read.limit
    return {
        "home": change.home,
        "uid": change.uid,
        "snippet": read.snippet,
        "attachments": json.dumps(told, separators=(",", ":")),
        "parser": VERSION,
    }


def _portions(found: Sequence[Found]) -> Iterator[list[Found]]:
    portion: list[Found] = []
    octets = 0
    for each in found:
        if portion and octets + each.octets > PORTION_OCTETS:
            yield portion
            portion, octets = [], 0
        portion.append(each)
        octets += each.octets
    yield portion


def _keep(
    backend: Backend,
    maildrop_id: int,
    found: Sequence[Found],
    steps: tuple[int, int],
    connection: Connection,
) -> bool:
    """What was found of messages that are still there; the follower, from one place to another.

    False, and nothing written, when it is not at the first place any more.
    """
    # Whoever removes messages holds the counter row too: no document outlives its message.
    if not lock_maildrops(connection, [maildrop_id]):
        return False
    place, to = steps
    if _place(maildrop_id, connection) != place:
        return False
    message = schema.message.c
    there = set(
        connection.execute(
            select(message.uid).where(
                message.maildrop_id == maildrop_id,
                message.uid.in_([each.uid for each in found]),
            )
        ).scalars()
    )
    documents = [each.document for each in found if each.document and each.uid in there]
    if documents:
        remember(connection, backend, documents)
    _keep_digests([each.digest for each in found if each.digest and each.uid in there], connection)
    follower = schema.follower
    key = {"maildrop_id": maildrop_id, "name": FOLLOWER}
    moved = connection.execute(update(follower).filter_by(**key).values(modseq=to))
    if not moved.rowcount:
        connection.execute(insert(follower).values(**key, modseq=to))
    return True


def _keep_digests(digests: Sequence[dict[str, Any]], connection: Connection) -> None:
    """Those that are not there: another recipient of the same message may have been faster."""
    digest = schema.digest.c
    known = connection.execute(
        select(digest.home, digest.uid).where(digest.uid.in_([each["uid"] for each in digests]))
    )
    there = {(home, uid) for home, uid in known}
    fresh = [each for each in digests if (each["home"], each["uid"]) not in there]
    if fresh:
        connection.execute(insert(schema.digest), fresh)
