"""L2, I8: whoever is slow is told so and closed, in every state, and nobody waits for them.

The server is the real one with its times divided by some hundreds.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from smtpin.limits import Limits
from tests.front import ANN, Front, front
from tests.wire import END, Wire, client_hello

LIMITS = Limits(
    command_s=1, handshake_s=1, stretch_s=1, stretch_octets=2_000, message_s=3, linger_s=1
)
LATE_S = 2  # a limit is met within this
TICK_S = 0.02  # between two octets

Prepare = Callable[[Wire], object]


@dataclass(frozen=True, slots=True)
class Slow:
    """A state, and octets that somebody in it sends one by one, or a piece at a time, for ever."""

    prepare: Prepare
    octets: bytes
    limit_s: float = 1
    piece: int = 1
    told: bool = True  # 421 before the close


def nothing(_wire: Wire) -> None:
    return


def in_tls(wire: Wire) -> None:
    wire.start_tls()
    wire.say("EHLO client.example.net")


def in_tls_message(wire: Wire) -> None:
    in_tls(wire)
    wire.begin(ANN)


def after_a_message(wire: Wire) -> None:
    wire.begin(ANN)
    wire.send(b"Subject: kept" + END)
    assert wire.hear().startswith("250 ")


def in_a_transaction(wire: Wire) -> None:
    wire.send(f"MAIL FROM:<bob@example.net>\r\nRCPT TO:<{ANN}>\r\n".encode())
    assert [wire.hear()[:3] for _ in range(2)] == ["250", "250"]


STATES = {
    "says nothing": Slow(nothing, b""),
    "a command without an end": Slow(nothing, b"NOOP x"),
    "silent in a transaction": Slow(in_a_transaction, b""),
    "a command in a transaction": Slow(in_a_transaction, b"DATA x"),
    "silent after a message": Slow(after_a_message, b""),
    "silent in a message": Slow(lambda wire: wire.begin(ANN), b""),
    "a message octet by octet": Slow(lambda wire: wire.begin(ANN), b"x"),
    "a message line by line": Slow(lambda wire: wire.begin(ANN), b"\r\n"),
    "almost its end": Slow(lambda wire: wire.begin(ANN), b"\r\n.\r"),
    # 10,000 octets a second are enough in each second, but it never ends.
    "a message for ever": Slow(lambda wire: wire.begin(ANN), b"x" * 200, limit_s=3, piece=200),
    "silent in a handshake": Slow(lambda wire: wire.say("STARTTLS"), b"", told=False),
    "a handshake octet by octet": Slow(
        lambda wire: wire.say("STARTTLS"), client_hello(), told=False
    ),
    "silent in TLS": Slow(in_tls, b""),
    "a command in TLS": Slow(in_tls, b"NOOP x"),
    "a message in TLS": Slow(in_tls_message, b"x"),
}


def dribble(smtp: Front, slow: Slow, source: str) -> tuple[float, bytes]:
    """How long it took until the server closed, and what it said last."""
    with Wire(smtp.smtp, source=source) as wire:
        slow.prepare(wire)
        begun = time.monotonic()
        said = b""
        pieces = cycle(
            [slow.octets[at : at + slow.piece] for at in range(0, len(slow.octets), slow.piece)]
        )
        wire.socket.settimeout(TICK_S)
        while time.monotonic() - begun < 20:
            try:
                block = wire.socket.recv(4096)
                if not block:
                    break
                said += block
            except TimeoutError:
                if slow.octets:
                    wire.socket.settimeout(5)
                    try:
                        wire.send(next(pieces))
                    except OSError:
                        break
                    wire.socket.settimeout(TICK_S)
            except OSError:
                break
        return time.monotonic() - begun, said


def test_all_states_at_once(tmp_path: Path) -> None:
    with front(tmp_path, LIMITS) as smtp, ThreadPoolExecutor(len(STATES)) as senders:
        results = {
            name: senders.submit(dribble, smtp, slow, f"127.0.6.{number}")
            for number, (name, slow) in enumerate(STATES.items(), 1)
        }
        for _ in range(5):
            begun = time.monotonic()
            with Wire(smtp.smtp) as wire:
                after_a_message(wire)
            assert time.monotonic() - begun < LATE_S
        for name, slow in STATES.items():
            seconds, said = results[name].result()
            assert seconds < slow.limit_s + LATE_S, name
            assert seconds > slow.limit_s / 2, name
            assert said.startswith(b"421 4.4.2 ") == slow.told, (name, said)
        assert set(smtp.stored().values()) == {b"Subject: kept\r\n"}
        whys = [event["why"] for event in smtp.events() if event["event"] == "smtp.end"]
    assert whys.count("timeout") + whys.count("no handshake") >= len(STATES)
