"""Which maildrops this process has changed: what was read of the others is still so.

It tells all only where no other process writes (`Database.alone`). Who changes what a session lists
locks the maildrop first (`lock_maildrops`), and that is where it is noted.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

TOUCHED = "touched"  # in `Connection.info` of the writer: ids of the maildrops locked so far
COUNTS = 4096


class Changed:
    """Counts of changes, each shared by some maildrops."""

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * COUNTS))

    def count(self, maildrop_id: int) -> int:
        """Another one than before, if it may have changed; to be asked before it is read."""
        return self._counts[maildrop_id % COUNTS]

    def add(self, maildrop_ids: Iterable[int]) -> None:
        """After the commit, and before anybody is told of it; by the writer's thread alone."""
        for maildrop_id in maildrop_ids:
            self._counts[maildrop_id % COUNTS] += 1
