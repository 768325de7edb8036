"""One POP3 connection as a pure state machine: octets in, actions out (RFC 1939).

The driver performs the actions in their order. Where `wants_input` is false after them, the last
one is owed a report (`Close` and `StartTls` excepted, which end the session), and no further
command is looked at before it comes.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from typing import Protocol, TypeVar

from mail.errors import Failure, NoSuchMessage
from mail.ident import UniqueId
from pop3d import replies

LINE_OCTETS = 255  # with CRLF: RFC 2449 section 4
RESPONSE_OCTETS = 4096  # with CRLF: RFC 5034 section 4 allows more than a command line
REFUSALS_BEFORE_LOGIN = 3
REFUSALS_AFTER_LOGIN = 20
LOGIN_FAILURES = 3
BURST_OCTETS = 16 * 1024  # replies to pipelined commands, before the driver is waited for
LISTED_AT_ONCE = 1000  # messages in one block of LIST or UIDL


class State(Flag):
    """RFC 1939 section 3. UPDATE is no state here: it is the time a `Commit` is out.

    CLEARTEXT is where STLS must come before the sign-in (RFC 2595 section 2.1).
    """

    CLEARTEXT = auto()
    AUTHORIZATION = auto()
    TRANSACTION = auto()
    ANY = CLEARTEXT | AUTHORIZATION | TRANSACTION


class Entry(Protocol):
    """One message of the maildrop; `str(uid)` is its UIDL."""

    @property
    def uid(self) -> UniqueId: ...

    @property
    def size(self) -> int: ...


class Entries(Protocol):
    """The messages of a maildrop, and the same in columns: 16 octets of each id, all sizes.

    `blocks` keeps octets of their listings, which sessions share.
    """

    @property
    def uids(self) -> bytes: ...

    @property
    def sizes(self) -> Sequence[int]: ...

    @property
    def blocks(self) -> dict[Hashable, bytes]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, at: int) -> Entry: ...


@dataclass(frozen=True, slots=True)
class Send:
    """Write these octets. Report, where owed: `sent`, when the client has taken most of them."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SendListing:
    """Write these blocks, each when the client has taken most of the one before. Report: `sent`."""

    blocks: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Login:
    """Check the secret and read the maildrop. Report: `logged_in` or `login_refused`."""

    user: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Write `reply`, the message or only its top, and the final dot.

    Report: `sent`, or `message_failed` while nothing of it was written.
    """

    reply: bytes
    uid: UniqueId
    size: int
    body_lines: int | None


@dataclass(frozen=True, slots=True)
class Commit:
    """UPDATE: remove these messages, all or none. Report: `committed` or `commit_failed`."""

    uids: tuple[UniqueId, ...]


@dataclass(frozen=True, slots=True)
class StartTls:
    """Write what is left to write and shake hands. What goes on in TLS is a new `Session`."""


@dataclass(frozen=True, slots=True)
class Close:
    """Write what is left to write and close. `why` is for the log."""

    why: str


Action = Send | SendListing | Login | SendMessage | Commit | StartTls | Close


@dataclass(frozen=True, slots=True)
class Argument:
    """How one argument is read: `read` raises ValueError for octets that it does not take."""

    name: str
    read: Callable[[bytes], object]
    rest: bool = False  # the rest of the line, spaces included
    optional: bool = False


def _decimal(octets: bytes) -> int:
    if not octets.isdigit():  # of bytes: ASCII digits and nothing else
        raise ValueError("not a decimal number")
    return int(octets)


def _word(octets: bytes) -> str:
    if not octets:
        raise ValueError("empty")
    return octets.decode()


number = Argument("msg", _decimal)
count = Argument("n", _decimal)
text = Argument("text", _word)
rest_of_line = Argument("string", bytes.decode, rest=True)


def optional(argument: Argument) -> Argument:
    return replace(argument, optional=True)


@dataclass(frozen=True, slots=True)
class Row:
    """All that is about a command; `run` holds only its meaning."""

    verb: str
    states: State
    args: tuple[Argument, ...]
    capa: str | None
    run: Callable[..., list[Action]]

    def read(self, octets: bytes | None) -> list[object]:
        """The arguments, from what follows the space behind the verb. Raises ValueError."""
        words: list[bytes] = []
        if octets is not None:
            rest = any(argument.rest for argument in self.args)
            words = octets.split(b" ", len(self.args) - 1 if rest else -1)
        required = sum(not argument.optional for argument in self.args)
        if not required <= len(words) <= len(self.args):
            raise ValueError("wrong number of arguments")
        return [argument.read(word) for argument, word in zip(self.args, words, strict=False)]


Run = TypeVar("Run", bound=Callable[..., list[Action]])


class Table:
    """The commands of a server, by verb."""

    def __init__(self) -> None:
        self._rows: dict[bytes, Row] = {}

    def command(
        self,
        verb: str,
        states: State,
        *,
        args: tuple[Argument, ...] = (),
        capa: str | None = None,
    ) -> Callable[[Run], Run]:
        """Adds the decorated function as the meaning of `verb`."""

        def add(run: Run) -> Run:
            self._rows[verb.encode("ascii")] = Row(verb, states, args, capa, run)
            return run

        return add

    def find(self, verb: bytes) -> Row | None:
        """Keywords are case-insensitive (RFC 1939 section 3)."""
        return self._rows.get(verb.upper())

    def rows(self) -> tuple[Row, ...]:
        return tuple(self._rows.values())


class Session:
    """The protocol state of one connection. Commands read and change its public attributes."""

    __slots__ = (
        *("table", "state", "language", "user", "entries", "deleted", "octets"),
        *("_buffer", "_step", "_owed", "_refusals", "_login_failures"),
    )

    def __init__(self, table: Table, state: State = State.AUTHORIZATION) -> None:
        self.table = table
        self.state = state
        self.language = replies.DEFAULT_LANGUAGE
        self.user: str | None = None  # taken by USER, used up by PASS
        self.entries: Entries  # from the login on
        # Message numbers. A set takes more while it is empty.
        self.deleted: dict[int, None] = {}
        self.octets = 0  # of the messages not deleted
        self._buffer = bytearray()
        self._step: Step | None = None  # what the next line answers, inside AUTH
        self._owed: type[Action] | None = None
        self._refusals = 0
        self._login_failures = 0

    @property
    def wants_input(self) -> bool:
        return self._owed is None

    def receive(self, data: bytes) -> list[Action]:
        """What to do about octets that came. May be called at any time."""
        if self._owed in (Close, StartTls):
            return []
        self._buffer += data
        return self._proceed(self._answer_next()) if self.wants_input else []

    def logged_in(self, entries: Entries, octets: int) -> list[Action]:
        """`octets` is the sum of all sizes."""
        self._settle(Login)
        self.state = State.TRANSACTION
        self.entries = entries
        self.octets = octets
        self._refusals = 0
        return self._proceed([self.say(replies.LOGGED_IN)])

    def login_refused(self, failure: Failure) -> list[Action]:
        self._settle(Login)
        self._login_failures += 1
        answer: list[Action] = [self.say(replies.refused(failure))]
        if self._login_failures == LOGIN_FAILURES:
            answer.append(Close("logins"))
        return self._proceed(answer)

    def sent(self) -> list[Action]:
        self._settle(Send, SendListing, SendMessage)
        return self._proceed(self._answer_next())

    def message_failed(self, failure: Failure) -> list[Action]:
        self._settle(SendMessage)
        # It is listed: somebody has removed it for good since the session began.
        gone = isinstance(failure, NoSuchMessage)
        return self._proceed([self.say(replies.GONE if gone else replies.refused(failure))])

    def committed(self) -> list[Action]:
        self._settle(Commit)
        return self._proceed([self.say(replies.BYE), Close("quit")])

    def commit_failed(self) -> list[Action]:
        """RFC 1939 section 6: the connection is closed all the same."""
        self._settle(Commit)
        return self._proceed([self.say(replies.NOTHING_REMOVED), Close("unremoved")])

    def entry(self, number: int) -> Entry:
        """The message of that number. Raises NoSuchMessage for 0, too high, or deleted."""
        if not 1 <= number <= len(self.entries) or number in self.deleted:
            raise NoSuchMessage("no such message")
        return self.entries[number - 1]

    def listing(self, column: Column) -> Iterator[bytes]:
        """Number and `column` of the messages that are not deleted, in blocks.

        A block without a deleted message is the same for all sessions of a snapshot, and is kept
        with that.
        """
        yield self.say(replies.LISTING_FOLLOWS).data
        kept = self.entries.blocks
        with_gaps = {(number - 1) // LISTED_AT_ONCE for number in self.deleted}
        for start in range(0, len(self.entries), LISTED_AT_ONCE):
            block = kept.get((column, start))
            if block is None or start // LISTED_AT_ONCE in with_gaps:
                values = column(self.entries, slice(start, start + LISTED_AT_ONCE))
                lines = [
                    f"{number} {value}\r\n"
                    for number, value in enumerate(values, start + 1)
                    if number not in self.deleted
                ]
                block = "".join(lines).encode("ascii")
                if start // LISTED_AT_ONCE not in with_gaps:
                    kept[column, start] = block
            yield block
        yield b".\r\n"

    def say(self, reply: replies.Reply) -> Send:
        """A reply in the language that the client has chosen."""
        return Send(reply[self.language])

    def refuse(self, reply: replies.Reply) -> list[Action]:
        """The answer to a command that is the client's mistake; too many end the session."""
        self._refusals += 1
        after_login = self.state is State.TRANSACTION
        if self._refusals < (REFUSALS_AFTER_LOGIN if after_login else REFUSALS_BEFORE_LOGIN):
            return [self.say(reply)]
        return [self.say(reply), Close("refusals")]

    def ask(self, challenge: bytes, step: Step) -> list[Action]:
        """Sends a SASL challenge; the response goes to `step` (RFC 5034 section 4)."""
        self._step = step
        return [Send(b"+ " + b2a_base64(challenge, newline=False) + b"\r\n")]

    def respond(self, line: bytes, step: Step) -> list[Action]:
        """Hands a response to `step` as the octets that `line` is the base64 form of."""
        try:
            response = a2b_base64(line, strict_mode=True)
        except ValueError:
            return self.refuse(replies.BAD_RESPONSE)
        return step(self, response)

    @property
    def unread(self) -> bool:
        """Whether octets are here behind the line that is being answered."""
        return bool(self._buffer)

    def _settle(self, *kinds: type[Action]) -> None:
        """A report that is not owed is a mistake of the driver."""
        if self._owed not in kinds:
            raise RuntimeError(f"{kinds} reported, {self._owed} owed")
        self._owed = None

    def _proceed(self, answer: list[Action]) -> list[Action]:
        """`answer`, and what follows from the lines that are here already."""
        actions: list[Action] = []
        octets = 0
        while answer:
            actions += answer
            octets += sum(len(action.data) for action in answer if isinstance(action, Send))
            last = answer[-1]
            # A client that sends commands and reads no replies must not fill our memory.
            if not isinstance(last, Send) or octets >= BURST_OCTETS:
                self._owed = type(last)
                break
            answer = self._answer_next()
        return actions

    def _answer_next(self) -> list[Action]:
        """The answer to the next line; nothing when there is no whole line yet."""
        step, limit = self._step, RESPONSE_OCTETS if self._step else LINE_OCTETS
        end = self._buffer.find(b"\r\n", 0, limit)
        if end < 0:
            if len(self._buffer) < limit:
                return []
            return [self.say(replies.LINE_TOO_LONG), Close("line")]
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        try:
            if step is None:
                return self._answer_command(line)
            self._step = None
            if line == b"*":
                return self.refuse(replies.CANCELLED)
            return self.respond(line, step)
        except Failure as failure:
            return self.refuse(replies.refused(failure))

    def _answer_command(self, line: bytes) -> list[Action]:
        # RFC 1939 section 3: CRLF alone ends a line. Terminals that send LF wait for ever here.
        if any(octet in line for octet in b"\r\n\0"):
            return self.refuse(replies.BAD_LINE)
        verb, space, rest = line.partition(b" ")
        row = self.table.find(verb)
        if row is None:
            return self.refuse(replies.UNKNOWN_COMMAND)
        if self.state not in row.states:
            cleartext = self.state is State.CLEARTEXT
            return self.refuse(replies.STLS_FIRST if cleartext else replies.WRONG_STATE)
        try:
            arguments = row.read(rest if space else None)
        except ValueError:
            return self.refuse(replies.WRONG_ARGUMENTS)
        return row.run(self, *arguments)


Step = Callable[[Session, bytes], list[Action]]
Column = Callable[[Entries, slice], Iterable[object]]
