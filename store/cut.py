"""Which messages of a maildrop with more of them than `max_listed` one credential is shown. Pure.

First what the credential has not retrieved yet, oldest first; what room is left goes to the newest
of what it has. A retrieved message that is left out once stays out: its `born` is not above the
`floor` from then on, because a client takes a UIDL that comes back for new mail. A message that was
not retrieved is offered until it is.

Old and new go by `born`, the order of the commits: mail brought in later with an earlier date must
not push out what was listed before. The list itself is in the order of arrival.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from store.maildrops import Changes, merged
from store.records import Entries

CHUNK = 8192  # numbers in one bitmap


class Marks:
    """A set of `born` numbers, as bitmaps of CHUNK numbers each."""

    __slots__ = ("chunks",)

    def __init__(self, chunks: dict[int, int] | None = None) -> None:
        self.chunks = chunks or {}

    @classmethod
    def of(cls, born: Iterable[int]) -> Marks:
        made = cls()
        for number in born:
            made.add(number)
        return made

    def add(self, born: int) -> None:
        chunk, bit = divmod(born, CHUNK)
        self.chunks[chunk] = self.chunks.get(chunk, 0) | 1 << bit

    def __contains__(self, born: int) -> bool:
        chunk, bit = divmod(born, CHUNK)
        return bool(self.chunks.get(chunk, 0) >> bit & 1)

    def meets(self, others: Marks) -> bool:
        return any(bits & others.chunks.get(chunk, 0) for chunk, bits in self.chunks.items())

    def among(self, born: Iterable[int]) -> list[bool]:
        """For each number whether it is in the set."""
        # As text, the lowest bit first: shifting a long number for each of 100,000 takes longer.
        digits = {chunk: f"{bits:0{CHUNK}b}"[::-1] for chunk, bits in self.chunks.items()}
        none = "0" * CHUNK
        return [digits.get(number // CHUNK, none)[number % CHUNK] == "1" for number in born]


@dataclass(frozen=True, slots=True)
class Cut:
    """What is shown of an inbox at `modseq`, and the floor from then on.

    `settled`: all that is left out was retrieved, and stays out. Otherwise as much is shown as may
    be, nothing of it was retrieved, and all that was not and is left out is newer.

    `watched`: as soon as one of these is retrieved, something else is shown. No marks matter but
    those from `oldest` to `newest`.
    """

    modseq: int
    entries: Entries
    floor: int
    settled: bool
    watched: Marks
    oldest: int
    newest: int


def cut_anew(modseq: int, inbox: Entries, marks: Marks, *, floor: int, most: int) -> Cut:
    """From the whole inbox and all marks: a third of a second for a million messages."""
    places, floor = choose(inbox.born, marks, floor=floor, most=most)
    shown = _only(inbox, places)
    born = shown.born
    settled = len(born) < most or any(marks.among(born))
    watched = Marks.of(number for number in born if not settled or number <= floor)
    ends = (min(born), max(born)) if born else (0, 0)
    return Cut(modseq, shown, floor, settled, watched, *ends)


def cut_again(before: Cut, modseq: int, changes: Changes, marks: Marks, *, most: int) -> Cut | None:
    """From what was shown before and what has changed since, in a time that `most` bounds.

    `marks` are those of what was shown and of `changes`. None: the whole inbox has to be asked.
    """
    same = not marks.meets(before.watched)
    if same and (not changes or (not before.settled and _passes_by(before, changes, marks))):
        return replace(before, modseq=modseq)
    if not before.settled:
        return None
    entries = merged(before.entries, changes)
    floor, excess = before.floor, len(entries) - most
    passed: list[int] = []
    out: list[int] = []
    oldest_first = sorted(entries.born)
    for number in oldest_first:
        if number > floor and excess <= 0:
            break
        if number in marks:
            out.append(number)
            floor = max(floor, number)
            excess -= 1
        else:
            passed.append(number)
    if excess > 0:
        return None
    shown = merged(entries, {entries.uid(entries.born.index(number)): None for number in out})
    watched = Marks.of(number for number in passed if number <= floor)
    ends = (oldest_first[0], oldest_first[-1]) if oldest_first else (0, 0)
    return Cut(modseq, shown, floor, True, watched, *ends)


def _passes_by(before: Cut, changes: Changes, marks: Marks) -> bool:
    """Whether nothing that is shown has gone, and all that has come is newer, or retrieved."""
    entries = before.entries
    for uid, change in changes.items():
        at = bisect_left(range(len(entries)), uid, key=entries.uid)
        if at < len(entries) and entries.uid(at) == uid:
            if change is None:
                return False
        elif change and change.born < before.newest and change.born not in marks:
            return False
    return True


def choose(
    born: Sequence[int], retrieved: Marks, *, floor: int, most: int
) -> tuple[list[int], int]:
    """The places of the messages to list, ascending, and the floor from now on.

    `born` has the number of each message, in the order of arrival.
    """
    new: list[int] = []
    known: list[int] = []
    for place, (number, marked) in enumerate(zip(born, retrieved.among(born), strict=True)):
        if not marked:
            new.append(place)
        elif number > floor:
            known.append(place)
    new.sort(key=born.__getitem__)
    known.sort(key=born.__getitem__)
    left_out = max(len(known) - max(most - len(new), 0), 0)
    if left_out:
        floor = born[known[left_out - 1]]
    return sorted(new[:most] + known[left_out:]), floor


def _only(entries: Entries, places: Sequence[int]) -> Entries:
    if len(places) == len(entries):
        return entries
    uids = b"".join(map(entries.uid, places))
    return Entries(
        uids,
        array("I", map(entries.sizes.__getitem__, places)),
        array("Q", map(entries.born.__getitem__, places)),
    )
