"""C1: only CRLF.CRLF ends a message, on the way in and on the way out, whoever reads it back.

What looks like the end mark is written with other line ends, and behind it stand the commands of
a second message. Each is one message, and every reader gets its octets: poplib, curl, a strict
reader for whom only CRLF ends a line, and a lenient one for whom a bare CR or LF does too. A
reader who could be made to see an end mark inside would show a message that nobody sent.
"""

import re
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit import PASSWORD, Live, body_of, live_server, stuffed, trusting
from tests.wire import END, Wire, let_read

ANN = "ann@example.test"
SESSIONS = 8
CORPUS = Path(__file__).parents[3] / "shared" / "data" / "corpus"

TERMINATORS = {
    "CRLF": b"\r\n",
    "LF": b"\n",
    "CR": b"\r",
    "CRCRLF": b"\r\r\n",
    "LFCR": b"\n\r",
    "CRCR": b"\r\r",
    "LFLF": b"\n\n",
    "NUL-CRLF": b"\0\r\n",
    "CRLF-NUL": b"\r\n\0",
    "CR-NUL-LF": b"\r\0\n",
    "NEL": b"\xc2\x85",
    "LS": "\u2028".encode(),
}
SMUGGLED = (
    f"MAIL FROM:<mallory@example.net>\r\nRCPT TO:<{ANN}>\r\nDATA\r\n"
    "Subject: smuggled\r\n\r\nNobody sent this."
).encode()


def whole(wire: bytes, _dot: int) -> list[bytes]:
    return [wire]


def beside_the_dot(wire: bytes, dot: int) -> list[bytes]:
    """Cut on both sides of the look-alike's dot, and before that of the end mark."""
    end = len(wire) - 3
    if end == dot:
        return [wire[:dot], wire[dot : dot + 1], wire[dot + 1 :]]
    return [wire[:dot], wire[dot : dot + 1], wire[dot + 1 : end], wire[end:]]


def octet_by_octet(wire: bytes, dot: int) -> list[bytes]:
    """The look-alike with what it touches, and the end mark: each octet alone."""
    end = len(wire) - len(END)
    start, stop = dot - 4, min(dot + 6, end)
    return [
        wire[:start],
        *(wire[n : n + 1] for n in range(start, stop)),
        wire[stop:end],
        *(wire[n : n + 1] for n in range(end, len(wire))),
    ]


SEGMENTATIONS = (whole, beside_the_dot, octet_by_octet)


@dataclass(frozen=True, slots=True)
class Case:
    """A message on its way: what follows 354, in pieces."""

    name: str
    pieces: list[bytes]

    @property
    def content(self) -> bytes:
        """What is to be kept: lines end in CRLF, dots are undone, then bare CR and LF mended.

        RFC 5321 sections 2.3.8, 4.1.1.4 and 4.5.2.
        """
        lines = b"".join(self.pieces).split(b"\r\n")
        assert lines.index(b".") == len(lines) - 2, self.name
        octets = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:-2])
        return re.sub(rb"\r\n|\r|\n", b"\r\n", octets)


def look_alikes() -> Iterator[Case]:
    for name, first in TERMINATORS.items():
        for other, second in TERMINATORS.items():
            for segmentation in SEGMENTATIONS:
                title = f"{name} dot {other}, {segmentation.__name__}"
                head = f"Subject: {title}\r\n\r\nbefore".encode()
                wire = head + first + b"." + second + SMUGGLED + END
                # With a true end mark there is nothing to smuggle: the message ends there.
                wire = wire[: wire.index(END) + len(END)]
                pieces = segmentation(wire, len(head) + len(first))
                assert b"".join(pieces) == wire
                yield Case(title, [piece for piece in pieces if piece])


def at_the_start() -> Iterator[Case]:
    """Before the first octet of a message stands the CRLF of the command DATA."""
    for name, second in TERMINATORS.items():
        wire = b"." + second + b"\r\n" + SMUGGLED + END
        # NUL is not taken in a header, and here nothing else has begun.
        if not wire.startswith(b".\r\n") and b"\0" not in wire:
            yield Case(f"dot {name} at the start", [wire[:1], wire[1:]])


def public() -> Iterator[Case]:
    for file in sorted(CORPUS.glob("*/*.eml")):
        octets = file.read_bytes()
        wire = stuffed(octets) + (b"" if octets.endswith(b"\r\n") else b"\r\n") + b".\r\n"
        yield Case(file.name, [wire])


CASES = [*look_alikes(), *at_the_start(), *public()]


def send(live: Live, cases: list[Case]) -> None:
    """Many messages over one connection."""
    with Wire(live.smtp) as wire:
        for case in cases:
            wire.begin(ANN)
            for piece in case.pieces:
                wire.send(piece)
                let_read(live.run)
            reply = wire.hear()
            assert reply.startswith("250 2.0.0 kept as "), f"{case.name}: {reply}"
            # No command was found in the message: the next reply is that of this one.
            assert wire.say("VRFY ann").startswith("252 "), case.name


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Every case has been sent, and was taken as one message."""
    with live_server(tmp_path_factory.mktemp("smuggling")) as live:
        live.add_user("ann", ANN)
        with ThreadPoolExecutor(SESSIONS) as sessions:
            list(sessions.map(lambda n: send(live, CASES[n::SESSIONS]), range(SESSIONS)))
        yield live


def compare(found: Iterable[bytes]) -> None:
    """What was read back, with our trace lines, is what was sent."""
    expected, contents = Counter(case.content for case in CASES), Counter(map(body_of, found))
    assert contents - expected == Counter()
    assert expected - contents == Counter()


def strictly(stream: bytes) -> list[bytes]:
    """Messages of a POP3 session for a reader for whom only CRLF ends a line."""
    return read(stream.split(b"\r\n"))


def leniently(stream: bytes) -> list[bytes]:
    """The same where CR, LF and CRLF do."""
    return read(re.sub(rb"\r\n|\r|\n", b"\n", stream).split(b"\n"))


def read(lines: list[bytes]) -> list[bytes]:
    """RFC 1939 sections 3 and 5: what follows each `+OK n octets`, up to the dot."""
    messages = []
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        size = re.fullmatch(rb"\+OK (\d+) octets", line)
        if not size:
            # Only replies stand outside of messages: an end mark seen too early shows here.
            assert re.match(rb"\+OK\b", line) or (line, at) == (b"", len(lines)), line
            continue
        end = lines.index(b".", at)
        content = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[at:end])
        assert len(content) == int(size[1])
        messages.append(content)
        at = end + 1
    return messages


@pytest.fixture(scope="module")
def stream(live: Live) -> bytes:
    """All that POP3 says to somebody who fetches everything."""
    commands = ["USER ann", f"PASS {PASSWORD}"]
    commands += [f"RETR {number}" for number in range(1, len(CASES) + 1)]
    with (
        socket.create_connection((live.pop3.host, live.pop3.port), timeout=60) as plain,
        trusting().wrap_socket(plain) as connection,
        connection.makefile("rb") as file,
    ):
        connection.sendall("".join(f"{line}\r\n" for line in [*commands, "QUIT"]).encode())
        return file.read()


def test_poplib_gets_every_octet(live: Live) -> None:
    compare(live.fetch("ann").values())


def test_curl_gets_every_octet(live: Live, needs: Callable[[str], str], tmp_path: Path) -> None:
    subprocess.run(
        [
            *(needs("curl"), "--silent", "--show-error", "--insecure"),
            *("--user", f"ann:{PASSWORD}"),
            *(f"pop3s://{live.pop3}/[1-{len(CASES)}]", "--output", str(tmp_path / "#1")),
        ],
        check=True,
        timeout=120,
    )
    compare(file.read_bytes() for file in tmp_path.iterdir())


def test_a_strict_reader_gets_every_octet(stream: bytes) -> None:
    compare(strictly(stream))


def test_a_lenient_reader_gets_every_octet(stream: bytes) -> None:
    compare(leniently(stream))


def test_the_public_messages_were_there() -> None:
    if not CORPUS.is_dir():
        pytest.skip("../shared/data/corpus is not beside this checkout")
    assert len(CASES) > 3 * len(TERMINATORS) ** 2 + 300
