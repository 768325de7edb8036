"""Dialogs: conversations that are test and document in one, and what runs them.

A dialog file is read line by line:

    # comment             cites the RFC
    maildrop 10 20        sizes of the messages, in octets (2 at least); without it there are none
    given errors=3        limits of the server that are not the usual ones (SMTP)
    stls                  to the port where STLS must come first, not to the one in TLS
    C: LIST 1             the client sends a line with CRLF; lines in a row are sent together
    C- QUI                the client sends octets without CRLF
    S: +OK*               one line must match; `*` is any text
    S... TOP              lines are skipped up to one that matches
    S.                    lines are skipped up to the dot that ends a multi-line answer
    S--                   the server closes, and has nothing more to say
    TLS                   both go on in TLS
    --                    the client closes; what follows is a new connection to the same maildrop

In `C` lines `\\n`, `\\r`, `\\0`, `\\s` (a space) and `\\\\` are single octets, and `{a*300}` is 300
times `a`. The one user is USER with the password SECRET.
"""

import re
import socket
import ssl
from array import array
from binascii import unhexlify
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from mail.errors import BadCredentials
from mail.ident import UniqueId
from mail.lines import Stuffer, TopCut, measure
from pop3d import replies
from pop3d.commands import TABLE
from pop3d.engine import (
    Action,
    Close,
    Commit,
    Login,
    Send,
    SendListing,
    SendMessage,
    Session,
    StartTls,
    State,
)
from store.records import Entries

USER = "ann@example.org"
SECRET = "correct horse"

DIALOGS = sorted(Path(__file__).parent.glob("dialogs/pop3/*.dialog"))

_HEADER = b"Subject: test\r\n\r\n"
_TWO_LINES = b"line\r\n.dot\r\n"
_LINE = 6  # octets of each


def content(size: int) -> bytes:
    """The one message of `size` octets: canonical, with a header and body from 19 octets on.

    The body is `line` and `.dot` in turn, and a last line of `x` that makes up the size.
    """
    left = size - len(_HEADER) - 2
    if left < 0:
        return b"x" * (size - 2) + b"\r\n"
    lines, rest = divmod(left, _LINE)
    body = (_TWO_LINES * (lines // 2 + 1))[: lines * _LINE]
    return _HEADER + body + b"x" * rest + b"\r\n"


@dataclass(frozen=True, slots=True)
class Step:
    line: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Dialog:
    sizes: tuple[int, ...]
    stls: bool
    steps: tuple[Step, ...]
    given: dict[str, int]


_STEP = re.compile(r"(C:|C-|S:|S\.\.\.|S\.|S--|TLS|--)(?: (.*))?")


def parse(text: str) -> Dialog:
    """Raises ValueError with the number of the line that is none of the above."""
    sizes: tuple[int, ...] = ()
    given: dict[str, int] = {}
    stls = False
    steps = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("maildrop "):
            sizes = tuple(map(int, line.split()[1:]))
        elif line.startswith("given "):
            given = {name: int(value) for name, value in (w.split("=") for w in line.split()[1:])}
        elif line == "stls":
            stls = True
        elif step := _STEP.fullmatch(line):
            steps.append(Step(number, step[1], step[2] or ""))
        else:
            raise ValueError(f"line {number} is not part of a dialog: {line}")
    return Dialog(sizes, stls, tuple(steps), given)


class Talk(Protocol):
    """One connection, from the client's side, the greeting read."""

    def send(self, octets: bytes) -> None: ...

    def line(self) -> bytes:
        """The next line without its CRLF. Raises EOFError when the server has closed."""

    def close(self) -> None: ...


@runtime_checkable
class TlsTalk(Protocol):
    """One that can go on in TLS."""

    def start_tls(self) -> None: ...


def run(dialog: Dialog, connect: Callable[[], Talk]) -> None:
    """Raises AssertionError with the line of the dialog that was not met."""
    talk = connect()
    unsent = b""
    for step in dialog.steps:
        if step.kind in ("C:", "C-"):
            unsent += _octets(step.text) + (b"\r\n" if step.kind == "C:" else b"")
            continue
        if unsent:
            talk.send(unsent)
            unsent = b""
        match step.kind:
            case "S:":
                line = _line(talk, step)
                assert _matches(step.text, line), f"line {step.line}: {step.text} but got {line!r}"
            case "S...":
                while not _matches(step.text, _line(talk, step)):
                    pass
            case "S.":
                while _line(talk, step) != b".":
                    pass
            case "S--":
                try:
                    line = talk.line()
                except EOFError:
                    continue
                raise AssertionError(f"line {step.line}: a close, but got {line!r}")
            case "TLS":
                assert isinstance(talk, TlsTalk)
                talk.start_tls()
            case "--":
                talk.close()
                talk = connect()
    assert not unsent, "the dialog ends with lines of the client"
    talk.close()


def _line(talk: Talk, step: Step) -> bytes:
    try:
        return talk.line()
    except EOFError:
        raise AssertionError(f"line {step.line}: {step.text} but the server closed") from None


def _matches(pattern: str, line: bytes) -> bool:
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(expression, line.decode("latin-1")) is not None


_SPECIAL = re.compile(r"\\([nr0s\\])|\{(.+?)\*(\d+)\}")
_ESCAPED = {"n": "\n", "r": "\r", "0": "\0", "s": " ", "\\": "\\"}


def _octets(text: str) -> bytes:
    def plain(special: re.Match[str]) -> str:
        return _ESCAPED[special[1]] if special[1] else special[2] * int(special[3])

    return _SPECIAL.sub(plain, text).encode()


@dataclass(frozen=True, slots=True)
class Stored:
    uid: UniqueId
    size: int


def maildrop(sizes: Sequence[int]) -> list[Stored]:
    """Messages of these sizes, with uids of their own that never change."""
    uids = (UniqueId(unhexlify(f"{number:032x}")) for number in range(1, len(sizes) + 1))
    return [Stored(uid, size) for uid, size in zip(uids, sizes, strict=True)]


def listed(messages: Sequence[Stored]) -> Entries:
    """As the store gives them to a session."""
    uids = b"".join(message.uid.octets for message in messages)
    born = array("q", range(len(messages)))
    return Entries(uids, array("q", [message.size for message in messages]), born)


class EngineTalk:
    """Runs a dialog against the engine alone: performs its actions on a maildrop in memory."""

    def __init__(self, messages: list[Stored], *, piece: int | None, stls: bool = False) -> None:
        """`piece`: how many octets the engine is fed at a time; None is all of them."""
        self.said = b""
        self.closed = False
        self.in_handshake = False
        self._messages = messages
        self._piece = piece
        self._session = Session(TABLE, State.CLEARTEXT if stls else State.AUTHORIZATION)
        self._read = 0

    def send(self, octets: bytes) -> None:
        for start in range(0, len(octets), self._piece or len(octets)):
            assert not self.in_handshake
            self._perform(self._session.receive(octets[start:][: self._piece]))

    @property
    def state(self) -> State:
        return self._session.state

    def line(self) -> bytes:
        end = self.said.find(b"\r\n", self._read)
        if end < 0:
            assert self.closed, "the server waits for the client"
            raise EOFError
        line = self.said[self._read : end]
        self._read = end + 2
        return line

    def start_tls(self) -> None:
        assert self.in_handshake
        self.in_handshake = False
        self._session = Session(TABLE)

    def close(self) -> None:
        unread = self.said[self._read :]
        assert not unread, f"not read by the dialog: {unread!r}"

    def _perform(self, actions: list[Action]) -> None:
        while actions:
            assert not self.closed
            self.said += b"".join(action.data for action in actions if isinstance(action, Send))
            actions = [] if self._session.wants_input else self._report(actions[-1])

    def _report(self, owed: Action) -> list[Action]:
        match owed:
            case Send():
                return self._session.sent()
            case SendListing(blocks):
                self.said += b"".join(blocks)
                return self._session.sent()
            case Login(user, secret) if (user, secret) == (USER, SECRET):
                octets = sum(message.size for message in self._messages)
                return self._session.logged_in(listed(self._messages), octets)
            case Login():
                return self._session.login_refused(BadCredentials("no"))
            case SendMessage(reply, _, size, body_lines):
                self.said += reply + message_octets(size, body_lines)
                return self._session.sent()
            case Commit(uids):
                self._messages[:] = [kept for kept in self._messages if kept.uid not in uids]
                return self._session.committed()
            case StartTls():
                self.in_handshake = True
                return []
            case Close():
                self.closed = True
                return []


def wire(size: int, body_lines: int | None) -> bytes:
    """What a client receives for RETR, or for TOP, of `content(size)`."""
    first = replies.message_follows(size) if body_lines is None else replies.TOP_FOLLOWS
    return first["en"] + message_octets(size, body_lines)


def message_octets(size: int, body_lines: int | None) -> bytes:
    """The same without its first line."""
    message = content(size)
    if body_lines is not None:
        message = TopCut(measure(b"", message).header_size, body_lines).feed(message)
    return Stuffer().feed(message) + b".\r\n"


class SocketTalk:
    """Runs a dialog over a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")

    def send(self, octets: bytes) -> None:
        self._connection.sendall(octets)

    def line(self) -> bytes:
        line = self._file.readline()
        if not line:
            raise EOFError
        assert line.endswith(b"\r\n")
        return line[:-2]

    def close(self) -> None:
        self._file.close()
        self._connection.close()


class GreetedTalk(SocketTalk):
    """One of POP3, after the greeting; `context` is for STLS."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(connection)
        self._context = context
        assert self.line().startswith(b"+OK ")

    def start_tls(self) -> None:
        self._file.close()
        self._connection = self._context.wrap_socket(self._connection)
        self._file = self._connection.makefile("rb")
