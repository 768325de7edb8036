"""250 means kept: kill -9 at random instants while senders deliver; nothing acknowledged is lost.

Kill -9 proves the order of answer and commit. It does not prove the flush: the kernel keeps what
was written. That is the part of the power-cut replay.
"""

import random
import threading
from functools import partial
from pathlib import Path

from net.listen import Endpoint
from tests.kit import CONFIG, PASSWORD, pop3_client, retrieved
from tests.program import running, succeed
from tests.senders import SENDERS, Journal, start_senders
from tests.waiting import until

CYCLES = 50
MOST_KEPT = 3 * SENDERS  # before the kill of a cycle
LONGEST_S = 0.1  # from then to the kill
ANN = "ann@example.test"


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


def holds(journal: Journal, number: int) -> bool:
    return len(journal.kept) >= number


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
            journal.check(stored, journal.kept)
            total += len(journal.kept)
            if cycle == CYCLES:
                break
            journal = Journal(numbers=journal.numbers)
            senders = start_senders(listening["smtp"], ANN, journal)
            wanted = chance.randint(0, MOST_KEPT)
            until(partial(holds, journal, wanted), f"{wanted} messages are kept")
            # The instant is what is random here: nothing is waited for.
            threading.Event().wait(chance.uniform(0, LONGEST_S))
            server.process.kill()
            for sender in senders:
                sender.join()
    assert total > CYCLES * SENDERS  # the kills did meet deliveries
