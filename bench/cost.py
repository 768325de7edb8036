"""What a server costs: all its processes, their time on the processor and their memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
QUIET_S = 0.6
QUIET_TICKS = 2  # a server at rest may still look around


def tree(roots: Iterable[int]) -> list[int]:
    """These processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for pid, fields in _all():
        children.setdefault(int(fields[1]), []).append(pid)
    found: list[int] = []
    left = list(roots)
    while left:
        pid = left.pop()
        found.append(pid)
        left += children.get(pid, [])
    return found


def cpu_s(roots: Sequence[int]) -> float:
    """Seconds of the processor, with those of children that have ended."""
    alive = set(tree(roots))
    ticks = sum(sum(map(int, fields[11:15])) for pid, fields in _all() if pid in alive)
    return ticks * TICK_S


def memory_kib(roots: Sequence[int]) -> int:
    """Memory of their own, and of what they share with others their part of it."""
    found = 0
    for pid in tree(roots):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += next(int(line.split()[1]) for line in text.splitlines() if line[:4] == "Pss:")
    return found


def settle(roots: Sequence[int], *, at_most_s: float) -> bool:
    """Waits until the server rests from what is still to be done behind its replies."""
    deadline = time.monotonic() + at_most_s
    before = cpu_s(roots)
    while time.monotonic() < deadline:
        time.sleep(QUIET_S)
        now = cpu_s(roots)
        if now - before <= QUIET_TICKS * TICK_S:
            return True
        before = now
    return False


def _all() -> Iterable[tuple[int, list[str]]]:
    """Every process, and its fields from the state on (proc(5), field 3)."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(folder.name), text.rpartition(")")[2].split()
