"""Changing one message for the one who reads it: seen or not, starred, in another folder."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from mail.errors import NoSuchMessage, OtherVersion
from mail.ident import UniqueId
from store import schema
from store.delivery import STARRED, UNREAD, lock_maildrops
from store.moves import SHOWN, Move
from store.records import Folder


@dataclass(frozen=True, slots=True)
class Wanted:
    """None: as it is."""

    unread: bool | None = None
    starred: bool | None = None
    folder: Folder | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A job of the writer. Run again after it has run, it finds all as wanted."""

    maildrop_id: int
    uid: UniqueId
    wanted: Wanted
    version: int | None
    expires: int | None  # TS: in trash and purged
    quota_octets: int  # as configured; 0: none

    def run(self, connection: Connection) -> None:
        message, drops = schema.message.c, schema.maildrop.c
        this = (message.maildrop_id == self.maildrop_id, message.uid == self.uid.octets)
        counters = lock_maildrops(connection, [self.maildrop_id])[self.maildrop_id]
        row = connection.execute(
            select(message.folder, message.flags, message.modseq).where(*this)
        ).one_or_none()
        if row is None or row.folder not in SHOWN:
            raise NoSuchMessage("no such message", uid=str(self.uid))
        flags = _with(row.flags, UNREAD, wanted=self.wanted.unread)
        flags = _with(flags, STARRED, wanted=self.wanted.starred)
        to = row.folder if self.wanted.folder is None else self.wanted.folder
        if (flags, to) == (row.flags, row.folder):
            return
        if self.version is not None and self.version != row.modseq:
            raise OtherVersion("it has been changed meanwhile", uid=str(self.uid))
        if to != row.folder:
            self._move(Folder(to)).run(connection)  # it raises the maildrop's modseq by one
        modseq = counters.modseq + 1
        connection.execute(update(schema.message).where(*this).values(flags=flags, modseq=modseq))
        connection.execute(
            update(schema.maildrop).where(drops.id == self.maildrop_id).values(modseq=modseq)
        )

    def _move(self, to: Folder) -> Move:
        return Move(
            self.maildrop_id,
            [self.uid],
            to,
            come_from=SHOWN,
            expires=self.expires,
            quota_octets=self.quota_octets,
            long_lists=None,
        )


def _with(flags: int, flag: int, *, wanted: bool | None) -> int:
    if wanted is None:
        return flags
    return flags | flag if wanted else flags & ~flag
