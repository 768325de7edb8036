"""250 means kept: kill -9 at random instants while senders deliver; nothing acknowledged is lost.

Kill -9 proves the order of answer and commit. It does not prove the flush: the kernel keeps what
was written. That is the part of the power-cut replay.
"""

import itertools
import random
import re
import smtplib
import threading
from dataclasses import dataclass, field
from pathlib import Path

from net.listen import Endpoint
from tests.kit import CONFIG, PASSWORD, body_of, pop3_client, retrieved, stuffed
from tests.program import running, succeed
from tests.shapes import message

CYCLES = 50
SENDERS = 20
LONGEST_S = 0.6  # of one cycle's deliveries before the kill
ANN = "ann@example.test"


@dataclass
class Journal:
    """What the senders know: numbers they began to send, and ids of those answered 250."""

    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    begun: set[int] = field(default_factory=set)
    kept: dict[str, int] = field(default_factory=dict)


def send_until_it_breaks(smtp: Endpoint, journal: Journal) -> None:
    """One sender: messages over one connection after the other until nobody answers."""
    try:
        while True:
            with smtplib.SMTP(smtp.host, smtp.port, timeout=30) as client:
                client.ehlo("client.example.net")
                for _ in range(5):
                    number = next(journal.numbers)
                    journal.begun.add(number)
                    client.mail("bob@example.net")
                    client.rcpt(ANN)
                    client.docmd("DATA")
                    client.send(stuffed(message(number, big=200_000)) + b".\r\n")
                    code, reply = client.getreply()
                    assert code == 250, reply
                    journal.kept[reply.decode().split()[-1]] = number
    except (OSError, smtplib.SMTPServerDisconnected):
        return


def empty(pop3: Endpoint) -> dict[str, bytes]:
    """Fetches all messages by UIDL and deletes them."""
    client = pop3_client(pop3, ANN)
    found = {}
    for line in client.uidl()[1]:
        number, uid = line.decode().split()
        found[uid] = retrieved(client, int(number))
        client.dele(int(number))
    client.quit()
    return found


def test_what_was_acknowledged_survives(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG.format(smtp=0, pop3=0, http=0))
    succeed("domain", "add", "example.test", folder=tmp_path)
    succeed(
        *("user", "add", "ann", "--address", ANN, "--password-stdin"),
        folder=tmp_path,
        answer=PASSWORD + "\n",
    )
    chance = random.Random(250)
    journal = Journal()
    total = 0
    for cycle in range(CYCLES + 1):
        with running("serve", folder=tmp_path) as server:
            listening = server.listening()
            stored = empty(listening["pop3"])
            lost = journal.kept.keys() - stored.keys()
            assert not lost, f"cycle {cycle}: {len(lost)} of {len(journal.kept)} lost"
            for octets in stored.values():
                content = body_of(octets)
                number = re.search(rb"number (\d+)\r\n", content)
                assert number, content[:300]
                # One that was not acknowledged may be there, but then whole.
                assert int(number[1]) in journal.begun
                assert content == message(int(number[1]), big=200_000)
            for uid, number_sent in journal.kept.items():
                assert body_of(stored[uid]) == message(number_sent, big=200_000)
            total += len(journal.kept)
            if cycle == CYCLES:
                break
            journal = Journal(numbers=journal.numbers)
            senders = [
                threading.Thread(target=send_until_it_breaks, args=(listening["smtp"], journal))
                for _ in range(SENDERS)
            ]
            for sender in senders:
                sender.start()
            # The instant is what is random here: nothing is waited for.
            threading.Event().wait(chance.uniform(0.02, LONGEST_S))
            server.process.kill()
            for sender in senders:
                sender.join()
    assert total > CYCLES * SENDERS  # the kills did meet deliveries
