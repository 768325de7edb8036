"""Senders that deliver at the same time, and a journal of what each was told."""

import itertools
import re
import smtplib
import threading
from dataclasses import dataclass, field

from net.listen import Endpoint
from tests.kit import body_of, stuffed
from tests.shapes import message

SENDERS = 20
BIG = 200_000


@dataclass
class Journal:
    """What the senders know: numbers they began to send, and ids of those answered 250."""

    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    begun: set[int] = field(default_factory=set)
    kept: dict[str, int] = field(default_factory=dict)

    def check(self, stored: dict[str, bytes], kept: dict[str, int]) -> None:
        """All of `kept` is stored; and whatever is stored was sent, and is whole."""
        lost = kept.keys() - stored.keys()
        assert not lost, f"{len(lost)} of {len(kept)} lost"
        for uid, octets in stored.items():
            content = body_of(octets)
            found = re.search(rb"number (\d+)\r\n", content)
            assert found, content[:300]
            number = int(found[1])
            # One that was not acknowledged may be there, but then whole.
            assert number in self.begun
            assert content == message(number, big=BIG)
            assert kept.get(uid, number) == number


def start_senders(smtp: Endpoint, recipient: str, journal: Journal) -> list[threading.Thread]:
    """They send until nobody answers any more."""
    senders = [
        threading.Thread(target=_send_until_it_breaks, args=(smtp, recipient, journal))
        for _ in range(SENDERS)
    ]
    for sender in senders:
        sender.start()
    return senders


def _send_until_it_breaks(smtp: Endpoint, recipient: str, journal: Journal) -> None:
    """Messages over one connection after the other."""
    try:
        while True:
            with smtplib.SMTP(smtp.host, smtp.port, timeout=30) as client:
                client.ehlo("client.example.net")
                for _ in range(5):
                    number = next(journal.numbers)
                    journal.begun.add(number)
                    client.mail("bob@example.net")
                    client.rcpt(recipient)
                    client.docmd("DATA")
                    client.send(stuffed(message(number, big=BIG)) + b".\r\n")
                    code, reply = client.getreply()
                    assert code == 250, reply
                    journal.kept[reply.decode().split()[-1]] = number
    except (OSError, smtplib.SMTPServerDisconnected):
        return
