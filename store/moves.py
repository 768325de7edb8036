"""Moving messages between folders: the trash, back out of it, and away for good.

    delete    -> trash, with the moment it goes for good
    archive   -> archive
    restore   trash -> inbox or archive, under the same uid
    purge     -> purged: shown nowhere from now on, removed by upkeep

Each is one transaction with the maildrop's counters.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select, update

from mail.errors import OverQuota
from mail.ident import UniqueId
from store import schema
from store.delivery import lock_maildrops
from store.records import Folder

SLICE = 500  # keys in one statement
COUNTED = frozenset({Folder.INBOX, Folder.ARCHIVE, Folder.HELD})  # in the quota
SHOWN = COUNTED | {Folder.TRASH}


@dataclass(frozen=True, slots=True)
class Move:
    """A job of the writer. Messages that are not in `come_from` stay where they are."""

    maildrop_id: int
    uids: Sequence[UniqueId]
    to: Folder
    come_from: Collection[Folder]
    expires: int | None  # TS: in trash and purged
    quota_octets: int  # as configured; 0: none
    long_lists: str | None

    def run(self, connection: Connection) -> int:
        """Returns how many were moved. Raises OverQuota for what comes out of the trash."""
        drops, message = schema.maildrop.c, schema.message.c
        counters = lock_maildrops(connection, [self.maildrop_id])[self.maildrop_id]
        if self.long_lists and len(self.uids) > 1:
            connection.exec_driver_sql(self.long_lists)
        slices = [
            [uid.octets for uid in self.uids[start : start + SLICE]]
            for start in range(0, len(self.uids), SLICE)
        ]
        count = dict.fromkeys(Folder, 0)
        octets = dict.fromkeys(Folder, 0)
        for keys in slices:
            for folder, number, size in connection.execute(
                select(message.folder, func.count(), func.sum(message.size))
                .where(*self._chosen(keys))
                .group_by(message.folder)
            ):
                count[Folder(folder)] += number
                octets[Folder(folder)] += int(size)
        moved, size = sum(count.values()), sum(octets.values())
        if not moved:
            return 0
        counted = self.to in COUNTED
        messages = moved * counted - sum(count[folder] for folder in COUNTED)
        grown = size * counted - sum(octets[folder] for folder in COUNTED)
        quota = self.quota_octets if counters.quota_octets is None else counters.quota_octets
        after = counters.octets + grown
        if grown > 0 and quota and after > quota:
            raise OverQuota("mailbox full", maildrop=self.maildrop_id)
        modseq = counters.modseq + 1
        for keys in slices:
            connection.execute(
                update(schema.message)
                .where(*self._chosen(keys))
                .values(folder=self.to, expires_at=self.expires, modseq=modseq)
            )
        trash = counters.trash_octets - octets[Folder.TRASH] + size * (self.to is Folder.TRASH)
        sweeps = [at for at in (counters.sweep_at, self.expires) if at is not None]
        if quota and trash > quota:
            sweeps.append(0)  # upkeep makes room at once
        connection.execute(
            update(schema.maildrop)
            .where(drops.id == self.maildrop_id)
            .values(
                modseq=modseq,
                messages=counters.messages + messages,
                octets=after,
                trash_octets=trash,
                full_since=counters.full_since if quota and after >= quota else None,
                sweep_at=min(sweeps) if sweeps else None,
            )
        )
        return moved

    def _chosen(self, keys: list[bytes]) -> tuple[ColumnElement[bool], ...]:
        message = schema.message.c
        return (
            message.maildrop_id == self.maildrop_id,
            message.uid.in_(keys),
            message.folder.in_(list(self.come_from)),
            message.folder != self.to,
        )
