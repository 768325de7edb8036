"""Stock aiosmtpd beside ours on the same dialogs: where it is right, we say the same.

Compared are the class of every reply, whether the session goes on, and the messages that were
taken. Left out is what aiosmtpd gets wrong, by its number in security's list of faults:

    D04      a line above 1,001 octets refuses the message
    D05      bare CR and LF stay in content
    D17      HELP exists, VRFY depends on its argument
    D18      addresses that are none are taken, or mended
    D20 D21 D23  nothing is counted, so nothing ends a session
    D22      commands may end in bare LF, and have NUL and CR in them
    D24 D25  HTTP is a conversation, and octets behind EHLO and DATA are commands
    D27      EHLO is five writes (one reply all the same)

and the one argument of EHLO and HELO, which it takes whatever it is (RFC 5321 section 4.1.1.1).
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_network

import pytest
from aiosmtpd import smtp as stock
from hypothesis import given
from hypothesis import strategies as st

from intake.deliver import Arrival, Kept
from net.listen import Endpoint
from smtpin.handler import Intake
from smtpin.limits import Limits
from tests.front import ANN, HOST, front
from tests.kit import stuffed
from tests.wire import Wire

NOT_KNOWN = ("NONSENSE", "MAILFROM:<bob@example.net>")
COMMANDS = st.sampled_from(
    [
        "EHLO client.example.net",
        "HELO client.example.net",
        "ehlo [127.0.0.1]",
        "EHLO",
        "HELO",
        "MAIL FROM:<bob@example.net>",
        "MAIL FROM:<>",
        "mail from:<bob@example.net>",
        "MAIL FROM: <bob@example.net>",
        "MAIL FROM:<bob@example.net> SIZE=1000",
        "MAIL FROM:<bob@example.net> BODY=8BITMIME",
        "MAIL FROM:<bob@example.net> BODY=7BIT SIZE=10",
        "MAIL FROM:<bob@example.net> SIZE=99999999999",
        "MAIL FROM:<bob@example.net> SIZE=x",
        "MAIL FROM:<bob@example.net> BODY=9BIT",
        "MAIL FROM:<bob@example.net> RET=HDRS",
        "MAIL",
        "MAIL FROM",
        "MAIL bob@example.net",
        "MAIL TO:<bob@example.net>",
        f"RCPT TO:<{ANN}>",
        f"rcpt to:<{ANN}>",
        f"RCPT TO:<@relay.example.net:{ANN}>",
        f'RCPT TO:<"ann"@{ANN.partition("@")[2]}>',
        f"RCPT TO:<{ANN}> NOTIFY=NEVER",
        "RCPT",
        "RCPT TO",
        f"RCPT FROM:<{ANN}>",
        "DATA",
        "DATA now",
        "RSET",
        "rset",
        "RSET now",
        "NOOP",
        "NOOP whatever it is",
        *NOT_KNOWN,
        "STARTTLS now",
        "QUIT now",
        "QUIT",
    ]
)
LINES = st.lists(
    st.sampled_from(
        [b"", b".", b"..", b". ", b"text", b".text", b"Subject: x", b"\xe9\xff", b"x" * 900]
    ),
    max_size=8,
)
# Most random dialogs do not come as far as DATA: this is what is put in now and then.
TRANSACTION = ["EHLO client.example.net", "MAIL FROM:<bob@example.net>", f"RCPT TO:<{ANN}>"]
DIALOGS = (
    st.lists(
        st.one_of(COMMANDS.map(lambda command: [command]), st.just(TRANSACTION), st.just(["DATA"])),
        max_size=12,
    )
    .map(lambda parts: [command for part in parts for command in part])
    # The one thing that it does count, and then it closes.
    .filter(lambda commands: sum(command in NOT_KNOWN for command in commands) < 5)
)


class Shelf:
    """Takes whatever it is given; its hooks are those that aiosmtpd documents."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    async def handle_DATA(
        self, _server: stock.SMTP, _session: stock.Session, envelope: stock.Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        self.contents.append(envelope.content)
        return "250 OK"


@dataclass
class Pair:
    """Both servers, and what each has taken since somebody cleared it."""

    ours: Endpoint
    theirs: Endpoint
    our_contents: list[bytes]
    their_contents: list[bytes]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    shelf = Shelf()
    taken: list[bytes] = []

    def noting(real: Intake) -> Intake:
        async def deliver(arrival: Arrival) -> Kept:
            taken.append(arrival.content)
            return await real.deliver(arrival)

        return Intake(real.resolve, deliver)

    folder = tmp_path_factory.mktemp("oracle")
    patient = Limits(errors=1_000, slow_errors=1_000, idle_commands=1_000, transactions=10_000)
    loopback = (ip_network("127.0.0.0/8"),)
    with front(folder, patient, around=noting, exempt=loopback) as ours:

        async def serve() -> asyncio.Server:
            loop = asyncio.get_running_loop()
            return await loop.create_server(
                lambda: stock.SMTP(shelf, hostname=HOST, loop=loop), "127.0.0.1", 0
            )

        async def stop(server: asyncio.Server) -> None:
            server.close()

        server = ours.run(serve())
        theirs = Endpoint(*server.sockets[0].getsockname()[:2])
        yield Pair(ours.smtp, theirs, taken, shelf.contents)
        ours.run(stop(server))


def classes(smtp: Endpoint, commands: list[str], content: bytes) -> list[str]:
    """The first digit of every reply, up to the close if the server closes."""
    heard = []
    with Wire(smtp, hello=False) as wire, suppress(EOFError, ConnectionError):
        heard.append(wire.hear()[0])
        for command in commands:
            heard.append(wire.say(command)[0])
            if heard[-1] == "3":
                wire.send(stuffed(content) + b".\r\n")
                heard.append(wire.hear()[0])
        heard.append(wire.say("NOOP")[0])
        heard.append(wire.say("QUIT")[0])
    return heard


@given(DIALOGS, LINES.map(lambda lines: b"".join(line + b"\r\n" for line in lines)))
def test_the_same_dialog_has_the_same_replies(
    pair: Pair, commands: list[str], content: bytes
) -> None:
    pair.our_contents.clear()
    pair.their_contents.clear()
    assert classes(pair.ours, commands, content) == classes(pair.theirs, commands, content)
    assert pair.our_contents == pair.their_contents
