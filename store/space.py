"""Room on the disk of a database that is a file.

A floor, below which no mail is taken, and a reserve, which is let go when a write meets a full
disk, so that deletes can still be committed.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

RESERVE_OCTETS = 64 * 1024 * 1024
SMALL_DISK_SHARE = 8  # on a small disk the reserve is this part of it


class Space:
    """`floor_octets`: with less free room than this, mail is put off; 0: no floor, no reserve."""

    def __init__(self, database: Path, floor_octets: int) -> None:
        self._folder = database.parent
        self._log = database.with_name(database.name + "-wal")
        self._reserve = database.with_name(database.name + ".reserve")
        self._floor = floor_octets
        self.replenish()

    def free(self) -> int:
        """Octets that are free. What stands in the log is written once more by a checkpoint."""
        pending = self._log.stat().st_size if self._log.exists() else 0
        return shutil.disk_usage(self._folder).free - pending

    def short(self) -> bool:
        """Whether mail is put off: also where there is no room to make a lost reserve again."""
        free = self.free()
        if free >= self._floor + RESERVE_OCTETS:
            return False  # whatever is missing: the common case, asked before each commit
        return self._shortage(free) > 0

    def shortage(self) -> int:
        """Octets to free until mail is taken again; not above 0 while it is."""
        return self._shortage(self.free())

    def _shortage(self, free: int) -> int:
        return self._floor + self._missing() - free

    def release(self) -> None:
        """Lets go of the reserve, where the disk lets us."""
        with suppress(OSError):
            self._reserve.unlink(missing_ok=True)

    def replenish(self) -> None:
        """Makes the reserve again where there is room for it above the floor."""
        size = self._missing()
        if not size or self.short():
            return
        descriptor = os.open(self._reserve, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            self._reserve.unlink()
        finally:
            os.close(descriptor)

    def _missing(self) -> int:
        """Octets of the reserve to make. A start that was cut off leaves a smaller one."""
        if not self._floor:
            return 0
        size = min(RESERVE_OCTETS, shutil.disk_usage(self._folder).total // SMALL_DISK_SHARE)
        there = self._reserve.stat().st_size if self._reserve.exists() else 0
        return 0 if there >= size else size
