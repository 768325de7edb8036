"""Mail in files of other programs: mbox, maildir and single files, read and written in pieces.

mbox is read as mboxrd: of lines that are `From ` behind one or more `>`, one `>` is taken away.
mboxo has no such rule, and its lines are left as they stand. What is written is mboxrd, so that
each message comes back as it was. A new message begins at a line that says "From ", and a day, a
time and a year; an mbox whose first line is a barer one has its messages apart by blank lines.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import IO, Protocol

from mail.address import Address
from mail.arrival import from_line, read_from_line
from mail.errors import NotMail
from mail.lines import canonical

LINE_OCTETS = 64 * 1024  # as over SMTP
BLOCK_OCTETS = 64 * 1024

_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")  # RFC 5322 section 2.2, and 4.5.3 for the blanks
_QUOTED = re.compile(rb">+From ")
_TO_QUOTE = re.compile(rb"(?m)^(>*From )")


class Format(Enum):
    MBOX = "mbox"
    MBOXO = "mboxo"
    MAILDIR = "maildir"
    EML = "eml"


@dataclass(frozen=True, slots=True)
class Record:
    """One message of a source. `content` is canonical, and empty where `unfit` says why."""

    place: str  # how a person finds it
    read: int  # of the source's `total`, with this one
    content: bytes
    at: datetime  # when it came, where the message itself does not say
    sender: Address | None = None
    unread: bool = False
    starred: bool = False
    unfit: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """`total` octets of an mbox, or files of a folder. `records` is read once."""

    total: int
    records: Iterator[Record]


def open_source(format_: Format, path: Path, *, max_octets: int) -> Source:
    """Raises NotMail, OSError. Unfit messages of an mbox are copied to `rejected_of(path)`."""
    if format_ in (Format.MBOX, Format.MBOXO):
        unquote = format_ is Format.MBOX
        records = _read_mbox(path, max_octets=max_octets, unquote=unquote)
        return Source(path.stat().st_size, records)
    if format_ is Format.MAILDIR:
        if not (path / "cur").is_dir() or not (path / "new").is_dir():
            raise NotMail(f"{path} is no maildir: it has no folders cur and new")
        files = sorted([*_files(path / "cur"), *_files(path / "new")], key=lambda file: file.name)
    elif path.is_dir():
        files = sorted(file for file in _tree(path) if file.suffix.lower() == ".eml")
    else:
        files = [path]
        path.stat()
    return Source(len(files), _read_files(files, path, format_, max_octets=max_octets))


def rejected_of(path: Path) -> Path:
    """Where the messages of an mbox go that cannot be taken."""
    return path.with_name(path.name + ".rejected")


def _unfit(content: bytes, max_octets: int) -> str:
    """Why the store cannot keep this and serve it unchanged; empty if it can."""
    if len(content) > max_octets:
        return f"larger than {max_octets} octets"
    if not _FIELD.match(content):
        return "it has no header"
    blank = content.find(b"\r\n\r\n")
    if content.find(b"\0", 0, len(content) if blank < 0 else blank) >= 0:
        return "a NUL in the header"
    at = 0
    while len(content) - at > LINE_OCTETS:
        line_end = content.rfind(b"\n", at, at + LINE_OCTETS)
        if line_end < 0:
            return f"a line of more than {LINE_OCTETS} octets"
        at = line_end + 1
    return ""


# mbox.


def _read_mbox(path: Path, *, max_octets: int, unquote: bool) -> Iterator[Record]:
    with path.open("rb") as file:
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        line = file.readline(LINE_OCTETS)
        if line and not line.startswith(b"From "):
            raise NotMail(f"{path} is no mbox: its first line does not begin with From")
        bare = read_from_line(line) is None
        rejected = rejected_of(path)
        rejected.unlink(missing_ok=True)
        start = 0
        while line:
            sender, at = read_from_line(line) or (None, None)
            raw, line = _read_record(file, max_octets=max_octets, unquote=unquote, bare=bare)
            end = file.tell() - len(line)
            content = canonical(raw)
            unfit = _unfit(content, max_octets)
            if unfit:
                _copy(path, rejected, start, end)
            yield Record(
                place=f"octet {start}",
                read=end,
                content=b"" if unfit else content,
                at=at or written,
                sender=sender,
                unfit=unfit,
            )
            start = end


def _read_record(
    file: IO[bytes], *, max_octets: int, unquote: bool, bare: bool
) -> tuple[bytes, bytes]:
    """The lines up to the next line between messages, and that line; of one too large a part."""
    parts: list[bytes] = []
    octets = 0
    line_start = True
    blank = False  # whether the line before was one
    while line := file.readline(LINE_OCTETS):
        if line_start and line.startswith((b"From ", b">")):
            if read_from_line(line) or (bare and blank and line.startswith(b"From ")):
                break
            if unquote and _QUOTED.match(line):
                line = line[1:]
        blank = line_start and line in (b"\n", b"\r\n")
        line_start = line.endswith(b"\n")
        octets += len(line)
        if octets <= max_octets + LINE_OCTETS:
            parts.append(line)
    if blank and octets <= max_octets + LINE_OCTETS:
        parts.pop()  # it belongs to the mbox
    return b"".join(parts), line


def _copy(path: Path, to: Path, start: int, end: int) -> None:
    with path.open("rb") as source, to.open("ab") as target:
        source.seek(start)
        while start < end:
            block = source.read(min(BLOCK_OCTETS, end - start))
            target.write(block)
            start += len(block)


# Folders of files.


def _files(folder: Path) -> Iterator[Path]:
    """Regular files: a pipe would hang, and a link may lead anywhere."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                yield Path(entry.path)


def _tree(folder: Path) -> Iterator[Path]:
    for here, _, _ in os.walk(folder):
        yield from _files(Path(here))


def _read_files(
    files: list[Path], root: Path, format_: Format, *, max_octets: int
) -> Iterator[Record]:
    for number, file in enumerate(files, 1):
        found = file.stat()
        # What is too large is not read.
        content = canonical(file.read_bytes()) if found.st_size <= max_octets else b""
        unfit = _unfit(content, max_octets)
        if found.st_size > max_octets:
            unfit = f"larger than {max_octets} octets"
        maildir = format_ is Format.MAILDIR
        flags = file.name.rpartition(":2,")[2] if ":2," in file.name else ""
        yield Record(
            place=str(file.relative_to(root)) if file != root else file.name,
            read=number,
            content=b"" if unfit else content,
            at=_named_moment(file.name) or datetime.fromtimestamp(found.st_mtime, UTC),
            unread=maildir and "S" not in flags,
            starred=maildir and "F" in flags,
            unfit=unfit,
        )


def _named_moment(name: str) -> datetime | None:
    """Of a maildir's file: its name begins with the second of delivery."""
    seconds = name.partition(".")[0]
    if not (seconds.isascii() and seconds.isdigit() and 9 <= len(seconds) <= 10):
        return None
    return datetime.fromtimestamp(int(seconds), UTC)


# Writing.


@dataclass(frozen=True, slots=True)
class Label:
    """What a file keeps of a message beside its octets."""

    uid: str
    at: datetime
    sender: str
    unread: bool
    starred: bool


class Sink(Protocol):
    """Takes messages one after the other, their canonical octets in blocks."""

    def begin(self, label: Label) -> None: ...
    def write(self, block: bytes) -> None: ...
    def end(self) -> None: ...
    def drop(self) -> None:
        """Nothing stays of the message that was begun."""

    def close(self, *, complete: bool) -> None:
        """Everything is on the disk then. One file that is not complete is removed."""


def open_sink(format_: Format, path: Path) -> Sink:
    """Raises FileExistsError: nothing is written over."""
    match format_:
        case Format.MAILDIR:
            return _Maildir(path)
        case Format.EML:
            return _Folder(path)
        case _:
            return _Mbox(path)


class _Lines:
    """CRLF made LF, in blocks that end at a line's end."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, block: bytes) -> bytes:
        joined = self._tail + block
        cut = joined.rfind(b"\n") + 1
        self._tail = joined[cut:]
        return joined[:cut].replace(b"\r\n", b"\n")


class _Mbox:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        if path.exists():
            raise FileExistsError(17, "it exists already", str(path))
        self._file = self._part.open("wb")
        self._start = 0
        self._lines = _Lines()

    def begin(self, label: Label) -> None:
        self._start = self._file.tell()
        self._lines = _Lines()
        self._file.write(from_line(label.sender, label.at))

    def write(self, block: bytes) -> None:
        self._file.write(_TO_QUOTE.sub(rb">\1", self._lines.feed(block)))

    def end(self) -> None:
        self._file.write(b"\n")

    def drop(self) -> None:
        self._file.seek(self._start)
        self._file.truncate()

    def close(self, *, complete: bool) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        if complete:
            self._part.rename(self._path)
            sync_folder(self._path.parent)
        else:
            self._part.unlink()


class _Folder:
    """One file for each message, octets as stored."""

    def __init__(self, path: Path) -> None:
        self._folder = path
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise FileExistsError(17, "the folder is not empty", str(path))

    def begin(self, label: Label) -> None:
        self._to = self._place(label)
        self._file = self._to.open("xb")

    def _place(self, label: Label) -> Path:
        return self._folder / f"{label.uid}.eml"

    def write(self, block: bytes) -> None:
        self._file.write(block)

    def end(self) -> None:
        self._file.close()

    def drop(self) -> None:
        self._file.close()
        self._to.unlink()

    def close(self, *, complete: bool) -> None:
        # Each file is complete. A call for each would take longer than writing it.
        os.sync()


class _Maildir(_Folder):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for name in ("cur", "new", "tmp"):
            (path / name).mkdir()

    def begin(self, label: Label) -> None:
        self._lines = _Lines()
        super().begin(label)

    def _place(self, label: Label) -> Path:
        name = f"{int(label.at.timestamp())}.{label.uid}.restante"
        if label.unread and not label.starred:
            return self._folder / "new" / name
        flags = "F" * label.starred + "S" * (not label.unread)
        return self._folder / "cur" / f"{name}:2,{flags}"

    def write(self, block: bytes) -> None:
        self._file.write(self._lines.feed(block))


def sync_folder(folder: Path) -> None:
    """The names in a folder reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
