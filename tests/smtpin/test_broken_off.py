"""K3: a session that breaks off at any octet: what was acknowledged is kept, a part never is.

The sender stops sending, resets the connection or falls silent after n octets of a session with
three messages. RESTANTE_CUTS says how many times; RESTANTE_SEED chooses where.
"""

import os
import random
import re
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from smtpin.limits import Limits
from tests.front import ANN, Front, front
from tests.kit import stuffed
from tests.shapes import message
from tests.wire import Wire

CUTS = int(os.environ.get("RESTANTE_CUTS", "200"))
SEED = int(os.environ.get("RESTANTE_SEED", "3"))
SENDERS = 16
NEAR = 8  # octets
BEGIN = f"MAIL FROM:<bob@example.net>\r\nRCPT TO:<{ANN}>\r\nDATA\r\n".encode()


@dataclass(frozen=True, slots=True)
class Plan:
    """A session that ends after `at` octets; its messages are those of three numbers."""

    first: int
    at: int
    leave: str
    tls: bool

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + 3)


@dataclass
class Told:
    """What the sender of a plan knows at the end: what it sent whole, and what it was told."""

    plan: Plan
    whole: set[int] = field(default_factory=set)
    kept: dict[str, int] = field(default_factory=dict)


def content(number: int) -> bytes:
    return message(number, big=20_000)


def turns(first: int) -> list[tuple[bytes, int]]:
    """What the sender says in one go, and how many replies it then waits for."""
    one, two, three = (stuffed(content(first + n)) + b".\r\n" for n in range(3))
    return [
        (b"EHLO client.example.net\r\n", 1),
        (BEGIN, 3),
        (one + BEGIN, 4),
        (two + BEGIN, 4),
        (three + b"QUIT\r\n", 2),
    ]


def plans(leaves: tuple[str, ...], count: int) -> Iterator[Plan]:
    chance = random.Random(f"{SEED} {leaves}")
    for n in range(count):
        octets = [len(said) for said, _ in turns(3 * n)]
        at = chance.randrange(sum(octets) + 1)
        if n % 2:
            # Most octets are text. Half of the cuts are where something ends.
            end = sum(octets[: chance.randrange(1, len(octets) + 1)])
            near = len(BEGIN) * chance.randrange(2) + chance.randrange(-NEAR, NEAR)
            at = min(max(end - near, 0), sum(octets))
        yield Plan(3 * n, at, chance.choice(leaves), tls=chance.random() < 0.3)


def carry_out(smtp: Front, plan: Plan, source: str) -> Told:
    told = Told(plan)
    with Wire(smtp.smtp, source=source, hello=False) as wire:
        try:
            wire.hear()
            if plan.tls:
                wire.say("EHLO client.example.net")
                wire.start_tls()
            left = plan.at
            for said, replies in turns(plan.first):
                wire.send(said[:left])
                note_whole(told, said[:left])
                left -= len(said)
                if left < 0:
                    break
                for _ in range(replies):
                    note_kept(told, wire.hear())
            leave(wire, plan.leave)
            while True:
                note_kept(told, wire.hear())
        except (EOFError, OSError, ValueError):  # ValueError: closed by ourselves
            return told


def note_whole(told: Told, said: bytes) -> None:
    for number in told.plan.numbers:
        if said.startswith(stuffed(content(number)) + b".\r\n"):
            told.whole.add(number)


def note_kept(told: Told, reply: str) -> None:
    kept = re.fullmatch(r"250 2\.0\.0 kept as (\w+)", reply)
    if kept:
        # Replies come in the order of the messages.
        told.kept[kept[1]] = told.plan.numbers[len(told.kept)]


def leave(wire: Wire, how: str) -> None:
    match how:
        case "half-close":
            # That of the connection, not of TLS: what has come before may be cut anywhere.
            socket.socket.shutdown(wire.socket, socket.SHUT_WR)
        case "reset":
            wire.reset()
        case "silence":
            pass  # until the server has had enough


def check(front: Front, all_told: list[Told]) -> None:
    stored = front.stored()
    whole = {number for told in all_told for number in told.whole}
    known = {content(number): number for number in whole}
    for octets in stored.values():
        assert octets in known, f"seed {SEED}: never sent whole: {octets[:300]!r}"
    times = Counter(known[octets] for octets in stored.values())
    assert set(times.values()) <= {1}, f"seed {SEED}: {times.most_common(3)}"
    for told in all_told:
        for uid, number in told.kept.items():
            assert number in told.whole, told
            assert stored.get(uid) == content(number), f"seed {SEED}: lost: {told}"
    assert sum(len(told.kept) for told in all_told) > len(all_told) / 2


def run(front: Front, leaves: tuple[str, ...], count: int) -> list[Told]:
    print(f"seed {SEED}")

    def one(n_plan: tuple[int, Plan]) -> Told:
        n, plan = n_plan
        return carry_out(front, plan, f"127.0.0.{2 + n % SENDERS}")

    with ThreadPoolExecutor(SENDERS) as senders:
        return list(senders.map(one, enumerate(plans(leaves, count))))


def test_who_leaves_has_what_was_acknowledged_and_nothing_in_part(tmp_path: Path) -> None:
    with front(tmp_path) as smtp:
        all_told = run(smtp, ("half-close", "reset"), CUTS * 2 // 3)
        check(smtp, all_told)
        for told in all_told:
            # TLS has no half-close; without it who only stops sending hears of each message.
            if told.plan.leave == "half-close" and not told.plan.tls:
                assert set(told.kept.values()) == told.whole, f"seed {SEED}: {told}"


def test_who_falls_silent_has_what_was_acknowledged_and_nothing_in_part(tmp_path: Path) -> None:
    limits = Limits(command_s=0.5, stretch_s=0.5, handshake_s=2)
    with front(tmp_path, limits) as smtp:
        check(smtp, run(smtp, ("silence",), CUTS - CUTS * 2 // 3))
