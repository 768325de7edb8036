"""Whole POP3 sessions against a model of a few lines, over sockets to the running program.

Two clients of one account read, delete, quit, vanish or are killed in the middle of QUIT while mail
arrives, and send their commands in groups that are cut anywhere. What must hold is in `Model`.

    RESTANTE_SESSIONS=20000 python -m pytest tests/models
"""

import os
import socket
import struct
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mail.address import Address
from mail.facts import Facts
from mail.ident import UniqueId
from mail.lines import Stuffer, TopCut, measure
from store.messages import Copy, NewMessage
from tests.kit import PASSWORD, Live, live_server, trusting

SESSIONS = int(os.environ.get("RESTANTE_SESSIONS", "100"))
REFUSALS = 20
NAMES = count()
HEADER = b"Subject: test\r\n\r\n"
LINE = b"." + b"x" * 900 + b"\r\n"

Said = tuple[bytes, ...]  # a status line up to its first word, then the lines behind it


@dataclass
class Model:
    """Every message is offered until a QUIT that was answered, or cut off, removed it.

    None that was gone comes back. What a QUIT without an answer was about goes whole or not at all.
    """

    inbox: dict[bytes, bytes] = field(default_factory=dict)  # by unique-id
    gone: set[bytes] = field(default_factory=set)
    limbo: list[set[bytes]] = field(default_factory=list)

    def seen(self, listed: list[bytes]) -> None:
        assert not self.gone & set(listed), "a message has come back"
        for group in self.limbo:
            left = group - self.gone
            assert left <= set(listed) or not left & set(listed), "a part of a QUIT was done"
        missing = [uid for uid in self.inbox if uid not in listed]
        assert set(missing) <= set().union(*self.limbo), "a message has vanished"
        self.remove(missing)
        assert listed == sorted(self.inbox), "not in the order of arrival"

    def remove(self, uids: list[bytes]) -> None:
        for uid in uids:
            self.inbox.pop(uid, None)
            self.gone.add(uid)


class Client:
    """One session, and what the answers to its commands must be."""

    def __init__(self, live: Live, user: str, how: int) -> None:
        plain = socket.create_connection((live.pop3.host, live.pop3.port), 20)
        self.socket = trusting().wrap_socket(plain)
        self.file = self.socket.makefile("rb")
        self.refusals = 0
        self.deleted: set[int] = set()
        assert self.answer(b"") == (b"+OK",)
        secret = b64encode(f"\0{user}\0{PASSWORD}".encode())
        ways = [
            f"USER {user}\r\nPASS {PASSWORD}\r\n".encode(),
            b"CAPA\r\nSTAT\r\nAUTH PLAIN " + secret + b"\r\n",
            b"AUTH PLAIN\r\n" + secret + b"\r\n",
            b"AUTH LOGIN\r\n"
            + b"\r\n".join(map(b64encode, (user.encode(), PASSWORD.encode(), b""))),
        ]
        self.socket.sendall(ways[how])
        while self.file.readline() != b"+OK logged in\r\n":
            pass

    def snapshot(self, model: Model) -> None:
        self.socket.sendall(b"UIDL\r\n")
        model.seen([line.split()[1] for line in self.answer(b"UIDL")[1:]])
        self.messages = sorted(model.inbox.items())

    def left(self) -> list[tuple[int, bytes, bytes]]:
        """Number, unique-id and text of the messages that are not deleted."""
        numbered = ((n, *message) for n, message in enumerate(self.messages, 1))
        return [message for message in numbered if message[0] not in self.deleted]

    def answer(self, command: bytes) -> Said:
        """Reads one answer."""
        status = self.file.readline()
        words = command.split()
        many = words[:1] in ([b"RETR"], [b"TOP"], [b"CAPA"]) or words in ([b"LIST"], [b"UIDL"])
        if not status.startswith(b"+OK") or not many:
            exact = status.startswith(b"+OK") and words[:1] in ([b"STAT"], [b"LIST"], [b"UIDL"])
            return (status.rstrip(b"\r\n") if exact else status[:4].strip(),)
        lines = list(iter(self.file.readline, b".\r\n"))
        assert all(line.endswith(b"\r\n") for line in lines)
        return (b"+OK", *(line[:-2] for line in lines))

    def expected(self, command: bytes) -> Said:
        verb, *arguments = command.split()
        left = self.left()
        match verb, arguments:
            case b"NOOP", []:
                return (b"+OK",)
            case b"STAT", []:
                return (b"+OK %d %d" % (len(left), sum(len(text) for _, _, text in left)),)
            case b"LIST", []:
                return (b"+OK", *(b"%d %d" % (n, len(text)) for n, _, text in left))
            case b"UIDL", []:
                return (b"+OK", *(b"%d %s" % (n, uid) for n, uid, _ in left))
            case b"RSET", []:
                self.deleted.clear()
                return (b"+OK",)
            case ((b"LIST" | b"UIDL" | b"RETR" | b"TOP" | b"DELE"), [number, *lines]):
                for n, uid, text in left:
                    if n == int(number):
                        return self.about(verb, n, uid, text, lines)
        self.refusals += 1
        return (b"-ERR",)

    def about(self, verb: bytes, n: int, uid: bytes, text: bytes, lines: list[bytes]) -> Said:
        if verb == b"DELE":
            self.deleted.add(n)
            return (b"+OK",)
        if verb in (b"LIST", b"UIDL"):
            return (b"+OK %d %s" % (n, uid if verb == b"UIDL" else b"%d" % len(text)),)
        if lines:
            text = TopCut(measure(b"", text).header_size, int(lines[0])).feed(text)
        return (b"+OK", *Stuffer().feed(text).split(b"\r\n")[:-1])

    def say(self, commands: list[bytes], cuts: list[int]) -> bool:
        """Sends them in pieces and compares the answers; False when the session is over."""
        wire = b"".join(command + b"\r\n" for command in commands)
        edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
        for start, stop in pairwise(edges):
            self.socket.sendall(wire[start:stop])
        for command in commands:
            assert self.expected(command) == self.answer(command), command
            if self.refusals == REFUSALS:
                assert not self.file.read()
                self.close()
                return False
        return True

    def quit(self, model: Model, *, heard: bool) -> None:
        """Without `heard`, nothing is heard of the client from the middle of its QUIT on."""
        self.socket.sendall(b"QUIT\r\n")
        uids = [self.messages[number - 1][0] for number in self.deleted]
        if heard:
            assert self.file.read().startswith(b"+OK")
            model.remove(uids)
        else:
            model.limbo.append(set(uids))
        self.close()

    def close(self) -> None:
        """At once, as when its host vanishes."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.file.close()
        self.socket.close()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_server(tmp_path_factory.mktemp("model")) as live:
        yield live


NUMBERS = st.integers(0, 5)
COMMANDS = st.one_of(
    st.sampled_from([b"STAT", b"LIST", b"UIDL", b"NOOP", b"RSET", b"XYZZY"]),
    st.builds(b"%s %d".__mod__, st.tuples(st.sampled_from([b"LIST", b"UIDL"]), NUMBERS)),
    st.builds(b"%s %d".__mod__, st.tuples(st.sampled_from([b"RETR", b"DELE"]), NUMBERS)),
    st.builds(b"TOP %d %d".__mod__, st.tuples(NUMBERS, NUMBERS)),
)
SAY = st.tuples(st.lists(COMMANDS, min_size=1, max_size=20), st.lists(st.integers(0), max_size=4))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("mail"), st.sampled_from([0, 1, 3, 100, 400])),
        st.tuples(st.sampled_from([0, 1]), SAY),
        st.tuples(st.sampled_from([0, 1]), st.sampled_from(["quit", "drop", "kill"])),
    ),
    max_size=20,
)


@settings(
    max_examples=SESSIONS,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(STEPS, st.integers(0, 3))
def test_sessions(live: Live, steps: list[tuple[object, object]], how: int) -> None:
    user = f"user{next(NAMES)}"
    drop = live.add_user(user, f"{user}@example.test")
    model, clients = Model(), dict[object, Client]()
    try:
        for who, what in [("mail", 0), ("mail", 1), ("mail", 80), *steps, ("last", "drop")]:
            if who == "mail":
                assert isinstance(what, int)
                uid, text = UniqueId.new(datetime.now(UTC)), HEADER + LINE * what
                copy = Copy(drop, Address.parse(f"{user}@example.test"), b"")
                live.run(live.store.messages.append(NewMessage(uid, None, text, Facts(), [copy])))
                model.inbox[str(uid).encode()] = text
                continue
            if who not in clients:
                clients[who] = Client(live, user, how)
                clients[who].snapshot(model)
            match what:
                case "quit" | "kill":
                    clients.pop(who).quit(model, heard=what == "quit")
                case "drop":
                    clients.pop(who).close()
                case (list(commands), list(cuts)):
                    if not clients[who].say(commands, cuts):
                        del clients[who]
    finally:
        for client in clients.values():
            client.close()
