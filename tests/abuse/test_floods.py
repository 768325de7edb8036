"""L1 to L4: a stranger who sends much gets little of ours, and others notice nothing.

What is expected of each flood is in tests/abuse/beside.py; here is what the flood itself gets.
"""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.abuse.beside import ANN, FLOOD, MIB, Target, beside, deliver, target
from tests.kit import pop3_client
from tests.waiting import until
from tests.wire import END, Wire

LINE = 32_768
NO_LINE_ENDS = bytes.maketrans(b"\r\n.", b"xyz")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("floods"), message_mib=32, memory_mib=128) as found:
        yield found


@pytest.fixture
def hostile(request: pytest.FixtureRequest) -> str:
    """An address that nobody came from before: what is refused here is refused to each test."""
    number = request.session.items.index(request.node)
    return f"127.0.{8 + number // 250}.{number % 250 + 1}"


def pour(wire: Wire, piece: bytes, octets: int) -> bool:
    """Sends so many octets; False if the server closes before that."""
    try:
        for _ in range(octets // len(piece)):
            wire.send(piece)
    except ConnectionError:
        return False
    return True


def test_a_line_without_an_end(server: Target) -> None:
    left = 300 * MIB * FLOOD
    turns = 0
    with beside(server):
        while left > 0:
            turns += 1
            with Wire(server.smtp, source=f"127.0.1.{turns}") as wire:
                wire.begin(ANN)
                # Past twice the size it is told so, and cut.
                assert not pour(wire, b"x" * 65_536, 4 * server.message_octets)
            left -= 2 * server.message_octets
    assert turns >= 4


def test_a_command_without_an_end(server: Target, hostile: str) -> None:
    with beside(server), Wire(server.smtp, source=hostile) as wire:
        assert not pour(wire, b"x" * 65_536, 100 * MIB * FLOOD)


def test_empty_lines(server: Target) -> None:
    """A message like another: it is within the size."""
    octets = b"\r\n" * (30_000_000 // 2)
    for turn in range(FLOOD):
        with beside(server), Wire(server.smtp, source=f"127.0.1.{turn + 1}") as wire:
            wire.begin(ANN, parameters=f" SIZE={len(octets)}")
            wire.send(octets)
            wire.send(END[2:])
            assert wire.hear().startswith("250 2.0.0 kept as ")


def test_many_senders_of_large_messages(server: Target) -> None:
    """More at once than there is memory for: each is kept, or put off to a better moment."""
    size = min(4 * MIB * FLOOD, server.message_octets)
    octets = random.randbytes(2 * size).translate(NO_LINE_ENDS)

    def send(number: int) -> str:
        with Wire(server.smtp, source=f"127.0.5.{number % 50 + 1}") as wire:
            wire.begin(ANN)
            wire.send(b"Subject: large\r\n\r\n")
            # A part of its own for each, which does not compress.
            at = random.randrange(size)
            for _ in range(size // LINE - 2):
                wire.send(octets[at : at + LINE - 2] + b"\r\n")
                at += LINE - 2
            wire.send(octets[at : at + LINE - 2] + END)
            return wire.hear()

    with beside(server), ThreadPoolExecutor(100) as senders:
        replies = list(senders.map(send, range(100)))
    codes = Counter(reply[:9] for reply in replies)
    assert codes.keys() <= {"250 2.0.0", "452 4.3.1"}, codes
    assert codes["250 2.0.0"] >= 10, codes


def told_to_many(wire: Wire, command: bytes, count: int) -> Counter[str]:
    """How often each reply came to as many of one command as the server listens to.

    The session must end before all of them are answered, with 421. The rest of the flood lies
    unread then, so the kernel closes with a reset, which may overtake what was said last.
    """
    replies: list[str] = []

    def hear() -> None:
        try:
            while len(replies) < count:
                replies.append(wire.hear())
        except (EOFError, ConnectionError):
            return

    with ThreadPoolExecutor(1) as listener:
        done = listener.submit(hear)
        pour(wire, command, count * len(command))
        done.result()
    assert 0 < len(replies) < count
    if replies[-1].startswith("421 4.7.0 "):
        replies.pop()
    return Counter(reply[:9] for reply in replies)


@pytest.mark.parametrize("command", [b"NOOP\r\n", b"RSET\r\n", b"VRFY ann\r\n"])
def test_commands_that_do_nothing(server: Target, hostile: str, command: bytes) -> None:
    """No honest session has more than a few; after 50 of them it is over."""
    with beside(server), Wire(server.smtp, source=hostile) as wire:
        replies = told_to_many(wire, command, 2_000 * FLOOD)
    assert {code[:4] for code in replies} <= {"250 ", "252 "}
    assert replies.total() <= 50


@pytest.mark.parametrize("command", [b"\r\n", b"WHAT\r\n", b"NOOP " + b"x" * 2_000 + b"\r\n"])
def test_commands_that_are_none(server: Target, hostile: str, command: bytes) -> None:
    with beside(server), Wire(server.smtp, source=hostile) as wire:
        replies = told_to_many(wire, command, 2_000 * FLOOD)
    assert {code[:4] for code in replies} == {"500 "}
    assert replies.total() <= 20


def test_recipients_without_end(server: Target, hostile: str) -> None:
    """RFC 5321 section 4.5.3.1.8: a hundred are taken. For the others it may come again."""
    with beside(server), Wire(server.smtp, source=hostile) as wire:
        assert wire.say("MAIL FROM:<bob@example.net>").startswith("250 ")
        replies = told_to_many(wire, f"RCPT TO:<{ANN}>\r\n".encode(), 5_000 * FLOOD)
    assert replies.keys() == {"250 2.1.5", "452 4.5.3"}
    assert replies["250 2.1.5"] == 100
    assert replies["452 4.5.3"] <= 1_000


def test_unknown_recipients_without_end(server: Target, hostile: str) -> None:
    with beside(server), Wire(server.smtp, source=hostile) as wire:
        assert wire.say("MAIL FROM:<bob@example.net>").startswith("250 ")
        replies = told_to_many(wire, b"RCPT TO:<nobody@example.test>\r\n", 5_000 * FLOOD)
    assert replies.keys() == {"550 5.1.1"}
    assert replies.total() <= 10


def test_transactions_without_mail(server: Target, hostile: str) -> None:
    begin = f"MAIL FROM:<bob@example.net>\r\nRCPT TO:<{ANN}>\r\nRSET\r\n".encode()
    with beside(server), Wire(server.smtp, source=hostile) as wire:
        replies = told_to_many(wire, begin, 2_000 * FLOOD)
    assert {code[:4] for code in replies} == {"250 "}
    assert replies.total() <= 3 * 50


def test_connections_from_one_address(server: Target, hostile: str) -> None:
    """Told at once that it is one too many, then not even that; it holds no place."""
    with beside(server), ExitStack() as opened:
        greetings = []
        for _ in range(2_000 * FLOOD):
            wire = Wire(server.smtp, source=hostile, hello=False)
            try:
                greetings.append(wire.hear()[:4])
            except (EOFError, ConnectionError):
                greetings.append("")
            if greetings[-1] == "220 ":
                opened.callback(wire.close)
            else:
                wire.close()
        counts = Counter(greetings)
        assert counts.keys() == {"220 ", "421 ", ""}
        assert counts["220 "] <= 20  # smtp_per_ip
        assert counts["421 "] <= 120  # of the 60 in a minute, and 60 beyond
        pop3_client(server.pop3, ANN).quit()


def test_connections_from_everywhere(server: Target, hostile: str) -> None:
    """There are as many as there are places. Once they leave, everything is as before."""
    with ExitStack() as opened:
        greetings = Counter[str]()
        for number in range(400):
            wire = Wire(server.smtp, source=f"127.0.4.{number % 250 + 1}", hello=False)
            opened.callback(wire.close)
            greetings[wire.hear()[:9]] += 1
        assert greetings["421 4.7.0"] == 100  # smtp_total = 300
        pop3_client(server.pop3, ANN).quit()

    def there_is_room() -> bool:
        with Wire(server.smtp, source=hostile, hello=False) as wire:
            return wire.hear().startswith("220 ")

    until(there_is_room, "the server has seen that they left")
    with beside(server):
        assert deliver(server.smtp, hostile).startswith("250 ")
