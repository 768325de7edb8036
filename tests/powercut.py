"""What a power cut may leave of a run: system calls are traced, files rebuilt from what was synced.

The strict reading of POSIX, not what one file system happens to do: a write is certain once a sync
of its file, begun after the write had ended, has itself ended. Names are the content of their
folder: one that was made or removed is so for certain once the folder was synced. Of everything
else any part may be on the disk. A sector of 512 octets is written whole or not at all.

A moment is a line number of the trace. A thread goes on only after strace has written down what it
did, so whatever was waited for stands before whatever came next.
"""

import itertools
import random
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Generic, Self, TypeVar

SECTOR = 512
# Left out: SQLite's shared memory, which whoever opens the database first makes anew, and the
# store's reserve of room, which holds nothing.
NOT_CONTENT = ("-shm", ".reserve")

# What can change a file or a name, and what makes that certain. `_Reader` refuses those of them
# that SQLite does not use on its files.
_TRACED = (
    "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,truncate,"
    "ftruncate,fallocate,mmap,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat"
)
_LINE = re.compile(r"(\d+) +(?:(\w+)\(|<\.\.\. \w+ resumed>)(.*)\n")
_UNFINISHED = " <unfinished ...>"
_RESULT = re.compile(r"\) += (-?\d+)")


class Kind(Enum):
    """What became of the changes that were not certain."""

    DROPPED = "nothing of what was not certain"
    PART = "a random part of it"
    TORN = "all of it, the last write of each file torn"
    REORDERED = "a random part of it, in another order"


@dataclass(frozen=True, slots=True)
class Change:
    began: int
    ended: int

    def torn(self, chance: random.Random) -> Self:
        """What is left of it when it goes on while the power fails."""
        return self


@dataclass(frozen=True, slots=True)
class Write(Change):
    offset: int
    octets: bytes

    def torn(self, chance: random.Random) -> Self:
        """One of two halves, parted where a sector ends."""
        ends = range(-self.offset % SECTOR or SECTOR, len(self.octets), SECTOR)
        if not ends:
            return self
        end = chance.choice(ends)
        if chance.random() < 0.5:
            return replace(self, octets=self.octets[:end])
        return replace(self, offset=self.offset + end, octets=self.octets[end:])

    def apply(self, content: bytearray) -> None:
        content.extend(bytes(max(0, self.offset - len(content))))
        content[self.offset : self.offset + len(self.octets)] = self.octets


@dataclass(frozen=True, slots=True)
class Resize(Change):
    octets: int

    def apply(self, content: bytearray) -> None:
        content.extend(bytes(max(0, self.octets - len(content))))
        del content[self.octets :]


C = TypeVar("C", bound=Change)


@dataclass(eq=False, slots=True)
class Node(Generic[C]):
    """A file or a folder: what was done to it, and when it was synced."""

    changes: list[C] = field(default_factory=list)
    syncs: list[Change] = field(default_factory=list)

    def at(self, cut: int) -> tuple[list[C], list[C]]:
        """The changes before the moment `cut`: those that are certain then, and the others."""
        covered = max((sync.began for sync in self.syncs if sync.ended < cut), default=0)
        begun = [change for change in self.changes if change.began < cut]
        return (
            [change for change in begun if change.ended < covered],
            [change for change in begun if change.ended >= covered],
        )

    def left(self, cut: int, kind: Kind, chance: random.Random) -> list[C]:
        """The changes that a cut leaves, in the order in which they reached the disk."""
        certain, others = self.at(cut)
        match kind:
            case Kind.DROPPED:
                return certain
            case Kind.PART:
                share = chance.random()
                return certain + [change for change in others if chance.random() < share]
            case Kind.TORN:
                return certain + others[:-1] + [change.torn(chance) for change in others[-1:]]
            case Kind.REORDERED:
                return certain + chance.sample(others, chance.randint(0, len(others)))


File = Node[Write | Resize]


@dataclass(frozen=True, slots=True)
class Name(Change):
    """From now on `name` means `file`, or nothing."""

    name: str
    file: File | None


@dataclass(frozen=True, slots=True)
class Said:
    """A line that the program wrote to its standard output."""

    moment: int
    text: str


@dataclass(slots=True)
class Run:
    """What a program did in one folder that was empty before."""

    folder: Node[Name] = field(default_factory=Node)
    said: list[Said] = field(default_factory=list)

    def files(self, name: str = "") -> list[File]:
        """Every file there ever was, or every one that once had this name."""
        changes = self.folder.changes
        return [c.file for c in changes if c.file and (not name or c.name == name)]

    def nodes(self) -> list[Node[Name] | File]:
        return [self.folder, *self.files()]

    def syncs(self, name: str) -> int:
        return sum(len(file.syncs) for file in self.files(name))

    def cuts(self) -> list[int]:
        """The moments after each line, and before and after each sync."""
        syncs = [sync for node in self.nodes() for sync in node.syncs]
        return sorted(
            {said.moment + 1 for said in self.said}
            | {sync.began for sync in syncs}
            | {sync.ended + 1 for sync in syncs}
        )

    def said_before(self, cut: int) -> list[str]:
        return [said.text for said in self.said if said.moment < cut]

    def images(self, count: int, chance: random.Random) -> Iterator[tuple[int, Kind]]:
        """Each cut with everything dropped, then the other kinds where they can differ from it."""
        cuts = self.cuts()
        assert len(cuts) < count, f"{count} images are too few for {len(cuts)} cuts"
        yield from ((cut, Kind.DROPPED) for cut in cuts)
        open_cuts = [cut for cut in cuts if any(node.at(cut)[1] for node in self.nodes())]
        kinds = itertools.cycle([Kind.PART, Kind.TORN, Kind.REORDERED])
        for _ in range(count - len(cuts)):
            yield chance.choice(open_cuts), next(kinds)

    def image(self, cut: int, kind: Kind, chance: random.Random) -> dict[str, bytes]:
        """The files that a cut may leave, by name."""
        # What was done to one name keeps its order in every file system.
        kind_of_names = Kind.PART if kind is Kind.REORDERED else kind
        names: dict[str, File | None] = {}
        for named in self.folder.left(cut, kind_of_names, chance):
            names[named.name] = named.file
        found = {}
        for name, file in names.items():
            if file:
                content = bytearray()
                for change in file.left(cut, kind, chance):
                    change.apply(content)
                found[name] = bytes(content)
        return found


def trace(strace: str, command: Sequence[str], folder: Path, written: Path) -> Run:
    """Runs a program to its end that works in `folder`, which is empty; `written` is the trace."""
    # Of every thread; the path behind each descriptor, and all octets, in hexadecimal.
    options = ["-f", "--seccomp-bpf", "-y", "-xx", "-s", str(1 << 24), "-o", str(written)]
    done = subprocess.run(
        [strace, *options, "-e", f"trace={_TRACED}", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reader = _Reader(folder)
    with written.open(encoding="ascii") as lines:
        for call in _calls(lines):
            reader.take(call)
    return reader.run


@dataclass(frozen=True, slots=True)
class _Call(Change):
    name: str
    arguments: str
    result: int

    def octets(self) -> bytes:
        """The only string among the arguments."""
        _, written, rest = self.arguments.split('"')
        assert not rest.startswith("..."), f"strace has cut a {self.name}"
        return _octets(written)

    def last(self) -> int:
        return int(self.arguments.rpartition(", ")[2])


def _octets(written: str) -> bytes:
    return bytes.fromhex(written.replace("\\x", ""))


def _calls(lines: Iterable[str]) -> Iterator[_Call]:
    """The calls that succeeded, in the order of their ends."""
    begun: dict[str, tuple[int, str, str]] = {}  # by thread
    for moment, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if not match:
            continue  # a signal, or the end of a thread
        thread, name, text = match.groups()
        began = moment
        if not name:
            began, name, head = begun.pop(thread)
            text = head + text
        if text.endswith(_UNFINISHED):
            begun[thread] = (began, name, text.removesuffix(_UNFINISHED))
            continue
        result = _RESULT.search(text)
        assert result, f"{name} has no result"
        if int(result[1]) >= 0:
            yield _Call(began, moment, name, text[: result.start()], int(result[1]))
    assert not begun, f"calls without an end: {list(begun.values())}"


class _Reader:
    """Makes a run of calls."""

    def __init__(self, folder: Path) -> None:
        self.run = Run()
        self._live: dict[str, File] = {}
        path = "".join(f"\\x{octet:02x}" for octet in bytes(folder))
        self._within = re.compile(
            rf"""[<"]{re.escape(path)}(?:\\x2f((?:\\x[0-9a-f]{{2}})*))?[>"]"""
        )

    def take(self, call: _Call) -> None:
        if call.name == "write" and call.arguments.startswith("1<"):
            self.run.said.append(Said(call.began, call.octets().decode().rstrip("\n")))
            return
        path = self._within.search(call.arguments)
        if not path:
            return
        name = _octets(path[1] or "").decode()
        if not name.endswith(NOT_CONTENT):
            self._take(call, name)

    def _take(self, call: _Call, name: str) -> None:
        """`name` is empty for the folder itself."""
        began, ended = call.began, call.ended
        match call.name:
            case "open" | "openat":
                assert "O_TRUNC" not in call.arguments, f"O_TRUNC of {name} is not followed"
                if "O_CREAT" in call.arguments and name not in self._live:
                    self._live[name] = file = Node[Write | Resize]()
                    self.run.folder.changes.append(Name(began, ended, name, file))
            case "unlink":
                del self._live[name]
                self.run.folder.changes.append(Name(began, ended, name, None))
            case "pwrite64":
                octets = call.octets()[: call.result]
                self._live[name].changes.append(Write(began, ended, call.last(), octets))
            case "ftruncate":
                self._live[name].changes.append(Resize(began, ended, call.last()))
            case "fsync" | "fdatasync":
                node = self._live[name] if name else self.run.folder
                node.syncs.append(Change(began, ended))
            case "mmap" if "PROT_WRITE" not in call.arguments:
                pass
            case _:
                raise AssertionError(f"{call.name} of {name} is not followed")
